"""The figures of a data set's sections, and which ones are suspicious: all of it, in one call."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atldld.errors import AtldldError, HTTPStatusError, InvalidInputError, NotFoundError
from atldld.quality.figures import LOOKED_AT, SectionView, look_at, measure, view_of
from atldld.quality.in_atlas import in_atlas
from atldld.quality.rule import THRESHOLD, judge, rule_text
from atldld.quality.table import DatasetQuality

if TYPE_CHECKING:
    from atldld.atlas import Atlas
    from atldld.fetch.session import Session
    from atldld.place.sections import PlacedDataSet
    from atldld.sections.register import RegisteredSection
    from atldld.support.provenance import Progress

__all__ = ["assess", "assess_pictures", "atlas_or_reason"]


def atlas_or_reason(
    resolution: float | None = None,
    *,
    name: str = "ccf_2017",
    session: Session,
    **own: str | None,
) -> tuple[Atlas | None, str | None]:
    """Open an atlas, or say why there is none where the service has none.

    Parameters
    ----------
    resolution, name, session :
        See `atldld.open_atlas`.
    **own
        Files of your own (``annotation``, ``graph``, ``template``), where they are given.

    Raises
    ------
    AtldldError
        If it cannot be fetched for another reason, which may pass: figures that lack the atlas
        today and have it tomorrow would not be the same.
    """
    from atldld.atlas import open_atlas

    try:
        given: dict[str, Any] = {key: value for key, value in own.items() if value is not None}
        return open_atlas(resolution, name=name, session=session, **given), None
    except AtldldError as error:
        if not _has_none(error):
            raise
        return None, str(error)


def _has_none(error: AtldldError) -> bool:
    """Whether the service has no such thing, however often it is asked."""
    if isinstance(error, HTTPStatusError):
        # an archive that may not be listed answers 403 for what it does not hold
        return error.status_code in {403, 404, 410}
    return isinstance(error, NotFoundError)


def assess(
    dataset: PlacedDataSet,
    atlas: Atlas | None = None,
    *,
    session: Session,
    resolution: float = LOOKED_AT,
    without_atlas: str | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> DatasetQuality:
    """Return figures for every section of a data set, and which ones are suspicious.

    Parameters
    ----------
    dataset : PlacedDataSet
        Its sections are registered, coarsely.
    atlas : Atlas, optional
        What they are compared with too; its template is fetched if need be. Where the service has
        no template, the figures do without and the result's ``notes`` say so.
    session : Session
        Where pixels come from.
    resolution : float
        Side of a pixel, in µm, at which sections are looked at; see `recipe`.
    without_atlas : str, optional
        Why there is no atlas, for the ``notes``.
    jobs : int, optional
        Threads; the number of cores by default.
    progress : callable, optional
        Called with how many sections are done, how many there are, and what the last one was.

    Returns
    -------
    DatasetQuality
        Without the sections that cannot be fetched.

    Raises
    ------
    InvalidInputError
        If the resolution makes no sense.
    UnsupportedPlaneError
        If the data set is of another brain than the atlas.
    AlignmentMissingError
        If no section of the data set is placed.
    AtldldError
        If not one section can be fetched: the first one's error.

    Warns
    -----
    SkippedImageWarning
        If a section cannot be fetched; it is left out.
    OtherAtlasWarning
        If the sections were laid on another atlas.
    """
    if atlas is not None:
        atlas.check_dataset(dataset.record)
        atlas.compare_alignment(dataset.alignment, session)
    views = look_at(dataset, resolution, session=session, jobs=jobs, progress=progress)
    found = assess_pictures(
        views, atlas, resolution=resolution, without_atlas=without_atlas, jobs=jobs
    )
    return replace(found, coordinates=dataset.coordinates)


def assess_pictures(
    registered: Iterable[RegisteredSection | SectionView],
    atlas: Atlas | None = None,
    *,
    resolution: float = LOOKED_AT,
    without_atlas: str | None = None,
    jobs: int | None = None,
) -> DatasetQuality:
    """Return figures for sections that are registered already; see `assess`.

    They are those of `assess` if the pictures are those that `recipe` makes.

    Parameters
    ----------
    registered : iterable of RegisteredSection or SectionView
        Of one data set. Pictures are reduced one by one, so they need not be held together.
    atlas, resolution, without_atlas, jobs :
        As for `assess`. The resolution must be no finer than that of the pictures.

    Raises
    ------
    InvalidInputError
        If the resolution is finer than that of the pictures, or they are of several planes.
    """
    views = [
        shown if isinstance(shown, SectionView) else view_of(shown, resolution)
        for shown in registered
    ]
    if len({view.plane.grid for view in views}) > 1:
        raise InvalidInputError(
            "The pictures are on several grids, but those of one data set are compared.",
            hint="Give pictures of one plane, resolution and layout.",
        )
    order = np.argsort([view.plane.central_depth for view in views], kind="stable")
    template, notes = _template(atlas, without_atlas)
    in_order = [views[k] for k in order]
    figures = measure(in_order, atlas, template, jobs)
    placed = None if atlas is None else in_atlas(in_order, atlas.annotation, jobs)
    judged = judge(in_order, figures, placed)
    back = np.argsort(order)
    return DatasetQuality(
        sections=tuple(judged[k] for k in back),
        threshold=THRESHOLD,
        rule=rule_text(with_atlas=atlas is not None),
        with_atlas=atlas is not None,
        atlas=None if atlas is None else atlas.name,
        resolution=views[0].plane.grid.resolution if views else float(resolution),
        notes=notes,
    )


def _template(
    atlas: Atlas | None, without_atlas: str | None
) -> tuple[NDArray[Any] | None, tuple[str, ...]]:
    """Return an atlas's template, if there is one, and what the figures lack."""
    if atlas is None:
        reason = without_atlas or "no atlas was given."
        return None, (f"There is neither overlap nor mutual information: {reason}",)
    try:
        template = atlas.template
        reason = f"the atlas {atlas.name} has no template."
    except AtldldError as error:
        if not _has_none(error):
            raise
        template, reason = None, str(error)
    if template is None:
        return None, (f"There is no mutual information: {reason}",)
    return template, ()
