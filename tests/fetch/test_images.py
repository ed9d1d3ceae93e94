import numpy as np
import pytest
import simplejpeg

from atldld.errors import BrokenImageError
from atldld.fetch.images import decode, verify

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 255, (96, 128, 3), dtype=np.uint8)
JPEG = simplejpeg.encode_jpeg(PIXELS, 100, "RGB", "444")

BROKEN = {
    "empty": b"",
    "html": b"<html>down for maintenance</html>",
    "header only": JPEG[:300],
    "half": JPEG[: len(JPEG) // 2],
    "half with an end": JPEG[: len(JPEG) // 2] + b"\xff\xd9",
    "a hole": JPEG[: len(JPEG) // 3] + JPEG[len(JPEG) // 2 :],
    "zeros": JPEG[: len(JPEG) // 2] + bytes(500) + JPEG[len(JPEG) // 2 + 500 :],
    "other size": simplejpeg.encode_jpeg(PIXELS[:-1].copy(), 100, "RGB", "444"),
    "turned": simplejpeg.encode_jpeg(
        np.ascontiguousarray(PIXELS.swapaxes(0, 1)), 100, "RGB", "444"
    ),
}


def test_a_whole_image(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(JPEG)
    verify(path, 128, 96)
    pixels = decode(path)
    assert (pixels.shape, pixels.dtype) == ((96, 128, 3), np.uint8)
    assert np.abs(pixels.astype(int) - PIXELS).mean() < 1.5  # red first, rows first


@pytest.mark.parametrize("how", BROKEN)
def test_broken_images(tmp_path, how):
    path = tmp_path / "a.jpg"
    path.write_bytes(BROKEN[how])
    with pytest.raises(BrokenImageError, match="http://s/1") as caught:
        verify(path, 128, 96, url="http://s/1")
    if how in {"other size", "turned"}:
        assert "instead of 128 × 96" in str(caught.value)


def test_a_header_that_promises_too_much_costs_nothing(tmp_path):
    at = JPEG.index(b"\xff\xc0") + 5
    bomb = JPEG[:at] + b"\xff\xdc\xff\xdc" + JPEG[at + 4 :]
    path = tmp_path / "a.jpg"
    path.write_bytes(bomb)
    with pytest.raises(BrokenImageError, match="65500 × 65500"):
        verify(path, 128, 96)


def test_a_damaged_file_says_where_it_is(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(BROKEN["half"])
    with pytest.raises(BrokenImageError, match=str(path)):
        decode(path)
