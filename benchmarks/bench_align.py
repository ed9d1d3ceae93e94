"""What someone who edits a registration in the browser waits for, and what that takes.

Run it from the project's root::

    python benchmarks/bench_align.py [--dataset 71717084] [--edits 300] [--frames 200]

The demo archive is served in one process, and `atldld align` runs in another, offline, with what it
needs in a cache; this process asks it over HTTP as the page does. Told are

- the seconds from the start of the command until the first section is there: the page, the data
  set, the tiles of the tier that fills a screen, and the borders over it;
- the milliseconds from asking for an overlay to having it, one after the other while a plane is
  dragged, at 25 µm a pixel, flat and with eight markers: the structures, which the page asks
  for and draws itself, and the pictures that others may ask for;
- the milliseconds of an edit, to the disk and back, and the most memory that the command has held
  once every section was looked at and all edits were made.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from findings import Findings, json_option

ROOT = Path(__file__).resolve().parent.parent
SCREEN = 1400  # pixels that the middle of the page is wide
RESOLUTION = 25.0


def words(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "atldld", *arguments]


def environment(address: str, cache: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT / "src"),
        "ATLDLD_API_URL": address,
        "ATLDLD_DOWNLOAD_URL": address,
        "ATLDLD_CACHE_DIR": str(cache),
    }


def started(arguments: Sequence[str], env: dict[str, str]) -> tuple[subprocess.Popen[str], str]:
    """Start a command that prints an address, and return both."""
    process = subprocess.Popen(
        words(*arguments), stdout=subprocess.PIPE, text=True, env=env, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    if not address:
        sys.exit(f"atldld {arguments[0]} did not start; another --port may help.")
    return process, address


def ended(process: subprocess.Popen[str]) -> None:
    process.terminate()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def opened(address: str) -> httpx.Client:
    base, _, token = address.partition("/?token=")
    headers = {"Authorization": f"Bearer {token}", "X-Tab": "bench"}
    return httpx.Client(base_url=base, headers=headers, timeout=600)


def got(client: httpx.Client, path: str) -> httpx.Response:
    for _ in range(50):
        answer = client.get(path)
        if answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
            break
        time.sleep(0.1)
    answer.raise_for_status()
    return answer


def tier_for(section: dict[str, Any]) -> dict[str, int]:
    """Return the coarsest tier that fills the screen."""
    wide = [tier for tier in section["tiers"] if tier["width"] >= SCREEN]
    found: dict[str, int] = max(wide or section["tiers"], key=lambda tier: tier["tier"])
    return found


def tiles(section: dict[str, Any]) -> list[str]:
    tier = tier_for(section)
    return [
        f"/api/sections/{section['image_id']}/tiles/{tier['tier']}/{column}_{row}.jpg"
        for column in range(-(-tier["width"] // 512))
        for row in range(-(-tier["height"] // 512))
    ]


def overlay(
    section: dict[str, Any], kind: str, forward: Any = None, markers: str | None = None
) -> str:
    scale = RESOLUTION / (section["resolution_um"] or 1.0)
    width, height = (max(1, round(section[side] / scale)) for side in ("width", "height"))
    path = f"/api/sections/{section['image_id']}/overlay?kind={kind}&width={width}&height={height}"
    path += f"&x0=0&y0=0&scale={scale}&depth=6"
    if forward is not None:
        path += "&forward=" + ",".join(map(repr, np.asarray(forward).ravel().tolist()))
    return path if markers is None else f"{path}&markers={markers}"


def first_section(address: str, began: float) -> dict[str, float]:
    """Return the seconds until each thing was there."""
    with opened(address) as client:
        out = {"the address is printed": time.perf_counter() - began}
        got(client, "/")
        told = got(client, "/api/dataset").json()
        out["the data set is told"] = time.perf_counter() - began
        section = told["sections"][len(told["sections"]) // 2]
        for path in tiles(section):
            got(client, path)
        out["its picture is there"] = time.perf_counter() - began
        got(client, overlay(section, "structures"))
        out["the atlas is over it"] = time.perf_counter() - began
    return out


def dragged(
    client: httpx.Client, section: dict[str, Any], kind: str, count: int, *, marked: bool
) -> Any:
    """Return the milliseconds of each frame while a plane is dragged."""
    width, height = section["width"], section["height"]
    rng = np.random.default_rng(0)
    markers = None
    if marked:
        places = rng.uniform((0.2, 0.2), (0.8, 0.8), (8, 2)) * (width, height)
        moved = places + rng.uniform(-60, 60, (8, 2))
        markers = json.dumps(np.hstack((moved, places)).round(1).tolist(), separators=(",", ":"))
    forward = np.array(section["forward"])
    got(client, overlay(section, kind, forward, markers))
    out = []
    for _ in range(count):
        forward[:, 2] += rng.normal(0, 15, 3)
        path = overlay(section, kind, forward, markers)
        began = time.perf_counter()
        got(client, path)
        out.append((time.perf_counter() - began) * 1000)
    return np.array(out)


def edited(client: httpx.Client, sections: list[dict[str, Any]], count: int) -> Any:
    """Make edits of every kind, and return the milliseconds of each."""
    out = []
    for k in range(count):
        section = sections[k * 7 % len(sections)]
        image_id = section["image_id"]
        kind = ("place", "markers", "status", "note")[k % 4]
        sent: dict[str, Any] = {"kind": kind, "image_id": image_id}
        if kind == "place":
            plane = got(client, f"/api/sections/{image_id}").json()["plane"]
            plane["depth_um"] += 5
            sent |= {"plane": plane, "carry": "moves" if k % 8 == 0 else False}
        elif kind == "markers":
            middle = [section["width"] / 2, section["height"] / 2]
            sent["markers"] = [{"image": middle, "flat": [middle[0] + k % 50, middle[1] - 30]}]
        elif kind == "status":
            sent["status"] = "confirmed"
        else:
            sent["note"] = f"edit {k}"
        began = time.perf_counter()
        client.post("/api/edit", json=sent).raise_for_status()
        out.append((time.perf_counter() - began) * 1000)
        if k % 20 == 19:
            client.post("/api/undo", json={}).raise_for_status()
    return np.array(out)


def most_memory(pid: int) -> float:
    """Return the most memory that a process has held, in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(one for one in status.splitlines() if one.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def told(name: str, times: Any, findings: Findings) -> None:
    middle, high = np.percentile(times, [50, 95])
    findings.row({"what": name, "median, ms": middle, "95 %, ms": high, "most, ms": times.max()})
    print(f"{name:44} median {middle:6.1f} ms   95 % {high:6.1f} ms   most {times.max():6.1f} ms")


def waited(what: Callable[[], Any]) -> float:
    began = time.perf_counter()
    what()
    return time.perf_counter() - began


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--dataset", type=int, default=71717084)
    options.add_argument("--edits", type=int, default=300)
    options.add_argument("--frames", type=int, default=200)
    options.add_argument("--port", type=int, default=8997, help="Of the demo archive.")
    options.add_argument("--cache", type=Path, help="Kept from one run to the next.")
    json_option(options)
    chosen = options.parse_args()
    findings = Findings("align", chosen.json)
    with tempfile.TemporaryDirectory() as folder:
        cache = chosen.cache or Path(folder) / "cache"
        output = Path(folder) / "reg.json"
        # the cache is kept by host and port
        port = str(chosen.port)
        archive, address = started(["serve", "demo", "--port", port], environment("", cache))
        env = environment(address, cache)
        command = ["align", str(chosen.dataset), "-o", str(output), "--no-browser"]
        try:
            page, where = started(command, env)
            with opened(where) as client:
                sections = got(client, "/api/dataset").json()["sections"]
                middle = sections[len(sections) // 2]
                # what a look at all of it needs: thumbnails, and the middle section's tiles
                for section in sections:
                    got(client, f"/api/sections/{section['image_id']}/thumbnail.jpg")
                for path in [
                    *tiles(middle),
                    overlay(middle, "structures"),
                    overlay(middle, "template"),
                ]:
                    got(client, path)
            ended(page)
        finally:
            ended(archive)
        output.unlink()
        output.with_suffix(".journal.jsonl").unlink()
        began = time.perf_counter()
        page, where = started([*command, "--offline"], env)
        try:
            print(f"Data set {chosen.dataset}, {len(sections)} sections, {os.cpu_count()} cores:\n")
            for what, seconds in first_section(where, began).items():
                print(f"{what:44} {seconds:.2f} s")
                findings.row({"what": what, "median, ms": 1e3 * seconds})
            with opened(where) as client:
                for kind in ("structures", "template", "borders", "labels"):
                    for marked in (False, True):
                        times = dragged(client, middle, kind, chosen.frames, marked=marked)
                        told(f"{kind}{', eight markers' if marked else ''}", times, findings)
                for section in sections:
                    got(client, f"/api/sections/{section['image_id']}/thumbnail.jpg")
                    got(client, overlay(section, "structures"))
                told(
                    f"an edit, of {chosen.edits}", edited(client, sections, chosen.edits), findings
                )
                print(f"{'comparison':44} {waited(lambda: got(client, '/api/compare')):.2f} s")
            held = most_memory(page.pid)
            print(f"{'most memory':44} {held:.0f} MB")
        finally:
            ended(page)
        began = time.perf_counter()
        page, where = started([*command, "--offline"], env)
        try:
            with opened(where) as client:
                got(client, "/api/dataset")
            what = "the next start, until the data set is told"
            seconds = time.perf_counter() - began
            print(f"{what:44} {seconds:.2f} s")
            findings.row({"what": what, "median, ms": 1e3 * seconds})
            edit = next(row for row in findings.rows if row["what"].startswith("an edit"))
            findings.tell(
                f"{len(sections)} sections, an edit {edit['median, ms']:.1f} ms, "
                f"the next start {seconds:.2f} s, {held:.0f} MB"
            )
        finally:
            ended(page)


if __name__ == "__main__":
    main()
