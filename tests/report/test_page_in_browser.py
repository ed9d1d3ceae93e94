"""The page as people use it, in a browser."""

import dataclasses

import msgspec
import pytest

from atldld.api import DataSet
from atldld.records import Gene
from atldld.report import write_report

pytestmark = pytest.mark.timeout(900)


def shown(page):
    return page.locator("#said").inner_text()


def test_nothing_is_fetched_and_nothing_is_wrong(visit, page_path):
    page = visit(page_path)
    assert "SYNTHETIC" in page.locator(".synthetic").inner_text()
    # the fixture looks at console and requests when the test is done
    for part in ("summary", "overview", "section", "quality", "regions", "volume", "made"):
        assert page.locator(f"#{part} h2").is_visible()


def test_every_picture_has_a_text_and_is_drawn(visit, page_path, report):
    page = visit(page_path)
    page.select_option("#versus", "mask")
    page.check("#show-mask")
    page.check("#show-borders")
    page.wait_for_function(
        "[...document.images].filter(one => one.src && one.loading !== 'lazy')"
        ".every(one => one.complete)"
    )
    pictures = page.evaluate(
        "[...document.images].map(one => [one.alt, one.hidden, one.loading, one.naturalWidth])"
    )
    assert len(pictures) == len(report.entries) + 4 + 6
    for alt, hidden, loading, width in pictures:
        assert alt or hidden
        assert width > 0 or hidden or loading == "lazy"


def test_the_slider_moves_the_clip(visit, page_path):
    page = visit(page_path)
    clip = "getComputedStyle(document.getElementById('other')).clipPath"
    before = page.evaluate(clip)
    page.locator("#cut").focus()
    page.keyboard.press("Home")
    after = page.evaluate(clip)
    assert before != after
    assert "0%" in after or "0px" in after
    box = page.locator("#stage").bounding_box()
    page.locator("#stage").click(position={"x": box["width"] * 0.25, "y": 40})
    assert float(page.locator("#cut").input_value()) == pytest.approx(25, abs=1)
    assert "25" in page.evaluate(clip)


def test_what_lies_right_of_the_slider_can_be_chosen(visit, page_path):
    page = visit(page_path)
    template = page.locator("#other").get_attribute("src")
    page.select_option("#versus", "mask")
    assert page.locator("#other").get_attribute("src") != template
    assert page.locator("#other-tag").inner_text() == "expression mask"
    page.select_option("#versus", "")
    assert not page.locator("#other").is_visible()
    assert page.locator("#cut").is_disabled()


def test_arrow_keys_go_through_the_sections(visit, page_path, report):
    page = visit(page_path)
    count = len(report.entries)
    start = (count - 1) // 2
    assert f"{start + 1} of {count}" in shown(page)
    raw = page.locator("#raw").get_attribute("src")
    page.keyboard.press("ArrowRight")
    assert f"{start + 2} of {count}" in shown(page)
    assert page.locator("#raw").get_attribute("src") != raw
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert f"{start} of {count}" in shown(page)
    for _ in range(count):
        page.keyboard.press("ArrowLeft")
    assert f"1 of {count}" in shown(page)
    # in a field of text and on a slider the keys keep their own meaning
    page.locator("#filter").focus()
    page.keyboard.press("ArrowRight")
    assert f"1 of {count}" in shown(page)
    page.locator("#next").click()
    assert f"2 of {count}" in shown(page)


def test_suspicious_sections_are_marked_in_words_and_shape(visit, page_path, report):
    page = visit(page_path)
    marked = page.locator(".sheet a.suspicious")
    assert marked.count() == 2
    assert "▲ suspicious" in marked.first.inner_text()
    assert page.locator(".positions a.suspicious .sign").count() == 2
    marked.first.click()
    number = report.entries[2].section.number
    assert shown(page).startswith(f"Section {number} ")
    # the reason is text, whatever it holds
    assert "fit <b>better</b> elsewhere" in page.locator("#why").inner_text()
    assert page.locator(".chart .odd").count() >= 2
    page.locator('.chart a[data-go="0"]').focus()
    page.keyboard.press("Enter")
    assert "1 of" in shown(page)
    # what is not known is a dash
    assert "–" in page.locator("#section-figures").inner_text()


def test_structures_light_up(visit, page_path, report):
    page = visit(page_path)
    entry = report.entries[(len(report.entries) - 1) // 2]
    largest = entry.views.shapes[0]
    acronym, name, _ = entry.views.names[largest.id]
    chip = page.locator("#structures button").first
    assert chip.inner_text().startswith(acronym)
    chip.hover()
    assert page.locator("#under").inner_text() == f"{acronym}: {name}"
    assert page.locator("#lines path.lit").count() == 1
    assert page.locator("#raw-lines path.lit").count() == 1
    page.mouse.move(0, 0)
    assert page.locator(".lit").count() == 0
    # pointing at the picture itself, on either side of the slider
    stage = page.locator("#stage")
    box = stage.bounding_box()
    for across in (0.4, 0.65):
        stage.hover(position={"x": box["width"] * across, "y": box["height"] * 0.5})
        assert ": " in page.locator("#under").inner_text()
    page.uncheck("#show-lines")
    assert "bare" in page.locator("#lines").get_attribute("class")


def test_the_table_sorts_and_filters(visit, page_path):
    page = visit(page_path)

    def column(k):
        texts = page.locator(f"#region-table tbody tr td:nth-child({k})").all_inner_texts()
        return [float(text) for text in texts if text != "–"]

    place = page.locator("#region-table th").all_inner_texts()
    energy, area = (
        next(k for k, text in enumerate(place, 1) if text.startswith(name))
        for name in ("Energy", "Area")
    )
    assert column(energy) == sorted(column(energy), reverse=True)
    head = page.locator("#region-table th[data-column=area_mm2]")
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert column(area) == sorted(column(area), reverse=True)
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert column(area) == sorted(column(area))
    assert len(column(area)) > 5
    both = page.locator("#region-table tbody tr").count()
    page.fill("#filter", "cerebellar")
    few = page.locator("#region-table tbody tr")
    assert 0 < few.count() < both
    assert all("cerebellar" in text.lower() for text in few.all_inner_texts())
    page.fill("#filter", "")
    page.select_option("#hemisphere", "")
    assert page.locator("#region-table tbody tr").count() > 2 * both


def test_the_volume_is_cut_where_the_sliders_say(visit, page_path):
    page = visit(page_path)
    first = page.locator(".cuts figure").first
    before = first.locator("img").first.get_attribute("src")
    cross = page.locator(".cuts figure").nth(1).locator(".cross.down")
    at = cross.get_attribute("style")
    first.locator("input").focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert first.locator("img").first.get_attribute("src") != before
    assert cross.get_attribute("style") != at


def test_the_paragraph_can_be_copied(visit, page_path):
    page = visit(page_path)
    page.locator("#copy").click()
    page.wait_for_function("document.getElementById('copied').textContent !== ''")
    with page.expect_download() as download:
        page.locator("#save-csv").click()
    assert download.value.suggested_filename == "909-regions.csv"


@pytest.mark.parametrize("width", [380, 768])
def test_small_screens_do_not_scroll_sideways(visit, page_path, width):
    page = visit(page_path, width=width, height=800)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    box = page.locator("#stage").bounding_box()
    assert box["width"] > width * 0.4


def test_nothing_jumps_from_section_to_section(visit, page_path):
    page = visit(page_path)
    place = "document.getElementById('quality').offsetTop"
    before = page.evaluate(place)
    for key in ["ArrowRight"] * 4 + ["ArrowLeft"] * 9:
        page.keyboard.press(key)
        assert page.evaluate(place) == pytest.approx(before, abs=60)


def test_the_keyboard_finds_its_way(visit, page_path):
    page = visit(page_path)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    page.locator("#next").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+Tab")
    assert page.evaluate(outline) == "solid"
    unnamed = page.evaluate(
        "[...document.querySelectorAll('input, select, button')].filter(one =>"
        " !one.labels?.length && !one.ariaLabel && !one.textContent.trim()).map(one => one.id)"
    )
    assert unnamed == []


def test_strange_names_stay_text(visit, report, tmp_path):
    evil = '</script><img src=x onerror="document.title=\'owned\'"><b>&"µ'
    dataset = report.source.dataset
    record = dataset.record
    renamed = DataSet(
        msgspec.structs.replace(record, genes=(Gene(acronym=evil, name=evil),), specimen_name=evil),
        dataset.session,
    )
    changed = dataclasses.replace(
        report,
        source=dataclasses.replace(report.source, dataset=renamed),
        warnings=(evil,),
        failed={"1": evil},
        command_line=evil,
    )
    page = visit(write_report(changed, tmp_path / "evil.html"))
    assert page.title().startswith(evil)
    assert page.locator("h1 .gene").inner_text() == evil
    assert page.locator("img[src=x]").count() == 0
    assert (
        page.evaluate("JSON.parse(document.getElementById('figures').textContent).dataset.specimen")
        == evil
    )


def test_a_page_without_atlas_masks_and_volume_is_whole(visit, report, tmp_path):
    bare = tuple(
        dataclasses.replace(
            entry,
            views=dataclasses.replace(
                entry.views,
                raw=None,
                template=None,
                mask=None,
                shapes=(),
                names={},
                problems={"raw": "It is not in the cache."},
            ),
        )
        for entry in report.entries
    )
    missing = {
        "atlas": "It is not in the cache.",
        "regions": "Without an atlas there are no structures to count in.",
        "volume": "It was not asked for.",
        "quality": "Nothing to compare with.",
    }
    less = dataclasses.replace(
        report, entries=bare, atlas=None, regions=None, quality=None, slices=(), missing=missing
    )
    page = visit(write_report(less, tmp_path / "bare.html"))
    told = page.locator(".missing").inner_text()
    assert all(reason in told for reason in missing.values())
    assert page.locator("#raw-missing").inner_text() == "It is not in the cache."
    page.keyboard.press("ArrowRight")
    assert page.locator("#registered").is_visible()
    assert page.locator("#region-table").count() == 0
