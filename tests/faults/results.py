"""What a run left behind, in a form that can be compared with another run's."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import simplejpeg

from atldld.records import SectionDataSet

# Times, addresses, and the defects of the service that were met on the way.
NEVER_EQUAL = {"created", "command_line", "service", "fetched", "url", "warnings"}


def comparable(value):
    """Leave out what differs between two runs that did the same."""
    if isinstance(value, dict):
        return {k: comparable(v) for k, v in value.items() if k not in NEVER_EQUAL}
    return [comparable(v) for v in value] if isinstance(value, list) else value


def result_of(folder):
    """Every file of an output folder, by name: bytes, or the comparable part of the metadata."""
    found = {}
    for path in Path(folder).rglob("*"):
        if path.is_file():
            name = str(path.relative_to(folder))
            is_json = path.suffix == ".json" and ".part" not in name
            found[name] = comparable(json.loads(path.read_text())) if is_json else path.read_bytes()
    return found


def images_of(root):
    """The bytes of every image in a cache, by its path under `root`."""
    return {str(path.relative_to(root)): path.read_bytes() for path in Path(root).rglob("*.jpg")}


def sizes_of(application_source):
    """The size of every image at every tier."""
    sizes = {}
    for record in application_source.tables()["SectionDataSet"]:
        dataset = SectionDataSet.from_records(record, record["section_images"])
        for image in dataset.images:
            for tier in range(image.highest_downsample + 1):
                sizes[image.id, tier] = image.size(tier)
    return sizes


def check_cache(root, sizes, *, leftovers=True):
    """Assert that a cache holds nothing bad: what counts is whole, and has the right size."""
    for path in Path(root).rglob("*.jpg"):
        if path.name.startswith("."):
            continue
        companion = path.with_name(path.name + ".json")
        if not companion.exists():
            continue  # does not count, and is fetched again
        data = path.read_bytes()
        known = json.loads(companion.read_text())
        height, width = simplejpeg.decode_jpeg(data, strict=True).shape[:2]
        size = sizes[int(path.parent.name), int(path.stem.partition("-")[0])]
        assert (width, height) == (known["width"], known["height"]) == size, path
        assert known["bytes"] == len(data), path
        assert known["sha256"] == hashlib.sha256(data).hexdigest(), path
    for path in set(Path(root).rglob("*.json")) - set(parts_of(root)):
        json.loads(path.read_text())
    if leftovers:
        assert parts_of(root) == []


def parts_of(folder):
    """Temporary files that were left."""
    return sorted(path for path in Path(folder).rglob("*") if ".part" in path.name)


def verified_in(root):
    """(image id, tier, is a mask) of every image that counts in a cache."""
    return {
        (int(path.parent.name), int(path.stem.partition("-")[0]), path.stem.endswith("-expression"))
        for path in Path(root).rglob("*.jpg")
        if not path.name.startswith(".") and path.with_name(path.name + ".json").exists()
    }


def needed_requests(log, root):
    """Like `asked_images`, without the second request for an image whose bytes are another's too.

    Two all-black masks look like one answer that was sent twice, and such are asked for again.
    """
    images = {
        (
            int(path.parent.name),
            int(path.stem.partition("-")[0]),
            path.stem.endswith("-expression"),
        ): (path.read_bytes())
        for path in Path(root).rglob("*.jpg")
    }
    often = Counter(images.values())
    asked = asked_images(log)
    alike = {one for one in asked if one in images and often[images[one]] > 1}
    assert all(asked.count(one) <= 2 for one in alike)
    return [one for one in asked if one not in alike] + list(alike)


def asked_images(log):
    """(image id, tier, is a mask) of every image request in a server's log."""
    return [
        (request.image_id, int(request.query.get("downsample", 0)), request.expression)
        for request in (entry.request for entry in log)
        if request.image_id is not None
    ]
