"""Sections and data sets with the session that their pixels come from.

What a picture can be made of: placed sections, and a way to their images. `atldld.api` adds what
people do with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex, Unpack, overload

from atldld.errors import AtldldError
from atldld.fetch.session import Session
from atldld.place.sections import PlacedDataSet, PlacedSection, Spot
from atldld.sections.diagram import planes_drawing
from atldld.support.arguments import check_jobs
from atldld.support.html import Markup, card, link, picture, synthetic_note, table

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    from atldld.atlas.labels import Labels
    from atldld.atlas.model import Atlas
    from atldld.atlas.outlines import Choice, Frame, Outline
    from atldld.place.planes import Cut
    from atldld.place.spaces import Layout
    from atldld.sections.register import RegisteredSection

__all__ = ["OpenedDataSet", "Section", "Sections", "Spot"]


@dataclass(frozen=True, eq=False, repr=False)
class Section(PlacedSection):
    """One placed section of a data set, with its pixels.

    Attributes
    ----------
    image, placement, plane, thickness, alignment, refinement, synthetic :
        See `atldld.place.sections.PlacedSection`.
    session : Session
        Where its pixels come from.
    """

    session: Session = field(kw_only=True)

    def pixels(self, downsample: int = 0, *, expression: bool = False) -> NDArray[np.uint8]:
        """Return the section's image as the service keeps it, fetching it if need be.

        Parameters
        ----------
        downsample : int
            The tier.
        expression : bool
            The expression mask instead.

        Returns
        -------
        numpy.ndarray, shape (height, width, 3), uint8
            RGB.
        """
        return self.session.pixels(self.image, downsample, expression=expression)

    def register(
        self,
        resolution: float = 25,
        *,
        cut: Cut = "oblique",
        downsample: int | Literal["auto"] = "auto",
        expression: bool = False,
        detection_xy: ArrayLike | None = None,
        layout: Layout | None = None,
        plane: Cut | None = None,
    ) -> RegisteredSection:
        """Show this section on the reference grid; see `DataSet.register`."""
        from atldld.sections.register import Recipe, fetch, warp

        recipe = Recipe(resolution, plane or cut, downsample, expression, detection_xy, layout)
        job = recipe.plan(self)
        return warp(job, fetch(job, self.session), self.session)

    def annotation(
        self, atlas: Atlas, resolution: float = 25, *, downsample: int | None = None
    ) -> Labels:
        """Return the structures in this section's plane; see `atldld.atlas.section_annotation`.

        Warns
        -----
        OtherAtlasWarning
            If the section was laid on another atlas.
        """
        from atldld.atlas.sample import section_annotation

        atlas.compare_alignment(self.file, self.session)
        return section_annotation(self, atlas, resolution, downsample=downsample)

    def outlines(
        self,
        atlas: Atlas,
        resolution: float = 25,
        *,
        downsample: int | None = None,
        frame: Frame = "image",
        **selection: Unpack[Choice],
    ) -> tuple[Outline, ...]:
        """Return outlines of structures in this section's own plane.

        Parameters
        ----------
        atlas : Atlas
            Which structure is where.
        resolution, downsample, frame :
            See `atldld.atlas.section_outlines`.
        **selection
            Which structures, and how finely: the attributes of `atldld.atlas.Selection`, such as
            ``structures=["HPF"]``, ``depth=3`` or ``hemisphere="each"``.

        Warns
        -----
        OtherAtlasWarning
            If the section was laid on another atlas.
        """
        from atldld.atlas.outlines import Selection, section_outlines

        atlas.compare_alignment(self.file, self.session)
        return section_outlines(
            self,
            atlas,
            resolution,
            Selection(**selection),
            downsample=downsample,
            frame=frame,
        )

    def _repr_html_(self) -> str:
        image, geometry = self.image, self.geometry
        expected = self.expected_error
        facts: dict[str, object] = {
            "image": self.id,
            "data set": image.data_set_id,
            "size": f"{image.width} × {image.height} pixels"
            + (f" of {image.resolution:g} µm" if image.resolution else ""),
            "tiers": f"0 to {image.highest_downsample}",
            "middle (p, i, r)": ", ".join(f"{value:.0f}" for value in geometry.centre) + " µm",
            "tilt": f"{geometry.tilt:.1f}°, so that it sweeps {geometry.depth_swept:.0f} µm",
            "expression mask": "yes" if image.has_expression_mask else "no",
            "alignment": self.alignment or "the service’s",
            "curved": None
            if (bent := self.describe_deformation()) is None
            else f"by up to {bent['greatest_displacement_um']:.0f} µm",
            "expected error": None
            if expected is None
            else f"{expected.after:.0f} µm (before: {expected.before:.0f} µm)",
        }
        shown = [_thumbnail(self), _thumbnail(self, expression=True)]
        return card(
            f"Section {self.number}",
            facts,
            pictures=[
                *(one for one in shown if one is not None),
                planes_drawing([self], self.plane, [self.id]),
            ],
            note=synthetic_note(self.synthetic),
            hint=None if any(shown) else "section.pixels(4)   # fetches a picture",
        )


class Sections(tuple[Section, ...]):
    """Sections of a data set, by position: index, slice and iterate as of any tuple.

    A slice gives sections again. `OpenedDataSet.section` finds one by its number or its image's id.

    Attributes
    ----------
    numbers : list of int
        Their section numbers.
    ids : list of int
        Ids of their images.

    Examples
    --------
    >>> import atldld
    >>> ds = atldld.open_dataset(69289763)
    >>> ds.sections[8:10]
    <2 sections: 70 (image 69177654), 78 (image 69177656)>
    >>> ds.sections[8:10].numbers
    [70, 78]
    """

    __slots__ = ()

    @overload
    def __getitem__(self, place: SupportsIndex, /) -> Section: ...
    @overload
    def __getitem__(self, place: slice, /) -> Sections: ...
    def __getitem__(self, place: SupportsIndex | slice, /) -> Section | Sections:
        """Return a section, or several as such a sequence."""
        found = super().__getitem__(place)
        return Sections(found) if isinstance(found, tuple) else found

    @property
    def numbers(self) -> list[int]:
        """Their section numbers."""
        return [section.number for section in self]

    @property
    def ids(self) -> list[int]:
        """Ids of their images."""
        return [section.id for section in self]

    def to_pandas(self) -> pd.DataFrame:
        """Return a `pandas.DataFrame` with a row for each section, indexed by its number.

        The columns are ``image_id``, ``p_um``, ``i_um``, ``r_um`` (where the image's middle lies),
        ``tilt_degrees``, ``width`` and ``height`` in full-resolution pixels, ``pixel_um`` and
        ``has_expression_mask``.

        Raises
        ------
        AtldldError
            If pandas is not installed.
        """
        from atldld.support.libraries import data_frame_of

        return data_frame_of(map(_as_row, self), index="section_number")

    def _repr_html_(self) -> str:
        marked: tuple[int, ...] = ()
        if not self:
            return card("No sections", {})
        shown = self if len(self) <= _SHOWN else self[:_SHOWN]
        rows = [
            (
                section.number,
                section.id,
                *(f"{value:.0f}" for value in section.geometry.centre),
                f"{section.geometry.tilt:.1f}",
            )
            for section in shown
        ]
        columns = {
            "section": "right",
            "image": "right",
            "p (µm)": "right",
            "i (µm)": "right",
            "r (µm)": "right",
            "tilt (°)": "right",
        }
        more = len(self) - len(shown)
        return card(
            f"{len(self)} section{'' if len(self) == 1 else 's'}",
            {"numbers": _ranges(self.numbers)},
            pictures=[planes_drawing(self, self[0].plane, marked)],
            body=[table(columns, rows)],
            hint=f"and {more} more: .to_pandas()" if more else None,
        )

    def __repr__(self) -> str:
        listed = [f"{section.number} (image {section.id})" for section in tuple(self)[:6]]
        if len(self) > 6:
            listed.append("…")
        named = f": {', '.join(listed)}" if listed else ""
        return f"<{len(self)} section{'' if len(self) == 1 else 's'}{named}>"


class OpenedDataSet(PlacedDataSet):
    """A section data set whose sections can be placed, with their pixels.

    Parameters
    ----------
    placed : PlacedDataSet
        Its records, and where its sections lie.
    session : Session
        Where pixels come from.
    alignment_path : pathlib.Path, optional
        The file that `placed` has its alignment from.

    Attributes
    ----------
    record, plane, skipped, alignment, alignment_notes :
        See `atldld.place.sections.PlacedDataSet`.
    sections : Sections
        Those that can be placed, in order of section number.
    session : Session
        Where pixels come from.
    alignment_path : pathlib.Path or None
        Where the alignment was read from, if it is not the service's.
    """

    sections: Sections
    session: Session
    alignment_path: Path | None

    def __init__(
        self, placed: PlacedDataSet, session: Session, alignment_path: Path | None = None
    ) -> None:
        super().__init__(
            placed.record,
            placed.plane,
            Sections(
                Section(
                    section.image,
                    section.placement,
                    section.plane,
                    section.thickness,
                    section.file,
                    section.refinement,
                    section.synthetic,
                    session=session,
                )
                for section in placed.sections
            ),
            placed.skipped,
            placed.alignment,
            placed.alignment_notes,
            placed.set_aside,
        )
        object.__setattr__(self, "session", session)
        object.__setattr__(self, "alignment_path", alignment_path)

    def __iter__(self) -> Iterator[Section]:
        return iter(self.sections)

    def section(self, image_id: int | str | None = None, *, number: int | None = None) -> Section:
        """Return one section, by the id of its image or by its section number.

        Parameters
        ----------
        image_id : int, optional
            The id of the section image.
        number : int, optional
            The section number instead.

        Raises
        ------
        InvalidInputError
            If neither or both are given, if the data set has no such section, or if several have
            that number.
        """
        found = super().section(image_id, number=number)
        assert isinstance(found, Section)
        return found

    def register(
        self,
        resolution: float = 25,
        *,
        cut: Cut = "oblique",
        downsample: int | Literal["auto"] = "auto",
        expression: bool = False,
        detection_xy: ArrayLike | None = None,
        layout: Layout | None = None,
        sections: PlacedSection | Iterable[PlacedSection] | None = None,
        jobs: int | None = None,
        plane: Cut | None = None,
    ) -> Iterator[RegisteredSection]:
        """Show every section on the reference grid, in order of section number.

        Images are fetched ahead while others are decoded and warped in parallel; memory does not
        grow with the number of sections. A section that cannot be fetched is left out and named
        in a `~atldld.errors.SkippedImageWarning` when the others are done.

        Parameters
        ----------
        resolution : float
            Side of an output pixel, in µm.
        cut : {"oblique", "parallel"}
            The section's own plane, or one of constant third coordinate.
        downsample : int or "auto"
            The tier of the images; ``"auto"`` takes the coarsest that is at least as fine as the
            output.
        expression : bool
            Warp the expression masks too.
        detection_xy : array-like, shape (2,), optional
            For ``"parallel"``: where on the image, in full-resolution pixels, the third
            coordinate is taken. The image's centre by default.
        layout : {"anatomical", "0.3"}, optional
            Which axes run along rows and columns. By default ``"parallel"`` pictures are laid out
            as in 0.3, others anatomically; see `atldld.sections.register.Recipe`.
        sections : Section or iterable of Section, optional
            Only these.
        jobs : int, optional
            Threads that decode and warp; the number of cores by default.
        plane : {"oblique", "parallel"}, optional
            An older name of `cut`.

        Yields
        ------
        RegisteredSection
            The picture, the mask, the plane.

        Raises
        ------
        InvalidInputError
            If the resolution, the tier or the point is not valid; nothing is requested then.
        AlignmentMissingError
            If no section of the data set is placed.
        """
        from atldld.sections.register import Recipe, register

        recipe = Recipe(resolution, plane or cut, downsample, expression, detection_xy, layout)
        check_jobs(jobs)
        chosen = self.chosen(sections)
        # Planned here and not in the generator: what makes no sense is said at once.
        return register([recipe.plan(section) for section in chosen], self.session, jobs=jobs)

    def to_pandas(self) -> pd.DataFrame:
        """Return a `pandas.DataFrame` with a row for each section; see `Sections.to_pandas`."""
        frame = self.sections.to_pandas()
        frame.attrs.update(dataset_id=self.id, synthetic=self.record.synthetic)
        return frame

    def _repr_html_(self) -> str:
        record, sections = self.record, self.sections
        tilts = [section.geometry.tilt for section in sections]
        gaps = [b - a for a, b in pairwise(sections.numbers)]
        thickness = record.section_thickness
        spacing = sorted(gaps)[len(gaps) // 2] * thickness if gaps and thickness else None
        page = f"https://mouse.brain-map.org/experiment/show/{self.id}"
        middle = _from_the_middle(sections)
        pictured = next((made for made in map(_thumbnail, middle) if made is not None), None)
        masks = sum(section.image.has_expression_mask for section in sections)
        facts: dict[str, object] = {
            "gene": ", ".join(
                f"{gene.acronym} ({gene.name})" if gene.name else str(gene.acronym)
                for gene in record.genes
            )
            or "none",
            "plane": self.plane.value,
            "sections": f"{len(sections)} placed"
            + (f", {len(self.skipped)} left out" if self.skipped else ""),
            "numbers": _ranges(sections.numbers) if sections else None,
            "spacing": f"{spacing:g} µm, sections of {thickness:g} µm" if spacing else None,
            "tilt": " to ".join(dict.fromkeys(f"{end(tilts):.1f}°" for end in (min, max)))
            if tilts
            else None,
            "expression masks": f"{masks} of {len(sections)}" if sections else None,
            "specimen": record.specimen_name,
            "alignment": self.alignment.name if self.alignment else "the service’s",
            "at the institute": None if record.synthetic else link(page.split("//")[1], page),
        }
        return card(
            f"Section data set {self.id}",
            facts,
            pictures=[
                *([pictured] if pictured is not None else []),
                planes_drawing(sections, self.plane),
            ],
            note=synthetic_note(record.synthetic)
            or ("The laboratory marked this data set as failed." if record.failed else None),
            hint=None if pictured is not None else "ds.sections[0].pixels(4)   # fetches a picture",
        )


_SHOWN = 12  # rows of a table
_SMALL = 260  # pixels along the longer side of a thumbnail
_DECODED = 40_000_000  # pixels of an image that is made small in a moment


def _as_row(section: Section) -> dict[str, Any]:
    geometry, image = section.geometry, section.image
    p, i, r = geometry.centre.tolist()
    row: dict[str, Any] = {
        "section_number": section.number,
        "image_id": section.id,
        "p_um": p,
        "i_um": i,
        "r_um": r,
        "tilt_degrees": geometry.tilt,
        "width": image.width,
        "height": image.height,
        "pixel_um": image.resolution,
        "has_expression_mask": image.has_expression_mask,
    }
    expected = section.expected_error
    if expected is not None:
        row |= {f"expected_error_{name}_um": value for name, value in expected.of_section.items()}
    return row


def _ranges(numbers: list[int]) -> str:
    """Return numbers as they are told: the first, the last, and the usual step."""
    if len(numbers) < 3:
        return ", ".join(map(str, numbers))
    steps = {b - a for a, b in pairwise(numbers)}
    every = f", every {steps.pop()}th" if len(steps) == 1 and steps != {1} else ""
    return f"{numbers[0]} to {numbers[-1]}{every}"


def _from_the_middle(sections: Sections) -> list[Section]:
    middle = len(sections) / 2
    order = sorted(range(len(sections)), key=lambda k: abs(k + 0.5 - middle))
    return [sections[k] for k in order]


def _thumbnail(section: Section, *, expression: bool = False) -> Markup | None:
    """Return a small picture of a section, if the cache has one; nothing is ever asked."""
    from atldld.fetch.jpeg import REDUCTIONS
    from atldld.fetch.pictures import decode

    image, cache = section.image, section.session.cache
    for tier in range(image.highest_downsample, -1, -1):
        longer = max(image.size(tier))
        if longer < _SMALL and tier:
            continue
        try:
            held = cache.find_image(image.id, tier, expression=expression)
            if held is None or held.width * held.height > _DECODED:
                continue
            reduction = next(size for size in REDUCTIONS if longer // size >= _SMALL or size == 1)
            pixels = decode(held.path, reduction)
        except (AtldldError, OSError):
            continue
        from atldld.formats.pictures import as_thumbnail

        what = "expression mask" if expression else "section"
        alt = f"{what} {section.number}, image {section.id}"
        return picture(as_thumbnail(pixels, _SMALL), alt)
    return None
