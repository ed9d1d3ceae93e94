"""What is known of the service, as plain numbers; `tests/doctor/record.py` makes the file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

__all__ = ["images_known", "known", "world_of"]


@cache
def known() -> Mapping[str, Any]:
    """Return everything that is known."""
    text = files("atldld.doctor").joinpath("data", "known.json").read_text("utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def world_of(synthetic: bool) -> Mapping[str, Any]:
    """Return what is known of genuine pixels and structures, or of the demo brain's."""
    found: Mapping[str, Any] = known()["synthetic" if synthetic else "genuine"]
    return found


def images_known() -> dict[int, dict[str, Any]]:
    """Return what is known of each image of the data set, by id, with its alignment2d."""
    table = known()["images"]
    alignments = table["alignment2d"]
    found = {}
    for row, numbers in zip(table["rows"], alignments["rows"], strict=True):
        record = dict(zip(table["columns"], row, strict=True))
        record["alignment2d"] = dict(zip(alignments["columns"], numbers, strict=True))
        found[int(record["id"])] = record
    return found
