"""The pictures of sections: tiers, tiles of them, and thumbnails, from the cache or the service."""

from __future__ import annotations

import threading

import cv2
import numpy as np
from numpy.typing import NDArray

from atldld.errors import InvalidInputError, OfflineError, OutputError
from atldld.fetch.session import Session, check_downsample
from atldld.formats.pictures import as_thumbnail
from atldld.records import SectionImage
from atldld.support.bounded import Bounded

__all__ = ["TILE", "Pictures"]

TILE = 512
"""Pixels along the side of a tile."""

_SMALL = 256  # pixels along the longer side of a thumbnail
_DECODED = 160 << 20  # bytes of pixels that are kept; one larger picture may be kept alone
_THUMBNAILS = 1000
_QUALITY = 88


class Pictures:
    """Pictures of sections, of which the last ones are kept decoded.

    Parameters
    ----------
    session : Session
        Where they come from.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._making: dict[tuple[int, int, bool], threading.Lock] = {}
        self._pixels: Bounded[tuple[int, int, bool], NDArray[np.uint8]] = Bounded(
            _DECODED, lambda pixels: pixels.nbytes
        )
        self._small: Bounded[tuple[int, bool], bytes] = Bounded(_THUMBNAILS, lambda _: 1)

    def tiers(self, image: SectionImage) -> list[dict[str, int]]:
        """Return the tiers that can be shown; offline, those that the cache has or can make."""
        found = range(image.highest_downsample + 1)
        if self._session.settings.offline:
            held = [tier for tier in found if self._has(image, tier)]
            found = range(min(held, default=0), image.highest_downsample + 1)
        sizes = {tier: image.size(tier) for tier in found}
        return [
            {"tier": tier, "width": width, "height": height}
            for tier, (width, height) in sizes.items()
            if min(width, height) >= 1
        ]

    def whole(self, image: SectionImage, tier: int, *, expression: bool = False) -> bytes:
        """Return a whole tier as the service has it: a JPEG.

        Raises
        ------
        InvalidInputError
            If there is no such tier.
        ImageNotFoundError, OfflineError, ServiceError, CacheError
            If it cannot be fetched.
        """
        held = self._session.image(image, tier, expression=expression)
        return held.path.read_bytes()

    def tile(
        self, image: SectionImage, tier: int, column: int, row: int, *, expression: bool = False
    ) -> bytes:
        """Return a tile of a tier, as a JPEG; those at the far edges are smaller.

        Raises
        ------
        InvalidInputError
            If there is no such tile.
        ImageNotFoundError, OfflineError, ServiceError, CacheError
            If it cannot be fetched.
        """
        tier = check_downsample(image, tier)
        width, height = image.size(tier)
        if not (0 <= column * TILE < width and 0 <= row * TILE < height):
            raise InvalidInputError(
                f"Section image {image.id} has no tile ({column}, {row}) at tier {tier}.",
                image_id=image.id,
            )
        pixels = self._decoded(image, tier, expression)
        part = pixels[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE]
        done, data = cv2.imencode(
            ".jpg", cv2.cvtColor(part, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
        )
        if not done:
            raise OutputError("A picture cannot be encoded as JPEG.")
        return data.tobytes()

    def thumbnail(self, image: SectionImage, *, expression: bool = False) -> bytes:
        """Return a small picture, as a JPEG."""
        key = image.id, expression
        with self._lock:
            known = self._small.get(key)
        if known is not None:
            return known
        tiers = range(image.highest_downsample + 1)
        tier = max((t for t in tiers if max(image.size(t)) >= _SMALL), default=0)
        # decoded for this alone: hundreds of them would push out what is looked at
        made = as_thumbnail(self._read(image, tier, expression), _SMALL)
        with self._lock:
            self._small.keep(key, made)
        return made

    def _decoded(self, image: SectionImage, tier: int, expression: bool) -> NDArray[np.uint8]:
        key = image.id, tier, expression
        with self._lock:
            known = self._pixels.get(key)
            if known is not None:
                return known
            making = self._making.setdefault(key, threading.Lock())
        with making:  # tiles are asked for by the dozen
            with self._lock:
                known = self._pixels.get(key)
            if known is None:
                known = self._read(image, tier, expression)
                with self._lock:
                    self._pixels.keep(key, known)
        with self._lock:
            self._making.pop(key, None)
        return known

    def _read(self, image: SectionImage, tier: int, expression: bool) -> NDArray[np.uint8]:
        try:
            return self._session.pixels(image, tier, expression=expression)
        except OfflineError:
            finer = next(
                (t for t in range(tier - 1, -1, -1) if self._has(image, t, expression)), None
            )
            if finer is None:
                raise
            pixels = self._session.pixels(
                image, finer, expression=expression, reduction=1 << min(tier - finer, 3)
            )
            size = image.size(tier)
            if pixels.shape[1::-1] == size:
                return pixels
            smaller = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
            return smaller.astype(np.uint8, copy=False)

    def _has(self, image: SectionImage, tier: int, expression: bool = False) -> bool:
        return self._session.cache.image_path(image.id, tier, expression=expression).is_file()
