"""Allen's 200 µm grids: genuine ones, the demo's, and answers that cannot be used."""

import io
import json
import os
import tracemalloc
import zipfile
from itertools import combinations

import httpx
import numpy as np
import pytest

from atldld.atlas import StructureGraph
from atldld.demo import anatomy
from atldld.demo.archive import DemoArchive
from atldld.demo.local import in_process_session
from atldld.errors import AnswerError, GridNotFoundError, InvalidInputError, OfflineError
from atldld.fetch.facts import FileFacts
from atldld.fetch.limits import Limits
from atldld.fetch.session import Session
from atldld.formats.metaimage import read_mhd
from atldld.formats.nifti import affine_of
from atldld.regions.grids import (
    GRID_SHAPE,
    ExpressionGrid,
    GridKind,
    fetch_grid,
    fetch_grid_annotation,
    grid_region_means,
    labels_on_grid,
    open_labels,
    read_grid,
)
from atldld.settings import Settings

PROX1, PDYN, NRP1 = 69289763, 71717084, 74272479
GENUINE = {PROX1: 121768, PDYN: 60307, NRP1: 54982}  # voxels without data


@pytest.fixture(scope="module")
def genuine_labels(shared):
    labels, step = read_mhd(shared / "grids" / "gridAnnotation.mhd")
    assert step == 200
    return labels


@pytest.fixture(scope="module")
def adult(shared):
    return StructureGraph.from_file(shared / "atlas" / "structure_graph_1.json")


@pytest.fixture(scope="module")
def genuine(shared):
    return {
        one: read_grid({"energy": shared / "grids" / f"{one}_energy.mhd"}, one) for one in GENUINE
    }


# ---- genuine grids


def test_axes_and_missing_data(shared, genuine):
    for one, missing in GENUINE.items():
        grid = genuine[one]
        assert grid.shape == GRID_SHAPE
        assert grid.energy.dtype == np.float32
        assert np.isnan(grid.energy).sum() == missing
        assert np.nanmin(grid.energy) >= 0
        raw = np.fromfile(shared / "grids" / f"{one}_energy.raw", "<f4")
        # x = p is the fastest in the file, then y = i, then z = r
        p, i, r = 40, 12, 20
        assert raw[p + 67 * (i + 41 * r)] in (grid.energy[p, i, r], -1)
    # sagittal sections are those of the left half, also in space 10
    with_data = np.flatnonzero(np.isfinite(genuine[PROX1].energy).any(axis=(0, 1)))
    assert with_data[[0, -1]].tolist() == [10, 27]


@pytest.mark.long
def test_voxels_are_centred_at_multiples_of_the_step(shared, genuine_labels):
    """The midline, 5700 µm, is where the structures mirror: at 28½ if voxel k is at 200 k."""

    def symmetry(twice_the_middle):
        k = np.arange(58)
        k = k[(twice_the_middle - k >= 0) & (twice_the_middle - k < 58)]
        here, there = genuine_labels[:, :, k], genuine_labels[:, :, twice_the_middle - k]
        return (here == there)[here > 0].mean()

    assert symmetry(57) > 0.89
    assert symmetry(56) < 0.6
    assert symmetry(58) < 0.6
    # and it agrees with the fine annotation best where both are laid so, along each axis
    nrrd = pytest.importorskip("nrrd")
    fine = nrrd.read(str(shared / "atlas" / "annotation_25.nrrd"))[0] > 0
    ours = labels_on_grid(fine.astype(np.uint8), 25) > 0
    theirs = genuine_labels > 0
    overlap = (ours & theirs).sum() / (ours | theirs).sum()
    assert overlap > 0.94
    for axis in range(3):
        # half a voxel
        moved = labels_on_grid(np.roll(fine, 4, axis).astype(np.uint8), 25) > 0
        assert (moved & theirs).sum() / (moved | theirs).sum() < overlap


def means_of(grid, labels, graph):
    table = grid_region_means(grid, labels, graph)
    rows = [row for row in table.rows() if row["hemisphere"] == "both"]
    return {row["acronym"]: row for row in rows}


def test_prox1_is_strongest_in_the_dentate_gyrus(genuine, genuine_labels, adult):
    means = means_of(genuine[PROX1], genuine_labels, adult)
    sensible = [
        row
        for row in means.values()
        if row["voxels_with_data"] >= 20 and row["kind"] == "structure"
    ]
    best = max(sensible, key=lambda row: row["energy"])
    assert 726 in adult[best["structure_id"]].path  # the dentate gyrus or a part of it
    # of structures of a size, too
    others = ["CA1", "CA3", "Isocortex", "OLF", "CP", "TH", "HY", "MB", "CB", "PAL"]
    assert means["DG"]["energy"] > 2 * max(means[name]["energy"] for name in others)
    assert means["DG"]["voxels_with_data"] == 345
    assert means["DG"]["energy"] == pytest.approx(15.12, abs=0.01)


def test_pdyn_and_nrp1_are_where_they_are_known_to_be(genuine, genuine_labels, adult):
    pdyn = means_of(genuine[PDYN], genuine_labels, adult)
    # prodynorphin: ventral striatum and striatum, dentate gyrus, arcuate nucleus
    for name in ("STRv", "ACB", "CP", "DG", "ARH"):
        assert pdyn[name]["energy"] > 1.5 * pdyn["grey"]["energy"], name
    for name in ("CB", "MB", "CA1"):
        assert pdyn[name]["energy"] < pdyn["grey"]["energy"], name
    nrp1 = means_of(genuine[NRP1], genuine_labels, adult)
    # neuropilin 1: hippocampus, CA3 above all
    assert nrp1["CA3"]["energy"] > 5 * nrp1["grey"]["energy"]
    assert nrp1["CA3"]["energy"] > 3 * nrp1["CA1"]["energy"]
    assert nrp1["STR"]["energy"] < nrp1["grey"]["energy"]


def test_all_genuine_ids_are_known(genuine_labels, adult):
    assert adult.unknown(genuine_labels) == ()
    assert (genuine_labels > 0).sum() == 62529


def test_an_id_that_the_graph_lacks_is_kept(genuine, genuine_labels, adult):
    labels = genuine_labels.copy()
    labels[labels == 632] = 999_999  # DG-sg
    table = grid_region_means(genuine[PROX1], labels, adult)
    row = table.row(999_999)
    assert row["kind"] == "unknown"
    assert row["voxels_with_data"] == 81
    assert table.metadata["unknown_ids"] == [999_999]
    parts = [table.row(name)["voxels"] for name in ("root", "unknown 999999", "outside")]
    assert sum(parts) == np.prod(GRID_SHAPE)


# ---- region means and labels


def test_region_means_by_hand():
    labels = np.zeros((1, 1, 58), dtype=np.uint32)
    labels[0, 0, 26:31] = [11, 12, 12, 12, 11]
    energy = np.full((1, 1, 58), np.nan, dtype=np.float32)
    energy[0, 0, 26:31] = [1, 2, np.nan, 30, 40]
    density = energy / 100
    graph = StructureGraph.from_answer(
        [
            {"id": 10, "acronym": "A", "name": "all", "parent_structure_id": None},
            {"id": 11, "acronym": "one", "name": "one", "parent_structure_id": 10},
            {"id": 12, "acronym": "two", "name": "two", "parent_structure_id": 10},
        ]
    )
    grid = ExpressionGrid(
        {
            "energy": energy,
            "density": density.astype(np.float32),
            "intensity": (density * 0 + 7).astype(np.float32),
        },
        200.0,
        1,
        "here",
    )
    table = grid_region_means(grid, labels, graph)
    # voxel 28 is centred at 5600 µm, left of the midline, and 29 right of it
    assert table.row("two", "left")["voxels"] == 2
    assert table.row("two", "left")["voxels_with_data"] == 1
    assert table.row("two", "left")["energy"] == 2
    assert table.row("two", "right")["energy"] == 30
    assert table.row("A")["energy"] == pytest.approx((1 + 2 + 30 + 40) / 4)
    assert table.row("A")["data_fraction"] == pytest.approx(4 / 5)
    assert table.row("A")["intensity"] == pytest.approx(100)  # energy / density, not 7
    with pytest.raises(InvalidInputError, match="must be the same"):
        grid_region_means(grid, labels[:, :, :5], graph)


def test_ids_of_either_sign_stay_on_the_grid():
    """The kind: an id below 0 was taken for the outside, or wrapped to another structure's."""
    fine = np.zeros((8, 4, 4), np.int64)
    fine[1:3], fine[3:5], fine[5:] = -997, 2**32 + 8, 7
    labels = labels_on_grid(fine, 100, (4, 3, 3))
    assert labels[1, 1, 1] == -997
    assert labels[2, 1, 1] == 2**32 + 8
    assert labels[3, 1, 1] == 7
    assert labels[0, 0, 0] == 0
    # what is beyond the annotation is the outside, not the smallest id
    assert labels[3, 2, 2] == 0
    grid = ExpressionGrid({"energy": np.ones(labels.shape, np.float32)}, 200.0, 5, "made")
    table = grid_region_means(grid, labels, StructureGraph.from_answer([{"id": 7}]))
    assert table.metadata["unknown_ids"] == [-997, 2**32 + 8]
    assert table.row("unknown -997")["voxels"] == (labels == -997).sum()
    with pytest.raises(InvalidInputError, match="whole numbers"):
        grid_region_means(grid, labels.astype(float), StructureGraph.from_answer([{"id": 7}]))


def test_labels_on_grid_take_what_fills_most():
    rng = np.random.default_rng(1)
    ids = np.array([0, 7, 7, 312_782_546], dtype=np.uint32)
    fine = ids[rng.integers(0, 4, (132, 80, 114))]
    fine = np.asfortranarray(fine)
    labels = labels_on_grid(fine, 100)
    assert labels.shape == GRID_SHAPE
    assert labels.dtype == np.uint32
    for p, i, r in [(0, 0, 0), (1, 5, 9), (66, 40, 57), (33, 20, 28), (66, 3, 1)]:
        votes = {0: 0.0}
        for at in np.ndindex(2, 2, 2):
            # voxels of 100 µm of which the middle is within 100 µm of 200 · k
            k = np.array([p, i, r]) * 2 - 1 + at
            inside = ((k >= 0) & (k < fine.shape)).all()
            one = int(fine[tuple(k)]) if inside else 0
            votes[one] = votes.get(one, 0) + 1
        most = max(votes.values())
        assert labels[p, i, r] == min(one for one, count in votes.items() if count == most)
    with pytest.raises(InvalidInputError, match="10, 25, 50 or 100"):
        labels_on_grid(fine, 30)


# ---- the demo's grids, which come from the brain itself


def test_the_demos_grid_is_the_brain(session):
    grid = fetch_grid(909, session=session)
    assert grid.synthetic
    assert grid.shape == GRID_SHAPE
    known = np.isfinite(grid.energy)
    np.testing.assert_allclose(
        grid.energy[known], (grid.density * grid.intensity)[known], rtol=1e-5
    )
    indices = np.argwhere(known & (grid.density == 1))[::40]
    corners = np.stack(np.meshgrid(*[(-50, 50)] * 3, indexing="ij"), axis=-1).reshape(8, 3)
    expected = anatomy.expression(indices[:, None] * 200 + corners).mean(axis=1) * 255
    same = np.isclose(grid.energy[tuple(indices.T)], expected, rtol=1e-4)
    # of a few voxels, sections stand for some of the points only
    assert same.mean() > 0.9
    # what no section is near has no data
    assert np.isnan(grid.energy[0]).all()
    again = fetch_grid("909", session=session, kinds=["density"])
    assert list(again.data) == ["density"]
    with pytest.raises(InvalidInputError, match="but not 'energy'"):
        again["energy"]


def test_it_is_fetched_once(session):
    fetch_grid(909, session=session)
    sent = session.client.requests_sent
    fetch_grid(909, session=session)
    assert session.client.requests_sent == sent
    path = session.cache.file_path("grid_data/download/909.zip")
    with zipfile.ZipFile(path) as archive:
        assert {"energy.raw", "density.mhd", "intensity.raw", "data_set.xml"} <= set(
            archive.namelist()
        )


def test_the_service_offers_some_kinds(session):
    client = httpx.Client(transport=session.client._transport, base_url="http://demo.invalid")
    answer = client.get("/grid_data/download/909.zip")
    names = zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
    assert names == ["data_set.xml", "energy.mhd", "energy.raw"]  # energy alone by default
    assert client.get("/grid_data/download/909?include=injection").status_code == 400
    assert client.get("/grid_data/download/1").status_code == 404


def test_labels_of_the_demo(session):
    labels, graph = open_labels(session, "atlas", 100)
    assert set(np.unique(labels)) <= {0, *(one.id for one in graph)}
    points = np.stack(np.meshgrid(*(np.arange(n) * 200 for n in GRID_SHAPE), indexing="ij"), -1)
    same = labels == anatomy.structure_id(points)
    assert same.mean() > 0.9


# ---- files


def test_files_lie_right_over_volumes(session, tmp_path):
    nibabel = pytest.importorskip("nibabel")
    nrrd = pytest.importorskip("nrrd")
    grid = fetch_grid(909, session=session)
    image = nibabel.load(grid.save(tmp_path / "energy.nii.gz"))
    assert image.shape == GRID_SHAPE
    np.testing.assert_array_equal(np.asarray(image.dataobj), grid.energy)
    # (right, anterior, superior) in mm: voxel (3, 5, 7) is at p = 600, i = 1000, r = 1400 µm
    np.testing.assert_allclose(image.affine @ [3, 5, 7, 1], [1.4, -0.6, -1.0, 1])
    assert nibabel.aff2axcodes(image.affine) == ("P", "I", "R")
    # the same point of the brain, in a volume of 25 µm, half a voxel from the corner of voxel 24
    np.testing.assert_allclose(affine_of(25) @ [23.5, 39.5, 55.5, 1], [1.4, -0.6, -1.0, 1])
    data, header = nrrd.read(str(grid.save(tmp_path / "density.nrrd", "density")))
    np.testing.assert_array_equal(data, grid.density)
    np.testing.assert_array_equal(header["space origin"], [0, 0, 0])
    assert json.loads(header["atldld"])["voxel_centre"].startswith("k *")
    for ending in ("tif", "npy", "ome.zarr"):
        if ending == "ome.zarr":
            pytest.importorskip("zarr")
        assert grid.save(tmp_path / f"energy.{ending}").exists()
    described = json.loads((tmp_path / "energy.npy.json").read_text())
    assert described["synthetic"] is True
    with pytest.raises(InvalidInputError, match="ending"):
        grid.save(tmp_path / "energy.mhd")


HEADER = (
    "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
    "TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\nElementSpacing = 200 200 200\n"
    "DimSize = 2 3 4\nElementType = MET_FLOAT\nElementDataFile = energy.raw\n"
)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("DimSize = 2 3 4", "DimSize = 2 3 5"), "have 120"),
        (("DimSize = 2 3 4\n", ""), "no DimSize"),
        (("DimSize = 2 3 4", "DimSize = 2 x 4"), "DimSize is '2 x 4'"),
        (("200 200 200", "200 200 100"), "cubic"),
        (("Offset = 0 0 0", "Offset = 100 0 0"), "Offset = 100 0 0"),
        (("1 0 0 0 1 0 0 0 1", "-1 0 0 0 1 0 0 0 1"), "TransformMatrix"),
        (("MET_FLOAT", "MET_CHAR_ARRAY"), "MET_CHAR_ARRAY"),
        (("DimSize = 2 3 4", "DimSize = 2 3 4.5"), "three sizes"),
        (("DimSize = 2 3 4", "DimSize = inf nan 4"), "three sizes"),
        (("DimSize = 2 3 4", "DimSize = -2 -3 4"), "three sizes"),
        (("DimSize = 2 3 4", "DimSize = 1e9 1e9 1e9"), "three sizes"),
        (("DimSize = 2 3 4", "DimSize = 1 3 4"), "no more than 48"),
        (("NDims = 3", "NDims = 4"), "NDims = 4"),
        (("NDims = 3", "NDims = 3\nHeaderSize = 8"), "HeaderSize = 8"),
        (("NDims = 3", "NDims = 3\nElementNumberOfChannels = x"), "NumberOfChannels is 'x'"),
        (("NDims = 3", "NDims = 3\nElementNumberOfChannels = 3"), "NumberOfChannels = 3"),
        (("BinaryData = True", "BinaryData = False"), "as text"),
        (("= energy.raw", "= /etc/hostname"), "voxels are in '/etc/hostname'"),
        (("= energy.raw", "= ../energy.raw"), "voxels are in '../energy.raw'"),
        (("= energy.raw", "= "), "voxels are in ''"),
        (("= energy.raw", "= LOCAL"), "LOCAL cannot be read"),
        (("= energy.raw", "= energy.mhd"), "bytes"),
        (("= energy.raw", "= pipe"), "pipe is a pipe"),
    ],
)
@pytest.mark.timeout(20)
def test_headers_that_are_not_understood(tmp_path, change, says):
    """The kind: what a header says is believed: other files, any size, any number."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "energy.raw").write_bytes(np.arange(24, dtype="<f4").tobytes())
    path = tmp_path / "energy.mhd"
    path.write_text(HEADER)
    data, step = read_mhd(path)
    assert data.shape == (2, 3, 4)
    assert data[1, 2, 3] == 23
    assert data[1, 0, 0] == 1
    assert step == 200
    path.write_text(HEADER.replace(*change))
    with pytest.raises(InvalidInputError, match=says):
        read_mhd(path)


@pytest.mark.timeout(20)
def test_headers_that_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(InvalidInputError, match="cannot be used"):
            read_mhd(path)


def test_a_zip_that_unpacks_to_more_takes_no_memory(tmp_path):
    """Out of a cache, where nobody looked when it came: by an import."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("energy.mhd", HEADER)
        archive.writestr("energy.raw", bytes(200 << 20))
        archive.writestr("density.mhd", HEADER + " " * 20_000)
        archive.writestr("density.raw", RAW)
    session = Session(Settings(cache_dir=tmp_path, offline=True))
    with session.cache.new_file("grid_data/download/5.zip") as arriving:
        arriving.file.write(packed.getvalue())
        arriving.keep(FileFacts(url="http://x.invalid", sha256=""))
    tracemalloc.start()
    kind: GridKind
    for kind, says in (("energy", "announces 209715200 bytes"), ("density", "may have 10000")):
        with pytest.raises(AnswerError, match=says):
            fetch_grid(5, session=session, kinds=[kind])
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(InvalidInputError, match="cannot be used"):
        read_mhd(tmp_path / "none.mhd")
    (tmp_path / "energy.mhd").write_text(HEADER)
    with pytest.raises(InvalidInputError, match="cannot be used"):
        read_grid({"energy": tmp_path / "energy.mhd"})
    with pytest.raises(InvalidInputError, match="kind of grid is 'warmth'"):
        read_grid({"warmth": tmp_path / "energy.mhd"})


# ---- answers that cannot be used


def zipped(**files):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("_", "."), content)
    return packed.getvalue()


RAW = np.arange(24, dtype="<f4").tobytes()


@pytest.fixture
def answering(tmp_path):
    """A session whose every answer is the given one."""

    def session(content, status=200):
        transport = httpx.MockTransport(lambda _: httpx.Response(status, content=content))
        return Session(
            Settings(
                api_url="http://x.invalid", download_url="http://x.invalid", cache_dir=tmp_path
            ),
            limits=Limits(attempts=2, first_wait=0.01),
            transport=transport,
        )

    return session


def test_a_zip_without_its_numbers(answering):
    session = answering(zipped(energy_mhd=HEADER, data_set_xml="<x/>"))
    with pytest.raises(GridNotFoundError, match=r"data set 5 has no energy\.raw.*refresh=True"):
        fetch_grid(5, session=session, kinds=["energy"])
    with pytest.raises(GridNotFoundError, match=r"no density\.mhd and no density\.raw"):
        fetch_grid(5, session=session, kinds=["density"])


def damaged_deflate():
    """A ZIP whose compressed bytes cannot be decoded at all."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("energy.raw", RAW)
        begin = len("energy.raw") + 30
    content = bytearray(packed.getvalue())
    content[begin : begin + 8] = b"\xff" * 8
    return bytes(content)


KINDS = ("energy", "density", "intensity")


@pytest.mark.parametrize(
    "held",
    [held for count in (1, 2, 3) for held in combinations(KINDS, count)],
    ids="+".join,
)
def test_what_a_zip_holds_is_used(answering, held):
    """The kind: a ZIP of which all kinds were demanded where it was asked for one.

    The service sends energy alone by default; any other may lack or be more.
    """
    held = set(held)
    density = np.linspace(0, 0.9, 24, dtype="<f4")
    intensity = np.where(density > 0, np.linspace(3, 90, 24), 0).astype("<f4")
    truth = {"density": density, "intensity": intensity, "energy": density * intensity}
    for numbers in truth.values():
        numbers[-1] = -1
    parts = {"injection_mhd": HEADER, "injection_raw": RAW, "data_set_xml": "<x/>"}
    for kind in held:
        parts |= {f"{kind}_mhd": HEADER, f"{kind}_raw": truth[kind].tobytes()}
    # half a kind is none
    parts |= {f"{kind}_mhd": HEADER for kind in {*KINDS} - held}
    grid = fetch_grid(5, session=answering(zipped(**parts)))
    assert set(grid.data) == held
    assert set(grid.kinds) == (held if len(held) == 1 else {*KINDS})
    for kind in KINDS:
        if kind not in grid.kinds:
            with pytest.raises(InvalidInputError, match=rf"but not '{kind}'.*kinds"):
                grid[kind]
            continue
        expected = truth[kind].reshape(4, 3, 2).transpose(2, 1, 0).copy()
        expected[-1, -1, -1] = np.nan
        np.testing.assert_allclose(grid[kind], expected, rtol=1e-5)
    graph = StructureGraph.from_answer(
        [{"id": 7, "acronym": "A", "name": "all", "parent_structure_id": None}]
    )
    means = grid_region_means(grid, np.full((2, 3, 4), 7, np.uint32), graph)
    row = means.row("A")
    for kind in grid.kinds:
        expected = truth[kind][:-1].mean()
        if kind == "intensity" and len(held) > 1:
            expected = truth["energy"][:-1].mean() / truth["density"][:-1].mean()
        assert row[kind] == pytest.approx(expected, rel=1e-5)
    assert set(KINDS) & set(means.columns) == set(grid.kinds)


def test_a_zip_that_holds_no_kind(answering):
    with pytest.raises(GridNotFoundError, match=r"no energy\.mhd and no energy\.raw"):
        fetch_grid(5, session=answering(zipped(data_set_xml="<x/>")))
    energy = zipped(energy_mhd=HEADER, energy_raw=RAW)
    with pytest.raises(GridNotFoundError, match=r"use what it holds \(kinds\): energy"):
        fetch_grid(5, session=answering(energy), kinds=["density"], refresh=True)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"<html>maintenance</html>", "no ZIP"),
        (zipped(energy_mhd=HEADER, energy_raw=RAW)[:-30], "no ZIP"),
        (zipped(energy_mhd=HEADER, energy_raw=RAW).replace(RAW, RAW[::-1]), "broken"),
        (zipped(energy_mhd=HEADER, energy_raw=RAW[:-4]), "96"),
        (damaged_deflate(), "cannot be read|broken"),
    ],
)
def test_answers_that_are_broken(answering, content, says):
    with pytest.raises(AnswerError, match=says):
        fetch_grid(5, session=answering(content), kinds=["energy"])


def test_no_grid_and_no_network(answering, tmp_path):
    with pytest.raises(GridNotFoundError, match="no expression grid of section data set 5"):
        fetch_grid(5, session=answering(b"", 404))
    offline = Session(Settings(cache_dir=tmp_path / "none", offline=True))
    with pytest.raises(OfflineError, match="atldld grid 5 -o"):
        fetch_grid(5, session=offline)
    for bad in (0, "x", 1.5):
        with pytest.raises(InvalidInputError, match="positive whole"):
            fetch_grid(bad, session=offline)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="kinds"):
        fetch_grid(5, session=offline, kinds=[])


def test_the_services_own_structures(answering):
    header = HEADER.replace("MET_FLOAT", "MET_UINT")
    numbers = np.arange(24, dtype="<u4").tobytes()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("P56/gridAnnotation.mhd", header)
        archive.writestr("P56/gridAnnotation.raw", numbers)
    labels = fetch_grid_annotation(answering(packed.getvalue()))
    assert labels.dtype == np.uint32
    assert labels[1, 2, 3] == 23
    session = answering(zipped(data_set_xml="x"))
    with pytest.raises(AnswerError, match="gridAnnotation"):
        fetch_grid_annotation(
            session.__class__(
                Settings(
                    api_url="http://y.invalid",
                    download_url="http://y.invalid",
                    cache_dir=session.settings.cache_dir,
                ),
                limits=Limits(attempts=1),
                transport=session.client._transport,
            )
        )


def test_unionizes_are_the_brain(tmp_path):
    source = DemoArchive([909])
    with in_process_session(tmp_path, source) as session:
        told = session.query("StructureUnionize", {"section_data_set_id": 909})
        rows = {row["structure_id"]: row for row in told}
        assert all(row["synthetic"] for row in rows.values())
        assert rows[22]["expression_density"] > 0.99
        assert 190 < rows[22]["expression_energy"] < 230
        for parent, children in ((20, (21, 22, 23)), (10, (11, 12, 13, 14, 15))):
            assert rows[parent]["sum_pixels"] == sum(rows[one]["sum_pixels"] for one in children)
        assert session.query("StructureUnionize", {"section_data_set_id": 1}) == []
