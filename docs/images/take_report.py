"""Take the pictures of the report that stand in these pages, of the demo brain.

    python docs/images/take_report.py [--page FILE.html] [--browser PATH]

Needs no network: the demo archive answers. Without --page the report is made first, which takes
some minutes. Needs the extra `report`, playwright, and Chromium (the system's own).
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

HERE = Path(__file__).parent
DATASET = 71717084

# width, height, colours, and what the picture is called
SIZES = (
    (1280, 860, "light", "report.png"),
    (390, 844, "dark", "report-phone.png"),
)


def make_page(folder: Path) -> Path:
    """Make the report of a data set of the demo brain."""
    from atldld.demo.local import in_process_session
    from atldld.report import gather, open_source, try_atlas, write_report

    with in_process_session(folder / "cache") as session:
        atlas, reason = try_atlas(session)
        source = open_source(DATASET, session=session)
        made = gather(source, atlas, without_atlas=reason, command_line=f"atldld report {DATASET}")
        return write_report(made, folder / "report.html")


def take(browser: Browser, page: Path, size: tuple[int, int, str, str]) -> None:
    """Take one picture."""
    width, height, colours, name = size
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if colours == "dark" else "light",
        reduced_motion="reduce",
    )
    context.set_default_timeout(0)  # a machine that is busy takes its time
    tab = context.new_page()
    tab.goto(page.absolute().as_uri())
    tab.wait_for_load_state("load")
    tab.screenshot(path=HERE / name)
    context.close()


def main() -> None:
    """Take all of them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--page", type=Path, help="a report of the demo brain that is there")
    parser.add_argument("--browser", help="Chromium; by default the one on the path")
    options = parser.parse_args()
    browser = options.browser or shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        parser.error("there is no chromium on the path; say where it is with --browser")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as started:
        page = options.page or make_page(Path(folder))
        opened = started.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for size in SIZES:
            take(opened, page, size)
            print(HERE / size[-1])
        opened.close()


if __name__ == "__main__":
    main()
