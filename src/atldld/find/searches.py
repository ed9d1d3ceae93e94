"""Searching: lazily, from the catalogue or the service."""

from __future__ import annotations

import copy
import sqlite3
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from atldld.errors import (
    AnswerError,
    CacheError,
    InvalidInputError,
    NotFoundError,
    OfflineError,
    Remedy,
    ServiceError,
)
from atldld.fetch.session import Session, default_session
from atldld.find import catalogue
from atldld.find.conditions import (
    PASSED,
    Condition,
    Filters,
    conditions,
    counts,
    ids_of,
    plural,
    select,
)
from atldld.find.genes import ResolvedGene, matching, organism_name, resolve, suggestions
from atldld.find.rows import Origin
from atldld.find.service import Service
from atldld.support.fields import CHANGED
from atldld.support.html import card, escaped, table
from atldld.support.libraries import need
from atldld.support.processes import cached_property

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Kind",
    "Search",
    "search",
]

Kind = Literal["dataset", "image", "gene", "specimen", "structure"]
Organism = Literal["mouse", "human"]
PlaneName = Literal["coronal", "sagittal", "transverse", "variable", "tangential"]
Orientation = Literal["antisense", "sense"]
Row = dict[str, Any]
Text = str | Iterable[str]
Id = int | str | Iterable[int | str]

MOST_IMAGED = 1000
"""Of so many data sets the images are asked for, where a search cannot do without them."""


def search(
    kind: Kind = "dataset",
    *,
    id: Id | None = None,
    dataset: Id | None = None,
    name: Text | None = None,
    gene: Text | None = None,
    organism: Organism | int | None = None,
    plane: PlaneName | int | Iterable[PlaneName | int] | None = None,
    product: Text | None = None,
    age: Text | None = None,
    sex: Text | None = None,
    strain: Text | None = None,
    specimen: Text | int | None = None,
    orientation: Orientation | int | Iterable[Orientation | int] | None = None,
    treatment: Text | None = None,
    space: Id | None = None,
    graph: Id | None = None,
    min_sections: int | None = None,
    max_sections: int | None = None,
    resolution: float | None = None,
    failed: bool = False,
    rma: str | None = None,
    live: bool = False,
    refresh: bool = False,
    session: Session | None = None,
) -> Search:
    """Search for data sets, images, genes, specimens or structures.

    Nothing is read or asked until the result is used. The catalogue answers if there is one
    (``atldld catalogue update`` makes it), else the service, whose answers are cached.

    Several values of a filter, in any iterable (a list, an array, a pandas Series), mean any of
    them. Texts are compared without regard to case, and ``*`` in them stands for anything; where
    the service answers, acronyms are compared exactly.

    Parameters
    ----------
    kind : {"dataset", "image", "gene", "specimen", "structure"}
        What to search for.
    id : int, optional
        The service's id of what is searched for.
    dataset : int, optional
        Of images: the id of their data set.
    name : str, optional
        Of genes and structures: a part of the acronym, the name or a synonym, or an Entrez,
        Ensembl or structure id. Of specimens: the name or id.
    gene : str, optional
        Of data sets and images: an acronym, name, synonym, Entrez id or Ensembl id.
    organism : {"mouse", "human"} or int, optional
        Of genes. Without it, a name that both have means the mouse gene.
    plane : str or int, optional
        Plane of section, such as ``"coronal"``, or its id.
    product : str or int, optional
        ``"adult"``, ``"developing"``, another product's id, abbreviation or name, or a part of
        the name, such as ``"connectivity"``.
    age, sex, strain : str, optional
        Of the donor, such as ``"P56"``, ``"F"``, ``"C57BL/6J"``.
    specimen : str or int, optional
        The specimen's name, or its id.
    orientation : {"antisense", "sense"}, optional
        Of the probe.
    treatment : str, optional
        Such as ``"ISH"``, ``"NISSL"``.
    space : int or str, optional
        Reference space: its id, such as 9, or its name.
    graph : int, optional
        Of structures: the ontology; 1 is the adult mouse's.
    min_sections, max_sections : int, optional
        How many section images a data set must have, and may have.
    resolution : float, optional
        The data set's finest pixels are at most so large, in µm.
    failed : bool
        Show also what failed the Allen Institute's quality control.
    rma : str, optional
        Further criteria in the service's own language, such as ``"[weight$gt5000]"``. Only the
        service can answer them.
    live : bool
        Ask the service even if there is a catalogue.
    refresh : bool
        Ask the service even if the answer is in the cache. Implies `live`.
    session : Session, optional
        Where to ask; for the environment's settings by default.

    Returns
    -------
    Search

    Raises
    ------
    InvalidInputError
        If this kind of search does not have a filter, or a value makes no sense.

    Examples
    --------
    >>> import atldld
    >>> found = atldld.search(gene="Pdyn", plane="coronal")
    >>> len(found), found.ids
    (1, [71717084])
    >>> atldld.search("gene", name="prodynorphin").first().acronym
    'Pdyn'
    """
    given = {
        "id": id,
        "dataset": dataset,
        "name": name,
        "gene": gene,
        "organism": organism,
        "plane": plane,
        "product": product,
        "age": age,
        "sex": sex,
        "strain": strain,
        "specimen": specimen,
        "orientation": orientation,
        "treatment": treatment,
        "space": space,
        "graph": graph,
        "min_sections": min_sections,
        "max_sections": max_sections,
        "resolution": resolution,
        "failed": failed,
        "rma": rma,
    }
    filters = Filters.of(kind, given)
    live = live or refresh or rma is not None
    return Search(kind, filters, session=session, live=live, refresh=refresh)


_SHOWN = 12  # rows in a notebook
_COLUMNS: dict[str, tuple[str, ...]] = {
    "dataset": ("id", "genes", "plane", "sections", "treatments", "age", "specimen", "failed"),
    "image": ("id", "data_set_id", "section_number", "width", "height", "resolution"),
    "gene": ("id", "acronym", "name", "aliases", "organism", "data_sets"),
    "specimen": ("id", "name", "donor", "age", "sex", "strain", "data_sets"),
    "structure": ("id", "acronym", "name", "parent_id", "depth"),
}
_SIDES = dict.fromkeys(
    (
        *("id", "sections", "data_set_id", "section_number", "width", "height", "resolution"),
        *("data_sets", "parent_id", "depth"),
    ),
    "right",
)


@dataclass(frozen=True)
class _Answer:
    rows: list[Any]
    source: Origin
    remarks: tuple[str, ...]
    hidden: int
    explanation: str | None


class Search:
    """A search that asks when its result is used, and once.

    Iterate over it, index it, take its ``len``; it is true when it finds something. Its rows are
    `FoundDataSet`, `FoundImage`, `FoundGene`, `FoundSpecimen` or `FoundStructure`.

    Parameters
    ----------
    kind : str
        What is searched for.
    filters : Filters
        What it must be like.
    session : Session, optional
        Where to ask; for the environment's settings by default.
    live : bool
        Ask the service even if there is a catalogue.
    refresh : bool
        Ask the service even if the answer is in the cache.

    Raises
    ------
    NotFoundError
        If there is no such gene, once the result is used. The error says what it may have been.
    OfflineError, ServiceError, CacheError
        If neither catalogue nor service can answer, once the result is used.
    """

    def __init__(
        self,
        kind: Kind,
        filters: Filters,
        *,
        session: Session | None = None,
        live: bool = False,
        refresh: bool = False,
    ) -> None:
        self.kind = kind
        self.filters = filters
        self._session = session
        self._live = live
        self._refresh = refresh

    def live(self, *, refresh: bool = False) -> Search:
        """Return the same search, answered by the service.

        Parameters
        ----------
        refresh : bool
            Ask even if the answer is in the cache.
        """
        return Search(self.kind, self.filters, session=self._session, live=True, refresh=refresh)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._answer.rows)

    def __len__(self) -> int:
        return len(self._answer.rows)

    def __getitem__(self, place: int) -> Any:
        return self._answer.rows[place]

    def first(self) -> Any | None:
        """Return the first row, or `None` where there is none."""
        return next(iter(self), None)

    @property
    def ids(self) -> list[int]:
        """The ids of what was found."""
        return [row.id for row in self]

    @property
    def source(self) -> Origin:
        """What answered, and how old its knowledge is."""
        return self._answer.source

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences about how the filters were understood, such as what a synonym stands for."""
        return self._answer.remarks

    @property
    def hidden(self) -> int:
        """How many more there are that failed the quality control."""
        return self._answer.hidden

    @property
    def explanation(self) -> str | None:
        """Why nothing was found: which filter left nothing. `None` where something was."""
        return self._answer.explanation

    def to_records(self) -> list[Row]:
        """Return the rows as dictionaries of plain values."""
        return [msgspec.to_builtins(row) for row in self]

    def to_pandas(self) -> pd.DataFrame:
        """Return the rows as a data frame, indexed by id.

        Raises
        ------
        AtldldError
            If pandas is not installed.
        """
        from atldld.find.conditions import KINDS

        pandas = need("pandas", "tables", "Data frames")
        columns = KINDS[self.kind].__struct_fields__
        frame: pd.DataFrame = pandas.DataFrame(self.to_records(), columns=columns)
        return frame.set_index("id")

    def _repr_html_(self) -> str:
        """Show what is known already, or can be answered without a request."""
        known = {name: _short(value) for name, value in self.filters.given.items()}
        title = f"Search for {plural(self.kind)}"
        try:
            answer = self._known()
        except NotFoundError as error:
            return card(title, known, note=str(error))
        if answer is None:
            hint = "len(found)   found.first()   found.to_pandas()   # each asks the service"
            return card(title, {**known, "found": "not asked yet"}, hint=hint)
        rows = [msgspec.structs.asdict(row) for row in answer.rows[:_SHOWN]]
        names = [
            name
            for name in _COLUMNS[self.kind]
            if any(row.get(name) not in (None, (), "", False) for row in rows)
        ]
        more = len(answer.rows) - len(rows)
        return card(
            title,
            {
                **known,
                "found": f"{len(answer.rows)}"
                + (
                    f", and {answer.hidden} that failed the quality control"
                    if answer.hidden
                    else ""
                ),
                "answered by": str(answer.source),
                "remarks": " ".join(answer.remarks) or None,
            },
            body=[
                table(
                    {name.replace("_", " "): _SIDES.get(name, "left") for name in names},
                    [[_cell(row.get(name)) for name in names] for row in rows],
                )
                if rows
                else escaped(answer.explanation or ""),
            ],
            hint=f"and {more} more: .to_pandas()" if more else None,
        )

    def _known(self) -> _Answer | None:
        """Return the answer if it has been asked for, or is known without any request."""
        if (answer := self.__dict__.get("_answer")) is not None:
            known: _Answer = answer
            return known
        session = self._session or default_session()
        quiet = copy.copy(session)
        quiet.settings = replace(session.settings, offline=True)
        if self._refresh:
            return None
        asked = Search(self.kind, self.filters, session=quiet, live=self._live)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = asked._answer
        except (OfflineError, CacheError, InvalidInputError):
            return None
        self.__dict__["_answer"] = found
        return found

    def __repr__(self) -> str:
        known = ", ".join(f"{name}={_short(value)}" for name, value in self.filters.given.items())
        answer = self.__dict__.get("_answer")
        state = "not asked yet" if answer is None else f"{len(answer.rows)} found"
        if answer is not None and not answer.rows:
            state = answer.explanation or state
        return f"<Search for {plural(self.kind)}: {known or 'all'}; {state}>"

    @cached_property
    def _answer(self) -> _Answer:
        session = self._session or default_session()
        service = Service(session, refresh=self._refresh)
        with self._database(session, service) as (db, source):
            genes = self._resolved(db, service, in_service=source is None)
            named = [(_called(db, gene), gene.ids) for gene in genes]
            wanted = conditions(self.kind, self.filters, db, named)
            self._know_images(db, service, wanted, in_service=source is None)
            ranked = [
                owner
                for name in self.filters.name
                if self.kind in ("gene", "structure")
                for owner in matching(db, self.kind, name)
            ]
            rows = select(db, self.kind, wanted, ranked=ranked)
            passed = [test for test in wanted if test.words != PASSED]
            hidden = counts(db, self.kind, passed) - len(rows) if passed != wanted else 0
            return _Answer(
                rows=[msgspec.structs.replace(row, data_sets=None) for row in rows]
                if source is None and self.kind in ("gene", "specimen")
                else rows,
                source=source or service.source,
                remarks=tuple(gene.remark for gene in genes if gene.remark),
                hidden=hidden,
                explanation=None if rows else self._explain(db, wanted),
            )

    @contextmanager
    def _database(
        self, session: Session, service: Service
    ) -> Iterator[tuple[sqlite3.Connection, Origin | None]]:
        """Give the catalogue, or one in memory of what the service answers (no source then)."""
        if not self._live:
            with catalogue.opened(session.cache.root) as db:
                if db is not None:
                    yield db, catalogue.source_of(db)
                    return
        with closing(service.catalogue(self.kind, self.filters)) as db:
            yield db, None

    def _resolved(
        self, db: sqlite3.Connection, service: Service, *, in_service: bool
    ) -> list[ResolvedGene]:
        """Find the genes that are named, or say what they may have been."""
        found = []
        for name in self.filters.gene:
            gene = resolve(db, name, organism=self.filters.organism, exact=in_service)
            if not gene.ids and in_service:
                gene = self._ask_near(db, service, name)
            found.append(gene)
        unknown = [gene.text for gene in found if not gene.ids]
        if unknown:
            if in_service and service.data_sets:
                raise AnswerError(
                    f"The service sent {service.data_sets} data sets of {_or(unknown)}, but their "
                    "records name no such gene: the fields id, genes or acronym are not what they "
                    "were.",
                    hint=CHANGED,
                )
            near = {name: suggestions(db, "gene", name) for name in unknown}
            hints = [
                f"Did you mean {_or(list(map(str, suggested)))}"
                + (f" instead of {name}?" if len(unknown) > 1 else "?")
                for name, suggested in near.items()
                if suggested
            ]
            of = self.filters.organism
            organism = f"{organism_name(of)} " if of is not None else ""
            exactly = (
                "; the service compares acronyms exactly, capitals included" if in_service else ""
            )
            raise NotFoundError(
                f"There is no {organism}gene called {_or(unknown)}{exactly}.",
                hint=" ".join(hints) or None,
            )
        return found

    def _ask_near(self, db: sqlite3.Connection, service: Service, name: str) -> ResolvedGene:
        """Ask for genes of nearly that name: one may be it and have no data set."""
        try:
            service.near_genes(catalogue.Loader(db), name)
        except ServiceError:
            pass  # there are no suggestions then
        else:
            catalogue.finish(db)
        return resolve(db, name, organism=self.filters.organism, exact=True)

    def _know_images(
        self,
        db: sqlite3.Connection,
        service: Service,
        wanted: Sequence[Condition],
        *,
        in_service: bool,
    ) -> None:
        """Ask for the images of the data sets in question, where nothing is known of them."""
        needed = self.filters.needs_images or (self.kind == "image" and not self.filters.id)
        if not needed:
            return
        of_datasets = [test for test in wanted if "m." not in test.sql and "i." not in test.sql]
        if self.kind == "image" and self.filters.dataset:
            ids = list(self.filters.dataset)
        else:
            ids = ids_of(db, "dataset", of_datasets)
        known = {number for (number,) in db.execute("SELECT data_set_id FROM imaged")}
        missing = [number for number in ids if number not in known]
        if in_service:
            loaded = {n for (n,) in db.execute("SELECT DISTINCT data_set_id FROM image")}
            missing = [number for number in missing if number not in loaded]
        if not missing:
            return
        if len(missing) > MOST_IMAGED:
            raise InvalidInputError(
                f"This search needs the images of {len(missing)} data sets, which the catalogue "
                "does not hold.",
                hint="Add them with `atldld catalogue update --images`, or narrow the search.",
            )
        try:
            rows = service.images(missing)
        except OfflineError as error:
            raise OfflineError(
                f"The section images of {len(missing)} data sets in question are neither in the "
                "catalogue nor in the cache.",
                hint=f"Ask once without {Remedy.OFFLINE}, or add all of them with "
                "`atldld catalogue update --images`.",
            ) from error
        if not in_service:
            catalogue.shadow_images(db, ids)
        loader = catalogue.Loader(db)
        loader.load("SectionImage", rows)
        loader.images_are_known(missing)

    def _explain(self, db: sqlite3.Connection, wanted: Sequence[Condition]) -> str:
        """Tell which filter left nothing, and what it would have had to be."""
        what, raw = plural(self.kind), self.filters.rma
        meeting = f" that meet {raw}" if raw else ""
        parts: list[str] = []
        for number, condition in enumerate(wanted):
            left = counts(db, self.kind, wanted[: number + 1])
            if left:
                counted = (
                    f"{left} of them" if parts else f"{left} {plural(self.kind, left)}{meeting}"
                )
                parts.append(f"{counted} {condition.words}")
                continue
            if not parts:
                near = [
                    str(suggested)
                    for name in self.filters.name
                    if self.kind in ("gene", "structure")
                    for suggested in suggestions(db, self.kind, name)
                ]
                meant = f" Did you mean {_or(near)}?" if near else ""
                return f"There are no {what} {condition.words}{meeting}.{meant}"
            there = self._values(db, wanted[:number], condition.field)
            return f"{', '.join(parts)}, none of those {condition.words}{there}."
        return f"There are no {what}{meeting} here."

    def _values(
        self, db: sqlite3.Connection, wanted: Sequence[Condition], field: str | None
    ) -> str:
        """List the values of a column, where they are few."""
        if self.kind != "dataset" or field is None or counts(db, "dataset", wanted) > MOST_IMAGED:
            return ""
        values: Counter[str] = Counter()
        for row in select(db, "dataset", wanted):
            value = getattr(row, field)
            values.update(map(str, value if isinstance(value, tuple) else [value]))
        shown = [f"{value} {number}" for value, number in values.most_common(6)]
        return f" (there are: {', '.join(shown)})" if shown else ""


def _cell(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def _called(db: sqlite3.Connection, gene: ResolvedGene) -> str:
    """Return how to speak of a gene: by its acronym."""
    if len(gene.ids) != 1:
        return gene.text
    (acronym,) = db.execute("SELECT acronym FROM gene WHERE id = ?", gene.ids).fetchone()
    return str(acronym or gene.text)


def _short(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value[:4])) + (",…" if len(value) > 4 else "")
    return str(value)


def _or(values: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(values[:-1]), values[-1])))
