"""A data set whose sections are put off by known amounts, so that a refinement can be judged.

The demo does it with its made-up brain, whose pictures lie where the service's genuine numbers say:
those are the truth, and the sections are disturbed as real ones are (`atldld.testing.places`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from atldld.place.registration import Registration, SectionFit
from atldld.support.provenance import version
from atldld.testing.places import Errors, true_placements

if TYPE_CHECKING:
    from atldld.atlas.model import Atlas
    from atldld.place.placement import Placement
    from atldld.place.sections import PlacedDataSet, PlacedSection

__all__ = ["disturbed", "judgement", "known_errors", "tissue_of"]

_FEWEST = 3  # places in the tissue without which a section says nothing


def disturbed(
    dataset: PlacedDataSet, atlas: Atlas, errors: Errors | None = None, *, seed: int = 0
) -> Registration:
    """Return where the sections of a data set lie once they are put off by known amounts.

    Parameters
    ----------
    dataset : PlacedDataSet
        Where they truly lie.
    atlas : Atlas
        Its annotation says where there is tissue, in which errors are measured.
    errors : Errors, optional
        How large they are; those of real sections by default.
    seed : int
        Of what is random.
    """
    errors = errors or Errors()
    sections = sorted(dataset.sections, key=lambda section: (section.number, section.id))
    found = true_placements(
        sections,
        [tissue_of(section, atlas) for section in sections],
        errors,
        np.random.default_rng(seed),
    )
    about = {
        "atldld_version": version(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "synthetic": True,
        "atlas": {"name": atlas.name},
        "disturbed": {"median_um": errors.median, "seed": seed},
    }
    fits = {
        section.id: SectionFit.of(placement, section.number, pixel=section.image.resolution)
        for section, placement in zip(sections, found, strict=True)
    }
    return Registration(dataset.id, fits, about)


def known_errors(
    truth: PlacedDataSet, placed: Mapping[int, Placement], atlas: Atlas
) -> dict[int, float]:
    """Return how far off sections are, by image id: the median over their tissue, in µm.

    Parameters
    ----------
    truth : PlacedDataSet
        Where they truly lie.
    placed : mapping of int to Placement
        Where they are placed, by image id.
    atlas : Atlas
        Its annotation says where there is tissue; sections without any are left out.
    """
    out = {}
    for section in truth.sections:
        xy = tissue_of(section, atlas)
        if section.id in placed and len(xy) >= _FEWEST:
            off = placed[section.id].to_reference(xy) - section.to_reference(xy)
            out[section.id] = float(np.median(np.linalg.norm(off, axis=1)))
    return out


def judgement(truth: PlacedDataSet, start: PlacedDataSet, found: Registration, atlas: Atlas) -> str:
    """Return a line that says how well a refinement has found sections that were put off.

    Parameters
    ----------
    truth, start : PlacedDataSet
        Where the sections truly lie, and where they were put.
    found : Registration
        Where they were found.
    atlas : Atlas
        See `known_errors`.
    """
    before = known_errors(truth, {one.id: one.placement for one in start.sections}, atlas)
    after = known_errors(truth, {k: fit.placement for k, fit in found.sections.items()}, atlas)
    judged = sorted(set(before) & set(after))
    said = (
        f"Known error, in the median of {len(judged)} sections: "
        f"{np.median([before[k] for k in judged]):.0f} µm before, "
        f"{np.median([after[k] for k in judged]):.0f} µm after; "
    )
    stated = [
        (after[k], one) for k in judged if (one := found.sections[k].expected_error) is not None
    ]
    if not stated:
        return said + "no expected error is stated."
    expected = np.median([one.after for _, one in stated])
    below = sum(true <= one.bound90_after for true, one in stated)
    return (
        f"{said}stated as expected: {expected:.0f} µm, and {below} of {len(stated)} sections lie "
        "below their 90 % bound."
    )


def tissue_of(section: PlacedSection, atlas: Atlas, across: int = 40) -> NDArray[np.float64]:
    """Return places in a section's tissue, shape (N, 2), in full-resolution pixels.

    Parameters
    ----------
    section : PlacedSection
        Where it truly lies.
    atlas : Atlas
        Says where there is tissue.
    across : int
        Places along each side of the picture, of which those in the tissue are returned.
    """
    shares = (np.arange(across) + 0.5) / across
    x, y = np.meshgrid(shares * section.image.width, shares * section.image.height)
    xy = np.stack((x.ravel(), y.ravel()), axis=-1)
    voxels = np.floor(section.to_reference(xy) / atlas.resolution).astype(int)
    inside = ((voxels >= 0) & (voxels < atlas.annotation.shape)).all(axis=1)
    labels = np.zeros(len(xy), dtype=atlas.annotation.dtype)
    labels[inside] = atlas.annotation[tuple(voxels[inside].T)]
    tissue: NDArray[np.float64] = xy[labels > 0]
    return tissue
