"""`atldld info`: the version and the cache."""

from pathlib import Path
from typing import Annotated

from atldld.cli.declare import Commands, Option
from atldld.cli.manner import result
from atldld.cli.terminal import answer
from atldld.settings import Settings
from atldld.support import provenance

app = Commands("The version and the cache.")


@app.command()
def version() -> None:
    """Show the version."""
    result({"version": provenance.version()})
    answer(f"atldld version {provenance.version()}")


@app.command()
def cache(
    cache_dir: Annotated[
        Path | None,
        Option(help="Folder of the cache.", envvar="ATLDLD_CACHE_DIR", metavar="DIR"),
    ] = None,
) -> None:
    """Show where the cache is and how large it is."""
    from atldld.fetch.cache import Cache

    folder = Settings.from_environment({}, cache_dir=cache_dir).cache_dir
    count, size = Cache(folder).size()
    result({"location": folder, "file_count": count, "bytes": size})
    answer(f"Location: {folder}")
    answer(f"Size:     {size / 1e6:.1f} MB in {count} files")
