"""What a report holds, by its numbers; no browser is needed."""

import dataclasses
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from atldld.api import DataSet
from atldld.errors import InvalidInputError, OutputError
from atldld.regions.quantify import quantify
from atldld.report import (
    check_page,
    figures,
    gather,
    open_source,
    render,
    try_atlas,
    write_report,
)
from atldld.report.charts import number, strip
from atldld.report.contents import _absent
from atldld.report.pictures import STEPS, matrix_to_raw
from atldld.report.words import doubts, methods, strongest, summary
from atldld.sections.download import download_dataset
from atldld.sections.register import Recipe


@pytest.fixture(scope="module")
def folder(demo_session, tmp_path_factory):
    """An output folder of the same data set at the same resolution."""
    out = tmp_path_factory.mktemp("out") / "909"
    download_dataset(909, out, Recipe(50, expression=True), session=demo_session)
    return out


@pytest.fixture(scope="module")
def text(report):
    return render(report)


def test_the_json_in_the_page_holds_every_figure(text, report, source, atlas):
    (found,) = re.findall(r'<script type="application/json" id="figures">(.*?)</script>', text)
    told = json.loads(found)
    assert told["dataset"]["id"] == 909
    assert told["synthetic"] is True
    assert [one["image_id"] for one in told["sections"]] == [
        entry.section.id for entry in report.entries
    ]
    table = quantify(source.dataset, atlas, 50, session=source.dataset.session)
    regions = told["regions"]
    assert len(regions["rows"]) == len(table)
    place = regions["columns"].index("energy")
    for row, known in zip(regions["rows"], table["energy"].tolist(), strict=True):
        assert row[place] == (pytest.approx(known, rel=1e-5) if known == known else None)
    assert told["sections"][0]["quality"]["continuity"] is None
    assert told["sections"][2]["reasons"] == ["it would fit <b>better</b> elsewhere"]


def test_sections_stand_in_the_order_in_which_they_lie(report):
    places = [entry.coordinate for entry in report.entries]
    assert places == sorted(places)
    for entry in report.entries:
        low, high = entry.section.geometry.depth_range
        assert low <= entry.coordinate <= high


def test_outlines_lie_on_the_raw_picture_where_the_placement_says(report):
    entry = report.entries[6]
    a, b, c, d, e, f = matrix_to_raw(entry.plane)
    # a place on the grid in quarters of a pixel from the corner of the first one
    u, v = 90.0 * STEPS, 41.0 * STEPS
    x, y = a * u + c * v + e, b * u + d * v + f
    step = entry.plane.grid.resolution
    row_um, column_um = v / STEPS * step, u / STEPS * step
    reference = np.empty(3)
    reference[entry.plane.grid.row_axis] = row_um
    reference[entry.plane.grid.column_axis] = column_um
    reference[entry.plane.grid.depth_axis] = entry.plane.depth @ (row_um, column_um, 1)
    # pixel centres of the image are at whole numbers, the drawing counts from corners
    assert (x - 0.5, y - 0.5) == pytest.approx(entry.section.to_image(reference), abs=0.2)


def test_outlines_have_the_areas_of_their_structures(report):
    entry = report.entries[6]

    def area(path):
        total = 0.0
        for ring in path.split("z")[:-1]:
            numbers = [int(one) for one in re.findall(r"-?\d+", ring)]
            points = np.cumsum(np.reshape(numbers, (-1, 2)), axis=0) / STEPS
            x, y = points.T
            total += (x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
        return abs(total)

    for shape in entry.views.shapes[:5]:
        mm2 = area(shape.path) * (entry.plane.grid.resolution / 1000) ** 2
        assert mm2 == pytest.approx(shape.area, rel=0.05)


def test_the_volume_has_slices_of_all_three_planes(report):
    assert [one.axis for one in report.slices] == ["p", "r", "i"]
    for one, side in zip(report.slices, (13200, 11400, 8000), strict=True):
        assert len(one.pictures) == len(one.lines) == side // one.step
        assert 0 < one.start < len(one.pictures)
    coronal, sagittal, horizontal = (one.pictures[0] for one in report.slices)
    assert (coronal.width, coronal.height) == (228, 160)
    assert (sagittal.width, sagittal.height) == (264, 160)
    assert (horizontal.width, horizontal.height) == (264, 228)


class _Addresses(HTMLParser):
    def __init__(self):
        super().__init__()
        self.loaded = []

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("src", "srcset", "href", "xlink:href", "data", "poster", "action"):
                self.loaded.append((tag, value))


def test_no_address_of_anything_outside_is_in_the_markup(text):
    parser = _Addresses()
    parser.feed(text)
    assert parser.loaded
    for tag, value in parser.loaded:
        assert value.startswith(("data:", "#")), (tag, value[:60])
    assert "url(" not in text.split("</style>")[0]
    assert "@import" not in text
    assert "default-src 'none'" in text


@pytest.mark.long
def test_a_folder_says_all_that_the_service_would(folder, demo_session, atlas, gathered):
    source = open_source(folder, session=demo_session)
    # so whatever is not in the cache is an error, and no request
    assert source.dataset.session.settings.offline
    assert not demo_session.settings.offline
    made = gather(source, atlas)
    assert [one.section.id for one in made.entries] == [one.section.id for one in gathered.entries]
    for one, other in zip(made.entries, gathered.entries, strict=True):
        assert one.views.registered.data == other.views.registered.data
        assert one.views.raw is not None
        assert one.views.shapes == other.views.shapes
        assert one.coordinate == pytest.approx(other.coordinate)
    assert made.regions is not None
    assert gathered.regions is not None
    assert made.regions["energy"] == pytest.approx(gathered.regions["energy"], nan_ok=True)
    assert made.slices
    assert "output folder" in render(made)


def test_a_folder_away_from_its_cache_is_whole_but_for_what_it_lacks(folder, tmp_path):
    from atldld.fetch.session import Session
    from atldld.settings import Settings

    with Session(Settings(cache_dir=tmp_path / "empty", offline=True)) as session:
        made = gather(open_source(folder, session=session), None, without_atlas="No atlas.")
        assert not (tmp_path / "empty").exists()
    assert len(made.entries) == 14
    assert all(one.views.raw is None for one in made.entries)
    assert all("not in the cache" in one.views.problems["raw"] for one in made.entries)
    assert "not in the cache" in made.missing["volume"]
    assert made.quality is not None
    page = render(made)
    assert "There is no volume" in page
    assert "There is no table" in page


def test_a_folder_with_an_alignment_file_keeps_its_planes(demo_session, tmp_path):
    from atldld.api import open_dataset
    from atldld.formats.quicknii import write_quicknii

    dataset = open_dataset(909, session=demo_session)
    path = write_quicknii(dataset, tmp_path / "planes.json")
    download_dataset(909, tmp_path / "out", Recipe(100), session=demo_session, alignment=path)
    source = open_source(tmp_path / "out", session=demo_session)
    assert source.dataset.alignment is not None
    assert source.dataset.alignment.name == path.name
    known = {one.id: one for one in dataset}
    for section in source.dataset:
        assert section.alignment == path.name
        assert np.allclose(
            section.placement.forward, known[section.id].placement.forward, atol=0.05
        )


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", '{"per_image": {}}', '{"per_image": {"1": {}}, "dataset_id": "1"}'],
)
def test_folders_that_hold_no_result(demo_session, tmp_path, content):
    (tmp_path / "metadata.json").write_text(content)
    with pytest.raises(OutputError) as error:
        open_source(tmp_path, session=demo_session)
    assert error.value.hint


def test_a_folder_cannot_lead_elsewhere(folder, demo_session, tmp_path):
    import shutil

    copied = tmp_path / "copy"
    shutil.copytree(folder, copied)
    metadata = json.loads((copied / "metadata.json").read_text())
    first = next(iter(metadata["per_image"]))
    metadata["per_image"][first]["files"]["image"]["name"] = f"../../{first}.png"
    (copied / f"{first}.png").rename(tmp_path / f"{first}.png")
    (copied / "metadata.json").write_text(json.dumps(metadata))
    source = open_source(copied, session=demo_session)
    made = gather(source, None, volume=False)
    assert list(made.failed) == [first]


def test_what_is_neither(demo_session, tmp_path):
    with pytest.raises(InvalidInputError, match="neither"):
        open_source(tmp_path / "nothing", session=demo_session)
    with pytest.raises(OutputError, match="cannot be read"):
        open_source(tmp_path, session=demo_session)


def test_a_data_set_without_masks_gets_another_quantity(source, atlas):
    import msgspec

    record = source.dataset.record
    images = tuple(msgspec.structs.replace(image, expression_path=None) for image in record.images)
    dataset = DataSet(msgspec.structs.replace(record, images=images), source.dataset.session)
    made = gather(dataclasses.replace(source, dataset=dataset), atlas, volume=False)
    assert all(one.views.mask is None for one in made.entries)
    assert made.regions is not None
    assert "stained_fraction" in made.regions.columns
    page = render(made)
    assert "Stained fraction" in page
    assert "not</b> a density of expression" in page
    assert "not a density of expression" in methods(made)
    assert "show-mask" not in page.split("<script>")[0]
    # the section in the middle stands for all
    assert made.most_telling.place == (len(made.entries) - 1) // 2


def test_no_atlas_while_offline_is_a_reason_and_no_error(tmp_path):
    from atldld.fetch.session import Session
    from atldld.settings import Settings

    with Session(Settings(cache_dir=tmp_path, offline=True)) as session:
        opened, reason = try_atlas(session, 25)
        assert opened is None
        assert "atldld atlas fetch" in (reason or "")
        with pytest.raises(InvalidInputError):
            try_atlas(session, 24)


def test_absent_sections():
    assert _absent([2, 6, 10, 18, 22, 34]) == (14, 26, 30)
    assert _absent([1, 2, 2, 3]) == ()
    assert _absent([5]) == ()


def test_words(report):
    facts = dict(summary(report))
    assert facts["Plane"].startswith("coronal")
    assert "14" in facts["Sections"]
    paragraph = methods(report)
    assert "SYNTHETIC" in paragraph
    assert "section data set 909" in paragraph
    assert "2 of 14 sections exceeded" in paragraph
    assert figures(report)["methods"] == paragraph


def test_the_page_is_written_whole_or_not_at_all(report, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("before")
    with pytest.raises(OutputError, match="there already"):
        check_page(path)
    check_page(path, force=True)
    with pytest.raises(InvalidInputError, match="ending"):
        check_page(tmp_path / "report.pdf")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space")))
    with pytest.raises(OutputError, match="No space"):
        write_report(report, path, force=True)
    assert path.read_text() == "before"
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]


def test_the_most_expressing_sound_section_comes_first(report, gathered):
    amounts = [entry.views.expression for entry in gathered.entries]
    assert all(amount is not None for amount in amounts)
    best = max(range(len(amounts)), key=lambda k: amounts[k])
    assert gathered.quality is not None
    odd = {one.image_id for one in gathered.quality.suspicious}
    if gathered.entries[best].section.id not in odd:
        assert gathered.most_telling.place == best
    # finer than the others, with its mask
    hero = gathered.most_telling
    assert hero.picture.width > 2 * gathered.entries[0].views.registered.width
    assert hero.mask is not None
    assert hero.mask.width == hero.picture.width
    # one that looks out of place does not stand for the data set
    sections = tuple(
        dataclasses.replace(one, suspicious=one.image_id == gathered.entries[hero.place].section.id)
        for one in gathered.quality.sections
    )
    quality = dataclasses.replace(gathered.quality, sections=sections)
    other = dataclasses.replace(gathered, quality=quality, hero=None).most_telling
    assert other.place != hero.place
    assert amounts[other.place] == sorted(amounts)[-2]


def test_expression_of_a_section_is_that_of_its_mask(gathered, source, atlas):
    """The sum over sections is density × intensity × area of the table, but for its coarseness."""
    total = sum(entry.views.expression for entry in gathered.entries) * 255
    table = gathered.regions.select(hemispheres=["both"])
    whole = [row for row in table.rows() if row["parent_id"] == 0]
    counted = sum(
        row["energy"] * row["area_mm2"] for row in whole if row["energy"] == row["energy"]
    )
    assert total == pytest.approx(counted, rel=0.15)


def test_warnings_that_change_nothing_are_not_shown(gathered, source, atlas, monkeypatch):
    from atldld.errors import (
        RepeatedRowsWarning,
        RowShortfallWarning,
        SkippedImageWarning,
        UnsortedRowsWarning,
    )

    session = source.dataset.session
    met = [
        UnsortedRowsWarning("The service did not sort by id for model::SectionImage,rma::x."),
        RepeatedRowsWarning("The service sent 3 rows again for y."),
        RowShortfallWarning("The service promised 9 rows and sent 8 for z."),
        SkippedImageWarning("Section 7 is left out: it is broken."),
    ]
    monkeypatch.setattr(session, "defects", met)
    made = gather(source, None, without_atlas="None.", volume=False)
    told = [doubt.text for doubt in doubts(made)]
    assert str(met[2]) in told
    assert str(met[3]) in told
    page = render(made)
    body = page.split('<script type="application/json"')[0]
    assert "did not sort" not in body
    assert "rows again" not in body
    # for programs all of them are there
    assert figures(made)["warnings"] == [str(one) for one in met]


def test_what_to_distrust_is_said_in_plain_words(report, gathered):
    told = doubts(report)
    assert told[0].serious
    assert told[0].title == "2 of 14 sections look out of place"
    assert told[0].places == (2, 5)
    assert any("Coarse masks" in doubt.title for doubt in told)
    trusted = dataclasses.replace(
        report, quality=gathered.quality, absent=(3, 5), failed={"7": "x"}
    )
    titles = [doubt.title for doubt in doubts(trusted)]
    assert "2 sections are missing" in titles
    assert "1 image was left out" in titles


def test_the_strongest_regions_are_no_two_names_of_one_place(report):
    found = strongest(report)
    assert 3 <= len(found) <= 8
    values = [one.value for one in found]
    assert values == sorted(values, reverse=True)
    assert found[0].share == 1
    paths = {one.id: report.atlas.graph[one.id].path for one in found}
    for one in found:
        assert not any(one.id in paths[other.id][:-1] for other in found)
        assert report.regions.row(one.id)["sections"] >= 3


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0"),
        (None, "–"),
        (float("nan"), "–"),
        (4.2e-5, "<\N{NO-BREAK SPACE}0.001"),
        (0.0012345, "0.00123"),
        (0.31415, "0.314"),
        (2.71828, "2.72"),
        (99.97, "100"),
        (1234.4, "1,234"),
        (-0.25, "−0.25"),
        (10.0, "10"),
    ],
)
def test_numbers_as_people_read_them(value, said):
    assert number(value) == said


def test_shades_are_those_of_what_is_unusual(report):
    shown = strip(report.entries, report.quality)
    names = [title for title, _ in shown.rows]
    assert names[:2] == ["Expression", "Score"]
    assert [band.place for band in shown.bands] == list(range(14))
    score = [band.cells[names.index("Score")].level for band in shown.bands]
    assert [k for k, level in enumerate(score) if level == 4] == [2, 5]
    # what is the same for all is as usual
    overlap = [band.cells[names.index("Overlap")].level for band in shown.bands]
    assert overlap == [0] * 14
    unknown = [band.cells[names.index("Continuity")].level for band in shown.bands]
    assert unknown[0] is None
    assert report.quality is not None
    # a low overlap is bad, a high one is not
    changed = tuple(
        dataclasses.replace(one, overlap={3: 0.5, 4: 0.99}.get(k, 0.9 + 0.001 * (k % 3)))
        for k, one in enumerate(report.quality.sections)
    )
    shown = strip(report.entries, dataclasses.replace(report.quality, sections=changed))
    overlap = [band.cells[names.index("Overlap")].level for band in shown.bands]
    assert overlap[3] == 4
    assert overlap[4] == 0
