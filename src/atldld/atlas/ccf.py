"""The volumes of the Allen Institute's atlas: which there are, fetched, verified, ready to use.

Each is a gzip NRRD file in the informatics archive. It is fetched once and kept as it is, below
``files/``; beside it, below ``unpacked/``, the array is kept as a ``.npy`` file that can be mapped
into memory, so that opening it again takes milliseconds and only the pages that are read. It is
tied to the file by hashes (`atldld.fetch.unpacked`). No volume is ever in memory as a whole.

The headers' orientation is not to be relied on, as the institute itself says, and is not read: the
axes are (p, i, r). The shape and the spacing must be those that the file's name says.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atldld.atlas.blocks import NrrdFile, open_nrrd
from atldld.atlas.labels import as_labels, check_labels
from atldld.errors import (
    AnswerError,
    AtldldError,
    CacheError,
    InvalidInputError,
    OutputError,
    Remedy,
)
from atldld.fetch.cache import Cache, sha256_of
from atldld.fetch.kept import CachedFile
from atldld.fetch.known import problem_of
from atldld.fetch.unpacked import find_unpacked, new_unpacked
from atldld.formats.common import need
from atldld.place.spaces import BOX
from atldld.support.files import check_space, nameless_file, read_errors

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

_SIZES = {"annotation_25": 4_035_363}
_IN_MEMORY = 32 << 20  # bytes
_OWN_FILE = (
    "If the institute has published another build of it, use that as a file of your own: "
    "`--annotation FILE`, or `open_atlas(annotation=FILE)`."
)


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
        """Name of the volume, such as ``"annotation_25"``."""
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
    def known_bytes(self) -> int | None:
        """Length of the service's file, where that is known before it is fetched."""
        return _SIZES.get(self.name)

    @property
    def described_size(self) -> str:
        """The size to fetch, as far as it is known, and the size unpacked."""
        unpacked = f"{_size(self.unpacked_bytes)} unpacked"
        known = self.known_bytes
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
            If the file is not in the cache, and no request is allowed; the hint names command and
            size.
        ServiceError, CacheError
            If the file cannot be fetched or kept.
        """
        return self._fetch(session, progress)

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
            If the file is not in the cache and cannot be fetched, or cannot be kept.
        OutputError
            If the disk has no space for the file; nothing is requested then.
        """
        if self.held(session) is None:
            check_space(session.archive_cache.root, self.unpacked_bytes)
        file = self._fetch(session, progress)
        cache = session.archive_cache
        mapped = self._mapped(cache, file)
        if mapped is None:
            with read_errors(file.path, CacheError):
                changed = sha256_of(file.path) != file.sha256
            if changed:
                raise CacheError(
                    f"The bytes of {file.path} have changed since it was fetched.",
                    hint="Mend it with `atldld cache verify --repair`.",
                )
            try:
                self._unpack(cache, file.path, file.sha256)
            except CacheError:
                # the cache is read-only or full: a temporary file does
                with _as_cache_errors():
                    mapped, synthetic = read_volume(file.path, self.resolution, self.kind)
                return mapped, synthetic, file
            mapped = self._mapped(cache, file)
        if mapped is None:
            raise CacheError(
                f"The array of {self.name} in the cache at {cache.root} cannot be read, or changes "
                "while it is read.",
                hint="Mend it with `atldld cache verify --repair`.",
            )
        with _as_cache_errors():
            header = open_nrrd(file.path, name=self.name).header
        return mapped, _is_synthetic(header), file

    def _mapped(self, cache: Cache, file: CachedFile) -> NDArray[Any] | None:
        mapped = find_unpacked(cache, self.path, file)
        fits = mapped is not None and mapped.shape == self.shape and mapped.flags.f_contiguous
        return mapped if fits else None

    def _fetch(
        self, session: Session, progress: Callable[[int, int | None], None] | None
    ) -> CachedFile:
        need("nrrd", "atlas", "Volumes of the atlas")
        cache = session.archive_cache

        def check(path: Path) -> None:
            with read_errors(path, CacheError):
                sha256 = sha256_of(path)
            problem = problem_of(cache, self.path, path, sha256)
            if problem is not None:
                raise AnswerError(
                    f"What arrived for {self.name}.nrrd cannot be used: {problem}.",
                    hint=f"Try again later. {_OWN_FILE}",
                )
            self._unpack(cache, path, sha256)

        file = session.file(
            self.path,
            host="download",
            check=check,
            what=f"The volume {self.name} of the atlas",
            remedy=f"Fetch it once with `atldld atlas fetch {self.kind} --atlas-resolution "
            f"{self.resolution}` ({self.described_size}).",
            # gzip shrinks everything that is met here; the header takes a little
            largest=self.unpacked_bytes + (1 << 20),
            progress=progress,
        )
        problem = problem_of(cache, self.path, file.path, file.sha256)
        if problem is not None:
            raise CacheError(
                f"{file.path} cannot be used: {problem}.",
                hint="Remove it with `atldld cache verify --repair`, and fetch it again. "
                + _OWN_FILE,
            )
        return file

    def _unpack(self, cache: Cache, path: Path, sha256: str) -> None:
        """Keep the array of a file of this name, or raise if the file is another one."""
        try:
            found = _checked(path, self.resolution, self.kind, f"{self.name}.nrrd", alone=True)
            with new_unpacked(cache, self.path, sha256) as (temporary, count):
                check_space(temporary, found.bytes)
                with open(temporary, "wb") as file:
                    count(_write(found, file, self.kind))
        except InvalidInputError as error:
            if isinstance(error.__cause__, OSError):  # what arrived may be sound
                raise CacheError(error.message, hint=error.hint) from None
            raise AnswerError(error.message, hint=error.hint) from None
        except OutputError as error:
            raise CacheError(
                error.message,
                hint=f"Choose another folder with {Remedy.CACHE_DIR} or ATLDLD_CACHE_DIR.",
            ) from None


@contextmanager
def _as_cache_errors() -> Iterator[None]:
    """Whatever is wrong with a file of the cache is nothing that the caller gave."""
    try:
        yield
    except InvalidInputError as error:
        raise CacheError(error.message, hint=error.hint) from None


def volume_file(kind: str, resolution: float) -> VolumeFile:
    """Return the volume of a kind at a resolution.

    Raises
    ------
    InvalidInputError
        If there is no volume of that kind or resolution.
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
        Read-only; large ones are mapped from a temporary file, which goes with the array. Its
        orientation is taken to be (p, i, r), whatever the header says. Ids are uint32, or int64
        where some are negative or beyond 2³².
    synthetic : bool
        Whether the file says that it is the demo brain's.

    Raises
    ------
    InvalidInputError
        If the file is not a whole NRRD file, or if its shape, spacing or type is not as expected.
    OutputError
        If there is no space for the temporary file.
    """
    found = _checked(path, resolution, kind, name or path.name, alone=False)
    if found.bytes <= _IN_MEMORY:
        packed = io.BytesIO()
        _write(found, packed, kind)
        packed.seek(0)
        array: NDArray[Any] = np.load(packed, allow_pickle=False)
        array.flags.writeable = False
    else:
        try:
            with nameless_file(found.bytes) as file:
                _write(found, file, kind)
                file.seek(0)
                array = _mapped(file)
        except OSError as error:
            if isinstance(error, AtldldError):
                raise
            raise OutputError(
                f"{found.name} cannot be unpacked: {error.strerror or error}.",
                hint="Choose another folder with the environment variable TMPDIR.",
            ) from error
    return array, _is_synthetic(found.header)


def _checked(
    path: Path, resolution: float | None, kind: str, name: str, *, alone: bool
) -> NrrdFile:
    """Return a file whose header is that of such a volume."""
    found = open_nrrd(path, name=name, alone=alone)
    if resolution is None:
        resolution = BOX[0] / found.shape[0]
    expected = tuple(round(side / resolution) for side in BOX)
    spacing = _spacing(found.header)
    fits = spacing is None or np.allclose(spacing, resolution, rtol=1e-3)
    if found.shape != expected or not fits:
        said = "no spacing" if spacing is None else f"a spacing of {_by(spacing)} µm"
        raise InvalidInputError(
            f"{name} has the shape {_by(found.shape)} and {said}, but at {resolution:g} µm must "
            f"have the shape {_by(expected)} and a spacing of {resolution:g} µm along each axis."
        )
    if kind == "annotation":
        check_labels(np.empty(0, found.dtype), name)
    return found


def _write(found: NrrdFile, file: IO[bytes], kind: str) -> str:
    """Write the array of a file as ``.npy``, block by block; return the SHA-256 of its voxels."""
    dtype = found.dtype.newbyteorder("<")
    if kind == "annotation":
        dtype = np.dtype(_labels_type(found)).newbyteorder("<")
    header = {"descr": dtype.str, "fortran_order": True, "shape": found.shape}
    np.lib.format.write_array_header_1_0(file, header)
    digest = hashlib.sha256()
    for block in found.blocks():
        written = block.astype(dtype, copy=False).data
        file.write(written)
        digest.update(written)
    return digest.hexdigest()


def _labels_type(found: NrrdFile) -> type[np.integer[Any]]:
    """Return in which type ids are kept; reads all of them where the file's own does not say."""
    if found.dtype.kind == "u" and found.dtype.itemsize <= 4:
        return np.uint32
    # of each block its extremes, which are refused if no type holds them
    extremes = [as_labels(np.unique(block)[[0, -1]], found.name) for block in found.blocks()]
    together = np.concatenate([block.astype(np.int64) for block in extremes])
    return as_labels(together, found.name).dtype.type


def _mapped(file: IO[bytes]) -> NDArray[Any]:
    np.lib.format.read_magic(file)
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    return np.memmap(file, dtype, "r", file.tell(), shape, "F")


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
