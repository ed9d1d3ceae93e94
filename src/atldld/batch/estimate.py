"""How much a batch will be, before an image is fetched."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from atldld.batch.work import Work
from atldld.errors import AtldldError, UnsupportedPlaneError
from atldld.fetch.placements import read_placement
from atldld.fetch.session import Session
from atldld.find.catalogue import opened
from atldld.place.sections import PlacedDataSet
from atldld.place.spaces import Plane
from atldld.place.tiers import tier_by_size
from atldld.records import SectionDataSet

__all__ = ["BYTES_PER_PIXEL", "Estimate", "Image", "estimate"]

BYTES_PER_PIXEL = 0.17
"""Of the service's JPEGs. The one genuine image at hand, section image 69177654 at tier 2, has
884,066 bytes for 2980 × 1888 pixels: 0.157. Halved again and again and encoded with its own tables
it has 0.155 to 0.184 at tiers 3 to 6. Tiers 0 and 1 are taken to be the same."""

METADATA_REQUESTS = 2
"""For a data set: its record, and its images."""


class Image(NamedTuple):
    """What the size of an image's file depends on.

    Attributes
    ----------
    width, height : int
        In full-resolution pixels.
    resolution : float
        Side of a full-resolution pixel, in µm.
    tier_count : int
        How many tiers there are.
    """

    width: int
    height: int
    resolution: float
    tier_count: int

    def pixels(self, tier: int) -> int:
        """Return how many pixels it has at a tier."""
        return (self.width >> tier) * (self.height >> tier)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a batch will be.

    Attributes
    ----------
    data_sets : int
        How many data sets there are.
    unknown : tuple of int
        Those among them of whose images nothing is known here; the other numbers are without
        them.
    images : int
        Images and expression masks.
    cached : int
        Those among them that are in the cache.
    requests : int
        Requests for what is not in the cache, those for metadata of unknown data sets too.
    fetched_bytes : int
        About how many bytes of images will be fetched.
    written_bytes : int or None
        About how many bytes the result will take; `None` if nobody knows.
    tiers : tuple of int
        The tiers of the images.
    """

    data_sets: int
    unknown: tuple[int, ...]
    images: int
    cached: int
    requests: int
    fetched_bytes: int
    written_bytes: int | None
    tiers: tuple[int, ...]


def estimate(ids: Iterable[int], work: Work, session: Session) -> Estimate:
    """Estimate a batch from the metadata in the cache and in the catalogue. Nothing is requested.

    Parameters
    ----------
    ids : iterable of int
        The data sets.
    work : Work
        What to make of each.
    session : Session
        Says where the cache and the catalogue are.

    Raises
    ------
    CacheError
        If the catalogue is damaged.
    """
    work.check()
    chosen = tuple(dict.fromkeys(ids))
    unknown: list[int] = []
    tiers: set[int] = set()
    images = cached = requests = pixels = written = 0
    complete = True
    with opened(session.cache.root) as catalogue:
        for dataset_id in chosen:
            document = session.cache.read_document("datasets", str(dataset_id))
            document = document or read_placement(session.cache.root, dataset_id)
            if document:
                known = _in_cache(document)
            else:
                known = _in_catalogue(catalogue, dataset_id)
                requests += METADATA_REQUESTS
            if known is None:
                unknown.append(dataset_id)
                continue
            plane_id, found = known
            known_tiers = _known_tiers(work, document) if document else {}
            for image_id, image in found:
                tier = known_tiers.get(image_id, work.tier)
                if tier is None:
                    tier = tier_by_size(work.resolution, image.resolution, image.tier_count - 1)
                tiers.add(tier)
                images += work.views
                there = bool(document) and session.cache.find_image(image_id, tier) is not None
                cached += there
                requests += work.views - there
                pixels += image.pixels(tier) * (work.views - there)
            size = _output_bytes(work, plane_id, len(found))
            complete = complete and size is not None
            written += size or 0
    return Estimate(
        data_sets=len(chosen),
        unknown=tuple(unknown),
        images=images,
        cached=cached,
        requests=requests,
        fetched_bytes=round(pixels * BYTES_PER_PIXEL),
        written_bytes=written if complete and images else None,
        tiers=tuple(sorted(tiers)),
    )


def _known_tiers(work: Work, document: dict[str, Any]) -> dict[int, int]:
    """Return the tiers that will be read, by image id, of a data set whose alignment is known."""
    try:
        record = SectionDataSet.from_records(
            document["section_data_set"], document["section_images"]
        )
        placed = PlacedDataSet.of(record)
        return {section.id: work.tier_of(placed, section) for section in placed}
    except (AtldldError, KeyError, TypeError):
        return {}  # it will be said when it is made


Known = tuple[int | None, list[tuple[int, Image]]]


def _in_cache(document: dict[str, Any]) -> Known | None:
    record = document.get("section_data_set")
    records = document.get("section_images")
    if not isinstance(record, dict) or not isinstance(records, list):
        return None
    found = [(image.get("id"), image) for image in records if isinstance(image, dict)]
    return record.get("plane_of_section_id"), _usable(
        (number, *(image.get(name) for name in (*Image._fields, "failed")))
        for number, image in found
    )


def _in_catalogue(catalogue: Any, dataset_id: int) -> Known | None:
    if catalogue is None:
        return None
    row = catalogue.execute(
        "SELECT plane_of_section_id FROM data_set JOIN imaged ON data_set_id = id WHERE id = ?",
        (dataset_id,),
    ).fetchone()
    if row is None:
        return None
    rows = catalogue.execute(
        f"SELECT id, {', '.join(Image._fields)}, failed FROM image WHERE data_set_id = ?",
        (dataset_id,),
    )
    return row[0], _usable(rows)


def _usable(rows: Iterable[Sequence[Any]]) -> list[tuple[int, Image]]:
    """Return the images that are not failed and whose sizes are known."""
    return [(number, Image(*facts)) for number, *facts, failed in rows if not failed and all(facts)]


def _output_bytes(work: Work, plane_id: int | None, images: int) -> int | None:
    try:
        plane = Plane.from_id(plane_id)
    except UnsupportedPlaneError:
        return 0  # nothing can be made of it
    return work.output_bytes(plane, images)
