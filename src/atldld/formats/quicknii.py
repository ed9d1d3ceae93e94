"""The planes of a data set as QuickNII's anchoring vectors, which VisuAlign and others read.

`atldld.place.anchoring` says what the vectors are, and reads such files back.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atldld.errors import CurveLeftOutWarning, InvalidInputError
from atldld.formats.common import as_json, ending_of
from atldld.place.anchoring import TARGET, TARGET_SHAPE, anchoring_of
from atldld.support.arguments import check_whole
from atldld.support.files import check_targets, whole_file
from atldld.support.provenance import version
from atldld.support.text import TableWriter

if TYPE_CHECKING:
    from atldld.place.sections import PlacedDataSet
    from atldld.records import SectionImage

__all__ = ["check_quicknii", "image_name", "write_quicknii"]


def image_name(image: SectionImage, ending: str = ".jpg") -> str:
    """Return the name of an image beside an alignment file, such as ``69177654_s070.jpg``.

    DeepSlice and PyNutil take the section number from what follows ``_s``, and refuse a name
    without it. The id comes first: it is what `read_alignment` goes by.
    """
    return f"{image.id}_s{image.section_number:03d}{ending}"


def write_quicknii(
    dataset: PlacedDataSet,
    path: str | Path,
    *,
    downsample: int = 0,
    image_ending: str = ".jpg",
    force: bool = False,
) -> Path:
    """Write the alignment of all sections as anchoring vectors.

    Parameters
    ----------
    dataset : PlacedDataSet
        The data set, as the service or an alignment file places it.
    path : str or pathlib.Path
        ``.json`` for QuickNII, VisuAlign, ABBA and PyNutil; ``.csv`` for DeepSlice's flat table.
    downsample : int
        The tier of the images that the file will lie beside; decides width and height, and by
        what the tier leaves off at the far edges, u and v.
    image_ending : {".jpg", ".png"}
        Of the names of the images; see `image_name`.
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
        If sections are curved: the file has their planes only.
    """
    path = Path(path)
    ending = check_quicknii(path, force=force)
    if image_ending not in {".jpg", ".png"}:
        raise InvalidInputError(
            f"The images' ending is {image_ending!r}, but must be '.jpg' or '.png'."
        )
    dataset.check_placed()
    slices = []
    downsample = check_whole(downsample, "downsample", most=62)
    for section in dataset.sections:
        image = section.image
        if min(size := image.size(downsample)) < 1:
            raise InvalidInputError(
                f"At downsample {downsample} section image {image.id} of {image.width} × "
                f"{image.height} pixels is nothing.",
                image_id=image.id,
                hint=f"Use 0 to {image.highest_downsample}.",
            )
        width, height = size
        anchoring = anchoring_of(
            section.placement.forward, width << downsample, height << downsample
        )
        slices.append(
            {
                "filename": image_name(image, image_ending),
                "nr": image.section_number,
                "width": width,
                "height": height,
                "anchoring": anchoring.tolist(),
            }
        )
    if ending == ".csv":
        text = _as_csv(slices)
    else:
        source = dataset.alignment.name if dataset.alignment else "Allen Institute"
        text = as_json(
            {
                "name": f"Section data set {dataset.id}",
                "aligner": f"atldld {version()}, alignment of {source}",
                "target": TARGET,
                "target-resolution": list(TARGET_SHAPE),
                "slices": slices,
            },
            indent=1,
        )
    with whole_file(path, ending, force=force) as temporary:
        temporary.write_text(text + "\n", "utf-8")
    curved = sum(section.placement.deformation is not None for section in dataset.sections)
    if curved:
        warnings.warn(
            f"{path.name} has the planes of {curved} sections that are curved as well: their "
            "deformation within the plane is not in it.",
            CurveLeftOutWarning,
            stacklevel=2,
        )
    return path


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
