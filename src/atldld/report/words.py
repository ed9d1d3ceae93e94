"""What a report says in sentences: what it shows, what to mind, and how it was made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from atldld.place.spaces import AXES, ReferenceSpace
from atldld.report.moves import Moves, moves_of

if TYPE_CHECKING:
    from atldld.regions.table import RegionTable
    from atldld.report.contents import Report

__all__ = [
    "DIRECTIONS",
    "MISSING",
    "Doubt",
    "Region",
    "alignments",
    "doubts",
    "judgement",
    "lead",
    "measure",
    "methods",
    "strongest",
    "summary",
]

DIRECTIONS = ("posterior", "inferior", "right")


@dataclass(frozen=True, slots=True)
class Region:
    """A structure among those with the most expression.

    Attributes
    ----------
    id : int
        Of the structure.
    acronym, name, color : str
        As in the atlas.
    value : float
        Its energy, or its stained fraction.
    share : float
        Of the largest value, 0 to 1.
    """

    id: int
    acronym: str
    name: str
    color: str
    value: float
    share: float


@dataclass(frozen=True, slots=True)
class Doubt:
    """A reason to be careful.

    Attributes
    ----------
    title, text : str
        What it is, and what follows from it.
    places : tuple of int
        Entries of the report that show it, the worst first.
    serious : bool
        Whether something is wrong, rather than merely missing.
    """

    title: str
    text: str
    places: tuple[int, ...] = ()
    serious: bool = False


MISSING = {
    "atlas": "No atlas",
    "curves": "Curves of the sections are missing",
    "regions": "No region table",
    "volume": "No volume",
    "quality": "No quality figures",
    "figures": "Some quality figures are missing",
    "start": "“Before” is another alignment",
    "before": "No quality figures of before",
}
"""What may be missing, as it is called on the page; in the order in which it is told."""

_TOLD_ELSEWHERE = {"volume"}  # a reader expects no volume who did not ask for one


def lead(report: Report) -> list[str]:
    """Return what somebody who knows nothing of it should read first, as paragraphs."""
    dataset, record = report.source.dataset, report.source.dataset.record
    count = len(report.entries)
    genes = [gene.acronym for gene in record.genes if gene.acronym]
    if genes:
        stain = f"stained for {_list(genes)} by in situ hybridisation"
    else:
        stain = "whose record names no gene"
    source = "made up in place of" if record.synthetic else "from"
    first = (
        f"{count} {dataset.plane.value} section{'s' if count != 1 else ''} of one mouse brain, "
        f"{stain}, {source} the Allen Institute’s section data set {record.id}. "
        + (
            "Each is laid into the brain’s coordinates, so every pixel belongs to a structure."
            if report.atlas
            else "Each is laid into the brain’s coordinates, so every pixel has a place."
        )
    )
    moves = moves_of(report.entries)
    return [first] if moves is None else [first, _moved(moves, count)]


def judgement(report: Report) -> str:
    """Return how many sections are suspicious, as a sentence."""
    odd = len(report.quality.suspicious) if report.quality else 0
    if not odd:
        return "No section looks out of place."
    return f"{odd} of {len(report.entries)} sections look suspicious."


def strongest(report: Report, count: int = 8) -> tuple[Region, ...]:
    """Return the structures with the most expression, the strongest first.

    A structure and what it lies in say the same thing twice: only those without parts are taken,
    and only those that are on several sections.
    """
    table = report.regions
    if table is None:
        return ()
    by = measure(table)
    least = min(3, len(report.entries))
    top = table.select(hemispheres=["both"]).top(by, len(table), sections=least)
    parents = set(table["parent_id"].tolist())
    rows = [row for row in top.rows() if row["structure_id"] not in parents and row[by] > 0][:count]
    graph = None if report.atlas is None else report.atlas.graph
    colors: dict[int, str] = {} if graph is None else {one.id: one.color for one in graph}
    return tuple(
        Region(
            row["structure_id"],
            row["acronym"],
            row["name"],
            colors.get(row["structure_id"], "808080"),
            row[by],
            row[by] / rows[0][by],
        )
        for row in rows
    )


def measure(table: RegionTable) -> str:
    """Return the column that says how much a structure expresses, or how much of it is stained."""
    return "energy" if "energy" in table.columns else "stained_fraction"


def doubts(report: Report) -> tuple[Doubt, ...]:
    """Return what speaks against trusting what is shown, the worst first."""
    record, quality = report.source.dataset.record, report.quality
    place = {entry.section.id: k for k, entry in enumerate(report.entries)}
    found: list[Doubt] = []
    if record.failed:
        found.append(
            Doubt(
                "Marked as failed",
                "The laboratory itself marked this data set as failed.",
                serious=True,
            )
        )
    if quality is not None and quality.suspicious:
        odd = quality.suspicious
        count = len(odd)
        found.append(
            Doubt(
                f"{count} of {len(report.entries)} sections look out of place",
                "Look at "
                + ("it" if count == 1 else "them")
                + " before you trust what "
                + ("it shows" if count == 1 else "they show")
                + ".",
                tuple(place[one.image_id] for one in odd if one.image_id in place),
                serious=True,
            )
        )
    expected = [e.section.expected_error for e in report.entries]
    known = [(k, one) for k, one in enumerate(expected) if one is not None]
    if known:
        middle = float(np.median([one.after for _, one in known]))
        bound = float(np.median([one.bound90_after for _, one in known]))
        found.append(
            Doubt(
                f"Sections lie about {middle:.0f} µm off",
                f"Nine of ten should lie within {bound:.0f} µm. Thinner structures may show their "
                "neighbours’ expression.",
            )
        )
    for what, title in MISSING.items():
        if what in report.missing and what not in _TOLD_ELSEWHERE:
            found.append(Doubt(title, report.missing[what]))
    left_out = [*report.failed, *(str(one.image_id) for one in report.source.dataset.skipped)]
    if left_out:
        count = len(left_out)
        found.append(
            Doubt(
                f"{count} image{'s were' if count > 1 else ' was'} left out",
                "The reasons stand under “About this data set”.",
                serious=bool(report.failed),
            )
        )
    if report.absent:
        found.append(
            Doubt(
                f"{len(report.absent)} section{'s are' if len(report.absent) > 1 else ' is'} "
                "missing",
                f"Going by the usual spacing, there should be {_first(report.absent)}. What lies "
                "only there is not shown.",
            )
        )
    table = report.regions
    if table is not None and measure(table) == "energy" and table.metadata["resolution_um"] > 10:
        found.append(
            Doubt(
                "Coarse masks",
                f"Expression was counted at {table.metadata['resolution_um']:g} µm a pixel, which "
                "blurs cells: densities come out too high.",
            )
        )
    found += [Doubt("From the service", remark) for remark in report.remarks]
    return tuple(sorted(found, key=lambda doubt: not doubt.serious))


def alignments(report: Report) -> tuple[str, str] | None:
    """Return what the alignments before and after are called; `None` if there is only one."""
    start, known = report.source.start, report.source.dataset.alignment
    return None if start is None or known is None else (start.name, known.name)


def summary(report: Report) -> list[tuple[str, str]]:
    """Return the data set's properties as names and values."""
    dataset, record = report.source.dataset, report.source.dataset.record
    axis = dataset.plane.depth_axis
    name = AXES[axis]
    tilts = [entry.section.geometry.tilt for entry in report.entries]
    places = [entry.coordinate for entry in report.entries]
    numbers = sorted({entry.section.number for entry in report.entries})
    space = record.reference_space_id
    genes = ", ".join(
        gene.acronym + (f" ({gene.name})" if gene.name else "")
        for gene in record.genes
        if gene.acronym
    )
    out = [
        ("Gene", genes or "none named"),
        ("Specimen", record.specimen_name or "not named"),
        ("Age", ReferenceSpace.of(space).age + " (of the reference space)" if space else "?"),
        ("Plane", f"{dataset.plane.value}, sections shown in {_plane(report)}"),
        (
            "Reference space",
            f"{space}, {ReferenceSpace.name_of(space)}"
            + (f"; refined, so in {_space(report)}" if _refined(report) else ""),
        ),
        ("Sections", f"{len(report.entries)}, numbers {numbers[0]} to {numbers[-1]}"),
        (
            "Extent",
            f"{name} = {places[0] / 1000:.2f} to {places[-1] / 1000:.2f} mm ({name} grows towards "
            f"{DIRECTIONS[axis]})",
        ),
        ("Tilt", _range(min(tilts), max(tilts), "°", 1)),
        ("Thickness, spacing", _spacing(report, numbers)),
        ("Missing sections", _absent(report)),
        ("Left out", _left_out(report)),
    ]
    if record.failed:
        out.append(("Laboratory’s verdict", "the data set is marked as failed"))
    return out


def methods(report: Report) -> str:
    """Return a paragraph for a paper: what was done, with which parameters, by what."""
    dataset, record = report.source.dataset, report.source.dataset.record
    versions = report.versions
    genes = " and ".join(gene.acronym for gene in record.genes if gene.acronym)
    made_up = (
        "[SYNTHETIC DEMONSTRATION DATA: NOT TO BE PUBLISHED AS A MEASUREMENT.] "
        if report.synthetic
        else ""
    )
    text = [
        f"{made_up}{dataset.plane.value.capitalize()} "
        + (f"in situ hybridisation sections for {genes}" if genes else "sections")
        + f" (section data set {record.id}"
        + (f", specimen {record.specimen_name}" if record.specimen_name else "")
        + f"; {len(report.entries)} sections) were obtained from the Allen Mouse Brain Atlas "
        f"(Lein et al., 2007) and placed in {_space(report)} with {_alignment(report)} "
        f"using atldld {versions['atldld']}."
    ]
    resolution = report.source.resolution
    bent = sum(entry.plane.deformation is not None for entry in report.entries)
    curved = f" and ({bent} of them) a smooth displacement in that plane" if bent else ""
    if report.source.plane == "oblique":
        text.append(
            f"Each section was resampled in its own oblique plane at {resolution:g} µm per pixel "
            f"by a single affine transformation{curved}, from the coarsest image tier at least as "
            "fine."
        )
    else:
        text.append(
            f"Each section was resampled onto a plane of constant third coordinate at "
            f"{resolution:g} µm per pixel."
        )
    atlas = report.atlas
    if atlas is not None:
        if atlas.synthetic:
            name = "the made-up annotation of the demo brain"
        elif atlas.name == "ccf_2017":
            name = "the Allen CCFv3 annotation of 2017 (Wang et al., 2020)"
        else:
            name = f"the atlas {atlas.name}"
        text.append(
            f"Structures were taken from {name} at {atlas.resolution:g} µm per voxel, sampled in "
            "the plane of each section."
        )
    if report.regions is not None:
        text.append(_counted(report.regions.metadata))
    if report.quality is not None:
        quality = report.quality
        text.append(
            f"The placement of each section was judged at {quality.resolution:g} µm by comparison "
            f"with its neighbours{' and the atlas' if quality.with_atlas else ''}; "
            f"{len(quality.suspicious)} of {len(quality.sections)} sections exceeded the "
            f"threshold ({quality.threshold:g}) and are marked as suspicious."
        )
    if report.slices:
        text.append(
            "The volume shown averages the sections as slabs in their own planes, with linear "
            "interpolation between neighbouring sections."
        )
    return " ".join(text)


def _moved(moves: Moves, count: int) -> str:
    """Return how many sections an alignment has moved, and how far off they are expected to be."""
    if not moves.moved:
        return "The alignment that was given leaves all sections where they lay."
    said = f"{moves.moved} of {count} sections lie elsewhere than before"
    if moves.middle is not None:
        said += f", by {moves.middle:.0f} µm in the median"
    expected = [one.expected for one in moves.sections if one.expected is not None]
    if expected:
        before, after = (
            float(np.median([getattr(one, name) for one in expected]))
            for name in ("before", "after")
        )
        said += f"; the error expected of a section was {before:.0f} µm and is {after:.0f} µm"
    return said + "."


def _counted(about: dict[str, Any]) -> str:
    if about["counted"] == "expression masks":
        return (
            "Expression was counted in the service’s expression masks in image space at up to "
            f"{about['resolution_um']:g} µm per pixel: a pixel expresses if its brightest channel "
            f"exceeds {about['threshold_of_brightest_channel']} of 255, and counts by the part "
            f"that its brightness says; its intensity is the level of its colour on the scale "
            f"“{about['scale']['name']}” (1 to 255), and energy is density × intensity, "
            "area-weighted over all sections."
        )
    return (
        "As there are no expression masks, the stained fraction was measured in the section "
        f"images at up to {about['resolution_um']:g} µm per pixel: the area that absorbs more "
        f"than {about['stain_threshold']:g} of the background’s light. It is not a density of "
        "expression."
    )


def _refined(report: Report) -> bool:
    return any(entry.section.refinement is not None for entry in report.entries)


def _space(report: Report) -> str:
    """Return what the coordinates are those of: a refined section lies as the atlas does."""
    if report.source.dataset.alignment is None:
        return "the P56 reference space"
    counts = Counter(section.coordinates for section in report.source.dataset.sections)
    if len(counts) == 1:
        return f"the coordinates of {next(iter(counts))}"
    return "the coordinates of " + _list(
        [f"{name} ({count} sections)" for name, count in counts.most_common()]
    )


def _alignment(report: Report) -> str:
    known = report.source.dataset.alignment
    if known is None:
        return "the Allen Institute’s own 2-D and 3-D affine alignments"
    described = known.describe()
    maker = f" by {described['aligner']}" if described.get("aligner") else ""
    return (
        f"planes from the alignment file {described['file']}{maker} "
        f"(SHA-256 {str(described['sha256'])[:12]}…)"
    )


def _plane(report: Report) -> str:
    if report.source.plane == "oblique":
        return "their own oblique planes"
    return f"planes of constant {AXES[report.source.dataset.plane.depth_axis]}"


def _spacing(report: Report, numbers: list[int]) -> str:
    thickness = report.source.dataset.record.section_thickness or 0
    steps = sorted(after - before for before, after in pairwise(numbers))
    if not steps:
        return f"{thickness:g} µm"
    usual = steps[len(steps) // 2] * thickness
    largest = steps[-1] * thickness
    wider = f" (largest gap {largest:g} µm)" if largest > usual else ""
    return f"{thickness:g} µm, every {usual:g} µm{wider}"


def _absent(report: Report) -> str:
    if not report.absent:
        return "none"
    return f"{len(report.absent)} of the usual spacing: {', '.join(map(str, report.absent))}"


def _left_out(report: Report) -> str:
    skipped = report.source.dataset.skipped
    count = len(skipped) + len(report.failed)
    return f"{count}, see below" if count else "none"


def _range(low: float, high: float, unit: str, digits: int) -> str:
    if f"{low:.{digits}f}" == f"{high:.{digits}f}":
        return f"{low:.{digits}f}{unit}"
    return f"{low:.{digits}f} to {high:.{digits}f}{unit}"


def _first(numbers: Sequence[int], count: int = 6) -> str:
    """Return the first of some numbers in words."""
    names = [str(number) for number in numbers]
    return _list(names) if len(names) <= count else f"{', '.join(names[:count])} and others"


def _list(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
