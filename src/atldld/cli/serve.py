"""`atldld serve` and `atldld demo`: the local service."""

from pathlib import Path
from typing import Annotated

import typer

from atldld.cli.options import progress_bar, say


def serve(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 chooses a free one.")] = 8765,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
) -> None:
    """Serve the demo archive at the service's own URLs, until Ctrl-C."""
    from atldld.archive.local import listen

    server = listen(host, port)
    address = f"http://{server.effective_host}:{server.effective_port}"
    say("Serving the demo archive (SYNTHETIC pixels, genuine numbers). Ctrl-C ends it.")
    say(f"Use it with: export ATLDLD_API_URL={address}")
    typer.echo(address)
    try:
        server.run()
    except KeyboardInterrupt:
        pass
    finally:
        server.close()


def demo(
    output_folder: Annotated[Path, typer.Argument(help="Folder of the result.")] = Path("demo"),
) -> None:
    """Run the main job on the packaged demo archive, with no network."""
    import tempfile

    from atldld.archive.local import in_process_session
    from atldld.output import download_dataset, overview
    from atldld.register import Recipe

    dataset_id = 69289763
    folder = output_folder / str(dataset_id)
    with (
        tempfile.TemporaryDirectory() as cache,
        in_process_session(Path(cache)) as session,
        progress_bar(f"Demo of data set {dataset_id}") as progress,
    ):
        download_dataset(
            dataset_id,
            folder,
            Recipe(expression=True),
            session=session,
            command_line="atldld demo",
            progress=progress,
            force=True,
        )
    sheet = overview(folder, output_folder / "overview.png")
    say("Sections of a SYNTHETIC brain, placed by the genuine numbers of data set 69289763.")
    say(f"All of them on one sheet: {sheet.resolve()}")
    say("Pictures at 25 µm, expression masks and metadata.json:")
    typer.echo(folder.resolve())
