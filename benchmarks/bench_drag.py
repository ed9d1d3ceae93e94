"""How long the atlas takes to follow the hand in the browser, on the page of ``atldld align``.

Run it from the project's root, with Chromium and Playwright installed::

    python benchmarks/bench_drag.py [--dataset 69289763] [--moves 200] [--json FILE]

The demo archive is served in one process and ``atldld align`` runs in another. In headless Chromium
a real mouse drags the plane, without markers and with eight, and one of the markers, with borders
and colours at 25 µm. Told are, for each,

- the milliseconds from a movement of the mouse (its event's own time) to the frame of the screen
  that has the atlas drawn anew for that movement or a later one. Meanwhile the last drawing is
  carried along with the hand, which is not counted;
- how many drawings there were in a second;
- the processor's milliseconds for each of them, of the service and of the browser. They hardly
  change when the machine has other work; the waiting does.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from playwright.sync_api import Page, ViewportSize, sync_playwright

from bench_align import ended, environment, started
from findings import Findings, json_option

INTERVAL = 1 / 60  # seconds from one movement of the mouse to the next
SIZE = ViewportSize(width=1280, height=800)
MARKERS = 8

# Looks once a frame at what was moved and at what is drawn; both are the page's own objects.
RECORDER = """() => {
  const found = { moves: [], frames: [], running: true };
  let at = null;
  addEventListener('pointermove', (event) => { at = event.timeStamp; }, true);
  const shown = () => atldld.movedNow();
  let last = shown();
  let drawn = atldld.movedThen();
  const look = (now) => {
    if (!found.running) return;
    const moved = shown();
    if (at !== null && moved !== last) found.moves.push({ at, moved });
    last = moved;
    const seen = atldld.movedThen();
    if (seen !== drawn) found.frames.push({ now, moved: seen });
    drawn = seen;
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
  window.recorded = found;
}"""

# A movement is shown by the first drawing that is of it or of a later one.
LATENCIES = """() => {
  const { moves, frames } = window.recorded;
  const order = new Map(moves.map(({ moved }, k) => [moved, k]));
  const times = [];
  let next = 0;
  for (const { now, moved } of frames) {
    const upTo = order.get(moved);
    if (upTo === undefined) continue;
    for (; next <= upTo; next += 1) times.push(now - moves[next].at);
  }
  window.recorded.running = false;
  return { times, frames: frames.length, moves: moves.length };
}"""


@dataclass(frozen=True)
class Drag:
    """What one drag took."""

    name: str
    median_ms: float
    high_ms: float  # 95 of 100 are below
    most_ms: float
    moves: int
    frames_per_second: float
    service_cpu_ms: float  # for each drawing
    page_cpu_ms: float


def wait(page: Page, expression: str) -> None:
    """Wait until something is true; the page's policy forbids Playwright's own way."""
    for _ in range(4800):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(25)
    sys.exit(f"It never came to this: {expression}")


def seconds(processes: list[psutil.Process]) -> float:
    """Return the processor's seconds that processes have taken."""
    return sum(sum(one.cpu_times()[:2]) for one in processes)


def page_processes() -> list[psutil.Process]:
    """Return the browser's processes, which are this one's descendants."""
    found = psutil.Process().children(recursive=True)
    return [one for one in found if "chrom" in one.name()]


def dragged(
    page: Page, service: psutil.Process, start: tuple[float, float], count: int, name: str
) -> Drag:
    """Drag from a place of the screen along a circle and say what it took."""
    page.evaluate(RECORDER)
    mouse = page.mouse
    mouse.move(*start)
    mouse.down()
    browser = page_processes()
    began, spent = time.perf_counter(), (seconds([service]), seconds(browser))
    for k in range(1, count + 1):
        angle = 2 * np.pi * k / 90
        radius = min(k, 40)
        mouse.move(start[0] + radius * np.sin(angle), start[1] + radius * (1 - np.cos(angle)) / 2)
        time.sleep(max(0.0, began + k * INTERVAL - time.perf_counter()))
    taken = time.perf_counter() - began
    spent = (seconds([service]) - spent[0], seconds(browser) - spent[1])
    page.wait_for_timeout(1000)
    told: dict[str, Any] = page.evaluate(LATENCIES)
    mouse.up()
    wait(page, "atldld.isSettled() && atldld.isDrawn()")
    middle, high = np.percentile(told["times"], [50, 95])
    frames = max(told["frames"], 1)
    return Drag(
        name,
        float(middle),
        float(high),
        max(told["times"]),
        told["moves"],
        told["frames"] / taken,
        *(1000 * one / frames for one in spent),
    )


def middle_of(page: Page, selector: str) -> tuple[float, float]:
    box = page.locator(selector).bounding_box()
    assert box is not None
    return round(box["x"] + box["width"] / 2), round(box["y"] + box["height"] / 2)


def measured(page: Page, service: psutil.Process, count: int) -> list[Drag]:
    """Drag a plane without markers, a plane with markers, and a marker."""
    page.locator("[name=tool][value=move] + span").click()
    out = [dragged(page, service, middle_of(page, "#stage"), count, "plane")]
    page.locator("[name=tool][value=markers] + span").click()
    x, y = middle_of(page, "#stage")
    for k in range(MARKERS):
        at = x - 150 + 100 * (k % 4), y - 40 + 80 * (k // 4)
        page.mouse.move(*at)
        page.mouse.down()
        page.mouse.move(at[0] + 8, at[1] - 5 + 3 * (k % 3), steps=3)
        page.mouse.up()
        wait(page, f"atldld.isSettled() && atldld.current().markers.length === {k + 1}")
    out.append(
        dragged(page, service, middle_of(page, '.pin[data-pin="5"] .dot'), count, "a marker of 8")
    )
    page.locator("[name=tool][value=move] + span").click()
    # beside the markers, whose heads would be taken instead
    start = (x + 10, y + 10)
    out.append(dragged(page, service, start, count, "plane, 8 markers"))
    return out


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--dataset", type=int, default=69289763)
    options.add_argument("--moves", type=int, default=200, help="Of the mouse in each drag.")
    options.add_argument("--cache", type=Path, help="Kept from one run to the next.")
    options.add_argument("--port", type=int, default=8996, help="Of the demo archive.")
    json_option(options)
    chosen = options.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with tempfile.TemporaryDirectory() as folder:
        cache = chosen.cache or Path(folder) / "cache"
        port = str(chosen.port)  # the cache is kept by host and port
        archive, address = started(["serve", "demo", "--port", port], environment("", cache))
        command = ["align", str(chosen.dataset), "-o", f"{folder}/reg.json", "--no-browser"]
        page, where = started(command, environment(address, cache))
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path=chromium, args=["--no-sandbox"]
                )
                shown = browser.new_page(viewport=SIZE)
                shown.set_default_timeout(120_000)
                shown.goto(where)
                wait(shown, "document.body.classList.contains('ready')")
                sections = shown.locator("#sections [role=option]")
                sections.nth(sections.count() // 2).click()
                wait(shown, "atldld.isWhole() && atldld.isDrawn()")
                load = os.getloadavg()[0]
                drags = measured(shown, psutil.Process(page.pid), chosen.moves)
                browser.close()
        finally:
            ended(page)
            ended(archive)
    print(f"Data set {chosen.dataset}, {os.cpu_count()} cores, load {load:.1f} before:\n")
    for one in drags:
        print(
            f"{one.name:18} median {one.median_ms:4.0f} ms   95 % {one.high_ms:4.0f} ms   most "
            f"{one.most_ms:4.0f} ms   {one.frames_per_second:4.1f} drawings/s   processor: "
            f"service {one.service_cpu_ms:3.0f} ms, browser {one.page_cpu_ms:3.0f} ms"
        )
    findings = Findings("drag", chosen.json)
    for one in drags:
        findings.row(asdict(one))
    slowest = max(drags, key=lambda one: one.high_ms)
    findings.tell(
        f"the atlas follows the hand after {slowest.median_ms:.0f} ms, and in 95 of 100 movements "
        f"within {slowest.high_ms:.0f} ms ({slowest.name}, the slowest; load {load:.1f} before)"
    )


if __name__ == "__main__":
    main()
