"""`atldld search`: tables, JSON, CSV and ids on standard output, everything else beside it."""

import csv
import io
import json
import re

import pytest
from click.testing import CliRunner

from atldld.cli import app
from atldld.cli.codes import code_of
from atldld.errors import AtldldError

PROX1, PDYN, PAGE = "69289763", "71717084", "909"


@pytest.fixture
def run(at_demo_server):
    """Run a command; its status is as `atldld.cli.main` makes it."""

    def run(*arguments, status=0):
        done = CliRunner().invoke(app, [str(one) for one in arguments])
        error = done.exception
        if isinstance(error, AtldldError):
            code, told = code_of(error), str(error)
        else:
            code, told = done.exit_code, ""
        assert code == status, (done.output, error)
        return done.stdout, done.stderr + told

    return run


@pytest.fixture
def offline(run, monkeypatch):
    """Run commands after the catalogue has been fetched, without the service."""
    run("catalogue", "update")
    monkeypatch.setenv("ATLDLD_OFFLINE", "1")
    return run


def test_the_story(offline):
    """From a name that one half remembers to ids for the next command, offline."""
    out, _ = offline("search", "gene", "prodynorphin")
    assert re.search(r"Pdyn +prodynorphin", out)
    out, told = offline("search", "dataset", "-g", "Pdyn", "-p", "coronal", "--ids")
    assert out == f"{PDYN}\n"
    assert "1 section data set" in told
    assert "catalogue" in told
    assert "just now" in told


def test_forms(offline):
    out, _ = offline("search", "dataset", "--product", "adult", "--json")
    rows = json.loads(out)["result"]["rows"]
    assert [str(row["id"]) for row in rows] == [PAGE, PROX1, PDYN]
    assert rows[1]["genes"] == ["Prox1"]
    out, _ = offline("search", "dataset", "--product", "adult", "--csv")
    table = list(csv.DictReader(io.StringIO(out)))
    assert [row["id"] for row in table] == [PAGE, PROX1, PDYN]
    assert table[1]["products"] == "DevMouse; Mouse" or table[1]["products"] == "Mouse; DevMouse"
    out, told = offline("search", "dataset", "--product", "adult", "--ids", "--limit", "2")
    assert out.split() == [PAGE, PROX1]
    assert "3 section data sets, of which the first 2 are shown" in told
    _, told = offline("search", "dataset", "-g", "Pdyn", "--ids", "--json", status=2)
    assert "Choose one" in told


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize(
    "arguments",
    [
        ("dataset", "--age", "P56", "--failed"),
        ("image", "-d", PAGE, "--live"),
        ("gene", "pdyn"),
        ("specimen",),
        ("structure", "layer"),
        ("neighbours", PDYN, "--live"),
    ],
)
def test_tables_fit(run, monkeypatch, width, arguments):
    run("catalogue", "update")
    monkeypatch.setenv("COLUMNS", str(width))
    out, _ = run("search", *arguments)
    lines = out.splitlines()
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines)
    # ids are what people copy: no line breaks in them
    assert arguments[0] == "gene" or re.search(r"^ *\d{2,}  ", out, re.MULTILINE)


def test_several_values(offline):
    out, _ = offline("search", "dataset", "-g", "Pdyn", "-g", "prox1", "--ids")
    assert out.split() == [PROX1, PDYN]


def test_remarks_and_suggestions(offline):
    _, told = offline("search", "dataset", "-g", "PDYN")
    assert "the mouse gene Pdyn is meant" in told
    out, told = offline("search", "dataset", "-g", "prodinorphine", status=3)
    assert out == ""
    assert "Did you mean Pdyn" in told
    _, told = offline("search", "gene", "prodinorphine", status=3)
    assert "Did you mean Pdyn" in told
    _, told = offline("search", "dataset", "-p", "corronal", status=2)
    assert "Did you mean coronal" in told


def test_contradictions_are_said(offline):
    out, told = offline("search", "dataset", "-g", "Pdyn", "-p", "sagittal", "--ids", status=3)
    assert out == ""
    assert "1 data set of gene Pdyn, none of those sagittal (there are: coronal 1)." in told
    offline("search", "dataset", "--min-sections", 9, "--max-sections", 5, status=2)


def test_live(run):
    run("catalogue", "update")
    _, told = run("search", "dataset", "-g", "Pdyn")
    assert "From the catalogue of" in told
    _, told = run("search", "dataset", "-g", "Pdyn", "--live")
    assert "From http" in told
    _, told = run("search", "dataset", "-g", "Pdyn", "--rma", "[weight$gt5000]")
    assert "From http" in told
    run("search", "dataset", "-g", "Pdyn", "--rma", "[nonsense", status=4)


def test_images_offline(offline):
    _, told = offline("search", "image", "-g", "Pdyn", status=4)
    assert "atldld catalogue update --images" in told


def test_neighbours(run):
    out, told = run("search", "neighbours", PDYN)
    assert re.search(rf"{PAGE} +Demo +ISH +\d+–\d+, every 32. \(14\) +the same numbers", out)
    assert "specimen 05-2716: sections 2–" in told
    out, _ = run("search", "neighbours", PDYN, "--ids")
    assert out == f"{PAGE}\n"
    out, _ = run("search", "neighbours", PDYN, "--json")
    assert json.loads(out)["result"]["rows"][0]["offset"] == 0
    _, told = run("search", "neighbours", PROX1, status=3)
    assert "no other data set" in told
    run("search", "neighbours", 5, status=3)
    run("search", "neighbours", "five", status=3)
    run("search", "neighbours", "2.5", status=2)
