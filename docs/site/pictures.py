"""Pictures that pages make of themselves: the code above ``![…](made/NAME.webp)`` draws them."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
from pathlib import Path
from typing import Any

FOLDER = "made"
_MADE = re.compile(rf"\]\((?:\.\./)*{FOLDER}/([\w.-]+)\)")


def _gallery(docs: Path) -> Any:
    found = importlib.util.spec_from_file_location("gallery", docs / "gallery.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def make(docs: Path, folder: Path) -> dict[str, Path]:
    """Make the pictures of all pages.

    Parameters
    ----------
    docs, folder : pathlib.Path
        Where the pages are, and where pictures are kept from one build to the next. A page's
        pictures are made again when its text changes.

    Returns
    -------
    dict of str to pathlib.Path
        Each picture by its place on the site.
    """
    os.environ.setdefault("MPLBACKEND", "agg")
    made: dict[str, Path] = {}
    for page in sorted(docs.rglob("*.md")):
        text = page.read_text("utf-8")
        names = _MADE.findall(text)
        if not names:
            continue
        kept = folder / hashlib.sha256(text.encode()).hexdigest()[:16]
        if not all((kept / name).exists() for name in names):
            gallery = _gallery(docs)
            with gallery.demo():
                gallery.make(kept, text)
        made.update({f"{FOLDER}/{name}": kept / name for name in names})
    return made
