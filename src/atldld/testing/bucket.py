"""A bucket of slides in this process, laid out like the Allen Institute's, of the demo's brain.

`SlideArchive` lays the sections of a data set of the demo on slides, several on each: its records
say where, as the service's do. `BucketApplication` serves those slides by ranges, in the encoding
that is asked for, with the MD5 of each as its ETag; `objects` gives the same for any other server.

Nothing here uses the code that reads slides.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from atldld.demo.archive import DemoArchive
from atldld.serve.app import Application
from atldld.serve.archive import Archive, Tables, View
from atldld.testing.faults import Where

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

__all__ = ["ENCODINGS", "BucketApplication", "Encoding", "SlideArchive", "both", "slides_of"]

GLASS = 244
"""Grey level of a slide where there is no section."""

Record = dict[str, Any]
Pixels = NDArray[np.uint8]


class SlideArchive(Archive):
    """The demo's data set 909, several sections on a slide.

    Parameters
    ----------
    per_slide : int
        Sections on one slide, one above the other.
    encoding : str
        See `ENCODINGS`.
    displaced : int
        Full-resolution pixels by which slides hold their sections off the boxes that the records
        tell, as in no good bucket.
    """

    synthetic = True
    MARGIN = (488, 328)  # full-resolution pixels beside and above a section

    def __init__(
        self, per_slide: int = 3, *, encoding: str = "jpeg tiles", displaced: int = 0
    ) -> None:
        self.demo = DemoArchive((909,))
        self.encoding = encoding
        self.displaced = displaced
        tables = dict(self.demo.tables())
        (dataset,) = tables["SectionDataSet"]
        self.places: dict[int, tuple[str, int]] = {}
        images = []
        for k, image in enumerate(dataset["section_images"]):
            slide, row = divmod(k, per_slide)
            name = f"section_image_{70000 + slide}.tiff"
            self.places[image["id"]] = name, row
            images.append(self._laid(image, row, per_slide))
        self.images = {image["id"]: image for image in images}
        full = {**dataset, "section_images": images}
        self._tables = tables | {"SectionDataSet": [full], "SectionImage": images}
        self._made: dict[str, bytes] = {}
        self._lock = Lock()

    def _laid(self, image: Mapping[str, Any], row: int, per_slide: int) -> Record:
        across, above = self.MARGIN
        height = image["height"] + 2 * above
        return {
            **image,
            "x": across,
            "y": row * height + above,
            # as wide as a slide with a second column would be
            "image_width": round(1.7 * image["width"]) + 2 * across,
            "image_height": per_slide * height,
        }

    def tables(self) -> Tables:
        """Return the records by model; see `Archive.tables`."""
        return self._tables

    def image(self, image_id: int, downsample: int, view: View, **options: Any) -> bytes | None:
        """Return the service's JPEG of a section; see `Archive.image`."""
        return self.demo.image(image_id, downsample, view, **options)

    def make_file(self, path: str) -> bytes | None:
        """Return a file of the demo's, such as an atlas."""
        return self.demo.make_file(path)

    # ---- the bucket

    def names(self, downsamples: Iterable[int] = (4,)) -> list[str]:
        """Return the names of what the bucket holds at some tiers."""
        slides = sorted({name for name, _ in self.places.values()})
        return [
            "section_data_set_909/section_data_set.json",
            *(
                f"section_data_set_909/downsample_{downsample}/{slide}"
                for downsample in downsamples
                for slide in slides
            ),
        ]

    def content(self, name: str) -> bytes | None:
        """Return what the bucket holds under a name."""
        if name == "section_data_set_909/section_data_set.json":
            return json.dumps(self._bucket_record()).encode()
        found = re.fullmatch(
            r"section_data_set_909/downsample_(\d)/(section_image_\d+\.tiff)", name
        )
        if found is None or int(found[1]) > 4:
            return None
        with self._lock:
            if name not in self._made:
                self._made[name] = self._slide(int(found[1]), found[2])
            return self._made[name]

    def forget(self) -> None:
        """Make slides again, as after a change of the encoding."""
        with self._lock:
            self._made.clear()

    def _bucket_record(self) -> Record:
        sections = []
        for image in self.images.values():
            tiers = {
                f"downsample_{d}": {
                    **{side: image[side] >> d for side in ("width", "height", "x", "y")},
                    "image_file_width": image["image_width"] >> d,
                    "image_file_height": image["image_height"] >> d,
                }
                for d in range(image["tier_count"])
            }
            sections.append(
                {
                    "id": image["id"],
                    "bits_per_component": 8,
                    "resolution": image["resolution"],
                    "section_number": image["section_number"],
                    "downsampling": tiers,
                    "image_file_name": self.places[image["id"]][0],
                }
            )
        return {"id": 909, "section_thickness": 25.0, "section_images": sections}

    def pixels(self, image_id: int, downsample: int) -> Pixels:
        """Return the pixels of a section, before anything was encoded."""
        made = self.demo._rendered(image_id, downsample, "image")
        assert made is not None
        return made

    def _slide(self, downsample: int, slide: str) -> bytes:
        own = [image_id for image_id, (name, _) in self.places.items() if name == slide]
        any_of_them = self.images[own[0]]
        shape = any_of_them["image_height"] >> downsample, any_of_them["image_width"] >> downsample
        canvas = np.full((*shape, 3), GLASS, np.uint8)
        rng = np.random.default_rng(downsample)
        canvas -= rng.integers(0, 5, canvas.shape, np.uint8)
        for image_id in own:
            image = self.images[image_id]
            x, y = ((image[name] + self.displaced) >> downsample for name in ("x", "y"))
            made = self.pixels(image_id, downsample)
            canvas[y : y + made.shape[0], x : x + made.shape[1]] = made
        return ENCODINGS[self.encoding](canvas)


class BucketApplication:
    """What an archive's bucket holds, by HTTP and ranges, as S3 answers.

    Parameters
    ----------
    archive : SlideArchive
        What it holds.

    Attributes
    ----------
    sent : int
        Bytes of bodies so far.
    asked : list of (str, str)
        Names and ranges that were asked for.
    """

    def __init__(self, archive: SlideArchive) -> None:
        self.archive = archive
        self.sent = 0
        self.asked: list[tuple[str, str]] = []
        self._lock = Lock()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a GET."""
        name = environ["PATH_INFO"].lstrip("/")
        content = self.archive.content(name)
        asked = environ.get("HTTP_RANGE", "")
        if content is None:
            start_response("404 Not Found", [("Content-Type", "application/xml")])
            return [b"<Error><Code>NoSuchKey</Code></Error>"]
        headers = [
            ("ETag", f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'),
            ("Accept-Ranges", "bytes"),
            ("Content-Type", "binary/octet-stream"),
        ]
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", asked)
        body, status = content, "200 OK"
        if found is not None:
            start, stop = int(found[1]), min(int(found[2]) + 1, len(content))
            if start >= len(content):
                start_response("416 Range Not Satisfiable", [])
                return [b""]
            body, status = content[start:stop], "206 Partial Content"
            headers.append(("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}"))
        with self._lock:
            self.sent += len(body)
            self.asked.append((name, asked))
        start_response(status, headers)
        return [body]


def both(archive: SlideArchive) -> Callable[..., Iterable[bytes]]:
    """Return one application for the service and its bucket, for they have no path in common."""
    service, bucket = Application(archive), BucketApplication(archive)

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        is_slide = environ["PATH_INFO"].startswith("/section_data_set_")
        return (bucket if is_slide else service)(environ, start_response)

    return answer


def slides_of(archive: SlideArchive) -> Callable[[int], Where]:
    """Return what chooses the requests for the slide of a section image."""

    def of(image_id: int) -> Where:
        name, _ = archive.places[image_id]
        return lambda request: request.path.endswith(f"/{name}")

    return of


# ---- encodings


@dataclass(frozen=True)
class Encoding:
    """How slides are written.

    Parameters
    ----------
    pieces : callable
        Takes the pixels and gives the tags and the encoded pieces.
    big : bool
        BigTIFF.
    directory_first : bool
        Before the pieces, else behind them.
    """

    pieces: Callable[[Pixels], tuple[Mapping[int, Sequence[int] | bytes], list[bytes]]]
    big: bool = False
    directory_first: bool = True

    def __call__(self, pixels: Pixels) -> bytes:
        """Return the file."""
        tags, pieces = self.pieces(pixels)
        height, width = pixels.shape[:2]
        common = {256: [width], 257: [height], 258: [8, 8, 8], 277: [3], 284: [1]}
        return _tiff({**common, **tags}, pieces, self.big, self.directory_first)


def _jpeg_tiles(
    side: int, quality: int, sampling: str, *, shared: bool
) -> Callable[[Pixels], tuple[Mapping[int, Sequence[int] | bytes], list[bytes]]]:
    def pieces(pixels: Pixels) -> tuple[Mapping[int, Sequence[int] | bytes], list[bytes]]:
        found, tables = [], b""
        for tile in _tiles(pixels, side):
            jpeg: bytes = simplejpeg.encode_jpeg(tile, quality, "RGB", sampling)
            own, rest = _parted(jpeg)
            tables = own
            found.append(rest if shared else jpeg)
        factors = {"420": [2, 2], "422": [2, 1], "444": [1, 1]}[sampling]
        tags: dict[int, Sequence[int] | bytes] = {
            259: [7],
            262: [6],
            322: [side],
            323: [side],
            530: factors,
        }
        if shared:
            tags[347] = b"\xff\xd8" + tables + b"\xff\xd9"
        return tags, found

    return pieces


def _rgb_tiles(
    side: int,
) -> Callable[[Pixels], tuple[Mapping[int, Sequence[int] | bytes], list[bytes]]]:
    """Return what encodes JPEGs of red, green and blue as they are, through OpenCV's libtiff."""

    def pieces(pixels: Pixels) -> tuple[Mapping[int, Sequence[int] | bytes], list[bytes]]:
        found, tables = [], b""
        for tile in _tiles(pixels, side):
            piece, tables = _written_by_libtiff(tile, 7, 1)
            found.append(piece)
        return {259: [7], 262: [2], 322: [side], 323: [side], 347: tables}, found

    return pieces


def _parted(jpeg: bytes) -> tuple[bytes, bytes]:
    """Return the tables of a JPEG, and the JPEG without them."""
    at, tables, rest = 2, b"", jpeg[:2]
    while jpeg[at + 1] != 0xDA:
        length = int.from_bytes(jpeg[at + 2 : at + 4])
        segment = jpeg[at : at + 2 + length]
        if jpeg[at + 1] in {0xDB, 0xC4}:
            tables += segment
        else:
            rest += segment
        at += 2 + length
    return tables, rest + jpeg[at:]


def _tiles(pixels: Pixels, side: int) -> Iterator[Pixels]:
    height, width = pixels.shape[:2]
    padded = np.pad(pixels, ((0, -height % side), (0, -width % side), (0, 0)), mode="edge")
    for y in range(0, height, side):
        for x in range(0, width, side):
            yield np.ascontiguousarray(padded[y : y + side, x : x + side])


def _lossless(
    compression: int, *, side: int = 0, rows: int = 16, predictor: int = 1
) -> Callable[[Pixels], tuple[Mapping[int, Sequence[int] | bytes], list[bytes]]]:
    """Return what encodes tiles of a side, or strips of some rows, through OpenCV's libtiff."""

    def pieces(pixels: Pixels) -> tuple[Mapping[int, Sequence[int] | bytes], list[bytes]]:
        parts = (
            list(_tiles(pixels, side))
            if side
            else [pixels[y : y + rows] for y in range(0, len(pixels), rows)]
        )
        tags: dict[int, Sequence[int] | bytes] = {259: [compression], 262: [2], 317: [predictor]}
        tags |= {322: [side], 323: [side]} if side else {278: [rows]}
        return tags, [_piece(part, compression, predictor) for part in parts]

    return pieces


def _piece(part: Pixels, compression: int, predictor: int) -> bytes:
    if compression == 1:
        return part.tobytes()
    return _written_by_libtiff(part, compression, predictor)[0]


def _written_by_libtiff(part: Pixels, compression: int, predictor: int) -> tuple[bytes, bytes]:
    """Return pixels as one strip that OpenCV's libtiff has encoded, and the JPEG's tables."""
    import tifffile

    done, data = cv2.imencode(
        ".tif",
        np.ascontiguousarray(part[..., ::-1]),
        [
            *(cv2.IMWRITE_TIFF_COMPRESSION, compression),
            *(cv2.IMWRITE_TIFF_PREDICTOR, predictor),
            *(cv2.IMWRITE_TIFF_ROWSPERSTRIP, len(part)),
        ],
    )
    assert done
    whole = data.tobytes()
    with tifffile.TiffFile(io.BytesIO(whole)) as tiff:
        page = tiff.pages.first
        (start,), (length,) = page.dataoffsets, page.databytecounts
        return whole[start : start + length], bytes(page.jpegtables or b"")


def _tiff(
    tags: Mapping[int, Sequence[int] | bytes], pieces: Sequence[bytes], big: bool, first: bool
) -> bytes:
    """Return a TIFF of encoded pieces."""
    tiled = 322 in tags
    where, how_long = (324, 325) if tiled else (273, 279)
    word, sign = (8, "Q") if big else (4, "I")
    head = 16 if big else 8
    count = len(tags) + 2
    directory = (8 if big else 2) + count * (20 if big else 12) + word

    def values(code: int, value: Sequence[int] | bytes) -> tuple[int, int, bytes]:
        if isinstance(value, bytes):
            return 7, len(value), value
        if code in {where, how_long}:
            return (16 if big else 4), len(value), struct.pack(f"<{len(value)}{sign}", *value)
        kind, letter = (4, "I") if max(value) > 65535 else (3, "H")
        return kind, len(value), struct.pack(f"<{len(value)}{letter}", *value)

    lengths = [len(piece) for piece in pieces]
    known = {**tags, how_long: lengths, where: [0] * len(pieces)}
    beyond = sum(
        len(raw) + len(raw) % 2
        for raw in (values(code, value)[2] for code, value in known.items())
        if len(raw) > word
    )
    data_at = head + (directory + beyond if first else 0)
    directory_at = head if first else head + sum(lengths) + sum(lengths) % 2
    known[where] = (data_at + np.cumsum([0, *lengths[:-1]])).tolist()
    entries, extra = b"", b""
    for code, value in sorted(known.items()):
        kind, number, raw = values(code, value)
        if len(raw) > word:
            at = directory_at + directory + len(extra)
            extra += raw + b"\0" * (len(raw) % 2)
            raw = struct.pack(f"<{sign}", at)
        entries += struct.pack(f"<HH{sign}", code, kind, number) + raw.ljust(word, b"\0")
    listing = struct.pack("<Q" if big else "<H", count) + entries + bytes(word) + extra
    start = (
        struct.pack("<2sHHHQ", b"II", 43, 8, 0, directory_at)
        if big
        else struct.pack("<2sHI", b"II", 42, directory_at)
    )
    data = b"".join(pieces)
    return start + (listing + data if first else data + b"\0" * (len(data) % 2) + listing)


ENCODINGS: Mapping[str, Encoding] = {
    "jpeg tiles": Encoding(_jpeg_tiles(256, 90, "420", shared=True)),
    "jpeg tiles, directory last": Encoding(
        _jpeg_tiles(128, 85, "422", shared=False), directory_first=False
    ),
    "jpeg tiles, rgb": Encoding(_rgb_tiles(128)),
    "jpeg tiles, big": Encoding(_jpeg_tiles(64, 90, "420", shared=True), big=True),
    "lzw strips": Encoding(_lossless(5, predictor=2), directory_first=False),
    "lzw tiles": Encoding(_lossless(5, side=128), big=True),
    "deflate strips": Encoding(_lossless(8, rows=7, predictor=2)),
    "deflate tiles": Encoding(_lossless(8, side=64, predictor=2), directory_first=False),
    "plain strips": Encoding(_lossless(1, rows=5)),
    "plain tiles": Encoding(_lossless(1, side=64), big=True, directory_first=False),
}
"""Ways to write slides, by name: how the genuine ones are written is not known."""
