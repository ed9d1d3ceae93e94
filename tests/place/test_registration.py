"""A registration's file and the fields beside it: read as written, whole or not at all."""

import json
import shutil
from hashlib import sha256

import msgspec
import numpy as np
import pytest

from atldld.errors import InvalidInputError, MissingFileError, OutputError
from atldld.place.alignment import read_alignment
from atldld.place.deformation import Displacements, SplineDeformation
from atldld.place.markers import MarkedDeformation, MarkerDeformation
from atldld.place.placement import Placement
from atldld.place.refinement import ExpectedError, StepResult
from atldld.place.registration import Registration, SectionFit, check_registration

PIXEL = 1.047  # µm
STEP = StepResult(step="whole", kept=True, reason="It fits better.", moved=3.0, before={}, after={})
ERROR = ExpectedError(
    before=220,
    after=55,
    bound90_before=430,
    bound90_after=120,
    structures={632: (240.0, 40.0), 997: (215.5, 51.0)},
)


def plane(turn=0.0):
    forward = np.array([[1.0, 0.02, 4000], [-0.03, 1.01, 2000], [0.1 + turn, 0, 5000]])
    placement = Placement.from_plane(forward, (0, 0, 100), 7)
    assert placement is not None
    return placement


def bent(amount=90.0, origin=(-150.0, -80.0), spacing=(120.0, 100.0), shape=(30, 40)):
    """A smooth deformation: waves along x and y that fade towards the edges."""
    y, x = np.indices(shape, dtype=np.float64)
    vectors = np.stack((np.sin(x / 5 + y / 9), np.cos(y / 6 - x / 11)), axis=-1)
    fade = np.sin(np.pi * x / (shape[1] - 1)) * np.sin(np.pi * y / (shape[0] - 1))
    vectors *= fade[..., None] ** 2
    return SplineDeformation.of(Displacements(origin, spacing, vectors * amount))


def curved(number=7, **options):
    placement = Placement(plane().forward, plane().backward, bent(**options))
    return SectionFit.of(placement, number, (STEP,), pixel=PIXEL, expected_error=ERROR)


def flat(number=8):
    return SectionFit.of(plane(0.01), number)


@pytest.fixture
def registration():
    about = {"atlas": {"name": "ccf_2017"}, "atldld_version": "9.9"}
    sections = {11: curved(), 12: flat(), 13: curved(9, amount=40.0)}
    return Registration(5, sections, about)


def read_registration(path):
    found = read_alignment(path)
    assert isinstance(found, Registration)
    return found


def everything(folder):
    """Names and bytes below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


FILES = [
    "reg.fields/11_to_flat.mha",
    "reg.fields/11_to_image.mha",
    "reg.fields/13_to_flat.mha",
    "reg.fields/13_to_image.mha",
    "reg.fields/atldld-fields.json",
    "reg.json",
]


def test_read_as_written(registration, tmp_path):
    read = read_registration(registration.save(tmp_path / "reg.json"))
    assert list(everything(tmp_path)) == FILES
    assert read.about == registration.about
    rng = np.random.default_rng(1)
    at = rng.uniform((-900, -900), (6000, 4000), (500, 2))
    for image_id, fit in registration.sections.items():
        ours, theirs = fit.placement, read.sections[image_id].placement
        np.testing.assert_allclose(
            theirs.to_reference(at), ours.to_reference(at), rtol=0, atol=1e-6
        )
        pir = ours.to_reference(at)
        np.testing.assert_allclose(theirs.to_image(pir), ours.to_image(pir), rtol=0, atol=1e-6)
        assert (theirs.deformation is None) == (image_id == 12)
    assert read.sections[11].steps == (STEP,)
    assert read.sections[11].expected_error == ERROR
    assert read.sections[12].expected_error is None
    grids = [fit[11].deformation.bending.vectors for fit in (read.sections, registration.sections)]
    np.testing.assert_array_equal(*grids)


def test_what_the_json_says(registration, tmp_path):
    document = json.loads(registration.save(tmp_path / "reg.json").read_text())
    assert document["format_version"] == 2
    said = document["sections"]["11"]["deformation"]
    deformation = registration.sections[11].deformation
    assert said["to_flat"]["file"] == "reg.fields/11_to_flat.mha"
    for way in ("to_flat", "to_image"):
        content = (tmp_path / said[way]["file"]).read_bytes()
        assert said[way]["sha256"] == sha256(content).hexdigest()
    np.testing.assert_allclose(said["node_spacing_um"], (120 * PIXEL, 100 * PIXEL))
    assert said["pixel_um"] == PIXEL
    least, greatest = said["jacobian"]
    assert 0.7 < least < 0.9 < 1.1 < greatest < 1.4
    assert said["greatest_um"] == pytest.approx(deformation.flattening.greatest * PIXEL)
    assert 0 < said["round_trip_um"] < 1
    assert "deformation" not in document["sections"]["12"]
    assert document["sections"]["11"]["expected_error"]["structures"]["632"] == [240, 40]


@pytest.mark.parametrize("way", ["to_flat", "to_image"])
def test_itk_reads_the_fields(registration, tmp_path, way):
    """At nodes the transform is ours; between, as near as a line is to the spline."""
    sitk = pytest.importorskip("SimpleITK")
    registration.save(tmp_path / "reg.json")
    image = sitk.ReadImage(str(tmp_path / "reg.fields" / f"11_{way}.mha"))
    deformation = registration.sections[11].deformation
    grid = deformation.flattening if way == "to_flat" else deformation.bending
    rows, columns = grid.vectors.shape[:2]
    assert image.GetSize() == (columns, rows)
    np.testing.assert_allclose(image.GetSpacing(), np.array(grid.spacing) * PIXEL / 1000)
    np.testing.assert_allclose(image.GetOrigin(), np.array(grid.origin) * PIXEL / 1000)
    transform = sitk.DisplacementFieldTransform(image)

    def difference(column, row):
        at = np.stack(np.meshgrid(column, row), axis=-1).reshape(-1, 2) * grid.spacing + grid.origin
        moved = [transform.TransformPoint(point) for point in (at * PIXEL / 1000).tolist()]
        ours = getattr(deformation, way)(at)
        return np.abs(np.array(moved) * 1000 / PIXEL - ours).max()

    assert difference(np.arange(columns), np.arange(rows)) < 1e-3
    # ⅛ · h² · the second derivative, along x and y
    bend = sum(np.abs(np.diff(grid.vectors, 2, axis=axis)).max() for axis in (0, 1)) / 8
    halves = difference(np.arange(columns - 1) + 0.5, np.arange(rows - 1) + 0.5)
    assert 0.1 < halves < 1.2 * bend


def marked():
    """A section that markers bend, as a VisuAlign file places it."""
    markers = [[300, 400, 330, 380], [700, 200, 650, 210], [500, 500, 520, 560]]
    bent = MarkerDeformation.of(markers, 1000, 700).scaled((8.0, 8.003), -0.5)
    return SectionFit.of(Placement(plane().forward, plane().backward, bent), 10)


def marked_curve():
    """A section that fields curve, and that people then corrected by markers."""
    fit, bent = curved(), marked().deformation
    assert isinstance(bent, MarkerDeformation)
    assert fit.deformation is not None
    both = MarkedDeformation(bent, fit.deformation)
    return SectionFit.of(Placement(plane().forward, plane().backward, both), 10, pixel=PIXEL)


def test_markers_are_kept_as_they_are(tmp_path):
    """Of a section that stays where a file with markers has it: exact, and without a folder."""
    path = Registration(5, {15: marked()}, {}).save(tmp_path / "reg.json")
    assert list(everything(tmp_path)) == ["reg.json"]
    ours, theirs = marked().deformation, read_registration(path).sections[15].deformation
    at = np.random.default_rng(2).uniform((-2000, -2000), (9000, 7000), (2000, 2))
    assert ours is not None
    assert theirs is not None
    np.testing.assert_array_equal(theirs.to_flat(at), ours.to_flat(at))
    np.testing.assert_array_equal(theirs.to_image(at), ours.to_image(at))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda said: said["triangles"].pop(), "do not fill"),
        (lambda said: said["triangles"].append([0, 1, 99]), "no triangles between vertices"),
        (lambda said: said["flat"].pop(), "no triangles between vertices"),
        (lambda said: said["flat"].reverse(), "no triangles between vertices"),
        (lambda said: said["flat"].insert(4, said["flat"].pop(6)), "fold the section"),
        (lambda said: said.update(triangles=[]), "no triangles between vertices"),
        (lambda said: said.update(image=[], flat=[]), "no triangles between vertices"),
        (lambda said: said["flat"][5].append(1), "does not say what a registration should"),
    ],
)
def test_markers_that_cannot_be_used(tmp_path, change, says):
    path = Registration(5, {15: marked()}, {}).save(tmp_path / "reg.json")
    document = json.loads(path.read_text())
    change(document["sections"]["15"]["markers"])
    path.write_text(json.dumps(document))
    with pytest.raises(InvalidInputError, match=says):
        read_alignment(path)


def test_both_may_be_moved(registration, tmp_path):
    registration.save(tmp_path / "a" / "reg.json")
    shutil.move(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b" / "reg.json").rename(tmp_path / "b" / "other name.json")
    read = read_registration(tmp_path / "b" / "other name.json")
    assert read.sections[11].deformation is not None
    (tmp_path / "link.json").symlink_to(tmp_path / "b" / "other name.json")
    assert read_registration(tmp_path / "link.json").sections[11].deformation is not None


def test_without_curved_sections_no_folder_is_made(tmp_path):
    Registration(5, {12: flat()}, {}).save(tmp_path / "reg.json")
    assert list(everything(tmp_path)) == ["reg.json"]


def test_nothing_is_replaced_unasked(registration, tmp_path):
    path = registration.save(tmp_path / "reg.json")
    before = everything(tmp_path)
    with pytest.raises(OutputError, match="is there already"):
        registration.save(path)
    path.unlink()
    for write in (registration.save, check_registration):
        with pytest.raises(OutputError, match=r"reg\.fields is there already"):
            write(path)
    del before["reg.json"]
    assert everything(tmp_path) == before


def test_with_force_the_old_fields_go(registration, tmp_path):
    path = registration.save(tmp_path / "reg.json")
    Registration(5, {14: curved()}, {}).save(path, force=True)
    assert [name[:13] for name in everything(tmp_path)] == [
        "reg.fields/14",
        "reg.fields/14",
        "reg.fields/at",
        "reg.json",
    ]
    check_registration(path, force=True)
    Registration(5, {12: flat()}, {}).save(path, force=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["reg.json"]


def test_a_folder_of_others_stays(registration, tmp_path):
    (tmp_path / "reg.fields").mkdir()
    (tmp_path / "reg.fields" / "barley.txt").write_text("mine")
    with pytest.raises(OutputError, match="no fields of a registration"):
        registration.save(tmp_path / "reg.json", force=True)
    with pytest.raises(OutputError, match="no fields of a registration"):
        check_registration(tmp_path / "reg.json", force=True)
    assert list(everything(tmp_path)) == ["reg.fields/barley.txt"]
    Registration(5, {12: flat()}, {}).save(tmp_path / "reg.json", force=True)
    assert list(everything(tmp_path)) == ["reg.fields/barley.txt", "reg.json"]
    with pytest.raises(InvalidInputError, match="name of the fields"):
        registration.save(tmp_path / "mine.fields")


def test_version_1_is_read(tmp_path):
    path = Registration(5, {12: flat()}, {"atlas": {"name": "ccf_2017"}}).save(tmp_path / "r.json")
    document = json.loads(path.read_text())
    document["format_version"] = 1
    path.write_text(json.dumps(document))
    (fit,) = read_registration(path).sections.values()
    np.testing.assert_array_equal(fit.placement.forward, flat().placement.forward)
    assert fit.deformation is None


def again(path, change):
    """Change a field of image 11 and let the JSON vouch for it."""
    document = json.loads(path.read_text())
    for way in ("to_flat", "to_image"):
        said = document["sections"]["11"]["deformation"][way]
        field = path.parent / said["file"]
        field.write_bytes(change(way, field.read_bytes()))
        said["sha256"] = sha256(field.read_bytes()).hexdigest()
    path.write_text(json.dumps(document))


def folded(way, content):
    """A file whose vectors turn the order of its nodes round."""
    header, data = content.split(b"LOCAL\n")
    vectors = np.frombuffer(data, "<f8").reshape(-1, 2) * (40 if way == "to_flat" else 1)
    return header + b"LOCAL\n" + vectors.tobytes()


def still(way, content):
    """A way back that leads nowhere."""
    header, data = content.split(b"LOCAL\n")
    return content if way == "to_flat" else header + b"LOCAL\n" + bytes(len(data))


def drop(path):
    (path.parent / "reg.fields" / "11_to_image.mha").unlink()


def cut(path):
    field = path.parent / "reg.fields" / "11_to_flat.mha"
    field.write_bytes(field.read_bytes()[:-1])


def swap(path):
    """Fields of the right kind, of another image."""
    for way in ("to_flat", "to_image"):
        shutil.copy(
            path.parent / "reg.fields" / f"13_{way}.mha",
            path.parent / "reg.fields" / f"11_{way}.mha",
        )


def edit(**changes):
    def change(path):
        document = json.loads(path.read_text())
        document["sections"]["11"]["deformation"].update(changes)
        path.write_text(json.dumps(document))

    return change


def replace(old, new):
    return lambda path: again(path, lambda way, content: content.replace(old, new))


DAMAGES = {
    "missing": (drop, MissingFileError, r"11_to_image\.mha of section image 11.* is not there"),
    "damaged": (cut, InvalidInputError, r"11_to_flat\.mha .*its hash is another"),
    "of another image": (swap, InvalidInputError, r"11_to_flat\.mha .*its hash is another"),
    "vouched for, of another image": (
        lambda path: (swap(path), again(path, lambda way, content: content)),
        InvalidInputError,
        r"11_to_flat\.mha is no to_flat of section image 11: it says of itself .*image 13",
    ),
    "the other way": (
        replace(b"to_flat", b"to_image"),
        InvalidInputError,
        "is no to_flat of section image 11",
    ),
    "of wrong shape": (
        replace(b"DimSize = 40 30", b"DimSize = 41 30"),
        InvalidInputError,
        "which are not the 41 × 30 pairs",
    ),
    "of one row": (
        replace(b"DimSize = 40 30", b"DimSize = 1200 1"),
        InvalidInputError,
        "at least 4 nodes along a side",
    ),
    "three-dimensional": (replace(b"NDims = 2", b"NDims = 3"), InvalidInputError, "NDims = 3"),
    "turned": (
        replace(b"TransformMatrix = 1 0 0 1", b"TransformMatrix = 0 1 1 0"),
        InvalidInputError,
        "TransformMatrix",
    ),
    "without a grid": (
        replace(b"ElementSpacing", b"ElementDistance"),
        InvalidInputError,
        "ElementSpacing = nothing",
    ),
    "no picture": (
        lambda path: again(path, lambda way, content: b"nothing"),
        InvalidInputError,
        "no MetaImage",
    ),
    "folded": (lambda path: again(path, folded), InvalidInputError, "not one-to-one: it folds"),
    "no way back": (
        lambda path: again(path, still),
        InvalidInputError,
        "not one-to-one: the way there and back misses by",
    ),
    "elsewhere": (
        edit(to_flat={"file": "../../secret", "sha256": "0"}),
        InvalidInputError,
        "not in a folder beside it",
    ),
    "without a scale": (edit(pixel_um=0), InvalidInputError, "pixels of 0"),
    "without a name": (
        edit(to_flat={"sha256": "0"}),
        InvalidInputError,
        "does not say what a registration should",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_fields_that_cannot_be_used(registration, tmp_path, damage):
    """One sentence that names the file and says what to do."""
    change, kind, says = DAMAGES[damage]
    path = registration.save(tmp_path / "reg.json")
    change(path)
    with pytest.raises(kind, match=says) as caught:
        read_alignment(path)
    assert "atldld refine" in (caught.value.hint or "")
    assert str(tmp_path) in caught.value.message
    assert "\n" not in caught.value.message


def test_a_newer_version_is_told_first(registration, tmp_path):
    path = registration.save(tmp_path / "reg.json")
    path.write_text(json.dumps({"format": "atldld registration", "format_version": 4, "x": 1}))
    with pytest.raises(InvalidInputError, match=r"version 4 .* reads up to 3"):
        read_alignment(path)


def test_what_cannot_be_written(registration, tmp_path):
    with pytest.raises(InvalidInputError, match="Section 7 is curved, but the size of its pixels"):
        SectionFit.of(registration.sections[11].placement, 7)
    good = bent()
    still = Displacements((0.0, 0.0), (9.0, 9.0), np.zeros((5, 5, 2), np.float32))
    strong = Displacements(
        good.flattening.origin, good.flattening.spacing, good.flattening.vectors * 40
    )
    for curve, says in (
        (SplineDeformation(strong, good.bending), "folds the section"),
        (SplineDeformation(good.flattening, still), "misses by"),
    ):
        fit = msgspec.structs.replace(registration.sections[11], deformation=curve)
        with pytest.raises(InvalidInputError, match=says):
            Registration(5, {11: fit}, {}).save(tmp_path / "reg.json")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_nothing(registration, tmp_path, monkeypatch):
    old = Registration(5, {14: curved()}, {})
    path = old.save(tmp_path / "reg.json")
    before = everything(tmp_path)
    monkeypatch.setattr("os.fsync", lambda file: (_ for _ in ()).throw(OSError(28, "No space")))
    with pytest.raises(OutputError, match="No space"):
        registration.save(path, force=True)
    assert everything(tmp_path) == before
