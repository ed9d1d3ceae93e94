"""One grammar for all commands: the kind of fault is an option that means something else elsewhere.

Most tests walk the whole tree of commands, so that a command that is added later is held to the
same rules.
"""

import csv
import io
import json
import re
from collections import defaultdict
from typing import Any

import click
import pytest
from click.testing import CliRunner

from atldld.cli import app
from atldld.cli.spelling import DEFAULTS, NO_JSON, OLD, modern
from atldld.errors import AtldldError, InvalidInputError, MissingFileError, OutputError

SECTION = 101321610
QUICK = ("--resolution", 400)
COARSE = ("--atlas-resolution", 100)
ATLAS = {"--atlas", "--atlas-resolution", "--annotation", "--graph", "--template"}

# Options that may differ between commands, in what, and why.
MAY_DIFFER = {
    # the files differ: pictures, volumes, drawings, fields
    "--format": {"kind", "default"},
    # an archive is looked for where it was, and a page is opened by the address that is printed
    "--port": {"default"},
}
SHORT = re.compile(r"-[a-zA-Z]")
# What `-i` and `--id` stand for is an id of whatever is searched for; both are of atldld 0.3.
SHORT_OF = {"-i": {"--image", "--id"}}


def leaves(command=None, path=()):
    """Yield every command that does something, with its whole name."""
    command = command or app
    inner = getattr(command, "commands", None)
    if inner is None:
        yield " ".join(path), command
        return
    for name in inner:
        yield from leaves(inner[name], (*path, name))


def options(command):
    return [one for one in command.params if isinstance(one, click.Option)]


def kind_of(option: Any) -> str:
    """What may be given: one of several is the same as one."""
    limits = getattr(option.type, "min", None), getattr(option.type, "max", None)
    return f"{type(option.type).__name__} {limits} {getattr(option.type, 'choices', None)}"


def meaning(option: Any) -> dict[str, object]:
    return {
        "kind": kind_of(option),
        "default": None if option.required else option.default or None,
        "help": (option.help or "").replace(" May be repeated.", ""),
    }


def test_an_option_means_the_same_in_every_command():
    known: dict[str, dict[str, dict[object, list[str]]]] = defaultdict(lambda: defaultdict(dict))
    for name, command in leaves():
        for option in options(command):
            for word in option.opts:
                if SHORT.fullmatch(word):
                    continue
                for what, value in meaning(option).items():
                    known[word][what].setdefault(value, []).append(name)
    different = {
        (word, what): values
        for word, facts in known.items()
        for what, values in facts.items()
        if len(values) > 1 and what not in MAY_DIFFER.get(word, ())
    }
    assert different == {}
    assert len(known) > 60


def test_a_letter_stands_for_one_word():
    words = defaultdict(set)
    for _, command in leaves():
        for option in options(command):
            long = [word for word in option.opts if word.startswith("--")]
            for letter in filter(SHORT.fullmatch, option.opts):
                words[letter].add(long[0])
    assert {letter: found for letter, found in words.items() if len(found) > 1} == SHORT_OF


def test_numbers_say_their_unit():
    unit = re.compile(r"µm|pixels|second|times|fraction|light|grid")
    for name, command in leaves():
        for option in options(command):
            if kind_of(option) == "float":
                assert unit.search(option.help or ""), (name, option.opts)


def test_what_takes_an_atlas_takes_all_of_it():
    taking = set()
    for name, command in leaves():
        words = {word for option in options(command) for word in option.opts}
        # fetching one names it as its argument
        if words & ATLAS and name != "atlas fetch":
            assert words >= ATLAS, name
            taking.add(name)
    assert taking == {
        *("align", "atlas outlines", "grid", "quality", "quantify", "refine", "report")
    }


def test_every_command_says_where_its_result_goes_and_how_it_talks():
    for name, command in leaves():
        words = {word for option in options(command) for word in option.opts}
        expected = {"-q", "--quiet", "-v", "--verbose"}
        if name not in NO_JSON:
            expected |= {"-o", "--output", "--json"}
        assert words >= expected, name


def test_old_spellings_are_of_commands_that_are_there():
    there = dict(leaves())
    for name, old in OLD.items():
        words = {word for option in options(there[name]) for word in option.opts}
        assert set(old.values()) <= words, name
        assert not set(old) & words, name
    assert set(DEFAULTS) <= {name.partition(" ")[0] for name in there}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["a", "--limit", "5"], ["a", "--max-move", "5"]),
        (["--limit=5"], ["--max-move=5"]),
        (["-s", "DG"], ["--structure", "DG"]),
        (["-sDG"], ["--structure=DG"]),
        (["--limits", "--", "--limit"], ["--limits", "--", "--limit"]),
        (["-o", "x", "-"], ["-o", "x", "-"]),
    ],
)
def test_old_words_become_new_ones(words, expected):
    assert modern(words, {"--limit": "--max-move", "-s": "--structure"}) == expected


# ---- what is typed


@pytest.fixture
def run(at_demo_server, tmp_path, monkeypatch):
    """Run a command in an empty folder that must end well, or in an error of the package."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, error=None, status=0):
        result = CliRunner().invoke(app, [str(one) for one in arguments])
        if error is None:
            assert result.exit_code == status, (result.output, result.exc_info)
            return result
        assert isinstance(result.exception, error), (result.output, result.exc_info)
        return str(result.exception)

    return run


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*"))


@pytest.mark.parametrize(
    "words",
    [
        ("download", "909", "OUT"),
        ("download", "909", "-o", "OUT"),
        ("download", "-o", "OUT", "909"),
        ("download", "Demo:coronal", "OUT"),
        ("download", "https://mouse.brain-map.org/experiment/show/909?popup=true", "OUT"),
        ("download", "dataset", "909", "OUT"),
        ("download", "dataset", "Demo", "--output", "OUT"),
    ],
)
def test_download_as_people_type_it(run, tmp_path, words):
    told = run(*(str(tmp_path / "o") if one == "OUT" else one for one in words), *QUICK)
    assert "14 sections written" in told.stderr
    assert json.loads((tmp_path / "o" / "metadata.json").read_text("utf-8"))["dataset_id"] == "909"


def test_download_of_a_word_that_is_nearly_a_command(run):
    told = run("download", "datset", "909", "out", status=2)
    assert "No such command 'datset'" in told.stderr
    assert "dataset" in told.stderr


@pytest.mark.usefixtures("at_demo_server")
def test_several_data_sets_are_another_command():
    import os
    import subprocess
    import sys

    words = [sys.executable, "-m", "atldld", "download", "909", "71717084", "out"]
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ, timeout=500)
    assert done.returncode == 2
    assert "Several data sets are for `atldld download datasets`." in done.stderr


def test_a_place_is_said_once(run):
    for words in (
        ("download", "dataset", 909, "a", "-o", "b"),
        ("export", "fields", 909, "a", "-o", "b"),
        ("export", "sections", 909, "a", "-o", "b"),
        ("cache", "export", "a", "-o", "b"),
        ("demo", "a", "-o", "b"),
    ):
        assert "say where the result goes" in run(*words, error=InvalidInputError)
    for call in (
        ("download", "dataset", 909),
        ("download", "datasets", 909),
        ("download", "image", SECTION),
        ("export", "fields", 909),
        ("cache", "export"),
    ):
        assert "Give -o" in run(*call, error=InvalidInputError)


def test_both_spellings_of_a_place(run, tmp_path):
    run("export", "fields", 909, "a", *QUICK)
    run("export", "fields", 909, "-o", "b", *QUICK)
    assert files(tmp_path / "a") == files(tmp_path / "b") != []
    run("download", "image", SECTION, SECTION + 1, "c", "--downsample-img", 4)
    run("download", "image", SECTION, SECTION + 1, "-o", "d", "--downsample-img", 4)
    assert files(tmp_path / "c") == files(tmp_path / "d")
    assert len(files(tmp_path / "c")) == 2
    run("cache", "export", "a.zip")
    run("cache", "export", "-o", "b.zip")
    assert (tmp_path / "b.zip").exists()


def test_several_files_do_not_go_to_standard_output(run):
    for words in (
        ("download", 909, "-"),
        ("download", 909, "-o", "-"),
        ("download", "image", SECTION, "-o", "-"),
        ("export", "fields", 909, "-o", "-"),
        ("export", "sections", 909, "-o", "-"),
        ("volume", 909, "-o", "-"),
        ("refine", 909, "-o", "-"),
        ("grid", 909, "-o", "-"),
        ("atlas", "outlines", 909, "-o", "-"),
        ("atlas", "plates", "-o", "-"),
        ("cache", "export", "-o", "-"),
        ("demo", "-o", "-"),
    ):
        assert "cannot go to standard output" in run(*words, error=InvalidInputError), words


def test_one_file_goes_to_standard_output(run, tmp_path):
    table = run("quality", 909, "--no-atlas", "--quality-resolution", 200, "-o", "-").stdout
    assert len(list(csv.DictReader(io.StringIO(table)))) == 14
    stained = ("--stain-threshold", 0.3, "--table-resolution", 200, *COARSE)
    table = run("quantify", 909, *stained, "-o", "-").stdout
    assert {"acronym", "hemisphere"} <= set(next(csv.DictReader(io.StringIO(table))))
    assert json.loads(run("export", "quicknii", 909, "-o", "-").stdout)["slices"]
    assert run("dataset", "preview", 909, "-o", "-").stdout_bytes.startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == [tmp_path / "cache"]


def test_a_picture_may_have_a_name(run, tmp_path):
    assert run("dataset", "preview", 909, "-o", "a.png").stdout.strip() == "a.png"
    assert (tmp_path / "a.png").exists()
    assert "is there already" in run(
        "dataset", "preview", 71717084, "-o", "a.png", error=OutputError
    )
    told = run("dataset", "preview", 909, "--output-dir", "p").stdout
    assert told.strip().endswith("dataset-id-909-preview.png")


def test_what_is_printed_may_go_to_a_file(run, tmp_path):
    printed = run("search", "gene", "*").stdout
    assert run("search", "gene", "*", "-o", "genes.txt").stdout == "genes.txt\n"
    assert (tmp_path / "genes.txt").read_text("utf-8") == printed
    run("search", "gene", "*", "-o", "genes.csv")
    with (tmp_path / "genes.csv").open(encoding="utf-8", newline="") as file:
        assert "Prox1" in {row["acronym"] for row in csv.DictReader(file)}
    run("search", "gene", "*", "-o", "genes.json")
    assert json.loads((tmp_path / "genes.json").read_text("utf-8"))["command"] == "search gene"
    assert "is there already" in run("search", "gene", "*", "-o", "genes.txt", error=OutputError)
    run("search", "gene", "Pdyn", "-o", "genes.txt", "--force")
    assert "Prox1" not in (tmp_path / "genes.txt").read_text("utf-8")
    before = (tmp_path / "genes.txt").read_bytes()
    run("search", "gene", "nothing", "-o", "genes.txt", "--force", error=AtldldError)
    assert (tmp_path / "genes.txt").read_bytes() == before


# ---- sections by number


def test_images_by_section_number(run, tmp_path):
    found = json.loads(run("search", "image", "-d", 909, "--json").stdout)["result"]["rows"]
    numbers = {row["section_number"]: row["id"] for row in found}
    first, second, *_, last = sorted(numbers)
    tier = ("--downsample-img", 4)
    run("download", "image", "-d", 909, "--section", second, "-o", "a", *tier)
    assert files(tmp_path / "a") == [f"{numbers[second]}-4.png"]
    run("download", "image", "-d", "Demo", "--section", f"{first}-{second},{last}", "b", *tier)
    assert len(files(tmp_path / "b")) == 3
    listed = run("search", "image", "-d", 909, "--section", f"{first},{last}", "--ids").stdout
    assert listed.split() == [str(numbers[first]), str(numbers[last])]
    told = run("download", "image", "-d", 909, "--section", 9999, "c", error=InvalidInputError)
    assert "There is no section 9999 in section data set 909" in told
    assert "name it with --dataset" in run(
        "download", "image", SECTION, "--section", 5, "c", error=InvalidInputError
    )
    page = f"http://mouse.brain-map.org/experiment/siv?id=909&imageId={numbers[last]}"
    run("download", "image", page, "-o", "d", *tier)
    assert files(tmp_path / "d") == [f"{numbers[last]}-4.png"]


def test_outlines_by_section_number(run, tmp_path):
    options = (*COARSE, "--resolution", 200)
    run("atlas", "outlines", 909, "-o", "a", "--image", SECTION, *options)
    (drawing,) = files(tmp_path / "a")
    found = json.loads(run("dataset", "info", 909, "--json").stdout)["result"]["sections"]
    (number,) = [one["section_number"] for one in found if one["image_id"] == SECTION]
    run("atlas", "outlines", 909, "-o", "b", "--section", number, *options)
    assert files(tmp_path / "b") == [drawing]
    run("atlas", "outlines", 909, "-o", "c", "--section", number, "-i", SECTION + 1, *options)
    assert len(files(tmp_path / "c")) == 2
    told = run("atlas", "outlines", 909, "-o", "d", "--section", 9999, error=InvalidInputError)
    assert "nearest is" in told


def test_pixels_of_a_section_by_its_number(run, tmp_path):
    (tmp_path / "in.csv").write_text("image_id,x,y\n101321611,2000,2000\n")
    found = json.loads(run("dataset", "info", 909, "--json").stdout)["result"]["sections"]
    (number,) = [one["section_number"] for one in found if one["image_id"] == SECTION]
    by_id = run("sync", "image-to-image-2d", "in.csv", "-i", SECTION).stdout
    by_number = run("sync", "image-to-image-2d", "in.csv", "-d", 909, "--section", number).stdout
    assert by_number == by_id
    for words in ((), ("-d", 909), ("-i", SECTION, "-d", 909), ("--section", number)):
        told = run("sync", "image-to-image-2d", "in.csv", *words, error=InvalidInputError)
        assert "One image is needed" in told


# ---- the atlas


def test_an_atlas_of_ones_own_in_every_command(run, tmp_path):
    """`quality` and `report` once refused it; what is not there is said before the service is."""
    for words in (
        ("quality", 909),
        ("quantify", 909),
        ("report", 909),
        ("refine", 909, "-o", "reg.json"),
        ("atlas", "outlines", 909, "-o", "out"),
        ("grid", 909, "--regions"),
    ):
        for option in ("--annotation", "--graph"):
            told = run(*words, option, "nowhere.nrrd", "--offline", error=MissingFileError)
            assert "nowhere.nrrd" in told, words
        told = run(*words, "--template", "mine.nrrd", "--offline", error=InvalidInputError)
        assert "annotation" in told, words


@pytest.mark.long
def test_quality_and_report_use_it(run, tmp_path):
    import nrrd
    import numpy as np

    labels = np.zeros((66, 40, 57), np.uint32)
    labels[5:60, 5:35, 5:52] = 997
    grey = labels.astype(np.uint16)
    for name, volume in (("a.nrrd", labels), ("t.nrrd", grey)):
        header = {"space": "left-posterior-superior", "space directions": np.eye(3) * 200}
        nrrd.write(str(tmp_path / name), volume, header)
    own = ("--annotation", "a.nrrd", "--template", "t.nrrd")
    told = run("quality", 909, "--quality-resolution", 200, *own, "--json").stdout
    assert json.loads(told)["result"]["atlas"] == "a.nrrd"
    report = ("report", 909, *QUICK, "--table-resolution", 200, "--no-volume", "-o", "r.html")
    told = run(*report, *own, "--json").stdout
    assert json.loads(told)["result"]["without_atlas"] is None
    assert "a.nrrd" in (tmp_path / "r.html").read_text("utf-8")


# ---- lists


def test_lists_of_data_sets_as_people_have_them(run, tmp_path):
    (tmp_path / "ids.txt").write_text(
        "909  # by id\nhttps://mouse.brain-map.org/experiment/show/909\nDemo:coronal\nsomething\n"
    )
    told = run("download", "datasets", "ids.txt", "-o", "out", "--dry-run", "--json", status=1)
    found = json.loads(told.stdout)
    assert found["result"]["estimate"]["data_sets"] == 1
    assert not found["complete"]
    assert [one for one in found["result"]["not_ids"] if "something" in one]
    told = run("download", "datasets", "909,Pdyn:coronal", "out", "--dry-run", "--json").stdout
    assert json.loads(told)["result"]["estimate"]["data_sets"] == 2
    assert "as a gene it names none" in run(
        "download", "datasets", "nosuchgene", "out", error=InvalidInputError
    )
    run("download", "image", SECTION, "-o", "i", "--downsample-img", 4)
    for one in (909, 71717084):
        run("dataset", "info", one)
    run("cache", "export", "-o", "a.zip", "--datasets", "Demo:coronal,71717084")
    assert "1 image removed" in run("cache", "prune", "-d", "Demo").stderr
