"""Opening an atlas: from the cache, the service, BrainGlobe or your own files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atldld.atlas.ccf import KINDS, VolumeFile, read_volume, volume_file
from atldld.atlas.model import BRAINGLOBE, CCF_2017, Atlas, Given, Volumes
from atldld.atlas.structures import StructureGraph
from atldld.errors import (
    AnswerError,
    AtldldError,
    CacheError,
    InvalidInputError,
    ServiceWarning,
)
from atldld.fetch.answers import decode
from atldld.fetch.cache import sha256_of
from atldld.fetch.known import GRAPH, is_known_graph
from atldld.fetch.session import default_session
from atldld.formats.common import need
from atldld.place.spaces import BOX
from atldld.settings import DOWNLOAD_URL
from atldld.support.arguments import check_number
from atldld.support.fields import CHANGED, UnusableFieldError, quoted, text, whole
from atldld.support.files import read_errors

if TYPE_CHECKING:
    from atldld.fetch.session import Session

__all__ = ["check_atlas", "fetch_graph", "open_atlas"]

CITATION = (
    "© Allen Institute for Brain Science, Allen Mouse Brain Common Coordinate Framework v3 (2017), "
    "atlas.brain-map.org; Wang et al. 2020, doi:10.1016/j.cell.2020.04.007"
)
DEMO_CITATION = "SYNTHETIC: the made-up brain of atldld's demo archive, not a measurement"


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
        If there is no such atlas or resolution, or if one of your own files is not valid.
    OfflineError, ServiceError, CacheError
        If the atlas is not in the cache and cannot be fetched, or if the cache holds another file
        than the Allen Institute's, where that one is known.

    Warns
    -----
    ServiceWarning
        If the structure graph is not known to be the Allen Institute's.

    Examples
    --------
    >>> atlas = open_atlas(100)
    >>> atlas.annotation.shape
    (132, 80, 114)
    >>> label = int(atlas.annotation[80, 28, 33])
    >>> "HPF" in [atlas.graph[one].acronym for one in atlas.graph.ancestors(label)]
    True
    """
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
        load=Volumes(session, file.resolution, held.sha256),
        template_kind=str(template),
        version=f"sha256:{held.sha256}",
    )


def check_atlas(
    name: str = CCF_2017,
    resolution: float | None = None,
    *,
    own: bool = False,
    outlines: bool = False,
) -> None:
    """Check that an atlas can be opened, before anything is fetched.

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
        If there is no such atlas or resolution.
    AtldldError
        If a library that is needed is not installed.
    """
    if name.startswith(BRAINGLOBE):
        need("brainglobe_atlasapi.bg_atlas", "brainglobe", "Atlases of BrainGlobe")
    else:
        need("nrrd", "atlas", "Volumes of the atlas")
        if not own:
            _known(name, resolution)
    if outlines:
        need("shapely", "atlas", "Outlines of structures")


def _known(name: str, resolution: float | None) -> VolumeFile:
    """Return the annotation of one of the service's atlases."""
    if name != CCF_2017:
        raise InvalidInputError(
            f"There is no atlas {name!r}; there are {CCF_2017}, and {BRAINGLOBE}NAME for those of "
            "BrainGlobe.",
            hint="`atldld atlas list` shows them.",
        )
    return volume_file("annotation", 25 if resolution is None else resolution)


def fetch_graph(session: Session, *, refresh: bool = False) -> StructureGraph:
    """Return the adult mouse's structure graph, from the cache or the service.

    Raises
    ------
    OfflineError, ServiceError, CacheError
        If the graph is not in the cache and cannot be fetched.
    """

    def read(path: Path) -> StructureGraph:
        with read_errors(path, CacheError):
            content = path.read_bytes()
        try:
            answer = decode(content)
            _check_structures(answer)
            return StructureGraph.from_answer(answer)
        except (InvalidInputError, ValueError, RecursionError) as error:
            raise AnswerError(
                f"The service answered no structure graph: {error}",
                hint=f"Try again later. {CHANGED}",
            ) from None

    file = session.file(
        GRAPH,
        check=read,
        what="The structure graph",
        remedy="Fetch it once with `atldld atlas fetch structures` (less than 1 MB).",
        largest=session.limits.largest_json,
        refresh=refresh,
    )
    graph = read(file.path)
    if session.cache.allens and not is_known_graph(
        (structure.id, structure.parent_id, structure.acronym, structure.name, structure.color)
        for structure in graph
    ):
        session.report(
            ServiceWarning(
                f"The structure graph at {file.path} is not the one that is known of the Allen "
                "Institute: they may have revised it, or an archive brought another one. Fetch "
                "it again with `atldld atlas fetch structures`."
            )
        )
    return graph


LARGEST_STRUCTURE = (1 << 32) - 1  # what voxels of an annotation can hold


def _check_structures(answer: object) -> None:
    """Refuse an answer of which a structure has a field of another kind than it ever had.

    Lists of users may be looser; see `atldld.atlas.lists`.

    Raises
    ------
    InvalidInputError
        If one has, or a structure lies elsewhere than in its parent.
    """
    roots = answer.get("msg") if isinstance(answer, dict) else answer
    if not isinstance(roots, list) or not roots:
        raise InvalidInputError(f"msg is {quoted(roots)}, but must be a list of records.")
    waiting: list[tuple[object, int | None]] = [(root, None) for root in roots]
    while waiting:
        record, above = waiting.pop()
        if not isinstance(record, dict):
            raise InvalidInputError(
                f"{quoted(record)} stands where a record of a structure (children) must."
            )
        try:
            number = whole(record, "id", 1, LARGEST_STRUCTURE, needed=True)
            for name in ("acronym", "name", "color_hex_triplet"):
                text(record, name)
            parent = whole(record, "parent_structure_id", 1, LARGEST_STRUCTURE)
            if above is not None and parent not in (None, above):
                raise UnusableFieldError(
                    "parent_structure_id",
                    f"parent_structure_id is {parent}, but it stands within {above}",
                )
            # those without any have an empty list
            children = record.get("children")
            if not isinstance(children, list):
                came = quoted(children) if "children" in record else "missing"
                raise UnusableFieldError("children", f"children is {came}, but must be a list")
        except UnusableFieldError as error:
            raise InvalidInputError(
                f"The record of structure {quoted(record.get('id'))} cannot be used: {error}."
            ) from None
        waiting += [(child, number) for child in children]


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
        load=Given(grey),
        version=f"sha256:{sha256_of(annotation)}",
    )
