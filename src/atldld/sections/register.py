"""Sections on the reference grid: what is asked for, planned, fetched and warped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from atldld.errors import (
    AtldldError,
    ImageNotFoundError,
    InvalidInputError,
    SkippedImageWarning,
)
from atldld.fetch.jpeg import REDUCTIONS
from atldld.fetch.session import check_downsample
from atldld.formats.common import as_json
from atldld.place.planes import Cut, OutputPlane
from atldld.place.spaces import AXES, Grid, Layout, Plane, check_points
from atldld.place.tiers import choose_downsample, shrink_source, tier_matrix, tier_way
from atldld.support.arguments import plain
from atldld.support.html import card, picture, synthetic_note
from atldld.support.libraries import need
from atldld.support.pipeline import outcomes, workers_for
from atldld.support.provenance import FRAME, version
from atldld.warp.background import background_of
from atldld.warp.displacement import DisplacementField
from atldld.warp.resample import largest_block, resample

if TYPE_CHECKING:
    import nibabel
    import SimpleITK
    import xarray

    from atldld.fetch.kept import CachedImage
    from atldld.fetch.session import Session
    from atldld.place.sections import PlacedSection

__all__ = [
    "Files",
    "Job",
    "Recipe",
    "RegisteredSection",
    "fetch",
    "register",
    "report_left_out",
    "run",
    "warp",
]

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to show sections. The arguments are those of `DataSet.register`.

    Attributes
    ----------
    resolution : float
        Side of an output pixel, in µm.
    cut : {"oblique", "parallel"}
        The kind of output plane; see `atldld.place.planes`.
    downsample : int or "auto"
        The tier of the images.
    expression : bool
        Whether the expression masks are wanted too.
    detection_xy : array-like, shape (2,), optional
        For ``"parallel"``: full-resolution pixel where the third coordinate is taken.
    layout : {"anatomical", "0.3"}, optional
        See `atldld.place.Plane.axes`. By default the cut decides: ``"oblique"`` pictures are
        anatomical, ``"parallel"`` ones are laid out as atldld 0.3 did, which made no others. The
        two differ for sagittal data sets only.
    """

    resolution: float = 25
    cut: Cut = "oblique"
    downsample: int | Literal["auto"] = "auto"
    expression: bool = False
    detection_xy: ArrayLike | None = None
    layout: Layout | None = None

    def __post_init__(self) -> None:
        # plain values, which can be compared and written; what makes no sense is said by `plan`
        point = self.detection_xy
        if point is not None:
            with suppress(TypeError, ValueError):
                point = tuple(np.asarray(point, dtype=np.float64).tolist())
        for name, value in (
            ("resolution", plain(self.resolution)),
            ("downsample", plain(self.downsample)),
            ("expression", bool(plain(self.expression))),
            ("detection_xy", point),
        ):
            object.__setattr__(self, name, value)

    @property
    def used_layout(self) -> Layout:
        """The layout that is given, or else that of the cut."""
        if self.layout is not None:
            return self.layout
        return "0.3" if self.cut == "parallel" else "anatomical"

    def grid(self, plane: Plane) -> Grid:
        """Return the pixel grid of a data set's pictures.

        Parameters
        ----------
        plane : Plane
            The data set's plane of section.

        Raises
        ------
        InvalidInputError
            If the cut, the layout or the resolution is not valid.
        """
        if self.cut not in ("oblique", "parallel"):
            raise InvalidInputError(
                f"The cut is {self.cut!r}, but must be 'oblique' or 'parallel'."
            )
        return Grid(plane, self.resolution, self.used_layout)

    def plan(self, section: PlacedSection) -> Job:
        """Return what to do for one section.

        Raises
        ------
        InvalidInputError
            If the resolution, the cut, the tier or the point is not valid.
        """
        grid = self.grid(section.plane)
        image = section.image
        if self.detection_xy is not None:
            check_points(self.detection_xy, 2, "detection_xy, one point in full-resolution pixels")
        if self.cut == "oblique":
            plane = OutputPlane.oblique(section.placement, grid)
        else:
            point = self.detection_xy
            if point is None:
                point = (image.width / 2, image.height / 2)
            plane = OutputPlane.parallel(section.placement, grid, point)
        if isinstance(self.downsample, str) and self.downsample == "auto":
            downsample = choose_downsample(plane.to_image, image.highest_downsample)
        else:
            downsample = check_downsample(image, self.downsample)
        return Job(section, plane, downsample, self.expression)


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """What to do for one section."""

    section: PlacedSection
    plane: OutputPlane
    downsample: int
    expression: bool


@dataclass(frozen=True, slots=True)
class Files:
    """The verified files of one section.

    Attributes
    ----------
    image : CachedImage
        The section image.
    mask : CachedImage or None
        The expression mask, if it was wanted and there is one.
    mask_problem : str or None
        Why there is no mask although it was wanted.
    mask_failed : bool
        Whether the mask should exist but could not be fetched.
    """

    image: CachedImage
    mask: CachedImage | None = None
    mask_problem: str | None = None
    mask_failed: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class RegisteredSection:
    """One section on the reference grid.

    Attributes
    ----------
    section : PlacedSection
        Which one.
    plane : OutputPlane
        Which point of the brain each pixel shows.
    downsample : int
        The tier that was used.
    image : numpy.ndarray, shape (rows, columns, 3), uint8
        RGB; rows and columns run along the axes that ``plane.grid.axis_names`` tells, pixel k's
        centre being at (k + ½) · resolution µm.
    mask : numpy.ndarray, shape (rows, columns, 3), uint8, or None
        The expression mask on the same grid, on black.
    background : tuple of 3 float
        The colour around the tissue, which fills what the section does not cover.
    files : Files
        Where the pixels came from.
    """

    section: PlacedSection
    plane: OutputPlane
    downsample: int
    image: NDArray[np.uint8]
    mask: NDArray[np.uint8] | None
    background: tuple[float, float, float]
    files: Files

    @property
    def id(self) -> int:
        """The id of the section image."""
        return self.section.id

    def displacement_field(self) -> DisplacementField:
        """Return the displacement field that takes the tier's image to this grid.

        It is made again at each call; the picture itself needs none. Its displacements are in
        pixels of the tier `downsample`.
        """
        return DisplacementField.of(tier_way(self.plane, self.downsample), self.plane.grid.shape)

    def to_xarray(self) -> xarray.Dataset:
        """Return a `xarray.Dataset` with ``image``, and ``mask`` if there is one, in µm.

        Rows and columns have coordinates in µm of the reference space, at the pixels' centres; the
        third reference coordinate is one for each pixel, as an oblique section runs through it.

        Raises
        ------
        AtldldError
            If xarray is not installed.
        """
        from atldld.formats.memory import pictures_to_xarray

        pictures = {"image": self.image} | ({} if self.mask is None else {"mask": self.mask})
        return pictures_to_xarray(pictures, self.plane, self._about)

    def to_sitk(self, *, mask: bool = False) -> SimpleITK.Image:
        """Return a two-dimensional `SimpleITK.Image` in mm along columns and rows.

        Parameters
        ----------
        mask : bool
            The expression mask instead of the image.

        Raises
        ------
        InvalidInputError
            If there is no mask.
        AtldldError
            If SimpleITK is not installed.
        """
        library = need("SimpleITK", "sitk", "Images of ITK")
        step = self.plane.grid.resolution / 1000
        made: Any = library.GetImageFromArray(self._shown(mask), isVector=True)
        made.SetSpacing((step, step))
        made.SetOrigin((step / 2, step / 2))
        made.SetMetaData("atldld", as_json(self._about))
        image: SimpleITK.Image = made
        return image

    def to_nibabel(self, *, mask: bool = False) -> nibabel.Nifti1Image:
        """Return a `nibabel.Nifti1Image` of one slice, which lies where the section does.

        Its indices are (row, column, 0). The affine is exact, also for an oblique section, whose
        axes are not at right angles; the slice is as thick as the section.

        Parameters
        ----------
        mask : bool
            The expression mask instead of the image.

        Raises
        ------
        InvalidInputError
            If there is no mask.
        AtldldError
            If nibabel is not installed.
        """
        from atldld.formats.nifti import RAS_OF_PIR, image_of
        from atldld.formats.voxels import Voxels

        shown = self._shown(mask)[:, :, None]
        voxels = Voxels(
            shown, self.plane.grid.resolution, "mask" if mask else "image", {**self._about}
        )
        # [p, i, r] = matrix @ [column, row, 1]
        matrix = self.plane.pixel_to_reference.matrix
        across = self.section.geometry.normal * self.section.thickness
        affine = np.eye(4)
        affine[:3] = RAS_OF_PIR @ np.column_stack(
            (matrix[:, 1], matrix[:, 0], across, matrix[:, 2])
        ) / 1000  # fmt: skip
        made: nibabel.Nifti1Image = image_of(voxels, affine)
        return made

    def _shown(self, mask: bool) -> NDArray[np.uint8]:
        if not mask:
            return self.image
        if self.mask is None:
            raise InvalidInputError(
                f"Section image {self.id} was registered without an expression mask.",
                image_id=self.id,
                hint="Register it with expression=True.",
            )
        return self.mask

    @property
    def _about(self) -> dict[str, Any]:
        grid = self.plane.grid
        return {
            "atldld_version": version(),
            "image_id": self.id,
            "section_number": self.section.number,
            "resolution_um": float(grid.resolution),
            "plane_kind": self.plane.kind,
            "axis_of_rows": grid.axis_names[0],
            "axis_of_columns": grid.axis_names[1],
            "downsample": self.downsample,
            "frame": FRAME,
        }

    def _repr_html_(self) -> str:
        from atldld.formats.pictures import as_thumbnail

        grid, section = self.plane.grid, self.section
        rows, columns = grid.shape
        row, column = grid.axis_names
        depth = self.plane.depth_at(*np.ix_([0, rows - 1], [0, columns - 1])).ravel()
        across = AXES[grid.depth_axis]
        shown = {"section": self.image} | ({} if self.mask is None else {"mask of": self.mask})
        return card(
            f"Section {section.number}, registered",
            {
                "image": self.id,
                "data set": section.image.data_set_id,
                "pixels": f"{rows} × {columns} of {grid.resolution:g} µm, along {row} × {column}",
                "plane": {
                    "oblique": f"the section's own: {across} from {depth.min():.0f} to "
                    f"{depth.max():.0f} µm",
                    "parallel": f"{across} = {self.plane.central_depth:.0f} µm",
                }[self.plane.kind],
                "from tier": self.downsample,
                "expression mask": self.files.mask_problem
                or ("yes" if self.mask is not None else "not asked for"),
            },
            pictures=[
                picture(as_thumbnail(pixels, 320), f"{name} {section.number}")
                for name, pixels in shown.items()
            ],
            note=synthetic_note(section.synthetic),
        )

    def __repr__(self) -> str:
        rows, columns = self.plane.grid.shape
        step = f"{self.plane.grid.resolution:g}"
        return f"<RegisteredSection {self.id}, {rows} × {columns} pixels of {step} µm>"


def fetch(job: Job, session: Session) -> Files:
    """Return the verified files of one section, fetching what is missing.

    Raises
    ------
    ServiceError, NotFoundError, CacheError
        If the image cannot be fetched. A missing mask is noted in the result.
    """
    image = job.section.image
    fetched = session.image(image, job.downsample)
    if not job.expression:
        return Files(fetched)
    if not image.has_expression_mask:
        return Files(fetched, mask_problem="it has no expression mask")
    try:
        return Files(fetched, session.image(image, job.downsample, expression=True))
    except AtldldError as error:
        # the bucket has no masks at all, so asking again would not help
        lasting = session.settings.source == "bucket" and isinstance(error, ImageNotFoundError)
        return Files(fetched, mask_problem=str(error), mask_failed=not lasting)


def warp(job: Job, files: Files, session: Session) -> RegisteredSection:
    """Decode the files of one section and lay them out on the reference grid."""
    flat = tier_matrix(job.plane.to_image, job.downsample)
    shape = job.plane.grid.shape
    # What would be averaged all the same is averaged by the decoder, before there are pixels.
    reduction = next(size for size in REDUCTIONS if size <= largest_block(flat, shape))
    way = shrink_source(tier_way(job.plane, job.downsample), reduction)
    record = job.section.image
    pixels = session.pixels(record, job.downsample, reduction=reduction, held=files.image)
    background = background_of(pixels)
    image = resample(pixels, way, shape, background)
    del pixels  # may be large, and the mask comes next
    mask = None
    if files.mask is not None:
        colours = session.pixels(
            record, job.downsample, expression=True, reduction=reduction, held=files.mask
        )
        mask = resample(colours, way, shape, (0, 0, 0))
    return RegisteredSection(job.section, job.plane, job.downsample, image, mask, background, files)


def run(
    plans: Sequence[Job],
    finish: Callable[[RegisteredSection], Result],
    session: Session,
    *,
    jobs: int | None = None,
) -> Iterator[tuple[Job, Result | AtldldError]]:
    """Fetch, warp and finish sections in parallel; yield each with its result or its error.

    Parameters
    ----------
    plans : sequence of Job
        In the order in which results are wanted.
    finish : callable
        Called in the worker's thread with each section, such as to write it.
    session : Session
        Where pixels come from.
    jobs : int, optional
        Worker threads; the number of cores by default.
    """
    if not plans:
        return
    yield from outcomes(
        plans,
        lambda job: fetch(job, session),
        lambda job, files: finish(warp(job, files, session)),
        fetchers=session.limits.in_flight,
        workers=workers_for(jobs),
    )


def register(
    plans: Sequence[Job], session: Session, *, jobs: int | None = None
) -> Iterator[RegisteredSection]:
    """Yield registered sections in order; see `atldld.api.DataSet.register`."""
    failed: list[tuple[PlacedSection, AtldldError]] = []
    for job, result in run(plans, lambda section: section, session, jobs=jobs):
        if isinstance(result, AtldldError):
            failed.append((job.section, result))
        else:
            yield result
    report_left_out(failed, session)


def report_left_out(
    failed: Iterable[tuple[PlacedSection, AtldldError]],
    session: Session,
    dataset_id: int | None = None,
) -> None:
    """Warn of each section that could not be used.

    Parameters
    ----------
    failed : iterable of (PlacedSection, AtldldError)
        Which ones, and why.
    session : Session
        Keeps the warnings; see `Session.report`.
    dataset_id : int, optional
        Named where the work is on several data sets.
    """
    of = "" if dataset_id is None else f" of data set {dataset_id}"
    for section, error in failed:
        session.report(SkippedImageWarning(f"Section {section.number}{of} is left out: {error}"))
