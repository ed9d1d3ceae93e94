"""`atldld cache`: what is kept, whether it is sound, and moving it about."""

import re
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from atldld.cli.declare import Argument, Commands, Exit, Option
from atldld.cli.manner import result
from atldld.cli.options import (
    Datasets,
    Force,
    Target,
    answer,
    asks_service,
    facts,
    folder_of,
    place_of,
    progress_bar,
    say,
    table,
    to,
    uses_cache,
)
from atldld.errors import InvalidInputError

if TYPE_CHECKING:
    from atldld.fetch.cache import Cache
    from atldld.fetch.holdings import Holding
    from atldld.fetch.session import Session
    from atldld.settings import Settings

app = Commands("Look at the cache, check it, prune it, move it.")


_MOST_SHOWN = 100


@app.command()
@uses_cache
def info(cache: "Cache", settings: "Settings") -> None:
    """Show where the cache is, what is in it, and how large that is."""
    from atldld.fetch.holdings import parts

    found = parts(cache)
    count, size = sum(part.files for part in found), sum(part.bytes for part in found)
    result(
        {
            "location": cache.root,
            "service": settings.api_url,
            "file_count": count,
            "bytes": size,
            "parts": [part for part in found if part.files],
        }
    )
    facts(
        {
            "Location": str(cache.root),
            "Service": settings.api_url,
            "Size": f"{_size(size)} in {_files(count)}",
        }
    )
    if count:
        answer("")
        table(
            {"of which": "left", "files": "right", "size": "right"},
            [[part.kind, part.files, _size(part.bytes)] for part in found if part.files],
        )


@app.command("list")
@uses_cache
def list_(cache: "Cache", settings: "Settings") -> None:
    """List the data sets of which something is kept.

    Sizes are of their images, masks and metadata; `atldld cache info` shows what else there is.
    """
    from atldld.fetch.holdings import holdings, parts
    from atldld.fetch.index import take_stock

    stock = take_stock(cache)
    held = holdings(cache, stock)
    result(
        {
            "data_sets": [
                {
                    "dataset_id": data_set.dataset_id,
                    "genes": data_set.genes,
                    "images": data_set.images,
                    "masks": data_set.masks,
                    "tiers": data_set.tiers,
                    "file_count": data_set.files,
                    "bytes": data_set.bytes,
                }
                for data_set in held
            ]
        }
    )
    if not held:
        say(f"The cache at {cache.root} has nothing of any data set.")
    else:
        table(
            {
                "data set": "right",
                "gene": "left",
                "images": "right",
                "masks": "right",
                "tiers": "left",
                "files": "right",
                "size": "right",
            },
            [
                [
                    "unknown" if data_set.dataset_id is None else data_set.dataset_id,
                    "–"
                    if data_set.genes is None
                    else ", ".join(acronym or "?" for acronym in data_set.genes),
                    _images_of(data_set),
                    data_set.masks,
                    ", ".join(map(str, data_set.tiers)),
                    data_set.files,
                    _size(data_set.bytes),
                ]
                for data_set in held
            ],
        )
    found = parts(cache, stock)
    count, size = sum(one.files for one in held), sum(one.bytes for one in held)
    every, whole = sum(part.files for part in found), sum(part.bytes for part in found)
    say(
        f"Images, masks and metadata: {_size(size)} in {_files(count)}. The whole cache: "
        f"{_size(whole)} in {_files(every)} (`atldld cache info`)."
    )


@app.command()
@asks_service
def verify(
    session: "Session",
    repair: Annotated[
        bool, Option("--repair", help="Remove what is damaged, and fetch it again.")
    ] = False,
) -> None:
    """Read everything again: recompute every hash, decode every image."""
    from atldld.fetch.upkeep import verify_cache

    with progress_bar("Verifying") as progress:
        found = verify_cache(session, repair=repair, progress=progress)
    result({"sound": found.sound, "damaged": found.damaged, "repaired": found.repaired})
    for damage in found.damaged:
        answer(
            f"{damage.path}: {damage.problem}" + (f" ({damage.remedy})" if damage.remedy else "")
        )
    say(f"{found.sound} files are sound, {len(found.damaged)} are damaged.")
    if len(found.damaged) > found.repaired:
        say("Mend them with `atldld cache verify --repair`.")
        raise Exit(1)


@app.command()
@asks_service
def prune(
    session: "Session",
    older_than: Annotated[
        str | None, Option(metavar="AGE", help="Fetched longer ago, such as 30d or 12h.")
    ] = None,
    max_size: Annotated[
        str | None,
        Option(metavar="SIZE", help="Oldest first, until no more than this, such as 2GB."),
    ] = None,
    dataset: Target = None,
) -> None:
    """Remove images from the cache; with --dataset those of one, and its metadata."""
    from atldld.fetch.upkeep import prune as remove
    from atldld.find.named import find_dataset

    count, size = remove(
        session.cache,
        older_than=None if older_than is None else _age(older_than),
        max_size=None if max_size is None else _bytes(max_size),
        dataset_id=None if dataset is None else find_dataset(dataset, session=session),
    )
    result({"images": count, "bytes": size})
    say(f"{count} image{'s' * (count != 1)} removed, {_size(size)}.")


@app.command()
@asks_service
def export(
    session: "Session",
    target: Annotated[
        str | None, Argument(metavar="[OUT]", help="A .zip file, or a folder; or -o.")
    ] = None,
    output: Annotated[str | None, to("FILE.zip|FOLDER")] = None,
    datasets: Datasets = None,
    force: Force = False,
) -> None:
    """Write the cache, or some data sets of it, as an archive that can be imported or served."""
    from atldld.batch import read_ids
    from atldld.fetch.archive import export_archive

    place = folder_of(place_of(output, target))
    ids = list(read_ids(datasets, session=session).ids) if datasets else None
    left: dict[str, str] = {}

    def left_out(name: str, why: str) -> None:
        left[name] = why
        say(f"Left out {name}: {why}.")

    count = export_archive(session.cache, place, ids, force=force, tell=left_out)
    say(f"{count} images written.")
    result({"files": [place], "images": count, "left_out": left})
    answer(place)


@app.command("import")
@uses_cache
def import_(
    cache: "Cache",
    settings: "Settings",
    source: Annotated[Path, Argument(help="A .zip file or a folder that was exported.")],
) -> None:
    """Take what is sound in an archive into the cache."""
    from atldld.fetch.archive import import_archive

    found: Counter[tuple[str, bool]] = Counter()

    def tell(kind: str, new: bool) -> None:
        found[kind, new] += 1

    count, refused = import_archive(cache, source, tell=tell)
    for damage in refused[:_MOST_SHOWN]:
        say(f"Refused {damage.path}: {damage.problem}.")
    if len(refused) > _MOST_SHOWN:
        say(f"Refused {len(refused) - _MOST_SHOWN} more.")
    say(f"{count} images taken into {cache.root}.")
    also = [(found[kind, True], kind) for kind in ("data set", "answer", "file")]
    taken = ", ".join(f"{number} {kind}{'s' * (number != 1)}" for number, kind in also if number)
    held = sum(number for (_, new), number in found.items() if not new)
    say(f"Besides: {taken or 'nothing'} taken; {held} were there already; {len(refused)} refused.")
    result(
        {
            "images": count,
            "taken": {kind: found[kind, True] for kind in ("data set", "answer", "file")},
            "already_there": held,
            "refused": refused,
        }
    )
    if refused:
        raise Exit(1)


def _images_of(held: "Holding") -> str:
    """Return of how many section images at least one tier is there; files are counted apart."""
    if held.section_images is None:
        return str(held.images)
    return f"{held.images} of {held.section_images}"


def _size(size: int) -> str:
    for unit, one in (("GB", 1e9), ("MB", 1e6)):
        if size >= one:
            return f"{size / one:.3g} {unit}"
    return f"{size / 1e3:.3g} kB" if size >= 1e3 else f"{size} bytes"


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"


def _age(text: str) -> timedelta:
    found = re.fullmatch(r"(\d{1,6})\s*(h|d|w)", text.strip().lower())
    if found is None:
        raise InvalidInputError(f"{text!r} is no age: write 12h, 30d or 8w.")
    hours = {"h": 1, "d": 24, "w": 168}[found[2]]
    return timedelta(hours=int(found[1]) * hours)


def _bytes(text: str) -> int:
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)\s*(k|m|g|t)?b?", text.strip().lower())
    if found is None:
        raise InvalidInputError(f"{text!r} is no size: write 500MB or 2GB.")
    return int(float(found[1]) * {None: 1, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}[found[2]])
