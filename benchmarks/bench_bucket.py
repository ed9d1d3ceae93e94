"""How many bytes of the public bucket a section takes, beside those of its box.

    python benchmarks/bench_bucket.py [--downsample 2]

Slides of the demo brain, in each of the encodings that are known (the genuine ones' is not), behind
a server of this machine. Of one section at the tier that fits 25 µm: the bytes that were read, the
bytes of the tiles or strips that its box touches, which is the least that can be read, and those of
the box alone, cut out and encoded in the same way.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from atldld.fetch.limits import Limits
from atldld.fetch.session import Session
from atldld.serve.app import Application
from atldld.settings import Settings
from atldld.testing.bucket import ENCODINGS, BucketApplication, SlideArchive
from atldld.testing.server import FaultServer
from findings import Findings, json_option


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--downsample", type=int, default=2)
    json_option(parser)
    options = parser.parse_args()
    tier, findings = options.downsample, Findings("bucket", options.json)
    archive = SlideArchive()
    print(f"{'':30}{'requests':>9}{'read':>10}{'needed':>10}{'ratio':>7}{'alone':>10}{'ratio':>7}")
    for name, encoding in ENCODINGS.items():
        archive.encoding = name
        archive.forget()
        bucket = BucketApplication(archive)
        with (
            tempfile.TemporaryDirectory() as folder,
            FaultServer(Application(archive)) as api,
            FaultServer(bucket) as server,
        ):
            settings = Settings(
                api_url=api.url, bucket_url=server.url, cache_dir=Path(folder), source="bucket"
            )
            with Session(settings, limits=Limits(read=300)) as session:
                first, image = session.dataset(909).images[1], session.dataset(909).images[7]
                session.image(first, tier)  # compares the boxes, which is done once
                sent, asked = bucket.sent, len(bucket.asked)
                kept = session.image(image, tier)
                sent, asked = bucket.sent - sent, len(bucket.asked) - asked
                needed = kept.bytes
                if name == "plain strips":  # kept deflated
                    needed = 3 * (archive.images[image.id]["image_width"] >> tier)
                    needed *= image.size(tier)[1]
                if name == "plain tiles":
                    width, height = (64 * (2 + side // 64) for side in image.size(tier))
                    needed = 3 * width * height
                alone = len(encoding(archive.pixels(image.id, tier)))
        print(
            f"{name:30}{asked:9}{sent:10,}{needed:10,}{sent / needed:7.2f}{alone:10,}"
            f"{sent / alone:7.2f}"
        )
        findings.row(
            {
                "encoding": name,
                "requests": asked,
                "read, bytes": sent,
                "needed, bytes": needed,
                "read / needed": sent / needed,
            }
        )
    worst = max(row["read / needed"] for row in findings.rows)
    findings.tell(f"tier {tier}, at most {worst:.2f} times the bytes that are needed")


if __name__ == "__main__":
    main()
