"""An atlas: which structure each voxel of the reference space is in, and how tissue looks.

Reference spaces 9 and 10 (P56) are one space, and both use the same annotation without a flip.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atldld.atlas.ccf import KINDS, VolumeFile, read_volume, volume_file
from atldld.atlas.labels import Labels
from atldld.atlas.structures import StructureGraph
from atldld.errors import (
    AnswerError,
    AtldldError,
    InvalidInputError,
    ServiceWarning,
    UnsupportedPlaneError,
)
from atldld.fetch.answers import decode
from atldld.fetch.known import GRAPH, is_known_graph
from atldld.formats.common import need
from atldld.place.spaces import BOX, PLACED_SPACES, ReferenceSpace
from atldld.settings import DOWNLOAD_URL
from atldld.support.arguments import check_number
from atldld.support.processes import cached_property

if TYPE_CHECKING:
    from atldld.fetch.session import Session
    from atldld.records import SectionDataSet

__all__ = [
    "BRAINGLOBE",
    "CCF_2017",
    "Atlas",
    "check_atlas",
    "check_space",
    "fetch_graph",
    "open_atlas",
]

CCF_2017 = "ccf_2017"
BRAINGLOBE = "brainglobe:"

CITATION = (
    "© Allen Institute for Brain Science, Allen Mouse Brain Common Coordinate Framework v3 (2017), "
    "atlas.brain-map.org; Wang et al. 2020, doi:10.1016/j.cell.2020.04.007"
)
DEMO_CITATION = "SYNTHETIC: the made-up brain of atldld's demo archive, not a measurement"


@dataclass(frozen=True, eq=False)
class Atlas:
    """An annotation over the reference space, its structures and its template.

    Attributes
    ----------
    name : str
        Such as ``"ccf_2017"``.
    resolution : float
        Side of a voxel, in µm; voxel k spans [kR, (k + 1)R).
    annotation : numpy.ndarray, shape (P, I, R), uint32 or int64
        The id of the structure in each voxel, 0 outside the brain; int64 where some are negative
        or beyond 2³². Read-only; mapped into memory where it comes from the cache.
    graph : StructureGraph
        The structures.
    citation : str
        What to cite.
    source : str
        The address or the file that the annotation comes from.
    synthetic : bool
        Whether it is the demo brain's.
    spaces : tuple of int
        Ids of the reference spaces that it is good for.
    """

    name: str
    resolution: float
    annotation: Labels
    graph: StructureGraph
    citation: str
    source: str
    synthetic: bool = False
    spaces: tuple[int, ...] = PLACED_SPACES
    load: Callable[[str], NDArray[Any] | None] = field(default_factory=lambda: _Given(), repr=False)
    template_kind: str = "average_template"

    def __getstate__(self) -> dict[str, Any]:
        # What the cache holds is not sent along: it is mapped again, or fetched, where it arrives.
        state = {name: value for name, value in vars(self).items() if name != "template"}
        if isinstance(self.load, _Volumes) and self.load.has_mapped(self.annotation):
            state["annotation"] = None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state["annotation"] is None:
            state["annotation"] = state["load"].annotation()
        state["annotation"].flags.writeable = False
        vars(self).update(state)

    @cached_property
    def template(self) -> NDArray[Any] | None:
        """Grey values of the tissue, (P, I, R), fetched when first used; `None` if there are none.

        Raises
        ------
        OfflineError, ServiceError, CacheError
            They are not in the cache, and cannot be had.
        """
        return self.load(self.template_kind)

    @cached_property
    def unknown_ids(self) -> tuple[int, ...]:
        """Ids in the annotation that the graph lacks; reads all of the annotation."""
        # slab by slab along the slowest axis: the whole would be read into memory at once
        volume = self.annotation if self.annotation.flags.c_contiguous else self.annotation.T
        slabs = [np.unique(volume[start : start + 16]) for start in range(0, len(volume), 16)]
        return self.graph.unknown(np.concatenate(slabs))

    def check_dataset(self, record: SectionDataSet) -> None:
        """Refuse a data set of another brain than the atlas's; see `check_space`."""
        check_space(record, self.name, self.spaces)

    def __repr__(self) -> str:
        made_up = ", SYNTHETIC" if self.synthetic else ""
        return f"<Atlas {self.name}, {self.resolution:g} µm, {len(self.graph)} structures{made_up}>"


def check_atlas(
    name: str = CCF_2017,
    resolution: float | None = None,
    *,
    own: bool = False,
    outlines: bool = False,
) -> None:
    """Say what speaks against opening an atlas, before anything is fetched.

    Parameters
    ----------
    name, resolution : optional
        As for `open_atlas`.
    own : bool
        Whether the annotation is a file of your own.
    outlines : bool
        Whether outlines of structures are wanted.

    Raises
    ------
    InvalidInputError
        There is no such atlas or resolution.
    AtldldError
        A library that is needed is not installed.
    """
    if name.startswith(BRAINGLOBE):
        need("brainglobe_atlasapi.bg_atlas", "brainglobe", "Atlases of BrainGlobe")
    else:
        need("nrrd", "atlas", "Volumes of the atlas")
        if not own:
            _known(name, resolution)
    if outlines:
        need("contourpy", "atlas", "Outlines of structures")


def _known(name: str, resolution: float | None) -> VolumeFile:
    """Return the annotation of one of the service's atlases."""
    if name != CCF_2017:
        raise InvalidInputError(
            f"There is no atlas {name!r}; there are {CCF_2017}, and {BRAINGLOBE}NAME for those of "
            "BrainGlobe.",
            hint="`atldld atlas list` shows them.",
        )
    return volume_file("annotation", 25 if resolution is None else resolution)


@dataclass(frozen=True, slots=True)
class _Volumes:
    """The atlas's volumes at one resolution, as a session has them."""

    session: Session
    resolution: int
    sha256: str

    def __call__(self, kind: str) -> NDArray[Any]:
        return volume_file(kind, self.resolution).open(self.session)[0]

    def has_mapped(self, array: NDArray[Any]) -> bool:
        """Whether an array is the annotation in the cache, all of it."""
        return (
            isinstance(array, np.memmap)
            # its name holds the hash of what it was unpacked from
            and self.sha256[:16] in Path(str(array.filename)).name
            and array.shape == volume_file("annotation", self.resolution).shape
        )

    def annotation(self) -> NDArray[Any]:
        """Return the annotation again, in another process."""
        labels, _, held = volume_file("annotation", self.resolution).open(self.session)
        if held.sha256 != self.sha256:
            raise AtldldError(
                f"The annotation in the cache at {self.session.archive_cache.root} is another one "
                "than that of the atlas that was sent here.",
                url=held.url,
                hint="Let both processes use the same service, and caches that were filled by it.",
            )
        return labels


@dataclass(frozen=True, slots=True, eq=False)
class _Given:
    """A template that is at hand, or none."""

    grey: NDArray[Any] | None = None

    def __call__(self, _: str) -> NDArray[Any] | None:
        return self.grey


def open_atlas(
    resolution: float | None = None,
    *,
    name: str = CCF_2017,
    template: str | Path = "average_template",
    annotation: str | Path | None = None,
    graph: str | Path | StructureGraph | dict[str, Any] | list[Any] | None = None,
    session: Session | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> Atlas:
    """Open an atlas: from the cache, the service, BrainGlobe or files of your own.

    Parameters
    ----------
    resolution : float, optional
        Side of a voxel, in µm: 10, 25 (the default), 50 or 100. Atlases of BrainGlobe and files
        have the one that they have.
    name : str
        ``"ccf_2017"``, the Allen Institute's, or ``"brainglobe:NAME"`` (needs the extra
        ``brainglobe``), such as ``"brainglobe:allen_mouse_50um"``.
    template : str or pathlib.Path
        ``"average_template"`` or ``"ara_nissl"``, fetched when first used; or, with
        ``annotation``, an NRRD file.
    annotation : str or pathlib.Path, optional
        An NRRD file over the reference space to use instead of the service's; its orientation is
        taken to be (p, i, r). Ids may be negative or beyond 2³², as in atlases that tell the
        hemispheres apart; those that the graph lacks stay as they are (`Atlas.unknown_ids`).
    graph : str, pathlib.Path, StructureGraph or document, optional
        The structures, as `StructureGraph.from_answer` takes them; the service's by default.
    session : Session, optional
        Where to ask; by default what the environment says.
    progress : callable, optional
        Takes the bytes that have arrived, and how many were announced, if any.

    Raises
    ------
    InvalidInputError
        If there is no such atlas or resolution, or a file of your own is not what it must be.
    OfflineError, ServiceError, CacheError
        If it is not in the cache, and cannot be had; or if what the cache has in its place is not
        the Allen Institute's file, where that is known.

    Warns
    -----
    ServiceWarning
        The structure graph is not the Allen Institute's as far as that is known.

    Examples
    --------
    >>> atlas = open_atlas(25)  # doctest: +SKIP
    >>> atlas.graph[int(atlas.annotation[322, 115, 133])].acronym  # doctest: +SKIP
    'DG-sg'
    """
    from atldld.fetch.session import default_session

    session = session or default_session()
    name = str(name)
    if resolution is not None:
        resolution = check_number(resolution, "resolution", above=0, unit="µm")
    if name.startswith(BRAINGLOBE):
        from atldld.atlas.brainglobe import open_brainglobe

        return open_brainglobe(name.removeprefix(BRAINGLOBE), resolution, session)
    if annotation is not None:
        return _from_files(Path(annotation), template, graph, resolution, session)
    file = _known(name, resolution)
    volume_file(str(template), file.resolution)
    if session.settings.offline:
        file.fetch(session)  # says what the large one takes, before the small one is missed
    structures = _structures(graph, session)
    if structures.synthetic and session.settings.download_url == DOWNLOAD_URL:
        # before anything large is fetched
        raise _mixed(True, False)
    labels, synthetic, held = file.open(session, progress=progress)
    if synthetic != structures.synthetic and graph is None:
        raise _mixed(structures.synthetic, synthetic)

    return Atlas(
        name=name,
        resolution=float(file.resolution),
        annotation=labels,
        graph=structures,
        citation=DEMO_CITATION if synthetic else CITATION,
        source=held.url,
        synthetic=synthetic,
        load=_Volumes(session, file.resolution, held.sha256),
        template_kind=str(template),
    )


def check_space(
    record: SectionDataSet, atlas: str = CCF_2017, spaces: tuple[int, ...] = PLACED_SPACES
) -> None:
    """Refuse a data set of another brain than an atlas's.

    Raises
    ------
    UnsupportedPlaneError
        Its reference space is none of the atlas's.
    """
    space = record.reference_space_id
    if space in spaces:
        return
    raise UnsupportedPlaneError(
        f"The atlas {atlas} is of the adult brain (P56, reference spaces "
        f"{' and '.join(map(str, spaces))}), but data set {record.id} is in "
        + (
            "no reference space."
            if space is None
            else f"reference space {space} ({ReferenceSpace.name_of(space)}): its structures have "
            "other places and shapes there."
        ),
        dataset_id=record.id,
    )


def fetch_graph(session: Session, *, refresh: bool = False) -> StructureGraph:
    """Return the adult mouse's structure graph, from the cache or the service.

    Raises
    ------
    OfflineError, ServiceError, CacheError
        It is not in the cache, and cannot be had.
    """

    def read(path: Path) -> StructureGraph:
        try:
            return StructureGraph.from_answer(decode(path.read_bytes()))
        except (InvalidInputError, ValueError, RecursionError) as error:
            raise AnswerError(
                f"The service answered no structure graph: {error}", hint="Try again later."
            ) from None

    file = session.file(
        GRAPH,
        check=read,
        what="The structure graph",
        remedy="Fetch it once with `atldld atlas fetch structures` (less than 1 MB).",
        largest=session.client.limits.largest_json,
        refresh=refresh,
    )
    graph = read(file.path)
    if session.cache.allens and not is_known_graph(
        (one.id, one.parent_id, one.acronym, one.name, one.color) for one in graph
    ):
        session.report(
            ServiceWarning(
                f"The structure graph at {file.path} is not the one that is known of the Allen "
                "Institute: they may have revised it, or an archive brought another one. Fetch "
                "it anew with `atldld atlas fetch structures`."
            )
        )
    return graph


def _structures(
    graph: str | Path | StructureGraph | dict[str, Any] | list[Any] | None, session: Session
) -> StructureGraph:
    if graph is None:
        return fetch_graph(session)
    if isinstance(graph, StructureGraph):
        return graph
    if isinstance(graph, (str, Path)):
        return StructureGraph.from_file(graph)
    return StructureGraph.from_answer(graph)


def _mixed(graph: bool, annotation: bool) -> AtldldError:
    kinds = {True: "the demo brain's (SYNTHETIC)", False: "the Allen Institute's"}
    return AtldldError(
        f"The structures are {kinds[graph]}, but the annotation is {kinds[annotation]}: they do "
        "not belong together.",
        hint="Set ATLDLD_API_URL and ATLDLD_DOWNLOAD_URL to the same service.",
    )


def _from_files(
    annotation: Path,
    template: str | Path,
    graph: str | Path | StructureGraph | dict[str, Any] | list[Any] | None,
    resolution: float | None,
    session: Session,
) -> Atlas:
    labels, synthetic = read_volume(annotation, resolution, "annotation")
    side = BOX[0] / labels.shape[0]
    # the service's own templates are not looked for beside a file of one's own
    named = str(template) in KINDS
    grey = None if named else read_volume(Path(template), None, "template")[0]
    return Atlas(
        name=annotation.name,
        resolution=side,
        annotation=labels,
        graph=_structures(graph, session),
        citation=CITATION,
        source=str(annotation),
        synthetic=synthetic,
        load=_Given(grey),
    )
