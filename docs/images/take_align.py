"""Take the pictures of `atldld align` that stand in these pages, of the demo brain.

    python docs/images/take_align.py [--browser PATH] [--folder FOLDER]

Needs no network: the demo archive answers. The sections begin off their places by known amounts, as
real ones do. Needs playwright, and Chromium (the system's own).
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).parent
DATASET = 69289763
SECTION = 9  # in order of depth: one with many structures
PATIENT = 600_000  # ms; a machine that is busy takes its time


Points = NDArray[np.float64]
Seen = Callable[[int, ArrayLike], Points]


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, Seen]]:
    """Serve the page for sections that lie off their places.

    Yields
    ------
    str
        Its address.
    callable
        Of a section's id and pixels of its picture: where the atlas shows what lies there.
    """
    from atldld.align.desk import open_desk
    from atldld.align.listen import listen
    from atldld.api import open_dataset
    from atldld.atlas import open_atlas
    from atldld.demo.local import in_process_session
    from atldld.testing.disturbed import disturbed

    with in_process_session(folder / "cache") as session:
        dataset = open_dataset(DATASET, session=session)
        atlas = open_atlas(25, session=session)
        start = disturbed(dataset, atlas, seed=3)
        record = session.dataset(DATASET)
        desk = open_desk(record, session, atlas, folder / "by-hand.json", alignment=start)
        opened = listen(desk)
        threading.Thread(target=opened.server.run, daemon=True).start()

        def seen(image_id: int, pixels: ArrayLike) -> Points:
            places = dataset.section(image_id).to_reference(pixels)
            return np.asarray(desk.placement(image_id).to_image(places))

        try:
            yield opened.address, seen
        finally:
            opened.application.close()
            opened.server.close()
            desk.close()


# pictures of sections in the list that can be seen; others are fetched once they are scrolled to
LISTED = """(() => {
    const list = document.querySelector("#sections").getBoundingClientRect();
    return [...document.querySelectorAll("#sections img")].every(one => {
        const at = one.getBoundingClientRect();
        const seen = at.width && at.bottom > list.top && at.top < Math.min(list.bottom, innerHeight)
            && at.right > list.left && at.left < list.right;
        return one.naturalWidth || !seen;
    });
})()"""


def settle(page: Page, more: str = "true") -> None:
    """Wait until everything is drawn and saved."""
    done = (
        "atldld.isSettled() && atldld.isDrawn()"
        " && [...document.querySelectorAll('#cuts img')].every(one => one.naturalWidth)"
        f" && {LISTED} && atldld.isWhole() && ({more})"
    )
    for _ in range(PATIENT // 100):
        if page.evaluate(done):
            break
        page.wait_for_timeout(100)
    page.wait_for_timeout(2500)  # tiles fade in


def drag(page: Page, start: ArrayLike, end: ArrayLike) -> None:
    """Drag with the mouse from one pixel of the picture to another."""
    box = page.locator("#picture").bounding_box()
    assert box is not None
    to_stage = np.array(page.evaluate("atldld.toStage()"))
    (a, b), (c, d) = (
        np.round(to_stage[:2, :2] @ np.asarray(at) + to_stage[:2, 2] + [box["x"], box["y"]])
        for at in (start, end)
    )
    page.mouse.move(a, b)
    page.mouse.down()
    page.mouse.move(c, d, steps=6)
    page.mouse.up()
    settle(page)


def choose(page: Page, name: str, value: str) -> None:
    """Choose one of some that belong together."""
    page.locator(f"[name={name}][value={value}] + span").click()


def tour(page: Page, seen: Seen, folder: Path) -> None:
    """Walk through the page as the tutorial does, and take a picture at each stop."""

    def take(name: str) -> None:
        page.mouse.move(4, 4)
        page.wait_for_timeout(300)
        path = folder / f"align-{name}.jpg"
        page.screenshot(path=path, type="jpeg", quality=85)
        print(path)

    page.locator("#sections [role=option]").nth(SECTION).click()
    settle(page, f"atldld.state.at === {SECTION}")
    take("start")
    image_id = page.evaluate("atldld.current().image_id")
    size = np.array(page.evaluate("[atldld.current().width, atldld.current().height]"))
    landmarks = size * [(0.22, 0.3), (0.42, 0.2), (0.56, 0.1), (0.83, 0.3), (0.8, 0.72), (0.3, 0.8)]
    off = np.median(landmarks - seen(image_id, landmarks), axis=0)
    choose(page, "tool", "move")
    drag(page, 0.5 * size, 0.5 * size + off)
    take("move")
    choose(page, "tool", "markers")
    for landmark in landmarks:
        drag(page, seen(image_id, [landmark])[0], landmark)
    take("markers")
    choose(page, "tool", "look")
    choose(page, "fill", "template")
    page.locator("#opacity").fill("100")
    choose(page, "mode", "swipe")
    settle(page)
    take("swipe")
    choose(page, "mode", "over")
    choose(page, "fill", "labels")
    page.locator("#opacity").fill("35")
    page.select_option("#fit-from", index=SECTION - 3)
    page.select_option("#fit-to", index=SECTION + 3)
    page.uncheck("[name=step][value=inplane]")
    page.locator("#fit-form button[type=submit]").click()
    page.locator("#proposal").wait_for()
    page.locator("#next").click()  # one that has no markers yet
    settle(page, f"atldld.state.at === {SECTION + 1}")
    take("fit")
    page.locator("#accept").click()
    page.locator("#confirm").click()
    settle(page)
    page.locator("#compare-open").click()
    page.locator("#compare-rows tr").first.wait_for()
    take("compare")


def main() -> None:
    """Take all of them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--browser", help="Chromium; by default the one on the path")
    parser.add_argument("--folder", type=Path, default=HERE, help="where the pictures go")
    options = parser.parse_args()
    browser = options.browser or shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        parser.error("there is no chromium on the path; say where it is with --browser")
    with (
        tempfile.TemporaryDirectory() as folder,
        served(Path(folder)) as (address, seen),
        sync_playwright() as started,
    ):
        opened = started.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        context = opened.new_context(
            viewport={"width": 1280, "height": 800}, color_scheme="light", reduced_motion="reduce"
        )
        context.set_default_timeout(PATIENT)
        page = context.new_page()
        page.goto(address)
        page.locator("body.ready").wait_for()
        tour(page, seen, options.folder)
        opened.close()


if __name__ == "__main__":
    main()
