"""`atldld refine` with what is odd: one sentence each, and sections stay where they were."""

import json

import msgspec
import numpy as np
import pytest

from atldld.api import open_dataset
from atldld.atlas.model import Volumes
from atldld.demo.local import in_process_session
from atldld.errors import HTTPStatusError
from atldld.fetch.session import Session
from atldld.formats.quicknii import write_quicknii

DATASET = 909
COARSE = ("--resolution", "200", "--atlas-resolution", "100")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    with in_process_session(tmp_path_factory.mktemp("odd")) as session:
        yield open_dataset(DATASET, session=session)


@pytest.fixture
def refine(at_demo_server, monkeypatch, capsys, tmp_path):
    """Run the command; return its status, what it says, and the registration if there is one."""
    monkeypatch.setenv("ATLDLD_DOWNLOAD_URL", at_demo_server)

    def command(*arguments):
        from atldld.cli import main

        path = tmp_path / "reg.json"
        words = ["refine", str(DATASET), "-o", str(path), *COARSE, *map(str, arguments)]
        monkeypatch.setattr("sys.argv", ["atldld", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr().err
        assert "Traceback" not in told
        document = json.loads(path.read_text()) if path.exists() else None
        return ended.value.code or 0, told, document

    return command


def same_places(document, dataset):
    for section in dataset:
        fit = document["sections"][str(section.id)]
        np.testing.assert_array_equal(fit["image_to_reference"], section.placement.forward)


def test_a_single_section_stays(refine, dataset):
    number = dataset.sections[6].number
    status, told, document = refine("--sections", number)
    assert status == 0
    assert f"Stayed: {number}. 1 " in told
    assert "5 are needed" in told
    same_places(document, dataset)


@pytest.mark.parametrize("black", ["one", "all"])
def test_black_pictures_stay(refine, dataset, monkeypatch, black):
    genuine = Session.pixels
    chosen = dataset.sections[6]

    def pixels(self, image, *rest, **options):
        found = genuine(self, image, *rest, **options)
        return found * 0 if black == "all" or image.id == chosen.id else found

    monkeypatch.setattr(Session, "pixels", pixels)
    status, told, document = refine("--steps", "whole")
    assert status == 0
    (said,) = (line for line in told.splitlines() if line.endswith("Its picture is empty."))
    numbers = {section.number for section in dataset} if black == "all" else {chosen.number}
    assert set(map(int, said.split(". ")[0].removeprefix("Stayed: ").split(", "))) == numbers
    if black == "all":
        same_places(document, dataset)
        assert told.count("Stayed: ") == 1


def test_without_a_template_it_says_what_is_lost(refine, monkeypatch):
    genuine = Volumes.__call__

    def volume(self, kind):
        if kind != "annotation":
            raise HTTPStatusError("The service has no such file.", status_code=404)
        return genuine(self, kind)

    monkeypatch.setattr(Volumes, "__call__", volume)
    status, told, document = refine("--steps", "whole")
    assert status == 0
    assert told.count("the guard has one figure less") == 1
    assert document["about"]["template"].startswith("none")


@pytest.mark.parametrize("name", ["gone.nrrd", "broken.nrrd"])
def test_without_an_annotation_nothing_is_done(refine, tmp_path, name):
    (tmp_path / "broken.nrrd").write_bytes(b"NRRD0004\ntype: uint8\n")
    status, told, document = refine("--annotation", tmp_path / name)
    assert status in {1, 2}
    assert told.count("Error: ") == 1
    assert name in told
    assert "\n" not in told.strip()
    assert document is None


@pytest.mark.parametrize("space", [3, None])
def test_a_developing_brain_is_refused(refine, monkeypatch, space):
    genuine = Session.dataset

    def of_another(self, *rest, **options):
        return msgspec.structs.replace(genuine(self, *rest, **options), reference_space_id=space)

    monkeypatch.setattr(Session, "dataset", of_another)
    status, told, document = refine()
    assert status == 5  # of another brain than the atlas
    assert told.count("Error: ") == 1
    assert "reference_space_id is" in told
    assert document is None


def off(dataset, path, voxels):
    """Planes of all sections, moved by so many voxels of 25 µm."""
    written = json.loads(write_quicknii(dataset, path).read_text())
    for image in written["slices"]:
        o = np.array(image["anchoring"][:3]) + voxels
        image["anchoring"][:3] = o.tolist()
    path.write_text(json.dumps(written))
    return path


@pytest.mark.slow
def test_a_start_that_is_off_by_2_mm_does_not_get_worse(refine, dataset, tmp_path):
    """On the whole: it is too far to be found, and single sections may go astray."""
    voxels = (0, 80, 0)
    path = off(dataset, tmp_path / "off.json", voxels)
    status, told, document = refine("--alignment", path)
    assert status == 0, told
    after = []
    for section in dataset:
        width, height = section.image.width, section.image.height
        xy = np.array([[x * width, y * height, 1] for x in (0.3, 0.7) for y in (0.3, 0.7)]).T
        fit = document["sections"][str(section.id)]
        away = (np.array(fit["image_to_reference"]) - section.placement.forward) @ xy
        after.append(np.linalg.norm(away, axis=0).mean())
    assert np.median(after) <= 2001
    assert np.max(after) < 2300
