"""A curved registration is a file, and every command takes it through the one switch."""

import numpy as np
import pytest

from atldld.api import open_dataset
from atldld.errors import CurveLeftOutWarning
from atldld.formats import write_quicknii
from atldld.place.registration import Registration, SectionFit
from atldld.place.tiers import tier_to_image
from atldld.sections.metadata import read_metadata
from atldld.warp.displacement import DisplacementField
from tests.curved.conftest import curve

DATASET = 909  # fourteen small sections


@pytest.fixture(scope="module")
def reg(demo_session, tmp_path_factory):
    """The file of a registration of which two sections of three are curved."""
    dataset = open_dataset(DATASET, session=demo_session)
    sections = {}
    for k, section in enumerate(dataset.sections):
        size = max(section.image.width, section.image.height)
        bent = curve(section, k, size / 40) if k % 3 else section
        sections[section.id] = SectionFit.of(
            bent.placement, section.number, pixel=section.image.resolution
        )
    registration = Registration(dataset.id, sections, {"atlas": {"name": "ccf_2017"}})
    return registration.save(tmp_path_factory.mktemp("registration") / "reg.json")


@pytest.fixture
def run(at_demo_server, monkeypatch, capsys):
    monkeypatch.setenv("ATLDLD_DOWNLOAD_URL", at_demo_server)

    def command(*arguments):
        from atldld.cli import main

        monkeypatch.setattr("sys.argv", ["atldld", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        done = capsys.readouterr()
        assert not ended.value.code, (done.out, done.err)
        return done

    return command


def test_sections_are_opened_curved(reg, demo_session):
    dataset = open_dataset(DATASET, session=demo_session, alignment=reg)
    curved = [section.placement.deformation is not None for section in dataset.sections]
    assert 0 < sum(curved) < len(curved)
    flat = open_dataset(DATASET, session=demo_session)
    for one, other, bent in zip(dataset.sections, flat.sections, curved, strict=True):
        pictures = [section.register(100).image.astype(int) for section in (one, other)]
        assert (np.abs(pictures[0] - pictures[1]).max() > 20) == bent


def test_download(run, reg, tmp_path, demo_session):
    run(
        *("download", "dataset", DATASET, tmp_path / "out", "--fields"),
        *("--resolution", 100, "--alignment", reg),
    )
    metadata = read_metadata(tmp_path / "out")
    assert metadata.format_version == 2
    dataset = open_dataset(DATASET, session=demo_session, alignment=reg)
    for section in dataset.sections:
        entry = metadata.per_image[str(section.id)]
        bent = section.placement.deformation is not None
        assert (entry.deformation is not None) == bent
        field = DisplacementField.from_file(tmp_path / "out" / f"{section.id}_field.npy")
        registered = section.register(100)
        at = np.array([[20.0, 30.0], [50.0, 40.0]])
        expected = tier_to_image(entry.downsample_img).inverse().apply(registered.plane.shown(at))
        np.testing.assert_allclose(field.apply(at), expected, atol=5e-3)


def test_export(run, reg, tmp_path):
    run(
        *("export", "fields", DATASET, tmp_path / "fields", "--format", "npy"),
        *("--resolution", 100, "--alignment", reg),
    )
    assert len(list((tmp_path / "fields").glob("*.npy"))) == 14
    told = run(
        *("export", "quicknii", DATASET, "-o", tmp_path / "planes.csv", "--alignment", reg)
    ).err
    assert told.count("curved sections are written as planes") == 1


@pytest.mark.long
def test_volume_and_quality(run, reg, tmp_path):
    run("volume", DATASET, "-o", tmp_path / "v.nrrd", "--resolution", 200, "--alignment", reg)
    run("quality", DATASET, "--alignment", reg)


@pytest.mark.slow
def test_report(run, reg, tmp_path):
    run(
        *("report", DATASET, "-o", tmp_path / "report.html", "--alignment", reg),
        *("--resolution", 100),
    )
    text = (tmp_path / "report.html").read_text()
    assert '"raw_shapes":[[' in text.replace(" ", "").replace("\n", "")


def test_outlines_and_table(run, reg, tmp_path):
    run(
        *("atlas", "outlines", DATASET, "-o", tmp_path / "lines", "--format", "geojson"),
        *("--alignment", reg, "--resolution", 100, "--atlas-resolution", 100),
    )
    assert len(list((tmp_path / "lines").glob("*.geojson"))) == 14
    run(
        *("quantify", DATASET, "-o", tmp_path / "table.csv", "--alignment", reg),
        *("--resolution", 100, "--atlas-resolution", 100),
    )
    (told,) = tmp_path.glob("table*.json")
    assert "deformation" in told.read_text()


def test_planes_warn_in_python_as_well(reg, demo_session, tmp_path):
    dataset = open_dataset(DATASET, session=demo_session, alignment=reg)
    with pytest.warns(CurveLeftOutWarning):
        write_quicknii(dataset, tmp_path / "planes.csv")
