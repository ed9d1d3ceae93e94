"""An atlas: which structure each voxel of the reference space is in, and how tissue looks.

Reference spaces 9 and 10 (P56) are one space, and both use the same annotation without a flip.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atldld.atlas.structures import StructureGraph
from atldld.atlas.volumes import read_volume, volume_file
from atldld.documents import DocumentError, parse_json
from atldld.errors import AnswerError, AtldldError, InvalidInputError, UnsupportedPlaneError
from atldld.settings import DOWNLOAD_URL
from atldld.spaces import PLACED_SPACES, ReferenceSpace

if TYPE_CHECKING:
    from atldld.fetch.session import Session
    from atldld.records import SectionDataSet

__all__ = ["BRAINGLOBE", "CCF_2017", "Atlas", "check_space", "fetch_graph", "open_atlas"]

CCF_2017 = "ccf_2017"
BRAINGLOBE = "brainglobe:"

GRAPH_PATH = "api/v2/structure_graph_download/1.json"

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
    annotation : numpy.ndarray, shape (P, I, R), uint32
        The id of the structure in each voxel, 0 outside the brain. Read-only; mapped into memory
        where it comes from the cache.
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
    annotation: NDArray[np.uint32]
    graph: StructureGraph
    citation: str
    source: str
    synthetic: bool = False
    spaces: tuple[int, ...] = PLACED_SPACES
    load: Callable[[str], NDArray[Any] | None] = field(default=lambda _: None, repr=False)
    template_kind: str = "average_template"

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
        present: set[int] = set()
        # slab by slab along the slowest axis: the whole would be read into memory at once
        volume = self.annotation if self.annotation.flags.c_contiguous else self.annotation.T
        for start in range(0, len(volume), 16):
            present.update(np.unique(volume[start : start + 16]).tolist())
        return self.graph.unknown(sorted(present))

    def check_dataset(self, record: SectionDataSet) -> None:
        """Refuse a data set of another brain than the atlas's; see `check_space`."""
        check_space(record, self.name, self.spaces)

    def __repr__(self) -> str:
        made_up = ", SYNTHETIC" if self.synthetic else ""
        return f"<Atlas {self.name}, {self.resolution:g} µm, {len(self.graph)} structures{made_up}>"


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
        taken to be (p, i, r).
    graph : str, pathlib.Path, StructureGraph or document, optional
        The structures, as `StructureGraph.from_answer` takes them; the service's by default.
    session : Session, optional
        Where to ask; by default what the environment says.
    progress : callable, optional
        Takes the bytes that have arrived, and how many were announced, if any.

    Raises
    ------
    InvalidInputError
        There is no such atlas or resolution, or a file of your own is not what it must be.
    OfflineError, ServiceError, CacheError
        It is not in the cache, and cannot be had.

    Examples
    --------
    >>> atlas = open_atlas(25)  # doctest: +SKIP
    >>> atlas.graph[int(atlas.annotation[322, 115, 133])].acronym  # doctest: +SKIP
    'DG-sg'
    """
    from atldld.fetch.session import default_session

    session = session or default_session()
    if name.startswith(BRAINGLOBE):
        from atldld.atlas.brainglobe import open_brainglobe

        return open_brainglobe(name.removeprefix(BRAINGLOBE), resolution, session)
    if annotation is not None:
        return _from_files(Path(annotation), template, graph, resolution, session)
    if name != CCF_2017:
        raise InvalidInputError(
            f"There is no atlas {name!r}; there are {CCF_2017}, and {BRAINGLOBE}NAME for those of "
            "BrainGlobe.",
            hint="`atldld atlas list` shows them.",
        )
    file = volume_file("annotation", 25 if resolution is None else resolution)
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

    def load(kind: str) -> NDArray[Any]:
        return volume_file(kind, file.resolution).open(session)[0]

    return Atlas(
        name=name,
        resolution=float(file.resolution),
        annotation=labels,
        graph=structures,
        citation=DEMO_CITATION if synthetic else CITATION,
        source=held.url,
        synthetic=synthetic,
        load=load,
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
            return StructureGraph.from_answer(parse_json(path.read_bytes()))
        except (InvalidInputError, DocumentError) as error:
            raise AnswerError(
                f"The service answered no structure graph: {error}", hint="Try again later."
            ) from None

    file = session.file(
        GRAPH_PATH,
        check=read,
        what="The structure graph",
        remedy="Fetch it once with `atldld atlas fetch structures` (less than 1 MB).",
        refresh=refresh,
    )
    return read(file.path)


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
    labels.flags.writeable = False
    side = 13200 / labels.shape[0]
    path = Path(template) if Path(template).is_file() else None
    grey = None if path is None else read_volume(path, None, "template")[0]
    return Atlas(
        name=annotation.name,
        resolution=side,
        annotation=labels,
        graph=_structures(graph, session),
        citation=CITATION,
        source=str(annotation),
        synthetic=synthetic,
        load=lambda _: grey,
    )
