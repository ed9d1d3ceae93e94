"""What makes the package fast, counted and never timed: requests, decoded pixels, memory."""

import ast
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import simplejpeg

import atldld
import atldld.sections.download
from atldld.demo.archive import DemoArchive
from atldld.fetch.session import Session
from atldld.sections.folder import write_metadata
from atldld.sections.register import Recipe
from atldld.serve.app import Application
from atldld.settings import Settings
from atldld.testing.server import FaultServer

DATASET = 909  # 14 sections


class Counting(FaultServer):
    """Counts connections too."""

    def __init__(self, application):
        self.connections = 0
        super().__init__(application)

    def _begin(self, connection):
        self.connections += 1
        super()._begin(connection)


@pytest.fixture(scope="module")
def archive():
    return DemoArchive([DATASET])


@pytest.fixture
def service(archive):
    with Counting(Application(archive)) as server:
        yield server


@pytest.fixture
def decoded(monkeypatch):
    """How many pixels the decoder has made, call by call."""
    pixels = []
    lock = threading.Lock()
    original = simplejpeg.decode_jpeg

    def counting(*arguments, **options):
        out = original(*arguments, **options)
        with lock:
            pixels.append(out.shape[0] * out.shape[1])
        return out

    monkeypatch.setattr(simplejpeg, "decode_jpeg", counting)
    return pixels


def test_everything_is_asked_through_the_one_client():
    """Whoever opens connections of their own knows no limits, proxies, certificates or logins."""
    network = {"httpx", "requests", "urllib.request", "urllib3", "http.client", "socket",
               "socketserver", "ftplib", "aiohttp", "ssl", "socksio"}  # fmt: skip
    # the client; and who listens, instead of asking
    allowed = {"fetch/client.py", "fetch/connection.py", "fetch/reach.py", "fetch/routes.py",
               "fetch/troubles.py", "support/addresses.py", "support/http.py",
               "testing/server.py", "demo/local.py",
               "serve/listen.py", "serve/server.py", "testing/exchange.py"}  # fmt: skip
    for_types = {"fetch/session.py"}
    root = Path(atldld.__file__).parent
    found = set()
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            if network & set(names):
                found.add(path.relative_to(root).as_posix())
    assert found - for_types == allowed


def run(session, folder, recipe):
    return atldld.sections.download.download_dataset(
        DATASET, folder, recipe, session=session, command_line="test"
    )


def test_a_cold_run_asks_once_for_each_thing_over_six_connections(service, tmp_path):
    settings = Settings(api_url=service.url, cache_dir=tmp_path / "cache")
    with Session(settings) as session:
        run(session, tmp_path / "out", Recipe())
        assert session.client.requests_sent == len(service.log) == 2 + 14
    assert service.connections <= 6
    # nothing finer than the result needs: the coarsest tier that is at least as fine as 25 µm
    tiers = {entry.request.query.get("downsample") for entry in service.log[2:]}
    assert tiers == {"2"}


def test_a_second_run_asks_for_nothing(service, tmp_path):
    settings = Settings(api_url=service.url, cache_dir=tmp_path / "cache")
    with Session(settings) as session:
        run(session, tmp_path / "out", Recipe())
        service.forget()
        run(session, tmp_path / "again", Recipe())
    assert service.log == ()


@pytest.mark.parametrize(("resolution", "reduction"), [(100, 8), (25, 2), (10, 1)])
def test_finer_images_are_decoded_at_the_size_that_is_needed(
    tmp_path, decoded, resolution, reduction
):
    from atldld.demo.local import in_process_session

    with in_process_session(tmp_path / "cache") as session:
        dataset = atldld.open_dataset(DATASET, session=session)
        section = dataset.sections[0]
        full = section.image.width * section.image.height
        section.register(resolution, downsample=0)
        verifying, working = decoded
    assert verifying <= full / 64 * 1.01
    assert working <= full / reduction**2 * 1.01


def test_metadata_is_written_at_the_beginning_and_at_the_end(archive, tmp_path, monkeypatch):
    """Not after each section: it tells of all, so the time would grow with their square."""
    from atldld.demo.local import in_process_session

    written = []
    original = write_metadata

    def counted(*arguments):
        written.append(1)
        original(*arguments)

    monkeypatch.setattr(atldld.sections.download, "BETWEEN_WRITES", 1e9)
    monkeypatch.setattr(atldld.sections.download, "write_metadata", counted)
    with in_process_session(tmp_path / "cache") as session:
        run(session, tmp_path / "out", Recipe(resolution=200))
    assert len(written) == 2


def peak_of(call):
    """The result of a call, and the most memory that it took while it ran, in bytes."""
    tracemalloc.start()
    try:
        result = call()
        return result, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_points_take_their_result_and_nothing_else():
    from atldld.sync import pir_to_xy, xy_to_pir

    points = np.random.default_rng(0).uniform(0, 8000, (3, 1_000_000))
    for function in (xy_to_pir, pir_to_xy):
        affine_2d, affine_3d = np.eye(3)[:2], np.eye(4)[:3]
        result, peak = peak_of(lambda: function(points, affine_2d, affine_3d))  # noqa: B023
        assert result.dtype == np.float64
        assert peak <= 1.1 * result.nbytes


def test_a_displacement_field_takes_its_two_sides_and_nothing_else():
    from atldld.sync import get_parallel_transform

    field, peak = peak_of(
        lambda: get_parallel_transform(6000.0, np.eye(3)[:2], np.eye(4)[:3], downsample_ref=8)
    )
    assert field.shape == (1000, 1425)
    assert peak <= 1.1 * (field.delta_x.nbytes + field.delta_y.nbytes)


def test_a_warp_takes_little_beside_its_picture():
    from atldld.warp.resample import resample

    image = np.zeros((3000, 4000, 3), np.uint8)
    matrix = np.array([[1.9, 0.01, 3], [-0.01, 1.9, 2]])
    result, peak = peak_of(lambda: resample(image, matrix, (1500, 2000), (0, 0, 0)))
    assert peak <= 1.2 * result.nbytes  # all samples at once would be four times as much


def test_the_roots_help_imports_no_library():
    check = (
        "import sys; from atldld.cli import main; sys.argv[1:] = ['--help']\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print([m for m in ('click', 'numpy', 'rich', 'importlib.metadata') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "  download " in done.stdout


def test_structures_are_counted_by_their_runs(monkeypatch):
    from atldld.regions import quantify as module

    counted = []
    original = np.bincount

    def counting(keys, *arguments, **options):
        counted.append(np.size(keys))
        return original(keys, *arguments, **options)

    monkeypatch.setattr(np, "bincount", counting)
    # 40 × 50 structures of 20 pixels each way
    where = np.kron(np.arange(2000, dtype=np.uint16).reshape(40, 50), np.ones((20, 20), np.uint16))
    level, part = np.random.default_rng(0).integers(0, 256, (2, *where.shape), dtype=np.uint8)
    found = module._count(where, level, part, 1000)
    assert sum(counted) < 3 * where.size / 20 * 1.1
    for kind, weight in enumerate((None, part.ravel(), (part * level.astype(float)).ravel())):
        assert (found[..., kind].ravel() == original(where.ravel(), weight)).all()


def test_of_a_picture_only_what_lies_in_the_volume_is_looked_up(monkeypatch):
    from atldld.atlas import sample
    from atldld.place.placement import Placement

    looked_up = []
    original = sample._gather

    def counting(volume, flat, indices):
        looked_up.append(indices[0].size)
        return original(volume, flat, indices)

    monkeypatch.setattr(sample, "_gather", counting)
    volume = np.ones((132, 80, 114), dtype=np.uint16)  # of 100 µm
    # pixels of 10 µm: rows along i, columns along r, and a third of both beyond the volume
    forward = np.array([[0.0, 0, 6000], [0, 10, -1000], [10, 0, -2000]])
    found = sample.on_image(volume, Placement(forward, np.zeros((3, 4))), 1600, 1200)
    assert np.count_nonzero(found) == 800 * 1140
    # blocks of rows, of which two lie in the volume in part
    assert sum(looked_up) < np.count_nonzero(found) * 1.3


def test_places_in_the_volume_are_rounded_as_they_are_made(monkeypatch):
    """To round an array of them takes three times as long."""
    from atldld.atlas import sample
    from atldld.place.placement import Placement

    made = {"i": 0, "f": 0}
    at = sample._Pixels.at

    def counting(*arguments):
        for positions in at(*arguments):
            made[positions.dtype.kind] += positions.size
            yield positions

    monkeypatch.setattr(sample._Pixels, "at", counting)
    volume = np.random.default_rng(0).integers(0, 99, (132, 80, 114), dtype=np.uint16)
    # pixels of 10 µm: rows along i, columns along r, oblique, and some of them beyond the volume
    forward = np.array([[0.3, 0.2, 6000], [0.4, 10, -100], [10, -0.4, -200]])
    found = sample.on_image(volume, Placement(forward, np.zeros((3, 4))), 1180, 820)
    assert made["i"] > 5 * made["f"] > 0
    assert np.getbufsize() == 8192  # as it was
    row, column = np.mgrid[:820, :1180]
    across, down, start = (forward / 100).T[:, :, None, None]
    where = np.floor(across * column + (down * row + start)).astype(int)
    inside = ((where >= 0) & (where < np.array(volume.shape)[:, None, None])).all(axis=0)
    assert 0.9 < inside.mean() < 1
    assert (found[inside] == volume[tuple(where[:, inside])]).all()
    assert not found[~inside].any()


def test_samples_of_colours_are_taken_four_channels_at_a_time(monkeypatch):
    """In half the time of three channels, to the same values."""
    import cv2

    from atldld.warp.resample import resample

    taken = []
    original = cv2.warpAffine

    def counting(source, *arguments, **options):
        taken.append(source.shape[2:])
        return original(source, *arguments, **options)

    image = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    ways = [np.array([[2.1, 0.1, -3], [-0.1, 2.1, 9]]), np.array([[0.9, 0.1, -3], [-0.1, 0.9, 9]])]
    shape, around = (90, 130), (200, 150, 100)
    monkeypatch.setattr(cv2, "warpAffine", counting)
    found = [resample(image, way, shape, around) for way in ways]
    # cubic interpolation would take longer
    assert set(taken[: len(taken) // 2]) == {(4,)}
    assert set(taken[len(taken) // 2 :]) == {(3,)}
    for way, pixels in zip(ways, found, strict=True):
        for channel in range(3):
            alone = resample(image[..., channel].copy(), way, shape, around[channel : channel + 1])
            assert (pixels[..., channel] == alone).all()


def test_a_png_takes_little_beside_its_bytes():
    pytest.importorskip("isal")
    from atldld.formats.pictures import as_png

    pixels = np.random.default_rng(0).integers(100, 140, (2000, 1500, 3), dtype=np.uint8)
    data, peak = peak_of(lambda: as_png(pixels))
    # the pieces, and the file; the whole picture filtered would be more than as much again
    assert peak <= 2.4 * len(data)
    assert len(data) < 0.8 * pixels.nbytes


@pytest.fixture
def bending():
    """Displacements of up to 30 pixels over 3000 × 2000 pixels, smooth over many nodes."""
    from atldld.place.deformation import Displacements

    x, y = np.meshgrid(np.arange(-20, 51) * 100.0, np.arange(-20, 41) * 100.0)
    vectors = 30 * np.stack((np.sin(x / 700 + y / 900), np.cos(x / 800)), axis=-1)
    return Displacements((-2000.0, -2000.0), (100.0, 100.0), vectors.astype(np.float32))


def test_curved_points_take_their_result_and_little_else(bending):
    points = np.random.default_rng(0).uniform(0, 2000, (1_000_000, 2))
    bending.moved(points[:10])  # the spline's coefficients
    moved, peak = peak_of(lambda: bending.moved(points))
    assert peak <= 1.5 * moved.nbytes  # some blocks for each thread


def test_curved_points_take_each_coefficient_once_for_both_coordinates(bending, monkeypatch):
    """SciPy's spline gives the same, but takes the places and their weights once for each."""
    from scipy import ndimage

    from atldld.place import deformation

    points = np.random.default_rng(0).uniform(-3000, 6000, (5000, 2))
    places = (points - bending.origin) / bending.spacing
    last = np.array(bending.vectors.shape[1::-1]) - 1
    wanted = np.stack(
        [
            ndimage.map_coordinates(
                bending.vectors[..., axis].astype(np.float64),
                np.clip(places, 0, last).T[::-1],
                order=3,
                mode="mirror",
            )
            for axis in (0, 1)
        ],
        axis=-1,
    )
    calls = []
    cubic = deformation._cubic

    def counted(share):
        calls.append(len(share))
        return cubic(share)

    monkeypatch.setattr(deformation, "_cubic", counted)
    monkeypatch.setattr(ndimage, "map_coordinates", None)
    np.testing.assert_allclose(bending.moved(points) - points, wanted, rtol=0, atol=1e-9)
    assert calls == [2 * len(points)] * 2  # along each side, for x and y together


def test_a_curved_warp_asks_its_curve_at_few_places(bending):
    from atldld.place.curves import CurvedMap
    from atldld.warp.resample import resample

    asked = []

    def curve(points):
        asked.append(points[..., 0].size)
        return bending.moved(points)

    image = np.zeros((2000, 3000, 3), dtype=np.uint8)
    way = CurvedMap(np.array([[8.0, 0, 4], [0, 8, 4]]), curve, np.eye(2, 3))
    resample(image, way, (250, 375), (0, 0, 0))
    # the nodes, each of them once, and some places to try them
    assert sum(asked) <= 0.025 * 250 * 375


def test_the_weights_of_a_lookup_are_made_once_and_its_products_stay_small(bending, monkeypatch):
    """BLAS shares products of more than 2¹⁸ terms among threads, which wait for each other."""
    from atldld.place import curves

    products = []
    original = np.matmul

    def counting(one, other, *arguments, **options):
        products.append(one.shape[-2] * one.shape[-1] * other.shape[-1])
        return original(one, other, *arguments, **options)

    way = curves.CurvedMap(np.array([[8.0, 0, 4], [0, 8, 4]]), bending.moved, np.eye(2, 3))
    lookup = way.over((640, 900))
    monkeypatch.setattr(np, "matmul", counting)
    curves._spread.cache_clear()
    blocks = [
        lookup.block(slice(top, top + 64), dense=2, dtype=np.float32) for top in range(0, 640, 64)
    ]
    assert max(products) <= 1 << 18
    # of whole pieces along either side, and of what is left of the columns
    assert curves._spread.cache_info().misses <= 3
    # the samples of each pixel lie around it
    found = np.concatenate(blocks, axis=1).reshape(2, 640, 2, 900, 2).mean(axis=(2, 4))
    exact = way.pixels(slice(0, 640), slice(0, 900))
    assert np.abs(found - exact).max() < curves.SEEN


def test_the_brightest_channel_of_a_mask_is_found_once(monkeypatch):
    import cv2

    from atldld.warp.stain import read_mask

    looked_at = []
    original = cv2.extractChannel

    def counting(pixels, *arguments):
        looked_at.append(pixels.shape[0] * pixels.shape[1])
        return original(pixels, *arguments)

    monkeypatch.setattr(cv2, "extractChannel", counting)
    # several tiles, all of whose pixels express
    pixels = np.random.default_rng(0).integers(0, 256, (1100, 900, 3), dtype=np.uint8)
    assert ((read_mask(pixels).level > 0) == (pixels.max(axis=2) > 20)).all()
    assert sum(looked_at) == 1100 * 900


def test_few_pixels_of_a_mask_are_read_for_two_tiles(monkeypatch):
    from atldld.warp import stain

    read = []
    original = stain._read_colours

    def counting(colours, *arguments):
        read.append(len(colours))
        return original(colours, *arguments)

    monkeypatch.setattr(stain, "_read_colours", counting)
    pixels = np.full((1152, 1152, 3), (200, 30, 30), dtype=np.uint8)
    assert stain.read_mask(pixels).part.all()
    assert sum(read) < 1.15 * 1152 * 1152


class Multiplied(np.ndarray):
    """An array that notes each product of matrices it has a part in: how many terms it has."""

    terms: ClassVar[list[int]] = []

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        plain = [np.asarray(one) if isinstance(one, Multiplied) else one for one in inputs]
        if ufunc is np.matmul:
            self.terms.append(max(np.size(one) for one in plain))
        if out is not None:
            options["out"] = tuple(np.asarray(one) for one in out)
        found = getattr(ufunc, method)(*plain, **options)
        return found.view(Multiplied) if isinstance(found, np.ndarray) else found


@pytest.fixture
def multiplied(monkeypatch):
    monkeypatch.setattr(Multiplied, "terms", [])
    one = np.ones((5, 2)).view(Multiplied)
    assert (one @ (2, 3)).sum() == 25
    assert Multiplied.terms == [10]  # it would be seen
    Multiplied.terms.clear()
    return Multiplied.terms


def test_sections_are_compared_without_blas(monkeypatch, multiplied):
    """BLAS shares long sums out among cores, which wait for each other."""
    import cv2

    from atldld.quality import figures

    blurred = cv2.GaussianBlur
    monkeypatch.setattr(cv2, "GaussianBlur", lambda *given: blurred(*given).view(Multiplied))
    views = []
    for seed in range(2):
        grey = np.random.default_rng(seed).integers(0, 256, (160, 228), dtype=np.uint8)
        mask = np.ones(grey.shape, dtype=bool)
        unused: Any = None
        views.append(figures.SectionView(unused, unused, grey, mask, mask, 1.0))
    found = figures._compare(*views)
    soft = [blurred(view.darkness, (0, 0), 1).ravel() for view in views]
    assert found.correlation == pytest.approx(np.asarray(np.corrcoef(np.stack(soft)))[0, 1])
    assert max(multiplied, default=0) < 100  # a turn and a shift


def test_borders_are_traced_without_blas(monkeypatch, multiplied):
    from atldld.atlas import borders

    pytest.importorskip("shapely")
    original = borders._points
    monkeypatch.setattr(borders, "_points", lambda *given: original(*given).view(Multiplied))
    rows, columns = np.mgrid[0:120, 0:150]
    labels = ((rows // 17 + columns // 23) % 5).astype(np.uint8)
    for voxel in (1.0, 4.0):  # lines that move along edges, and freely
        assert len(borders.trace_faces(labels, 0.6, voxel=voxel).labels) > 10
    assert multiplied == []


def test_a_curved_map_is_looked_up_once_for_a_flat_picture(bending, monkeypatch):
    """For the picture and for what of it is the image's."""
    from atldld.place.curves import CurvedMap
    from atldld.place.deformation import SplineDeformation
    from atldld.place.placement import Placement
    from atldld.warp.straighten import FlatFrame

    looked, over = [], CurvedMap.over

    def counted(self, *given):
        looked.append(given)
        return over(self, *given)

    monkeypatch.setattr(CurvedMap, "over", counted)
    forward = np.array([[0.0, 0, 6000], [0, 1, 0], [1, 0, 0]])
    backward = np.array([[0.0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, -6000]])
    placement = Placement(forward, backward)
    frame = FlatFrame.of(placement, SplineDeformation.of(bending), (3000, 2000), 3)
    frame.lay_out(np.zeros((250, 375, 3), np.uint8), (0, 0, 0))
    frame.pick(np.zeros((250, 375), np.uint8))
    assert len(looked) == 1


def test_rings_are_bent_together(bending):
    """To bend a hundred points takes nearly as long as to bend thousands."""
    from atldld.atlas.outlines import _bent_rings

    rng = np.random.default_rng(0)
    turn = np.linspace(0, 2 * np.pi, 12)
    circle = np.column_stack((np.cos(turn), np.sin(turn)))
    circle[-1] = circle[0]
    rings = [rng.uniform(0, 2000, 2) + rng.uniform(50, 900) * circle for _ in range(40)]
    asked = []

    def bend(points):
        asked.append(len(points))
        return bending.moved(points)

    together = _bent_rings(rings, bend, 0.05)
    assert len(asked) <= 1 + 3 * 5
    assert sum(asked) > 5000
    for ring, bent in zip(rings, together, strict=True):
        np.testing.assert_array_equal(bent, _bent_rings([ring], bend, 0.05)[0])
        assert len(bent) >= len(ring)
        np.testing.assert_array_equal(bent[[0, -1]], bending.moved(ring[[0, -1]]))
        # the corners that were there are among them
        assert {tuple(point) for point in bending.moved(ring)} <= set(map(tuple, bent))
    assert _bent_rings([], bend, 0.05) == []
