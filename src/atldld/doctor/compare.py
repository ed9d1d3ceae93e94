"""What came, compared with what is known: which field differs, and how."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from atldld.doctor.model import Difference

__all__ = ["differences", "rows_by_id", "shown"]

RELATIVE = 1e-9
"""Numbers agree within this part: they are stored with six digits, and sent as decimal numbers."""

_LONGEST = 48


def differences(known: Any, came: Any, at: str = "") -> Iterator[Difference]:
    """Yield what differs; what is not known is not looked at.

    Parameters
    ----------
    known : object
        Plain values. An object in which ``$from`` and ``$to`` stand is a range; one with ``$near``
        and ``$within`` a number with a tolerance; ``{"$is": "number"}`` a kind of value: number,
        text, boolean, list, object or null, or several with ``|`` between.
    came : object
        What was answered.
    at : str
        The field that they are of.
    """
    if isinstance(known, Mapping):
        if any(str(key).startswith("$") for key in known):
            yield from _constrained(known, came, at)
            return
        if not isinstance(came, Mapping):
            yield _differs(at, known, came, f"{_kind(came)} {shown(came)} instead of an object")
            return
        for key, value in known.items():
            place = f"{at}.{key}" if at else str(key)
            if key in came:
                yield from differences(value, came[key], place)
            else:
                yield _differs(place, value, None, f"missing{_renamed(known, key, came)}")
        return
    if isinstance(known, Sequence) and not isinstance(known, str):
        if not isinstance(came, Sequence) or isinstance(came, str):
            yield _differs(at, known, came, f"{_kind(came)} {shown(came)} instead of a list")
        elif len(came) != len(known):
            yield _differs(at, known, came, f"{len(came)} long instead of {len(known)}")
        else:
            for number, (one, other) in enumerate(zip(known, came, strict=True)):
                yield from differences(one, other, f"{at}[{number}]")
        return
    if not _same(known, came):
        yield _differs(at, known, came, f"{_typed(came, known)} instead of {_typed(known, came)}")


def rows_by_id(
    known: Mapping[Any, Mapping[str, Any]], rows: Sequence[Any], what: str
) -> Iterator[Difference]:
    """Yield what differs of rows that are distinguished by their id; their order does not count."""
    found = {row.get("id"): row for row in rows if isinstance(row, Mapping)}
    odd = [row for row in rows if not isinstance(row, Mapping)]
    if odd:
        yield _differs(what, "objects", odd[0], f"not all objects: one is {shown(odd[0])}")
    missing = sorted(set(known) - set(found))
    if missing:
        listed = ", ".join(map(str, missing[:3])) + (" …" if len(missing) > 3 else "")
        text = f"without {len(missing)} of {len(known)} ids ({listed})"
        yield _differs(what, sorted(known), [*found], text)
    more = [key for key in found if key not in known]
    if more:
        yield _differs(what, sorted(known), more, f"with {len(more)} ids more ({shown(more[0])})")
    for key, row in known.items():
        if key in found:
            yield from differences(row, found[key], f"{what} {key}")


def shown(value: Any) -> str:
    """Return a value as a sentence may quote it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.10g}"
    text = f'"{value}"' if isinstance(value, str) else repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _constrained(known: Mapping[str, Any], came: Any, at: str) -> Iterator[Difference]:
    if "$is" in known:
        wanted = str(known["$is"]).split("|")
        if _kind(came) not in wanted:
            text = f"{_kind(came)} {shown(came)} instead of {' or '.join(wanted)}"
            yield _differs(at, known["$is"], came, text)
        return
    if _kind(came) != "number":
        yield _differs(at, known, came, f"{_kind(came)} {shown(came)} instead of a number")
    elif "$near" in known:
        if not abs(came - known["$near"]) <= known["$within"]:
            text = f"{shown(came)} instead of {shown(known['$near'])} ± {shown(known['$within'])}"
            yield _differs(at, known["$near"], came, text)
    elif not known["$from"] <= came <= known["$to"]:
        low, high = known["$from"], known["$to"]
        text = f"{shown(came)} instead of {low}" + (f" to {high}" if low != high else "")
        yield _differs(at, [low, high], came, text)


def _same(known: Any, came: Any) -> bool:
    if _kind(known) != _kind(came):
        return False
    if isinstance(known, (int, float)) and not isinstance(known, bool):
        return math.isclose(known, came, rel_tol=RELATIVE, abs_tol=1e-30)
    return bool(known == came)


def _typed(value: Any, other: Any) -> str:
    """Return a value with its kind, where that is what differs."""
    same = _kind(value) == _kind(other)
    return shown(value) if same or value is None else f"the {_kind(value)} {shown(value)}"


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "text"
    return "object" if isinstance(value, Mapping) else "list"


def _renamed(known: Mapping[str, Any], key: str, came: Mapping[str, Any]) -> str:
    """Say which other key has the value of a missing one: it may have been renamed."""
    value = known[key]
    if isinstance(value, Mapping) and any(str(one).startswith("$") for one in value):
        return ""
    if value in (None, 0, 1, True, False):
        return ""  # as many things are
    for name, other in came.items():
        if name not in known and not any(differences(value, other)):
            return f" ({name} has its value)"
    return ""


def _differs(at: str, known: Any, came: Any, text: str) -> Difference:
    return Difference(at, known, came, f"{at or 'the answer'} is {text}")
