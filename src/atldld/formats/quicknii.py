"""The planes of a data set as QuickNII's anchoring vectors, which VisuAlign and others read.

`atldld.place.anchoring` says what the vectors are, and reads such files back. Curved sections get
markers as VisuAlign has them; `atldld.place.markers` says what those are.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atldld.errors import CurveLeftOutWarning, InvalidInputError
from atldld.formats.common import as_json, ending_of
from atldld.place.anchoring import TARGET, TARGET_SHAPE, anchoring_of
from atldld.place.markers import MarkerFit, fit_markers
from atldld.support.arguments import check_number, check_whole
from atldld.support.files import check_targets, whole_file
from atldld.support.provenance import Progress, version
from atldld.support.text import TableWriter

if TYPE_CHECKING:
    from atldld.place.sections import PlacedDataSet, PlacedSection
    from atldld.records import SectionImage

__all__ = [
    "MARKER_TOLERANCE",
    "Anchors",
    "anchors_of",
    "check_quicknii",
    "check_tolerance",
    "image_name",
    "write_quicknii",
]

MARKER_TOLERANCE = 20.0
"""How far, in µm, a curved section's markers may lead from where its displacements do."""


def image_name(image: SectionImage, ending: str = ".jpg") -> str:
    """Return the name of an image beside an alignment file, such as ``69177654_s070.jpg``.

    DeepSlice and PyNutil take the section number from what follows ``_s``, and refuse a name
    without it. The id comes first: it is what `read_alignment` goes by.
    """
    return f"{image.id}_s{image.section_number:03d}{ending}"


@dataclass(frozen=True, eq=False)
class Anchors:
    """The planes of a data set's sections, and the markers of those that are curved.

    Attributes
    ----------
    slices : list of dict
        What the file says of each image.
    deviation : float or None
        How far, in µm, markers lead from where the displacements do, at most; `None` where no
        section is curved.
    markers : int
        How many there are.
    folded : list of int
        Section numbers that the markers fold, as the displacements are too strong for them.
    """

    slices: list[dict[str, Any]]
    deviation: float | None
    markers: int
    folded: list[int]


def anchors_of(
    dataset: PlacedDataSet,
    *,
    downsample: int = 0,
    image_ending: str = ".jpg",
    tolerance: float = MARKER_TOLERANCE,
    progress: Progress | None = None,
) -> Anchors:
    """Return what `write_quicknii` writes.

    Parameters
    ----------
    dataset : PlacedDataSet
        The data set, as the service or an alignment file places it.
    downsample, image_ending, tolerance
        See `write_quicknii`.
    progress : callable, optional
        Told how many sections are done, of how many, and which the last one was.

    Raises
    ------
    InvalidInputError
        If the images have another ending, or one has no pixel at the tier.
    AlignmentMissingError
        If no section of the data set is placed.
    """
    if image_ending not in {".jpg", ".png"}:
        raise InvalidInputError(
            f"The images' ending is {image_ending!r}, but must be '.jpg' or '.png'."
        )
    tolerance = check_tolerance(tolerance)
    dataset.check_placed()
    slices = []
    fits: dict[int, MarkerFit] = {}
    downsample = check_whole(downsample, "downsample", most=62)
    for done, section in enumerate(dataset.sections, 1):
        image = section.image
        if min(size := image.size(downsample)) < 1:
            raise InvalidInputError(
                f"At downsample {downsample} section image {image.id} of {image.width} × "
                f"{image.height} pixels is nothing.",
                image_id=image.id,
                hint=f"Use 0 to {image.highest_downsample}.",
            )
        width, height = size
        extent = (width << downsample, height << downsample)
        anchored = {
            "filename": image_name(image, image_ending),
            "nr": image.section_number,
            "width": width,
            "height": height,
            "anchoring": anchoring_of(section.placement.forward, *extent).tolist(),
        }
        if (fit := _bent(section, extent, tolerance)) is not None:
            fits[section.number] = fit
            # counted from the picture's corner, in its own pixels
            scale = 1 / (1 << downsample)
            anchored["markers"] = ((fit.markers + 0.5) * scale).tolist()
            anchored["atldld"] = {"greatest_deviation_um": fit.deviation}
        slices.append(anchored)
        if progress is not None:
            progress(done, len(dataset.sections), anchored["filename"])
    return Anchors(
        slices,
        max((fit.deviation for fit in fits.values()), default=None),
        sum(len(fit.markers) for fit in fits.values()),
        [number for number, fit in fits.items() if fit.folds],
    )


def _bent(section: PlacedSection, extent: tuple[int, int], tolerance: float) -> MarkerFit | None:
    """Return the markers of a curved section."""
    placement = section.placement
    if placement.deformation is None:
        return None
    return fit_markers(placement.deformation, extent, placement.forward[:, :2], tolerance=tolerance)


def write_quicknii(
    dataset: PlacedDataSet,
    path: str | Path,
    *,
    downsample: int = 0,
    image_ending: str = ".jpg",
    tolerance: float = MARKER_TOLERANCE,
    anchors: Anchors | None = None,
    force: bool = False,
) -> Path:
    """Write the alignment of all sections as anchoring vectors, and as markers where it is curved.

    Markers reproduce a section's displacements; the file tells for each curved section how far they
    lead elsewhere at most, as ``"atldld": {"greatest_deviation_um": …}``. Markers that were read
    are written as they were.

    Parameters
    ----------
    dataset : PlacedDataSet
        The data set, as the service or an alignment file places it.
    path : str or pathlib.Path
        ``.json`` for QuickNII, VisuAlign, ABBA and PyNutil; ``.csv`` for DeepSlice's flat table,
        which has no place for markers.
    downsample : int
        The tier of the images that the file will lie beside; decides width and height, and by
        what the tier leaves off at the far edges, u and v.
    image_ending : {".jpg", ".png"}
        Of the names of the images; see `image_name`.
    tolerance : float
        How far, in µm, markers may lead from where the displacements do. The strongest
        deformations would take more than `~atldld.place.markers.MOST_MARKERS`; then it is more.
    anchors : Anchors, optional
        What `anchors_of` found, for who needs to know; by default it is asked.
    force : bool
        Replace a file that is there: it may be an alignment that somebody has corrected.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    InvalidInputError
        If the file or the images have another ending, or an image has no pixel at the tier.
    AlignmentMissingError
        If no section of the data set is placed.
    OutputError
        If a file cannot be written, or exists and `force` is false.

    Warns
    -----
    CurveLeftOutWarning
        If sections are curved and the file is CSV, which has their planes only.
    """
    path = Path(path)
    ending = check_quicknii(path, force=force)
    found = anchors or anchors_of(
        dataset, downsample=downsample, image_ending=image_ending, tolerance=tolerance
    )
    if ending == ".csv":
        if found.markers:
            warnings.warn(
                f"{path.name} has no place for markers, so curved sections are written as planes.",
                CurveLeftOutWarning,
                stacklevel=2,
            )
        text = _as_csv(found.slices)
    else:
        source = dataset.alignment.name if dataset.alignment else "Allen Institute"
        document = {
            "name": f"Section data set {dataset.id}",
            "aligner": f"atldld {version()}, alignment of {source}",
            "target": TARGET,
            "target-resolution": list(TARGET_SHAPE),
            "atldld": {"coordinates": dataset.coordinates},
            "slices": found.slices,
        }
        text = as_json(document, indent=1)
    with whole_file(path, ending, force=force) as temporary:
        temporary.write_text(text + "\n", "utf-8")
    return path


def check_tolerance(tolerance: float) -> float:
    """Return the tolerance of markers, or refuse what is no positive number of µm.

    Raises
    ------
    InvalidInputError
        If it is not such a number.
    """
    return check_number(tolerance, "tolerance of markers", above=0, unit="µm")


def check_quicknii(path: str | Path, *, force: bool = False) -> str:
    """Check that an alignment can be written to a file, and return the file's ending.

    Raises
    ------
    InvalidInputError
        If the name does not have the ending of an alignment file.
    OutputError
        If the file cannot be written, or exists and `force` is false.
    """
    ending = ending_of(Path(path), (".csv", ".json"), "QuickNII alignments")
    check_targets([path], force=force)
    return ending


def _as_csv(slices: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    table = TableWriter(text)
    vectors = [f"{vector}{axis}" for vector in "ouv" for axis in "xyz"]
    table.row(["Filenames", *vectors, "width", "height", "nr"])
    for image in slices:
        table.row(
            [image["filename"], *image["anchoring"], image["width"], image["height"], image["nr"]]
        )
    return text.getvalue().rstrip("\n")
