"""Figures for papers: what they show, how large they are, and how they are written."""

import re
import subprocess
import sys
import zlib
from xml.etree import ElementTree

import numpy as np
import pytest

from atldld import plot
from atldld.api import open_dataset
from atldld.atlas import open_atlas
from atldld.demo.local import in_process_session
from atldld.errors import AtldldError, InvalidInputError, NotFoundError, OutputError
from atldld.plot.paper import PALETTE, colours_of_values
from atldld.regions.table import RegionTable
from atldld.volume import Volume

FigureCanvasAgg = pytest.importorskip("matplotlib.backends.backend_agg").FigureCanvasAgg
pyplot = pytest.importorskip("matplotlib.pyplot")
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    with in_process_session(tmp_path_factory.mktemp("cache")) as session:
        yield session


@pytest.fixture(scope="module")
def atlas(session):
    return open_atlas(100, session=session)


@pytest.fixture(scope="module")
def dataset(session):
    return open_dataset(69289763, session=session)


@pytest.fixture(scope="module")
def section(dataset):
    return dataset.section(69177654)


@pytest.fixture(scope="module")
def table():
    """Structures in two groups, with both sides."""
    rows = [
        # id, acronym, parent, depth, left, right, both
        (1, "root", 0, 0, 5.0, 5.0, 5.0),
        (2, "GR", 1, 1, 5.0, 5.0, 5.0),
        (10, "CTX", 2, 2, 3.0, 5.0, 4.0),
        (11, "L1", 10, 3, 1.0, 3.0, 2.0),
        (12, "L2", 10, 3, 7.0, 9.0, 8.0),
        (20, "TH", 2, 2, 2.0, 4.0, 3.0),
        (21, "VP", 20, 3, np.nan, 4.0, 4.0),
        (22, "none", 20, 3, 0.0, 0.0, 0.0),
    ]
    columns = {
        name: np.array([row[n] for row in rows for _ in range(3)])
        for n, name in enumerate(("structure_id", "acronym", "parent_id", "depth"))
    }
    columns["name"] = np.array([f"name of {name}" for name in columns["acronym"]])
    columns["kind"] = np.array(["structure"] * len(columns["name"]))
    columns["hemisphere"] = np.array(["left", "right", "both"] * len(rows))
    columns["energy"] = np.array([value for row in rows for value in row[4:]])
    return RegionTable(columns, {"energy": "density x intensity"}, {"synthetic": True})


@pytest.fixture(scope="module")
def volume():
    data = np.zeros((132, 80, 114), np.float32)
    data[60:70, 30:40, 50:60] = 0.8
    data[0, 0, 0] = 1.0  # outside the brain
    return Volume(data, (data > 0).astype(np.float32), 100, "expression", (1,), "none", {})


def all_figures(section, dataset, atlas, table, volume):
    return {
        "section": plot.section(section, atlas, resolution=100),
        "sections": plot.sections(dataset, atlas, count=3, resolution=200),
        "expression": plot.expression(section, atlas, resolution=100),
        "regions": plot.regions(table),
        "glass_brain": plot.glass_brain(volume, atlas),
        "planes": plot.planes(dataset, atlas),
    }


@pytest.fixture(scope="module")
def figures(section, dataset, atlas, table, volume):
    return all_figures(section, dataset, atlas, table, volume)


NAMES = ("section", "sections", "expression", "regions", "glass_brain", "planes")


def texts(figure):
    return {text.get_text() for text in figure.findobj(match=lambda a: hasattr(a, "get_text"))}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", NAMES)
def test_sizes_are_those_of_columns(figures, name):
    width, height = figures[name].get_size_inches() * 25.4
    single = name in ("section", "regions")
    assert width == pytest.approx(85 if single else 180)
    assert 20 < height < 240


@pytest.mark.parametrize("name", NAMES)
def test_pdf_embeds_its_fonts_and_keeps_lines(figures, name, tmp_path):
    figures[name].savefig(tmp_path / "a.pdf")
    content = (tmp_path / "a.pdf").read_bytes()
    # TrueType within the file; Type 3 fonts are what journals refuse
    assert b"/FontFile2" in content
    assert b"/Subtype /Type3" not in content
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL)
    drawn = b""
    for stream in streams:
        try:
            drawn += zlib.decompress(stream)
        except zlib.error:
            continue
    assert len(re.findall(rb"-?[\d.]+ -?[\d.]+ l\n", drawn)) > (5 if name == "regions" else 200)


@pytest.mark.parametrize("name", NAMES)
def test_svg_keeps_text_as_text_and_pictures_as_pictures(figures, name, tmp_path):
    figures[name].savefig(tmp_path / "a.svg")
    root = ElementTree.parse(tmp_path / "a.svg").getroot()
    assert sum(1 for _ in root.iter(f"{SVG}text")) > 0
    pictures = sum(1 for _ in root.iter(f"{SVG}image"))
    views = {"section": 1, "sections": 3, "expression": 2, "glass_brain": 3}.get(name, 0)
    # the scales of colours are pictures too
    assert views <= pictures <= views + 1
    # the fonts of others are not loaded from the network
    assert "@import" not in (tmp_path / "a.svg").read_text("utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_cut_off_or_written_over_each_other(figures, name):
    """Texts lie within the figure, and no two of them on each other."""
    figure = figures[name]
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    whole = figure.bbox
    boxes = []
    beyond = set()  # labels of ticks that are not shown
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        for tick in axis.get_major_ticks():
            if not low <= tick.get_loc() <= high:
                beyond |= {tick.label1, tick.label2}
    for text in figure.findobj(match=pyplot.Text):
        if not text.get_text().strip() or not text.get_visible() or text in beyond:
            continue
        box = text.get_window_extent(renderer)
        assert box.x0 >= whole.x0 - 1, text
        assert box.x1 <= whole.x1 + 1, text
        assert box.y0 >= whole.y0 - 1, text
        assert box.y1 <= whole.y1 + 1, text
        boxes.append((text, box.shrunk(0.8, 0.8)))
    for place, (text, box) in enumerate(boxes):
        for other, second in boxes[:place]:
            assert not box.overlaps(second), (text, other)


@pytest.mark.parametrize("name", NAMES)
def test_they_draw_into_axes_that_are_given(name, section, dataset, atlas, table, volume):
    count = {"section": 1, "regions": 1, "expression": 2}.get(name, 3)
    figure, axes = pyplot.subplots(1, count)
    call = {
        "section": lambda a: plot.section(section, atlas, ax=a, resolution=200),
        "sections": lambda a: plot.sections(dataset, atlas, axes=a, count=3, resolution=200),
        "expression": lambda a: plot.expression(section, atlas, axes=a, resolution=200),
        "regions": lambda a: plot.regions(table, ax=a),
        "glass_brain": lambda a: plot.glass_brain(volume, atlas, axes=a),
        "planes": lambda a: plot.planes(dataset, atlas, axes=a),
    }[name]
    before = dict(pyplot.rcParams)
    assert call(axes) is figure
    assert all(one.has_data() or one.patches for one in np.atleast_1d(axes))
    assert dict(pyplot.rcParams) == before  # nobody's settings are changed
    if count > 1:
        with pytest.raises(InvalidInputError, match=f"{count} axes"):
            call(axes[0])
    pyplot.close(figure)


def test_one_who_has_no_matplotlib_is_told(monkeypatch, dataset, table):
    for module in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for draw in (lambda: plot.planes(dataset), lambda: plot.regions(table)):
        with pytest.raises(AtldldError, match="not installed") as caught:
            draw()
        assert "atldld[plot]" in str(caught.value.hint)


def test_the_door_needs_no_matplotlib():
    """As in 0.3, whose module was imported for its names."""
    code = (
        "import sys; sys.modules['matplotlib'] = None; import atldld.plot as p;"
        "assert p.dataset_preview and p.section"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- what they show


def test_a_section_lies_where_it_lies_in_the_brain(figures, section, atlas):
    (axes, *_) = figures["section"].axes
    (image,) = axes.get_images()
    # sagittal: columns along p, rows along i, in µm
    assert image.get_extent() == [0, 13200, 8000, 0]
    depth = section.geometry.centre[2] / 1000
    assert axes.get_title() == f"r = {depth:.2f} mm"
    assert {"A", "P", "2 mm", "SYNTHETIC (demo brain)"} <= texts(figures["section"])
    drawn = {patch.get_gid() for patch in axes.patches}
    expected = section.outlines(atlas, 100, frame="reference")
    assert drawn == {f"{one.acronym}-{one.hemisphere}" for one in expected}


@pytest.mark.parametrize("picture", ["template", "expression", "none"])
def test_other_pictures(section, atlas, picture):
    figure = plot.section(section, atlas, resolution=200, picture=picture, fill=True, title="")
    assert len(figure.axes[0].get_images()) == (picture != "none")
    assert figure.axes[0].get_title() == ""


def test_labels_are_in_their_structures(section, atlas):
    figure = plot.section(section, atlas, resolution=100, depth=2, width="double")
    import shapely

    shapes = {
        one.acronym: shapely.MultiPolygon([(r, h) for r, *h in one.polygons])
        for one in section.outlines(atlas, 100, frame="reference", depth=2)
    }
    named = [text for text in figure.axes[0].texts if text.get_text() in shapes]
    assert len(named) >= 5
    for text in named:
        assert shapely.contains_xy(shapes[text.get_text()], *text.get_position())
    bare = plot.section(section, atlas, resolution=100, depth=2, labels=False, scale_bar=False)
    assert not {"2 mm", *shapes} & texts(bare)


def test_a_row_has_one_scale_and_goes_through_the_brain(figures, dataset):
    axes = figures["sections"].axes
    assert len({(one.get_xlim(), one.get_ylim()) for one in axes}) == 1
    depths = [float(re.findall(r"[\d.]+", one.get_title())[0]) for one in axes]
    assert depths == sorted(depths)
    assert max(depths) - min(depths) > 1
    assert [bool(one.artists) for one in axes] == [False, False, True]  # one scale bar


def widths(axes):
    return [round(patch.get_extents().width, 6) for patch in map(unscaled, axes.patches)]


def unscaled(patch):
    """A bar's path in the numbers of its axes."""
    return patch.get_patch_transform().transform_path(patch.get_path())


def test_bars_are_the_table(table):
    axes = plot.regions(table).axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    # the group with the largest value first, its structures by value; nothing is no bar
    assert names == ["L2", "L1", "VP"]
    assert widths(axes) == [8, 2, 4]
    colours = [bar.get_facecolor() for bar in axes.patches]
    assert colours[0] == colours[1] != colours[2]
    assert {"Name of CTX", "Name of TH", "SYNTHETIC (demo brain)"} <= texts(axes.figure)
    both = plot.regions(table, structures=["TH", 11], sides=True).axes[0]
    assert sorted(widths(both)) == [1, 2, 3, 4]
    shallow = plot.regions(table, depth=2, group_depth=1, count=1).axes[0]
    assert [label.get_text() for label in shallow.get_yticklabels()] == ["CTX"]
    with pytest.raises(NotFoundError, match="nix"):
        plot.regions(table, structures="nix")
    with pytest.raises(InvalidInputError, match="no column"):
        plot.regions(table, "nix")
    with pytest.raises(InvalidInputError, match="numbers"):
        plot.regions(table, "acronym")


def test_a_glass_brain_projects_along_each_axis(figures, volume):
    shown = [axes.get_images()[0].get_array() for axes in figures["glass_brain"].axes[:3]]
    inside = volume.data.copy()
    inside[0, 0, 0] = 0  # outside the brain: it does not count
    for found, expected in zip(shown, (inside.max(0), inside.max(2).T, inside.max(1)), strict=True):
        np.testing.assert_array_equal(found, expected)
    bare = plot.glass_brain(volume, how="mean", vmax=2.0)
    image = bare.axes[0].get_images()[0]
    assert image.get_clim() == (0, 2)
    assert np.asarray(image.get_array())[35, 55] == pytest.approx(0.8)
    with pytest.raises(InvalidInputError, match="one number"):
        plot.glass_brain(np.zeros((132, 80, 114, 3)))


def test_planes_are_where_the_sections_lie(figures, dataset):
    (front,) = [c for c in figures["planes"].axes[2].collections if len(c.get_paths()) > 6]
    found = np.array([path.vertices[:4] for path in front.get_paths()])
    corners = np.array([one.geometry.corners for one in dataset.sections])
    np.testing.assert_allclose(found, corners[:, :, [2, 0]])


def test_what_makes_no_sense_is_refused(section, dataset, atlas):
    with pytest.raises(InvalidInputError, match="needs an atlas"):
        plot.section(section, picture="template")
    with pytest.raises(InvalidInputError, match="picture"):
        plot.section(section, atlas, picture="x")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="width"):
        plot.planes(dataset, width="wide")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="width"):
        plot.planes(dataset, width=-3)
    with pytest.raises(InvalidInputError, match="no section"):
        plot.sections([])
    with pytest.raises(InvalidInputError, match="number of sections"):
        plot.sections(dataset, count=0)


def test_saving_is_whole_repeatable_and_replaces_nothing(figures, tmp_path):
    figure = figures["planes"]
    for ending in ("pdf", "svg", "png"):
        one, two = (tmp_path / f"{n}.{ending}" for n in "ab")
        assert plot.save(figure, one) == one
        plot.save(figure, two)
        assert one.read_bytes() == two.read_bytes()
        with pytest.raises(OutputError, match="there already"):
            plot.save(figure, one)
        plot.save(figure, one, force=True)
    with pytest.raises(InvalidInputError, match="ending"):
        plot.save(figure, tmp_path / "a.docx")
    # also a figure that was made elsewhere
    other, axes = pyplot.subplots()
    axes.set_title("text")
    plot.save(other, tmp_path / "other.pdf")
    assert b"/FontFile2" in (tmp_path / "other.pdf").read_bytes()
    pyplot.close(other)


def test_they_show_themselves_in_notebooks(figures):
    assert figures["regions"]._repr_png_().startswith(b"\x89PNG")


# ---- colours


def seen(rgb, blindness):
    """A colour as people see it who lack one kind of cones (Machado 2009, full severity)."""
    matrices = {
        "protan": [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ],
        "deutan": [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ],
        "none": np.eye(3),
    }
    rgb = np.asarray(rgb, dtype=float)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ np.array(matrices[blindness]).T, 0, 1)
    xyz = (
        linear
        @ np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]).T
        / (0.9505, 1.0, 1.089)
    )
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack(
        [116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1
    )


@pytest.mark.parametrize("blindness", ["none", "protan", "deutan"])
def test_colours_are_told_apart(blindness):
    rgb = np.array([[int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)] for colour in PALETTE])
    lab = seen(rgb, blindness)
    apart = np.linalg.norm(lab[:, None] - lab[None], axis=-1) + 1e3 * np.eye(len(lab))
    assert apart.min() > 12
    # and the scale of values grows darker by even steps
    light = seen(colours_of_values()(np.linspace(0, 1, 64))[:, :3], blindness)[:, 0]
    assert (np.diff(light) < 0).all()
    assert light[0] == pytest.approx(100, abs=0.5)


def test_the_legend_of_sides_covers_no_bar(table):
    figure = plot.regions(table, structures=["TH", 11, 12], sides=True)
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    legend = figure.axes[0].get_legend()
    assert legend is not None
    box = legend.get_window_extent(renderer)
    bars = [patch.get_window_extent(renderer) for patch in figure.axes[0].patches]
    assert len(bars) == 6
    assert not any(box.overlaps(bar) for bar in bars)
