"""Volumes to files: the format by the file's ending, whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atldld.errors import InvalidInputError
from atldld.formats.common import as_json, ending_of, usable_ending
from atldld.support.files import OnlyWrites, check_targets, sidecar_of, whole_files

__all__ = [
    "CHUNK",
    "Layout",
    "Voxels",
    "beside",
    "check_format",
    "check_volume",
    "known_extensions",
    "takes_bands",
    "write_voxels",
]

CHUNK = {1: 128, 4: 64}
"""Sides of OME-Zarr's chunks by the bytes of a number: 2 MiB of uint8, 1 MiB of float32."""

_UNCOMPRESSED = (".nii", ".npy")


@dataclass(frozen=True, eq=False)
class Layout:
    """What a volume is, apart from its voxels, which may not all be held.

    Attributes
    ----------
    shape : tuple of int
        (P, I, R) or (P, I, R, 3), of the whole volume.
    dtype : numpy.dtype
        float32 or uint8; RGB is uint8.
    resolution, name, provenance, first :
        As of `Voxels`.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    resolution: float
    name: str
    provenance: dict[str, Any]
    first: float | None = None

    @property
    def first_centre(self) -> float:
        """Where the centre of the first voxel of each axis is, in µm."""
        return self.resolution / 2 if self.first is None else self.first

    @property
    def rgb(self) -> bool:
        """Whether the voxels are colours."""
        return len(self.shape) == 4

    @property
    def title(self) -> str:
        """One line that says what it is."""
        ids = self.provenance.get("dataset_ids", ())
        sets = f"data set{'' if len(ids) == 1 else 's'} {', '.join(map(str, ids))}"
        of = f" of section {sets}" if ids else ""
        return f"{self.name}{of}, {self.resolution:g} um"


@dataclass(frozen=True, eq=False)
class Voxels:
    """What the writers of the formats are given.

    Attributes
    ----------
    data : numpy.ndarray, shape (P, I, R) or (P, I, R, 3)
        float32 or uint8; RGB is uint8.
    resolution : float
        Side of a voxel, in µm; voxel k's centre is at `first_centre` + k · resolution.
    name : str
        What it shows, such as ``"expression"``.
    provenance : dict
        Where it comes from; can be written as JSON.
    first : float, optional
        Where the centre of the first voxel of each axis is, in µm, if not at ½ · resolution.
    """

    data: NDArray[Any]
    resolution: float
    name: str
    provenance: dict[str, Any]
    first: float | None = None

    @property
    def layout(self) -> Layout:
        """What it is, apart from its voxels."""
        return Layout(
            self.data.shape,
            self.data.dtype,
            self.resolution,
            self.name,
            self.provenance,
            self.first,
        )

    @property
    def first_centre(self) -> float:
        """As of its `Layout`."""
        return self.layout.first_centre

    @property
    def rgb(self) -> bool:
        """As of its `Layout`."""
        return self.layout.rgb

    @property
    def title(self) -> str:
        """As of its `Layout`."""
        return self.layout.title

    def check(self) -> None:
        """Check that the arrays can be written.

        Raises
        ------
        InvalidInputError
            If the shape, the type or the resolution is not one that can be written.
        """
        data = self.data
        colours = data.ndim == 4 and data.shape[3] == 3 and data.dtype == np.uint8
        if not (colours or (data.ndim == 3 and data.dtype in (np.uint8, np.float32))):
            raise InvalidInputError(
                f"A volume of shape {data.shape} and type {data.dtype} cannot be written: it must "
                "have the shape (P, I, R, 3) and type uint8, or (P, I, R) and float32 or uint8."
            )
        if not (np.isfinite(self.resolution) and self.resolution > 0):
            raise InvalidInputError(
                f"The volume's resolution is {self.resolution}, but must be a positive number of "
                "µm."
            )


# modules of this package with a function `write`; NumPy needs none
_WRITERS = {
    ".nii": "nifti",
    ".nii.gz": "nifti",
    ".npy": None,
    ".nrrd": "nrrd",
    ".ome.tif": "ome_tiff",
    ".ome.tiff": "ome_tiff",
    ".ome.zarr": "ome_zarr",
    ".tif": "ome_tiff",
    ".tiff": "ome_tiff",
    ".zarr": "ome_zarr",
}


def known_extensions() -> tuple[str, ...]:
    """Return the endings that `write_voxels` knows, sorted."""
    return tuple(sorted(_WRITERS))


def beside(path: str | Path, what: str = "coverage") -> Path:
    """Return the name of a second volume beside a first: ``a.nii.gz`` → ``a_coverage.nii.gz``.

    Parameters
    ----------
    path : str or pathlib.Path
        The first volume's file.
    what : str
        What the second one holds.

    Raises
    ------
    InvalidInputError
        If the ending is unknown.
    """
    path = Path(path)
    ending = ending_of(path, known_extensions(), "volumes")
    return path.with_name(f"{path.name[: -len(ending)]}_{what}{path.name[-len(ending) :]}")


def check_format(path: str | Path) -> str:
    """Return the ending of a volume's file, and check that its library is installed.

    Raises
    ------
    InvalidInputError
        If the name has none of the endings that `known_extensions` returns.
    AtldldError
        If the library for the format is not installed.
    """
    return usable_ending(path, known_extensions(), "volumes")


def check_volume(
    path: str | Path, *, coverage: bool = False, force: bool = False, voxel_bytes: int = 0
) -> None:
    """Check that a volume can be written to a file, before the volume is made.

    Parameters
    ----------
    path : str or pathlib.Path
        The file, or for OME-Zarr the folder.
    coverage : bool
        Whether the coverage is to be written, too.
    force : bool
        Whether what is there may be replaced.
    voxel_bytes : int
        Bytes of all voxels. Formats without compression need that much space on the disk, which
        is checked.

    Raises
    ------
    InvalidInputError
        If the name has none of the endings that `known_extensions` returns.
    AtldldError
        If the library for the format is not installed.
    OutputError
        If a file cannot be written, or exists and `force` is false.
    """
    path = Path(path)
    ending = check_format(path)
    check_targets(
        [target for volume in _volumes(path, coverage) for target in _files(volume, ending)],
        force=force,
        store=ending.endswith(".zarr"),
        needed=voxel_bytes if ending in _UNCOMPRESSED else 0,
    )


def _volumes(path: Path, coverage: bool) -> list[Path]:
    return [path, beside(path)] if coverage else [path]


def _files(path: Path, ending: str) -> list[Path]:
    """Return the files of a volume: an array of NumPy cannot say what it is."""
    return [path, sidecar_of(path)] if ending == ".npy" else [path]


def write_voxels(volumes: Mapping[Path, Voxels], *, force: bool = False) -> list[Path]:
    """Write volumes that belong together, all or none.

    Parameters
    ----------
    volumes : mapping of pathlib.Path to Voxels
        What is written, by its file; all of one format, which the ending says.
    force : bool
        Replace files that are there, once all that is new is complete.

    Returns
    -------
    list of pathlib.Path
        What was written.

    Raises
    ------
    InvalidInputError
        If the ending is unknown, or the arrays have another shape or type.
    AtldldError
        If the library for the format is not installed.
    OutputError
        If a file cannot be written, or exists and `force` is false.
    """
    for voxels in volumes.values():
        voxels.check()
    ending = check_format(next(iter(volumes)))
    described = ending == ".npy"
    targets = [target for path in volumes for target in _files(path, ending)]
    with whole_files(
        targets,
        None if described else ending,
        force=force,
        store=ending.endswith(".zarr"),
    ) as temporaries:
        for k, voxels in enumerate(volumes.values()):
            if described:
                _write_numpy(voxels, *temporaries[2 * k : 2 * k + 2])
            else:
                import_module(f"atldld.formats.{_WRITERS[ending]}").write(voxels, temporaries[k])
    return targets


def takes_bands(path: str | Path) -> bool:
    """Whether a volume of this name can be written band by band: an OME-Zarr store.

    Raises
    ------
    InvalidInputError
        If the name has none of the endings that `known_extensions` returns.
    """
    return _WRITERS[ending_of(Path(path), known_extensions(), "volumes")] == "ome_zarr"


def _write_numpy(voxels: Voxels, path: Path, about: Path) -> None:
    with open(path, "wb") as file:
        np.save(OnlyWrites(file), voxels.data)
    about.write_text(as_json(voxels.provenance, indent=1) + "\n", "utf-8")
