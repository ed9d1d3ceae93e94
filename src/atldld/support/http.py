"""The library that speaks HTTP, without its own command line.

Where Click, Rich and Pygments are installed, `import httpx` imports its command line too, and them
with it: nearly half of the time that it takes.
"""

from __future__ import annotations

import sys
import threading

__all__ = ["load_httpx"]

_COMMAND_LINE = "httpx._main"
_lock = threading.Lock()


def load_httpx() -> None:
    """Import httpx; its command line stays as importable as it was."""
    if "httpx" in sys.modules:
        return
    with _lock:
        if "httpx" in sys.modules:
            return
        # what is None there counts as not installed, which httpx is prepared for
        sys.modules[_COMMAND_LINE] = None  # type: ignore[assignment]
        try:
            import httpx  # noqa: F401
        finally:
            del sys.modules[_COMMAND_LINE]
