import sys

import cv2
import numpy as np
import pytest

from atldld.formats.pictures import as_png, read_picture


@pytest.fixture(params=["isal", "OpenCV"])
def compressor(request, monkeypatch):
    if request.param == "isal":
        pytest.importorskip("isal")
    else:
        monkeypatch.setitem(sys.modules, "isal", None)
    return request.param


def section(rows, columns):
    """A picture of smooth tissue on an even slide, with a camera's noise."""
    rng = np.random.default_rng(rows + columns)
    y, x = np.mgrid[0:rows, 0:columns] / max(rows, columns)
    tissue = 120 + 60 * np.sin(9 * x + 5 * y)[..., None] + rng.normal(0, 5, (rows, columns, 3))
    inside = ((x - 0.5) ** 2 + (y - 0.4) ** 2 < 0.1)[..., None]
    return np.where(inside, tissue, (240, 235, 230)).clip(0, 255).astype(np.uint8)


def holds(path, pixels):
    found = read_picture(path)
    return found is not None and np.array_equal(found, pixels)


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (300, 1), (64, 5), (65, 7), (128, 129)])
def test_a_png_holds_every_pixel(compressor, shape, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    for pixels in (noise, section(*shape), np.zeros_like(noise), np.full_like(noise, 255)):
        path = tmp_path / "picture.png"
        path.write_bytes(as_png(pixels))
        assert holds(path, pixels)
        # parts of pictures, and such as lie in memory otherwise
        path.write_bytes(as_png(pixels[:, ::-1]))
        assert holds(path, pixels[:, ::-1])


def test_a_png_can_be_read_by_others(compressor, tmp_path):
    image = pytest.importorskip("PIL.Image")
    pixels = section(150, 200)
    path = tmp_path / "picture.png"
    path.write_bytes(as_png(pixels))
    with image.open(path) as opened:
        assert opened.mode == "RGB"
        assert np.array_equal(np.asarray(opened), pixels)


def test_a_png_is_no_larger_than_that_of_opencv(compressor):
    pixels = section(320, 456)
    _, data = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    assert len(as_png(pixels)) <= data.nbytes


def test_what_is_no_picture_is_none(tmp_path):
    for content in (b"", b"no picture", as_png(section(50, 50))[:60]):
        (tmp_path / "file").write_bytes(content)
        assert read_picture(tmp_path / "file") is None
