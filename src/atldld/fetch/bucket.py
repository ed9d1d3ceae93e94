"""The public bucket of slides: section images without the service's help.

``section_data_set_<id>/section_data_set.json`` says on which slide each section is, and in which
box of it at each tier; ``section_data_set_<id>/downsample_<d>/<slide>`` are whole slides, as TIFF.
Only the bytes that a box needs are read, by ranges.

What is verified: of whole files, the MD5 that their ETag is; of ranges, that each is the one asked
for, that all are of one version of the file (one ETag), that every tile or strip decodes whole and
to its own size, and that box and slide have the sizes that the records say. Nothing tells a bit
that has flipped within a tile and leaves it decodable.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from threading import Lock
from typing import Any, BinaryIO

import msgspec

from atldld.errors import (
    AnswerError,
    BrokenImageError,
    HTTPStatusError,
    Remedy,
    ServiceError,
)
from atldld.fetch.cache import Cache
from atldld.fetch.client import Client
from atldld.fetch.facts import FileFacts
from atldld.fetch.retry import log
from atldld.fetch.slides import Box, Piece, SlideError, box_file, read_layout
from atldld.fetch.sources import ImageSource, Received, Wanted
from atldld.records import SectionImage
from atldld.support.documents import DocumentError, parse_as
from atldld.support.processes import renew_in_children

__all__ = ["BucketImages", "ranges_of"]

HEAD = 2048
"""Bytes that are read first: the head of a TIFF, and in most its directory."""

WORTH_ALL = 1.3
"""A file is read whole, and so proved by its MD5, if it has no more than so many times the bytes
that a box needs of it."""

WASTE = 0.05
"""Part of a box's bytes that may be read beside them, to need fewer requests."""

LARGEST_RECORD = 16 << 20
LARGEST_WHOLE = 64 << 20

_NOT_THERE = {403, 404}  # a bucket that nobody may list says 403

_SLIDE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)


class _Tier(msgspec.Struct, frozen=True):
    """Where a section lies on its slide, at one tier."""

    width: int
    height: int
    x: int
    y: int
    image_file_width: int
    image_file_height: int


class _Section(msgspec.Struct, frozen=True):
    id: int
    image_file_name: str
    downsampling: dict[str, _Tier]


class _Record(msgspec.Struct, frozen=True):
    id: int
    section_images: list[_Section]


class BucketImages(ImageSource):
    """The public bucket ``allen-mouse-brain-atlas``, or one that is laid out like it.

    It has no expression masks.

    Parameters
    ----------
    client : Client
        Asks it.
    cache : Cache
        Where its records of data sets are kept.

    Attributes
    ----------
    service_fails : bool
        Set by whoever has found that the service, which it stands in for, does not answer.
    """

    def __init__(self, client: Client, cache: Cache) -> None:
        self._client = client
        self._cache = cache
        self.service_fails = False
        self._records: dict[int, dict[int, _Section] | None] = {}
        self._compared: dict[int, AnswerError | None] = {}
        self._comparing: dict[int, Lock] = {}
        self._lock = Lock()
        renew_in_children(self)

    def __reduce__(self) -> tuple[type[BucketImages], tuple[Client, Cache]]:
        return BucketImages, (self._client, self._cache)

    @property
    def name(self) -> str:
        """What it is called within a sentence."""
        return f"the bucket at {self._client.base_url}"

    @property
    def requests_sent(self) -> int:
        """How many requests it has sent."""
        return self._client.requests_sent

    def address(self, wanted: Wanted) -> str:
        """Return the address of the slide, or where it would be."""
        dataset_id = wanted.image.data_set_id
        section = (self._records.get(dataset_id or 0) or {}).get(wanted.image.id)
        slide = section.image_file_name if section else "section_image.tiff"
        return self._url(f"section_data_set_{dataset_id}/downsample_{wanted.downsample}/{slide}")

    def fetch(self, wanted: Wanted, file: BinaryIO, check: Callable[[], object]) -> Received | None:
        """Write a TIFF with the box of a section; see `ImageSource.fetch`.

        Raises
        ------
        AnswerError
            If the bucket's record of the section contradicts the service's.
        BrokenImageError
            If what the bucket holds is no slide that can be read.
        ServiceError
            If it cannot be fetched.
        """
        section = self._section(wanted.image)
        if section is None or wanted.expression:
            return None
        tier = section.downsampling.get(f"downsample_{wanted.downsample}")
        if tier is None:
            return None
        _check_record(wanted, section, tier)
        url = self.address(wanted)

        def attempt() -> Received:
            content = self._box(url, wanted, tier)
            file.seek(0)
            file.truncate()
            file.write(content)
            check()
            return Received(url, hashlib.sha256(content).hexdigest())

        try:
            return self._client.persist(attempt)
        except HTTPStatusError as error:
            if error.status_code not in _NOT_THERE:
                raise
            log.info("%s has a record of %s, but no slide.", self.name, wanted)
            return None

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def renew(self) -> None:
        """Make new locks in a forked child."""
        self._lock = Lock()
        self._comparing = {}

    @contextmanager
    def first_use(self, dataset_id: int) -> Iterator[bool]:
        """Tell whether a data set is used for the first time, so that its boxes are compared.

        All others who use it wait for that. An `~atldld.errors.AnswerError` that it raises is
        raised for each image of the data set.
        """
        with self._lock:
            lock = self._comparing.setdefault(dataset_id, Lock())
        with lock:
            known = self._compared.get(dataset_id)
            if known is not None:
                raise known.about()
            first = dataset_id not in self._compared
            try:
                yield first
            except AnswerError as error:
                if first and not isinstance(error, BrokenImageError):
                    self._compared[dataset_id] = error
                raise
            self._compared[dataset_id] = None

    def _url(self, path: str) -> str:
        return self._client.url(f"/{path}")

    # ---- records

    def _section(self, image: SectionImage) -> _Section | None:
        """Return what the bucket says of a section image, if it has it."""
        if image.data_set_id is None:
            return None
        with self._lock:
            known = image.data_set_id in self._records
        if not known:
            found = self._fetched_record(image.data_set_id)
            with self._lock:
                self._records[image.data_set_id] = found
        return (self._records[image.data_set_id] or {}).get(image.id)

    def _fetched_record(self, dataset_id: int) -> dict[int, _Section] | None:
        name = f"section_data_set_{dataset_id}/section_data_set.json"
        url = self._url(name)
        held = self._cache.find_file(name)
        if held is None:
            with self._cache.new_file(name) as arriving:
                held = self._cache.find_file(name)
                if held is None:

                    def check() -> None:
                        _record(arriving.path.read_bytes(), dataset_id, url)

                    try:
                        sha256 = self._client.download(
                            url, arriving.file, check, largest=LARGEST_RECORD, md5=True
                        )
                    except HTTPStatusError as error:
                        if error.status_code not in _NOT_THERE:
                            raise
                        log.info("%s has no section data set %d.", self.name, dataset_id)
                        return None
                    held = arriving.keep(FileFacts(url=url, sha256=sha256))
        record = _record(held.path.read_bytes(), dataset_id, url)
        return {section.id: section for section in record.section_images}

    # ---- slides

    def _box(self, url: str, wanted: Wanted, tier: _Tier) -> bytes:
        """Return the TIFF of a box."""
        slide = _Slide(self._client, url)
        what = f"The slide of {str(wanted)[:1].lower()}{str(wanted)[1:]}"
        box = Box(tier.x, tier.y, tier.width, tier.height)
        try:
            layout = read_layout(slide)
            told = tier.image_file_width, tier.image_file_height
            if (layout.width, layout.height) != told:
                raise SlideError(
                    f"has {layout.width} × {layout.height} pixels, but its record says "
                    f"{told[0]} × {told[1]}"
                )
            pieces = layout.pieces(box)
            contents = slide.read_pieces(pieces)
            about = {
                "slide": url,
                "etag": slide.etag,
                "md5_verified": slide.whole,
                "box_on_slide": (box.x, box.y, box.width, box.height),
            }
            # whether each piece decodes whole is seen when the file is checked
            return box_file(layout, box, contents, about)
        except SlideError as error:
            raise BrokenImageError(
                f"{what} {error}.",
                url=url,
                hint=f"Take the images from the service: {Remedy.SOURCE_API}, or ATLDLD_SOURCE=api."
                if error.unknown
                else None,
                tries=1 if error.unknown else None,
            ) from None


class _Slide(io.RawIOBase):
    """A file on a server, read by ranges; each byte only once."""

    def __init__(self, client: Client, url: str) -> None:
        self._client = client
        self._url = url
        self._parts: list[tuple[int, bytes]] = []  # what has been read: where, and what
        self._at = 0
        self.etag = ""
        self.whole = False
        with _given_up():
            first = client.get_range(url, 0, HEAD)
        self.size, self.etag = first.size, first.etag
        self._parts.append((0, first.content))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        stop = self.size if size is None or size < 0 else min(self._at + size, self.size)
        if stop - self._at > LARGEST_RECORD:
            raise SlideError("has a directory that is too large to be read", unknown=True)
        content = self._bytes(self._at, stop) if stop > self._at else b""
        self._at += len(content)
        return content

    def readinto(self, buffer: Any, /) -> int:
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def _held(self, start: int, stop: int) -> bytes | None:
        for first, content in self._parts:
            if first <= start and stop <= first + len(content):
                return content[start - first : stop - first]
        return None

    def _bytes(self, start: int, stop: int) -> bytes:
        """Return some bytes of the directory, and read on a little, as more are wanted next."""
        held = self._held(start, stop)
        if held is None:
            self._fetch(start, min(max(stop, start + HEAD), self.size))
            held = self._held(start, stop)
        assert held is not None
        return held

    def _fetch(self, start: int, stop: int) -> None:
        with _given_up():
            part = self._client.get_range(self._url, start, stop)
        if (part.size, part.etag) != (self.size, self.etag):
            raise AnswerError("The slide has changed while it was read.", url=self._url)
        self._parts.append((start, part.content))

    def read_pieces(self, pieces: Sequence[Piece]) -> list[bytes]:
        """Return the bytes of pieces, in few requests, or from the whole file."""
        if any(piece.stop > self.size for piece in pieces):
            raise SlideError("breaks off")
        spans = [(piece.start, piece.stop) for piece in pieces]
        needed = sum(stop - start for start, stop in _united(spans))
        if self.size <= min(WORTH_ALL * needed, LARGEST_WHOLE):
            self._read_all()
        for start, stop in ranges_of(spans):
            if self._held(start, stop) is None:
                self._fetch(start, stop)
        found = [self._held(start, stop) for start, stop in spans]
        contents = [content for content in found if content is not None]
        if len(contents) < len(spans):
            raise SlideError("breaks off")
        return contents

    def _read_all(self) -> None:
        if self._held(0, self.size) is not None:
            return
        file = io.BytesIO()

        def check() -> None:
            if len(file.getvalue()) != self.size:
                raise AnswerError(
                    f"{len(file.getvalue())} bytes arrived instead of {self.size}.", url=self._url
                )

        with _given_up():
            self._client.download(self._url, file, check, largest=self.size, md5=True)
        self._parts = [(0, file.getvalue())]
        self.whole = bool(re.fullmatch(r'"?[0-9a-f]{32}"?', self.etag))


def ranges_of(spans: Iterable[tuple[int, int]], waste: float = WASTE) -> list[tuple[int, int]]:
    """Return the ranges to ask for: spans that are near one another become one.

    Parameters
    ----------
    spans : iterable of (int, int)
        First byte, and the first one after the span.
    waste : float
        Part of the spans' bytes that may be read between them.

    Returns
    -------
    list of (int, int)
        In order; they do not touch.
    """
    united = _united(spans)
    gaps = sorted((after[0] - before[1], k) for k, (before, after) in enumerate(_pairs(united)))
    left = waste * sum(stop - start for start, stop in united)
    closed = set()
    for gap, k in gaps:
        if gap > left:
            break
        left -= gap
        closed.add(k)
    ranges: list[tuple[int, int]] = []
    for k, (start, stop) in enumerate(united):
        if ranges and k - 1 in closed:
            ranges[-1] = ranges[-1][0], stop
        else:
            ranges.append((start, stop))
    return ranges


def _united(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return spans in order, those that touch or overlap as one."""
    found: list[tuple[int, int]] = []
    for start, stop in sorted(span for span in spans if span[1] > span[0]):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], stop)
        else:
            found.append((start, stop))
    return found


def _pairs(
    spans: Sequence[tuple[int, int]],
) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    return pairwise(spans)


@contextmanager
def _given_up() -> Iterator[None]:
    """Do not begin a box again for a request that has failed in all its own tries."""
    try:
        yield
    except ServiceError as error:
        error.tries = 1
        raise


def _record(content: bytes, dataset_id: int, url: str) -> _Record:
    """Read what the bucket says of a data set."""
    try:
        record = parse_as(content, _Record)
    except DocumentError as error:
        raise AnswerError(
            f"The bucket's record of section data set {dataset_id} {error}.", url=url
        ) from None
    if record.id != dataset_id:
        raise AnswerError(
            f"The bucket's record of section data set {dataset_id} is that of {record.id}.", url=url
        )
    for section in record.section_images:
        if not _SLIDE.fullmatch(section.image_file_name):
            raise AnswerError(
                f"The bucket's record of section data set {dataset_id} names a slide "
                f"{section.image_file_name!r:.60}.",
                url=url,
            )
    return record


def _check_record(wanted: Wanted, section: _Section, tier: _Tier) -> None:
    """Refuse a box of another size, or at another place, than the service's record has it."""
    image = wanted.image
    full = section.downsampling.get("downsample_0")
    wrong = (tier.width, tier.height) != wanted.size or (
        full is not None and (full.width, full.height) != (image.width, image.height)
    )
    told = f"{tier.width} × {tier.height}"
    expected = f"{wanted.size[0]} × {wanted.size[1]}"
    # tiers are rounded down, each from the one before or all from the first
    places = [(tier.x, image.x >> wanted.downsample), (tier.y, image.y >> wanted.downsample)]
    if any(abs(found - known) > 1 for found, known in places):
        wrong = True
        told += f" at ({tier.x}, {tier.y})"
        expected += f" at ({places[0][1]}, {places[1][1]})"
    if wrong:
        raise AnswerError(
            f"The bucket has the box of section image {image.id} with {told} pixels at downsample "
            f"{wanted.downsample}, and the service's record {expected}.",
            image_id=image.id,
            dataset_id=image.data_set_id,
            hint="One of the two is wrong: look at both, and take the images from the service.",
            tries=1,
        )
