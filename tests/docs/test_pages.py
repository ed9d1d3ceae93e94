"""Every block of code on every page runs, each page alone, against the demo archive.

The kind of fault: a page whose lines nobody has typed since the program changed, that needs what
another page made, or whose first line uses a name that the page has not told.
"""

import json
import os
import re

import numpy as np
import pytest

from atldld.fetch.routes import CERTIFICATES
from tests.docs.pages import (
    DOCS,
    MARKS,
    OUTPUT,
    OUTPUT_IN_FULL,
    ROOT,
    RUN,
    SHOWN,
    Page,
    blocks,
    coarser,
    pages,
    same,
    shown,
)

PAGES = pages()
# Pages that other tests run, block by block and with more to say about each.
ELSEWHERE = {
    "docs/jobs.md": "tests/test_jobs.py",
    "docs/first-days.md": "tests/test_first_days.py",
    "docs/gallery.md": "tests/plot/test_gallery.py",
    "docs/develop/add-a-format.md": "tests/formats/test_add_a_format.py",
    "docs/develop/add-a-source.md": "tests/fetch/test_sources.py",
}
QUICK = {"docs/exit-codes.md"}
# With fewer pixels these take ten to twenty seconds of a processor each, the others less.
SLOW = {
    *(f"docs/{name}.md" for name in ("align", "atlas", "batches", "quantify", "refine", "report")),
    *(f"docs/{name}.md" for name in ("volumes", "when-the-service-changes")),
    *(f"docs/how-to/{name}.md" for name in ("brainglobe", "cluster-and-s3", "gene-to-volume")),
    *(f"docs/how-to/{name}.md" for name in ("from-spatial-brain-maps", "one-region", "overnight")),
    "docs/how-to/refine-and-check.md",
}


def marks(name):
    """Return when a page is run; see the markers in pyproject.toml."""
    if name in QUICK:
        return ()
    return pytest.mark.slow if name in SLOW else pytest.mark.long


RUNNING = [
    name
    for name, path in PAGES.items()
    if name not in ELSEWHERE and any(block.runs for block in blocks(path))
]


def test_slow_pages_are_there():
    assert set(RUNNING) >= SLOW


def test_pages_that_run_elsewhere_do():
    for page, test in ELSEWHERE.items():
        assert PAGES[page].name in (ROOT / test).read_text("utf-8"), page


@pytest.mark.parametrize("name", PAGES)
def test_every_block_says_what_it_is(name):
    found = blocks(PAGES[name])
    fences = re.findall(r"^\s*```", PAGES[name].read_text("utf-8"), re.MULTILINE)
    assert len(fences) == 2 * len(found), "a block that is indented, or not closed"
    for block in found:
        where = f"{name}:{block.line}"
        assert block.language in (*RUN, *SHOWN), where
        if block.mark.startswith("not run"):
            assert len(block.reason.split()) >= 3, f"{where}: say why it is not run"
        else:
            assert block.mark in MARKS, where
        if block.mark in (OUTPUT, OUTPUT_IN_FULL):
            assert block.language == "text", where
        if block.language == "json":
            json.loads(block.code)
        if block.language == "sh":
            assert not re.search(r"^\s*\$ ", block.code, re.MULTILINE), f"{where}: leave out the $"


def test_most_blocks_run():
    """But for what installs, releases, measures for hours, or is napari's own."""
    every = [block for path in PAGES.values() for block in blocks(path) if block.language in RUN]
    assert sum(not block.runs for block in every) <= 8
    assert len(every) > 120


def run(name, folder, server, *, coarse):
    """Run a page in a folder of its own."""
    with Page(folder, server, coarse) as page:
        for block in blocks(PAGES[name]):
            if block.runs:
                page.run(block)
            elif block.mark == OUTPUT or (block.mark == OUTPUT_IN_FULL and not coarse):
                said = " ".join(page.said.split())
                for line in block.code.splitlines():
                    assert " ".join(line.split()) in said, f"{name}:{block.line}: {line}"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty folder, which is the current one."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MPLBACKEND", "agg")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", *CERTIFICATES):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return folder


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """One for all pages: what one has fetched, others have; the slow runs have one for each."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def coarsely(monkeypatch):
    """An atlas of 100 µm, and masks of 200, for whatever opens and counts them."""
    import atldld
    from atldld.atlas import open as atlases
    from atldld.regions import quantify as regions

    real, count = atlases.open_atlas, regions.quantify

    def open_atlas(resolution=100, *, resolution_=100, **options):
        options.pop("resolution", None)
        return real(resolution_, **options)

    monkeypatch.setattr(atlases, "open_atlas", open_atlas)
    monkeypatch.setattr(atldld, "open_atlas", open_atlas)
    monkeypatch.setattr(
        regions,
        "quantify",
        lambda ds, atlas, *_, **options: count(ds, atlas, **{**options, "resolution": 200}),
    )


pages_run = [
    pytest.mark.skipif(os.name == "nt", reason="the pages are written for a POSIX shell"),
    pytest.mark.filterwarnings("ignore::atldld.errors.ServiceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def every(marks):
    def marked(test):
        for mark in reversed(marks):
            test = mark(test)
        return test

    return marked


@every(pages_run)
@pytest.mark.usefixtures("coarsely")
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=marks(name)) for name in RUNNING],
)
def test_the_page_runs(name, at_demo_server, cache, place, monkeypatch):
    for left in cache.rglob("catalogue.sqlite*"):  # of another page, which says how many there are
        left.unlink()
    monkeypatch.setenv("ATLDLD_CACHE_DIR", str(cache))
    run(name, place, at_demo_server, coarse=True)


@pytest.mark.slow
@pytest.mark.timeout(7200)  # it takes minutes, and a machine may be busy
@every(pages_run)
@pytest.mark.parametrize("name", RUNNING)
def test_the_page_runs_as_it_stands(name, at_demo_server, place):
    run(name, place, at_demo_server, coarse=False)


def test_commands_are_made_coarser():
    assert coarser(["quantify", "71717084", "-o", "a.csv"]) == [
        *("quantify", "909", "-o", "a.csv"),
        *("--table-resolution", "200", "--atlas-resolution", "100"),
    ]
    assert coarser(["volume", "1", "--resolution", "50"])[-1] == "200"
    assert coarser(["cache", "info"]) == ["cache", "info"]


def test_values_in_comments_are_compared():
    code = "a = 1  # 2\nf(3)  # 1: left\n(\n    a\n)  # about (8052, 2890)\n'µ'  # µ"
    assert shown(code) == [("f(3)", "1: left"), ("a", "(8052, 2890)"), ("'µ'", "µ")]
    for value, said in [
        (1, "1: left; 2 is right"),
        ([8052.4, 2889.9], "(8052, 2890)"),
        ((0.0125, -0.0125), "half a voxel: [0.0125, -0.0125] mm"),
        ("Pdyn", "'Pdyn'"),
        (np.zeros((2, 3), np.uint32), "(2, 3) uint32: labels"),
    ]:
        assert same(value, said) is True, said
    for value, said in [
        (2, "1: left; 2 is right"),
        ([8052.4, 2889.9, 1], "(8052, 2890)"),
        ("Prox1", "'Pdyn'"),
        (np.zeros((2, 3), np.int64), "(2, 3) uint32: labels"),
    ]:
        assert same(value, said) is False, said
    assert same(5, "the first of all") is None


def test_every_page_has_a_place():
    """What the navigation does not name, nobody finds; `make docs` warns of it, too."""
    nav = (ROOT / "mkdocs.yml").read_text("utf-8")
    for path in DOCS.rglob("*.md"):
        name = path.relative_to(DOCS).as_posix()
        assert name in nav or f"{path.parent.name}/*" in nav, name
