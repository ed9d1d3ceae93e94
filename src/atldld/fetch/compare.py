"""Whether the boxes of the public bucket show what the service's images show, at the same place."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from atldld.errors import AnswerError, AtldldError, Remedy, ServiceError
from atldld.fetch import jpeg, pictures
from atldld.fetch.documents import record_in
from atldld.fetch.retry import log
from atldld.fetch.sources import ServiceImages, Wanted
from atldld.records import SectionImage
from atldld.support.files import scratch_folder

if TYPE_CHECKING:
    from atldld.fetch.bucket import BucketImages
    from atldld.fetch.cache import Cache
    from atldld.fetch.client import Client

__all__ = ["LARGEST_SHIFT", "LEAST_LIKENESS", "compare", "shift_between"]

LARGEST_SHIFT = 1.25
"""Pixels of the tier. Either side may round where a box begins, which makes up to one."""

LEAST_LIKENESS = 0.7
"""Correlation of the two pictures, once one is shifted onto the other."""

SIDE = 200
"""Pixels: pictures are compared at the coarsest tier whose longer side has so many."""

Picture = NDArray[np.float32]


def compare(image: SectionImage, bucket: BucketImages, cache: Cache, client: Client | None) -> None:
    """Compare one section of a data set in the bucket with the service's image of it.

    That is one from the cache; where it has none, the service is asked once for a small one. If
    that fails too, nothing is compared, and the log says so.

    Parameters
    ----------
    image : SectionImage
        A section of the data set.
    bucket : BucketImages
        Whose boxes are looked at.
    cache : Cache
        Of what the service has answered.
    client : Client or None
        Asks the service, if it may be asked.

    Raises
    ------
    AnswerError
        If the pictures differ, or lie more than `LARGEST_SHIFT` apart.
    ServiceError
        If the bucket cannot be read.
    """
    found = next(_in_cache(cache, image), None)
    if found is None and client is not None and not bucket.service_fails:
        found = _asked(client, bucket, image)
    if found is None:
        log.info(
            "The boxes of section data set %s in %s could not be compared with the service's "
            "images: none of these is at hand.",
            image.data_set_id,
            bucket.name,
        )
        return
    wanted, theirs = found
    ours = _of_bucket(bucket, wanted)
    if ours is None or min(theirs.shape) < 8 or theirs.std() < 1 or ours.std() < 1:
        return  # there is nothing to see
    dx, dy, likeness = shift_between(theirs, ours)
    log.info(
        "Section image %d of the bucket lies (%.2f, %.2f) pixels from the service's at "
        "downsample %d; their correlation is %.3f.",
        wanted.image.id,
        dx,
        dy,
        wanted.downsample,
        likeness,
    )
    if likeness >= LEAST_LIKENESS and max(abs(dx), abs(dy)) <= LARGEST_SHIFT:
        return
    raise AnswerError(
        f"The bucket's box of section image {wanted.image.id} does not show what the service's "
        f"image shows: at downsample {wanted.downsample} it lies ({dx:.1f}, {dy:.1f}) pixels off, "
        f"and the correlation of the two is {likeness:.2f}.",
        url=bucket.address(wanted),
        image_id=wanted.image.id,
        dataset_id=image.data_set_id,
        hint=f"Take the images of this data set from the service: {Remedy.SOURCE_API}, or "
        "ATLDLD_SOURCE=api.",
        tries=1,
    )


def shift_between(theirs: Picture, ours: Picture) -> tuple[float, float, float]:
    """Return how far a picture lies from another, and how like they are without that.

    Parameters
    ----------
    theirs, ours : numpy.ndarray, shape (height, width), float32
        Grey levels.

    Returns
    -------
    dx, dy : float
        Pixels from theirs to ours, right and down.
    likeness : float
        Their correlation where they overlap, with whole pixels of the shift undone.
    """
    import cv2

    window = cv2.createHanningWindow((theirs.shape[1], theirs.shape[0]), cv2.CV_32F)
    plain = [np.ascontiguousarray(picture - picture.mean()) for picture in (theirs, ours)]
    (dx, dy), _ = cv2.phaseCorrelate(plain[0], plain[1], window)
    x, y = round(dx), round(dy)
    height, width = theirs.shape
    if abs(x) >= width // 2 or abs(y) >= height // 2:
        return dx, dy, 0.0
    first = theirs[max(-y, 0) : height - max(y, 0), max(-x, 0) : width - max(x, 0)]
    second = ours[max(y, 0) : height + min(y, 0), max(x, 0) : width + min(x, 0)]
    with np.errstate(invalid="ignore", divide="ignore"):
        likeness = float(np.corrcoef(first.ravel(), second.ravel())[0, 1])
    return dx, dy, likeness if math.isfinite(likeness) else 0.0


def _tiers(image: SectionImage) -> list[int]:
    """Return the tiers of an image that show enough, the coarsest first, then the others."""
    tiers = range(image.highest_downsample, -1, -1)
    return sorted(tiers, key=lambda tier: max(image.size(tier)) < SIDE)


def _in_cache(cache: Cache, image: SectionImage) -> Iterator[tuple[Wanted, Picture]]:
    """Yield images of the service that the cache has of a data set, this section's first."""
    record = record_in(cache, image.data_set_id)
    others = record.images if record is not None else ()
    for one in (image, *others):
        for tier in _tiers(one):
            held = cache.find_image(one.id, tier, origins=["api"])
            if held is not None:
                try:
                    yield Wanted(one, tier), _grey(jpeg.decode(held.path))
                except AtldldError:
                    continue


def _asked(
    client: Client, bucket: BucketImages, image: SectionImage
) -> tuple[Wanted, Picture] | None:
    wanted = Wanted(image, _tiers(image)[0])
    with scratch_folder() as folder:
        path = Path(folder, "theirs.jpg")
        try:
            with open(path, "w+b") as file:
                client.download(
                    ServiceImages(client).address(wanted),
                    file,
                    lambda: jpeg.verify(path, *wanted.size),
                    once=True,
                )
            return wanted, _grey(jpeg.decode(path))
        except ServiceError as error:
            log.info("%s", error.message)
            bucket.service_fails = True  # so that no other data set waits for it
            return None


def _of_bucket(bucket: BucketImages, wanted: Wanted) -> Picture | None:
    file = io.BytesIO()
    if bucket.fetch(wanted, file, lambda: None) is None:
        return None
    with scratch_folder() as folder:
        path = Path(folder, "ours.tif")
        path.write_bytes(file.getvalue())
        return _grey(pictures.decode(path))


def _grey(pixels: NDArray[np.uint8]) -> Picture:
    return pixels.mean(axis=2, dtype=np.float32)  # type: ignore[no-any-return]
