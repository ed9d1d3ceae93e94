"""The page of `atldld align` as people use it, in a browser, with real mouse and keys."""

import json
import shutil
import threading
import warnings
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from atldld.align.desk import open_desk
from atldld.align.listen import listen
from atldld.align.plane_numbers import PlaneNumbers
from atldld.api import open_dataset
from atldld.atlas import open_atlas
from atldld.demo.local import in_process_session
from atldld.formats import image_name, write_quicknii
from atldld.place.alignment import read_alignment
from atldld.place.placement import Placement
from atldld.place.refinement import StepResult
from atldld.place.registration import Registration, SectionFit
from atldld.sections.images import copy_images
from atldld.testing.disturbed import disturbed, known_errors, tissue_of
from tests.peers.environments import pynutil_runner

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

DATASET = 909  # fourteen small sections
NAME = "by-hand.json"
SIZES = {768: 1024, 1024: 768, 1280: 800, 1600: 1000}
PATIENT = 600_000  # ms; other work may keep the machine busy


def wait(page, expression):
    """Wait until something is true of a page; its policy forbids Playwright's own way."""
    for _ in range(PATIENT // 25):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(25)
    raise AssertionError(f"never: {expression}")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A session of the demo archive, data set 909, the demo's atlas, and where sections start."""
    with in_process_session(tmp_path_factory.mktemp("align") / "cache") as session:
        dataset = open_dataset(DATASET, session=session)
        atlas = open_atlas(100, session=session)
        yield session, dataset, atlas, disturbed(dataset, atlas, seed=3)


@contextmanager
def served(desk):
    opened = listen(desk)
    opened.application._marks._wait = 3600  # quality marks would keep a core busy meanwhile
    threading.Thread(target=opened.server.run, daemon=True).start()
    try:
        yield opened.address
    finally:
        opened.application.close()
        opened.server.close()


class Edited:
    """A desk that is served, and the address of its page."""

    def __init__(self, desk, address):
        self._desk, self.address = desk, address

    def __getattr__(self, name):
        return getattr(self._desk, name)

    def written(self):
        """Return the registration as it stands in its file."""
        found = read_alignment(self.output)
        assert isinstance(found, Registration)
        return found


@pytest.fixture(scope="module")
def begun(demo, tmp_path_factory):
    """A folder in which the work has begun, to be copied."""
    session, dataset, atlas, start = demo
    folder = tmp_path_factory.mktemp("begun")
    open_desk(dataset.record, session, atlas, folder / NAME, alignment=start).close()
    return folder


@pytest.fixture
def desk(demo, begun, tmp_path):
    """A data set that is edited, and the address of its page."""
    session, dataset, atlas, _ = demo
    shutil.copytree(begun, tmp_path / "work")
    opened = open_desk(dataset.record, session, atlas, tmp_path / "work" / NAME)
    with served(opened) as address:
        yield Edited(opened, address)
    opened.close()


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
def visit(browser, desk):  # pages are closed before the server is
    """Open the page; at the end nothing may have gone wrong or been fetched from elsewhere."""
    contexts, told, elsewhere = [], [], []

    def open_page(address, width=1280, height=800, expected=(), **options):
        options.setdefault("reduced_motion", "reduce")
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(PATIENT)
        contexts.append(context)
        return open_tab(context, address, expected)

    def open_tab(context, address, expected=()):
        page = context.new_page()
        ours = address.split("/?")[0]

        def said(kind, text):
            if not any(part in text for part in expected):
                told.append(f"{kind}: {text}")

        page.on("console", lambda message: said(message.type, message.text))
        page.on("pageerror", lambda error: said("error", str(error)))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith((ours, "blob:", "data:"))
                else elsewhere.append(request.url)
            ),
        )
        page.goto(address)
        wait(page, "document.body.classList.contains('ready')")
        wait(page, "atldld.isDrawn()")
        return page

    yield SimpleNamespace(page=open_page, tab=open_tab)
    for context in contexts:
        context.close()
    assert told == []
    assert elsewhere == []


class Hand:
    """A person at the page."""

    def __init__(self, page, desk):
        self.page, self.desk = page, desk

    @property
    def id(self):
        return self.page.evaluate("atldld.current().image_id")

    @property
    def state(self):
        return self.desk.document.sections[self.id]

    @property
    def forward(self):
        return np.array(self.state.forward)

    @property
    def numbers(self):
        return PlaneNumbers.of(self.state.forward, self.desk.shape_of(self.id))

    def on_screen(self, pixels):
        """Return where pixels of the picture are on the screen, shape (N, 2)."""
        box = self.page.locator("#picture").bounding_box()
        to_stage = np.array(self.page.evaluate("atldld.toStage()"))
        return np.atleast_2d(pixels) @ to_stage[:2, :2].T + to_stage[:2, 2] + [box["x"], box["y"]]

    @property
    def scale(self):
        """Pixels of the picture that a pixel of the screen covers."""
        return 1 / self.page.evaluate("atldld.toStage()[0][0]")

    def drag(self, start, end, steps=5):
        mouse = self.page.mouse
        mouse.move(*start)
        mouse.down()
        mouse.move(*end, steps=steps)
        mouse.up()
        self.settle()

    def drag_part(self, selector, dx, dy):
        box = self.page.locator(selector).bounding_box()
        x, y = round(box["x"] + box["width"] / 2), round(box["y"] + box["height"] / 2)
        self.drag((x, y), (x + dx, y + dy))

    def settle(self):
        """Wait until everything is saved."""
        wait(self.page, "atldld.isSettled()")

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)
        self.settle()

    def choose(self, name, value):
        self.page.locator(f"[name={name}][value={value}] + span").click()

    def go_to(self, place):
        self.page.locator("#sections [role=option]").nth(place).click()
        wait(self.page, f"atldld.state.at === {place}")
        self.ready()

    def ready(self):
        """Wait until the picture and the atlas are there."""
        wait(self.page, "atldld.isDrawn()")

    @property
    def middle(self):
        box = self.page.locator("#stage").bounding_box()
        # whole, as buttons go down on whole pixels
        return np.round([box["x"] + box["width"] / 2, box["y"] + box["height"] / 2])


@pytest.fixture
def hand(visit, desk):
    found = Hand(visit.page(desk.address), desk)
    found.go_to(6)
    return found


def same_plane(a, b):
    return np.allclose(a, b, rtol=1e-7, atol=1e-4)


# ---- the page as it is opened


def test_nothing_is_wrong_and_nothing_comes_from_elsewhere(visit, desk):
    page = visit.page(desk.address)
    # the fixture looks at console and requests when the test is done
    assert page.locator("#sections [role=option]").count() == len(desk.sections)
    wait(
        page,
        "[...document.querySelectorAll('#sections img')].slice(0, 4)"
        ".every(one => one.complete && one.naturalWidth > 0)",
    )
    assert "Demo" in page.locator("h1").inner_text()
    # the key is in no screenshot and no history, and the page can be loaded anew all the same
    assert "token" not in page.url
    page.reload()
    wait(page, "document.body.classList.contains('ready')")


def test_a_part_of_the_picture_that_fails_is_asked_for_again(visit, desk):
    page = visit.page(desk.address, expected=("ERR_FAILED",))
    failed = []

    def fail(route):
        if route.request.url in failed:
            route.continue_()
        else:
            failed.append(route.request.url)
            route.abort()

    page.route("**/tiles/**", fail)
    page.locator("#next").click()
    page.locator("#told", has_text="asked for again").wait_for()
    wait(page, "atldld.isWhole()")
    assert failed


def test_without_its_key_the_address_says_what_to_do(browser, desk):
    context = browser.new_context()
    page = context.new_page()
    page.goto(desk.address.split("?")[0])
    page.locator("#fatal h1").wait_for()
    assert "key" in page.locator("#fatal").inner_text()
    assert "atldld align" in page.locator("#fatal").inner_text()
    context.close()


COLOURS = """pixels => {
    const canvas = document.getElementById('fill');
    const back = new DOMMatrix(getComputedStyle(canvas).transform).inverse();
    const box = document.getElementById('picture').getBoundingClientRect();
    const copy = new OffscreenCanvas(canvas.width, canvas.height);
    const drawn = copy.getContext('2d', { willReadFrequently: true });
    drawn.drawImage(canvas, 0, 0);
    return pixels.map(([x, y]) => {
        const at = back.transformPoint(new DOMPoint(x - box.left, y - box.top));
        return [...drawn.getImageData(Math.floor(at.x), Math.floor(at.y), 1, 1).data];
    });
}"""


def drawn_alike(hand, placement):
    """Return which part of places on the screen have the colour of what lies there."""
    section, atlas = hand.desk.sections[hand.id], hand.desk.atlas
    x, y = np.meshgrid(np.linspace(0.2, 0.8, 23), np.linspace(0.2, 0.8, 23))
    pixels = np.stack((x.ravel(), y.ravel()), -1) * [section.image.width, section.image.height]
    places = placement.to_reference(pixels)
    screen = hand.on_screen(pixels)
    box = hand.page.locator("#picture").bounding_box()
    seen = (
        (screen > [box["x"], box["y"]])
        & (screen < [box["x"] + box["width"] - 1, box["y"] + box["height"] - 1])
    ).all(axis=1)
    colours = hand.page.evaluate(COLOURS, screen[seen].tolist())
    voxels = np.floor(places[seen] / atlas.resolution).astype(int)
    hits = []
    for colour, voxel in zip(colours, voxels, strict=True):
        inside = (voxel >= 0).all() and (voxel < atlas.annotation.shape).all()
        label = int(atlas.annotation[tuple(voxel)]) if inside else 0
        expected = (*atlas.graph[label].rgb, 255) if label else (0, 0, 0, 0)
        hits.append(tuple(colour) == expected)
    assert len(hits) > 30
    return np.mean(hits)


def test_the_atlas_is_drawn_where_it_lies(hand):
    placement = hand.desk.placement(hand.id)
    assert drawn_alike(hand, placement) > 0.96
    # zoomed in and panned away
    x, y = hand.middle
    hand.page.mouse.move(x + 60, y - 40)
    for _ in range(3):
        hand.page.mouse.wheel(0, -300)
    hand.drag((x, y), (x - 80, y + 30))
    wait(hand.page, "atldld.isDrawn()")
    assert hand.scale < 3.5
    assert drawn_alike(hand, placement) > 0.96


def brightness(png):
    """Return the pixels of a picture as a file holds it, in grey."""
    grey = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
    return np.asarray(grey, dtype=float)


def test_the_picture_is_shown_where_its_pixels_are_said_to_be(hand):
    page = hand.page
    page.uncheck("#show-borders")
    hand.choose("fill", "none")
    page.keyboard.press("+")
    wait(page, "atldld.isWhole() && atldld.isDrawn()")
    shown = brightness(page.screenshot())
    tier = 2
    pixels = hand.desk.sections[hand.id].pixels(tier).mean(axis=2)
    rows, columns = np.mgrid[0 : pixels.shape[0] : 4, 0 : pixels.shape[1] : 4]
    full = np.stack((columns.ravel(), rows.ravel()), -1) * 2**tier + (2**tier - 1) / 2
    screen = hand.on_screen(full)
    inside = (np.abs(screen - hand.middle) < [250, 200]).all(axis=1)
    there = pixels[::4, ::4].ravel()[inside]

    def alike(dx, dy):
        x, y = np.floor(screen[inside] + [dx, dy]).astype(int).T
        return np.corrcoef(shown[y, x], there)[0, 1]

    shifts = [(dx, dy) for dx in range(-4, 5) for dy in range(-4, 5)]
    best = max(shifts, key=lambda one: alike(*one))
    assert np.abs(best).max() <= 1
    assert alike(0, 0) > 0.8


# ---- moves


def test_a_drag_moves_the_section_and_is_saved(hand):
    before = hand.forward
    hand.choose("tool", "move")
    hand.drag(hand.middle, np.add(hand.middle, (40, -25)))
    moved = np.eye(3)
    moved[:2, 2] = np.array([-40, 25]) * hand.scale
    assert same_plane(hand.forward, before @ moved)
    assert hand.state.status == "edited"
    written = hand.desk.written().sections[hand.id]
    assert same_plane(written.image_to_reference, hand.forward)
    assert "Saved" in hand.page.locator("#saved").inner_text()
    # the picture on the screen follows, and is drawn finely in the end
    wait(hand.page, "atldld.isDrawn()")
    assert drawn_alike(hand, hand.desk.placement(hand.id)) > 0.9
    # one drag is one step
    hand.press("Control+z")
    assert same_plane(hand.forward, before)


def test_while_it_is_dragged_the_atlas_follows_at_once(hand):
    hand.choose("tool", "move")
    mouse, start = hand.page.mouse, hand.middle
    transform = "getComputedStyle(document.getElementById('fill')).transform"
    before = hand.page.evaluate(transform)
    mouse.move(*start)
    mouse.down()
    # nothing is drawn anew in between
    hand.page.route("**/overlay?*", lambda route: None)
    mouse.move(*np.add(start, (30, 12)), steps=3)
    after = hand.page.evaluate(transform)
    numbers = [
        [float(one) for one in text.removeprefix("matrix(").rstrip(")").split(",")]
        for text in (before, after)
    ]
    assert np.subtract(numbers[1], numbers[0])[4:] == pytest.approx([30, 12], abs=0.6)
    assert hand.desk.revision == 0
    hand.page.unroute("**/overlay?*")
    hand.page.keyboard.press("Escape")
    mouse.up()
    hand.settle()
    assert hand.desk.revision == 0


class Lines:
    """Counts requests of a kind that are under way at once."""

    def __init__(self, page, part):
        self.most = self.all = self._now = 0
        self._part = part
        page.on("request", self._begin)
        page.on("requestfinished", self._end)
        page.on("requestfailed", self._end)

    def _begin(self, request):
        if self._part in request.url:
            self.all += 1
            self._now += 1
            self.most = max(self.most, self._now)

    def _end(self, request):
        if self._part in request.url:
            self._now -= 1


def test_one_drawing_is_one_request_and_the_next_one_is_of_where_the_hand_is(hand):
    hand.choose("tool", "move")
    mouse, start = hand.page.mouse, hand.middle
    assert hand.page.is_checked("#show-borders")  # besides the colours
    overlays = Lines(hand.page, "/overlay?")
    mouse.move(*start)
    mouse.down()
    for k in range(1, 40):
        mouse.move(start[0] + k, start[1] + k / 2)
        hand.page.wait_for_timeout(10)
    wait(hand.page, "atldld.movedThen() === atldld.movedNow()")
    assert hand.page.evaluate("atldld.state.draft !== null")
    assert 1 < overlays.all <= 40
    assert overlays.most == 1
    mouse.up()
    hand.settle()
    # once it rests, it is drawn finely
    hand.ready()


def test_pictures_beside_the_section_leave_lines_free(hand):
    """The browser has six lines to the server; the atlas over the section needs one at any time."""
    held = []
    hand.page.route("**/cut.jpg?*", lambda route: held.append(route))
    hand.page.route("**/thumbnail.jpg?*", lambda route: held.append(route))
    hand.page.locator("#next").click()
    wait(hand.page, "atldld.state.at === 7")
    hand.page.locator("#cuts img").nth(2).wait_for()
    wait(hand.page, "atldld.isDrawn() && atldld.isWhole()")
    hand.choose("tool", "move")
    hand.drag(hand.middle, np.add(hand.middle, (30, 5)))
    hand.ready()
    assert len(held) == 2
    # they come in the end, each with the cut that was asked for last
    hand.page.unroute_all()  # which lets them go on
    wait(
        hand.page,
        "[...document.querySelectorAll('#cuts img')].every(one => one.complete"
        " && one.naturalWidth > 0 && one.src.includes(one.dataset.picture))",
    )


INKS = """() => {
    const canvas = document.getElementById('borders');
    const copy = new OffscreenCanvas(canvas.width, canvas.height);
    const drawn = copy.getContext('2d', { willReadFrequently: true });
    drawn.drawImage(canvas, 0, 0);
    const { data } = drawn.getImageData(0, 0, canvas.width, canvas.height);
    const found = {};
    for (let k = 0; k < data.length; k += 4) {
        const ink = data.slice(k, k + 4).join(' ');
        found[ink] = (found[ink] ?? 0) + 1;
    }
    return found;
}"""


def test_borders_have_a_rim_that_is_seen_on_any_ground(hand):
    for colour, ink, rim in (("orange", "194 74 0 255", 255), ("sky", "108 198 255 255", 0)):
        hand.page.select_option("#colour", colour)
        hand.ready()
        inks = hand.page.evaluate(INKS)
        around = {one: count for one, count in inks.items() if one not in (ink, "0 0 0 0")}
        assert len(inks) == 3
        assert all(one.startswith(f"{rim} {rim} {rim} ") for one in around)
        assert 0.5 * inks[ink] < sum(around.values()) < 3 * inks[ink]
    hand.page.uncheck("#show-borders")
    hand.ready()
    assert set(hand.page.evaluate(INKS)) == {"0 0 0 0"}


HANDLES = {
    ".handle.turn": ((50, 8), "rotation_deg"),
    ".handle.shear": ((40, 0), "shear"),
    '.handle.scale[data-which="2"]': ((30, 30), "scale"),
    '.handle.stretch[data-which="1"]': ((30, 0), "scale"),
}


def test_each_handle_does_one_thing(hand):
    hand.choose("tool", "move")
    before = hand.numbers
    for handle, ((dx, dy), name) in HANDLES.items():
        hand.drag_part(handle, dx, dy)
        check_handle(handle, name, before, hand.numbers)
        hand.press("Control+z")
        assert hand.numbers == before


def test_handles_stay_below_the_hand_on_a_frame_that_is_turned(hand):
    hand.choose("tool", "move")
    hand.drag_part(".handle.turn", 150, 60)

    def at(selector):
        box = hand.page.locator(selector).bounding_box()
        return np.array([box["x"] + box["width"] / 2, box["y"] + box["height"] / 2])

    side, opposite = (f'.handle.stretch[data-which="{k}"]' for k in (1, 3))
    along = at(side) - at(opposite)
    assert abs(along[1]) > 0.3 * abs(along[0])
    wanted = at(side) + 30 * along / np.linalg.norm(along)
    hand.drag(np.round(at(side)), np.round(wanted))
    assert at(side) == pytest.approx(wanted, abs=2)
    across = at(side) - at(opposite)
    apart = across[0] * along[1] - across[1] * along[0]
    assert apart == pytest.approx(0, abs=2 * float(np.linalg.norm(along)))
    wanted = at(".handle.shear") + 25 * along / np.linalg.norm(along)
    hand.drag(np.round(at(".handle.shear")), np.round(wanted))
    assert at(".handle.shear") == pytest.approx(wanted, abs=4)


def check_handle(handle, name, before, after):
    changed = np.abs(np.subtract(getattr(after, name), getattr(before, name)))
    assert changed.max() > {"rotation_deg": 3, "shear": 0.05, "scale": 0.03}[name]
    # the plane stays in its plane
    assert after.tilt_1_deg == pytest.approx(before.tilt_1_deg, abs=1e-6)
    assert after.tilt_2_deg == pytest.approx(before.tilt_2_deg, abs=1e-6)
    if "scale" in handle:
        ratios = np.divide(after.scale, before.scale)
        assert ratios[0] == pytest.approx(ratios[1], rel=1e-6)
        assert ratios[0] < 1  # a larger atlas is a smaller picture
    if name == "rotation_deg":
        assert after.scale == pytest.approx(before.scale, rel=2e-3)  # pixels are not quite square
        # the atlas was turned clockwise, so the picture is turned the other way
        assert after.rotation_deg < before.rotation_deg


KEYS = {
    "PageDown": ("depth_um", 10),
    "Shift+PageUp": ("depth_um", -100),
    "l": ("tilt_1_deg", 0.25),
    "Shift+J": ("tilt_1_deg", -1),
    "k": ("tilt_2_deg", 0.25),
    "i": ("tilt_2_deg", -0.25),
}


def test_keys_change_numbers(hand):
    hand.page.locator("#stage").focus()
    for count, (key, (name, by)) in enumerate(KEYS.items(), 1):
        before = hand.numbers
        hand.press(key)
        wait(hand.page, f"atldld.state.dataset.revision === {count}")
        after = hand.numbers
        assert getattr(after, name) - getattr(before, name) == pytest.approx(by, abs=1e-6)
        for other in ("depth_um", "tilt_1_deg", "tilt_2_deg", "rotation_deg", "shear"):
            if other != name:
                assert getattr(after, other) == pytest.approx(getattr(before, other), abs=1e-6)


BURST = """() => [['ArrowRight', false], ['ArrowRight', false], ['ArrowDown', true]].forEach(
    ([key, shiftKey]) => document.activeElement.dispatchEvent(
        new KeyboardEvent('keydown', { key, shiftKey, bubbles: true })))"""


def test_keys_shift_turn_scale_and_shear_and_a_burst_is_one_step(hand):
    pixel = hand.desk.sections[hand.id].image.resolution
    before, start = hand.forward, hand.numbers
    hand.page.locator("#stage").focus()
    # at once, however busy the machine is
    hand.page.evaluate(BURST)
    hand.settle()
    moved = np.eye(3)
    moved[:2, 2] = np.array([-20, -100]) / pixel
    assert same_plane(hand.forward, before @ moved)
    assert hand.desk.revision == 1
    hand.press(".", ".")
    assert hand.numbers.rotation_deg == pytest.approx(start.rotation_deg - 0.5, abs=0.05)
    hand.press("]")
    assert hand.numbers.scale[0] < start.scale[0]
    hand.press("o")
    assert hand.numbers.shear < start.shear - 0.003
    while hand.page.locator("#undo").is_enabled():
        hand.press("Control+z")
    assert same_plane(hand.forward, before)
    hand.press("Control+Shift+z")
    assert same_plane(hand.forward, before @ moved)


def test_numbers_can_be_typed(hand):
    before = hand.numbers
    depth = hand.page.locator("#depth")
    assert float(depth.input_value()) == pytest.approx(before.depth_um, abs=0.5)
    depth.fill(f"{round(before.depth_um) + 120}")
    hand.page.locator("#tilt-1").fill("2.5")
    hand.page.keyboard.press("Enter")
    hand.settle()
    after = hand.numbers
    assert after.depth_um == pytest.approx(round(before.depth_um) + 120, abs=1e-6)
    assert after.tilt_1_deg == pytest.approx(2.5, abs=1e-9)
    # what was not touched keeps the digits that are not shown
    assert after.rotation_deg == pytest.approx(before.rotation_deg, abs=1e-9)
    assert after.shift_um == pytest.approx(before.shift_um, abs=1e-6)
    # arrows in a field are the field's own
    depth.focus()
    hand.press("ArrowUp")
    wait(
        hand.page,
        f"Number(document.getElementById('depth').value) === {round(before.depth_um) + 130}",
    )


def test_sections_between_follow_if_wished(hand):
    hand.page.locator("#stage").focus()
    hand.press("Shift+ArrowRight")
    hand.page.select_option("#carry", "moves")
    first = hand.id
    hand.go_to(9)
    last = hand.id
    numbers = {one: section.number for one, section in hand.desk.sections.items()}
    low, high = sorted((numbers[first], numbers[last]))
    between = [one for one, number in numbers.items() if low < number < high]
    before = {one: np.array(hand.desk.document.sections[one].forward) for one in between}
    hand.page.locator("#stage").focus()
    hand.press("Shift+ArrowRight")
    assert len(between) == 2
    for one in between:
        state = hand.desk.document.sections[one]
        assert not same_plane(state.forward, before[one])
        assert state.status == "automatic"


# ---- markers


def test_markers_are_added_moved_and_deleted(hand):
    hand.choose("tool", "markers")
    at = np.add(hand.middle, (-60, 20))
    before = hand.desk.placement(hand.id)
    hand.drag(at, np.add(at, (24, -10)))
    (marker,) = hand.state.markers
    assert hand.on_screen(marker.image)[0] == pytest.approx(np.add(at, (24, -10)), abs=0.5)
    # what was at the place where it was pressed is now where it was dragged
    pressed = (np.array(at) - hand.on_screen([0, 0])[0]) * hand.scale
    now = hand.desk.placement(hand.id)
    assert np.linalg.norm(now.to_reference(marker.image) - before.to_reference(pressed)) < 15
    assert "1 marker" in hand.page.locator("#marker-count").inner_text()
    # with a second one nearby, which begins where the first has bent the atlas to
    second = np.add(at, (50, 40))
    bent = now.to_reference((second - hand.on_screen([0, 0])[0]) * hand.scale)
    hand.drag(second, np.add(second, (0, 12)))
    found = hand.desk.placement(hand.id).to_reference(hand.state.markers[1].image)
    assert np.linalg.norm(found - bent) < 15
    # moved on by its head
    hand.drag(np.add(at, (24, -10)), np.add(at, (30, 0)))
    assert hand.on_screen(hand.state.markers[0].image)[0] == pytest.approx(
        np.add(at, (30, 0)), abs=0.6
    )
    assert hand.state.markers[0].flat == marker.flat
    # and by keys, from the list
    image = hand.state.markers[1].image
    hand.page.locator("#marker-list .choose").nth(1).focus()
    hand.press("Shift+ArrowLeft", "ArrowDown")
    wait(hand.page, "atldld.state.dataset.revision === 4")
    way = (np.array(hand.state.markers[1].image) - image) / hand.scale
    assert way == pytest.approx([-10, 1], abs=1e-6)
    hand.press("Delete")
    assert len(hand.state.markers) == 1
    hand.page.locator("#marker-list .delete").click()
    hand.settle()
    assert hand.state.markers == ()
    hand.press("Control+z", "Control+z")
    assert len(hand.state.markers) == 2


def test_markers_that_fold_are_refused_in_words(visit, desk):
    hand = Hand(visit.page(desk.address, expected=("422", "400")), desk)
    hand.go_to(6)
    hand.choose("tool", "markers")
    hand.drag(hand.middle, np.add(hand.middle, (1, 0)))
    hand.drag(np.add(hand.middle, (40, 0)), np.add(hand.middle, (-60, 0)))
    hand.page.locator("#told", has_text="fold").wait_for()
    assert len(hand.state.markers) == 1
    assert hand.page.locator(".pins .pin").count() == 1


# ---- looking


def test_the_atlas_can_be_looked_at_in_many_ways(hand):
    page = hand.page
    opacity = "getComputedStyle(document.getElementById('fill')).opacity"
    page.locator("#opacity").fill("80")
    assert float(page.evaluate(opacity)) == pytest.approx(0.8)
    hand.choose("fill", "template")
    hand.choose("mode", "swipe")
    clip = "getComputedStyle(document.getElementById('atlas')).clipPath"
    assert "50%" in page.evaluate(clip)
    edge = page.locator("#edge")
    box = edge.bounding_box()
    hand.drag((box["x"] + 13, box["y"] + 99), (box["x"] + 113, box["y"] + 90))
    share = float(edge.get_attribute("aria-valuenow"))
    assert share > 60
    edge.focus()
    page.keyboard.press("ArrowLeft")
    assert float(edge.get_attribute("aria-valuenow")) == pytest.approx(share - 2, abs=1)
    page.keyboard.press("Escape")
    page.locator("#stage").focus()
    page.keyboard.press("s")
    assert page.evaluate(clip) == "none"
    visible = "getComputedStyle(document.getElementById('atlas')).visibility"
    page.keyboard.down("b")
    assert page.evaluate(visible) == "hidden"
    page.keyboard.up("b")
    assert page.evaluate(visible) == "visible"
    hand.choose("mode", "blink")
    wait(page, f"{visible} === 'hidden'")
    wait(page, f"{visible} === 'visible'")
    hand.choose("mode", "over")
    with page.expect_request(lambda request: "depth=2" in request.url):
        page.locator("#detail").fill("2")
    page.uncheck("#show-borders")
    assert not page.locator("#borders").is_visible()
    assert hand.desk.revision == 0


def test_pointing_names_what_lies_there(hand):
    hand.page.mouse.move(*np.add(hand.middle, (-50, 10)))
    name = hand.page.locator("#under-name b")
    name.wait_for()
    pixel = (np.add(hand.middle, (-50, 10)) - hand.on_screen([0, 0])[0]) * hand.scale
    place = hand.desk.placement(hand.id).to_reference(pixel)
    expected = hand.desk.atlas.structure_at(place)
    assert name.inner_text() == expected.acronym
    assert expected.name in hand.page.locator("#under-name").inner_text()
    assert f"p {round(place[0]):,}" in hand.page.locator("#under-place").inner_text()


# ---- the cuts through the brain


GRIP = """(figure, [kind, which]) => {
    const box = figure.querySelectorAll(`.grip[data-hand=${kind}]`)[which].getBoundingClientRect();
    return [box.x + box.width / 2, box.y + box.height / 2];
}"""


def grip(hand, cut, kind, which=0):
    """Return where a grip is, once it stays there."""
    figure = hand.page.locator(f"[data-cut={cut}]")
    figure.locator(f".grip[data-hand={kind}]").nth(which).wait_for()
    figure.scroll_into_view_if_needed()
    at = np.full(2, np.nan)
    while True:
        before, at = at, np.array(figure.evaluate(GRIP, [kind, which]))
        if np.array_equal(before, at):
            return np.round(at)
        hand.page.wait_for_timeout(300)


def test_the_line_in_a_cut_moves_and_tilts_the_plane(hand):
    before = hand.numbers
    at = grip(hand, "sagittal", "depth")
    width = hand.page.locator("[data-cut=sagittal] svg").bounding_box()["width"]
    extent = hand.desk.atlas.annotation.shape[0] * hand.desk.atlas.resolution
    hand.drag(at, np.add(at, (3, 0)))
    after = hand.numbers
    assert after.depth_um - before.depth_um == pytest.approx(3 / width * extent, rel=0.02)
    assert after.tilt_2_deg == pytest.approx(before.tilt_2_deg, abs=1e-6)
    # the lower end to the back: about the axis that runs from left to right
    ends = sorted((grip(hand, "sagittal", "tilt", k) for k in (0, 1)), key=lambda one: one[1])
    hand.drag(ends[1], np.add(ends[1], (4, 0)))
    tilted = hand.numbers
    assert tilted.tilt_2_deg > after.tilt_2_deg + 1
    assert tilted.tilt_1_deg == pytest.approx(after.tilt_1_deg, abs=0.2)
    assert tilted.depth_um == pytest.approx(after.depth_um, abs=1e-6)
    # and in the horizontal cut, the right end to the back: about the axis that runs down
    ends = sorted((grip(hand, "horizontal", "tilt", k) for k in (0, 1)), key=lambda one: one[0])
    hand.drag(ends[1], np.add(ends[1], (0, 4)))
    assert hand.numbers.tilt_1_deg < tilted.tilt_1_deg - 1
    # with Shift, a fifth as far
    at = grip(hand, "sagittal", "depth")
    was = hand.numbers.depth_um
    hand.page.keyboard.down("Shift")
    hand.drag(at, np.add(at, (5, 0)))
    hand.page.keyboard.up("Shift")
    assert hand.numbers.depth_um - was == pytest.approx(1 / width * extent, rel=0.02)
    # the figures of the plane follow
    assert float(hand.page.locator("#depth").input_value()) == round(hand.numbers.depth_um)


# ---- what the program itself would do


def moved_by_the_fit(dataset, atlas, *, progress, **_):
    """Stands in for the refinement, which takes a while: all sections move back by 150 µm."""
    fits = {}
    for k, section in enumerate(dataset.sections):
        progress(k, len(dataset.sections), "looks at sections")
        forward, placement = section.placement.forward.copy(), section.placement
        forward[0, 2] += 150
        number = section.number
        fits[section.id] = SectionFit.of(
            Placement(forward, placement.backward, placement.deformation),
            number,
            (
                StepResult(
                    step="whole",
                    kept=True,
                    reason="It fits better there.",
                    moved=150.0,
                    before={"difference": 0.9},
                    after={"difference": 0.7},
                ),
            ),
            pixel=section.image.resolution,
        )
    return Registration(dataset.id, fits, {})


@pytest.mark.parametrize(
    "refinement", ["stands in", pytest.param("itself", marks=pytest.mark.slow)]
)
def test_a_fit_is_shown_before_and_after_and_accepted_or_discarded(hand, monkeypatch, refinement):
    if refinement == "stands in":
        monkeypatch.setattr("atldld.align.jobs.refine", moved_by_the_fit)
    page = hand.page
    page.locator("#fit-all").click()
    page.uncheck("[name=step][value=inplane]")
    page.uncheck("[name=step][value=sections]")
    page.check("[name=step][value=whole]")
    document = hand.desk.document

    def fit():
        page.locator("#fit-form button[type=submit]").click()
        page.locator("#accept").wait_for()
        wait(page, "document.activeElement.id === 'accept'")

    fit()
    assert "14 sections" in page.locator("#proposal-what").inner_text()
    assert "µm" in page.locator("#proposal-own").inner_text()
    # what lies on the picture is what is proposed, or what is there
    after = page.evaluate(
        "atldld.state.proposal.sections.get(atldld.current().image_id).after.forward"
    )
    assert not same_plane(after, hand.forward)
    wait(page, "atldld.isDrawn()")
    assert drawn_alike(hand, hand.desk.placement(hand.id, forward=np.array(after))) > 0.9
    page.keyboard.press("a")
    assert page.locator("[name=proposed][value=before]").is_checked()
    wait(page, "atldld.isDrawn()")
    assert drawn_alike(hand, hand.desk.placement(hand.id)) > 0.96
    # nothing else is changed meanwhile
    assert page.locator("#confirm").is_disabled()
    page.locator("#stage").focus()
    page.keyboard.press("ArrowRight")
    assert "fit" in page.locator("#told").inner_text()
    page.locator("#discard").click()
    page.locator("#proposal").wait_for(state="hidden")
    hand.settle()
    assert hand.desk.document == document

    fit()
    page.locator("#accept").click()
    page.locator("#proposal").wait_for(state="hidden")
    hand.settle()
    assert same_plane(hand.forward, after)
    assert hand.state.status == "edited"
    page.locator("#stage").focus()
    hand.press("Control+z")
    assert hand.desk.document.sections == document.sections


# ---- tables and words


def test_what_has_moved_is_told_in_a_table(hand):
    page = hand.page
    page.locator("#stage").focus()
    hand.press("Shift+ArrowRight")
    page.locator("#compare-open").click()
    rows = page.locator("#compare-rows tr")
    rows.first.wait_for()
    assert rows.count() == len(hand.desk.sections)
    own = rows.nth(6).locator("td").all_inner_texts()
    assert own[0] == "◐ edited"
    assert all(text.endswith("µm") for text in own[1:])
    assert 60 < float(own[3].removesuffix(" µm")) < 140  # from the start
    assert rows.nth(5).locator("td").nth(3).inner_text() == "0 µm"
    page.locator("[data-by=start-median]").click()
    assert rows.nth(0).locator("td").nth(0).inner_text() == "◐ edited"
    assert page.locator("th[aria-sort=descending]").count() == 1
    # a number leads to its section
    rows.nth(3).locator("button").click()
    assert not page.locator("#compare").is_visible()
    assert page.evaluate("atldld.state.at") != 6


def test_the_words_for_a_paper_can_be_copied(hand):
    page = hand.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("#methods-open").click()
    page.locator("#methods[open]").wait_for()
    text = page.locator("#methods-text").inner_text()
    assert "section" in text
    page.locator("#copy").click()
    page.locator("#copied", has_text="Copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.split() == text.split()


# ---- words on a section


def test_sections_are_confirmed_left_out_and_noted(hand):
    page = hand.page
    page.locator("#confirm").click()
    hand.settle()
    assert hand.state.status == "confirmed"
    assert "1 of 14 confirmed" in page.locator("#done").inner_text()
    assert page.locator("#confirm").get_attribute("aria-pressed") == "true"
    page.locator("#leave-out").click()
    hand.settle()
    assert hand.state.status == "left out"
    page.locator("#leave-out").click()
    hand.settle()
    assert hand.state.status == "automatic"
    page.locator("#note").fill("Torn at the left, <b>beware</b>")
    page.locator("#note").blur()
    wait(hand.page, "atldld.state.dataset.revision === 4")
    assert hand.state.note == "Torn at the left, <b>beware</b>"
    written = hand.desk.written().sections[hand.id]
    assert written.note == hand.state.note


FOCUSED = """() => {
    const one = document.activeElement;
    const ring = getComputedStyle(one.matches('.segments input') ? one.nextElementSibling : one);
    return [one.id || one.name || one.className, ring.outlineStyle, parseFloat(ring.outlineWidth)];
}"""


def focused(page):
    """Return what has the focus, and what its ring looks like."""
    return page.evaluate(FOCUSED)


def tab_to(page, wanted, most=80):
    for _ in range(most):
        page.keyboard.press("Tab")
        name, style, width = focused(page)
        assert style == "solid", name
        assert width >= 2, name
        if name == wanted:
            return
    raise AssertionError(f"{wanted} is not reached")


def test_the_keyboard_alone_suffices(visit, desk):
    page = visit.page(desk.address)
    hand = Hand(page, desk)
    page.keyboard.press("Tab")
    assert focused(page)[0] == "skip"
    tab_to(page, "sections")
    page.keyboard.press("End")
    wait(page, "atldld.state.at === atldld.state.sections.length - 1")
    page.keyboard.press("Home")
    for _ in range(5):
        page.keyboard.press("ArrowDown")
    wait(page, "atldld.state.at === 5")
    hand.ready()
    # without single letters, which people who speak to their machine switch off
    tab_to(page, "stage")
    page.keyboard.press("?")
    page.locator("#single-keys").focus()
    page.keyboard.press("Space")
    page.keyboard.press("Escape")
    page.keyboard.press("c")
    hand.settle()
    assert hand.state.status == "automatic"
    page.locator("#stage").focus()
    before = hand.numbers
    hand.press("PageDown", "PageDown", "Shift+ArrowLeft")
    assert hand.numbers.depth_um == pytest.approx(before.depth_um + 20, abs=3)
    tab_to(page, "confirm")
    hand.press("Enter")
    assert hand.state.status == "confirmed"
    tab_to(page, "note")
    page.keyboard.type("Good.")
    tab_to(page, "marker-add")
    hand.press("Enter")
    wait(page, "atldld.current().markers.length === 1")
    assert hand.state.note == "Good."
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    hand.press("ArrowRight", "ArrowRight")
    wait(page, "atldld.state.dataset.can_undo")
    assert len(hand.state.markers) == 1
    assert hand.state.markers[0].image != hand.state.markers[0].flat


# ---- many tabs, and a line that is cut


def test_a_second_tab_is_told_and_may_take_over(visit, desk):
    first = visit.page(desk.address)
    second = visit.tab(first.context, desk.address)
    assert second.locator("#readonly").is_visible()
    assert not first.locator("#readonly").is_visible()
    assert second.locator("#confirm").is_disabled()
    second.locator("#stage").focus()
    second.keyboard.press("ArrowRight")
    assert "only looks" in second.locator("#told").inner_text()
    # it sees what the first one does
    Hand(first, desk).press("Shift+ArrowRight")
    wait(second, "atldld.state.sections[0].status === 'edited'")
    second.locator("#take-over").click()
    second.locator("#readonly").wait_for(state="hidden")
    first.locator("#readonly").wait_for()
    hand = Hand(second, desk)
    second.locator("#confirm").click()
    hand.settle()
    assert hand.state.status == "confirmed"
    assert desk.revision == 2


def test_what_is_done_while_the_line_is_cut_is_kept_and_saved(visit, desk):
    page = visit.page(desk.address, expected=("ERR_INTERNET_DISCONNECTED",))
    hand = Hand(page, desk)
    before = hand.forward
    page.context.set_offline(True)
    page.locator("#stage").focus()
    page.keyboard.press("Shift+ArrowRight")
    page.locator("#lost").wait_for()
    page.locator("#saved", has_text="not saved yet").wait_for()
    page.locator("#confirm").click()
    assert desk.revision == 0
    page.context.set_offline(False)
    hand.settle()
    page.locator("#lost").wait_for(state="hidden")
    assert hand.state.status == "confirmed"
    assert not same_plane(hand.forward, before)


def test_an_answer_that_is_lost_does_not_double_the_edit(visit, desk):
    page = visit.page(desk.address, expected=("ERR_FAILED", "409"))
    hand = Hand(page, desk)
    lost: list[object] = []

    def lose(route):
        if not lost:
            lost.append(route.fetch())  # the server has done it
            route.abort()
        else:
            route.continue_()

    page.route("**/api/edit", lose)
    page.locator("#stage").focus()
    hand.press("Shift+ArrowRight")
    assert lost
    assert desk.revision == 1
    assert (
        "Saved" in page.locator("#saved").inner_text()
        or "Every" in page.locator("#saved").inner_text()
    )


# ---- for everyone


@pytest.mark.parametrize("width", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(visit, desk, width, scheme):
    axe = pytest.importorskip("axe_playwright_python", reason="axe-core is not installed")
    script = (Path(axe.__file__).parent / "axe.min.js").read_text("utf-8")
    page = visit.page(desk.address, width=width, height=SIZES[width], color_scheme=scheme)
    page.evaluate(script)

    def look(what):
        found = page.evaluate("axe.run({resultTypes: ['violations']})")
        serious = [
            (one["id"], one["impact"], [node["html"][:120] for node in one["nodes"][:3]])
            for one in found["violations"]
            if one["impact"] in ("serious", "critical")
        ]
        assert serious == [], what
        assert len(found["passes"]) > 10

    assert page.evaluate("document.documentElement.scrollWidth") <= width
    look("as it is opened")
    if width == 1280:
        hand = Hand(page, desk)
        hand.choose("tool", "markers")
        hand.drag(hand.middle, np.add(hand.middle, (10, 0)))
        page.locator("#confirm").click()
        hand.settle()
        hand.choose("mode", "swipe")
        look("with a marker, confirmed")
        page.keyboard.press("?")
        look("help")
        page.keyboard.press("Escape")


def test_fingers_find_what_they_want(visit, desk):
    page = visit.page(desk.address, width=768, height=1024, has_touch=True)
    small = page.evaluate(
        """() => [...document.querySelectorAll('button, select, .segments label > span')]
            .filter(one => one.offsetParent && !one.matches('.link'))
            .map(one => [one.id || one.textContent.trim(), one.getBoundingClientRect().height])
            .filter(([, height]) => height < 36)"""
    )
    assert small == []


# ---- from the start to a good registration


def landmarks(section, atlas, spacing):
    """Return places in the tissue that a person would recognise, some hundred µm apart."""
    xy = tissue_of(section, atlas)
    chosen: list[NDArray[np.float64]] = []
    pixel = section.image.resolution
    for at in xy[np.lexsort((xy[:, 0], xy[:, 1]))]:
        if all(np.hypot(*(at - one)) * pixel > spacing for one in chosen):
            chosen.append(at)
    return np.array(chosen)


def by_eye(hand, truth, atlas, spacing):
    """Place a section as a person would who knows what the picture shows at each landmark.

    Depth and tilts by their numbers, until the structures are those of the picture; the frame until
    it fits as a whole; then a marker at each landmark, pressed where the atlas shows it and dragged
    to where the picture does.
    """
    section = truth.section(hand.id)
    picture = landmarks(section, atlas, spacing)
    if len(picture) < 3:
        return
    places = section.to_reference(picture)
    axis = hand.desk.dataset.plane.depth_axis
    right, down, _ = hand.desk.shape_of(hand.id).axes

    def off():
        """Return how far off each landmark is in depth, and the way across it."""
        now = hand.desk.placement(hand.id)
        return places[:, axis] - now.to_reference(picture)[:, axis]

    # the plane: how the error in depth changes across the section says how it is tilted
    page = hand.page
    flat = hand.desk.placement(hand.id).to_reference(picture)
    design = np.column_stack((np.ones(len(flat)), flat[:, right], flat[:, down]))
    if len(picture) > 6:
        slopes = np.linalg.lstsq(design, off(), rcond=None)[0]
        numbers = hand.numbers
        page.locator("#tilt-1").fill(f"{numbers.tilt_1_deg - np.degrees(np.arctan(slopes[1])):.2f}")
        page.locator("#tilt-2").fill(f"{numbers.tilt_2_deg + np.degrees(np.arctan(slopes[2])):.2f}")
        page.keyboard.press("Enter")
        hand.settle()
    page.locator("#stage").focus()
    steps = round(float(np.median(off())) / 10)
    for key, count in (("Shift+Page", abs(steps) // 10), ("Page", abs(steps) % 10)):
        for _ in range(count):
            page.keyboard.press(f"{key}{'Down' if steps > 0 else 'Up'}")
    hand.settle()

    # the frame: shift, then turn by what is left
    def shown():
        """Return where the atlas shows the landmarks now, on the screen."""
        return hand.on_screen(hand.desk.placement(hand.id).to_image(places))

    hand.choose("tool", "move")
    seen, wanted = shown(), hand.on_screen(picture)
    start = hand.middle
    hand.drag(start, start + np.median(wanted - seen, axis=0))
    seen = shown()
    centre = frame_centre(hand)
    turn = np.median(angles(seen - centre, wanted - centre))
    box = page.locator(".handle.turn").bounding_box()
    grip = np.array([box["x"] + box["width"] / 2, box["y"] + box["height"] / 2])
    cos, sin = np.cos(turn), np.sin(turn)
    hand.drag(grip, centre + np.array([[cos, -sin], [sin, cos]]) @ (grip - centre))

    # markers where it still differs
    hand.choose("tool", "markers")
    for k in range(len(picture)):
        seen, wanted = shown()[k], hand.on_screen(picture[k])[0]
        hand.drag(seen, wanted, steps=3)


def frame_centre(hand):
    boxes = [hand.page.locator(f'.handle.scale[data-which="{k}"]').bounding_box() for k in (0, 2)]
    return np.mean(
        [[one["x"] + one["width"] / 2, one["y"] + one["height"] / 2] for one in boxes], 0
    )


def angles(a, b):
    far = np.linalg.norm(a, axis=1) > 60
    a, b = a[far], b[far]
    if not len(a):
        return np.zeros(1)
    return np.arctan2(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0], (a * b).sum(axis=1))


def errors_of(desk, truth, atlas, sections):
    placed = {one: desk.placement(one) for one in sections}
    return known_errors(truth, placed, atlas)


def test_a_section_is_brought_to_where_it_belongs_by_hand(demo, hand):
    _, dataset, atlas, _ = demo
    (before,) = errors_of(hand.desk, dataset, atlas, [hand.id]).values()
    hand.page.keyboard.press("+")
    hand.page.keyboard.press("+")
    by_eye(hand, dataset, atlas, spacing=1700)
    (after,) = errors_of(hand.desk, dataset, atlas, [hand.id]).values()
    assert before > 100
    assert after < 50
    assert len(hand.state.markers) > 5


@pytest.mark.slow
def test_a_data_set_is_brought_to_where_it_belongs_by_hand(demo, visit, desk):
    _, dataset, atlas, _ = demo
    hand = Hand(visit.page(desk.address, width=1600, height=1000), desk)
    before = errors_of(desk, dataset, atlas, desk.sections)
    for place in range(len(desk.sections)):
        hand.go_to(place)
        by_eye(hand, dataset, atlas, spacing=1300)
        hand.page.locator("#confirm").click()
        hand.settle()
    after = errors_of(desk, dataset, atlas, desk.sections)
    print({k: (round(before[k]), round(after[k])) for k in after})
    print("median", np.median(list(before.values())), "to", np.median(list(after.values())))
    assert np.median(list(before.values())) > 150
    assert np.median(list(after.values())) <= 40
    # the file says the same
    written = desk.written()
    again = known_errors(dataset, {k: fit.placement for k, fit in written.sections.items()}, atlas)
    assert np.median(list(again.values())) <= 40


def test_the_gene_and_what_is_saved_are_told_at_every_width(visit, desk):
    for width in (1024, 1280):
        page = visit.page(desk.address, width=width, height=SIZES[width])
        for name in ("#gene", "#saved"):
            assert page.evaluate(
                "name => (one => one.scrollWidth <= one.clientWidth + 1 && one.clientWidth > 0)"
                "(document.querySelector(name))",
                name,
            ), (width, name)
        page.close()


# ---- and on to another program


@pytest.fixture(scope="session")
def pynutil(request, tmp_path_factory):
    """Run PyNutil on a folder, in an environment of its own."""
    return pynutil_runner(request, tmp_path_factory)


@pytest.mark.peer
@pytest.mark.timeout(2400)
def test_pynutil_takes_what_was_corrected_by_hand(demo, hand, pynutil, tmp_path):
    """A plane is moved, a section bent by markers and one left out; PyNutil follows all three."""
    session, _, _, _ = demo
    hand.choose("tool", "move")
    hand.drag(hand.middle, np.add(hand.middle, (35, -18)))
    hand.drag_part(".handle.turn", 60, 10)
    moved = hand.id
    hand.go_to(7)
    hand.choose("tool", "markers")
    for dx, dy in ((-80, -30), (60, -20), (0, 50)):
        at = np.add(hand.middle, (dx, dy))
        hand.drag(at, np.add(at, (14, -9)))
    marked = hand.id
    hand.go_to(3)
    hand.page.locator("#stage").focus()
    hand.press("x")
    left_out = hand.id
    assert hand.state.status == "left out"

    tier = 4  # PyNutil draws lots among more than 100 000 pixels
    dataset = open_dataset(DATASET, session=session, alignment=hand.desk.output)
    folder = tmp_path / "images"
    path = write_quicknii(dataset, folder / "by-hand.json", downsample=tier)
    images = {folder / image_name(section.image): section.image for section in dataset}
    copy_images(session, images, tier)
    done = pynutil(folder, path, tmp_path / "found.json")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert left_out not in {section.id for section in dataset}
    assert found["numbers"] == [section.number for section in dataset]
    allen = open_dataset(DATASET, session=session)
    for section, some in zip(dataset, found["some"], strict=True):
        width, height = section.image.size(tier)
        row, column = np.divmod(np.arange(0, width * height, 211), width)
        xy = np.stack((column, row), -1) * 2**tier + (2**tier - 1) / 2
        # PyNutil gives voxels of 25 µm, from the right, and takes a pixel's corner for its place
        theirs = np.array(some) * 25 * [1, 1, -1] + [0, 0, 11400]
        pixel = float(np.abs(section.placement.forward[:, :2]).sum()) * 2**tier
        away = np.linalg.norm(theirs - section.to_reference(xy), axis=1)
        assert np.median(away) < pixel / 2 + 1
        assert away.max() < 2 * pixel
        if section.id in (moved, marked):
            was = np.linalg.norm(theirs - allen.section(section.id).to_reference(xy), axis=1)
            assert np.median(was) > 200
