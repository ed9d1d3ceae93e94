"""What notebooks show: whole, harmless, small, and never fetched for it."""

import html.parser
import re
import sys
import types
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

import atldld
from atldld.api import DataSet
from atldld.errors import InvalidInputError
from atldld.support import notebook
from atldld.support.html import Bar, card, escaped, table

VOID = {"img", "br"}


class Whole(html.parser.HTMLParser):
    """Whether every element ends where it should, and what pages load."""

    def __init__(self):
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag, attributes):
        self.seen.add(tag)
        for name, value in attributes:
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "srcset", "data") or (tag == "link" and name == "href"):
                self.loads.append(value or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def looked_at(text, *, largest=120_000):
    """Check what holds for everything that is shown; return its words."""
    page = Whole()
    page.feed(text)
    assert page.open == []
    assert all(one.startswith("data:image/") for one in page.loads), page.loads
    assert not page.seen & {"script", "style", "link", "iframe", "object"}
    assert len(text) < largest
    # the notebook's own colours, so that dark themes are as readable
    without = text.replace("#d9730d", "").replace("#3b82c4", "")
    styles = " ".join(re.findall(r'style="([^"]*)"', without))
    assert not re.search(r"(?<!-)color:\s*(#|black|white|rgb\()", styles)
    assert not re.search(r"background(-color)?:\s*(#|white|black)", styles)
    return re.sub(r"<[^>]+>", " ", text)


@pytest.fixture(scope="module")
def shown(ds, atlas, shared_session):
    registered = ds.sections[6].register(200, expression=True)
    return {
        "data set": (ds, ["Section data set 909", "coronal", "14 placed", "SYNTHETIC"]),
        "section": (ds.sections[6], ["Section 218", str(ds.sections[6].id), "SYNTHETIC"]),
        "sections": (ds.sections[2:5], ["3 sections", "118"]),
        "no sections": (ds.sections[:0], ["No sections"]),
        "registered": (registered, ["registered", "200 µm", "the section's own", "SYNTHETIC"]),
        "volume": (ds.volume(400), ["Volume of image", "33 × 20 × 28", "SYNTHETIC"]),
        "expression": (ds.volume(400, channel="expression"), ["up to", "float32"]),
        "regions": (
            ds.quantify(atlas, 200, grid=False, unionize=False),
            ["by energy", "dentate gyrus", "SYNTHETIC"],
        ),
        "stain": (
            ds.quantify(atlas, 200, stain_threshold=0.3),
            ["stained fraction", "structures"],
        ),
        "quality": (ds.quality(atlas, resolution=300), ["of 14 sections are suspicious"]),
        "registration": (
            ds.refine(atlas, steps=[], resolution=200),
            ["Registration", "14, of which 0 have moved", "ccf_2017"],
        ),
        "atlas": (atlas, ["Atlas ccf_2017", "34", "SYNTHETIC"]),
        "search": (atldld.search(id=ds.id, session=shared_session), ["Search for data sets"]),
    }


NAMES = [
    *("data set", "section", "sections", "no sections", "registered", "volume", "expression"),
    *("regions", "stain", "quality", "registration", "atlas", "search"),
]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_shown(shown, name, ds):
    value, words = shown[name]
    asked = ds.session.client.requests_sent
    text = looked_at(value._repr_html_())
    assert ds.session.client.requests_sent == asked
    for word in words:
        assert word in html.unescape(text), word


@pytest.mark.parametrize("name", NAMES)
def test_in_a_line_too(shown, name):
    line = repr(shown[name][0])
    assert line.startswith("<")
    assert "object at 0x" not in line
    assert "\n" not in line
    assert len(line) < 250


def test_a_thumbnail_comes_from_the_cache_alone(tmp_path):
    from atldld.demo.local import in_process_session

    with in_process_session(tmp_path / "cache") as session:
        ds = atldld.open_dataset(909, session=session)
        asked = session.client.requests_sent
        assert "data:image/jpeg" not in ds._repr_html_()
        assert "fetches a picture" in ds._repr_html_()
        assert "data:image/jpeg" not in ds.sections[3]._repr_html_()
        assert session.client.requests_sent == asked
        ds.sections[3].pixels(3)
        asked = session.client.requests_sent
        assert "data:image/jpeg" in ds.sections[3]._repr_html_()
        assert "data:image/jpeg" in ds._repr_html_()
        assert "data:image/jpeg" not in ds.sections[4]._repr_html_()
        # a file that was damaged since is left out
        for path in session.cache.root.rglob("*.jpg"):
            path.write_bytes(b"x" * path.stat().st_size)
        assert "data:image/jpeg" not in ds._repr_html_()
        assert session.client.requests_sent == asked


def test_names_of_others_are_harmless(ds, shared_session):
    evil = '<img src=x onerror="alert(1)"><script>alert(2)</script>\u202e&amp;'
    gene = msgspec.structs.replace(ds.record.genes[0], acronym=evil, name=evil)
    record = msgspec.structs.replace(ds.record, genes=(gene,), specimen_name=evil)
    text = DataSet(record, shared_session)._repr_html_()
    looked_at(text)
    assert "&lt;script&gt;" in text
    assert "\u202e" not in text
    looked_at(
        card(evil, {evil: evil}, note=evil, hint=evil, body=[table({evil: "left"}, [[evil]])])
    )
    assert escaped(escaped("<")) == "&lt;"


def test_bars_stay_within_their_cells():
    text = table({"a": "right"}, [[Bar("1", 5.0)], [Bar("2", -1.0)], [Bar("3", 0.5)]])
    assert re.findall(r"width:([\d.]+)%", text) == ["100.0", "0.0", "50.0"]


def test_suspicious_sections_stand_out(shown):
    quality = shown["quality"][0]
    good = [replace(one, suspicious=False) for one in quality.sections[:3]]
    bad = replace(
        quality.sections[3], suspicious=True, score=99.0, reasons=("It is <odd>.", "It is torn.")
    )
    text = replace(quality, sections=(*good, bad))._repr_html_()
    words = html.unescape(looked_at(text))
    assert "1 of 4 sections are suspicious" in words
    assert "It is <odd>.; It is torn." in words


def test_an_empty_table_and_volume(shown):
    regions = shown["regions"][0]
    looked_at(regions.select(depth=99)._repr_html_())
    volume = shown["expression"][0]
    none = replace(volume, data=np.zeros_like(volume.data), coverage=np.zeros_like(volume.coverage))
    assert "0%" in looked_at(none._repr_html_())


def test_a_search_is_not_asked_by_looking_at_it(tmp_path):
    from atldld.demo.local import in_process_session

    with in_process_session(tmp_path / "cache") as session:
        found = atldld.search(gene="Prox1", session=session)
        asked = session.client.requests_sent
        assert "not asked yet" in looked_at(found._repr_html_())
        assert session.client.requests_sent == asked
        assert len(found) == 1
        asked = session.client.requests_sent
        words = looked_at(found._repr_html_())
        assert "69289763" in words
        assert "Prox1" in words
        assert "('" not in html.unescape(words)  # no tuples as Python writes them
        # what is in the cache may be shown at once
        again = atldld.search(gene="Prox1", session=session)
        assert "69289763" in looked_at(again._repr_html_())
        assert session.client.requests_sent == asked
        nothing = atldld.search(gene="Prox1", plane="coronal", session=session)
        assert len(nothing) == 0
        assert "none of those" in looked_at(nothing._repr_html_())


# ---- tab completion


def test_completion_offers_what_there_is(ds, atlas, shown):
    for name in ("quality", "quantify", "export", "sections", "sections_near", "at", "volume"):
        assert name in dir(ds)
    assert "quicknii" in dir(ds.export)
    assert "energy" in shown["regions"][0]._ipython_key_completions_()
    assert atlas.graph.find("DG").id in atlas.graph._ipython_key_completions_()
    for name in ("quality", "refine", "report", "download", "volume", "Sections"):
        assert name in dir(atldld)


@pytest.mark.parametrize(
    "kind", [DataSet, atldld.Section, atldld.Sections, atldld.Spot, atldld.Volume, atldld.Atlas]
)
def test_attributes_are_described(kind):
    assert "Attributes\n    ----------" in kind.__doc__


# ---- progress


@pytest.fixture
def kernel(monkeypatch):
    """A notebook: IPython's shell with a kernel, and what it displays."""
    sent: list[dict[str, str]] = []

    class Handle:
        def update(self, data, raw):
            assert raw
            sent.append(data)

    def display(data, raw, display_id):
        assert raw
        assert display_id
        sent.append(data)
        return Handle()

    ipython: Any = types.ModuleType("IPython")
    shell = types.SimpleNamespace(kernel=object())
    ipython.get_ipython = lambda: shell
    ipython.display = types.ModuleType("IPython.display")
    ipython.display.display = display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", ipython.display)
    return types.SimpleNamespace(sent=sent, shell=shell)


def test_a_bar_in_a_notebook(kernel, ds):
    ds.volume(800)
    assert kernel.sent[-1]["text/plain"].startswith("Volume of 909: 14/14 in ")
    for data in kernel.sent:
        looked_at(data["text/html"])
    told = len(kernel.sent)
    ds.volume(800, progress=False)
    assert len(kernel.sent) == told


def test_no_bar_elsewhere(kernel, ds):
    kernel.shell.kernel = None  # a terminal
    assert not notebook.in_notebook()
    ds.volume(800)
    assert kernel.sent == []


def test_a_bar_that_is_stopped_says_so(kernel):
    def work():
        with notebook.bar("Work") as show:
            show(3, 10, "the third")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert kernel.sent[-1]["text/plain"].startswith("Work: 3/10, stopped after ")


def test_rate_and_time_left():
    line = notebook._plain("Work", 30, 90, 60.0, "runs")
    assert line == "Work: 30/90, 0.5/s, 2:00 min left"
    assert notebook._plain("Work", 0, 90, 0.0, "runs") == "Work: 0/90"
    assert notebook._plain("Work", 0, 0, 0.0, "runs") == "Work: …"
    assert notebook._clock(3.21) == "3.2 s"
    assert notebook._clock(4000) == "1:06 h"


def test_a_progress_that_is_none():
    values: list[Any] = [5, "yes", []]
    for wrong in values:
        with pytest.raises(InvalidInputError, match="progress"), notebook.progressing(wrong, "x"):
            pass
