"""Planes that mirror sections are warned about, and used.

The kind of fault: an alignment that contradicts the service's own in what no correction changes,
its handedness, and gives a wrong picture without a word. Genuine mirrored sets are about, so
nothing is refused.
"""

import json
import warnings

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from atldld.api import DataSet
from atldld.cli import app
from atldld.errors import AlignmentFileWarning
from atldld.formats import write_quicknii
from atldld.place.alignment import read_alignment
from atldld.place.anchoring import oddities
from atldld.records import Alignment2d, Alignment3d, SectionDataSet, SectionImage
from atldld.report import gather, open_source
from atldld.sections.download import download_dataset
from atldld.sections.metadata import METADATA
from atldld.sections.register import Recipe

WIDTH = 456  # of the target along x
DEPTH = 528  # along y


@pytest.fixture(params=[909, 71717084, 69289763])
def placed(request, demo_records):
    return DataSet(demo_records[request.param], session=None)  # type: ignore[arg-type]


def vectors(one):
    return np.array(one["anchoring"]).reshape(3, 3)


def u_negated(one):
    o, u, v = vectors(one)
    return o, -u, v


def u_turned_about(one):
    o, u, v = vectors(one)
    return o + u, -u, v


def v_negated(one):
    o, u, v = vectors(one)
    return o + v, u, -v


def swapped(one):
    o, u, v = vectors(one)
    return o, v, u


def left_for_right(one):
    """As DeepSlice's results have to be mirrored."""
    out = vectors(one) * (-1, 1, 1)
    out[0, 0] += WIDTH
    return out


def front_for_back(one):
    out = vectors(one) * (1, -1, 1)
    out[0, 1] += DEPTH
    return out


def upside_down(one):
    o, u, v = vectors(one)
    return o + u + v, -u, -v


def a_little_off(one):
    """What a correction is like: shifted by up to a millimetre, turned by 20° in all."""
    rng = np.random.default_rng(one["nr"])
    turn = np.linalg.qr(np.eye(3) + rng.uniform(-0.15, 0.15, (3, 3)))[0]
    turn *= np.sign(np.diag(turn))
    o, u, v = vectors(one)
    middle = o + (u + v) / 2 + rng.uniform(-20, 20, 3)
    u, v = turn @ u * rng.uniform(0.9, 1.1), turn @ v
    return middle - (u + v) / 2, u, v


def warned(placed, path, change, chosen=slice(None)):
    """Change the planes of some sections, and return what is said of that."""
    write_quicknii(placed, path, force=True)
    document = json.loads(path.read_text())
    for one in document["slices"][chosen]:
        one["anchoring"] = np.concatenate(change(one)).tolist()
    path.write_text(json.dumps(document))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dataset = DataSet(placed.record, None, read_alignment(path))  # type: ignore[arg-type]
    assert len(dataset) == len(placed)  # they are used
    assert {warning.category for warning in caught} <= {AlignmentFileWarning}
    assert tuple(str(warning.message) for warning in caught) == dataset.alignment_notes
    return dataset.alignment_notes


@pytest.mark.parametrize("change", [u_negated, u_turned_about, v_negated, swapped, left_for_right])
def test_every_section_mirrored(placed, tmp_path, change):
    (note,) = warned(placed, tmp_path / "m.json", change)
    count = len(placed)
    numbers = ", ".join(str(section.number) for section in placed)
    assert f"{count} of its {count} sections ({numbers}) as mirror images" in note


@pytest.mark.parametrize("change", [u_negated, v_negated, swapped, left_for_right])
@pytest.mark.parametrize("which", [0, 7])
def test_a_single_section_mirrored(placed, tmp_path, change, which):
    (note,) = warned(placed, tmp_path / "m.json", change, slice(which, which + 1))
    assert f"1 of its {len(placed)} sections ({placed.sections[which].number}) as mirror" in note


def test_a_coronal_set_mirrored_as_a_whole_from_front_to_back(demo_records, tmp_path):
    placed = DataSet(demo_records[71717084], session=None)  # type: ignore[arg-type]
    (note,) = warned(placed, tmp_path / "m.json", front_for_back)
    assert "reverse of the order" in note


def test_a_section_upside_down(placed, tmp_path):
    (note,) = warned(placed, tmp_path / "m.json", upside_down, slice(3, 4))
    assert f"({placed.sections[3].number}) turned over" in note


def test_corrections_are_no_reason_to_warn(placed, tmp_path):
    assert warned(placed, tmp_path / "m.json", lambda one: vectors(one)) == ()
    assert warned(placed, tmp_path / "m.json", a_little_off) == ()


def test_images_that_the_service_has_not_placed(placed, tmp_path):
    """They are judged by the others of the data set, or by what all data sets have in common."""
    write_quicknii(placed, tmp_path / "m.json")
    for count in (3, len(placed)):
        images = [
            msgspec.structs.replace(one, alignment2d=None) if k < count else one
            for k, one in enumerate(placed.record.images)
        ]
        record = msgspec.structs.replace(placed.record, images=tuple(images))
        document = json.loads((tmp_path / "m.json").read_text())
        for change, says in ((vectors, ()), (u_turned_about, ("mirror",))):
            for one, before in zip(
                document["slices"],
                json.loads((tmp_path / "m.json").read_text())["slices"],
                strict=True,
            ):
                one["anchoring"] = np.concatenate(change(before)).tolist()
            (tmp_path / "changed.json").write_text(json.dumps(document))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                changed = read_alignment(tmp_path / "changed.json")
                notes = DataSet(record, None, changed).alignment_notes  # type: ignore[arg-type]
            assert len(notes) == len(says)
            assert all(word in note for word, note in zip(says, notes, strict=True))


def test_planes_that_people_placed(shared):
    """The mirrored set, which agrees with the service, of two that are published."""
    known = json.loads((shared / "nissl" / "100048576.json").read_text())
    tvr = np.array(known["tvr"])
    trv = np.linalg.inv(np.vstack((tvr, [0, 0, 0, 1])))[:3]
    images, slices = [], []
    for one in known["sections"]:
        tsv = np.array(one["tsv"])
        tvs = np.linalg.inv(np.vstack((tsv, [0, 0, 1])))[:2]
        # in full-resolution pixels of 1.047 µm; people had 10 µm
        width, height = one["human_width_px"], one["human_height_px"]
        images.append(
            SectionImage(
                id=one["section_image_id"],
                section_number=one["section_number"],
                width=round(width * 10 / 1.047),
                height=round(height * 10 / 1.047),
                alignment2d=Alignment2d(
                    (*tsv[:, :2].ravel(), *tsv[:, 2]), (*tvs[:, :2].ravel(), *tvs[:, 2])
                ),
            )
        )
        slices.append(
            {
                "filename": f"{one['section_image_id']}.jpg",
                "width": 0,
                "height": 0,
                "nr": one["section_number"],
                "anchoring": one["human_anchoring"],
            }
        )
    record = SectionDataSet(
        id=100048576,
        plane_of_section_id=1,
        reference_space_id=9,
        section_thickness=25.0,
        alignment3d=Alignment3d(
            (*tvr[:, :3].ravel(), *tvr[:, 3]), (*trv[:, :3].ravel(), *trv[:, 3])
        ),
        images=tuple(images),
    )

    def notes(slices):
        path = {"target": known["human_target"], "slices": slices}
        alignment = _read(path)
        return oddities(alignment.name, record, alignment.placements(record))

    assert notes(slices) == ()
    mirrored = [
        {**one, "anchoring": np.concatenate(left_for_right(one)).tolist()} for one in slices
    ]
    (note,) = notes(mirrored)
    assert f"{len(slices)} of its {len(slices)} sections" in note


def _read(document):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "planes.json"
        path.write_text(json.dumps(document))
        return read_alignment(path)


@pytest.fixture
def mirrored_file(session, tmp_path):
    dataset = DataSet(session.dataset(909), session)
    write_quicknii(dataset, tmp_path / "m.json")
    document = json.loads((tmp_path / "m.json").read_text())
    for one in document["slices"][2:4]:
        one["anchoring"] = np.concatenate(u_turned_about(one)).tolist()
    (tmp_path / "m.json").write_text(json.dumps(document))
    return tmp_path / "m.json", [str(section.number) for section in dataset.sections[2:4]]


@pytest.mark.usefixtures("at_demo_server")
@pytest.mark.parametrize(
    "command",
    [
        ("download", "dataset", 909, "out", "--resolution", 400),
        ("export", "fields", 909, "out", "--resolution", 400),
        ("export", "sections", 909, "out", "--resolution", 400),
        ("export", "quicknii", 909, "-o", "again.json"),
        ("volume", 909, "-o", "v.nii.gz", "--resolution", 400),
    ],
)
def test_the_command_line_says_it_once(mirrored_file, command, tmp_path, monkeypatch):
    path, numbers = mirrored_file
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, [*map(str, command), "--alignment", str(path)])
    assert result.exit_code == 0, result.output
    assert result.stderr.count("mirror images") == 1
    assert f"2 of its 14 sections ({', '.join(numbers)})" in result.stderr


def test_what_is_made_says_it_too(mirrored_file, session, tmp_path):
    path, numbers = mirrored_file
    with pytest.warns(AlignmentFileWarning, match="mirror images"):
        download_dataset(909, tmp_path / "out", Recipe(400), session=session, alignment=path)
    metadata = json.loads((tmp_path / "out" / METADATA).read_text())
    assert any(", ".join(numbers) in text for text in metadata["warnings"])
    with pytest.warns(AlignmentFileWarning, match="mirror images"):
        source = open_source(tmp_path / "out", session=session)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = gather(source, None, volume=False)
    assert any(", ".join(numbers) in text for text in made.warnings)
