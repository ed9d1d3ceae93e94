"""What nobody could find out without the service: each question is a check that prints the answer.

A question passes when it is answered, whatever the answer; it differs only where the package
relies on another answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from atldld.doctor.compare import differences, shown
from atldld.doctor.contract import CCF, REPORT, Asked, picture_of, section_look
from atldld.doctor.known import images_known, known
from atldld.doctor.model import Finding
from atldld.errors import AtldldError
from atldld.fetch.look import Look
from atldld.rma.query import Filter, RMAParameters, Term

__all__ = [
    "beyond_last_tier",
    "errors",
    "flip",
    "headers",
    "missing_mask",
    "posting",
    "pyramid",
    "quotes",
    "rate_limit",
    "region_outside",
    "row_cap",
    "space_names",
    "tie",
    "volume_sizes",
]

QUERY = "/api/v2/data/query.json"
GENE_WITH_QUOTES = "3'-phosphoadenosine 5'-phosphosulfate synthase 1"


def errors(asked: Asked) -> Finding:
    """Ask wrongly, to see how that is refused: unknown model, unknown column, broken grammar."""
    answers = []
    for what, text in (
        ("model", "model::NoSuchModel"),
        ("column", "model::SectionDataSet,rma::criteria,[no_such_column$eq1]"),
        ("grammar", "model::SectionDataSet,rma::criteria,[id$eq1"),
    ):
        looked = asked.ask.look(QUERY, {"criteria": text})
        answers.append(f"{what}: {looked.status}, {_said(looked)}")
    return Finding("pass", "; ".join(answers))


def beyond_last_tier(asked: Asked) -> Finding:
    """Ask for a tier that the image does not have."""
    tier = images_known()[known()["sync"]["image"]]["tier_count"]
    return Finding("pass", f"downsample {tier} of {tier} tiers: {_came(section_look(asked, tier))}")


def region_outside(asked: Asked) -> Finding:
    """Ask for a region that is not on the image."""
    looked = section_look(
        asked, known()["tier"], left=1_000_000, top=1_000_000, width=16, height=16
    )
    return Finding("pass", _came(looked))


def missing_mask(asked: Asked) -> Finding:
    """Ask for the mask of an image that has none: a plate of the Nissl atlas."""
    rows = asked.ask.rows(
        RMAParameters("AtlasImage", {"annotated": True}, order="sub_images.id", num_rows=1)
    )
    number = rows[0].get("id") if rows and isinstance(rows[0], Mapping) else None
    if not isinstance(number, int):
        return Finding("skipped", "There is no image of which that is known.")
    looked = asked.ask.look(
        f"/api/v2/section_image_download/{number}", {"downsample": 6, "view": "expression"}
    )
    return Finding("pass", f"Image {number}: {_came(looked)}")


def row_cap(asked: Asked) -> Finding:
    """Ask for many rows, to see how many one answer holds at most."""
    told = []
    for wanted, most in ((2001, 100_000), (25_001, 500_000)):
        if asked.ask.budget.left < most + 50_000:
            told.append(f"{wanted} were not asked for, to spare bytes")
            break
        query = RMAParameters(
            "SectionImage", num_rows=wanted, order="sub_images.id", only=["sub_images.id"]
        )
        looked = asked.ask.look(QUERY, {"criteria": query.text}, largest=most)
        if not looked.whole:
            told.append(f"{wanted} rows are longer than expected")
            break
        envelope = _envelope(looked)
        count = len(envelope["msg"]) if isinstance(envelope.get("msg"), list) else 0
        total = envelope.get("total_rows")
        told.append(f"{wanted} asked for, {count} of {total} came")
        if count < wanted:
            break
    return Finding("pass", "; ".join(told) + ".")


def posting(asked: Asked) -> Finding:
    """Post a question, to see whether that would do for long ones."""
    looked = asked.ask.look(
        QUERY,
        method="POST",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        content=b"criteria=model::PlaneOfSection",
    )
    rows = _envelope(looked).get("msg")
    answered = looked.status == 200 and isinstance(rows, list) and bool(rows)
    return Finding("pass", f"{'Yes' if answered else 'No'}: {looked.status}, {_said(looked)}")


def flip(asked: Asked) -> Finding:
    """Ask for the transform from space 10 to 9, which was inferred: r becomes 11400 − r."""
    rows = asked.ask.rows(
        RMAParameters(
            "ReferenceToReferenceTransform",
            {"from_reference_space_id": 10, "to_reference_space_id": 9},
        )
    )
    if not rows or not isinstance(rows[0], Mapping):
        return Finding("pass", "There is no such transform.")
    numbers = [rows[0].get(f"t_{k:02d}") for k in range(12)]
    wanted = [1, 0, 0, 0, 1, 0, 0, 0, -1, 0, 0, 11400]
    same = [n for n, one in enumerate(wanted) if not any(differences(one, numbers[n]))]
    told = ", ".join(map(shown, numbers))
    if len(same) == len(wanted):
        return Finding("pass", f"As inferred: {told}")
    found = list(differences(wanted, numbers, "t"))
    return Finding.of(
        found,
        told,
        "The package takes r to 11400 − r between these spaces, and nowhere else. " + REPORT,
    )


def tie(asked: Asked) -> Finding:
    """Ask for a point halfway between two sections, to see which is chosen."""
    import numpy as np

    facts = known()
    alignment = facts["dataset"]["alignment3d"]
    numbers = [alignment[f"trv_{k:02d}"] for k in range(12)]
    linear, shift = np.reshape(numbers[:9], (3, 3)), np.array(numbers[9:])
    first, second = sorted(row["section_number"] for row in images_known().values())[8:10]
    half = (first + second) / 2 * facts["dataset"]["section_thickness"]
    # the third coordinate alone, so that the sum is exact as far as it can be
    base = np.array([8000.0, 3000.0, 0.0])
    r = float((half - shift[2] - linear[2, :2] @ base[:2]) / linear[2, 2])
    envelope = asked.ask.envelope(
        "/api/v2/reference_to_image/10.json",
        {"x": 8000, "y": 3000, "z": r, "section_data_set_ids": facts["dataset"]["id"]},
    )
    msg = envelope["msg"]
    first_row = msg[0] if isinstance(msg, list) and msg else None
    sync = first_row.get("image_sync") if isinstance(first_row, Mapping) else None
    number = sync.get("section_number") if isinstance(sync, Mapping) else None
    ways = ((first, "the lower"), (second, "the higher"))
    which = next((way for one, way in ways if number == one), "another")
    return Finding("pass", f"Halfway between {first} and {second}: {which}, {shown(number)}.")


def headers(asked: Asked) -> Finding:
    """Look at an image's headers: length, hash, parts, conditions."""
    first = section_look(asked, known()["tier"])
    etag = first.headers.get("etag")
    modified = first.headers.get("last-modified")
    number = known()["sync"]["image"]
    path, params = f"/api/v2/section_image_download/{number}", {"downsample": known()["tier"]}
    part = asked.ask.look(path, params, headers={"Range": "bytes=0-99"})
    told = [
        f"Content-Length {'is sent' if first.length is not None else 'is not sent'}",
        f"ETag {etag}" if etag else "no ETag",
        f"Last-Modified {modified}" if modified else "no Last-Modified",
        "ranges are answered" if part.status == 206 else f"ranges: status {part.status}",
    ]
    condition = {"If-None-Match": etag} if etag else None
    condition = condition or ({"If-Modified-Since": modified} if modified else None)
    if condition:
        again = asked.ask.look(path, params, headers=condition)
        told.append(
            "conditional requests are answered"
            if again.status == 304
            else f"conditional requests: status {again.status}"
        )
    return Finding("pass", "; ".join(told) + ".")


def pyramid(asked: Asked) -> Finding:
    """Compare two tiers, to see whether pixels are averages of 2 × 2 finer ones, or one of them."""
    import numpy as np

    tier = known()["tier"]
    coarse = picture_of(section_look(asked, tier)).astype(float)
    fine = picture_of(section_look(asked, tier - 1)).astype(float)
    height, width = coarse.shape[0], coarse.shape[1]
    if fine.shape[0] < 2 * height or fine.shape[1] < 2 * width:
        return Finding("pass", f"Tier {tier - 1} is not twice as large as tier {tier}.")
    fine = fine[: 2 * height, : 2 * width]
    blocks = fine.reshape(height, 2, width, 2, 3)
    ways = {
        "averages of 2 × 2 pixels": blocks.mean(axis=(1, 3)),
        "the upper left of 2 × 2 pixels": blocks[:, 0, :, 0],
        "the lower right of 2 × 2 pixels": blocks[:, 1, :, 1],
    }
    off = {way: float(np.sqrt(np.mean((made - coarse) ** 2))) for way, made in ways.items()}
    best = min(off, key=off.__getitem__)
    others = ", ".join(f"{value:.1f}" for way, value in off.items() if way != best)
    return Finding("pass", f"{best} fit best: {off[best]:.1f} grey levels off (others {others}).")


def volume_sizes(asked: Asked) -> Finding:
    """Ask how large the volumes are as they are downloaded."""
    if asked.synthetic:
        return Finding("skipped", "Made-up volumes say nothing of the genuine ones.")
    told = []
    for name, path in (
        ("annotation", f"{CCF}/annotation/ccf_2017/annotation"),
        ("template", f"{CCF}/average_template/average_template"),
    ):
        sizes = []
        for resolution in (10, 25, 50, 100):
            looked = asked.ask.look(f"{path}_{resolution}.nrrd", host="archive", method="HEAD")
            length = looked.length if looked.status == 200 else None
            known_ = f"{length / 1e6:.1f} MB" if length is not None else f"({looked.status})"
            sizes.append(f"{resolution} µm {known_}")
        told.append(f"{name} {', '.join(sizes)}")
    return Finding("pass", "; ".join(told) + ".")


def space_names(asked: Asked) -> Finding:
    """Ask what the reference spaces 6 to 8 are called."""
    term = Term(None, (Filter.of("id", "$in", 6, 7, 8),))
    rows = asked.ask.rows(RMAParameters("ReferenceSpace", [term], order="reference_spaces.id"))
    told = ", ".join(
        f"{row.get('id')} {row.get('name')}" for row in rows if isinstance(row, Mapping)
    )
    return Finding("pass", told or "There are no rows.")


def quotes(asked: Asked) -> Finding:
    """Ask for a name with quotation marks, to see how they may be written."""
    told = []
    for way, name in (
        ("doubled", GENE_WITH_QUOTES.replace("'", "''")),
        ("with a backslash", GENE_WITH_QUOTES.replace("'", "\\'")),
        ("as it is", GENE_WITH_QUOTES),
    ):
        text = (
            f"model::Gene,rma::criteria,[name$eq'{name}'],"
            "rma::options[num_rows$eq1][only$eq'genes.id']"
        )
        looked = asked.ask.look(QUERY, {"criteria": text})
        rows = _envelope(looked).get("msg")
        count = f"{len(rows)} rows" if isinstance(rows, list) else "refused"
        told.append(f"{way}: {count}")
    return Finding("pass", "; ".join(told) + ".")


def rate_limit(statuses: list[int], limits: Mapping[str, str], seconds: float) -> Finding:
    """Say whether the service found that too much was asked for.

    Parameters
    ----------
    statuses : list of int
        Of all answers so far.
    limits : mapping
        Headers that tell of limits.
    seconds : float
        How long all that took.
    """
    refused = sum(status == 429 for status in statuses)
    told = f"{len(statuses)} requests in {seconds:.0f} s, {refused} answered with 429"
    if limits:
        told += "; " + ", ".join(f"{name}: {value}" for name, value in limits.items())
    return Finding("pass", told + ".")


def _envelope(looked: Look) -> dict[str, Any]:
    from atldld.fetch.answers import decode

    try:
        found = decode(looked.body)
    except (ValueError, AtldldError):
        return {}
    return found if isinstance(found, dict) else {}


def _said(looked: Look) -> str:
    """Return what an answer says, shortly."""
    envelope = _envelope(looked)
    if "success" in envelope:
        msg = envelope.get("msg")
        text = msg if isinstance(msg, str) else json.dumps(msg)
        return f"success {shown(envelope['success'])}, {text[:90]!r}"
    kind = looked.headers.get("content-type", "no type")
    return f"{kind}, {bytes(looked.body[:40])!r}"


def _came(looked: Look) -> str:
    """Return what came for an image."""
    if looked.status == 200 and looked.body[:2] == b"\xff\xd8":
        try:
            height, width = picture_of(looked).shape[:2]
        except AtldldError as error:
            return f"200, {error.message}"
        return f"200, a JPEG of {width} × {height} pixels."
    return f"{looked.status}, {_said(looked)}"
