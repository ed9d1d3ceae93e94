"""A registration: where each section of a data set lies, found anew, with what found it.

It is a JSON file that can be read without this package. For each section image it has the affine
map to the reference space and the way back, which step has moved it, and why a step that was tried
was not kept::

    [p, i, r] = image_to_reference @ [x, y, 1]
    [x, y, n] = reference_to_image @ [p, i, r, 1]

(x, y) are full-resolution pixels of the section's box, (p, i, r) µm, and n is a fractional section
number. Coordinates are those of the atlas that the sections were laid on, which the file names.

A section may be curved. Then (x, y) above are pixels of the flat image (see
`atldld.place.deformation`), and two displacement fields lead there and back; they are MetaImage
files in a folder beside, ``REG.fields/`` for ``REG.json``::

    <image id>_to_flat.mha     image → flat image
    <image id>_to_image.mha    flat image → image

Each holds (dx, dy) in mm at the nodes of a grid. A point is (x, y) · pixel size in mm; the header
has the first node's point as the origin, and the distance of nodes as the spacing. Between nodes
this package lays a cubic spline, and beyond the outer nodes a point moves as the nearest of the
grid does. ITK's `DisplacementFieldTransform` takes the files as they are, and interpolates
linearly.

A section that markers bend (`atldld.place.markers`), as VisuAlign's do, has them in the JSON: the
vertices in the image and in the flat image, and the triangles between. A section may have fields
and markers; the markers then lead from the image to what the fields take.

What people have said of a section stands beside: its ``status`` and their ``note``. A section that
is ``"left out"`` keeps its place in the file, and is not placed in anything that is made with it.
"""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec
import numpy as np

from atldld.errors import (
    AlignmentFileWarning,
    AnswerError,
    InvalidInputError,
    MissingFileError,
)
from atldld.place.anchoring import AlignmentFile, AtlasMade
from atldld.place.coordinates import SERVICE
from atldld.place.deformation import Deformation, Displacements, SplineDeformation
from atldld.place.markers import MarkedDeformation, MarkerDeformation
from atldld.place.placement import Placement
from atldld.place.refinement import ExpectedError, Refinement, StepResult
from atldld.support.documents import DocumentError, check_numbers
from atldld.support.files import check_targets, whole_file, whole_files, write_errors
from atldld.support.html import ACCENT, Markup, card, svg, synthetic_note, table
from atldld.support.libraries import data_frame_of
from atldld.support.metaimage import VectorImage
from atldld.support.text import shown

if TYPE_CHECKING:
    import pandas as pd

    from atldld.records import SectionDataSet

__all__ = [
    "FORMAT",
    "Registration",
    "SectionFit",
    "Status",
    "StoredFields",
    "add_fields",
    "check_registration",
    "fields_of",
    "is_registration",
    "read_fields",
]

FORMAT = "atldld registration"
"""What the file calls itself."""

FORMAT_VERSION = 2
"""2 has curved sections and expected errors; 1, which is read as well, had neither."""

_VERSION_BY_HAND = 3
"""3 has sections that are left out, or have fields and markers both; others are written as 2."""

Status = Literal["automatic", "edited", "confirmed", "left out"]
"""What people have said of a section: nothing, that they placed it, that it is right, or that it is
not to be used."""

ROUND_TRIP = 10.0
"""How far, in µm, a point of a curved section may lie from where it was after the way there and
back; ten times what registrations promise."""

_ABOUT_FIELDS = "atldld-fields.json"  # by which `whole_files` knows a folder as one of fields
_AGAIN = "Make it again with `atldld refine`."
_MOVE = (
    "Copy the folder of fields together with the JSON, from where both are whole, or make them "
    "again with `atldld refine`."
)

Row3 = tuple[float, float, float]
Row4 = tuple[float, float, float, float]


class SectionFit(msgspec.Struct, frozen=True, kw_only=True):
    """Where one section lies.

    Attributes
    ----------
    section_number : int
        Its number.
    image_to_reference : 3 × 3 float
        ``[p, i, r] = M @ [x, y, 1]``: full-resolution pixels of the flat image → µm.
    reference_to_image : 3 × 4 float
        ``[x, y, n] = M @ [p, i, r, 1]``, and back; n is the fractional section number.
    steps : tuple of StepResult
        What has been done to it.
    expected_error : ExpectedError or None
        How far off it is expected to be, where that has been estimated.
    deformation : Deformation or None
        The way between the image and the flat image; without one they are the same.
    pixel : float or None
        Side of a full-resolution pixel, in µm, by which the deformation's fields are written.
    status : {"automatic", "edited", "confirmed", "left out"}
        What people have said of it.
    note : str
        What they have written of it.
    start : 3 × 3 float or None
        Where it lay before it was placed by hand, as `image_to_reference`.
    """

    section_number: int
    image_to_reference: tuple[Row3, Row3, Row3]
    reference_to_image: tuple[Row4, Row4, Row4]
    steps: tuple[StepResult, ...] = ()
    expected_error: ExpectedError | None = None
    deformation: Deformation | None = None
    pixel: float | None = None
    status: Status = "automatic"
    note: str = ""
    start: tuple[Row3, Row3, Row3] | None = None

    @classmethod
    def of(
        cls,
        placement: Placement,
        section_number: int,
        steps: tuple[StepResult, ...] = (),
        *,
        pixel: float | None = None,
        expected_error: ExpectedError | None = None,
    ) -> SectionFit:
        """Return a placement as a registration has it.

        Parameters
        ----------
        placement : Placement
            Where the section lies.
        section_number : int
            Its number.
        steps : tuple of StepResult
            What has been done to it.
        pixel : float, optional
            Side of a full-resolution pixel, in µm; what a spline bends needs it.
        expected_error : ExpectedError, optional
            How far off it is expected to be.

        Raises
        ------
        InvalidInputError
            If the section is curved and its pixel has no size.
        """
        if isinstance(placement.deformation, SplineDeformation | MarkedDeformation) and not (
            pixel is not None and math.isfinite(pixel) and pixel > 0
        ):
            raise InvalidInputError(
                f"Section {section_number} is curved, but the size of its pixels is {pixel}, so "
                "its displacements cannot be given in mm.",
                hint="Give `pixel`, the resolution of the image's record, in µm.",
            )
        forward, backward = placement.forward.tolist(), placement.backward.tolist()
        return cls(
            section_number=section_number,
            image_to_reference=cast("tuple[Row3, Row3, Row3]", tuple(map(tuple, forward))),
            reference_to_image=cast("tuple[Row4, Row4, Row4]", tuple(map(tuple, backward))),
            steps=steps,
            expected_error=expected_error,
            deformation=placement.deformation,
            pixel=pixel,
        )

    @property
    def refinement(self) -> Refinement:
        """What has been done to it, and how far off it is expected to be."""
        return Refinement(steps=self.steps, expected_error=self.expected_error)

    @property
    def placement(self) -> Placement:
        """The maps as a placement."""
        return Placement(
            np.array(self.image_to_reference), np.array(self.reference_to_image), self.deformation
        )


class _Field(msgspec.Struct, frozen=True, kw_only=True):
    """A field's file: its name, as seen from the JSON, and its hash."""

    file: str
    sha256: str


class StoredFields(msgspec.Struct, frozen=True, kw_only=True):
    """A curved section's two fields as a registration names them, and figures of them.

    Attributes
    ----------
    to_flat, to_image : struct
        ``file``, the name as seen from the registration, and ``sha256``.
    pixel_um : float
        Side of a full-resolution pixel.
    node_spacing_um : tuple of 2 float
        From one node to the next.
    jacobian : tuple of 2 float
        Least and greatest local change of area.
    greatest_um, round_trip_um : float
        The longest displacement, and how far the way there and back misses.
    """

    to_flat: _Field
    to_image: _Field
    pixel_um: float
    node_spacing_um: tuple[float, float]
    jacobian: tuple[float, float]
    greatest_um: float
    round_trip_um: float


class _Markers(msgspec.Struct, frozen=True, kw_only=True):
    """What markers make of a section: vertices in full-resolution pixels, and triangles."""

    image: list[tuple[float, float]]
    flat: list[tuple[float, float]]
    triangles: list[tuple[int, int, int]]


class _Section(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the file says of a section."""

    section_number: int
    image_to_reference: tuple[Row3, Row3, Row3]
    reference_to_image: tuple[Row4, Row4, Row4]
    deformation: StoredFields | None = None
    markers: _Markers | None = None
    expected_error: ExpectedError | None = None
    steps: tuple[StepResult, ...] = ()
    status: Status = "automatic"
    note: str = ""
    start: tuple[Row3, Row3, Row3] | None = None


class _Document(msgspec.Struct, kw_only=True):
    """What the file says, in the order in which it says it."""

    format: str = FORMAT
    format_version: int = FORMAT_VERSION
    dataset_id: int
    about: dict[str, Any]
    sections: dict[int, _Section]


@dataclass(frozen=True, eq=False, repr=False)
class Registration:
    """The placements of a data set's sections, and what made them.

    Attributes
    ----------
    dataset_id : int
        The section data set.
    sections : mapping of int to SectionFit
        By id of the section image.
    about : dict
        What made it: version, atlas, parameters, start. Plain values that JSON can hold.
    file : AlignmentFile or None
        Where it was read from.
    """

    dataset_id: int
    sections: Mapping[int, SectionFit]
    about: dict[str, Any]
    file: AlignmentFile | None = None

    @property
    def source(self) -> AlignmentFile:
        """The file that it was read from, or what stands for one that has not been written yet."""
        return self.file or _file_of("a registration that has no file", "", self)

    @property
    def moved(self) -> int:
        """How many sections lie elsewhere than at the start."""
        return sum(bool(fit.refinement.kept) for fit in self.sections.values())

    @property
    def left_out(self) -> frozenset[int]:
        """Ids of the section images that people have marked as not to be used."""
        return frozenset(k for k, fit in self.sections.items() if fit.status == "left out")

    def confirmed(self) -> Registration:
        """Return it with all sections left out but those that people have confirmed.

        Raises
        ------
        InvalidInputError
            If none is confirmed.
        """
        if not any(fit.status == "confirmed" for fit in self.sections.values()):
            raise InvalidInputError(
                f"{self.source.name} has no section that was confirmed by hand.",
                dataset_id=self.dataset_id,
                hint="Confirm sections with `atldld align`, or use the file as it is.",
            )
        source = replace(self.source, confirmed_only=True)
        return replace(
            self,
            file=source,
            sections={
                image_id: fit
                if fit.status == "confirmed"
                else msgspec.structs.replace(fit, status="left out")
                for image_id, fit in self.sections.items()
            },
        )

    @property
    def refinements(self) -> dict[int, Refinement]:
        """What it says of each section besides where it lies, by image id."""
        return {image_id: fit.refinement for image_id, fit in self.sections.items()}

    def placements(self, record: SectionDataSet) -> dict[int, Placement]:
        """Return the placements of a data set's images, by image id.

        Images that it lacks keep the service's alignment.

        Parameters
        ----------
        record : SectionDataSet
            With its images.

        Raises
        ------
        InvalidInputError
            If the registration is of another data set, or of images that this one does not have,
            or if it was made of the demo brain and the data set is genuine.

        Warns
        -----
        AlignmentFileWarning
            If it lacks images that the service places.
        """
        name = "The registration" if self.file is None else self.file.name
        if self.dataset_id != record.id:
            raise InvalidInputError(
                f"{name} is of section data set {self.dataset_id}, not of {record.id}.",
                dataset_id=record.id,
            )
        known = {image.id for image in record.images}
        strange = sorted(set(self.sections) - known)
        if strange:
            raise InvalidInputError(
                f"{name} has {len(strange)} images that section data set {record.id} does not "
                f"have, such as {strange[0]}.",
                dataset_id=record.id,
            )
        if self.about.get("synthetic") is True and not record.synthetic:
            raise InvalidInputError(
                f"{name} was made with the SYNTHETIC demo brain, but section data set {record.id} "
                "is genuine.",
                dataset_id=record.id,
                hint=_AGAIN,
            )
        left = [
            image.id
            for image in record.images
            if image.id not in self.sections and image.alignment2d is not None and not image.failed
        ]
        if left:
            warnings.warn(
                f"{name} has {len(self.sections)} of the {len(self.sections) + len(left)} placed "
                f"images of section data set {record.id}; the service's alignment is kept for the "
                f"others, such as {left[0]}.",
                AlignmentFileWarning,
                stacklevel=2,
            )
        return {image_id: fit.placement for image_id, fit in self.sections.items()}

    def __repr__(self) -> str:
        return (
            f"<Registration of data set {self.dataset_id}: {len(self.sections)} sections, "
            f"{self.moved} moved>"
        )

    def _repr_html_(self) -> str:
        told = sorted(self.sections.values(), key=lambda fit: fit.section_number)
        distances = sorted(fit.refinement.moved for fit in told if fit.refinement.kept)
        expected = [fit.expected_error for fit in told if fit.expected_error is not None]
        atlas = self.about.get("atlas")
        stayed: dict[str, list[int]] = {}
        for fit in told:
            if (why := fit.refinement.reason) is not None:
                stayed.setdefault(why, []).append(fit.section_number)
        rows = [(len(numbers), why) for why, numbers in stayed.items()]
        rows.sort(key=lambda row: -row[0])
        facts: dict[str, object] = {
            "data set": self.dataset_id,
            "sections": f"{len(told)}, of which {self.moved} have moved",
            "moved by": f"{_middle(distances):.0f} µm (median), {distances[-1]:.0f} µm at most"
            if distances
            else None,
            "curved": sum(fit.deformation is not None for fit in told) or None,
            "expected error": f"{_middle([one.before for one in expected]):.0f} µm before, "
            f"{_middle([one.after for one in expected]):.0f} µm after (median section)"
            if expected
            else None,
            "atlas": atlas.get("name") if isinstance(atlas, Mapping) else None,
            "read from": self.file.name if self.file is not None else None,
        }
        return card(
            "Registration",
            facts,
            body=[
                _errors_drawing(told),
                table({"stayed": "right", "why": "left"}, rows[:5]) if rows else Markup(""),
            ],
            note=synthetic_note(bool(self.about.get("synthetic"))),
            hint=".save('reg.json')   atldld.open_dataset(…, alignment='reg.json')   .to_pandas()",
        )

    def to_pandas(self) -> pd.DataFrame:
        """Return a `pandas.DataFrame` with a row for each section, indexed by its image's id.

        The columns are ``section_number``, ``moved_um`` (by the step that moved it most), ``kept``
        (the steps that have moved it), ``curved``, ``reason`` (why it has not moved), and where it
        has been estimated ``expected_error_before_um``, ``expected_error_after_um`` and the bounds
        that nine of ten such sections stay below.

        Raises
        ------
        AtldldError
            If pandas is not installed.
        """
        rows = []
        for image_id, fit in self.sections.items():
            told, expected = fit.refinement, fit.expected_error
            row: dict[str, Any] = {
                "image_id": image_id,
                "section_number": fit.section_number,
                "moved_um": told.moved,
                "kept": ", ".join(step.step for step in told.kept),
                "curved": fit.deformation is not None,
                "reason": told.reason,
            }
            if expected is not None:
                row |= {f"expected_error_{k}_um": v for k, v in expected.of_section.items()}
            rows.append(row)
        return data_frame_of(rows, index="image_id")

    def save(self, path: str | Path, *, force: bool = False) -> Path:
        """Write it as JSON, with a folder of fields beside if sections are curved.

        All is written or nothing. What is replaced is replaced as a whole: fields that an earlier
        registration of this name had go with it.

        Parameters
        ----------
        path : str or pathlib.Path
            The file, ``.json``; its fields go into ``<name without .json>.fields/``.
        force : bool
            Replace a file, and a folder of fields, that are there.

        Raises
        ------
        InvalidInputError
            If a deformation cannot be written, or is not one-to-one.
        OutputError
            If something cannot be written, or is there already and `force` is not given.
        """
        path = Path(path)
        _check_name(path)
        # fields lie beside what a link leads to, as they are looked for there
        target = Path(os.path.realpath(path)) if path.is_symlink() else path
        folder = fields_of(target)
        fields = {
            image_id: _fields_of(image_id, fit, curve, folder.name)
            for image_id, fit in self.sections.items()
            if (curve := _spline_of(fit)) is not None
        }
        text = self.document({image_id: told for image_id, (told, _) in fields.items()})
        stale = force and not fields and (folder / _ABOUT_FIELDS).is_file()
        with whole_files(
            [target, folder] if fields else [target],
            force=force,
            store=[False, True][: 1 + bool(fields)],
            without=[folder] if stale else [],
        ) as (temporary, *inside):
            for beside in inside:
                beside.mkdir()
                (beside / _ABOUT_FIELDS).write_text(_about_fields(self.dataset_id), "utf-8")
                for _, images in fields.values():
                    for name, image in images.items():
                        _write_image(beside / name, image)
            temporary.write_bytes(text)
        return path

    def document(self, fields: Mapping[int, StoredFields]) -> bytes:
        """Return the JSON file, where the fields that it names are written already.

        Parameters
        ----------
        fields : mapping of int to StoredFields
            By image id, those of all sections that splines bend.

        Raises
        ------
        InvalidInputError
            If the fields of a curved section are not among them.
        """
        for image_id, fit in self.sections.items():
            if _spline_of(fit) is not None and image_id not in fields:
                raise InvalidInputError(
                    f"Section image {image_id} is curved, but its fields are not written.",
                    image_id=image_id,
                )
        sections = {
            image_id: _Section(
                section_number=fit.section_number,
                image_to_reference=fit.image_to_reference,
                reference_to_image=fit.reference_to_image,
                deformation=fields.get(image_id) if _spline_of(fit) is not None else None,
                markers=_markers_of(fit),
                expected_error=fit.expected_error,
                steps=fit.steps,
                status=fit.status,
                note=fit.note,
                start=fit.start,
            )
            for image_id, fit in self.sections.items()
        }
        new = any(
            one.status == "left out" or (one.deformation is not None and one.markers is not None)
            for one in sections.values()
        )
        document = _Document(
            format_version=_VERSION_BY_HAND if new else FORMAT_VERSION,
            dataset_id=self.dataset_id,
            about=self.about,
            sections=sections,
        )
        return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"

    @classmethod
    def from_document(cls, path: Path, content: bytes, document: object) -> Registration:
        """Return what a file says.

        Parameters
        ----------
        path : pathlib.Path
            Its name, for messages.
        content : bytes
            The file.
        document : object
            What its JSON says.

        Raises
        ------
        InvalidInputError
            If it is of a later version, or does not say what it should, or a field beside it is
            damaged, of another image, or not one-to-one.
        MissingFileError
            If a field that it names is not there.
        """
        version = document.get("format_version") if isinstance(document, dict) else None
        if isinstance(version, int) and version > _VERSION_BY_HAND:
            raise InvalidInputError(
                f"{path} has version {version} of the format, and this atldld reads up to "
                f"{_VERSION_BY_HAND}.",
                hint="Use a newer atldld.",
            )
        try:
            check_numbers(document)
            told = msgspec.convert(document, _Document, str_keys=True)
            for image_id, entry in told.sections.items():
                forward = np.array(entry.image_to_reference)
                if np.linalg.matrix_rank(forward[:, :2]) < 2:
                    raise ValueError(f"image {image_id} has no plane")
        except (DocumentError, msgspec.ValidationError, ValueError) as error:
            raise InvalidInputError(
                f"{path} does not say what a registration should ({error}).", hint=_AGAIN
            ) from None
        sections = {
            image_id: _fit_of(path, image_id, entry) for image_id, entry in told.sections.items()
        }
        read = cls(told.dataset_id, sections, told.about)
        return replace(read, file=_file_of(shown(path.name), sha256(content).hexdigest(), read))


def _file_of(name: str, digest: str, registration: Registration) -> AlignmentFile:
    about = registration.about
    atlas = about.get("atlas")
    target = atlas.get("name") if isinstance(atlas, dict) else None
    return AlignmentFile(
        name,
        digest,
        str(target or "unknown"),
        f"atldld {about.get('atldld_version', 'of an unknown version')}, refined",
        len(registration.sections),
        atlas=AtlasMade.of(atlas),
        unmoved=_coordinates_at_start(about),
    )


def _coordinates_at_start(about: Mapping[str, Any]) -> str | None:
    """Return whose coordinates the sections had before, if what made the file is told."""
    start = about.get("start")
    if isinstance(start, Mapping):
        return AlignmentFile.from_description(start).coordinates
    return SERVICE if isinstance(start, str) else None


def _middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def _errors_drawing(fits: Sequence[SectionFit]) -> Markup:
    """Return the error that is expected of each section, before (a line) and after (a bar)."""
    most = max((fit.expected_error.before for fit in fits if fit.expected_error), default=0.0)
    if not most:
        return Markup("")
    width, tall = 12, 60
    shapes = []
    for k, fit in enumerate(fits):
        if (error := fit.expected_error) is None:
            continue
        after, before = (min(value / most, 1) * tall for value in (error.after, error.before))
        shapes.append(
            f'<rect x="{k * width + 1}" y="{tall - after:.1f}" width="{width - 2}" '
            f'height="{after:.1f}" fill="#3b82c4"><title>section {fit.section_number}: '
            f"{error.before:.0f} µm before, {error.after:.0f} µm after</title></rect>"
            f'<line x1="{k * width}" x2="{(k + 1) * width}" y1="{tall - before:.1f}" '
            f'y2="{tall - before:.1f}" stroke="{ACCENT}" stroke-width="2"/>'
        )
    label = f"Expected error of each section: line before, bar after; the highest is {most:.0f} µm"
    return svg("".join(shapes), (len(fits) * width, tall), label, height=tall, captioned=True)


def is_registration(document: object) -> bool:
    """Whether a JSON document is a registration, by what it calls itself."""
    return isinstance(document, dict) and document.get("format") == FORMAT


def fields_of(path: Path) -> Path:
    """Return the folder of a registration's fields: ``REG.fields`` for ``REG.json``."""
    return path.with_suffix(".fields")


def check_registration(path: str | Path, *, force: bool = False) -> None:
    """Check that a registration can be written, before any work is done.

    Parameters
    ----------
    path : str or pathlib.Path
        The file, ``.json``.
    force : bool
        Whether what is there may be replaced.

    Raises
    ------
    InvalidInputError
        If the name cannot be a registration's.
    OutputError
        If the file, or its folder of fields, is there and `force` is false, or cannot be written.
    """
    path = Path(path)
    _check_name(path)
    check_targets([path], force=force)
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    check_targets([fields_of(target)], force=force, store=True)


def _check_name(path: Path) -> None:
    if path.suffix == ".fields":
        raise InvalidInputError(
            f"{path} would be the name of the fields beside it.", hint="Choose a name in .json."
        )


# ---- fields


_Way = Literal["to_flat", "to_image"]


def _about(image_id: int, way: _Way) -> str:
    """Return what a field's header says of it."""
    return f"atldld: displacements in mm, section image {image_id}, {way}"


def _fields_of(
    image_id: int, fit: SectionFit, curved: Deformation, folder: str
) -> tuple[StoredFields, dict[str, VectorImage]]:
    """Return what the JSON says of a curved section's fields, and the fields, by file name."""
    pixel = fit.pixel
    if not isinstance(curved, SplineDeformation) or pixel is None:
        raise InvalidInputError(
            f"The deformation of section image {image_id} is a {type(curved).__name__} with pixels "
            f"of {pixel} µm, but only splines of a known scale can be written.",
            image_id=image_id,
        )
    jacobian, round_trip = curved.jacobian, curved.round_trip * pixel
    if why := _not_one_to_one(jacobian, round_trip):
        raise InvalidInputError(
            f"The deformation of section image {image_id} cannot be written, as {why}.",
            image_id=image_id,
        )
    ways: dict[_Way, Displacements] = {"to_flat": curved.flattening, "to_image": curved.bending}
    images, files = {}, {}
    for way, grid in ways.items():
        scale = pixel / 1000
        image = VectorImage(
            grid.vectors * np.float64(scale),
            (grid.spacing[0] * scale, grid.spacing[1] * scale),
            (grid.origin[0] * scale, grid.origin[1] * scale),
            _about(image_id, way),
        )
        name = f"{image_id}_{way}.mha"
        digest = sha256(image.header)
        digest.update(image.data)
        images[name] = image
        files[way] = _Field(file=f"{folder}/{name}", sha256=digest.hexdigest())
    spacing = curved.flattening.spacing
    told = StoredFields(
        to_flat=files["to_flat"],
        to_image=files["to_image"],
        pixel_um=pixel,
        node_spacing_um=(spacing[0] * pixel, spacing[1] * pixel),
        jacobian=jacobian,
        greatest_um=curved.flattening.greatest * pixel,
        round_trip_um=round_trip,
    )
    return told, images


def _about_fields(dataset_id: int) -> str:
    about = {
        "format": "fields of an atldld registration",
        "dataset_id": dataset_id,
        "files": "<section image id>_to_flat.mha leads from the image to the flat image, "
        "<section image id>_to_image.mha back",
        "vectors": "(dx, dy) in mm: a point q of the one image lies at q + d(q) of the other",
        "points": "(x, y) * pixel size in mm; full-resolution pixel (0, 0) has its centre at 0",
        "header": "Offset is the point of the first node, ElementSpacing how far nodes are "
        "apart, in mm; x is fastest",
        "between_nodes": "a cubic spline through them; beyond the outer nodes, as the nearest "
        "point of the grid",
    }
    return json.dumps(about, indent=1) + "\n"


def _write_image(path: Path, image: VectorImage) -> None:
    with open(path, "wb") as file:
        file.write(image.header)
        file.write(image.data)


def _spline_of(fit: SectionFit) -> Deformation | None:
    """Return the part of a section's deformation that is written as fields, if there is one."""
    bent = fit.deformation
    if isinstance(bent, MarkedDeformation):
        bent = bent.curve
    return None if isinstance(bent, MarkerDeformation) else bent


def add_fields(
    path: str | Path, dataset_id: int, image_id: int, curve: SplineDeformation, pixel: float
) -> StoredFields:
    """Write a section's fields beside a registration, and leave those that are there.

    Their names hold their hashes, so a registration that is written afterwards can name them
    whatever becomes of it, and so can one that was written before. A registration's `document`
    takes what this returns.

    Parameters
    ----------
    path : str or pathlib.Path
        The registration, which need not be there.
    dataset_id, image_id : int
        Whose fields they are.
    curve : SplineDeformation
        The deformation.
    pixel : float
        Side of a full-resolution pixel, in µm.

    Raises
    ------
    InvalidInputError
        If the deformation is not one-to-one.
    OutputError
        If they cannot be written.
    """
    path = Path(path)
    folder = fields_of(Path(os.path.realpath(path)) if path.is_symlink() else path)
    fit = SectionFit(
        section_number=0,
        image_to_reference=((0.0,) * 3,) * 3,
        reference_to_image=((0.0,) * 4,) * 3,
        pixel=pixel,
    )
    told, images = _fields_of(image_id, fit, curve, folder.name)
    with write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if not (folder / _ABOUT_FIELDS).is_file():
        with whole_file(folder / _ABOUT_FIELDS, force=True) as temporary:
            temporary.write_text(_about_fields(dataset_id), "utf-8")
    named = {}
    for way in ("to_flat", "to_image"):
        field: _Field = getattr(told, way)
        name = f"{image_id}_{way}_{field.sha256[:16]}.mha"
        if not (folder / name).is_file():
            with whole_file(folder / name, force=True) as temporary:
                _write_image(temporary, images[f"{image_id}_{way}.mha"])
        named[way] = msgspec.structs.replace(field, file=f"{folder.name}/{name}")
    return msgspec.structs.replace(told, **named)


def read_fields(path: Path, image_id: int, told: StoredFields) -> SplineDeformation:
    """Return the deformation that fields beside a registration hold.

    Parameters
    ----------
    path : pathlib.Path
        The registration.
    image_id : int
        The section image.
    told : StoredFields
        What the registration says of them.

    Raises
    ------
    InvalidInputError
        If a field is damaged, of another image, or not one-to-one.
    MissingFileError
        If it is not there.
    """
    if not told.pixel_um > 0:
        raise InvalidInputError(
            f"{path} gives image {image_id} pixels of {told.pixel_um} µm.", hint=_AGAIN
        )
    flattening = _read_field(path, image_id, "to_flat", told.to_flat, told.pixel_um)
    bending = _read_field(path, image_id, "to_image", told.to_image, told.pixel_um)
    spline = SplineDeformation(flattening, bending)
    if why := _not_one_to_one(spline.jacobian, spline.round_trip * told.pixel_um):
        raise InvalidInputError(
            f"The fields {told.to_flat.file} and {told.to_image.file} beside {path} are not "
            f"one-to-one: {why}.",
            image_id=image_id,
            hint=_AGAIN,
        )
    return spline


def _markers_of(fit: SectionFit) -> _Markers | None:
    """Return what the JSON says of a section that markers bend."""
    bent = fit.deformation
    if isinstance(bent, MarkedDeformation):
        bent = bent.markers
    if not isinstance(bent, MarkerDeformation):
        return None
    parts = {"image": bent.image, "flat": bent.flat, "triangles": bent.triangles}
    return msgspec.convert({name: part.tolist() for name, part in parts.items()}, _Markers)


def _bent_by(path: Path, image_id: int, told: _Markers) -> MarkerDeformation:
    """Return the deformation that the JSON's markers make."""
    image, flat = np.array(told.image), np.array(told.flat)
    triangles = np.array(told.triangles, dtype=np.intp)
    try:
        if (
            image.shape != flat.shape
            or len(image) < 4
            or not np.array_equal(image[:4], flat[:4])
            or not triangles.size
            or triangles.min() < 0
            or triangles.max() >= len(image)
        ):
            raise InvalidInputError("They are no triangles between vertices on both sides.")
        bent = MarkerDeformation(image, flat, triangles)
        bent.check()
    except InvalidInputError as error:
        raise InvalidInputError(
            f"{path} gives image {image_id} markers that cannot be used: {error.message}",
            image_id=image_id,
            hint=_AGAIN,
        ) from None
    return bent


def _not_one_to_one(jacobian: tuple[float, float], round_trip: float) -> str | None:
    """Return why a deformation is not one-to-one, if so; `round_trip` is in µm."""
    if jacobian[0] <= 0:
        return f"it folds the section (least Jacobian {jacobian[0]:.2g})"
    if round_trip > ROUND_TRIP:
        return f"the way there and back misses by {round_trip:.3g} µm"
    return None


def _fit_of(path: Path, image_id: int, entry: _Section) -> SectionFit:
    """Return a section as the file and the fields beside it have it."""
    told = entry.deformation
    curved: Deformation | None = None
    if told is not None:
        curved = read_fields(path, image_id, told)
    if entry.markers is not None:
        markers = _bent_by(path, image_id, entry.markers)
        curved = markers if curved is None else MarkedDeformation(markers, curved)
    return SectionFit(
        section_number=entry.section_number,
        image_to_reference=entry.image_to_reference,
        reference_to_image=entry.reference_to_image,
        steps=entry.steps,
        expected_error=entry.expected_error,
        deformation=curved,
        pixel=None if told is None else told.pixel_um,
        status=entry.status,
        note=entry.note,
        start=entry.start,
    )


def _read_field(path: Path, image_id: int, way: _Way, told: _Field, pixel: float) -> Displacements:
    """Return a field as displacements in pixels."""
    name = PurePosixPath(told.file)
    if name.is_absolute() or ".." in name.parts or "\\" in told.file or "\0" in told.file:
        raise InvalidInputError(
            f"{path} names a field {shown(told.file)!r} that is not in a folder beside it.",
            image_id=image_id,
            hint=_AGAIN,
        )
    file = Path(os.path.realpath(path)).parent / name
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise MissingFileError(
            f"The field {file} of section image {image_id}, which {path} names, is not there.",
            image_id=image_id,
            hint=_MOVE,
        ) from None
    except OSError as error:
        raise InvalidInputError(
            f"The field {file} of section image {image_id} cannot be read: "
            f"{error.strerror or error}.",
            image_id=image_id,
        ) from error
    if sha256(content).hexdigest() != told.sha256.lower():
        raise InvalidInputError(
            f"The field {file} of section image {image_id} is not what was written with {path}: "
            "its hash is another.",
            image_id=image_id,
            hint=_MOVE,
        )
    scale = pixel / 1000
    try:
        image = VectorImage.of(content, "it")
        if image.comment != _about(image_id, way):
            raise AnswerError(f"it says of itself {image.comment!r:.100}.")
        return Displacements(
            (image.origin[0] / scale, image.origin[1] / scale),
            (image.spacing[0] / scale, image.spacing[1] / scale),
            (image.vectors / scale).astype(np.float32),
        )
    except (AnswerError, InvalidInputError) as error:
        raise InvalidInputError(
            f"The field {file} is no {way} of section image {image_id}: {error.message}",
            image_id=image_id,
            hint=_AGAIN,
        ) from None
