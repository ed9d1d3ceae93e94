"""The page of figures: each picture is made by code on the page, and the command makes them all."""

import importlib.util
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("matplotlib")
DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def gallery():
    found = importlib.util.spec_from_file_location("gallery", DOCS / "gallery.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_every_picture_is_there_small_and_follows_its_code(gallery):
    parts = list(gallery.parts((DOCS / "gallery.md").read_text("utf-8")))
    pictures = [DOCS / text for kind, text in parts if kind == "picture"]
    assert len(pictures) >= 8
    for (kind, code), (then, _) in pairwise(parts):
        if then == "picture":
            assert kind == "code"
            assert "figure" in code
    assert sorted(pictures) == sorted((DOCS / "images" / "gallery").iterdir())
    assert sum(path.stat().st_size for path in pictures) < 1.5e6
    for path in pictures:
        pixels = cv2.imread(str(path))
        assert pixels is not None
        assert pixels.std() > 10


def test_the_command_makes_pictures_of_the_code(gallery, tmp_path):
    page = (
        "```python\nimport atldld\nfrom atldld import plot\n```\n"
        "```python\nds = atldld.open_dataset(69289763)\n```\n"
        "```python\nfigure = plot.planes(ds)\n```\n\n![Planes](images/one.webp)\n"
    )
    with gallery.demo():
        (path,) = gallery.make(tmp_path, page, dpi=50)
    assert path == tmp_path / "one.webp"
    assert list(tmp_path.iterdir()) == [path]
    pixels = cv2.imread(str(path))
    assert pixels is not None
    assert abs(pixels.shape[1] - 180 / 25.4 * 50) < 2


@pytest.mark.slow
def test_the_pictures_are_those_of_the_page(gallery, tmp_path):
    """What is committed is what the code makes today, but for fonts and rounding."""
    page = (DOCS / "gallery.md").read_text("utf-8")
    with gallery.demo():
        made = gallery.make(tmp_path, page)
    for path in made:
        one, other = cv2.imread(str(path)), cv2.imread(str(DOCS / "images/gallery" / path.name))
        assert one is not None
        assert other is not None
        assert one.shape == other.shape
        size = one.shape[1] // 10, one.shape[0] // 10
        small, kept = (cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p in (one, other))
        assert np.abs(small.astype(int) - kept).mean() < 6
