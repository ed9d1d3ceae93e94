"""`atldld search`: data sets, images, genes, specimens and structures."""

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from atldld.cli.declare import Argument, Commands, Option
from atldld.cli.manner import manner, result
from atldld.cli.options import (
    DATASET,
    DatasetId,
    Numbers,
    Refresh,
    answer,
    asks_service,
    say,
    table,
)
from atldld.cli.terminal import answer_csv, as_typed
from atldld.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from atldld.fetch.session import Session
    from atldld.find import Kind, Neighbour, Search

app = Commands(
    "Find data sets, images, genes, specimens and structures: in the catalogue, if "
    "`atldld catalogue update` has made one, else at the service."
)

OUTPUT = "What to print"
LIST = list[str] | None

Gene = Annotated[
    LIST,
    Option(
        "-g",
        "--gene",
        "--gene-name",
        help="A gene: acronym, name, synonym, Entrez or Ensembl id. May be given several times, "
        "as most of these.",
    ),
]
Specimen = Annotated[LIST, Option("-s", "--specimen", help="Name or id of a specimen, as 05-0660.")]
Plane = Annotated[
    LIST,
    Option("-p", "--plane", "--plane-of-section", help="Plane of section: coronal, sagittal …"),
]
Product = Annotated[
    LIST, Option("--product", help="adult, developing, connectivity, or another one's name.")
]
Age = Annotated[LIST, Option("--age", help="Of the donor, as P56.")]
Sex = Annotated[LIST, Option("--sex", help="Of the donor: M or F.")]
Strain = Annotated[LIST, Option("--strain", help="Of the donor, as C57BL/6J.")]
Orientation = Annotated[LIST, Option("--orientation", help="Of the probe: antisense, sense.")]
Treatment = Annotated[LIST, Option("--treatment", help="ISH, NISSL …")]
Space = Annotated[LIST, Option("--space", help="Reference space, as 9.")]
MinSections = Annotated[
    int | None, Option("--min-sections", help="Images that a data set has at least.")
]
MaxSections = Annotated[
    int | None, Option("--max-sections", help="Images that a data set has at most.")
]
PixelSize = Annotated[
    float | None, Option("--pixel-size", help="Pixels of this many µm, or finer.")
]
Organism = Annotated[
    str | None, Option("--organism", help="Of genes: mouse, human. Mouse goes first.")
]
Name = Annotated[LIST, Argument(metavar="[NAME]...", help="Part of a name; * stands for anything.")]
Failed = Annotated[bool, Option("--failed", help="Show also what failed the quality control.")]
Rma = Annotated[
    str | None,
    Option(
        "--rma", help="More criteria in the service's language, as '\\[weight$gt5000]'. Asks it."
    ),
]
Live = Annotated[bool, Option("--live", help="Ask the service even if there is a catalogue.")]
AsCsv = Annotated[bool, Option("--csv", help="As CSV.", heading=OUTPUT)]
AsIds = Annotated[
    bool,
    Option("--ids", help="The ids alone, one a line, for other commands.", heading=OUTPUT),
]
Limit = Annotated[
    int | None,
    Option("--limit", min=1, help="Print so many at most.", heading=OUTPUT),
]

Columns = dict[str, tuple[str, str]]  # heading: justification and field


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "–" if value is None else str(value)


def _columns(numbers: str, **names: str) -> Columns:
    """Return columns by heading; those named in `numbers` are justified to the right."""
    return {
        heading.replace("_", " "): ("right" if heading in numbers.split() else "left", field)
        for heading, field in names.items()
    }


# What fits 80 characters; --json and --csv hold everything.
TABLES: dict[str, Columns] = {
    "dataset": _columns(
        "id",
        id="id",
        gene="genes",
        plane="plane",
        specimen="specimen",
        age="age",
        stain="treatments",
        probe="probes",
        product="products",
    ),
    "image": _columns(
        "id data_set section width height tiers µm/px",
        **{
            "id": "id",
            "data_set": "data_set_id",
            "section": "section_number",
            "width": "width",
            "height": "height",
            "tiers": "tier_count",
            "µm/px": "resolution",
            "failed": "failed",
        },
    ),
    "gene": _columns(
        "id Entrez data_sets",
        gene="acronym",
        name="name",
        aliases="aliases",
        organism="organism",
        Entrez="entrez_id",
        data_sets="data_sets",
    ),
    "specimen": _columns(
        "id data_sets",
        id="id",
        name="name",
        donor="donor",
        age="age",
        sex="sex",
        strain="strain",
        data_sets="data_sets",
    ),
    "structure": _columns(
        "id parent graph",
        id="id",
        acronym="acronym",
        name="name",
        parent="parent_id",
        graph="graph_id",
        color="color",
    ),
}
FAILED = _columns("", failed="failed")


# What every search takes, beside its filters.
_COMMON: dict[str, tuple[Any, Any]] = {
    "rma": (Rma, None),
    "live": (Live, False),
    "refresh": (Refresh, False),
    "as_csv": (AsCsv, False),
    "as_ids": (AsIds, False),
    "limit": (Limit, None),
}
_PRINTING = ("as_csv", "as_ids", "limit")


def _searches(kind: "Kind") -> Callable[[Callable[..., None]], None]:
    """Make a command of a function whose parameters are the filters of a kind of search."""

    def decorate(filters: Callable[..., None]) -> None:
        def command(session: "Session", **arguments: Any) -> None:
            printing = tuple(arguments.pop(name) for name in _PRINTING)
            _search(session, kind, printing, **arguments)

        keyword = inspect.Parameter.KEYWORD_ONLY
        own = [inspect.Parameter("session", keyword)]
        own += [
            parameter.replace(kind=keyword)
            for parameter in inspect.signature(filters).parameters.values()
        ]
        own += [
            inspect.Parameter(name, keyword, default=default, annotation=annotation)
            for name, (annotation, default) in _COMMON.items()
        ]
        command.__signature__ = inspect.Signature(own)  # type: ignore[attr-defined]
        command.__doc__ = filters.__doc__
        app.command(kind)(asks_service(command))

    return decorate


@_searches("dataset")
def _dataset(
    id: Annotated[LIST, Option("-i", "--id", "--dataset-id", help="Its id.")] = None,
    gene: Gene = None,
    specimen: Specimen = None,
    plane: Plane = None,
    product: Product = None,
    age: Age = None,
    sex: Sex = None,
    strain: Strain = None,
    orientation: Orientation = None,
    treatment: Treatment = None,
    space: Space = None,
    min_sections: MinSections = None,
    max_sections: MaxSections = None,
    resolution: PixelSize = None,
    organism: Organism = None,
    failed: Failed = False,
) -> None:
    """Find section data sets."""


@_searches("image")
def _image(
    id: Annotated[LIST, Option("-i", "--id", "--image-id", help="Its id.")] = None,
    dataset: Annotated[LIST, Option("-d", "--dataset", metavar="ID", help=DATASET)] = None,
    section: Numbers = None,
    gene: Gene = None,
    specimen: Specimen = None,
    plane: Plane = None,
    product: Product = None,
    age: Age = None,
    treatment: Treatment = None,
    failed: Failed = False,
) -> None:
    """Find section images."""


@_searches("gene")
def _gene(name: Name = None, organism: Organism = None) -> None:
    """Find genes by acronym, name, synonym, Entrez or Ensembl id."""


@_searches("specimen")
def _specimen(name: Name = None, age: Age = None, sex: Sex = None, strain: Strain = None) -> None:
    """Find specimens by name or id, and by their donors."""


@_searches("structure")
def _structure(
    name: Name = None,
    graph: Annotated[LIST, Option("--ontology", help="Ontology; 1 is the adult mouse's.")] = None,
) -> None:
    """Find structures of the brain by acronym, name or id."""


@app.command("neighbours")
@asks_service
def search_neighbours(
    session: "Session",
    dataset_id: DatasetId,
    failed: Failed = False,
    live: Live = False,
    refresh: Refresh = False,
    as_csv: AsCsv = False,
    as_ids: AsIds = False,
) -> None:
    """Find the other data sets of the same specimen: interleaved genes, Nissl stains."""
    from atldld.find import neighbours
    from atldld.find.named import find_dataset

    own, others, source = neighbours(
        find_dataset(dataset_id, session=session),
        failed=failed,
        images=not as_ids,
        live=live,
        refresh=refresh,
        session=session,
    )
    form = _form(as_csv, as_ids)
    if not others:
        say(f"From {source}.")
        raise NotFoundError(
            f"Specimen {own.data_set.specimen} has no other data set"
            + ("." if failed else " that passed the quality control (--failed shows the others)."),
            dataset_id=own.data_set.id,
        )
    records = [{**neighbour.to_record(), "offset": neighbour.offset(own)} for neighbour in others]
    result({"kind": "neighbours", "of": own.to_record(), "count": len(records), "rows": records})
    if form == "ids":
        _print_ids([neighbour.data_set.id for neighbour in others])
    elif form:
        _print_records(records)
    else:
        table(
            {"id": "right"}
            | dict.fromkeys(("gene", "stain", "sections", "beside those of this set"), "left"),
            [
                [
                    str(neighbour.data_set.id),
                    _text(neighbour.data_set.genes),
                    _text(neighbour.data_set.treatments),
                    _series(neighbour),
                    _beside(neighbour.offset(own), neighbour.data_set.thickness),
                ]
                for neighbour in others
            ],
        )
    mine = own.data_set
    say(
        f"Data set {mine.id} ({_text(mine.genes or mine.treatments)}, {mine.plane}) of specimen "
        f"{mine.specimen}: sections {_series(own)}."
    )
    say(f"From {source}.")


def _series(neighbour: "Neighbour") -> str:
    if not neighbour.numbers:
        return "unknown"
    every = f", every {neighbour.step}." if neighbour.step else ""
    return f"{neighbour.numbers[0]}–{neighbour.numbers[-1]}{every} ({len(neighbour.numbers)})"


def _beside(offset: int | None, thickness: float | None) -> str:
    if offset is None:
        return "–"
    if offset == 0:
        return "the same numbers"
    away = f" ({offset * thickness:+.0f} µm)" if thickness else ""
    return f"{offset:+d}{away}"


def _search(
    session: "Session",
    kind: "Kind",
    output: tuple[bool, bool, int | None],
    **filters: Any,
) -> None:
    from atldld.find import search
    from atldld.find.named import find_datasets, read_image_name
    from atldld.support.numbers import pick, read_numbers

    *forms, limit = output
    form = _form(*forms)
    given: dict[str, Any] = {
        name: [as_typed(text) for text in value] if isinstance(value, list) else value
        for name, value in filters.items()
    }
    numbers = read_numbers(given.pop("section", None))
    url = session.settings.api_url
    if kind == "dataset" and given["id"]:
        given["id"] = find_datasets(given["id"], session=session)
    if kind == "image" and given["id"]:
        given["id"] = [read_image_name(one, api_url=url) for one in given["id"]]
    if kind == "image" and given["dataset"]:
        given["dataset"] = find_datasets(given["dataset"], session=session)
    found = search(kind, session=session, **given)
    rows = list(found)
    if numbers and rows:
        wanted = pick(numbers, [row.section_number for row in rows], "what is found")
        rows = [row for row in rows if row.section_number in wanted]
    shown = rows[:limit]
    for remark in found.remarks:
        say(remark)
    if not rows:
        say(f"From {found.source}.")
        raise NotFoundError(
            str(found.explanation),
            hint="--failed shows what failed." if found.hidden else None,
        )
    result(
        {
            "kind": kind,
            "count": len(rows),
            "hidden": found.hidden,
            "source": found.source,
            "rows": shown,
        }
    )
    if form == "ids":
        _print_ids([row.id for row in shown])
    elif form:
        _print_records([msgspec.to_builtins(row) for row in shown])
    else:
        columns = TABLES[kind]
        if kind == "dataset" and filters["failed"]:
            # in place of the widest one, so that it fits
            columns = {
                name: column for name, column in columns.items() if name != "product"
            } | FAILED
        table(
            {heading: justify for heading, (justify, _) in columns.items()},
            [[_text(getattr(row, field)) for _, field in columns.values()] for row in shown],
        )
    _say_count(found, len(rows), len(shown))
    say(f"From {found.source}.")


def _form(as_csv: bool, as_ids: bool) -> str | None:
    as_csv = as_csv or (manner.output or "").lower().endswith(".csv")
    chosen = (("json", manner.as_json), ("csv", as_csv), ("ids", as_ids))
    forms = [name for name, on in chosen if on]
    if len(forms) > 1:
        raise InvalidInputError(f"Choose one of --{' and --'.join(forms)}.")
    return forms[0] if forms else None


def _print_ids(ids: Sequence[int]) -> None:
    for record_id in ids:
        answer(record_id)


def _print_records(records: list[dict[str, Any]]) -> None:
    rows: list[list[object]] = [list(records[0])]
    rows += (
        [
            "; ".join(map(str, value)) if isinstance(value, list | tuple) else value
            for value in record.values()
        ]
        for record in records
    )
    answer_csv(rows)


def _say_count(found: "Search", number: int, shown: int) -> None:
    what = {"dataset": "section data set", "image": "section image"}.get(found.kind, found.kind)
    text = f"{number} {what}{'' if number == 1 else 's'}"
    if shown < number:
        text += f", of which the first {shown} {'is' if shown == 1 else 'are'} shown"
    if found.hidden:
        text += f"; {found.hidden} more failed the quality control (--failed shows them)"
    say(text)
