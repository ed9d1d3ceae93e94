"""The page as people use it, in a browser."""

import dataclasses
import json
import re
from pathlib import Path

import msgspec
import pytest

from atldld.api import DataSet
from atldld.records import Gene
from atldld.report import write_report
from atldld.report.charts import number

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

SIZES = {390: 844, 768: 1024, 1280: 800, 1920: 1080}
"""Widths and heights of a phone, a tablet, a laptop and a large screen."""


def shown(page):
    return page.locator("#said").inner_text()


def expect(locator):
    from playwright.sync_api import expect

    expect.set_options(timeout=600_000)  # other work may keep the machine busy
    return expect(locator)


def viewer_is_seen(page):
    return page.evaluate(
        "(box => box.top < innerHeight * 0.8 && box.bottom > 100)"
        "(document.getElementById('stage').getBoundingClientRect())"
    )


def cut_of(page):
    return float(page.locator("#cut").input_value())


def test_nothing_is_fetched_and_nothing_is_wrong(visit, page_path):
    page = visit(page_path)
    assert "SYNTHETIC" in page.locator(".synthetic").inner_text()
    # the fixture looks at console and requests when the test is done
    for part in ("summary", "section", "regions", "quality", "volume", "about", "made"):
        assert page.locator(f"#{part} :is(h1, h2)").first.is_visible()


# ---- the first screen


@pytest.mark.parametrize("width", SIZES)
def test_the_first_screen_shows_the_brain_and_the_expression(visit, page_path, report, width):
    page = visit(page_path, width=width, height=SIZES[width])
    inside = """selector => { const box = document.querySelector(selector).getBoundingClientRect();
        return box.top >= 0 && box.bottom <= innerHeight && box.width > 0; }"""
    assert page.evaluate(inside, ".hero img")
    assert page.evaluate(inside, ".hero img.mask")
    assert page.locator(".hero svg path").count() == len(
        report.entries[report.most_telling.place].views.shapes
    )
    assert page.evaluate(inside, ".bars li:nth-child(3)")
    if width >= 1280:
        assert page.evaluate(inside, "#doubts .odd-ones img")
    box = page.locator(".hero .still").bounding_box()
    assert box["width"] > min(width, 1520) * (0.4 if width > 900 else 0.85)


def test_what_is_to_be_distrusted_is_shown_and_leads_there(visit, page_path, report):
    page = visit(page_path)
    doubts = page.locator("#doubts")
    assert "2 of 14 sections look out of place" in doubts.inner_text()
    assert doubts.locator("li.serious img").count() == 2
    doubts.locator(".odd-ones a").first.click()
    assert shown(page).startswith(f"Section {report.entries[2].section.number} ")
    assert viewer_is_seen(page)


def test_the_strongest_regions_lead_to_their_rows(visit, page_path):
    page = visit(page_path)
    bars = page.locator(".bars a")
    widths = bars.locator(".bar span").evaluate_all("all => all.map(one => one.style.width)")
    shares = [float(width.rstrip("%")) for width in widths]
    assert shares[0] == 100
    assert shares == sorted(shares, reverse=True)
    page.locator("#close-all").click()
    acronym = bars.nth(1).locator("b").inner_text()
    bars.nth(1).click()
    row = page.locator("#region-table tr.found")
    assert row.count() == 1
    assert row.locator("b").inner_text() == acronym
    assert row.is_visible()


def test_the_picture_leads_to_its_section(visit, page_path, report):
    page = visit(page_path)
    hero = report.entries[report.most_telling.place]
    assert shown(page).startswith(f"Section {hero.section.number} ")
    page.keyboard.press("ArrowRight")
    assert not shown(page).startswith(f"Section {hero.section.number} ")
    page.locator(".hero .still").click(position={"x": 5, "y": 5})
    assert shown(page).startswith(f"Section {hero.section.number} ")


def test_the_navigation_stays_and_says_where_one_is(visit, page_path):
    page = visit(page_path)
    for part in ("regions", "quality", "section"):
        page.locator(f"nav a[href='#{part}']").click()
        expect(page.locator("nav a.here")).to_have_attribute("href", f"#{part}")
        assert page.locator(".top").bounding_box()["y"] == 0
        # the heading is not below the bar
        bar = page.locator(".top").bounding_box()
        assert page.locator(f"#{part} h2").bounding_box()["y"] >= bar["height"]


# ---- the viewer


def test_every_picture_has_a_text_and_is_drawn(visit, page_path, report):
    page = visit(page_path)
    page.check("#show-borders")
    page.evaluate(
        "Promise.all([...document.images].filter(one => one.src && one.loading !== 'lazy')"
        ".map(one => one.decode()))"
    )
    pictures = page.evaluate(
        "[...document.images].map(one =>"
        " [one.alt || one.closest('a')?.textContent, one.hidden, one.loading, one.naturalWidth])"
    )
    assert len(pictures) >= len(report.entries) + 4 + 6
    for text, hidden, loading, width in pictures:
        assert text or hidden
        assert width > 0 or hidden or loading == "lazy"


def test_the_expression_is_shown_at_first(visit, page_path):
    page = visit(page_path)
    mask = page.locator("#left-mask")
    assert page.locator("#show-mask").is_checked()
    assert mask.is_visible()
    opacity = "getComputedStyle(document.getElementById('left-mask')).opacity"
    before = float(page.evaluate(opacity))
    page.locator("#mask-opacity").focus()
    page.keyboard.press("Home")
    assert float(page.evaluate(opacity)) < before / 2
    page.uncheck("#show-mask")
    assert not mask.is_visible()


def clip(page, side):
    return page.evaluate(f"getComputedStyle(document.getElementById('layer-{side}')).clipPath")


def test_the_slider_moves_the_edge(visit, page_path):
    page = visit(page_path)
    before = clip(page, "left"), clip(page, "right")
    page.locator("#cut").focus()
    page.keyboard.press("Home")
    assert (clip(page, "left"), clip(page, "right")) != before
    assert "100%" in clip(page, "left")
    # dragged with the mouse over the picture
    page.locator("#stage").scroll_into_view_if_needed()
    box = page.locator("#stage").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 40)
    page.mouse.down()
    assert cut_of(page) == pytest.approx(25, abs=1)
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + 60, steps=4)
    page.mouse.up()
    assert cut_of(page) == pytest.approx(70, abs=1)
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 60)
    assert cut_of(page) == pytest.approx(70, abs=1)
    assert "70" in clip(page, "right")


def test_pictures_can_be_blended_or_laid_side_by_side(visit, page_path):
    page = visit(page_path)
    opacity = "getComputedStyle(document.getElementById('layer-right')).opacity"
    page.locator("#mode label", has_text="Blend").click()
    page.locator("#cut").fill("20")
    assert float(page.evaluate(opacity)) == pytest.approx(0.2)
    assert clip(page, "left") == clip(page, "right") == "none"
    page.locator("#cut").fill("80")
    assert float(page.evaluate(opacity)) == pytest.approx(0.8)
    page.locator("#mode label", has_text="Side by side").click()
    assert float(page.evaluate(opacity)) == 1
    left, right = (page.locator(f"#layer-{side}").bounding_box() for side in ("left", "right"))
    assert left["x"] + left["width"] <= right["x"]
    assert left["width"] == pytest.approx(right["width"], abs=1)
    assert page.locator("#cut").is_disabled()


def test_each_side_shows_what_is_chosen(visit, page_path, report):
    page = visit(page_path)
    entry = report.entries[report.most_telling.place]
    views = {
        "registered": entry.views.registered,
        "raw": entry.views.raw,
        "mask": entry.views.mask,
        "template": entry.views.template,
    }
    kinds = page.locator("#left option").evaluate_all("all => all.map(one => one.value)")
    assert kinds == list(views)
    for side in ("left", "right"):
        for kind, picture in views.items():
            page.select_option(f"#{side}", kind)
            assert page.locator(f"#{side}-picture").get_attribute("src") == picture.uri
            assert page.locator(f"#{side}-lines path").count() == len(entry.views.shapes)
            tag = page.locator(f"#{side}-tag").inner_text()
            assert tag == page.locator(f"#{side} option:checked").inner_text()
    page.select_option("#left", "raw")
    page.locator("#swap").click()
    assert page.locator("#left").input_value() == "template"
    assert page.locator("#right").input_value() == "raw"
    page.select_option("#right", "")
    assert not page.locator("#layer-right").is_visible()
    assert page.locator("#cut").is_disabled()


def test_arrow_keys_go_through_the_sections(visit, page_path, report):
    page = visit(page_path)
    count = len(report.entries)
    start = report.most_telling.place
    assert f"{start + 1} of {count}" in shown(page)
    picture = page.locator("#left-picture").get_attribute("src")
    page.keyboard.press("ArrowRight")
    assert f"{start + 2} of {count}" in shown(page)
    assert page.locator("#left-picture").get_attribute("src") != picture
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert f"{start} of {count}" in shown(page)
    for _ in range(count):
        page.keyboard.press("ArrowLeft")
    assert f"· 1 of {count}" in shown(page)
    assert page.locator("#previous").is_disabled()
    # in a field of text and on a slider the keys keep their own meaning
    page.locator("#filter").focus()
    page.keyboard.press("ArrowRight")
    assert f"· 1 of {count}" in shown(page)
    page.locator("#next").click()
    assert f"· 2 of {count}" in shown(page)
    # so that the address leads there
    assert page.url.endswith(f"#s-{report.entries[1].section.id}")


def test_an_address_leads_to_a_section(visit, page_path, report):
    last = report.entries[-1]
    page = visit(page_path, fragment=f"s-{last.section.id}")
    assert shown(page).startswith(f"Section {last.section.number} ")


def test_suspicious_sections_are_marked_in_words_and_shape(visit, page_path, report):
    page = visit(page_path)
    marked = page.locator(".film a.suspicious")
    assert marked.count() == 2
    assert "▲ suspicious" in marked.first.inner_text()
    assert page.locator(".film .worth").count() == len(report.entries)
    assert page.locator(".positions a.suspicious .sign").count() == 2
    marked.first.click()
    assert shown(page).startswith(f"Section {report.entries[2].section.number} ")
    # the reason is text, whatever it holds
    assert "fit <b>better</b> elsewhere" in page.locator("#why").inner_text()
    page.locator("details", has_text="All figures along the brain").locator("summary").click()
    assert page.locator(".chart .odd").count() >= 2
    # what is not known is a dash
    page.locator('.film a[data-go="0"]').click()
    assert "–" in page.locator("#section-figures").inner_text()
    assert not page.locator("#why").is_visible()


def test_pointing_names_the_structure_and_what_it_lies_in(visit, page_path, report):
    page = visit(page_path)
    entry = report.entries[report.most_telling.place]
    graph = report.atlas.graph
    # in the still of the first screen and in the viewer, on either side of the edge
    for stage, across in ((".hero .still", 0.4), ("#stage", 0.4), ("#stage", 0.6)):
        part = page.locator(stage)
        part.scroll_into_view_if_needed()
        box = part.bounding_box()
        part.hover(position={"x": box["width"] * across, "y": box["height"] * 0.5})
        told = page.locator("#tip").inner_text()
        acronym = told.split()[0]
        structure = graph.find(acronym)
        assert structure.name in told
        for above in structure.path[1:-1]:
            assert graph[above].name in told
    largest = entry.views.shapes[0]
    acronym, name, _ = entry.views.names[largest.id]
    chip = page.locator("#structures button").first
    assert chip.inner_text().startswith(acronym)
    chip.hover()
    assert page.locator("#under").inner_text().startswith(f"{acronym} {name}")
    assert page.locator("#left-lines path.lit").count() == 1
    page.mouse.move(0, 0)
    assert page.locator(".lit").count() == 0
    page.uncheck("#show-lines")
    assert "bare" in page.locator("#left-lines").get_attribute("class")
    # without lines structures are named all the same
    page.locator("#stage").hover(position={"x": box["width"] * 0.4, "y": box["height"] * 0.5})
    assert page.locator("#tip").is_visible()


def test_tapping_names_the_structure(visit, page_path):
    page = visit(page_path, width=390, height=844, has_touch=True)
    stage = page.locator("#stage")
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    stage.tap(position={"x": box["width"] * 0.4, "y": box["height"] * 0.5})
    assert "Point at" not in page.locator("#under").inner_text()


# ---- regions


def column(page, name):
    place = page.locator(f"#region-table thead th[data-column={name}]").evaluate(
        "one => [...one.parentElement.children].indexOf(one) + 1"
    )
    texts = page.locator(f"#region-table tbody tr > :nth-child({place})").all_inner_texts()
    return [float(text.replace(",", "").lstrip("<\xa0")) for text in texts if text != "–"]


def test_the_table_is_a_tree(visit, page_path, report):
    page = visit(page_path)
    rows = page.locator("#region-table tbody tr")
    parent = page.locator("#region-table [data-twist]").first
    everything = rows.count()
    assert parent.get_attribute("aria-expanded") == "true"
    page.locator("#close-all").click()
    assert rows.count() < everything / 3
    page.locator("#region-table [data-twist]").first.click()
    opened = rows.count()
    assert opened < everything
    page.keyboard.press("Enter")  # the focus has stayed on it
    assert rows.count() < opened
    page.locator("#open-all").click()
    assert rows.count() >= everything
    # a part stands below what it lies in, deeper by one
    parents = dict(
        zip(
            report.regions["structure_id"].tolist(),
            report.regions["parent_id"].tolist(),
            strict=True,
        )
    )
    told = rows.evaluate_all(
        "all => all.map(one => [Number(one.dataset.row),"
        " Number(one.firstChild.style.getPropertyValue('--depth'))])"
    )
    above = {}
    for structure, depth in told:
        above[depth] = structure
        if depth:
            assert parents[structure] == above[depth - 1]
    assert rows.locator(".bar-cell").count() > 3


def test_the_table_sorts_searches_and_is_saved(visit, page_path):
    page = visit(page_path)
    tree = page.locator("#region-table tbody tr")
    everything = tree.count()
    page.fill("#filter", "cerebellar")
    found = page.locator("#region-table tr.found").all_inner_texts()
    assert found
    assert all("cerebellar" in text.lower() for text in found)
    # with what they lie in
    assert len(found) < tree.count() < everything
    assert f"{len(found)} of" in page.locator("#table-count").inner_text()
    page.fill("#filter", "")
    page.locator("#shape label", has_text="Ranking").click()
    assert column(page, "energy") == sorted(column(page, "energy"), reverse=True)
    head = page.locator("#region-table th[data-column=area_mm2]")
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert column(page, "area_mm2") == sorted(column(page, "area_mm2"), reverse=True)
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert column(page, "area_mm2") == sorted(column(page, "area_mm2"))
    assert len(column(page, "area_mm2")) > 5
    both = column(page, "area_mm2")
    page.select_option("#hemisphere", "left")
    assert sum(column(page, "area_mm2")) < 0.9 * sum(both)
    with page.expect_download() as download:
        page.locator("#save-csv").click()
    assert download.value.suggested_filename == "909-regions.csv"
    lines = Path(download.value.path()).read_text("utf-8").splitlines()
    assert lines[0].startswith("structure_id,acronym")
    assert len(lines) > everything


# ---- quality


def test_the_heat_strip_leads_to_its_sections(visit, page_path, report):
    page = visit(page_path)
    bands = page.locator("#heat a.band")
    assert bands.count() == len(report.entries)
    assert page.locator("#heat a.suspicious").count() == 2
    for k in (0, 7, 13):
        bands.nth(k).click()
        assert shown(page).startswith(f"Section {report.entries[k].section.number} ")
        assert viewer_is_seen(page)
    # the worst are the darkest, and what is not known is hatched
    names = page.locator(".heat-names span").all_inner_texts()
    score, continuity = names.index("Score"), names.index("Continuity")
    cells = bands.nth(2).locator("i")
    assert cells.nth(score).get_attribute("class") == "h4"
    assert bands.nth(0).locator("i").nth(continuity).get_attribute("class") == "hx"
    assert "Score 9.5" in bands.nth(2).get_attribute("title")


def test_film_and_strip_are_one_stop_each_for_the_keyboard(visit, page_path, report):
    page = visit(page_path)
    for row in ("#film", "#heat"):
        stops = page.locator(f"{row} a:not([tabindex='-1'])")
        assert stops.count() == 1
        before = shown(page)
        stops.focus()
        page.keyboard.press("ArrowRight")
        assert shown(page) != before
        focused = "document.activeElement.classList.contains('now')"
        assert page.evaluate(focused)


# ---- as a whole


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
    expect(page.locator("#copied")).not_to_be_empty()


def test_numbers_are_as_people_read_them(visit, page_path):
    page = visit(page_path)
    for place in range(0, 14, 5):
        page.locator(f'.film a[data-go="{place}"]').click()
        text = page.locator("#main").inner_text()
        # not in the middle of a commit or a hash
        assert re.findall(r"(?<!\w)[\d.]+[eE][-+]?\d+(?!\w)", text) == []
        for part in ("#section-figures", "#region-table", ".bars"):
            for found in re.findall(r"\d+\.\d+", page.locator(part).inner_text()):
                assert len(found.replace(".", "").lstrip("0")) <= 3, (part, found)


def test_script_and_page_say_numbers_alike(visit, page_path, report, tmp_path):
    values = [0, 1, 0.5, -0.5, 4.2e-5, -4.2e-5, 0.00123456, 0.1 + 0.2, 2.5, 99.94, 99.96, 1234.6,
              -98765.4, 3.14159, 10.0, 0.0009999, 1e7, 31.4159, 100, 12.0001]  # fmt: skip
    entries = [
        dataclasses.replace(
            section,
            overlap=values[k % len(values)],
            misplacement=values[(k + 7) % len(values)],
            tear=values[(k + 13) % len(values)],
        )
        for k, section in enumerate(report.quality.sections)
    ]
    quality = dataclasses.replace(report.quality, sections=tuple(entries))
    page = visit(write_report(dataclasses.replace(report, quality=quality), tmp_path / "n.html"))
    for place in range(len(report.entries)):
        page.locator(f'.film a[data-go="{place}"]').click()
        one = entries[place]
        table = page.locator("#section-figures")
        for title, value in (
            ("Overlap", one.overlap),
            ("Misplacement", one.misplacement),
            ("Missing", one.tear),
        ):
            row = table.locator("tr", has_text=title)
            assert row.locator("td").inner_text() == number(value)


@pytest.mark.parametrize("width", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_screen_scrolls_sideways(visit, page_path, width, scheme):
    page = visit(page_path, width=width, height=SIZES[width], color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("#mode label", has_text="Side by side").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    box = page.locator("#stage").bounding_box()
    assert box["width"] > width * 0.4
    # what is wider than the screen scrolls by itself
    hidden = page.evaluate(
        """() => [...document.querySelectorAll('main *')].filter(one => {
            const box = one.getBoundingClientRect();
            return box.width && box.right > innerWidth + 1
                && !one.closest('.film, .heat-bands, .wide, .scroll, .hide, .stage');
        }).map(one => one.outerHTML.slice(0, 80))"""
    )
    assert hidden == []


CUT_OFF = """selector => [...document.querySelectorAll(selector)]
    .filter(one => one.offsetParent && one.scrollWidth > one.clientWidth + 1)
    .map(one => one.textContent.trim())"""


@pytest.mark.parametrize("width", [390, 1280])
def test_no_name_of_a_structure_is_cut_off(visit, page_path, width):
    page = visit(page_path, width=width, height=SIZES[width])
    assert page.evaluate(CUT_OFF, ".bars .what") == []
    assert page.evaluate(CUT_OFF, "#region-table tbody th") == []


def test_the_cuts_keep_their_scale_where_they_do_not_fit_beside_one_another(visit, page_path):
    page = visit(page_path, width=768, height=1024)
    widths = [page.locator(".cuts .slice").nth(k).bounding_box()["width"] for k in range(3)]
    assert max(widths) <= 1.05 * min(widths)


def test_fingers_find_what_they_want(visit, page_path):
    page = visit(page_path, width=390, height=844, has_touch=True)
    small = page.evaluate(
        """() => [...document.querySelectorAll('button, select, .segments label > span')]
            .filter(one => one.offsetParent && !one.closest('table'))
            .map(one => [one.textContent.trim(), one.getBoundingClientRect().height])
            .filter(([, height]) => height < 36)"""
    )
    assert small == []


def test_nothing_jumps_from_section_to_section(visit, page_path):
    page = visit(page_path)
    place = "document.getElementById('regions').offsetTop"
    page.locator("#film a").nth(0).click()
    before = page.evaluate(place)
    for key in ["ArrowRight"] * 4 + ["ArrowLeft"] * 3:
        page.keyboard.press(key)
        assert page.evaluate(place) == pytest.approx(before, abs=90)


def test_the_keyboard_finds_its_way(visit, page_path):
    page = visit(page_path)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    page.locator("#next").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+Tab")
    assert page.evaluate(outline) == "solid"


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(visit, page_path, width, scheme):
    axe = pytest.importorskip("axe_playwright_python", reason="axe-core is not installed")
    script = (Path(axe.__file__).parent / "axe.min.js").read_text("utf-8")
    page = visit(page_path, width=width, height=SIZES[width], color_scheme=scheme)
    page.locator('.film a[data-go="2"]').click()
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    page.evaluate(script)
    found = page.evaluate("axe.run({resultTypes: ['violations']})")
    serious = [
        (one["id"], one["impact"], [node["html"][:120] for node in one["nodes"][:3]])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []
    assert len(found["passes"]) > 10


def test_without_javascript_it_can_be_read(visit, page_path, report):
    page = visit(page_path, java_script_enabled=False)
    assert page.locator(".hero img.mask").is_visible()
    assert page.locator(".bars li").count() >= 3
    assert page.locator("#film img").nth(len(report.entries) - 1).is_visible()
    assert page.locator("#region-table tbody tr").count() > 5
    assert page.locator("#heat .band").first.is_visible()
    assert page.locator(".cuts img").first.is_visible()
    assert page.locator("#methods").is_visible()
    # what would do nothing is not there
    assert not page.locator("#viewer").is_visible()
    assert not page.locator("#filter").is_visible()
    assert "JavaScript" in page.locator("body").inner_text()


def test_it_prints_well(visit, page_path):
    page = visit(page_path, width=1000, height=1400)
    page.locator("#open-all").click()
    page.emulate_media(media="print")
    for unwanted in ("nav", ".top", "#cut", "#filter", "#which", "#next", "#save-csv"):
        assert not page.locator(unwanted).is_visible()
    page.set_viewport_size({"width": 718, "height": 1000})  # what A4 leaves between its margins
    cut_off = page.evaluate(
        """() => [...document.querySelectorAll('main *')].filter(one => {
            const box = one.getBoundingClientRect();
            return box.width && box.right > 720 && !one.closest('.hide, svg');
        }).map(one => one.outerHTML.slice(0, 80))"""
    )
    assert cut_off == []
    for wanted in (".hero img.mask", ".bars", "#doubts", "#heat", "#region-table", "#methods"):
        assert page.locator(wanted).first.is_visible()
    pdf = page.pdf(format="A4")
    pages = len(re.findall(rb"/Type\s*/Page\b", pdf))
    assert 3 <= pages <= 12


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
        remarks=(evil,),
        failed={"1": evil},
        command_line=evil,
    )
    page = visit(write_report(changed, tmp_path / "evil.html"))
    assert page.title().startswith(evil)
    assert page.locator("h1 .gene").inner_text() == evil
    assert evil in page.locator("#doubts").inner_text()
    assert page.locator("img[src=x]").count() == 0
    figures = page.evaluate("document.getElementById('figures').textContent")
    assert json.loads(figures)["dataset"]["specimen"] == evil


def test_a_page_without_atlas_masks_and_volume_is_whole(visit, report, tmp_path):
    bare = tuple(
        dataclasses.replace(
            entry,
            views=dataclasses.replace(
                entry.views,
                raw=None,
                template=None,
                mask=None,
                expression=None,
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
        report,
        entries=bare,
        atlas=None,
        regions=None,
        quality=None,
        hero=None,
        slices=(),
        missing=missing,
    )
    page = visit(write_report(less, tmp_path / "bare.html"))
    told = page.locator("#missing").inner_text()
    assert all(reason in told for reason in missing.values())
    page.select_option("#left", "raw")
    assert page.locator("#left-absent").inner_text() == "It is not in the cache."
    page.keyboard.press("ArrowRight")
    page.select_option("#left", "registered")
    assert page.locator("#left-picture").is_visible()
    assert page.locator("#region-table").count() == 0
    assert page.locator("#heat").count() == 0
