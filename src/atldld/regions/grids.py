"""Allen's own expression grids: energy, density and intensity in voxels of 200 µm.

The service's ``grid_data/download`` answers a ZIP of MetaImages for each data set that it has
placed. Their file order is x fastest, and x, y, z are the reference axes p, i, r; −1 stands for no
data, which is NaN here.

**Where the voxels are.** A MetaImage's offset is the centre of its first voxel, and that is (0, 0,
0): voxel k of an axis is centred at k · 200 µm. That is half a voxel before where volumes of this
package begin ((k + ½) · R), and is why the grid has one voxel more than the box has steps: 67 × 41
× 58 for 66 × 40 × 57. The genuine structure grid confirms it: it is its own mirror image about
voxel 28½, which is the midline at 5700 µm only so, and it agrees with the 25 µm annotation best so
along every axis. Files written here carry their own origin, so that they lie right over volumes.

Sources: the Allen Institute's "Downloading 3-D Expression Grid Data"; the MetaImage format (ITK).
"""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from atldld.errors import AnswerError, GridNotFoundError, HTTPStatusError, InvalidInputError, Remedy
from atldld.fetch.session import Session, check_id, default_session
from atldld.formats.metaimage import LONGEST_HEADER, header_of, layout_of, read_mhd
from atldld.formats.voxels import Voxels, check_volume, write_voxels
from atldld.place.spaces import AXES, BOX
from atldld.support.arguments import several
from atldld.support.provenance import FRAME, citation_of, version

if TYPE_CHECKING:
    import nibabel
    import SimpleITK
    import xarray

    from atldld.atlas.labels import Labels
    from atldld.atlas.model import Atlas
    from atldld.atlas.structures import StructureGraph
    from atldld.regions.table import RegionTable

__all__ = [
    "GRID_KINDS",
    "GRID_SHAPE",
    "GRID_STEP",
    "ExpressionGrid",
    "GridKind",
    "fetch_grid",
    "fetch_grid_annotation",
    "grid_region_means",
    "labels_on_grid",
    "open_labels",
    "places_on_grid",
    "read_grid",
]

GridKind = Literal["energy", "density", "intensity"]
"""What a grid can hold."""

GRID_KINDS: tuple[GridKind, ...] = get_args(GridKind)
"""What a grid can hold; energy = density × intensity."""

GRID_SHAPE = (67, 41, 58)
"""Voxels of an adult grid along (p, i, r)."""

GRID_STEP = 200.0
"""Side of an adult grid's voxels, in µm."""

_NO_DATA = -1
_LARGEST = 256 << 20  # bytes of a ZIP's unpacked files; genuine ones have 2 MB
# what reading a broken or a hostile ZIP may raise
_BROKEN = (
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    OSError,
    EOFError,
    ValueError,
    OverflowError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
)
_ANNOTATION = "informatics-archive/current-release/mouse_annotation/P56_Mouse_gridAnnotation.zip"


@dataclass(frozen=True, eq=False)
class ExpressionGrid:
    """Expression of one data set in voxels, as the service has summed it up.

    Attributes
    ----------
    data : dict of str to numpy.ndarray, shape (P, I, R), float32
        By kind, what was read; see `kinds`. ``"density"``: expressing pixels / all pixels;
        ``"intensity"``: mean intensity of the expressing ones; ``"energy"``: density × intensity.
        NaN where there are no data.
    resolution : float
        Side R of a voxel, in µm. Voxel k of an axis is centred at k · R of the reference space.
    dataset_id : int or None
        The section data set.
    source : str
        The address or file that it comes from.
    synthetic : bool
        Whether it says that it is made up.
    """

    data: dict[str, NDArray[np.float32]]
    resolution: float
    dataset_id: int | None
    source: str
    synthetic: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along (p, i, r)."""
        p, i, r = next(iter(self.data.values())).shape
        return p, i, r

    @property
    def energy(self) -> NDArray[np.float32]:
        """Density × intensity, shape (P, I, R), NaN where there are no data."""
        return self["energy"]

    @property
    def density(self) -> NDArray[np.float32]:
        """Fraction of expressing pixels, shape (P, I, R), NaN where there are no data."""
        return self["density"]

    @property
    def intensity(self) -> NDArray[np.float32]:
        """Mean intensity of expressing pixels, shape (P, I, R), NaN where there are no data."""
        return self["intensity"]

    def __getitem__(self, kind: str) -> NDArray[np.float32]:
        if kind in self.data:
            return self.data[kind]
        if kind not in self.kinds:
            raise InvalidInputError(
                f"This grid holds {', '.join(self.data)}, but not {kind!r}.",
                dataset_id=self.dataset_id,
                hint=f"Use {' or '.join(self.data)} (`{Remedy.KIND}`), or fetch it anew "
                f"(`{Remedy.REFRESH}`).",
            )
        if kind == "energy":
            return self.data["density"] * self.data["intensity"]
        energy = self.data["energy"]
        by = self.data["density" if kind == "intensity" else "intensity"]
        # where nothing expresses, both are 0
        out: NDArray[np.float32] = np.where(by == 0, by, energy / np.where(by == 0, 1, by))
        return out

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that are available: any two give the third, as energy = density × intensity."""
        own = tuple(kind for kind in GRID_KINDS if kind in self.data)
        return own if len(own) < 2 else GRID_KINDS

    @property
    def centres(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Where the voxels' centres are along p, i and r, in µm of the reference space."""
        p, i, r = (np.arange(side, dtype=np.float64) * self.resolution for side in self.shape)
        return p, i, r

    def save(self, path: str | Path, kind: GridKind = "energy", *, force: bool = False) -> Path:
        """Write one kind to a file; endings and frame are those of `atldld.volume.Volume.save`.

        Voxels are centred at k · resolution, half a voxel before those of volumes, and the file's
        origin says so: both lie right over each other in any viewer.

        Parameters
        ----------
        path : str or pathlib.Path
            The file; its parent is made if need be.
        kind : {"energy", "density", "intensity"}
            What is written: float32, NaN where there are no data.
        force : bool
            Replace a file that is there.

        Returns
        -------
        pathlib.Path
            The file.

        Raises
        ------
        InvalidInputError
            If the name has none of these endings, or the grid does not hold that kind.
        AtldldError
            If the library for the format is not installed.
        OutputError
            If the file cannot be written, or exists and `force` is false.
        """
        path = Path(path)
        check_volume(path, force=force)
        return write_voxels({path: self._voxels(kind)}, force=force)[0]

    def to_xarray(self, kind: GridKind = "energy") -> xarray.DataArray:
        """Return one kind as a `xarray.DataArray` over ``p``, ``i``, ``r`` in µm; NaN for no data.

        Raises
        ------
        InvalidInputError
            If the grid does not hold that kind.
        AtldldError
            If xarray is not installed.
        """
        from atldld.formats.memory import voxels_to_xarray

        return voxels_to_xarray(self._voxels(kind))

    def to_sitk(self, kind: GridKind = "energy") -> SimpleITK.Image:
        """Return one kind as a `SimpleITK.Image`; see `atldld.volume.Volume.to_sitk`."""
        from atldld.formats.memory import voxels_to_sitk

        return voxels_to_sitk(self._voxels(kind))

    def to_nibabel(self, kind: GridKind = "energy") -> nibabel.Nifti1Image:
        """Return one kind as a `nibabel.Nifti1Image`; see `atldld.volume.Volume.to_nibabel`."""
        from atldld.formats.memory import voxels_to_nibabel

        return voxels_to_nibabel(self._voxels(kind))

    def _ipython_key_completions_(self) -> list[str]:
        return list(self.kinds)

    def _voxels(self, kind: str) -> Voxels:
        provenance = {
            "atldld_version": version(),
            "shows": kind,
            "dataset_ids": [] if self.dataset_id is None else [self.dataset_id],
            "synthetic": self.synthetic,
            "source": self.source,
            "resolution_um": self.resolution,
            "axes": list(AXES),
            "voxel_centre": "k * resolution_um along each axis",
            "no_data": "NaN",
            "frame": FRAME,
            "citation": citation_of(self.dataset_id),
        }
        return Voxels(self[kind], self.resolution, f"grid of {kind}", provenance, first=0.0)

    def __repr__(self) -> str:
        sizes = " × ".join(map(str, self.shape))
        return (
            f"<ExpressionGrid of data set {self.dataset_id}: {', '.join(self.data)}, "
            f"{sizes} voxels of {self.resolution:g} µm>"
        )


def fetch_grid(
    dataset_id: int | str,
    *,
    session: Session | None = None,
    kinds: GridKind | Iterable[GridKind] | None = None,
    refresh: bool = False,
) -> ExpressionGrid:
    """Return the expression grids of a data set, from the cache or the service.

    Parameters
    ----------
    dataset_id : int
        The id of the section data set.
    session : Session, optional
        Where to ask; by default what the environment says.
    kinds : {"energy", "density", "intensity"} or iterable of them, optional
        What must be there and is read; by default what the service's answer holds, which need not
        be all. All three are asked for and kept, in one file.
    refresh : bool
        Ask the service even if they are in the cache.

    Raises
    ------
    InvalidInputError
        If the id or a kind is not valid; nothing is requested then.
    GridNotFoundError
        If the service has no grid of this data set, or sent a ZIP that lacks one or all of the
        kinds.
    OfflineError, ServiceError
        If the grid is not in the cache and cannot be fetched, or if what was sent cannot be used.
    """
    dataset_id = check_id(dataset_id, "section data set")
    if kinds is not None:
        kinds = several(kinds)
        _check_kinds(kinds)
    session = session or default_session()
    try:
        file = session.file(
            f"grid_data/download/{dataset_id}",
            check=_check_zip,
            what=f"The expression grid of section data set {dataset_id}",
            remedy=f"Fetch it once with `atldld grid {dataset_id} -o energy.nii.gz`.",
            params={"include": ",".join(GRID_KINDS)},
            name=f"grid_data/download/{dataset_id}.zip",
            largest=_LARGEST,
            refresh=refresh,
        )
    except HTTPStatusError as error:
        if error.status_code != 404:
            raise
        raise GridNotFoundError(
            f"The service has no expression grid of section data set {dataset_id}.",
            dataset_id=dataset_id,
            url=error.url,
            hint="It has none of data sets without an alignment.",
        ) from None
    data, steps, synthetic = {}, set(), False
    with _opened(file.path) as archive:
        missing = {
            kind: sorted({f"{kind}.mhd", f"{kind}.raw"} - set(archive.namelist()))
            for kind in GRID_KINDS
        }
        there = [kind for kind in GRID_KINDS if not missing[kind]]
        if kinds is None:
            kinds = there or GRID_KINDS
        for kind in kinds:
            if missing[kind]:
                use = f", or use what it holds ({Remedy.KIND}): {', '.join(there)}" if there else ""
                raise GridNotFoundError(
                    f"The service's grid of section data set {dataset_id} has no "
                    f"{' and no '.join(missing[kind])}.",
                    dataset_id=dataset_id,
                    url=file.url,
                    hint=f"Ask it again with {Remedy.REFRESH}{use}.",
                )
            header = header_of(_member(archive, f"{kind}.mhd"), f"{kind}.mhd of {file.url}")
            layout = layout_of(header, f"{kind}.raw of {file.url}")
            found, step = layout.array(_member(archive, f"{kind}.raw", layout.length)), layout.step
            data[kind] = _without_marks(found)
            steps.add(step)
            synthetic |= "SYNTHETIC" in header.get("Comment", "")
    if len({array.shape for array in data.values()}) > 1 or len(steps) > 1:
        raise AnswerError("The grids of one answer have different sizes.", url=file.url)
    return ExpressionGrid(data, steps.pop(), dataset_id, file.url, synthetic)


def read_grid(paths: Mapping[str, str | Path], dataset_id: int | None = None) -> ExpressionGrid:
    """Read a grid from local MetaImage files.

    Parameters
    ----------
    paths : mapping of str to path
        By kind, such as ``{"energy": "69289763_energy.mhd"}``.
    dataset_id : int, optional
        The section data set that it is of.

    Raises
    ------
    InvalidInputError
        If a kind is unknown, or a file cannot be used.
    """
    _check_kinds(list(paths))
    read = {kind: read_mhd(path) for kind, path in paths.items()}
    if len({(array.shape, step) for array, step in read.values()}) > 1:
        raise InvalidInputError("These grids have different sizes, so they are not of one answer.")
    data = {kind: _without_marks(array) for kind, (array, _) in read.items()}
    step = next(iter(read.values()))[1]
    return ExpressionGrid(data, step, dataset_id, ", ".join(map(str, paths.values())))


def fetch_grid_annotation(session: Session | None = None) -> Labels:
    """Return the structures of the grid's voxels, as the service itself had them.

    They are those of an older annotation than that of 2017.

    Returns
    -------
    numpy.ndarray, shape (67, 41, 58), uint32 or int64
        Ids along (p, i, r); 0 outside the brain.

    Raises
    ------
    OfflineError, ServiceError
        If the annotation is not in the cache and cannot be fetched, or if what was sent cannot be
        used.
    """
    session = session or default_session()
    file = session.file(
        _ANNOTATION,
        check=_check_zip,
        what="The structure grid",
        remedy=f"Fetch it once without {Remedy.OFFLINE}.",
        host="download",
        largest=_LARGEST,
    )
    with _opened(file.path) as archive:
        names = {Path(name).name: name for name in archive.namelist()}
        try:
            layout = layout_of(
                header_of(_member(archive, names["gridAnnotation.mhd"]), file.url), file.url
            )
            labels = layout.array(_member(archive, names["gridAnnotation.raw"], layout.length))
        except KeyError as error:
            raise AnswerError(f"The structure grid has no {error}.", url=file.url) from None
    from atldld.atlas.labels import as_labels

    return as_labels(labels, "The structure grid")


def labels_on_grid(
    annotation: NDArray[np.integer[Any]],
    resolution: float,
    shape: tuple[int, int, int] = GRID_SHAPE,
    step: float = GRID_STEP,
) -> Labels:
    """Return the structure that fills most of each voxel of the grid.

    Voxel k spans [(k − ½) · step, (k + ½) · step) µm; of structures that fill the same part of it,
    the one with the smallest id is taken. What lies beyond the annotation counts as outside, 0.

    Parameters
    ----------
    annotation : numpy.ndarray, shape (P, I, R)
        Ids in voxels that span [k · resolution, (k + 1) · resolution).
    resolution : float
        Side of its voxels, in µm; a step must be an even multiple of it.
    shape : tuple of 3 int
        Voxels of the grid.
    step : float
        Side of them, in µm.

    Returns
    -------
    numpy.ndarray, shape `shape`, uint32 or int64

    Raises
    ------
    InvalidInputError
        If a voxel of the grid is not a whole number of voxels of the annotation.
    """
    from atldld.atlas.labels import as_labels, compact_labels

    _whole_voxels(resolution, step)
    ids, places = compact_labels(annotation)
    names = as_labels(ids, "The annotation")
    labels: Labels = names[places_on_grid(places, len(ids), resolution, shape, step)]
    return labels


def places_on_grid(
    places: NDArray[np.unsignedinteger[Any]],
    count: int,
    resolution: float,
    shape: tuple[int, int, int] = GRID_SHAPE,
    step: float = GRID_STEP,
) -> NDArray[np.intp]:
    """Return the number that fills most of each voxel of the grid; see `labels_on_grid`.

    Parameters
    ----------
    places : numpy.ndarray, shape (P, I, R)
        Numbers below `count`, such as `atldld.atlas.labels.compact_labels` makes of an annotation;
        0 is the outside.
    count : int
        How many numbers there are.
    resolution, shape, step
        See `labels_on_grid`.

    Raises
    ------
    InvalidInputError
        If a voxel of the grid is not a whole number of voxels of the annotation.
    """
    side = _whole_voxels(resolution, step)
    p, i, r = shape
    half = side // 2
    columns = [
        min(size, voxels * side - half)
        for size, voxels in zip(places.shape[1:], shape[1:], strict=True)
    ]
    # for each column of the annotation, which voxel of the layer it is in
    inner, outer = ((np.arange(size) + half) // side for size in columns)
    voxel = (inner[:, None] * r + outer) * count
    out = np.zeros(shape, dtype=np.intp)
    for k in range(p):  # one layer of the grid at a time
        layer = places[
            max(k * side - half, 0) : max((k + 1) * side - half, 0), : columns[0], : columns[1]
        ]
        votes = np.bincount((layer + voxel).ravel(), minlength=i * r * count)
        # what is beyond the annotation is outside
        by_voxel = votes.reshape(i * r, count)
        by_voxel[:, 0] += side**3 - by_voxel.sum(axis=1)
        out[k] = by_voxel.argmax(axis=1).reshape(i, r)
    return out


def _whole_voxels(resolution: float, step: float) -> int:
    """Return how many voxels of an annotation lie along one of the grid."""
    side = round(step / resolution)
    if side % 2 or abs(side * resolution - step) > 1e-6:
        raise InvalidInputError(
            f"Voxels of {step:g} µm around multiples of {step:g} µm are not made of whole voxels "
            f"of {resolution:g} µm.",
            hint="Use an atlas of 10, 25, 50 or 100 µm.",
        )
    return side


def open_labels(
    session: Session,
    source: Literal["atlas", "service"] = "atlas",
    resolution: float | None = None,
    *,
    atlas: Atlas | None = None,
) -> tuple[Labels, StructureGraph]:
    """Return the structures of an adult grid's voxels, and what lies in what.

    Parameters
    ----------
    session : Session
        Where to ask.
    source : {"atlas", "service"}
        The atlas of 2017 (`labels_on_grid`), or what the service itself had on this grid
        (`fetch_grid_annotation`).
    resolution : float, optional
        Side of the atlas's voxels, in µm; 25 by default.
    atlas : Atlas, optional
        An atlas that is open already, in place of the one of 2017.

    Returns
    -------
    labels : numpy.ndarray, shape (67, 41, 58), uint32 or int64
    graph : StructureGraph

    Raises
    ------
    OfflineError, ServiceError
        If the annotation or the graph is not in the cache and cannot be fetched.
    """
    from atldld.atlas.open import fetch_graph, open_atlas

    if source == "service":
        return fetch_grid_annotation(session), fetch_graph(session)
    atlas = atlas or open_atlas(resolution, session=session)
    return labels_on_grid(atlas.annotation, atlas.resolution), atlas.graph


def grid_region_means(
    grid: ExpressionGrid, labels: NDArray[np.integer[Any]], graph: StructureGraph
) -> RegionTable:
    """Return the means of a grid over structures and hemispheres, rolled up the hierarchy.

    Energy and density are means over the voxels that hold data, all of which count the same.
    Intensity is mean energy / mean density where the grid has both, which is what the expressing
    pixels of the whole structure have on average, and else the mean over voxels. A kind that the
    grid lacks is made of the two others.

    Parameters
    ----------
    grid : ExpressionGrid
        The numbers.
    labels : numpy.ndarray, shape (P, I, R)
        Structure ids of the same voxels: `fetch_grid_annotation`, or an atlas's annotation by
        `labels_on_grid`.
    graph : StructureGraph
        What lies in what. Ids that it lacks get rows of the kind ``"unknown"``.

    Returns
    -------
    RegionTable
        With the columns ``voxels``, ``voxels_with_data``, ``data_fraction`` and the kinds.

    Raises
    ------
    InvalidInputError
        If the labels have another shape than the grid.
    """
    from atldld.atlas.labels import check_labels
    from atldld.regions.table import Regions

    check_labels(labels, "The structure grid")
    if labels.shape != grid.shape:
        raise InvalidInputError(
            f"The grid has {grid.shape} voxels and the labels have {labels.shape}: they must be "
            "the same.",
            dataset_id=grid.dataset_id,
            hint="Adult grids go with adult annotations only.",
        )
    data = {kind: grid[kind] for kind in grid.kinds}
    ids, place = np.unique(labels, return_inverse=True)
    regions = Regions(ids.tolist(), graph)
    right = (grid.centres[2] >= BOX[2] / 2).astype(np.intp)
    key = (place.reshape(labels.shape) * 2 + right).ravel()

    def total(weights: NDArray[Any]) -> NDArray[np.float64]:
        own = np.bincount(key, weights.ravel().astype(float), 2 * len(ids)).reshape(-1, 2)
        halves = regions.add_up(own)
        return np.column_stack((halves, halves.sum(axis=1)))

    voxels = total(np.ones(labels.shape))
    known = np.all([np.isfinite(values_of_kind) for values_of_kind in data.values()], axis=0)
    with_data = total(known)
    with np.errstate(invalid="ignore", divide="ignore"):
        values: dict[str, NDArray[Any]] = {
            "voxels": voxels.astype(np.int64),
            "voxels_with_data": with_data.astype(np.int64),
            "data_fraction": with_data / voxels,
        }
        for kind, array in data.items():
            values[kind] = total(np.where(known, array, 0)) / with_data
        if {"energy", "density"} <= set(data):
            values["intensity"] = values["energy"] / values["density"]
    about = {
        "voxels": f"voxels of {grid.resolution:g} um of the structure",
        "voxels_with_data": "those of them that hold data",
        "data_fraction": "voxels_with_data / voxels",
        "density": "mean fraction of expressing pixels, 0 to 1",
        "intensity": "mean intensity of expressing pixels, the service's own scale",
        "energy": "mean of density x intensity",
    }
    return regions.table(
        values,
        {name: about[name] for name in values},
        _describe(grid) | {"unknown_ids": regions.unknown},
    )


def _describe(grid: ExpressionGrid) -> dict[str, Any]:

    return {
        "atldld_version": version(),
        "synthetic": grid.synthetic,
        "dataset_id": grid.dataset_id,
        "source": grid.source,
        "resolution_um": grid.resolution,
        "voxel_centre": "k * resolution_um along each axis",
        "citation": citation_of(grid.dataset_id),
    }


def _check_kinds(kinds: Sequence[str]) -> None:
    if not kinds:
        raise InvalidInputError(f"The kinds must be some of {', '.join(GRID_KINDS)}.")
    for kind in kinds:
        if kind not in GRID_KINDS:
            raise InvalidInputError(
                f"The kind of grid is {kind!r}, but must be one of {', '.join(GRID_KINDS)}."
            )


def _without_marks(array: NDArray[Any]) -> NDArray[np.float32]:
    """Return float32 with NaN where the service has put its mark for no data."""
    out = array.astype(np.float32)
    out[array == _NO_DATA] = np.nan
    return out


def _check_zip(path: Path) -> None:
    """Say whether a file is a whole ZIP: every file in it is read."""
    with _opened(path) as archive:
        if sum(info.file_size for info in archive.infolist()) > _LARGEST:
            raise AnswerError("The service sent a ZIP whose files are too large.")
        try:
            broken = archive.testzip()
        except _BROKEN as error:
            raise AnswerError(f"The service sent a ZIP that cannot be read: {error}.") from None
    if broken is not None:
        raise AnswerError(f"The service sent a ZIP in which {broken} is broken.")


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except _BROKEN:
        with open(path, "rb") as file:
            begin = file.read(40)
        raise AnswerError(
            f"The service sent {path.stat().st_size} bytes that are no ZIP: {begin!r}…",
            hint="It may be down for maintenance; try again later.",
        ) from None


def _member(archive: zipfile.ZipFile, name: str, largest: int = LONGEST_HEADER) -> bytes:
    """Return a file in a ZIP, unless it announces more bytes than it may have."""
    size, largest = archive.getinfo(name).file_size, min(largest, _LARGEST)
    if size > largest:
        raise AnswerError(f"{name} in the ZIP announces {size} bytes, but may have {largest}.")
    try:
        return archive.read(name)
    except _BROKEN as error:
        raise AnswerError(f"{name} in the ZIP cannot be read: {error}.") from None
