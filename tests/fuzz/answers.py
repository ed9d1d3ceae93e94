"""Recorded answers of the service, each with how the client reads it; and every field made odd.

A reader is a function of documents (the answer's rows, or its whole envelope) that returns what the
client makes of them, as plain values that can be compared. What it warned of comes along.
"""

import copy
import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from atldld.fetch.limits import Limits
from atldld.fetch.session import Session
from atldld.settings import Settings

Path = tuple[Any, ...]

HUGE = (10**30, 1e300)
ODD = ("NaN", "inf", "1_0", "nan")


class Missing:
    """Stands for a field that is not there."""

    def __repr__(self):
        return "missing"


MISSING = Missing()


@dataclass(frozen=True)
class Mutation:
    """One field of one answer, made odd.

    Attributes
    ----------
    path : tuple
        Keys and places that lead to the field.
    came : object
        What stands there instead.
    kind : str
        How it was made.
    """

    path: Path
    came: Any
    kind: str

    @property
    def field(self) -> str:
        """The innermost name on the way."""
        return next((str(key) for key in reversed(self.path) if isinstance(key, str)), "")

    def __call__(self, document: Any) -> Any:
        """Return a document of which that field is odd; the rest is shared."""
        return _with(document, self.path, self.came)


def _with(document: Any, path: Path, value: Any) -> Any:
    changed = copy.copy(document)
    key, *rest = path
    if rest:
        changed[key] = _with(document[key], tuple(rest), value)
    elif value is not MISSING:
        changed[key] = value
    elif isinstance(changed, list):
        changed.pop(key)
    else:
        del changed[key]
    return changed


def fields(document: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield every field of a document, objects and lists too."""
    items: Any = ()
    if isinstance(document, dict):
        items = document.items()
    elif isinstance(document, list):
        items = enumerate(document)
    for key, value in items:
        yield (*path, key), value
        yield from fields(value, (*path, key))


def mutations(document: Any) -> Iterator[Mutation]:
    """Yield every field made odd in every way."""
    for path, value in fields(document):
        ways: dict[str, Any] = {"drop": MISSING, "null": None, "empty text": ""}
        if isinstance(path[-1], int):
            del ways["drop"]  # a shorter list is another sound answer
        if isinstance(value, bool):
            ways |= {"text": str(value).lower(), "number": int(value), "word": "perhaps"}
        elif isinstance(value, (int, float)):
            ways |= {"text": str(value), "word": "abc", "flag": True}
            ways |= {f"huge {n}": huge for n, huge in enumerate(HUGE)}
            ways |= {f"odd {n}": odd for n, odd in enumerate(ODD)}
            ways |= {"minus huge": -1e300, "list": [value], "object": {"value": value}}
        elif isinstance(value, str):
            ways |= {"number": 5, "huge": HUGE[0], "list": [value], "object": {"name": value}}
            ways |= {"flag": True}
        elif isinstance(value, dict):
            ways |= {"list": [value], "empty list": [], "empty": {}, "text": "x", "number": 5}
        elif isinstance(value, list):
            ways |= {"empty": [], "text": "x", "number": 5, "flag": False}
            ways |= {"object": value[0] if value and isinstance(value[0], dict) else {"a": 1}}
            ways |= {"null in it": [None, *value]}
        else:
            # not a number: where there may be none, one is another sound answer
            ways |= {"word": "abc", "list": [5]}
        if path[-1] == "children":
            del ways["empty"]  # a smaller graph; that of the Allen Institute is known by its hash
        for kind, came in ways.items():
            if came is MISSING or came != value or type(came) is not type(value):
                yield Mutation(path, came, kind)


# ---- how they are read


def asked(answer: Callable[[str], Any], cache, url="http://odd.invalid") -> Session:
    """Return a session whose queries a function answers: it takes the model, and gives all."""

    def respond(request: httpx.Request) -> httpx.Response:
        criteria = request.url.params.get("criteria", "")
        document = answer(criteria or request.url.path)
        return httpx.Response(200, content=json.dumps(document).encode())

    settings = Settings(api_url=url, download_url=url, cache_dir=cache)
    limits = Limits(attempts=1, first_wait=0)
    return Session(settings, limits=limits, transport=httpx.MockTransport(respond))


def envelope(rows: list[Any]) -> dict[str, Any]:
    count = len(rows)
    return {
        "success": True,
        "id": 0,
        "start_row": 0,
        "num_rows": count,
        "total_rows": count,
        "msg": rows,
    }


@dataclass(frozen=True)
class Outcome:
    """What the client made of an answer.

    Attributes
    ----------
    value : object
        Plain values; `None` where an error ended it.
    error : BaseException or None
        What it raised.
    told : str
        All that it warned of.
    """

    value: Any
    error: BaseException | None
    told: str


def outcome(read: Callable[[], Any]) -> Outcome:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        value, error = None, None
        try:
            value = read()
        except BaseException as raised:
            error = raised
    return Outcome(value, error, " ".join(str(one.message) for one in caught))


def _floats(values) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def placed(session: Session, dataset_id: int) -> dict[str, Any]:
    """Everything that is made of a data set's records: where each section lies, and how large."""
    from atldld.place.placement import Placement
    from atldld.place.sections import PlacedDataSet
    from atldld.sections.open import report_oddities

    dataset = session.dataset(dataset_id, refresh=True)
    whole = PlacedDataSet.of(dataset)
    report_oddities(whole, session)
    found: dict[str, Any] = {
        "id": dataset.id,
        "plane": dataset.plane_of_section_id,
        "space": dataset.reference_space_id,
        "thickness": dataset.section_thickness,
        "failed": dataset.failed,
        "synthetic": dataset.synthetic,
        "specimen": dataset.specimen_name,
        "genes": tuple(gene.acronym for gene in dataset.genes if gene.acronym),
        "entrez": tuple(gene.entrez_id for gene in dataset.genes if gene.entrez_id),
    }
    for section in whole.sections:
        image = section.image
        at = Placement.of(dataset, image)
        found[f"image {image.id}"] = {
            "number": image.section_number,
            "size": (image.width, image.height),
            "corner": (image.x, image.y),
            "tiers": image.highest_downsample,
            "pixel": image.resolution,
            "mask": image.has_expression_mask,
            "forward": _floats(at.forward.ravel()),
            "backward": _floats(at.backward.ravel()),
        }
    return found
