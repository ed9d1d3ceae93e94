"""The synchronisation calls with an alignment, against the placements themselves."""

import csv
import io
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from atldld.errors import ClampedSectionWarning, InvalidInputError
from atldld.formats.points import (
    pixels_to_image,
    pixels_to_pixels,
    pixels_to_reference,
    reference_to_pixels,
    structures_to_pixels,
)
from atldld.formats.tables import read_table
from atldld.place import points as sync
from atldld.place.placement import Placement
from atldld.place.registration import Registration, SectionFit
from atldld.place.sections import PlacedDataSet
from tests.curved.conftest import curve

CORONAL, SAGITTAL = 71717084, 69289763

# they place some of the sections only
pytestmark = pytest.mark.filterwarnings("ignore:.*the service's alignment is kept for the others")


@pytest.fixture(scope="module")
def aligned(placed):
    """Placements of both data sets: moved, tilted and curved; one section is left out."""
    found = {}
    for dataset_id, dataset in placed.items():
        random = np.random.default_rng(dataset_id)
        given: dict[int, Placement] = {}
        for section in dataset.sections[1::3]:
            moved = section.placement.forward.copy()
            moved[:, 2] += random.normal(0, 150, 3)
            moved[:, :2] += random.normal(0, 0.02, (3, 2))
            step = np.linalg.inv(section.placement.backward[:, :3])[:, 2]
            placement = Placement.from_plane(moved, step, section.number)
            assert placement is not None
            curved = curve(section, 5, 200) if len(given) % 4 < 2 else section
            given[section.id] = replace(placement, deformation=curved.placement.deformation)
        found[dataset_id] = given
    return found


def placements(dataset, given):
    return {s.id: given.get(s.id) or s.placement for s in dataset.sections}


def points_on(dataset, count, seed=0):
    """Pixels of all sections, in no order."""
    random = np.random.default_rng(seed)
    ids = random.choice([section.id for section in dataset.sections], count)
    return ids, random.uniform(0, 8000, (count, 2))


@pytest.mark.parametrize("dataset_id", [CORONAL, SAGITTAL])
def test_pixels_lie_where_their_own_placement_has_them(placed, aligned, dataset_id):
    dataset, given = placed[dataset_id], aligned[dataset_id]
    where = placements(dataset, given)
    ids, xy = points_on(dataset, 3000)
    found = sync.image_to_reference(dataset.record, ids, xy, alignment=given).pir
    expected = np.array([where[i].to_reference(pixel) for i, pixel in zip(ids, xy, strict=True)])
    np.testing.assert_allclose(found, expected, atol=1e-6)
    one = int(ids[0])
    alone = sync.image_to_reference(dataset.record, one, xy[:50], alignment=given).pir
    np.testing.assert_allclose(alone, where[one].to_reference(xy[:50]), atol=1e-9)


@pytest.mark.parametrize("dataset_id", [CORONAL, SAGITTAL])
def test_the_nearest_section_is_the_one_that_says_so_itself(placed, aligned, dataset_id):
    dataset, given = placed[dataset_id], aligned[dataset_id]
    where = placements(dataset, given)
    numbers = {section.id: section.number for section in dataset.sections}
    ids, xy = points_on(dataset, 500)
    pir = sync.image_to_reference(dataset.record, ids, xy, alignment=given).pir
    pir += np.random.default_rng(2).normal(0, 60, pir.shape)
    found = sync.reference_to_image(dataset.record, pir, alignment=given, beyond="ignore")
    thickness = dataset.record.section_thickness
    for k, point in enumerate(pir):
        apart = {
            image_id: (placement.section_numbers(point) - numbers[image_id]) * thickness
            for image_id, placement in where.items()
        }
        nearest = min(apart, key=lambda image_id: abs(apart[image_id]))
        assert found.image_ids[k] == nearest
        assert found.section_numbers[k] == numbers[nearest]
        assert found.distance[k] == pytest.approx(apart[nearest], abs=1e-6)
        np.testing.assert_allclose(found.xy[k], where[nearest].to_image(point), atol=1e-6)


def test_there_and_back(placed, aligned):
    """A pixel comes back, unless another section's plane is nearer still: they may cross."""
    dataset, given = placed[CORONAL], aligned[CORONAL]
    ids = np.array(sorted(given))[np.random.default_rng(0).integers(0, len(given), 2000)]
    xy = np.random.default_rng(1).uniform(500, 7000, (2000, 2))
    pir = sync.image_to_reference(dataset.record, ids, xy, alignment=given)
    found = sync.reference_to_image(dataset.record, pir, alignment=given)
    same = found.image_ids == ids
    assert same.mean() > 0.9
    # what the two ways of the deformation leave, see `SplineDeformation.round_trip`
    np.testing.assert_allclose(found.xy[same], xy[same], atol=0.1)
    np.testing.assert_allclose(found.distance, 0, atol=1e-3)


def test_an_alignment_that_says_what_the_service_says_changes_nothing(placed):
    dataset = placed[SAGITTAL]
    same = {section.id: section.placement for section in dataset.sections}
    ids, xy = points_on(dataset, 500)
    one = sync.image_to_reference(dataset.record, ids, xy)
    other = sync.image_to_reference(dataset.record, ids, xy, alignment=same)
    np.testing.assert_array_equal(one.pir, other.pir)
    pir = one.pir + np.random.default_rng(0).normal(0, 80, one.pir.shape)
    first, second = (
        sync.reference_to_image(dataset.record, pir, alignment=a, beyond="ignore")
        for a in (None, same)
    )
    np.testing.assert_array_equal(first.image_ids, second.image_ids)
    np.testing.assert_allclose(first.xy, second.xy, atol=1e-9)
    np.testing.assert_allclose(first.distance, second.distance, atol=1e-9)


def test_from_one_data_set_to_another_both_aligned(placed, aligned):
    source, target = placed[SAGITTAL], placed[CORONAL]
    ids, xy = points_on(source, 400)
    found = sync.image_to_image(
        source.record,
        ids,
        xy,
        target.record,
        alignment=aligned[SAGITTAL],
        target_alignment=aligned[CORONAL],
        beyond="ignore",
    )
    pir = sync.image_to_reference(source.record, ids, xy, alignment=aligned[SAGITTAL])
    expected = sync.reference_to_image(
        target.record, pir, alignment=aligned[CORONAL], beyond="ignore"
    )
    np.testing.assert_array_equal(found.image_ids, expected.image_ids)
    np.testing.assert_array_equal(found.xy, expected.xy)
    only = sync.image_to_image(
        source.record, ids, xy, target.record, alignment=aligned[SAGITTAL], beyond="ignore"
    )
    assert (only.image_ids != found.image_ids).any()
    # within one data set the alignment serves for both
    within = sync.image_to_image(
        source.record, ids, xy, source.record, alignment=aligned[SAGITTAL], beyond="ignore"
    )
    back = sync.reference_to_image(source.record, pir, alignment=aligned[SAGITTAL], beyond="ignore")
    np.testing.assert_array_equal(within.xy, back.xy)


def test_from_one_image_to_another_of_the_specimen(placed, aligned):
    dataset, given = placed[CORONAL], aligned[CORONAL]
    first, second = sorted(given)[3:5]
    xy = np.random.default_rng(0).uniform(500, 7000, (200, 2))
    found = sync.image_to_image_2d(
        dataset.record, first, xy, dataset.record, second, alignment=given
    )
    expected = given[second].to_image(given[first].to_reference(xy))
    np.testing.assert_allclose(found.xy, expected, atol=1e-9)
    # where the alignment has neither, it is the service's own way, but for rounded matrices
    lacking = [s.id for s in dataset.sections if s.id not in given][:2]
    one = sync.image_to_image_2d(
        dataset.record, lacking[0], xy, dataset.record, lacking[1], alignment=given
    )
    other = sync.image_to_image_2d(dataset.record, lacking[0], xy, dataset.record, lacking[1])
    np.testing.assert_allclose(one.xy, other.xy, atol=0.5)
    np.testing.assert_array_equal(one.distance, other.distance)


def test_structures_and_plates(placed, aligned):
    dataset, given = placed[CORONAL], aligned[CORONAL]
    centers = [sync.StructureCenter(7, 6000.0, 4000.0, 5000.0, dataset.record.reference_space_id)]
    found = sync.structure_to_image(dataset.record, [7], centers, alignment=given)
    expected = sync.reference_to_image(dataset.record, [[6000, 4000, 5000]], alignment=given)
    np.testing.assert_array_equal(found.xy, expected.xy)
    source = placed[SAGITTAL]
    ids, xy = points_on(source, 50)
    plates = sync.image_to_atlas(
        source.record, ids, xy, dataset.record, alignment=aligned[SAGITTAL], beyond="ignore"
    )
    plain = sync.image_to_image(
        source.record, ids, xy, dataset.record, alignment=aligned[SAGITTAL], beyond="ignore"
    )
    np.testing.assert_array_equal(plates.xy, plain.xy)


def test_what_is_far_from_all_sections_is_told(placed, aligned):
    dataset, given = placed[CORONAL], aligned[CORONAL]
    with pytest.warns(ClampedSectionWarning):
        sync.reference_to_image(dataset.record, [[100, 4000, 5000]], alignment=given)
    found = sync.reference_to_image(
        dataset.record, [[100, 4000, 5000]], alignment=given, max_distance=50
    )
    assert found.image_ids[0] == -1


def test_a_million_points_take_little_memory_and_no_loop(placed, aligned):
    dataset, given = placed[CORONAL], aligned[CORONAL]
    ids, xy = points_on(dataset, 200_000)
    pir = sync.image_to_reference(dataset.record, ids, xy, alignment=given)
    found = sync.reference_to_image(dataset.record, pir, alignment=given, beyond="ignore")
    assert found.answered.all()


# ---- files, tables, commands


def registration(dataset, given):
    sections = {
        section.id: SectionFit.of(given[section.id], section.number, pixel=section.image.resolution)
        for section in dataset.sections
        if section.id in given
    }
    return Registration(dataset.id, sections, {"atlas": {"name": "test"}})


def test_a_file_is_an_alignment(placed, aligned, tmp_path):
    dataset = placed[CORONAL]
    planes = registration(dataset, aligned[CORONAL])
    path = planes.save(tmp_path / "reg.json")
    ids, xy = points_on(dataset, 100)
    expected = sync.image_to_reference(
        dataset.record, ids, xy, alignment=planes.placements(dataset.record)
    )
    for alignment in (path, str(path), planes):
        found = sync.image_to_reference(dataset.record, ids, xy, alignment=alignment)
        # files hold displacements in mm
        np.testing.assert_allclose(found.pir, expected.pir, atol=1e-3)
    with pytest.raises(InvalidInputError, match="of section data set"):
        sync.image_to_reference(placed[SAGITTAL].record, [], np.empty((0, 2)), alignment=path)


def table_of(tmp_path, ids, xy, name="points.csv"):
    path = tmp_path / name
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image_id", "x", "y"])
        writer.writerows([i, *map(repr, pixel)] for i, pixel in zip(ids, xy.tolist(), strict=True))
    return read_table(str(path))


def test_tables_of_several_data_sets_take_the_alignment_of_one(
    placed, aligned, demo_session, tmp_path
):
    dataset, other = placed[CORONAL], placed[SAGITTAL]
    ids, xy = points_on(dataset, 60)
    other_ids, other_xy = points_on(other, 40)
    table = table_of(tmp_path, [*ids, *other_ids], np.concatenate((xy, other_xy)))
    planes = registration(dataset, aligned[CORONAL])
    found = pixels_to_reference(demo_session, table, alignment=planes, remark=print)
    pir = np.column_stack([found.columns[f"{axis}_um"] for axis in "pir"])
    given = planes.placements(dataset.record)
    np.testing.assert_allclose(
        pir[:60], sync.image_to_reference(dataset.record, ids, xy, alignment=given).pir
    )
    np.testing.assert_allclose(
        pir[60:], sync.image_to_reference(other.record, other_ids, other_xy).pir
    )
    # to the aligned data set: all rows are found on its sections as the alignment has them
    found = pixels_to_pixels(
        demo_session, table, dataset.record, alignment=planes, max_distance=1e6, remark=print
    )
    xy_found = np.column_stack([found.columns[name] for name in ("target_x", "target_y")])
    expected = sync.image_to_image(
        other.record, other_ids, other_xy, dataset.record, target_alignment=given, beyond="ignore"
    )
    np.testing.assert_allclose(xy_found[60:], expected.xy)


def test_an_alignment_of_none_of_the_images_is_an_error(placed, aligned, demo_session, tmp_path):
    other = placed[SAGITTAL]
    table = table_of(tmp_path, *points_on(other, 5))
    planes = registration(placed[CORONAL], aligned[CORONAL])
    with pytest.raises(InvalidInputError, match="of section data set 71717084, not of 69289763"):
        pixels_to_reference(demo_session, table, alignment=planes, remark=print)
    # but not where the target is of it
    pixels_to_pixels(
        demo_session,
        table,
        placed[CORONAL].record,
        alignment=planes,
        max_distance=1e6,
        remark=print,
    )


def test_every_command_takes_an_alignment(
    placed, aligned, at_demo_server, tmp_path, capsys, monkeypatch
):
    from atldld.cli import main

    dataset = placed[CORONAL]
    planes = registration(dataset, aligned[CORONAL])
    given = planes.placements(dataset.record)
    assert any(one.deformation is not None for one in given.values())
    reg = planes.save(tmp_path / "reg.json")
    ids, xy = points_on(dataset, 20)
    table_of(tmp_path, ids, xy)
    pixels = tmp_path / "points.csv"

    def run(*arguments):
        command = ["atldld", "sync", *map(str, arguments), "--alignment", str(reg)]
        monkeypatch.setattr("sys.argv", command)
        with pytest.raises(SystemExit) as ended:
            main()
        done = capsys.readouterr()
        assert not ended.value.code, done.err
        return list(csv.DictReader(io.StringIO(done.out)))

    rows = run("image-to-reference", pixels)
    pir = np.array([[float(row[f"{axis}_um"]) for axis in "pir"] for row in rows])
    expected = sync.image_to_reference(dataset.record, ids, xy, alignment=given)
    np.testing.assert_allclose(pir, expected.pir, atol=1e-2)
    brain = tmp_path / "brain.csv"
    brain.write_text("p_um,i_um,r_um\n" + "\n".join(",".join(map(repr, p)) for p in pir.tolist()))
    back = sync.reference_to_image(dataset.record, pir, alignment=given)
    for rows, prefix in (
        (run("reference-to-image", brain, "-d", CORONAL), ""),
        (run("image-to-image", pixels, "-d", CORONAL), "target_"),
    ):
        found = np.array([[float(row[f"{prefix}{name}"]) for name in "xy"] for row in rows])
        np.testing.assert_allclose(found, back.xy, atol=0.1)
    target = sorted(given)[2]
    rows = run("image-to-image-2d", pixels, "-i", target)
    found = np.array([[float(row[f"target_{name}"]) for name in "xy"] for row in rows])
    np.testing.assert_allclose(found, given[target].to_image(expected.pir), atol=0.1)
    structures = tmp_path / "structures.csv"
    structures.write_text("structure_id\n22\n")
    (row,) = run("structure-to-image", structures, "-d", CORONAL)
    assert row["image_id"]
    assert run("image-to-atlas", pixels)[0]["target_image_id"]


@pytest.fixture
def marked(placed, aligned):
    """A registration with sections that were left out and sections that were confirmed by hand."""
    planes = registration(placed[CORONAL], aligned[CORONAL])
    ids = sorted(planes.sections)
    status = dict.fromkeys(ids[:3], "confirmed") | {ids[4]: "left out", ids[5]: "left out"}
    fits = {
        image_id: msgspec.structs.replace(fit, status=status.get(image_id, "automatic"))
        for image_id, fit in planes.sections.items()
    }
    return replace(planes, sections=fits), ids


@pytest.mark.parametrize("confirmed", [False, True])
def test_tables_leave_out_what_people_have_left_out(
    placed, marked, demo_session, tmp_path, confirmed
):
    dataset = placed[CORONAL]
    planes, ids = marked
    out = set(ids[3:]) if confirmed else {ids[4], ids[5]}
    planes = planes.confirmed() if confirmed else planes
    why = "not confirmed by hand" if confirmed else "left out by hand"
    xy = np.tile([[3000.0, 2500.0]], (len(ids), 1))
    table = table_of(tmp_path, ids, xy)
    found = pixels_to_reference(demo_session, table, alignment=planes, remark=print)
    assert {i for i, p in zip(ids, found.columns["p_um"], strict=True) if np.ma.is_masked(p)} == out
    assert found.summary == (
        f"{len(out)} of {len(ids)} rows have no answer: {len(out)} of sections {why}."
    )
    # what lies on them is found on the nearest one that is used, at its true distance
    pir = sync.image_to_reference(
        dataset.record, ids, xy, alignment=planes.placements(dataset.record)
    ).pir
    path = tmp_path / "brain.csv"
    path.write_text("p_um,i_um,r_um\n" + "\n".join(",".join(map(repr, p)) for p in pir.tolist()))
    for answers in (
        reference_to_pixels(
            demo_session, read_table(str(path)), CORONAL, alignment=planes, max_distance=1e6
        ),
        structures_to_pixels(
            demo_session, _structures(tmp_path), CORONAL, alignment=planes, max_distance=1e6
        ),
        pixels_to_pixels(
            demo_session,
            table_of(tmp_path, ids[:3], xy[:3], "used.csv"),
            dataset.record,
            alignment=planes,
            max_distance=1e6,
            remark=print,
        ),
    ):
        on = answers.columns.get("target_image_id", answers.columns.get("image_id"))
        assert not answers.unanswered
        assert not set(np.asarray(on).tolist()) & out
        assert answers.left_out is not None
        assert why in answers.left_out
        assert f"{len(out)} " in answers.left_out
    with pytest.raises(InvalidInputError, match=why):
        pixels_to_image(
            demo_session,
            table_of(tmp_path, ids[:3], xy[:3], "used.csv"),
            dataset.record,
            max(out),
            alignment=planes,
            remark=print,
        )


def _structures(tmp_path):
    path = tmp_path / "structures.csv"
    path.write_text("structure_id\n22\n")
    return read_table(str(path))


def test_the_command_takes_only_what_was_confirmed(
    placed, marked, at_demo_server, tmp_path, capsys, monkeypatch
):
    from atldld.cli import main

    planes, ids = marked
    reg = planes.save(tmp_path / "reg.json")
    table_of(tmp_path, ids[:6], np.tile([[3000.0, 2500.0]], (6, 1)))

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["atldld", "sync", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, capsys.readouterr()

    code, done = run("image-to-reference", tmp_path / "points.csv", "--alignment", reg)
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert not code
    assert [bool(row["p_um"]) for row in rows] == [True] * 4 + [False] * 2
    assert "2 of 6 rows have no answer: 2 of sections left out by hand." in done.err
    code, done = run(
        "image-to-reference", tmp_path / "points.csv", "--alignment", reg, "--confirmed"
    )
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert [bool(row["p_um"]) for row in rows] == [True] * 3 + [False] * 3
    brain = tmp_path / "brain.csv"
    brain.write_text("p_um,i_um,r_um\n5000,3000,5000\n")
    code, done = run("reference-to-image", brain, "-d", CORONAL, "--alignment", reg, "--confirmed")
    assert not code
    assert "not confirmed by hand" in done.err
    code, done = run("reference-to-image", brain, "-d", CORONAL, "--confirmed")
    assert code
    assert "no registration that says which they are" in done.err


def test_the_facade_places_the_same_sections(placed, aligned):
    dataset, given = placed[CORONAL], aligned[CORONAL]
    again = PlacedDataSet.with_placements(dataset.record, given)
    ids, xy = points_on(dataset, 20)
    found = sync.image_to_reference(dataset.record, ids, xy, alignment=given).pir
    for k, image_id in enumerate(ids.tolist()):
        np.testing.assert_allclose(again.section(image_id).to_reference(xy[k]), found[k])


def test_reading_tables_of_the_brain(placed, aligned, demo_session, tmp_path):
    dataset, given = placed[CORONAL], aligned[CORONAL]
    planes = registration(dataset, given)
    path = tmp_path / "brain.csv"
    path.write_text("p_um,i_um,r_um\n6000,4000,5000\n7000,3000,7000\n")
    found = reference_to_pixels(
        demo_session, read_table(str(path)), CORONAL, max_distance=1e6, alignment=planes
    )
    expected = sync.reference_to_image(
        dataset.record, [[6000, 4000, 5000], [7000, 3000, 7000]], alignment=given, beyond="ignore"
    )
    np.testing.assert_allclose(np.asarray(found.columns["x"]), expected.xy[:, 0])
