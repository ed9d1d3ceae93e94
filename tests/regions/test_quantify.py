"""Region tables against what the demo brain is.

Three sections are rendered without cells and noise and fetched as JPEG. What a table must
say is computed here by asking the brain itself, at the centre of every pixel: which structure is
there, and how much is expressed.
"""

import csv
import json
from typing import Any

import msgspec
import numpy as np
import pytest

from atldld.api import DataSet, open_dataset, quantify
from atldld.atlas import Atlas, StructureGraph
from atldld.atlas.labels import as_labels, compact_labels
from atldld.demo import anatomy
from atldld.demo.archive import DemoArchive
from atldld.demo.local import in_process_session
from atldld.errors import (
    ImageNotFoundError,
    InvalidInputError,
    RecordError,
    ServiceWarning,
    SkippedImageWarning,
    UnsupportedPlaneError,
)
from atldld.place.spaces import BOX
from atldld.regions.table import Regions, ids_within
from atldld.warp.stain import JET

DATASET = 71717084
SMALL = 909  # every eighth section, in small images
DEPTHS = (7700, 6900, 5300)  # p of hippocampus, thalamus, striatum with the marker nucleus, µm
STEP = 25.0
EXPRESSED = 0.11  # above it the demo brain's masks show a colour
MARKER = 60
# Structures with at least this much area in the three sections are compared with the brain.
LEAST_MM2 = 0.15
TOLERANCE = {"density": 0.025, "energy": 5.0, "area_mm2": 0.1}


def graph():
    return StructureGraph.from_answer(
        [
            {
                "id": one.id,
                "acronym": one.acronym,
                "name": one.name,
                "color_hex_triplet": one.color_hex,
                "parent_structure_id": one.parent_id,
                "graph_order": place,
            }
            for place, one in enumerate(anatomy.STRUCTURES)
        ]
    )


def atlas_of(annotation, resolution):
    return Atlas("demo", resolution, annotation, graph(), "nobody", "here", synthetic=True)


@pytest.fixture(scope="module")
def plain_session(tmp_path_factory):
    source = DemoArchive([DATASET, SMALL], cells=False, noise=False, label=None)
    with in_process_session(tmp_path_factory.mktemp("plain"), source) as session:
        yield session


@pytest.fixture(scope="module")
def dataset(plain_session):
    return open_dataset(DATASET, session=plain_session)


@pytest.fixture(scope="module")
def small(plain_session):
    return open_dataset(SMALL, session=plain_session)


@pytest.fixture(scope="module")
def sections(dataset):
    return [
        min(dataset, key=lambda section: abs(section.geometry.centre[0] - depth))
        for depth in DEPTHS
    ]


@pytest.fixture(scope="module")
def annotation(sections):
    """The brain in voxels of 25 µm, near the three sections."""
    shape = tuple(int(side / STEP) for side in BOX)
    out = np.zeros(shape, dtype=np.uint32)
    for section in sections:
        low, high = section.geometry.depth_range
        planes = np.arange(int(low // STEP) - 1, int(high // STEP) + 3)
        points = np.stack(np.meshgrid(planes, *map(np.arange, shape[1:]), indexing="ij"), axis=-1)
        out[planes] = anatomy.structure_id((points + 0.5) * STEP)
    return out


@pytest.fixture(scope="module")
def table(dataset, annotation, sections):
    atlas = atlas_of(annotation, STEP)
    return quantify(dataset, atlas, STEP, sections=sections, grid=False, unionize=False)


@pytest.fixture(scope="module")
def centres(sections, table):
    """Where the pixels of each section lie, and what one covers, in mm²."""
    found = []
    for section, read in zip(sections, table.metadata["sections"], strict=True):
        tier = read["downsample"]
        width, height = section.image.size(tier)
        x, y = np.meshgrid(np.arange(width), np.arange(height))
        xy = np.stack((x, y), axis=-1) * 2**tier + (2**tier - 1) / 2
        pir = section.to_reference(xy).reshape(-1, 3)
        corner, right, down = section.to_reference([(0, 0), (2**tier, 0), (0, 2**tier)])
        area = np.linalg.norm(np.cross(right - corner, down - corner)) * 1e-6
        found.append((pir, area))
    return found


def within(structure_id):
    return ids_within(graph(), [structure_id])


def test_each_pixel_counts_where_it_lies(centres, annotation, table):
    """Exactly: one voxel beside, or the other hemisphere, would be other numbers."""
    shape = np.array(annotation.shape)
    ids, left = [], []
    for pir, _ in centres:
        voxel = np.floor(pir / STEP).astype(int)
        inside = ((voxel >= 0) & (voxel < shape)).all(axis=1)
        ids.append(np.where(inside, annotation[tuple(np.clip(voxel, 0, shape - 1).T)], 0))
        left.append(pir[:, 2] < 5700)
    labels, is_left = np.concatenate(ids), np.concatenate(left)
    for row in table.rows():
        if row["kind"] == "outside":
            expected = labels == 0
        else:
            halves: dict[str, Any] = {"left": is_left, "right": ~is_left, "both": True}
            half = halves[row["hemisphere"]]
            expected = np.isin(labels, within(row["structure_id"])) & half
        assert row["pixels"] == expected.sum(), row["acronym"]
    everything = table.row("root")["pixels"] + table.row(0)["pixels"]
    assert everything == labels.size


@pytest.fixture(scope="module")
def truth(centres):
    """The brain itself over every structure: area, density, energy, by id and hemisphere."""
    points = np.concatenate([pir for pir, _ in centres])
    area = np.concatenate([np.full(len(pir), one) for pir, one in centres])
    ids, gene = anatomy.structure_id(points), anatomy.expression(points)
    left = points[:, 2] < 5700
    out = {}
    for one in np.unique(ids[ids > 0]):
        for name, half in (("left", left), ("right", ~left)):
            here = (ids == one) & half
            total = area[here].sum()
            if total < LEAST_MM2 / 2:
                continue
            shown = here & (gene > EXPRESSED)
            out[int(one), name] = {
                "area_mm2": total,
                "density": area[shown].sum() / total,
                "energy": (area * gene)[shown].sum() * 255 / total,
            }
    return out


def departures(table, expected):
    """The largest difference from the brain in each quantity; of areas, relative ones."""
    worst = dict.fromkeys(TOLERANCE, 0.0)
    for (one, half), values in expected.items():
        row = table.row(one, half)
        for name, value in values.items():
            apart = abs(row[name] - value) / (value if name == "area_mm2" else 1)
            worst[name] = max(worst[name], apart if np.isfinite(apart) else np.inf)
    return worst


def exceeded(worst):
    return [name for name, limit in TOLERANCE.items() if worst[name] > limit]


def test_the_table_is_the_brain_integrated(table, truth):
    assert len(truth) > 25
    worst = departures(table, truth)
    print({name: round(value, 4) for name, value in worst.items()})
    assert not exceeded(worst), worst


@pytest.mark.parametrize("axis", [1, 2])
def test_labels_one_voxel_off_would_be_noticed(axis, dataset, annotation, sections, truth):
    shifted = atlas_of(np.roll(annotation, 1, axis=axis), STEP)
    off = quantify(dataset, shifted, STEP, sections=sections, grid=False, unionize=False)
    worst = departures(off, truth)
    assert exceeded(worst), worst


def test_the_marker_is_in_the_left_half_alone(table, dataset, annotation, sections, truth):
    left, right, both = (table.row(MARKER, half) for half in ("left", "right", "both"))
    assert left["pixels"] == both["pixels"] > 100
    assert right["pixels"] == 0
    assert np.isnan(right["density"])
    assert left["density"] > 0.95
    mirrored = atlas_of(np.ascontiguousarray(annotation[:, :, ::-1]), STEP)
    off = quantify(dataset, mirrored, STEP, sections=sections, grid=False, unionize=False)
    assert off.row(MARKER, "left")["pixels"] == 0
    worst = departures(off, truth)
    assert exceeded(worst), worst


def test_left_and_right_are_both(table):
    assert list(table["hemisphere"][:3]) == ["left", "right", "both"]
    known = table.select(kinds=["structure"])
    assert len(table.select(kinds="structure")) == len(known) > 0
    for name in ("pixels", "area_mm2", "volume_mm3", "atlas_volume_mm3"):
        left, right, both = known[name].reshape(-1, 3).T
        np.testing.assert_allclose(left + right, both, rtol=1e-12)
    expressed = np.nan_to_num(known["density"] * known["area_mm2"]).reshape(-1, 3)
    np.testing.assert_allclose(expressed[:, :2].sum(axis=1), expressed[:, 2], atol=1e-12)
    np.testing.assert_allclose(
        known["energy"], known["density"] * known["intensity"], equal_nan=True
    )


@pytest.fixture(scope="module")
def patchwork(dataset, sections):
    """An annotation with parents, children and an unknown id, all mixed, and its table."""
    rng = np.random.default_rng(5)
    ids = np.array([0, 1, 10, 11, 14, 20, 22, 777, 70], dtype=np.uint32)
    blocks = rng.integers(0, len(ids), (66, 40, 57))
    annotation = np.kron(ids[blocks], np.ones((2, 2, 2), dtype=np.uint32))
    assert annotation.shape == (132, 80, 114)
    # as the service's files lie in memory
    annotation = np.asfortranarray(annotation)
    return quantify(
        dataset, atlas_of(annotation, 100), 40, sections=sections, grid=False, unionize=False
    )


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.float64])
@pytest.mark.parametrize("order", ["C", "F"])
def test_ids_are_carried_as_they_are(dtype, order):
    """The kind: ids outside 0 … 2³² were wrapped to those of other structures, or became floats."""
    far, negative = 2**32 + 8, -997 if dtype == np.int64 else 997
    volume = np.array([[[negative, 0], [far, 10]]], dtype, order=order)
    if dtype == np.float64:
        with pytest.raises(InvalidInputError, match="float64"):
            compact_labels(volume)
        return
    ids, places = compact_labels(volume)
    # the outside comes first, also before ids below 0
    assert ids.tolist() == [0, *sorted([negative, 10, far])]
    np.testing.assert_array_equal(ids[places], volume.astype(np.int64))
    regions = Regions(ids.tolist(), graph())
    assert regions.unknown == sorted([negative, far])
    largest = np.array([2**63 + 5, 3, 2**64 - 1], np.uint64)
    with pytest.raises(InvalidInputError, match="9223372036854775813, 18446744073709551615"):
        compact_labels(largest)


def test_types_that_hold_every_id():
    for values, dtype in (
        (np.array([0, 255], np.uint8), np.uint32),
        (np.array([5, 2**32 - 1]), np.uint32),
        (np.array([5, 2**32]), np.int64),
        (np.array([-1, 5], np.int8), np.int64),
        (np.array([], np.int64), np.uint32),
    ):
        labels = as_labels(values, "It")
        assert labels.dtype == dtype
        assert labels.tolist() == values.tolist()
    for wrong in ([1.0], [np.nan], [True], [1j], ["1"]):
        with pytest.raises(InvalidInputError, match="whole numbers"):
            as_labels(np.array(wrong), "It")


def test_parents_hold_their_children_and_themselves(patchwork):
    structures = graph()
    ids, places = compact_labels(np.asfortranarray(np.array([[[1, 10, 11, 777]]], np.uint32)))
    regions = Regions(ids.tolist(), structures)
    assert ids.tolist() == [0, 1, 10, 11, 777]
    assert places.ravel().tolist() == [1, 2, 3, 4]
    own = np.array([[5], [1], [10], [100], [1000]])
    added = dict(zip(regions.ids, regions.add_up(own)[:, 0].tolist(), strict=True))
    assert added == {1: 111, 2: 110, 10: 110, 11: 100, 777: 1000, 0: 5}
    # and in a table: what is in CTX but in none of its parts is CTX's own
    for name in ("pixels", "area_mm2", "volume_mm3"):
        ctx, layers = patchwork.row("CTX")[name], patchwork.select([11, 14], hemispheres=["both"])
        assert 0 < layers[name].sum() < ctx
    grey = [patchwork.row(name)["pixels"] for name in ("CTX", "HPF")]
    assert patchwork.row("grey")["pixels"] == sum(grey)


def test_no_pixel_is_lost(patchwork, sections):
    read = patchwork.metadata["sections"]
    everything = sum(
        np.prod(section.image.size(one["downsample"]))
        for section, one in zip(sections, read, strict=True)
    )
    parts = [patchwork.row(name)["pixels"] for name in ("root", "unknown 777", "outside")]
    assert min(parts) > 0
    assert sum(parts) == everything


def test_unknown_ids_are_kept_and_listed(patchwork):
    row = patchwork.row(777)
    assert (row["kind"], row["acronym"], row["depth"]) == ("unknown", "unknown 777", -1)
    assert patchwork.metadata["unknown_ids"] == [777]
    assert patchwork.row("outside")["coverage"] != patchwork.row("outside")["coverage"]


def test_coverage_and_volume(small):
    """A slab of tissue: what sections stand for, and what happens where some are missing."""
    slab = np.zeros((132, 80, 114), dtype=np.uint32)
    slab[40:80, 30:50, 30:84] = 31  # 4 × 2 × 5.4 mm
    atlas = atlas_of(slab, 100)

    def of(chosen):
        table = quantify(
            small, atlas, 60, sections=chosen, grid=False, unionize=False, hemispheres=False
        )
        assert set(table["hemisphere"]) == {"both"}
        return table.row("TH")

    everything = of(small.sections)
    assert everything["atlas_volume_mm3"] == pytest.approx(4 * 2 * 5.4)
    assert everything["volume_mm3"] == pytest.approx(4 * 2 * 5.4, rel=0.15)
    assert everything["coverage"] == everything["volume_mm3"] / everything["atlas_volume_mm3"]
    assert 3 <= everything["sections"] <= 6
    # every second one missing: gaps are not bridged
    half = of(small.sections[::2])
    assert 0.25 < half["coverage"] < 0.75


def test_each_section_stands_for_its_part(small, annotation):
    """Two sections beside each other: pixels × pixel volume × the usual spacing."""
    pair = small.sections[6:8]
    table = quantify(
        small, atlas_of(annotation, STEP), 60, sections=pair, grid=False, unionize=False
    )
    numbers = np.unique([section.number for section in small])
    usual = np.median(np.diff(numbers))
    gap = min(pair[1].number - pair[0].number, usual)
    across = small.record.alignment3d.to_reference[:, 2]
    expected = 0.0
    for section, read in zip(pair, table.metadata["sections"], strict=True):
        tier = read["downsample"]
        box = np.column_stack((section.placement.forward[:, :2], across))
        pixels = np.prod(section.image.size(tier)) * 4**tier
        expected += pixels * abs(np.linalg.det(box)) * (usual + gap) / 2 * section.thickness
    counted = table.row("root")["volume_mm3"] + table.row("outside")["volume_mm3"]
    assert counted == pytest.approx(expected * 1e-9)


def test_the_threshold_is_obeyed(dataset, annotation, sections, table):
    atlas = atlas_of(annotation, STEP)

    def at(threshold):
        found = quantify(
            dataset,
            atlas,
            STEP,
            sections=sections[:1],
            threshold=threshold,
            grid=False,
            unionize=False,
        )
        assert found.metadata["threshold_of_brightest_channel"] == threshold
        assert found.metadata["scale"] == JET.describe()
        return found.row("CTX")["density"]

    densities = [at(threshold) for threshold in (0, 20, 120, 254)]
    assert densities == sorted(densities, reverse=True)
    # noise of the JPEG is not expression; only the soft edges of the masks change
    assert at(10) == pytest.approx(densities[1], abs=0.03)
    assert densities[3] < densities[1]


@pytest.mark.long
def test_beside_the_services_own(small):
    """The demo service's grid and unionizes come from the brain itself, not from the masks."""
    # voxels of 100 µm would lend layers pixels of their neighbours
    points = [(np.arange(side // 50) + 0.5) * 50 for side in BOX]
    annotation = anatomy.structure_id(np.stack(np.meshgrid(*points, indexing="ij"), axis=-1))
    table = quantify(small, atlas_of(annotation, 50), 40)
    assert table.metadata["compared_with"]["structure_unionize_rows"] == len(anatomy.STRUCTURES)
    assert "grid_data" in table.metadata["compared_with"]["grid"]
    for name, tolerance in (("CTX5", 0.05), ("CTX2/3", 0.05), ("CTX", 0.15), ("grey", 0.2)):
        row = table.row(name)
        assert row["unionize_energy"] == pytest.approx(row["energy"], rel=tolerance), name
        assert row["grid_energy"] == pytest.approx(row["energy"], rel=0.2), name
        assert row["grid_data_fraction"] > 0.9
        assert np.isnan(table.row(name, "left")["unionize_energy"])
        assert table.row(name, "left")["grid_energy"] > 0
    assert table.top("energy", 1, sections=2)["acronym"].tolist() == ["DG"]


def test_what_the_service_lacks_is_left_empty(dataset, annotation, sections, monkeypatch):
    offline = msgspec.structs.replace(dataset.record, id=910)
    ours = DataSet(offline, dataset.session)
    with pytest.warns(ServiceWarning, match="no expression grid of section data set 910"):
        table = quantify(ours, atlas_of(annotation, STEP), STEP, sections=sections[:1])
    row = table.row("CTX")
    assert row["energy"] > 0
    assert np.isnan(row["grid_energy"])
    assert np.isnan(row["unionize_energy"])
    assert table.metadata["compared_with"] == {"structure_unionize_rows": 0, "grid": None}


def without_masks(dataset, which=slice(None)):
    images = list(dataset.record.images)
    images[which] = [
        msgspec.structs.replace(image, expression_path=None) for image in images[which]
    ]
    return DataSet(msgspec.structs.replace(dataset.record, images=tuple(images)), dataset.session)


def test_no_masks(dataset, annotation, sections):
    atlas = atlas_of(annotation, STEP)
    with pytest.raises(RecordError, match=r"no expression masks.*stain_threshold=0.3"):
        quantify(without_masks(dataset), atlas, STEP)
    some = without_masks(dataset, slice(0, 40))
    table = quantify(some, atlas, STEP, sections=some.sections[39:41], grid=False, unionize=False)
    assert len(table.metadata["sections"]) == 1
    assert "it has no expression mask" in table.metadata["skipped"].values()


def test_stain_is_another_quantity(dataset, annotation, sections, centres):
    bare = without_masks(dataset)
    chosen = [bare.section(section.id) for section in sections]
    table = quantify(bare, atlas_of(annotation, STEP), STEP, sections=chosen, stain_threshold=0.3)
    assert not {"density", "intensity", "energy", "grid_energy"} & set(table.columns)
    assert table.metadata["stain_threshold"] == 0.3
    points = np.concatenate([pir for pir, _ in centres])
    weights = np.array([0.21, 0.72, 0.07])
    dark = 1 - (anatomy.color(points) @ weights) / (np.array(anatomy.BACKGROUND) @ weights)
    ids = anatomy.structure_id(points)
    for one in (12, 14, 30, 31):
        here = ids == one
        row = table.row(one)
        assert row["stained_fraction"] == pytest.approx((dark[here] > 0.3).mean(), abs=0.03)
        assert row["stained_darkness"] == pytest.approx(dark[here & (dark > 0.3)].mean(), abs=0.02)


def test_a_section_that_cannot_be_had(dataset, annotation, sections, monkeypatch):
    original = type(dataset.session).image

    def image(session, record, downsample=0, *, expression=False):
        if record.id == sections[1].id:
            raise ImageNotFoundError("It is gone.", image_id=record.id)
        return original(session, record, downsample, expression=expression)

    monkeypatch.setattr(type(dataset.session), "image", image)
    atlas = atlas_of(annotation, STEP)
    with pytest.warns(SkippedImageWarning, match=f"Section {sections[1].number} .* It is gone"):
        table = quantify(dataset, atlas, STEP, sections=sections, grid=False, unionize=False)
    assert len(table.metadata["sections"]) == 2
    assert list(table.metadata["failed"]) == [str(sections[1].id)]
    with pytest.raises(ImageNotFoundError, match="gone"):
        quantify(dataset, atlas, STEP, sections=sections[1:2], grid=False, unionize=False)


def test_a_developing_brain_is_refused(dataset, annotation):
    young = msgspec.structs.replace(dataset.record, reference_space_id=7)
    ours = DataSet(dataset.record, dataset.session)
    object.__setattr__(ours, "record", young)
    with pytest.raises(UnsupportedPlaneError, match=r"adult brain.*reference space 7"):
        quantify(ours, atlas_of(annotation, STEP))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"threshold": 255}, "0 to 254"),
        ({"threshold": 1.5}, "whole number"),
        ({"stain_threshold": 0.0}, "between 0 and 1"),
        ({"resolution": 0}, "positive"),
        ({"sections": []}, "none was chosen"),
    ],
)
def test_options_without_sense(dataset, annotation, options, says):
    with pytest.raises(InvalidInputError, match=says):
        quantify(dataset, atlas_of(annotation, STEP), **options)


def test_files(table, tmp_path):
    pandas = pytest.importorskip("pandas")
    written, about = table.save(tmp_path / "new" / "table.csv")
    with open(written, newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(table.columns)
    assert len(rows) == len(table)
    row = next(r for r in rows if r["acronym"] == "CTX" and r["hemisphere"] == "left")
    assert float(row["energy"]) == pytest.approx(table.row("CTX", "left")["energy"])
    described = json.loads(about.read_text())
    assert set(described["columns"]) == set(table.columns)
    assert described["synthetic"] is True
    assert described["threshold_of_brightest_channel"] == 20
    assert "Lein" in described["citation"]
    [parquet] = table.save(tmp_path / "table.parquet")
    frame = pandas.read_parquet(parquet)
    whole = table.to_pandas()
    assert list(frame) == list(whole)
    np.testing.assert_array_equal(frame["pixels"], whole["pixels"])
    np.testing.assert_allclose(frame["energy"], table["energy"])
    read = pandas.read_csv(written)
    np.testing.assert_allclose(read["energy"], table["energy"], rtol=1e-9)
    with pytest.raises(InvalidInputError, match=r"\.csv, \.parquet"):
        table.save(tmp_path / "table.xlsx")


def test_choosing_rows(table):
    assert set(table.select(depth=3, hemispheres=["left"])["depth"]) == {3}
    hpf = table.select(ids_within(graph(), ["HPF"]), hemispheres=["both"])
    assert set(hpf["acronym"]) <= {"HPF", "CA", "DG", "HPFn"}
    with pytest.raises(InvalidInputError, match="left, right, both"):
        table.select(hemispheres=["middle"])
    with pytest.raises(InvalidInputError, match="no column"):
        table["nothing"]
    with pytest.raises(LookupError, match="no row"):
        table.row("nothing")
    assert "energy" in table.headline
