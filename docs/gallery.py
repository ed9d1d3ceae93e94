"""Make the pictures of gallery.md: run the code on the page, and keep each figure it makes.

``python docs/gallery.py [folder]`` writes into images/gallery, or into another folder.
"""

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

HERE = Path(__file__).resolve().parent
PAGE = HERE / "gallery.md"
DPI = 150
QUALITY = 90  # of the files, which stay small

_PART = re.compile(r"```python\n(?P<code>.*?)```|!\[.*?\]\((?P<picture>.*?)\)", re.DOTALL)


def parts(page: str) -> Iterator[tuple[str, str]]:
    """Yield the code blocks of a page, and the pictures that follow them.

    Yields
    ------
    kind, text : str
        ``"code"`` and the block, or ``"picture"`` and its path.
    """
    for found in _PART.finditer(page):
        if found["code"] is not None:
            yield "code", found["code"]
        else:
            yield "picture", found["picture"]


def make(folder: Path, page: str, dpi: int = DPI) -> list[Path]:
    """Run a page's code in order, and write its figures into a folder."""
    import cv2

    from atldld import plot

    folder.mkdir(parents=True, exist_ok=True)
    names: dict[str, Any] = {}
    written = []
    for kind, text in parts(page):
        if kind == "code":
            exec(compile(text, str(PAGE), "exec"), names)
            continue
        path = folder / Path(text).name
        drawn = plot.save(names.pop("figure"), path.with_suffix(".png"), dpi=dpi, force=True)
        pixels = cv2.imread(str(drawn), cv2.IMREAD_COLOR)
        assert pixels is not None
        cv2.imwrite(str(path), pixels, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
        drawn.unlink()
        written.append(path)
    return written


@contextmanager
def demo() -> Iterator[None]:
    """Let what asks the service ask the demo archive, in this process and through no socket."""
    from atldld.demo.local import in_process_session

    with (
        tempfile.TemporaryDirectory() as cache,
        in_process_session(Path(cache)) as session,
        # the session that all calls without one use
        mock.patch("atldld.fetch.session._session", return_value=session),
    ):
        yield


def main() -> None:
    """Make the pictures."""
    os.environ.setdefault("MPLBACKEND", "agg")
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "images" / "gallery"
    with demo():
        for path in make(folder, PAGE.read_text("utf-8")):
            sys.stdout.write(f"{path} {path.stat().st_size / 1000:.0f} kB\n")


if __name__ == "__main__":
    main()
