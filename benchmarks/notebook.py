"""A notebook as it looks: run on the demo archive, rendered by nbconvert, taken by Chromium.

    python benchmarks/notebook.py                   # docs/images/notebook.png, notebook-dark.png
    python benchmarks/notebook.py --out /tmp/look

It needs nbconvert, ipykernel, playwright and Chromium, and no network.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from atldld.api import open_dataset
from atldld.atlas import open_atlas
from atldld.demo.archive import DemoArchive
from atldld.fetch import Limits, Session
from atldld.serve.listen import listen
from atldld.settings import Settings
from atldld.support.libraries import need

ROOT = Path(__file__).resolve().parent.parent

CELLS = (
    "import atldld\n\nfound = atldld.search(gene='Prox1')\nprint(len(found), 'found')\nfound",
    "ds = atldld.open_dataset(69289763)\nsection = ds.section(number=70)\n"
    "pixels = section.pixels(5), section.pixels(5, expression=True)\nds",
    "section",
    "ds.sections[6:12]",
    "section.register(50, expression=True)",
    "ds.volume(100, channel='expression', fill='linear')",
    "atlas = atldld.open_atlas(100)\natlas",
    "ds.quantify(atlas, 50, grid=False, unionize=False)",
    "ds.quality(atlas)",
    "ds.refine(atlas, resolution=100, steps='sections')",
    "ds.at((8050, 2850, 3350)), atlas.structure_at((8050, 2850, 3350)).name",
)
"""What is typed, cell by cell."""


def warm(url: str, cache: str) -> None:
    """Have in the cache what the notebook shows: the pictures tell nothing of a busy machine."""
    patient = Limits(read=900, low_speed_seconds=900)
    settings = Settings(api_url=url, download_url=url, cache_dir=Path(cache))
    with Session(settings, limits=patient) as session:
        ds = open_dataset(69289763, session=session)
        atlas = open_atlas(100, session=session)
        ds.volume(100, channel="expression")
        ds.quantify(atlas, 50, grid=False, unionize=False)
        ds.quality(atlas)
        ds.refine(atlas, resolution=100, steps=[])


def run(cells: tuple[str, ...], environment: dict[str, str]) -> Any:
    """Return a notebook of these cells, run in a kernel of this Python."""
    nbformat = need("nbformat", "dev", "Notebooks")
    processors = need("nbconvert.preprocessors", "dev", "Notebooks")
    need("ipykernel", "dev", "Notebooks")
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        processors.ExecutePreprocessor(timeout=600).preprocess(notebook, {})
    finally:
        os.environ.clear()
        os.environ.update(before)
    return notebook


def as_page(notebook: Any, theme: str) -> str:
    """Return the page that nbconvert makes of a notebook."""
    exporter = need("nbconvert", "dev", "Notebooks").HTMLExporter(theme=theme)
    page, _ = exporter.from_notebook_node(notebook)
    return str(page)


def take(page: Path, picture: Path, *, width: int = 1000) -> None:
    """Take a picture of a whole page."""
    playwright = need("playwright.sync_api", "dev", "Pictures of pages")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        view = browser.new_page(viewport={"width": width, "height": 900})
        # nothing of a page may come from elsewhere
        view.route("http*://**", lambda route: route.abort())
        view.goto(page.as_uri())
        view.screenshot(path=str(picture), full_page=True)
        browser.close()


def main() -> None:
    """Run the notebook and take its pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    server = listen("127.0.0.1", 0, DemoArchive())
    threading.Thread(target=server.run, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        url = f"http://127.0.0.1:{server.effective_port}"
        warm(url, f"{folder}/cache")
        notebook = run(
            CELLS,
            {
                "ATLDLD_API_URL": url,
                "ATLDLD_CACHE_DIR": f"{folder}/cache",
                "PYTHONPATH": os.pathsep.join(
                    filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")])
                ),
                "PYTHONWARNINGS": "ignore",
            },
        )
        for theme, name in (("light", "notebook"), ("dark", "notebook-dark")):
            page = Path(folder) / f"{name}.html"
            page.write_text(as_page(notebook, theme), "utf-8")
            picture = chosen.out / f"{name}.png"
            take(page, picture)
            print(picture, file=sys.stdout)
    server.close()


if __name__ == "__main__":
    main()
