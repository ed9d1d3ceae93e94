"""What is said of the sections of a data set, and how it is written."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atldld.formats.common import as_json, ending_of
from atldld.formats.tables import Table, write_table
from atldld.support.files import check_targets, whole_file
from atldld.support.html import ACCENT, Markup, card, escaped, svg, table
from atldld.support.libraries import data_frame_of

if TYPE_CHECKING:
    import pandas as pd

    from atldld.place.refinement import ExpectedError

__all__ = ["DatasetQuality", "SectionQuality", "check_output"]


@dataclass(frozen=True, slots=True)
class SectionQuality:
    """What the quality figures say about one section.

    Attributes
    ----------
    image_id, section_number : int
        Which one.
    overlap : float or None
        Tissue and annotation: area of both / area of either (IoU), 0 to 1, over what of the plane
        lies in the image. `None` without an atlas.
    mutual_information : float or None
        Of darkness and template, over the pixels of either: 2 (H(a) + H(b) − H(a, b)) /
        (H(a) + H(b)), 0 to 1. `None` without an atlas or a template.
    continuity : float
        Median correlation with the neighbouring sections in place, −1 to 1; NaN without any.
    misplacement : float
        How far, in µm (root mean square over the tissue), a shift and a turn in the plane would
        move the section to fit those beside it; NaN without any.
    sharpness : float
        Detail of one pixel relative to that of some pixels. It can be compared within a data
        set at one resolution only; NaN without tissue.
    tear : float
        Part of the tissue expected here that is missing, or darker than all neighbours by far: 0
        for whole sections; NaN without neighbours.
    outside : float
        Part of the brain's plane that lies outside the image, 0 to 1. Without an atlas the
        brain is where the neighbours have tissue.
    score : float
        Higher is more suspicious; see `DatasetQuality.rule`.
    suspicious : bool
        Whether the score exceeds the threshold.
    reasons : tuple of str
        Plain sentences on what is odd, the oddest first; empty if nothing is.
    expected_error : ExpectedError or None
        How far off, in µm, the registration that was opened expects it to be; it is no part of the
        score.
    """

    image_id: int
    section_number: int
    overlap: float | None
    mutual_information: float | None
    continuity: float
    misplacement: float
    sharpness: float
    tear: float
    outside: float
    score: float
    suspicious: bool
    reasons: tuple[str, ...]
    expected_error: ExpectedError | None = None


_COLUMNS = tuple(field.name for field in fields(SectionQuality) if field.name != "expected_error")
_EXPECTED = ("before", "after", "bound90_before", "bound90_after")
_ENDINGS = (".csv", ".json")
_SHOWN = 8  # suspicious sections in a notebook


@dataclass(frozen=True)
class DatasetQuality:
    """What the quality figures say about the sections of a data set.

    Attributes
    ----------
    sections : tuple of SectionQuality
        In the order in which they were given.
    threshold : float
        Score above which a section is suspicious.
    rule : str
        How the score is made, in words.
    with_atlas : bool
        Whether an atlas was compared with.
    atlas : str or None
        Its name.
    resolution : float
        Side of a pixel, in µm, at which sections were looked at.
    notes : tuple of str
        Sentences on what the figures lack, and why: no atlas, no template.
    coordinates : str or None
        Whose coordinates the sections lie in; see `atldld.place.coordinates`.
    """

    sections: tuple[SectionQuality, ...]
    threshold: float
    rule: str
    with_atlas: bool
    atlas: str | None
    resolution: float
    notes: tuple[str, ...] = ()
    coordinates: str | None = None

    @property
    def suspicious(self) -> tuple[SectionQuality, ...]:
        """The sections that are marked, the worst first."""
        marked = [section for section in self.sections if section.suspicious]
        return tuple(sorted(marked, key=lambda section: -section.score))

    def save(self, path: str | Path, *, force: bool = False) -> Path:
        """Write the figures, whole or not at all.

        Parameters
        ----------
        path : str or pathlib.Path
            ``.csv``, a line for each section; or ``.json``, which holds the rule, its threshold,
            the atlas and the errors expected of each structure too.
        force : bool
            Replace a file that is there.

        Raises
        ------
        InvalidInputError
            If the ending is another one.
        OutputError
            If it cannot be written, or is there already.
        """
        path = Path(path)
        check_output(path, force=force)
        rows = self.to_rows()
        if ending_of(path, _ENDINGS, "tables") == ".json":
            described = {
                "rule": self.rule,
                "threshold": self.threshold,
                "atlas": self.atlas,
                "resolution_um": self.resolution,
                "coordinates": self.coordinates,
                "notes": list(self.notes),
                "sections": [
                    row | _structures(section)
                    for row, section in zip(rows, self.sections, strict=True)
                ],
            }
            with whole_file(path, force=force) as temporary:
                temporary.write_text(as_json(described, indent=1) + "\n", "utf-8")
            return path
        names = rows[0] if rows else _COLUMNS
        columns = {name: [row[name] for row in rows] for name in names}
        write_table(path, Table(columns), force=force)
        return path

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a plain dictionary for each section, such as for a table or JSON.

        The keys are the attributes of `SectionQuality`. What is not known is `None`; the reasons
        are one text, joined by semicolons. Where a registration states errors, there are also
        ``expected_error_before``, ``expected_error_after``, ``expected_error_bound90_before`` and
        ``expected_error_bound90_after``, in µm.
        """
        return [_as_row(section, expected=self.with_expected) for section in self.sections]

    def to_pandas(self) -> pd.DataFrame:
        """Return a `pandas.DataFrame` with a row for each section, indexed by its number.

        The columns are the keys of `to_rows`; ``.attrs`` holds the rule and its threshold.

        Raises
        ------
        AtldldError
            If pandas is not installed.
        """
        frame = data_frame_of(self.to_rows(), index="section_number")
        frame.attrs.update(
            rule=self.rule,
            threshold=self.threshold,
            atlas=self.atlas,
            resolution_um=self.resolution,
            notes=list(self.notes),
        )
        return frame

    @property
    def with_expected(self) -> bool:
        """Whether a registration says of any section how far off it is expected to be."""
        return any(section.expected_error is not None for section in self.sections)

    def _repr_html_(self) -> str:
        odd = self.suspicious
        rows = [
            (
                section.section_number,
                section.image_id,
                f"{section.score:.1f}",
                "; ".join(section.reasons),
            )
            for section in odd[:_SHOWN]
        ]
        columns = {"section": "right", "image": "right", "score": "right", "why": "left"}
        more = len(odd) - len(rows)
        return card(
            f"Quality: {len(odd)} of {len(self.sections)} sections are suspicious",
            {
                "compared with": f"each other and {self.atlas}"
                if self.with_atlas
                else "each other",
                "looked at": f"with pixels of {self.resolution:g} µm",
                "notes": " ".join(self.notes) or None,
            },
            body=[
                self._strip(),
                table(columns, rows) if rows else Markup(""),
                escaped(f"… and {more} more") if more else Markup(""),
            ],
            hint=".suspicious   .to_pandas()   .save('quality.csv')",
        )

    def _strip(self) -> Markup:
        """Return a bar for each section, as high as its score; those that are marked stand out."""
        width, tall = 12, 46
        limit = max(self.threshold, 1e-9)
        bars = []
        for k, section in enumerate(self.sections):
            score = section.score if math.isfinite(section.score) else 0.0
            high = max(2.0, min(score / limit, 2.0) / 2 * tall)
            colour, opacity = (ACCENT, 1) if section.suspicious else ("currentColor", 0.45)
            bars.append(
                f'<rect x="{k * width + 1}" y="{tall - high:.1f}" width="{width - 2}" '
                f'height="{high:.1f}" fill="{colour}" fill-opacity="{opacity}"><title>section '
                f"{section.section_number}: score {score:.1f}</title></rect>"
            )
        line = (
            f'<line x1="0" x2="{len(self.sections) * width}" y1="{tall / 2}" y2="{tall / 2}" '
            f'stroke="{ACCENT}" stroke-dasharray="4 3" stroke-width="1"/>'
        )
        size = (max(len(self.sections), 1) * width, tall)
        label = "Score of each section, in their order; above the dashed line it is suspicious"
        return svg("".join(bars) + line, size, label, height=tall, captioned=True)

    def __repr__(self) -> str:
        return (
            f"<DatasetQuality of {len(self.sections)} sections, {len(self.suspicious)} suspicious>"
        )


def check_output(path: str | Path, *, force: bool = False) -> None:
    """Say what speaks against writing figures to a file, before they are made.

    Raises
    ------
    InvalidInputError
        If the ending is neither ``.csv`` nor ``.json``.
    OutputError
        If a file is there already and may not be replaced, or its folder cannot be written.
    """
    path = Path(path)
    ending_of(path, _ENDINGS, "tables")
    check_targets([path], force=force)


def _as_row(section: SectionQuality, *, expected: bool) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name in _COLUMNS:
        value = getattr(section, name)
        if isinstance(value, tuple):
            value = "; ".join(value)
        elif isinstance(value, float) and not math.isfinite(value):
            value = None
        row[name] = value
    for name in _EXPECTED if expected else ():
        row[f"expected_error_{name}"] = getattr(section.expected_error, name, None)
    return row


def _structures(section: SectionQuality) -> dict[str, Any]:
    """Return the errors that are expected of the structures on a section, if any are."""
    expected = section.expected_error
    if expected is None or not expected.structures:
        return {}
    return {
        "expected_error_structures": {
            str(structure): {"before": before, "after": after}
            for structure, (before, after) in expected.structures.items()
        }
    }
