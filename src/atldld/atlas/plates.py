"""The annotated plates of an atlas: pictures of sections, and drawings of the structures on them.

The drawings are the service's own SVG, in full-resolution pixels of the plate; each path names its
``structure_id``, which may be a structure with others within.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from xml.parsers import expat

from atldld.errors import AnswerError, InvalidInputError, NotFoundError
from atldld.records import SectionImage
from atldld.support.arguments import several

if TYPE_CHECKING:
    from atldld.fetch.kept import CachedFile
    from atldld.fetch.session import Session

__all__ = [
    "ATLASES",
    "Plate",
    "choose_plates",
    "copy_plate",
    "fetch_plate",
    "list_plates",
    "plate_files",
    "plate_name",
    "svg_name",
]

ATLASES = {
    1: "P56, coronal",
    2: "P56, sagittal",
    181276165: "P56 of the developing brain",
    181276164: "P14",
    181276162: "P4",
    181276160: "E18.5",
    181276151: "E15.5",
    181276130: "E13.5",
    181275741: "E11.5",
}
"""Atlases of the service with annotated plates, by id."""

# Which of its drawings the service is asked for: those of the adult atlas.
_GROUPS = 28
_LARGEST_SVG = 64 << 20


@dataclass(frozen=True, slots=True)
class Plate:
    """One annotated plate.

    Attributes
    ----------
    image : SectionImage
        The service's record; plates are the same kind as section images.
    atlas_id : int
        Of the atlas.
    """

    image: SectionImage
    atlas_id: int

    @property
    def id(self) -> int:
        """The id of the atlas image."""
        return self.image.id


def list_plates(
    session: Session, atlas_id: int | str = 1, *, refresh: bool = False
) -> tuple[Plate, ...]:
    """Return the annotated plates of an atlas, by section number.

    Parameters
    ----------
    session : Session
        Where to ask.
    atlas_id : int
        1 is the adult coronal atlas; see `ATLASES`.
    refresh : bool
        Ask the service even if the answer is in the cache.

    Raises
    ------
    InvalidInputError
        If the id is not a positive whole number.
    NotFoundError
        If the atlas has no annotated plates.
    OfflineError, ServiceError
        If the answer is not in the cache and cannot be fetched.
    """
    from atldld.fetch.session import check_id

    number = check_id(atlas_id, "atlas")
    rows = session.query(
        "AtlasImage",
        {"annotated": True, "atlas_data_set": {"atlases": {"id": number}}},
        ("alignment2d",),
        order="sub_images.section_number",
        refresh=refresh,
    )
    plates = [Plate(SectionImage.from_record(row), number) for row in rows]
    if not plates:
        known = ", ".join(f"{key} ({text})" for key, text in ATLASES.items())
        raise NotFoundError(
            f"Atlas {number} has no annotated plates.", hint=f"Known atlases are {known}."
        )
    return tuple(sorted(plates, key=lambda plate: plate.image.section_number))


def fetch_plate(
    session: Session, plate: Plate, downsample: int = 0, *, annotation: bool = False
) -> tuple[CachedFile, CachedFile]:
    """Return a plate's picture and its drawing, verified, fetching them if need be.

    Parameters
    ----------
    session : Session
        Where to ask and where to keep.
    plate : Plate
        Which one.
    downsample : int
        The tier of the picture.
    annotation : bool
        The picture with the structures in their colours instead of the section.

    Returns
    -------
    picture, drawing : CachedFile
        A JPEG and an SVG.

    Raises
    ------
    InvalidInputError
        If the tier does not exist.
    OfflineError, ServiceError, CacheError
        If the files are not in the cache, and cannot be fetched or kept.
    """
    from atldld.fetch.jpeg import verify
    from atldld.fetch.session import check_downsample

    check_downsample(plate.image, downsample)
    width, height = plate.image.size(downsample)
    params: dict[str, object] = {"downsample": downsample}
    if annotation:
        params |= {"annotation": "true", "atlas": plate.atlas_id}
    remedy = f"Fetch it once with `atldld atlas plates --atlas {plate.atlas_id} -o OUT`."
    picture = session.file(
        f"api/v2/atlas_image_download/{plate.id}",
        params=params,
        name=plate_name(plate.id, downsample, annotation=annotation),
        check=partial(verify, width=width, height=height),
        what=f"Atlas image {plate.id} at downsample {downsample}",
        remedy=remedy,
    )
    drawing = session.file(
        f"api/v2/svg_download/{plate.id}",
        params={"groups": _GROUPS},
        name=svg_name(plate.id),
        check=_check_svg,
        what=f"The drawing of atlas image {plate.id}",
        remedy=remedy,
        largest=_LARGEST_SVG,
    )
    return picture, drawing


def copy_plate(
    session: Session,
    plate: Plate,
    folder: str | Path,
    *,
    downsample: int = 0,
    annotation: bool = False,
    force: bool = False,
) -> list[Path]:
    """Put a plate's picture and drawing into a folder; see `fetch_plate`.

    Returns
    -------
    list of pathlib.Path
        ``<id>.jpg`` (``<id>_annotated.jpg``) and ``<id>.svg``.

    Raises
    ------
    OutputError
        If a file cannot be written, or exists and `force` is false.
    """
    import shutil

    from atldld.support.files import check_targets, whole_file

    written = plate_files(folder, plate, annotation=annotation)
    check_targets(written, force=force)
    files = fetch_plate(session, plate, downsample, annotation=annotation)
    for path, file in zip(written, files, strict=True):
        with whole_file(path, force=force) as temporary:
            shutil.copyfile(file.path, temporary)
    return written


def plate_files(folder: str | Path, plate: Plate, *, annotation: bool = False) -> list[Path]:
    """Return where `copy_plate` puts a plate's picture and its drawing."""
    names = f"{plate.id}{'_annotated' if annotation else ''}.jpg", f"{plate.id}.svg"
    return [Path(folder) / name for name in names]


def plate_name(plate_id: int, downsample: int, *, annotation: bool = False) -> str:
    """Return under which name the cache keeps a plate's picture."""
    ending = "-annotation" if annotation else ""
    return f"api/v2/atlas_image_download/{plate_id}-{downsample}{ending}.jpg"


def svg_name(plate_id: int) -> str:
    """Return under which name the cache keeps a plate's drawing."""
    return f"api/v2/svg_download/{plate_id}.svg"


def _check_svg(path: Path) -> None:
    root = ""

    def begin(name: str, _: dict[str, str]) -> None:
        nonlocal root
        root = root or name.rpartition("}")[2]

    # No tree is made of it: that would take twenty times as much memory as the file.
    parser = expat.ParserCreate(namespace_separator="}")
    parser.StartElementHandler = begin
    try:
        with open(path, "rb") as file:
            parser.ParseFile(file)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise AnswerError(
            f"The service sent no drawing: {error}.", hint="Try again later."
        ) from None
    if root != "svg":
        raise AnswerError(f"The service sent no SVG, but <{root:.60}>.", hint="Try again later.")


def choose_plates(
    plates: tuple[Plate, ...], wanted: str | int | Iterable[str | int] | None
) -> list[Plate]:
    """Return the plates with the given ids; all of them by default.

    Raises
    ------
    InvalidInputError
        If an id is not that of one of the plates.
    """
    chosen = [] if wanted is None else [str(plate_id) for plate_id in several(wanted)]
    if not chosen:
        return list(plates)
    by_id = {str(plate.id): plate for plate in plates}
    unknown = [plate_id for plate_id in chosen if plate_id not in by_id]
    if unknown:
        raise InvalidInputError(
            f"{unknown[0]!r} is not the id of one of the {len(plates)} plates of atlas "
            f"{plates[0].atlas_id}.",
            hint=f"List them with `atldld atlas plates --atlas {plates[0].atlas_id}`.",
        )
    return [by_id[plate_id] for plate_id in chosen]
