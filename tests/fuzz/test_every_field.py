"""Every field of every recorded answer made odd: right, or one sentence; never a wrong number.

A field is dropped, null, empty, a text for a number or a number for a text, a list for an object,
huge, or what some would read as a number ("NaN", "1_0", true). What the client makes of the answer
then must be what it makes of the sound one, or lack what the odd field says (it counts as unknown),
or be a sentence of the package's own that names the field, what came, and `atldld doctor`.
"""

import itertools
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from atldld.errors import AtldldError
from atldld.support.fields import quoted
from tests.conftest import GENUINE, SHARED
from tests.fuzz.answers import (
    MISSING,
    Mutation,
    Outcome,
    asked,
    envelope,
    mutations,
    outcome,
    placed,
)

SAMPLE = 220  # of each answer, by default
SEED = 16


@dataclass(frozen=True)
class Answer:
    """A recorded answer, and what reads it.

    Attributes
    ----------
    name : str
        Of the test.
    document : object
        The answer, sound.
    read : callable
        Takes a document and a folder for a cache.
    optional : bool
        Whether what was left out is said by nothing else than its absence: searches list what is
        there.
    """

    name: str
    document: Any
    read: Callable[[Any, Any], Any]
    optional: bool = False


# ---- readers


def _dataset(number):
    def read(document, cache):
        def answer(question):
            return envelope(document["images" if "SectionImage" in question else "data sets"])

        return placed(asked(answer, cache), number)

    return read


def _envelope_of_images(records):
    """The envelope of an answer with two pages of rows."""
    number = records["section_data_set"]["id"]

    def read(document, cache):
        def answer(question):
            if "SectionImage" not in question:
                return envelope([records["section_data_set"]])
            return document

        return placed(asked(answer, cache), number)

    return read


def _pages(document, cache):
    """Rows of which there are more than one page: none may be lost in silence."""
    from atldld.rma.query import RMAParameters

    rows = [{"id": number} for number in range(1, 5001)]

    def answer(question):
        start = int(question.partition("[start_row$eq")[2].partition("]")[0] or 0)
        part = rows[start : start + 2000]
        page = {**envelope(part), "total_rows": len(rows), "start_row": start}
        if start == 0:
            changed = {key: value for key, value in page.items() if key in document}
            page = changed | {k: v for k, v in document.items() if v != "as it is"}
        return page

    session = asked(answer, cache)
    found = session.answer(RMAParameters("Gene", order="genes.id"), refresh=True)["rows"]
    return {f"row {row['id']}": True for row in found}


def _one_image(document, cache):
    from atldld.records import SectionImage

    session = asked(lambda _: envelope(document), _new(cache))
    image = SectionImage.from_record(session.image_record(1))
    alignment = image.check_alignment()
    return {
        "id": image.id,
        "data set": image.data_set_id,
        "size": (image.width, image.height),
        "number": image.section_number,
        "tsv": alignment.tsv,
        "tvs": alignment.tvs,
    }


def _new(cache):
    """Return a folder that no answer is kept in."""
    return cache / str(next(_NUMBERS))


_NUMBERS = itertools.count()


def _centres(document, cache):
    from atldld.formats.points import _centers

    rows = asked(lambda _: envelope(document), cache).query("StructureCenter", {}, refresh=True)
    return {f"centre {one.structure_id}": (one.x, one.y, one.z) for one in _centers(rows)}


def _unionizes(document, cache):
    from atldld.regions.quantify import structure_unionizes

    rows = structure_unionizes(asked(lambda _: envelope(document), _new(cache)), 5)
    names = ("sum_expressing_pixels", "sum_expressing_pixel_intensity")
    return {
        f"structure {number}": {
            "density": row.get("expression_density"),
            "energy": row.get("expression_energy"),
            **{name: row.get(name) for name in names},
        }
        for number, row in rows.items()
    }


def _plates(document, cache):
    from atldld.atlas.plates import list_plates

    plates = list_plates(asked(lambda _: envelope(document), cache), refresh=True)
    return {
        f"plate {plate.id}": (
            plate.image.section_number,
            plate.image.width,
            plate.image.height,
            plate.image.check_alignment().tsv,
        )
        for plate in plates
    }


def _atlas(document, cache):
    from atldld.formats.points import atlas_plates

    def answer(question):
        return envelope(document["plates" if "AtlasImage" in question else "atlas"])

    whole = atlas_plates(asked(answer, _new(cache)), 100048576)
    alignment, thickness = whole.check_alignment()
    found: dict[str, Any] = {"tvr": alignment.tvr, "trv": alignment.trv, "thickness": thickness}
    for image in whole.images:
        if image.alignment2d is not None:
            found[f"plate {image.id}"] = (image.section_number, image.alignment2d)
    return found


def _graph(document, cache):
    from atldld.atlas.open import fetch_graph

    graph = fetch_graph(asked(lambda _: document, cache), refresh=True)
    return {
        f"structure {one.id}": (
            # where there is none, its id stands for it, and white for a colour
            None if one.acronym == str(one.id) else one.acronym,
            None if one.name == str(one.id) else one.name,
            one.parent_id,
            None if one.color == "FFFFFF" else one.color,
            one.depth,
        )
        for one in graph
    }


def _search(kind, model, **filters):
    def read(document, cache):
        from atldld import find

        def answer(question):
            return envelope(document if f"model::{model}," in question else [])

        session = asked(answer, cache)
        found = find.search(kind, session=session, live=True, refresh=True, **filters)
        # without an id, there is a negative one
        return {f"{kind} {n}": _plain(row) for n, row in enumerate(found)}

    return read


def _plain(row):
    import msgspec

    found = msgspec.to_builtins(row)
    return found | {"id": found["id"] if found["id"] > 0 else None}


# ---- the answers


def _demo() -> dict[str, Any]:
    from atldld.demo.archive import DemoArchive

    return dict(DemoArchive().tables())


def _bare(record, *names):
    return {key: value for key, value in record.items() if key not in names}


def answers() -> Iterator[Answer]:
    """Every answer that the package asks for, of the demo archive and of genuine records."""
    tables = json.loads(
        json.dumps({k: list(v)[:6] if k == "StructureUnionize" else v for k, v in _slim().items()})
    )
    for record in tables["SectionDataSet"]:
        images = record["section_images"]
        own = {"data sets": [_bare(record, "section_images")], "images": images[:3]}
        yield Answer(f"data set {record['id']}", own, _dataset(record["id"]))
    first = tables["SectionDataSet"][0]
    records = {"section_data_set": _bare(first, "section_images")}
    whole = envelope(first["section_images"][:3])
    yield Answer("envelope", {**whole}, _envelope_of_images(records))
    pages = dict.fromkeys(("success", "id", "start_row", "msg"), "as it is")
    yield Answer("pages", {**pages, "num_rows": 2000, "total_rows": 5000}, _pages)
    image = _bare(tables["SectionImage"][0], "data_set", "section_data_set")
    yield Answer("image", [image], _one_image)
    yield Answer("centres", tables["StructureCenter"][:5], _centres)
    yield Answer("unionizes", tables["StructureUnionize"], _unionizes)
    yield Answer("plates", tables["AtlasImage"], _plates)
    atlas = {"atlas": tables["AtlasDataSet"], "plates": tables["AtlasImage"]}
    yield Answer("atlas", atlas, _atlas)
    from atldld.demo.atlas import structure_graph

    yield Answer("graph", json.loads(structure_graph()), _graph)
    found = [_bare(one, "section_images", "alignment3d") for one in tables["SectionDataSet"]]
    searched = _search("dataset", "SectionDataSet", gene="Prox1", failed=True)
    yield Answer("search dataset", found[:1], searched, True)
    yield Answer("search gene", tables["Gene"][:1], _search("gene", "Gene", name="Prox1"), True)
    yield Answer(
        "search structure",
        tables["Structure"][:2],
        _search("structure", "Structure", name=tables["Structure"][0]["name"]),
        True,
    )
    if SHARED.is_dir():
        yield from _genuine()


def _slim():
    tables = _demo()
    return {name: tables[name] for name in (
        "SectionDataSet", "SectionImage", "StructureCenter", "StructureUnionize", "AtlasImage",
        "AtlasDataSet", "Gene", "Structure",
    )}  # fmt: skip


def _genuine() -> Iterator[Answer]:
    for number in GENUINE:
        records = json.loads((SHARED / "datasets" / f"{number}.json").read_text())
        own = {"data sets": [records["section_data_set"]], "images": records["section_images"][:3]}
        yield Answer(f"genuine {number}", own, _dataset(number))


# ---- what may become of them

RIGHT, UNKNOWN, SAID, LEFT_OUT = "right", "unknown", "a sentence", "left out, with a sentence"


def verdict(answer: Answer, mutation: Mutation, base: Any, found: Outcome) -> str:
    """Say what became of an odd answer; what must not become of it is an assertion."""
    where = f"{answer.name}: {mutation.kind} at {'.'.join(map(str, mutation.path))}"
    if found.error is not None:
        assert isinstance(found.error, AtldldError), f"{where}: {found.error!r}"
        _check_sentence(mutation, str(found.error), where)
        return SAID
    if found.value == base:
        return RIGHT
    lost = [key for key in base if key not in found.value]
    more = [key for key in found.value if key not in base]
    assert not more, f"{where}: {more[:3]} came from nowhere"
    unknown = False
    for key in set(base) - set(lost):
        unknown |= _is_less(base[key], found.value[key], f"{where}: {key}")
    if lost and not answer.optional:
        _check_sentence(mutation, found.told, where)
        return LEFT_OUT
    return UNKNOWN if unknown or lost else RIGHT


def _is_less(known: Any, came: Any, where: str) -> bool:
    """Whether a value says less than it should; another value is wrong."""
    if known == came and type(known) is type(came):
        return False
    if isinstance(known, dict) and isinstance(came, dict):
        return sum(_is_less(known[k], came.get(k), f"{where}.{k}") for k in known) > 0
    if isinstance(known, tuple | list) and isinstance(came, tuple | list):
        if set(came) <= set(known):  # in whatever order
            return True
        assert len(known) == len(came), f"{where} is {came!r} instead of {known!r}"
        pairs = zip(known, came, strict=True)
        return sum(_is_less(a, b, where) for a, b in pairs) > 0
    nothing = came is None or (came in (False, "unknown", (), [], 0) and not _is_number(known))
    assert nothing, f"{where} is {came!r} instead of {known!r}"
    return True


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check_sentence(mutation: Mutation, told: str, where: str) -> None:
    names = [str(key) for key in mutation.path if isinstance(key, str)]
    if isinstance(mutation.path[-1], int) or mutation.path == ("msg",):
        names += ["row", "record", "id"]
    assert any(name in told for name in names), f"{where} is not named: {told}"
    assert "atldld doctor" in told, f"{where}: {told}"
    came = mutation.came
    words: tuple[str, ...]
    if came is MISSING or came is None or came in ("", [], {}, ()):
        words = ("missing", "null", " no ", "instead of", "no such gene", quoted(came), "promised")
    else:
        words = (quoted(came), repr(came), "contradicts itself", "no such gene")
        words += ("null",) if mutation.kind == "null in it" else ()
        words += ("instead of", "promised") if mutation.path == ("msg",) else ()
    assert any(word in told for word in words), f"{where}: what came is not said: {told}"


def _tried(answer: Answer, sample: int | None, cache: Any) -> Counter[str]:
    base = outcome(lambda: answer.read(answer.document, cache / "sound"))
    assert base.error is None, base.error
    assert base.value
    listed = [
        one for one in mutations(answer.document) if one.path[0] not in CONTAINERS or one.path[1:]
    ]
    if sample is not None and sample < len(listed):
        listed = random.Random(SEED).sample(listed, sample)
    found: Counter[str] = Counter()
    wrong: list[str] = []
    for mutation in listed:
        made = outcome(partial(answer.read, mutation(answer.document), cache / "odd"))
        try:
            found[verdict(answer, mutation, base.value, made)] += 1
        except AssertionError as error:
            wrong.append(str(error).split("\nassert")[0])
    told = ", ".join(f"{number} {name}" for name, number in sorted(found.items()))
    print(f"\n{answer.name}: {len(listed)} odd answers: {told}, {len(wrong)} wrong")
    assert not wrong, "\n".join(wrong[:25])
    return found


CONTAINERS = ("data sets", "images", "atlas", "plates")
"""Names of this test's own, which no answer has."""

ANSWERS = list(answers())
BY_NAME = {answer.name: answer for answer in ANSWERS}


@pytest.mark.long
@pytest.mark.parametrize("name", BY_NAME)
def test_an_odd_field_makes_no_wrong_number(name, tmp_path):
    _tried(BY_NAME[name], SAMPLE, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", BY_NAME)
def test_every_field_in_every_way(name, tmp_path):
    _tried(BY_NAME[name], None, tmp_path)


def test_there_are_enough_of_them():
    """Two thousand were asked for; a rule that is emptied by mistake would be noticed here."""
    numbers = {answer.name: len(list(mutations(answer.document))) for answer in ANSWERS}
    print(numbers, sum(numbers.values()))
    assert sum(numbers.values()) >= 5000
    assert sum(min(number, SAMPLE) for number in numbers.values()) >= 2000
