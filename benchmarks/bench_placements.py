"""How large the placements catalogue is, and how long it takes from a service that answers late.

    python benchmarks/bench_placements.py [--data-sets 26000] [--delay 0.15] [--measured 1300]

A service on this machine offers copies of the three genuine data sets (18, 60 and 112 sections)
whose numbers are changed, so that no two are alike; it answers after 150 ms. As many data sets as
are measured are fetched, and the time and size of all are what those took, times their number.
Without the genuine data the demo's are copied.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from atldld.demo.archive import DemoArchive
from atldld.fetch.session import Session
from atldld.find import build
from atldld.find.catalogue import catalogue_path
from atldld.find.placements import estimate_placements, update_placements
from atldld.settings import Settings
from findings import Findings, json_option

GENUINE = Path(__file__).resolve().parents[2] / "shared" / "data" / "datasets"
FIRST = 70_000_000
Record = dict[str, Any]


def models() -> list[tuple[Record, list[Record]]]:
    """Return records of data sets with their images."""
    found: list[tuple[Record, list[Record]]] = []
    for path in sorted(GENUINE.glob("[0-9]*.json")):
        records = json.loads(path.read_text())
        found.append((records["section_data_set"], records["section_images"]))
    demo = DemoArchive().tables()["SectionDataSet"]
    return found or [({**record}, [*record["section_images"]]) for record in demo]


class Service:
    """Answers the two queries of the update, after a delay."""

    def __init__(self, count: int, delay: float) -> None:
        self.models, self.count, self.delay = models(), count, delay
        self.requests = self.sent = 0
        self._lock = threading.Lock()

    def data_set(self, number: int) -> Record:
        """Return the record of a data set."""
        record, _ = self.models[self.kind(number)]
        rng = random.Random(number)
        alignment = _changed(record["alignment3d"], rng)
        return {**record, "id": number, "alignment3d": {**alignment, "aligned_id": number}}

    def kind(self, number: int) -> int:
        """Return which model a data set is a copy of: 70 % have few sections."""
        few = number % 100 < 70
        return 0 if few else (2 if number % 2 else 1)

    def images(self, number: int) -> Iterator[Record]:
        """Yield the records of its images."""
        rng = random.Random(number)
        for k, image in enumerate(self.models[self.kind(number)][1]):
            yield {
                **image,
                "id": 1_000_000_000 + 200 * (number - FIRST) + k,
                "data_set_id": number,
                "width": image["width"] - rng.randrange(900),
                "height": image["height"] - rng.randrange(900),
                "expression_path": f"/external/aibssan/production{rng.randrange(40)}/prod"
                f"{rng.randrange(99)}/b.{number}.{k}/b.{number}.{k}_expression.aff",
                "alignment2d": _changed(image["alignment2d"], rng),
            }

    def __call__(self, environ: Mapping[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer a query."""
        begun = time.monotonic()
        query = parse_qs(environ["QUERY_STRING"])["criteria"][0]
        ids = [int(n) for n in re.findall(r"\d+", query.split("$in")[-1].split("]")[0])]
        if "$in" not in query:
            ids = [int(re.findall(r"id\$eq(\d+)", query)[0])]
        start = int((re.findall(r"start_row\$eq(\d+)", query) or ["0"])[0])
        size = int((re.findall(r"num_rows\$eq(\d+)", query) or ["50"])[0])
        if "model::SectionImage" in query:
            kept = re.findall(r"sub_images\.(\w+)", query.split("only$eq")[-1])
            rows = [image for number in ids for image in self.images(number)]
            total, rows = len(rows), rows[start : start + size]
            rows = [
                {k: v for k, v in row.items() if k in kept or k == "alignment2d"} for row in rows
            ]
        else:
            rows = [self.data_set(number) for number in ids][start : start + size]
            total = len(ids)
        answer = {
            "success": True, "id": 0, "start_row": start, "num_rows": len(rows),
            "total_rows": total, "msg": rows,
        }  # fmt: skip
        body = json.dumps(answer).encode()
        with self._lock:
            self.requests += 1
            self.sent += len(body)
        time.sleep(max(begun + self.delay - time.monotonic(), 0.0))
        start_response("200 OK", [("Content-Type", "application/json")])
        return [body]


def _changed(record: Mapping[str, Any], rng: random.Random) -> Record:
    """Return an alignment with other digits; numbers that are alike but for the sign stay so."""
    factors: dict[float, float] = {}

    def other(value: float) -> float:
        factor = factors.setdefault(abs(value), 1 + rng.uniform(-0.05, 0.05))
        return float(f"{value * factor:.6g}")

    matrices = {"tsv", "tvs", "tvr", "trv"}
    return {n: other(value) if n[:3] in matrices else value for n, value in record.items()}


def main() -> None:
    from waitress.server import create_server

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-sets", type=int, default=26_000)
    parser.add_argument("--delay", type=float, default=0.15)
    parser.add_argument("--measured", type=int, default=1_300)
    json_option(parser)
    chosen = parser.parse_args()
    findings = Findings("placements", chosen.json)
    service = Service(chosen.data_sets, chosen.delay)
    server = create_server(service, host="127.0.0.1", port=0, threads=16)
    threading.Thread(target=server.run, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            api_url=f"http://127.0.0.1:{server.effective_port}", cache_dir=Path(folder)
        )
        with Session(settings) as session:
            numbers: Sequence[int] = range(FIRST, FIRST + chosen.measured)
            records = ({**service.data_set(n), "reference_space_id": 9} for n in numbers)
            path = catalogue_path(session.cache.root)
            path.parent.mkdir(parents=True, exist_ok=True)
            build(path, [("SectionDataSet", records)], service=settings.api_url)
            expected = estimate_placements(session)
            begun = time.monotonic()
            info = update_placements(session)
            seconds = time.monotonic() - begun
            requests, sent = service.requests, service.sent
            begun = time.monotonic()
            for number in numbers[::10]:
                session.dataset(number)
            opened = (time.monotonic() - begun) / len(numbers[::10])
    server.close()
    times = chosen.data_sets / chosen.measured
    bounded = max(requests * times / 5, seconds * times)
    rows = {
        "data sets": (chosen.data_sets, "", ""),
        "images": (info.images * times, "", ""),
        "requests": (requests * times, "", f"{expected.requests * times:,.0f}"),
        "to fetch": (sent * times / 1e6, "MB", f"{expected.fetched_bytes * times / 1e6:,.0f}"),
        "on disk": (info.bytes * times / 1e6, "MB", f"{expected.written_bytes * times / 1e6:,.0f}"),
        "an image on disk": (info.bytes / info.images, "bytes", ""),
        "time without bounds": (seconds * times / 60, "min", ""),
        "time at 5 requests a second": (bounded / 60, "min", ""),
        "opening a data set": (opened * 1e3, "ms", ""),
    }
    print(f"measured: {info.data_sets:,} data sets, {info.images:,} images, {seconds:.0f} s")
    for name, (value, unit, estimated) in rows.items():
        said = f"   estimated {estimated}" if estimated else ""
        print(f"{name:30}{value:12,.1f} {unit:6}{said}")
        findings.row({"what": name, "value": value, "unit": unit})
    findings.tell(
        f"{chosen.data_sets:,} data sets in {bounded / 60:.0f} min at 5 requests a second, "
        f"opening one {opened * 1e3:.1f} ms"
    )


if __name__ == "__main__":
    main()
