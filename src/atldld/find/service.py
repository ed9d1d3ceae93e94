"""Asking the service itself: queries that bring at least what a search is about.

The rows are put into a catalogue in memory, and the search is answered from that. So a query needs
to be narrow, but not exact: where a data set, a gene or a specimen is named, only that is sent, and
everything else is compared here. The answers are in the cache afterwards.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

from atldld.errors import InvalidInputError, OfflineError, RMAError
from atldld.fetch.session import Session
from atldld.find.catalogue import Loader, finish, new_database
from atldld.find.conditions import PRODUCTS, Filters
from atldld.find.rows import Origin
from atldld.rma.query import Filter, RMAParameters, Term, among

__all__ = ["SEARCH_INCLUDES", "Service", "batched_ids"]

SEARCH_INCLUDES = ("genes", "probes", "products", "treatments", "specimen(donor(age))")
AT_ONCE = 100  # ids in one query: addresses should stay below 4 kB

Record = dict[str, Any]


class Service:
    """The service as what answers one search.

    Parameters
    ----------
    session : Session
        Where to ask.
    refresh : bool
        Ask even if the answers are in the cache.

    Attributes
    ----------
    data_sets : int
        How many records of data sets it has sent.
    """

    def __init__(self, session: Session, *, refresh: bool = False) -> None:
        self._session = session
        self._refresh = refresh
        self._asked: list[str] = []
        self.data_sets = 0

    @property
    def source(self) -> Origin:
        """The service as the origin of an answer."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return Origin(
            kind="service",
            url=self._session.settings.api_url,
            when=datetime.fromisoformat(min(self._asked, default=now)),
        )

    def catalogue(self, kind: str, filters: Filters) -> sqlite3.Connection:
        """Return a catalogue in memory that holds at least what a search is about.

        Raises
        ------
        InvalidInputError
            If the search is so wide that it would bring everything.
        OfflineError, ServiceError
            If an answer is not in the cache, and cannot be fetched.
        """
        with ExitStack() as unfinished:
            db = new_database()
            unfinished.callback(db.close)
            loader = Loader(db)
            if kind in ("dataset", "image"):
                self._datasets_or_images(loader, kind, filters)
            elif kind == "gene":
                self._genes(loader, filters)
            elif kind == "specimen":
                self._specimens(loader, filters)
            else:
                self._structures(loader, filters)
            finish(db)
            unfinished.pop_all()
        return db

    def images(self, data_set_ids: Iterable[int]) -> list[Record]:
        """Return the records of all images of some data sets.

        Those of data sets whose metadata are in the cache need no request.
        """
        rows: list[Record] = []
        missing = []
        for number in data_set_ids:
            known = None
            if not self._refresh:
                known = self._session.cache.read_document("datasets", str(number))
            images = (known or {}).get("section_images")
            if isinstance(images, list) and (known or {}).get("complete") is not False:
                rows += [{"data_set_id": number, **image} for image in images if image]
            else:
                missing.append(number)
        for numbers in batched_ids(missing):
            wanted = [_own(among("data_set_id", numbers))]
            rows += self._rows("SectionImage", wanted, order="sub_images.id")
        return rows

    def near_genes(self, loader: Loader, text: str) -> None:
        """Load genes whose names look like a text, to suggest them."""
        beginning = text[: max(3, len(text) // 2)]
        for pattern in dict.fromkeys((text, f"{beginning}*")):
            if self._load_genes(loader, [Filter.of("acronym", "$il", pattern)]):
                return

    def _rows(
        self,
        model: str,
        criteria: Sequence[Term | str],
        include: Sequence[str] = (),
        order: str | None = None,
    ) -> list[Record]:
        answer = self._session.answer(
            RMAParameters(model, criteria, include, order=order), refresh=self._refresh
        )
        self._asked.append(str(answer.get("fetched") or datetime.now(UTC).isoformat()))
        return list(answer["rows"])

    def _datasets(self, loader: Loader, terms: Iterable[Term], raw: str | None) -> int:
        rows = self._rows("SectionDataSet", [*terms, raw or ""], SEARCH_INCLUDES, "data_sets.id")
        self.data_sets += len(rows)
        loader.load("SectionDataSet", rows)
        return len(rows)

    def _datasets_or_images(self, loader: Loader, kind: str, filters: Filters) -> None:
        of_datasets = bool(_dataset_terms(filters) or filters.gene or filters.specimen)
        if kind == "image" and (filters.id or filters.dataset or filters.rma) and not of_datasets:
            wanted = _own(*_among_each({"id": filters.id, "data_set_id": filters.dataset}))
            rows = self._rows("SectionImage", [wanted, filters.rma or ""], order="sub_images.id")
            loader.load("SectionImage", rows)
            return
        ids = filters.id if kind == "dataset" else filters.dataset
        named = _own(*_among_each({"id": ids}))
        if filters.specimen:
            names = [name for name in filters.specimen if not name.isdecimal()]
            numbers = [int(name) for name in filters.specimen if name.isdecimal()]
            for column, values in (("name", names), ("id", numbers)):
                if values:
                    test = _alike_or_among if column == "name" else among
                    specimen = Term("specimen", (test(column, values),))
                    self._datasets(loader, [named, specimen], filters.rma)
        elif ids:
            self._datasets(loader, [named], filters.rma)
        elif filters.gene:
            self._datasets_of_genes(loader, filters)
        else:
            terms = _dataset_terms(filters)
            if not terms and not filters.rma:
                raise InvalidInputError(
                    "A search without any condition would return everything there is.",
                    hint="Give an id, a gene, a specimen or a plane.",
                )
            self._datasets(loader, terms, filters.rma)

    def _datasets_of_genes(self, loader: Loader, filters: Filters) -> None:
        """Load the data sets of genes, whatever kind of name they are given by."""
        left = list(filters.gene)
        acronyms = [name for name in left if not name.isdecimal() and "*" not in name]
        for names in batched_ids(acronyms):
            self._datasets(loader, [Term("genes", (among("acronym", names),))], filters.rma)
        known = {acronym for (acronym,) in loader.db.execute("SELECT acronym FROM gene")}
        for name in left:
            if name in known:
                continue
            for number, tried in enumerate(_gene_filters(name)):
                try:
                    if self._datasets(loader, [Term("genes", (tried,))], filters.rma):
                        break
                except (RMAError, OfflineError):
                    # not every archive has every column; and a later question was never asked
                    if number == 0 and not acronyms:
                        raise

    def _genes(self, loader: Loader, filters: Filters) -> None:
        if not (filters.name or filters.id or filters.rma):
            raise InvalidInputError(
                "A search for genes without any condition would return everything there is.",
                hint="Give a name, or make the catalogue with `atldld catalogue update`.",
            )
        if filters.id or not filters.name:
            self._load_genes(loader, _among_each({"id": filters.id}), filters.rma)
        for name in filters.name:
            for tried in (*_gene_filters(name), *_gene_patterns(name)):
                self._load_genes(loader, [tried], filters.rma)

    def _load_genes(self, loader: Loader, wanted: Iterable[Filter], raw: str | None = None) -> int:
        try:
            rows = self._rows("Gene", [_own(*wanted), raw or ""], order="genes.id")
        except RMAError:
            return 0  # not every archive has every column
        loader.load("Gene", rows)
        return len(rows)

    def _specimens(self, loader: Loader, filters: Filters) -> None:
        common = _among_each({"id": filters.id})
        numbers = [int(name) for name in filters.name if name.isdecimal()]
        names = [name for name in filters.name if not name.isdecimal()]
        donor = _donor_terms(filters)
        named = [
            *([_alike_or_among("name", names)] if names else []),
            *([among("id", numbers)] if numbers else []),
        ]
        if not (named or common or donor or filters.rma):
            raise InvalidInputError(
                "A search for specimens without any condition would return everything there is.",
                hint="Give a name, or make the catalogue with `atldld catalogue update`.",
            )
        for tried in [[test] for test in named] or [[]]:
            criteria: list[Term | str] = [_own(*common, *tried), *donor, filters.rma or ""]
            rows = self._rows("Specimen", criteria, ("donor(age)",), "specimens.id")
            loader.load("Specimen", rows)

    def _structures(self, loader: Loader, filters: Filters) -> None:
        common = _among_each({"id": filters.id, "graph_id": filters.graph})
        named = []
        for name in filters.name:
            pattern = name if "*" in name else f"*{name}*"
            named += [
                Filter.of("acronym", "$il", pattern),
                Filter.of("name", "$il", pattern),
                *([Filter.of("id", "$eq", int(name))] if name.isdecimal() else []),
            ]
        if not (named or common or filters.rma):
            # the adult mouse's: a few hundred kilobytes
            common = [Filter.of("graph_id", "$eq", 1)]
        for tried in [[test] for test in named] or [[]]:
            criteria: list[Term | str] = [_own(*common, *tried), filters.rma or ""]
            loader.load("Structure", self._rows("Structure", criteria, order="structures.id"))


def batched_ids(values: Sequence[Any], size: int = AT_ONCE) -> Iterator[tuple[Any, ...]]:
    """Cut a sequence into parts that fit into one query."""
    for start in range(0, len(values), size):
        yield tuple(values[start : start + size])


def _own(*filters: Filter) -> Term:
    """Return the term that speaks of the model's own records."""
    return Term(None, filters)


def _among_each(wanted: Mapping[str, Sequence[Any]]) -> list[Filter]:
    return [among(column, values) for column, values in wanted.items() if values]


def _alike_or_among(column: str, values: Sequence[Any]) -> Filter:
    """Filter texts at least as widely as they are compared here: a ``*`` is anything."""
    if len(values) == 1:
        return Filter.of(column, "$il", values[0])
    if any("*" in str(value) for value in values):
        return Filter.of(column, "$il", "*")
    return among(column, values)


def _gene_filters(name: str) -> list[Filter]:
    """Return filters on genes for what a name may be, the likeliest first."""
    if "*" in name:
        return [Filter.of("acronym", "$il", name)]
    by_name = [Filter.of("name", "$il", name), Filter.of("alias_tags", "$il", f"*{name}*")]
    if name.isdecimal():
        return [Filter.of("entrez_id", "$eq", int(name)), *by_name]
    if name.upper().startswith("ENS"):
        return [Filter.of("ensembl_id", "$eq", name.partition(".")[0]), *by_name]
    return by_name


def _gene_patterns(name: str) -> list[Filter]:
    """Return filters on genes whose acronym or name holds a text."""
    if "*" in name:
        return []
    return [Filter.of(column, "$il", f"*{name}*") for column in ("acronym", "name")]


def _donor_terms(filters: Filters) -> tuple[Term, ...]:
    """Return the term of the donor, if anything is said of it."""
    own = tuple(
        _alike_or_among(column, getattr(filters, column))
        for column in ("sex", "strain")
        if getattr(filters, column)
    )
    age = (Term("age", (_alike_or_among("name", filters.age),)),) if filters.age else ()
    return (Term("donor", own, age),) if own or age else ()


def _dataset_terms(filters: Filters) -> list[Term]:
    """Return what the service itself can tell of data sets, other than what they are called."""
    own = _among_each({"plane_of_section_id": filters.plane, "reference_space_id": filters.space})
    terms = [_own(*own)] if own else []
    if filters.treatment:
        names = [name.upper() for name in filters.treatment]
        terms.append(Term("treatments", (_alike_or_among("name", names),)))
    if filters.product and len(filters.product) == 1:
        name = filters.product[0]
        known = PRODUCTS.get(name.lower()) or (int(name) if name.isdecimal() else None)
        inner = Filter.of("id", "$eq", known) if known else Filter.of("name", "$il", f"*{name}*")
        terms.append(Term("products", (inner,)))
    if filters.orientation:
        terms.append(Term("probes", (among("orientation_id", filters.orientation),)))
    donor = _donor_terms(filters)
    if donor:
        terms.append(Term("specimen", (), donor))
    return terms
