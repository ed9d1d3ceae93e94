"""The volumes of the Allen Institute's atlas: which there are, fetched, verified, ready to use.

Each is a gzip NRRD file in the informatics archive. It is fetched once and kept as it is, below
``files/``; beside it, below ``unpacked/``, the array is kept as a ``.npy`` file that can be mapped
into memory, so that opening it again takes milliseconds and only the pages that are read.

The headers' orientation is not to be relied on, as the institute itself says, and is not read: the
axes are (p, i, r). The shape and the spacing must be those that the file's name says.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atldld.errors import AnswerError, InvalidInputError
from atldld.export.common import need
from atldld.fetch.cache import CachedFile, replacing, sha256_of
from atldld.settings import DOWNLOAD_URL
from atldld.spaces import BOX

if TYPE_CHECKING:
    from atldld.fetch.session import Session

__all__ = ["KINDS", "RESOLUTIONS", "VolumeFile", "read_volume", "volume_file"]

RESOLUTIONS = (10, 25, 50, 100)
"""Sides of the voxels, in µm, in which each volume is offered."""

KINDS = ("annotation", "average_template", "ara_nissl")
"""What volumes there are: ids of structures, and grey values of two kinds."""

_FOLDER = "informatics-archive/current-release/mouse_ccf"
_SUBFOLDER = {
    "annotation": "annotation/ccf_2017",
    "average_template": "average_template",
    "ara_nissl": "ara_nissl",
}
_BYTES_A_VOXEL = {"annotation": 4, "average_template": 2, "ara_nissl": 4}

# Of the institute's own files, where they are known.
_SHA256 = {
    "annotation_25": "c620cbcc562183e4dcd40250d440130501781f74b41de35b1c1bdabace290c42",
    "average_template_25": "e4a2b483e842b4c8c1b5452d940ea59e14bc1ebaa38fe6a9c3bacac6db2a8f4b",
}
_SIZES = {"annotation_25": 4_035_363}


@dataclass(frozen=True, slots=True)
class VolumeFile:
    """One volume of the atlas, there or not.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    resolution : int
        Side of a voxel, in µm.
    """

    kind: str
    resolution: int

    @property
    def name(self) -> str:
        """Such as ``"annotation_25"``."""
        return f"{self.kind}_{self.resolution}"

    @property
    def path(self) -> str:
        """Path of its address on the informatics archive."""
        return f"{_FOLDER}/{_SUBFOLDER[self.kind]}/{self.name}.nrrd"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along (p, i, r)."""
        p, i, r = (side // self.resolution for side in BOX)
        return p, i, r

    @property
    def unpacked_bytes(self) -> int:
        """Length of the array that the service keeps."""
        return int(np.prod(self.shape)) * _BYTES_A_VOXEL[self.kind]

    @property
    def described_size(self) -> str:
        """How much there is to fetch, as far as that is known, and what it takes unpacked."""
        unpacked = f"{_size(self.unpacked_bytes)} unpacked"
        known = _SIZES.get(self.name)
        return f"{_size(known)}, {unpacked}" if known else f"less than {unpacked}"

    def held(self, session: Session) -> CachedFile | None:
        """Return the verified file, if it is in the cache."""
        return session.find_file(self.path, host="download")

    def fetch(
        self, session: Session, *, progress: Callable[[int, int | None], None] | None = None
    ) -> CachedFile:
        """Return the verified file, fetching it if need be.

        Raises
        ------
        OfflineError
            It is not in the cache, and no request is allowed; the hint names command and size.
        ServiceError, CacheError
            It cannot be fetched or kept.
        """
        return self._fetch(session, progress, lambda _: None)

    def open(
        self, session: Session, *, progress: Callable[[int, int | None], None] | None = None
    ) -> tuple[NDArray[Any], bool, CachedFile]:
        """Return the array mapped into memory, fetching the file if need be.

        Returns
        -------
        array : numpy.ndarray, shape `shape`
            Read-only, in the file's own order of bytes (p is the fastest axis). In a cache that
            cannot be written it is in memory, not mapped.
        synthetic : bool
            Whether the file says that it is the demo brain's.
        file : CachedFile
            The file.

        Raises
        ------
        OfflineError, ServiceError, CacheError
            It cannot be had.
        """
        read: list[NDArray[Any]] = []  # what the check has read need not be read again
        file = self._fetch(session, progress, read.append)
        root = session.archive_cache.root
        path = root / "unpacked" / f"{self.path}-{file.sha256[:16]}.npy"
        synthetic = _is_synthetic(_header(file.path))
        if not path.exists():
            array = read[0] if read else self._checked(file.path)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with replacing(path) as temporary:
                    np.save(temporary, array)
            except OSError:  # read-only, or full: it does without the file
                array.flags.writeable = False
                return array, synthetic, file
            for old in path.parent.glob(f"{self.name}.nrrd-*.npy"):
                if old != path:  # which another process may just have made too
                    with suppress(OSError):  # Windows keeps what a process has mapped
                        old.unlink()
        return np.load(path, mmap_mode="r"), synthetic, file

    def _fetch(
        self,
        session: Session,
        progress: Callable[[int, int | None], None] | None,
        keep: Callable[[NDArray[Any]], None],
    ) -> CachedFile:
        own = session.settings.download_url == DOWNLOAD_URL

        def check(path: Path) -> None:
            expected = _SHA256.get(self.name) if own else None
            if expected is not None and (found := sha256_of(path)) != expected:
                raise AnswerError(
                    f"What arrived for {self.name}.nrrd is not the Allen Institute's file: its "
                    f"SHA-256 is {found} instead of {expected}.",
                    hint="Try again later.",
                )
            keep(self._checked(path))

        return session.file(
            self.path,
            host="download",
            check=check,
            what=f"The volume {self.name} of the atlas",
            remedy=f"Fetch it once with `atldld atlas fetch {self.kind} --resolution "
            f"{self.resolution}` ({self.described_size}).",
            # gzip shrinks everything that is met here; the header takes a little
            largest=self.unpacked_bytes + (1 << 20),
            progress=progress,
        )

    def _checked(self, path: Path) -> NDArray[Any]:
        """Read a file of this name, or say how it is another."""
        try:
            array, _ = read_volume(path, self.resolution, self.kind, name=f"{self.name}.nrrd")
        except InvalidInputError as error:
            raise AnswerError(error.message, hint=error.hint) from None
        return array


def volume_file(kind: str, resolution: float) -> VolumeFile:
    """Return one of the volumes that there are.

    Raises
    ------
    InvalidInputError
        There is none of that kind or resolution.
    """
    if kind not in KINDS:
        raise InvalidInputError(
            f"There is no volume {kind!r} in the atlas; there are {', '.join(KINDS)}."
        )
    if resolution not in RESOLUTIONS:
        raise InvalidInputError(
            f"The atlas is offered at {', '.join(map(str, RESOLUTIONS))} µm, but not at "
            f"{resolution:g} µm."
        )
    return VolumeFile(kind, int(resolution))


def read_volume(
    path: Path, resolution: float | None, kind: str, *, name: str | None = None
) -> tuple[NDArray[Any], bool]:
    """Read an NRRD file over the reference space.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    resolution : float or None
        The side of a voxel that it must have, in µm; what its shape says by default.
    kind : str
        ``"annotation"`` must hold ids.
    name : str, optional
        What to call it in errors.

    Returns
    -------
    array : numpy.ndarray, shape (P, I, R)
        Its orientation is taken to be (p, i, r), whatever the header says.
    synthetic : bool
        Whether the file says that it is the demo brain's.

    Raises
    ------
    InvalidInputError
        It is no whole NRRD file, or shape, spacing or type are others than they must be.
    """
    nrrd = need("nrrd", "atlas", "Volumes of the atlas")
    name = name or path.name
    try:
        array, header = nrrd.read(str(path))
    # pynrrd raises what its parts do: errors of zlib, of numpy, of reading numbers
    except Exception as error:
        raise InvalidInputError(f"{name} is no whole NRRD file: {error}.") from None
    if array.ndim != 3:
        raise InvalidInputError(f"{name} has {array.ndim} axes, but must have three: (p, i, r).")
    if resolution is None:
        resolution = BOX[0] / array.shape[0]
    expected = tuple(round(side / resolution) for side in BOX)
    spacing = _spacing(header)
    fits = spacing is None or np.allclose(spacing, resolution, rtol=1e-3)
    if array.shape != expected or not fits:
        found = "no spacing" if spacing is None else f"a spacing of {_by(spacing)} µm"
        raise InvalidInputError(
            f"{name} has the shape {_by(array.shape)} and {found}, but at {resolution:g} µm must "
            f"have the shape {_by(expected)} and a spacing of {resolution:g} µm along each axis."
        )
    if kind == "annotation":
        if array.dtype.kind not in "iu":
            raise InvalidInputError(
                f"{name} holds {array.dtype} values, but an annotation holds whole numbers."
            )
        array = array.astype(np.uint32, copy=False)
    return array, _is_synthetic(header)


def _header(path: Path) -> dict[str, Any]:
    nrrd = need("nrrd", "atlas", "Volumes of the atlas")
    header: dict[str, Any] = nrrd.read_header(str(path))
    return header


def _is_synthetic(header: dict[str, Any]) -> bool:
    return str(header.get("synthetic", "")).lower() == "true"


def _spacing(header: dict[str, Any]) -> list[float] | None:
    """Return how far apart voxels are along each axis, in µm; `None` if the header is silent."""
    directions, spacings = header.get("space directions"), header.get("spacings")
    try:
        if directions is not None:
            steps = np.linalg.norm(np.asarray(directions, dtype=float), axis=1)
        elif spacings is not None:
            steps = np.asarray(spacings, dtype=float)
        else:
            return None
    except (TypeError, ValueError):
        return None
    units = {str(unit).strip('" ').lower() for unit in header.get("space units") or ()}
    # the institute's own files say no unit, and count µm
    scale = 1000 if units & {"mm", "millimeter", "millimeters"} else 1
    return [float(step * scale) for step in steps]


def _by(numbers: Any) -> str:
    return " × ".join(f"{number:g}" for number in numbers)


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
