"""`atldld search`: data sets and images by gene, plane, specimen."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from atldld.cli.options import asks_service, say, table
from atldld.errors import NotFoundError

if TYPE_CHECKING:
    from atldld.fetch.session import Session

app = typer.Typer(help="Find section data sets and section images.", no_args_is_help=True)

Gene = Annotated[
    str | None,
    typer.Option("-g", "--gene", "--gene-name", help="Acronym of a gene, such as Prox1."),
]
Specimen = Annotated[
    str | None, typer.Option("-s", "--specimen", help="Name or id of a specimen, as 05-0660.")
]
Refresh = Annotated[
    bool, typer.Option("--refresh", help="Ask the service even if the answer is in the cache.")
]


@app.command("dataset")
@asks_service
def search_dataset(
    session: "Session",
    dataset_id: Annotated[
        str | None, typer.Option("-i", "--id", "--dataset-id", help="Id of a data set.")
    ] = None,
    gene: Gene = None,
    specimen: Specimen = None,
    plane: Annotated[
        str | None,
        typer.Option(
            "-p", "--plane", "--plane-of-section", help="Plane of section: coronal, sagittal …"
        ),
    ] = None,
    refresh: Refresh = False,
) -> None:
    """Find section data sets."""
    from atldld.find import search_datasets
    from atldld.spaces import PlaneOfSection

    rows = search_datasets(
        session,
        dataset_id=dataset_id,
        gene=gene,
        specimen=specimen,
        plane=plane,
        refresh=refresh,
    )
    _check_found(rows, "section data set")
    table(
        {"id": "right", "gene": "left", "plane": "left", "specimen": "left", "failed": "left"},
        [
            [
                str(row.get("id")),
                ", ".join(str(g.get("acronym")) for g in row.get("genes") or () if g) or "–",
                str(
                    (row.get("plane_of_section") or {}).get("name")
                    or PlaneOfSection.name_of(row.get("plane_of_section_id"))
                ),
                str((row.get("specimen") or {}).get("name") or "–"),
                "yes" if row.get("failed") else "no",
            ]
            for row in rows
        ],
    )
    say(_count(len(rows), "section data set"))


@app.command("image")
@asks_service
def search_image(
    session: "Session",
    image_id: Annotated[
        str | None, typer.Option("-i", "--id", "--image-id", help="Id of an image.")
    ] = None,
    dataset_id: Annotated[
        str | None, typer.Option("-d", "--dataset", help="Id of its data set.")
    ] = None,
    gene: Gene = None,
    specimen: Specimen = None,
    refresh: Refresh = False,
) -> None:
    """Find section images."""
    from atldld.find import search_images

    rows = search_images(
        session,
        image_id=image_id,
        dataset_id=dataset_id,
        gene=gene,
        specimen=specimen,
        refresh=refresh,
    )
    _check_found(rows, "section image")
    table(
        dict.fromkeys(("id", "data set", "section", "width", "height", "tiers"), "right")
        | {"failed": "left"},
        [
            [
                *(
                    str(row.get(name))
                    for name in (
                        "id",
                        "data_set_id",
                        "section_number",
                        "width",
                        "height",
                        "tier_count",
                    )
                ),
                "yes" if row.get("failed") else "no",
            ]
            for row in rows
        ],
    )
    say(_count(len(rows), "section image"))


def _check_found(rows: list[dict[str, Any]], what: str) -> None:
    if not rows:
        raise NotFoundError(
            f"No {what} meets these conditions.",
            hint="Acronyms and names are compared exactly, capitals included.",
        )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
