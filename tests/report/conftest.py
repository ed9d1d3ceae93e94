"""One small report for all tests, and a browser to look at pages with."""

import dataclasses
import shutil
import warnings

import pytest

from atldld.demo.local import in_process_session
from atldld.quality import DatasetQuality, SectionQuality
from atldld.report import gather, open_source, try_atlas, write_report

DATASET = 909  # fourteen small sections


@pytest.fixture(scope="session")
def demo_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("report") / "cache"


@pytest.fixture(scope="session")
def demo_session(demo_cache):
    with in_process_session(demo_cache) as session:
        yield session


@pytest.fixture(scope="session")
def atlas(demo_session):
    opened, reason = try_atlas(demo_session, 100)
    assert reason is None
    return opened


@pytest.fixture(scope="session")
def source(demo_session):
    return open_source(DATASET, session=demo_session, resolution=50, table_resolution=50)


@pytest.fixture(scope="session")
def gathered(source, atlas):
    return gather(source, atlas, command_line="atldld report 909")


@pytest.fixture(scope="session")
def report(gathered):
    """The report, with quality figures of which some are odd for certain."""
    sections = tuple(
        SectionQuality(
            image_id=entry.section.id,
            section_number=entry.section.number,
            overlap=0.9,
            mutual_information=None if k == 3 else 0.4,
            continuity=float("nan") if k == 0 else 0.5,
            misplacement=20.0,
            sharpness=0.7,
            tear=0.01,
            outside=0.0,
            score=9.5 if k in (2, 5) else 1.0,
            suspicious=k in (2, 5),
            reasons=("it would fit <b>better</b> elsewhere",) if k in (2, 5) else (),
        )
        for k, entry in enumerate(gathered.entries)
    )
    quality = DatasetQuality(sections, 7.0, "Made up for a test.", True, "ccf_2017", 50)
    return dataclasses.replace(gathered, quality=quality)


@pytest.fixture(scope="session")
def page_path(report, tmp_path_factory):
    return write_report(report, tmp_path_factory.mktemp("pages") / "report.html")


@pytest.fixture(scope="session")
def browser():
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("there is no chromium here to look at pages with")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with warnings.catch_warnings(), playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser):
    """Open a page from disk; at the end nothing may have gone wrong or left it."""
    contexts, told, requests = [], [], []

    def open_page(path, width=1400, height=1000, fragment="", **options):
        options.setdefault("reduced_motion", "reduce")  # nothing moves while it is measured
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(600_000)  # other work may keep the machine busy
        contexts.append(context)

        def answer(route):
            requests.append(route.request.url)
            if route.request.url.startswith(("file:", "data:")):
                route.continue_()
            else:
                route.abort()

        context.route("**/*", answer)
        page = context.new_page()
        page.on("console", lambda message: told.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: told.append(str(error)))
        page.goto(path.as_uri() + (f"#{fragment}" if fragment else ""))
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert told == []
    assert [url[:80] for url in requests if not url.startswith(("file:", "data:"))] == []
