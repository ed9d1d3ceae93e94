"""A registration: where each section of a data set lies, found anew, with what found it.

It is a JSON file that can be read without this package. For each section image it has the affine
map to the reference space and the way back, which step has moved it, and why a step that was tried
was not kept::

    [p, i, r] = image_to_reference @ [x, y, 1]
    [x, y, n] = reference_to_image @ [p, i, r, 1]

(x, y) are full-resolution pixels of the section's box, (p, i, r) µm, and n is a fractional section
number. Coordinates are those of the atlas that the sections were laid on, which the file names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from atldld.errors import InvalidInputError
from atldld.place.anchoring import AlignmentFile
from atldld.place.placement import Placement
from atldld.support.documents import DocumentError, check_numbers
from atldld.support.files import whole_file
from atldld.support.text import shown

if TYPE_CHECKING:
    from atldld.records import SectionDataSet

__all__ = ["FORMAT", "Registration", "SectionFit", "StepResult", "is_registration"]

FORMAT = "atldld registration"
"""What the file calls itself."""

FORMAT_VERSION = 1

Row3 = tuple[float, float, float]
Row4 = tuple[float, float, float, float]


class StepResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a step did to one section.

    Attributes
    ----------
    step : str
        Such as ``"sections"``.
    kept : bool
        Whether the section has moved.
    reason : str
        Why it was kept or not, as a sentence.
    moved : float
        How far the step moves the section's corners and middle, in µm: the most.
    before, after : dict
        Figures of the section that the step has not optimised.
    """

    step: str
    kept: bool
    reason: str
    moved: float
    before: dict[str, float]
    after: dict[str, float]


class SectionFit(msgspec.Struct, frozen=True, kw_only=True):
    """Where one section lies."""

    section_number: int
    image_to_reference: tuple[Row3, Row3, Row3]
    reference_to_image: tuple[Row4, Row4, Row4]
    steps: tuple[StepResult, ...] = ()

    @classmethod
    def of(
        cls, placement: Placement, section_number: int, steps: tuple[StepResult, ...] = ()
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
        """
        return msgspec.convert(
            {
                "section_number": section_number,
                "image_to_reference": placement.forward.tolist(),
                "reference_to_image": placement.backward.tolist(),
                "steps": steps,
            },
            cls,
        )

    @property
    def placement(self) -> Placement:
        """The maps as a placement."""
        return Placement(np.array(self.image_to_reference), np.array(self.reference_to_image))


class _Document(msgspec.Struct, kw_only=True):
    """What the file says, in the order in which it says it."""

    format: str = FORMAT
    format_version: int = FORMAT_VERSION
    dataset_id: int
    about: dict[str, Any]
    sections: dict[str, SectionFit]


@dataclass(frozen=True, eq=False)
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
    def moved(self) -> int:
        """How many sections lie elsewhere than at the start."""
        return sum(any(step.kept for step in fit.steps) for fit in self.sections.values())

    def placements(self, record: SectionDataSet) -> dict[int, Placement]:
        """Return the placements of a data set's images, by image id.

        Parameters
        ----------
        record : SectionDataSet
            With its images.

        Raises
        ------
        InvalidInputError
            If the registration is of another data set, or of images that this one does not have.
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
        return {image_id: fit.placement for image_id, fit in self.sections.items()}

    def save(self, path: str | Path, *, force: bool = False) -> Path:
        """Write it as JSON; whole or not at all.

        Parameters
        ----------
        path : str or pathlib.Path
            The file, ``.json``.
        force : bool
            Replace a file that is there.

        Raises
        ------
        OutputError
            If the file cannot be written, or is there already and `force` is not given.
        """
        document = _Document(
            dataset_id=self.dataset_id,
            about=self.about,
            sections={str(image_id): fit for image_id, fit in self.sections.items()},
        )
        text = msgspec.json.format(msgspec.json.encode(document), indent=1)
        with whole_file(Path(path), force=force) as temporary:
            temporary.write_bytes(text + b"\n")
        return Path(path)

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
            If it is of a later version, or does not say what it should.
        """
        hint = "Make it anew with `atldld refine`."
        try:
            check_numbers(document)
            told = msgspec.convert(document, _Document)
            sections = {int(image_id): fit for image_id, fit in told.sections.items()}
            for image_id, fit in sections.items():
                forward = np.array(fit.image_to_reference)
                if np.linalg.matrix_rank(forward[:, :2]) < 2:
                    raise ValueError(f"image {image_id} has no plane")
        except (DocumentError, msgspec.ValidationError, ValueError) as error:
            raise InvalidInputError(
                f"{path} does not say what a registration should ({error}).", hint=hint
            ) from None
        if told.format_version > FORMAT_VERSION:
            raise InvalidInputError(
                f"{path} has version {told.format_version} of the format, and this atldld reads up "
                f"to {FORMAT_VERSION}.",
                hint="Use a newer atldld.",
            )
        atlas = told.about.get("atlas")
        target = atlas.get("name") if isinstance(atlas, dict) else None
        file = AlignmentFile(
            shown(path.name),
            sha256(content).hexdigest(),
            str(target or "unknown"),
            f"atldld {told.about.get('atldld_version', 'of an unknown version')}, refined",
            len(sections),
        )
        return cls(told.dataset_id, sections, told.about, file)


def is_registration(document: object) -> bool:
    """Whether a JSON document is a registration, by what it calls itself."""
    return isinstance(document, dict) and document.get("format") == FORMAT
