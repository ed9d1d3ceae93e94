"""A box of a whole-slide TIFF: the right bytes, the right pixels, and nothing that is half."""

import io
import json

import cv2
import numpy as np
import pytest
import tifffile

from atldld.fetch.slides import (
    Box,
    SlideError,
    box_file,
    decode_box,
    read_layout,
    verify_box,
)
from atldld.testing.bucket import ENCODINGS

WIDTH, HEIGHT = 467, 353
BOXES = [Box(0, 0, WIDTH, HEIGHT), Box(130, 70, 201, 155), Box(460, 350, 7, 3), Box(63, 64, 1, 1)]
LOSSY = {name: 9 if name.startswith("jpeg") else 0 for name in ENCODINGS}


@pytest.fixture(scope="module")
def picture():
    rng = np.random.default_rng(5)
    rough = rng.integers(30, 220, (12, 16, 3), dtype=np.uint8)
    return cv2.resize(rough, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


def cut(data, box):
    """The file of a box, made of the bytes that the layout names alone."""
    layout = read_layout(io.BytesIO(data))
    contents = [data[piece.start : piece.stop] for piece in layout.pieces(box)]
    return layout, contents, box_file(layout, box, contents, {"slide": "here"})


@pytest.mark.parametrize("box", BOXES, ids=str)
@pytest.mark.parametrize("name", ENCODINGS)
def test_a_box_has_the_slides_pixels(name, box, picture, tmp_path):
    _, _, content = cut(ENCODINGS[name](picture), box)
    path = tmp_path / "box.tif"
    path.write_bytes(content)
    true = picture[box.y : box.y + box.height, box.x : box.x + box.width]
    got = decode_box(path)
    assert got.shape == true.shape
    assert np.abs(got.astype(int) - true).mean() <= LOSSY[name] / 2
    assert np.abs(got.astype(int) - true).max() <= LOSSY[name] * 5
    assert verify_box(path) == (box.width, box.height)


@pytest.mark.parametrize("name", ENCODINGS)
def test_other_readers_open_the_file(name, picture, tmp_path):
    box = BOXES[1]
    _, _, content = cut(ENCODINGS[name](picture), box)
    with tifffile.TiffFile(io.BytesIO(content)) as tiff:
        page = tiff.pages.first
        x, y, width, height = json.loads(page.description)["box"]
    assert (width, height) == (box.width, box.height)
    whole = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert whole is not None
    theirs = whole[..., ::-1][y : y + height, x : x + width].astype(int)
    true = picture[box.y : box.y + box.height, box.x : box.x + box.width]
    assert np.abs(theirs - true).mean() <= LOSSY[name] / 3


@pytest.mark.parametrize("name", [name for name in ENCODINGS if not name.startswith("plain")])
def test_pieces_are_kept_as_they_came(name, picture):
    _, contents, content = cut(ENCODINGS[name](picture), BOXES[1])
    kept = read_layout(io.BytesIO(content))
    pairs = zip(kept.starts, kept.lengths, strict=True)
    assert [content[start : start + length] for start, length in pairs] == contents


@pytest.mark.parametrize("reduction", [2, 4, 8])
def test_blocks_are_averages(reduction, picture, tmp_path):
    box = BOXES[1]
    (tmp_path / "box.tif").write_bytes(cut(ENCODINGS["deflate tiles"](picture), box)[2])
    true = picture[box.y : box.y + box.height, box.x : box.x + box.width].astype(float)
    rows, columns = box.height // reduction, box.width // reduction
    blocks = true[: rows * reduction, : columns * reduction].reshape(
        rows, reduction, columns, reduction, 3
    )
    got = decode_box(tmp_path / "box.tif", reduction)
    assert got.shape == (rows, columns, 3)
    assert np.abs(got - blocks.mean(axis=(1, 3))).max() <= 0.51


DAMAGE = {
    "half": lambda piece: piece[: len(piece) // 2],
    "empty": lambda piece: b"",
    "hole": lambda piece: piece[: len(piece) // 3] + piece[len(piece) // 2 :],
    "nought": lambda piece: bytes(len(piece)),
    "html": lambda piece: (b"<html>down for maintenance</html>" * len(piece))[: len(piece)],
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", [name for name in ENCODINGS if not name.startswith("plain")])
def test_a_damaged_piece_is_refused(name, damage, picture):
    layout, contents, _ = cut(ENCODINGS[name](picture), BOXES[1])
    piece = layout.pieces(BOXES[1])[1]
    layout.pixels(piece, contents[1])
    with pytest.raises(SlideError):
        layout.pixels(piece, DAMAGE[damage](contents[1]))
    with pytest.raises(SlideError):
        layout.pixels(piece, DAMAGE[damage](contents[1]), reduced=True)


@pytest.mark.parametrize("name", ENCODINGS)
def test_a_file_that_lost_bytes_is_refused(name, picture, tmp_path):
    """Wherever it ends: each is refused, none gives other pixels."""
    content = cut(ENCODINGS[name](picture), BOXES[1])[2]
    path = tmp_path / "box.tif"
    for part in np.linspace(0, 0.999, 40):
        path.write_bytes(content[: int(len(content) * part)])
        with pytest.raises(SlideError):
            verify_box(path)
        with pytest.raises(SlideError):
            decode_box(path)


def changed(data, code, value):
    """A classic TIFF with another value of a tag whose value stands in the directory."""
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        (tag,) = [tag for tag in tiff.pages.first.tags if tag.code == code]
        at = tag.valueoffset
    return data[:at] + value.to_bytes(2, "little") + data[at + 2 :]


@pytest.mark.parametrize(
    ("code", "value", "text"),
    [
        (259, 34712, "compression 34712"),
        (284, 2, "planes of their own"),
        (317, 3, "predictor 3"),
        (277, 2, "2 values a pixel"),
    ],
)
def test_what_is_not_known_is_named(code, value, text, picture):
    data = changed(ENCODINGS["deflate tiles"](picture), code, value)
    with pytest.raises(SlideError, match=text) as caught:
        read_layout(io.BytesIO(data))
    assert caught.value.unknown


@pytest.mark.parametrize("data", [b"", b"II*\0", b"<html>", b"II*\0\xff\xff\xff\xff" + bytes(60)])
def test_what_is_no_tiff_is_refused(data):
    with pytest.raises(SlideError):
        read_layout(io.BytesIO(data))


def test_a_damaged_directory_is_refused_or_gives_other_pixels_by_no_means(picture):
    """Each byte of the directory is turned round in turn: no other error, and no endless loop."""
    data = ENCODINGS["lzw strips"](picture)
    start = int.from_bytes(data[4:8], "little")
    for at in range(start, min(start + 200, len(data))):
        broken = data[:at] + bytes((data[at] ^ 0xFF,)) + data[at + 1 :]
        try:
            layout = read_layout(io.BytesIO(broken))
            for piece in layout.pieces(Box(3, 3, 5, 5)):
                layout.pixels(piece, broken[piece.start : piece.stop])
        except SlideError:
            pass


def test_a_box_beyond_the_slide_is_refused(picture):
    layout = read_layout(io.BytesIO(ENCODINGS["jpeg tiles"](picture)))
    for box in (Box(-1, 0, 5, 5), Box(0, 0, WIDTH + 1, 5), Box(0, 350, 5, 4), Box(0, 0, 0, 5)):
        with pytest.raises(SlideError, match="reaches beyond"):
            layout.pieces(box)
