"""How far sections lie from Allen's alignment and from where the work began, and a text on it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atldld.align.desk import Desk
from atldld.align.edits import HAND
from atldld.align.state import Document
from atldld.place.placement import Placement
from atldld.sections.opened import Section
from atldld.support.provenance import citation_of, version

__all__ = ["Comparison", "places_on"]

Matrix = NDArray[np.float64]

_ACROSS = 33  # places along each side of a section
_FEWEST = 10  # of them in the brain, without which all count


class Comparison:
    """Distances between places of sections, kept as long as the sections stay.

    Parameters
    ----------
    desk : Desk
        What is edited.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._known: dict[int, tuple[Any, dict[str, Any]]] = {}

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each section: how far, in µm, it lies from where it was.

        Over places in the brain, as the section lies now, or over all of the picture where none
        does: the median and the greatest distance.
        """
        return [self._row(image_id) for image_id in self._desk.sections]

    def _row(self, image_id: int) -> dict[str, Any]:
        desk = self._desk
        document = desk.document
        state = document.sections[image_id]
        known = self._known.get(image_id)
        if known is None or known[0] != (state.forward, state.markers, state.origin):
            now = desk.placement(image_id, document=document)
            start = desk.start_placement(image_id)
            allen = desk.allen(image_id)
            section = desk.sections[image_id]
            told = {
                "from_allen_um": None if allen is None else self._apart(section, now, allen),
                "from_start_um": self._apart(section, now, start),
            }
            known = (state.forward, state.markers, state.origin), told
            self._known[image_id] = known
        return {
            "image_id": image_id,
            "number": desk.sections[image_id].number,
            "status": state.status,
            "markers": len(state.markers),
            "note": state.note,
            **known[1],
        }

    def _apart(self, section: Section, now: Placement, was: Placement) -> dict[str, float]:
        xy = places_on(section)
        here = now.to_reference(xy)
        away = np.linalg.norm(here - was.to_reference(xy), axis=1)
        atlas = self._desk.atlas
        voxels = np.floor(here / atlas.resolution).astype(np.int64)
        shape = np.array(atlas.annotation.shape)
        inside = np.asarray(((voxels >= 0) & (voxels < shape)).all(axis=1))
        inside[inside] = atlas.annotation[tuple(voxels[inside].T)] != 0
        if inside.sum() >= _FEWEST:
            away = away[inside]
        return {
            "median": round(float(np.median(away)), 2),
            "greatest": round(float(away.max()), 2),
        }

    # ---- the text

    def methods(self) -> str:
        """Return what a paper's methods may say of the registration."""
        desk, rows = self._desk, self.rows()
        record = desk.dataset.record
        counts = Counter(row["status"] for row in rows)
        used = [row for row in rows if row["status"] != "left out"]
        genes = ", ".join(gene.acronym for gene in record.genes if gene.acronym)
        about = desk.journal.beginning.about
        begun = about.get("start")
        if isinstance(begun, dict):
            begun = f"the planes of {begun.get('file')} ({begun.get('target')})"
        document = desk.document
        steps = Counter(
            step.step
            for image_id in desk.sections
            for step in {s.step: s for s in document.origin(image_id).steps if s.kept}.values()
            if step.step != HAND
        )
        hand = [row for row in rows if _by_hand(document, row["image_id"])]
        marked = [row for row in hand if row["markers"]]
        parts = [
            f"Sections of data set {record.id} ({genes or 'no gene'}, {desk.dataset.plane.value}) "
            f"of the Allen Mouse Brain Atlas were registered to {about.get('space')} with atldld "
            f"{version()}, starting from {begun}.",
        ]
        if steps:
            named = {"whole": "one affine map for all", "sections": "planes", "inplane": "bending"}
            listed = ", ".join(
                f"{named.get(name, name)} ({_count(count, 'section')})"
                for name, count in steps.items()
            )
            parts.append(f"Automatic refinement was kept where it fitted better: {listed}.")
        if hand:
            own = sum(row["status"] != "automatic" for row in hand)
            follow = len(hand) - own
            text = f"{_count(own, 'section').capitalize()} of {len(rows)} "
            text += f"{'was' if own == 1 else 'were'} placed by hand (atldld align)"
            if marked:
                total = sum(row["markers"] for row in marked)
                text += f", {len(marked)} of them with {_count(total, 'marker')} in the plane"
            if follow:
                text += (
                    f"; {_count(follow, 'section')} between them followed, interpolated by section "
                    "number"
                )
            parts.append(text + ".")
        else:
            parts.append("No section was moved by hand.")
        confirmed = counts["confirmed"]
        parts.append(
            f"{_count(confirmed, 'section').capitalize()} of {len(rows)} "
            f"{'was' if confirmed == 1 else 'were'} looked at and confirmed."
        )
        if left := [str(row["number"]) for row in rows if row["status"] == "left out"]:
            parts.append(
                f"{_count(len(left), 'section').capitalize()} "
                f"{'was' if len(left) == 1 else 'were'} left out as not usable: {', '.join(left)}."
            )
        for name, what in (
            ("from_allen_um", "the service's own alignment"),
            ("from_start_um", "where they lay at the start"),
        ):
            away = sorted(row[name]["median"] for row in used if row[name] is not None)
            if away:
                parts.append(
                    f"The sections used lie {away[len(away) // 2]:.0f} µm (median section; "
                    f"{away[0]:.0f} to {away[-1]:.0f} µm) from {what}."
                )
        text = " ".join(parts)
        if desk.synthetic:
            text = f"SYNTHETIC: of the demo brain. {text}"
        cited = "\n".join(dict.fromkeys([desk.atlas.citation, citation_of(record.id)]))
        return f"{text}\n\nTo cite:\n{cited}\n"


def _by_hand(document: Document, image_id: int) -> bool:
    """Whether a section was placed by hand, before a fit or after it."""
    steps = document.origin(image_id).steps
    return document.moved(image_id) or any(step.step == HAND for step in steps)


def places_on(section: Section) -> Matrix:
    """Return places everywhere on a section's picture, shape (N, 2)."""
    image = section.image
    x, y = (np.linspace(0, size - 1, _ACROSS) for size in (image.width, image.height))
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)


def _count(count: int, what: str) -> str:
    return f"{count if count else 'no'} {what}{'' if count == 1 else 's'}"
