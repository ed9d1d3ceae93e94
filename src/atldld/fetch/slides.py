"""A box of a whole-slide TIFF: which of its bytes are needed, and a small TIFF that holds them.

A slide is a plain TIFF, tiled or in strips. `read_layout` reads its directory, `Layout.pieces`
names the tiles or strips that a box touches, and `box_file` writes those into a TIFF of their own,
byte for byte as they came, together with where the box lies among them. What was not compressed is
cut out exactly, and deflated. Such a file is what the cache keeps of a slide; any reader of TIFF
opens it, and `decode_box` and `verify_box` read it strictly: every piece must give all its pixels.
"""

from __future__ import annotations

import io
import json
import logging
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import simplejpeg
from numpy.typing import NDArray

__all__ = [
    "MAGIC",
    "Box",
    "Layout",
    "Piece",
    "SlideError",
    "box_file",
    "decode_box",
    "read_layout",
    "verify_box",
]

MAGIC = b"II*\0"
"""How the files begin that `box_file` makes."""

FORMAT = "atldld-slide-box"

NONE, LZW, JPEG, DEFLATE, OLD_DEFLATE = 1, 5, 7, 8, 32946
_DECODED = {NONE, LZW, JPEG, DEFLATE, OLD_DEFLATE}
_GREY_INVERTED, _GREY, _RGB, _YCBCR = 0, 1, 2, 6

ROWS_OF_STRIP = 64
"""Of what was not compressed, in the files that are made of it."""

MOST_PIECES = 4_000_000
"""Of one slide: 60,000 × 41,000 pixels in tiles of 32 × 32 have 2.4 million."""

LARGEST_PIECE = 1 << 28
"""Bytes of pixels in one tile or strip."""


class SlideError(ValueError):
    """A TIFF cannot be read, or is of a kind that this module does not know.

    Parameters
    ----------
    message : str
        The end of a sentence that begins with the file, such as ``"breaks off"``.
    unknown : bool
        Whether it may be sound, but is of an unknown kind.
    """

    def __init__(self, message: str, *, unknown: bool = False) -> None:
        super().__init__(message)
        self.unknown = unknown


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of pixels.

    Attributes
    ----------
    x, y : int
        Column and row of its first pixel.
    width, height : int
        Its size.
    """

    x: int
    y: int
    width: int
    height: int

    def within(self, width: int, height: int) -> bool:
        """Whether it lies in a picture of that size, and is not empty."""
        return (
            self.x >= 0
            and self.y >= 0
            and self.width > 0
            and self.height > 0
            and self.x + self.width <= width
            and self.y + self.height <= height
        )


@dataclass(frozen=True, slots=True)
class Piece:
    """A tile or strip, or the rows of a strip that is not compressed.

    Attributes
    ----------
    start, stop : int
        Its first byte in the file, and the first one after it.
    x, y : int
        Column and row of its first pixel on the slide.
    width, height : int
        Its size; a tile may reach over the slide's edge.
    """

    start: int
    stop: int
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Layout:
    """How a slide's pixels lie in its file.

    Attributes
    ----------
    width, height : int
        Of the slide.
    piece_width, piece_height : int
        Of a tile; a strip is as wide as the slide.
    tiled : bool
        In tiles or in strips.
    compression, photometric, predictor, samples : int
        As TIFF numbers them; samples are values for each pixel.
    subsampling : tuple of 2 int
        Of the colours of a JPEG, as the directory says.
    tables : bytes
        What all JPEGs share; empty where each has its own.
    starts, lengths : numpy.ndarray, int64
        Of each piece, in bytes.
    description : str
        What the file says of itself.
    """

    width: int
    height: int
    piece_width: int
    piece_height: int
    tiled: bool
    compression: int
    photometric: int
    predictor: int
    samples: int
    subsampling: tuple[int, int]
    tables: bytes
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    description: str

    def pieces(self, box: Box) -> list[Piece]:
        """Return what must be read for a box, in the order of rows, then columns.

        Parameters
        ----------
        box : Box
            In pixels of the slide.

        Raises
        ------
        SlideError
            If the box reaches beyond the slide.
        """
        if not box.within(self.width, self.height):
            raise SlideError(
                f"has {self.width} × {self.height} pixels, and the box at ({box.x}, {box.y}) of "
                f"{box.width} × {box.height} reaches beyond"
            )
        if not self.tiled and self.compression == NONE:
            return self._rows(box)
        return [self._piece(row, column) for row, column in self._touched(box)]

    def _touched(self, box: Box) -> Iterator[tuple[int, int]]:
        for row in range(box.y // self.piece_height, -(-(box.y + box.height) // self.piece_height)):
            for column in range(
                box.x // self.piece_width, -(-(box.x + box.width) // self.piece_width)
            ):
                yield row, column

    def _piece(self, row: int, column: int) -> Piece:
        across = -(-self.width // self.piece_width)
        start = int(self.starts[row * across + column])
        y = row * self.piece_height
        height = self.piece_height if self.tiled else min(self.piece_height, self.height - y)
        return Piece(
            start,
            start + int(self.lengths[row * across + column]),
            column * self.piece_width,
            y,
            self.piece_width,
            height,
        )

    def _rows(self, box: Box) -> list[Piece]:
        """Return the box's rows of strips that are not compressed, each in full width."""
        length = self.width * self.samples
        found = []
        for row, column in self._touched(box):
            strip = self._piece(row, column)
            top = max(box.y, strip.y)
            bottom = min(box.y + box.height, strip.y + strip.height)
            start = strip.start + (top - strip.y) * length
            found.append(
                Piece(start, start + (bottom - top) * length, 0, top, self.width, bottom - top)
            )
        return found

    def pixels(self, piece: Piece, content: bytes, *, reduced: bool = False) -> NDArray[np.uint8]:
        """Return the pixels of a piece, all of them.

        Parameters
        ----------
        piece : Piece
            Which one.
        content : bytes
            Its bytes.
        reduced : bool
            Decode a JPEG only as far as tells whether it is whole; its pixels are of no use then.

        Returns
        -------
        numpy.ndarray, shape (height, width, 3), uint8
            RGB.

        Raises
        ------
        SlideError
            If the bytes do not give all the pixels, and no more.
        """
        if self.compression == JPEG:
            return self._jpeg(piece, content, reduced)
        size = piece.height * piece.width * self.samples
        plain = _decompressed(content, self.compression, size)
        if len(plain) != size:
            raise SlideError(f"has a piece of {len(plain)} bytes of pixels instead of {size}")
        values = np.frombuffer(plain, np.uint8).reshape(piece.height, piece.width, self.samples)
        if self.predictor == 2:
            values = np.cumsum(values, axis=1, dtype=np.uint8)
        if self.samples < 3:
            values = np.repeat(values[..., :1], 3, axis=2)
        values = values[..., :3]
        return np.invert(values) if self.photometric == _GREY_INVERTED else values

    def _jpeg(self, piece: Piece, content: bytes, reduced: bool) -> NDArray[np.uint8]:
        data = self._whole_jpeg(content)
        try:
            height, width, _, _ = simplejpeg.decode_jpeg_header(data)
            if (width, height) != (piece.width, piece.height):
                raise SlideError(
                    f"has a piece of {width} × {height} pixels instead of {piece.width} × "
                    f"{piece.height}"
                )
            least = {"min_height": -(-height // 8), "min_width": -(-width // 8)} if reduced else {}
            pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "RGB", strict=True, **least)
        except SlideError:
            raise
        except ValueError as error:
            raise SlideError(f"has a piece that does not decode whole ({error})") from None
        return pixels

    def _whole_jpeg(self, content: bytes) -> bytes:
        """Return a piece as a JPEG of its own, with the tables that it shares with the others."""
        between = self.tables[2:-2]
        if self.photometric == _RGB and self.samples == 3:
            # without a word in the file itself, decoders take three values for luma and chroma
            between = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00" + between
        return content[:2] + between + content[2:]


def read_layout(file: BinaryIO | io.RawIOBase) -> Layout:
    """Read the directory of a slide.

    Parameters
    ----------
    file : binary file
        The TIFF; only its directory is read.

    Raises
    ------
    SlideError
        If it is no TIFF, is damaged, or of a kind that is not known here.
    """
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what is wrong is said in an error
    try:
        with tifffile.TiffFile(cast(BinaryIO, file)) as tiff:
            page = tiff.pages.first
            tags = {tag.code: tag.value for tag in page.tags}
            starts = np.asarray(page.dataoffsets, np.int64)
            lengths = np.asarray(page.databytecounts, np.int64)
    except SlideError:
        raise
    # a damaged file makes its reader stumble in many ways
    except (
        tifffile.TiffFileError,
        ArithmeticError,
        AttributeError,
        IndexError,
        KeyError,
        MemoryError,
        TypeError,
        ValueError,
        struct.error,
    ) as error:
        raise SlideError(f"is no TIFF that can be read ({error})") from None
    return _layout(tags, starts, lengths)


def _layout(
    tags: Mapping[int, Any], starts: NDArray[np.int64], lengths: NDArray[np.int64]
) -> Layout:
    try:
        width, height = int(tags[256]), int(tags[257])
        tiled = 322 in tags
        piece_width = int(tags[322]) if tiled else width
        piece_height = int(tags[323] if tiled else min(tags.get(278, height), height))
        samples = int(tags.get(277, 1))
        bits = {int(value) for value in np.atleast_1d(tags.get(258, 1))}
        compression, photometric = int(tags.get(259, NONE)), int(tags.get(262, _GREY))
        predictor, planar = int(tags.get(317, 1)), int(tags.get(284, 1))
        orientation = int(tags.get(274, 1))
        across, down = np.atleast_1d(tags.get(530, (2, 2)))[:2]
        tables = bytes(tags.get(347) or b"")
        description = str(tags.get(270) or "")
    except (KeyError, TypeError, ValueError) as error:
        raise SlideError(f"has a directory that makes no sense ({error})") from None
    unknown = {
        f"compression {compression}": compression not in _DECODED,
        f"{sorted(bits)} bits a value": bits != {8},
        f"{samples} values a pixel": samples not in {1, 3, 4},
        "colours in planes of their own": planar != 1 and samples > 1,
        f"predictor {predictor}": predictor not in {1, 2},
        f"orientation {orientation}": orientation != 1,
        f"colours of kind {photometric}": photometric
        not in ({_GREY, _RGB, _YCBCR} if compression == JPEG else {_GREY_INVERTED, _GREY, _RGB}),
    }
    kinds = [kind for kind, is_so in unknown.items() if is_so]
    if kinds:
        raise SlideError(f"is of a kind that is not known here ({', '.join(kinds)})", unknown=True)
    if min(width, height, piece_width, piece_height) < 1:
        raise SlideError("has a directory that makes no sense (a side is 0)")
    if piece_width * piece_height * samples > LARGEST_PIECE:
        raise SlideError("has pieces that are too large to be read one by one", unknown=True)
    count = -(-width // piece_width) * -(-height // piece_height)
    if count > MOST_PIECES or len(starts) != count or len(lengths) != count:
        raise SlideError(f"has {len(starts)} pieces instead of {count}")
    if (starts < 0).any() or (lengths < 0).any() or int(lengths.max()) > LARGEST_PIECE:
        raise SlideError("has a directory that makes no sense (a piece lies nowhere)")
    return Layout(
        width=width,
        height=height,
        piece_width=piece_width,
        piece_height=piece_height,
        tiled=tiled,
        compression=compression,
        photometric=photometric,
        predictor=predictor,
        samples=samples,
        subsampling=(int(across), int(down)),
        tables=tables if tables[:2] == b"\xff\xd8" and tables[-2:] == b"\xff\xd9" else b"",
        starts=starts,
        lengths=lengths,
        description=description,
    )


# ---- the file that is kept of a box


def box_file(
    layout: Layout, box: Box, contents: Sequence[bytes], about: Mapping[str, Any]
) -> bytes:
    """Return a TIFF of a box, made of the pieces that it touches.

    Parameters
    ----------
    layout : Layout
        Of the slide.
    box : Box
        In pixels of the slide.
    contents : sequence of bytes
        Of each of ``layout.pieces(box)``.
    about : mapping
        What the file says of where it is from; to be written as JSON.

    Raises
    ------
    SlideError
        If the contents do not fit the layout.
    """
    pieces = layout.pieces(box)
    if layout.compression == NONE:
        return _cut_out(layout, box, pieces, contents, about)
    left, top = min(p.x for p in pieces), min(p.y for p in pieces)
    right = min(max(p.x + p.width for p in pieces), layout.width)
    bottom = min(max(p.y + p.height for p in pieces), layout.height)
    tags: dict[int, _Value] = {
        259: (layout.compression,),
        262: (layout.photometric,),
        317: (layout.predictor,),
    }
    if layout.tables:
        tags[347] = layout.tables
    if layout.photometric == _YCBCR:
        tags[530] = layout.subsampling
    if layout.tiled:
        tags |= {322: (layout.piece_width,), 323: (layout.piece_height,)}
    else:
        tags[278] = (layout.piece_height,)
    crop = box.x - left, box.y - top, box.width, box.height
    return _tiff((right - left, bottom - top), layout.samples, tags, contents, crop, about)


def _cut_out(
    layout: Layout,
    box: Box,
    pieces: Sequence[Piece],
    contents: Sequence[bytes],
    about: Mapping[str, Any],
) -> bytes:
    """Return a TIFF of exactly the box, deflated: nothing is lost of what was not compressed."""
    pixels = np.empty((box.height, box.width, 3), np.uint8)
    for piece, content in zip(pieces, contents, strict=True):
        _put(pixels, box, piece, layout.pixels(piece, content))
    strips = [
        zlib.compress(pixels[row : row + ROWS_OF_STRIP].tobytes(), 1)
        for row in range(0, box.height, ROWS_OF_STRIP)
    ]
    tags: dict[int, _Value] = {259: (DEFLATE,), 262: (_RGB,), 278: (ROWS_OF_STRIP,)}
    crop = 0, 0, box.width, box.height
    return _tiff((box.width, box.height), 3, tags, strips, crop, about)


def _put(pixels: NDArray[np.uint8], box: Box, piece: Piece, content: NDArray[np.uint8]) -> None:
    """Copy what a piece has of a box into the box's pixels."""
    left, top = max(piece.x, box.x), max(piece.y, box.y)
    right = min(piece.x + piece.width, box.x + box.width)
    bottom = min(piece.y + piece.height, box.y + box.height)
    pixels[top - box.y : bottom - box.y, left - box.x : right - box.x] = content[
        top - piece.y : bottom - piece.y, left - piece.x : right - piece.x
    ]


_Value = bytes | tuple[int, ...]


def _tiff(
    size: tuple[int, int],
    samples: int,
    tags: Mapping[int, _Value],
    pieces: Sequence[bytes],
    crop: tuple[int, int, int, int],
    about: Mapping[str, Any],
) -> bytes:
    """Return a TIFF of pieces that are compressed already, which no library writes as they are."""
    said = json.dumps({"format": FORMAT, "version": 1, "box": crop, **about}).encode() + b"\0"
    if 8 + sum(map(len, pieces)) + 64 * len(pieces) >= 1 << 32:
        raise SlideError("has a box of more than 4 GB, which a TIFF cannot hold", unknown=True)
    body = io.BytesIO()
    starts = []
    for piece in pieces:
        starts.append(8 + body.tell())
        body.write(piece + b"\0" * (len(piece) % 2))
    tiled = 322 in tags
    directory: dict[int, _Value] = {
        256: (size[0],),
        257: (size[1],),
        258: (8,) * samples,
        270: said,
        277: (samples,),
        284: (1,),
        (324 if tiled else 273): tuple(starts),
        (325 if tiled else 279): tuple(map(len, pieces)),
        **({338: (0,)} if samples == 4 else {}),
        **tags,
    }
    at = 8 + body.tell()
    beyond = at + 2 + 12 * len(directory) + 4
    entries, extra = b"", b""
    for code, value in sorted(directory.items()):
        kind, raw = _encoded(code, value)
        count = len(value)
        if len(raw) > 4:
            raw, extra = (
                struct.pack("<I", beyond + len(extra)),
                extra + raw + b"\0" * (len(raw) % 2),
            )
        entries += struct.pack("<HHI", code, kind, count) + raw.ljust(4, b"\0")
    head = MAGIC + struct.pack("<I", at)
    return b"".join(
        (head, body.getvalue(), struct.pack("<H", len(directory)), entries, bytes(4), extra)
    )


def _encoded(code: int, value: _Value) -> tuple[int, bytes]:
    """Return the type of a tag's values, as TIFF numbers them, and their bytes."""
    if isinstance(value, bytes):
        return (2 if code == 270 else 7), value
    kind, sign = (4, "I") if code in {256, 257, 273, 278, 279, 322, 323, 324, 325} else (3, "H")
    return kind, struct.pack(f"<{len(value)}{sign}", *value)


# ---- reading it


def decode_box(path: Path, reduction: int = 1) -> NDArray[np.uint8]:
    """Return the pixels of a box, or averages of blocks of them.

    Parameters
    ----------
    path : pathlib.Path
        A file that `box_file` has made.
    reduction : int
        Sides of the blocks. Pixels at the far edges that do not fill one are left off.

    Returns
    -------
    numpy.ndarray, shape (height // reduction, width // reduction, 3), uint8
        RGB.

    Raises
    ------
    SlideError
        If it does not decode whole.
    """
    data = Path(path).read_bytes()
    layout, box = _opened(data)
    pixels = np.empty((box.height, box.width, 3), np.uint8)
    for piece in layout.pieces(box):
        _put(pixels, box, piece, layout.pixels(piece, data[piece.start : piece.stop]))
    if reduction == 1:
        return pixels
    height, width = box.height // reduction, box.width // reduction
    blocks = pixels[: height * reduction, : width * reduction].reshape(
        height, reduction, width, reduction, 3
    )
    means: NDArray[np.float32] = blocks.mean(axis=(1, 3), dtype=np.float32)
    return np.rint(means).astype(np.uint8)


def verify_box(path: Path) -> tuple[int, int]:
    """Return width and height of a box, of which every piece gives all its pixels.

    Raises
    ------
    SlideError
        If one does not, or the file is none that `box_file` has made.
    """
    data = Path(path).read_bytes()
    layout, box = _opened(data)
    for piece in layout.pieces(box):
        layout.pixels(piece, data[piece.start : piece.stop], reduced=True)
    return box.width, box.height


def _opened(data: bytes) -> tuple[Layout, Box]:
    layout = read_layout(io.BytesIO(data))
    try:
        said = json.loads(layout.description)
        x, y, width, height = (int(value) for value in said["box"])
        if said["format"] != FORMAT or said["version"] != 1:
            raise ValueError
    except (KeyError, TypeError, ValueError, RecursionError):
        raise SlideError("does not say which box it holds") from None
    return layout, Box(x, y, width, height)


# ---- compressions without loss


def _decompressed(content: bytes, compression: int, size: int) -> bytes:
    """Return what a piece holds, of which no more than `size` and one byte are made."""
    if compression == NONE:
        return content
    if compression == LZW:
        return _lzw(content, size)
    inflating = zlib.decompressobj()
    try:
        plain = inflating.decompress(content, size + 1)
    except zlib.error as error:
        raise SlideError(f"has a piece that does not decompress ({error})") from None
    # the checksum at the end is compared only once all has been read
    if len(plain) == size and not inflating.eof:
        try:
            plain += inflating.decompress(inflating.unconsumed_tail, 1)
        except zlib.error as error:
            raise SlideError(f"has a piece that does not decompress ({error})") from None
    if len(plain) <= size and not inflating.eof:
        raise SlideError("has a piece that breaks off")
    return plain


_CLEAR, _END, _FIRST = 256, 257, 258


def _lzw(content: bytes, size: int) -> bytes:
    """Return what a piece that is compressed by LZW holds.

    No library of the base installation decodes it strictly: OpenCV paints over what is missing.
    """
    single = [bytes((k,)) for k in range(256)] + [b"", b""]
    table = single.copy()
    out: list[bytes] = []
    held = bits = length = 0
    width, before = 9, b""
    for byte in content:
        held, bits = held << 8 | byte, bits + 8
        if bits < width:
            continue
        bits -= width
        code, held = held >> bits, held & ((1 << bits) - 1)
        if code == _END:
            break
        if code == _CLEAR:
            table, width, before = single.copy(), 9, b""
            continue
        if before == b"":
            if code > 255:
                raise SlideError("has a piece that does not decompress (LZW)")
            entry = table[code]
        else:
            if code < len(table):
                entry = table[code]
            elif code == len(table):
                entry = before + before[:1]
            else:
                raise SlideError("has a piece that does not decompress (LZW)")
            table.append(before + entry[:1])
            # one code earlier than it would be needed, as TIFF has it
            width = min(max((len(table) + 1).bit_length(), 9), 12)
        out.append(entry)
        before = entry
        length += len(entry)
        if length > size or len(table) > 4097:
            break
    else:
        if length < size:  # not all writers mark the end
            raise SlideError("has a piece that breaks off")
    return b"".join(out)
