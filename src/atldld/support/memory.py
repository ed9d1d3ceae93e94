"""How much memory there is, and giving back what is only mapped."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["available_memory", "let_go"]


def let_go(array: NDArray[Any]) -> None:
    """Give back the memory of a file that is mapped for reading; it is read again when needed.

    Parameters
    ----------
    array : numpy.ndarray
        Nothing is done about one that is not mapped, or that could have been written to.
    """
    mapped = getattr(array, "_mmap", None)
    advice = getattr(mmap, "MADV_DONTNEED", None)  # not on Windows
    if mapped is None or advice is None:
        return
    if isinstance(array, np.memmap) and array.mode == "r":
        mapped.madvise(advice)


def available_memory() -> int | None:
    """Return how many bytes this process may still take, or `None` if that is unknown.

    The least of what the machine has to give and what the control group of the process, such as a
    container's or a batch job's, leaves of its limit.
    """
    known = [_memory_of_machine(), _memory_of_group()]
    return min((size for size in known if size is not None), default=None)


def _memory_of_machine() -> int | None:
    import psutil

    try:
        return int(psutil.virtual_memory().available)
    except (OSError, RuntimeError, ValueError):  # no /proc, as in some containers
        return None


def _memory_of_group() -> int | None:
    root = Path("/sys/fs/cgroup")
    for limit, used in (
        (root / "memory.max", root / "memory.current"),
        (root / "memory" / "memory.limit_in_bytes", root / "memory" / "memory.usage_in_bytes"),
    ):
        try:
            # "max" is no limit
            return max(int(limit.read_text("utf-8")) - int(used.read_text("utf-8")), 0)
        except (OSError, ValueError):
            continue
    return None
