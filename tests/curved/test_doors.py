"""Registrations that are damaged, of something else or not whole, at every door that takes one."""

import json
import re
from dataclasses import replace
from hashlib import sha256

import msgspec
import numpy as np
import pytest

from atldld.api import open_dataset
from atldld.errors import AlignmentFileWarning, InvalidInputError
from atldld.place.coordinates import CCF, SERVICE
from atldld.place.registration import Registration
from tests.curved.doors import DATASET, DOORS, NAMES, brain, registration_of, typed, where

SLOW = {"report", "refine", "refine of many"}


@pytest.fixture(scope="module")
def dataset(demo_session):
    return brain(demo_session)


@pytest.fixture(scope="module")
def whole(dataset):
    """A registration of all sections."""
    return registration_of(dataset)


@pytest.fixture(scope="module")
def half(dataset):
    """A registration of every other section."""
    return registration_of(dataset, every=2)


@pytest.fixture
def run(at_demo_server, monkeypatch, capsys):
    """Run a command; return its status and what it says on standard error."""
    monkeypatch.setenv("ATLDLD_DOWNLOAD_URL", at_demo_server)

    def command(*arguments):
        from atldld.cli import main

        monkeypatch.setattr("sys.argv", ["atldld", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, capsys.readouterr().err

    return command


@pytest.fixture
def saved(tmp_path):
    """Write a registration under the name that batches look for, too."""

    def write(registration):
        return registration.save(tmp_path / "regs" / f"{DATASET}.json")

    return write


def test_no_door_is_missing():
    """Every command with such an option is among `DOORS`."""
    from atldld.cli import app

    found = set()

    def walk(command, words):
        if hasattr(command, "commands"):
            for name, inner in command.commands.items():
                walk(inner, [*words, name])
        elif any("--alignment" in option.opts for option in command.params):
            found.add(" ".join(words))

    walk(app, [])
    known = {" ".join(name.replace(" of many", "").split()) for name in NAMES}
    assert {name.removesuffix(" --datasets") for name in known} == found - {"align"}


# ---- damage


def edit(change):
    def damage(path):
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))

    return damage


def first(document):
    return next(iter(document["sections"].values()))


def curved_of(document):
    return next(one["deformation"] for one in document["sections"].values() if "deformation" in one)


def vouched_nan(path):
    """A field that holds no number, of which the JSON has the right hash."""
    document = json.loads(path.read_text())
    told = curved_of(document)["to_flat"]
    field = path.parent / told["file"]
    content = field.read_bytes()
    field.write_bytes(content[:-8] + np.array([np.nan]).tobytes())
    told["sha256"] = sha256(field.read_bytes()).hexdigest()
    path.write_text(json.dumps(document))


def cut_field(path):
    field = path.parent / curved_of(json.loads(path.read_text()))["to_image"]["file"]
    field.write_bytes(field.read_bytes()[: field.stat().st_size // 2])


def lose_fields(path):
    for field in path.with_suffix(".fields").iterdir():
        field.unlink()


DAMAGES = {
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:-200]), "JSON"),
    "empty": (lambda path: path.write_bytes(b""), "JSON"),
    "newer": (edit(lambda d: d.update(format_version=99)), "version 99"),
    "no sections": (edit(lambda d: d.pop("sections")), "does not say what a registration should"),
    "no matrix": (edit(lambda d: first(d).pop("reference_to_image")), "does not say what"),
    "not a number": (
        edit(lambda d: first(d)["image_to_reference"][1].__setitem__(1, float("nan"))),
        r"NaN|does not say what|JSON",
    ),
    "a field cut off": (cut_field, "its hash is another"),
    "a field of no numbers": (vouched_nan, "must be finite numbers"),
    "no fields": (lose_fields, "is not there"),
    "another data set": (edit(lambda d: d.update(dataset_id=5)), "of section data set 5, not of"),
    "strange images": (
        edit(lambda d: d["sections"].update({"7": first(d)})),
        "does not have, such as 7|has 1 images",
    ),
    "the demo brain's": (
        edit(lambda d: d["about"].update(synthetic="yes", atlas=7)),
        None,  # nonsense in what is only told does no harm
    ),
}


# what reads a file refuses it at every door alike; these are found out in different places
EVERYWHERE = {"cut off", "no fields", "another data set", "strange images"}
CASES = [
    pytest.param(door, damage, id=f"{door.name}: {damage}")
    for door in DOORS
    for damage, (_, says) in DAMAGES.items()
    if says and (door is DOORS[0] or damage in EVERYWHERE)
]


@pytest.mark.one_in(4)
@pytest.mark.parametrize(("door", "damage"), CASES)
def test_a_damaged_registration_is_one_sentence_and_nothing_is_written(
    door, damage, dataset, whole, saved, run, tmp_path
):
    change, says = DAMAGES[damage]
    path = saved(whole)
    change(path)
    words, out = typed(door, path, tmp_path, dataset)
    status, told = run(*words)
    assert status in ({1} if door.many else {2}), told
    assert "Traceback" not in told
    if door.many:
        told = "".join(journal.read_text() for journal in out.rglob("*.jsonl"))
    else:
        assert told.count("Error: ") == 1, told
        assert "\n" not in told[told.index("Error: ") :].strip()
    assert says
    assert re.search(says, told), told
    made = [file.name for file in out.rglob("*") if file.is_file()]
    assert set(made) <= ({"batch.jsonl", ".batch.jsonl.lock"} if door.many else set()), made


def test_nonsense_in_what_is_only_told_does_no_harm(whole, saved, demo_session):
    path = saved(whole)
    DAMAGES["the demo brain's"][0](path)
    opened = open_dataset(DATASET, session=demo_session, alignment=path)
    assert opened.alignment
    assert opened.alignment.target == "unknown"


def test_a_registration_of_the_demo_brain_is_not_for_genuine_data(dataset, whole):
    made = replace(whole, about={**whole.about, "synthetic": True})
    made.placements(dataset.record)
    genuine = msgspec.structs.replace(dataset.record, synthetic=False)
    with pytest.raises(InvalidInputError, match="SYNTHETIC demo brain, but section data set 909"):
        made.placements(genuine)


# ---- half of the sections


def test_sections_that_a_registration_lacks_stay_where_they_are(dataset, half, saved, demo_session):
    path = saved(half)
    with pytest.warns(AlignmentFileWarning, match="7 of the 14 placed images") as told:
        opened = open_dataset(DATASET, session=demo_session, alignment=path)
    assert len(told) == 1
    assert len(opened) == len(dataset)
    for section, before in zip(opened, dataset, strict=True):
        if section.id in half.sections:
            assert section.alignment == f"{DATASET}.json"
        else:
            assert section.alignment is None
            assert section.refinement is None
            np.testing.assert_array_equal(where(section), where(before))
            np.testing.assert_array_equal(section.placement.backward, before.placement.backward)


def test_images_that_nobody_places_are_not_missed(dataset, whole):
    lost = dataset.record.images[-1].id
    record = msgspec.structs.replace(
        dataset.record,
        images=tuple(
            msgspec.structs.replace(image, alignment2d=None) if image.id == lost else image
            for image in dataset.record.images
        ),
    )
    sections = {key: fit for key, fit in whole.sections.items() if key != lost}
    Registration(DATASET, sections, {}).placements(record)  # a warning would be an error


@pytest.mark.one_in(4)
@pytest.mark.parametrize(
    "door",
    [
        pytest.param(door, id=name, marks=pytest.mark.slow if name in SLOW else ())
        for door, name in zip(DOORS, NAMES, strict=True)
    ],
)
def test_half_of_the_sections_go_through_every_door(door, dataset, half, saved, run, tmp_path):
    path = saved(half)
    words, out = typed(door, path, tmp_path, dataset)
    status, told = run(*words)
    assert status == 0, told
    said = told.count("7 of the 14 placed images of section data set 909")
    assert said == 1 or (door.many and said <= 1), told
    told_by = [file for file in out.rglob("*") if file.suffix in {".json", ".mha", ".tif", ".svg"}]
    for file in told_by:
        # the fields beside a registration lie in the section's own mm
        inside = file.name == "batch.jsonl" or "atldld-fields" in file.name
        if not inside and file.parent.suffix != ".fields":
            content = file.read_bytes()
            assert CCF.encode() in content or SERVICE.encode() in content, file
    if "download" in door.name and not door.many:
        per_image = json.loads((out / "sections" / "metadata.json").read_text())["per_image"]
        placed = [entry.get("alignment") for entry in per_image.values()]
        assert placed.count(None) == placed.count(f"{DATASET}.json") == 7
    if door.name == "sync image-to-reference":
        rows = (out / "rows.csv").read_text().splitlines()[1:]
        assert len(rows) == 28
        assert sum(",CCFv3," in row for row in rows) == sum(",P56," in row for row in rows) == 14
