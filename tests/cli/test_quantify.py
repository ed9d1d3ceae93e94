"""`atldld quantify` and `atldld grid`, as they are typed."""

import csv
import json
import os
import subprocess
import sys
import threading

import cv2
import numpy as np
import pytest

from atldld.demo.archive import DemoArchive
from atldld.serve.listen import listen

COMMAND = [sys.executable, "-c", "from atldld.cli import main; main()"]
DATASET = 909  # fourteen small sections


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """One cache for all, so that each section is fetched once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def atldld(at_demo_server, cache, tmp_path):
    def run(*arguments, status=0, **environ):
        done = subprocess.run(
            [*COMMAND, *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={
                **os.environ,
                "ATLDLD_CACHE_DIR": str(cache),
                "ATLDLD_DOWNLOAD_URL": at_demo_server,
                **environ,
            },
            timeout=600,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == status, (done.stdout, done.stderr)
        return done

    return run


@pytest.fixture
def quantify(atldld):
    def run(*arguments, **options):
        return atldld(
            "quantify",
            DATASET,
            *("--resolution", 50, "--atlas-resolution", 100, "--jobs", 2),
            *arguments,
            **options,
        )

    return run


def test_the_top_on_the_screen(quantify):
    done = quantify()
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    assert lines[0].split()[:3] == ["acronym", "area", "(mm²)"]
    assert "Allen's energy" in lines[0]
    assert "grid energy" in lines[0]
    assert "dentate gyrus" in lines[2]
    assert lines[2].split()[0] == "DG"
    assert "SYNTHETIC" in done.stderr
    assert "14 sections of data set 909" in done.stderr


def test_a_table_is_written(quantify, tmp_path):
    done = quantify("-o", "out/table.csv", "-s", "HPF", "--no-grid", "--no-unionize")
    assert done.stdout.split() == ["out/table.csv", "out/table.csv.json"]
    with open(tmp_path / "out" / "table.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["acronym"] for row in rows} == {"HPF", "CA", "DG", "HPFn"}
    assert {row["hemisphere"] for row in rows} == {"left", "right", "both"}
    assert not any("grid" in name or "unionize" in name for name in rows[0])
    about = json.loads((tmp_path / "out" / "table.csv.json").read_text())
    assert about["synthetic"] is True
    assert about["resolution_um"] == 50
    assert about["atlas"]["resolution_um"] == 100
    quantify("-o", "out/table.csv", status=6, ATLDLD_OFFLINE="1", ATLDLD_CACHE_DIR="nothing")
    assert "replace it with --force" in quantify("-o", "out/table.csv", status=6).stderr


def test_depth_hemisphere_and_parquet(quantify, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    quantify("-o", "table.parquet", "--depth", 2, "--hemisphere", "left", "--no-grid")
    table = parquet.read_table(tmp_path / "table.parquet")
    assert set(table["depth"].to_pylist()) == {2}
    assert set(table["hemisphere"].to_pylist()) == {"left"}
    assert json.loads(table.schema.metadata[b"atldld"])["dataset_id"] == DATASET


def test_stain(quantify):
    done = quantify("--stain-threshold", 0.3)
    assert "stained_fraction" in done.stdout
    assert "density" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--stain-threshold", 3), "between 0 and 1"),
        (("-o", "table.txt"), ".csv, .parquet"),
        (("--threshold", 300), "254"),
        (("--hemisphere", "middle"), "left"),
        (("--scale", "hot"), "no scale 'hot'"),
        (("--scale", "none.csv"), "none.csv cannot be read as a scale"),
    ],
)
def test_refused_before_anything_is_asked(quantify, arguments, says):
    done = quantify(*arguments, status=2, ATLDLD_OFFLINE="1", ATLDLD_CACHE_DIR="nothing")
    assert says in done.stderr
    assert "offline" not in done.stderr


def test_refused(quantify, atldld):
    assert "Did you mean DG" in quantify("-s", "DGG", status=3).stderr
    assert (
        "atldld atlas fetch annotation"
        in atldld(*("quantify", DATASET, "--atlas-resolution", 10, "--offline"), status=4).stderr
    )


def test_a_grid_and_its_table(atldld, tmp_path):
    done = atldld(
        *("grid", DATASET, "-o", "energy.npy", "--regions", "--atlas-resolution", 100),
        *("--table", "regions.csv"),
    )
    assert done.stdout.split()[:3] == ["energy.npy", "regions.csv", "regions.csv.json"]
    assert "voxels_with_data" in done.stdout
    energy = np.load(tmp_path / "energy.npy")
    assert energy.shape == (67, 41, 58)
    assert np.nanmax(energy) > 200
    assert "SYNTHETIC" in done.stderr
    with open(tmp_path / "regions.csv", newline="") as file:
        rows = {(r["acronym"], r["hemisphere"]): r for r in csv.DictReader(file)}
    assert float(rows["DG", "both"]["energy"]) > float(rows["CTX", "both"]["energy"]) > 0
    assert "no expression grid" in atldld("grid", 5, "-o", "x.npy", status=3).stderr
    assert (
        "energy.npy is there already"
        in atldld("grid", DATASET, "-o", "energy.npy", status=6).stderr
    )
    assert "ending" in atldld("grid", DATASET, "-o", "energy.mhd", status=2).stderr


def test_a_scale_of_one_s_own_is_used_and_recorded(quantify, tmp_path):
    """The same masks by a scale of half the range: half the intensity, the same area."""
    jet = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_JET)[:, 0, ::-1]
    own = jet[np.minimum(2 * np.arange(256), 255)]
    np.savetxt(tmp_path / "own.csv", own, fmt="%d", delimiter=",")
    rows, about = {}, {}
    for name in ("jet", "own.csv"):
        options = ("--no-grid", "--no-unionize", "--force")
        quantify("-o", "table.csv", "--scale", name, *options)
        with open(tmp_path / "table.csv", newline="") as file:
            rows[name] = next(r for r in csv.DictReader(file) if r["acronym"] == "CTX5")
        about[name] = json.loads((tmp_path / "table.csv.json").read_text())["scale"]
    assert about["jet"]["name"] == "jet"
    assert about["own.csv"]["name"] == "own.csv"
    assert about["own.csv"]["sha256"] != about["jet"]["sha256"]
    whole, half = (float(rows[name]["intensity"]) for name in ("jet", "own.csv"))
    assert half == pytest.approx(whole / 2, abs=2)
    assert float(rows["own.csv"]["density"]) == pytest.approx(
        float(rows["jet"]["density"]), abs=0.01
    )


class EnergyAlone(DemoArchive):
    """A service that sends energy alone, whatever is asked for."""

    def grid(self, dataset_id, kinds):
        return super().grid(dataset_id, ["energy"])


def test_a_zip_of_energy_alone_is_enough(quantify, atldld, tmp_path):
    """The kind: energy was asked for and there, but refused as the other kinds were not."""
    server = listen("127.0.0.1", 0, EnergyAlone([DATASET]))
    threading.Thread(target=server.run, daemon=True).start()
    there = dict.fromkeys(
        ("ATLDLD_API_URL", "ATLDLD_DOWNLOAD_URL"), f"http://127.0.0.1:{server.effective_port}"
    ) | {"ATLDLD_CACHE_DIR": str(tmp_path / "cache")}
    try:
        options = ("--regions", "--kind", "energy", "-o", "energy.npy", "--atlas-resolution", 100)
        assert "energy" in atldld("grid", DATASET, *options, **there).stdout
        assert np.nanmax(np.load(tmp_path / "energy.npy")) > 200
        lacking = atldld("grid", DATASET, "--kind", "density", "--regions", status=2, **there)
        assert "holds energy, but not 'density'" in lacking.stderr
        assert "Use energy (`--kind`)" in lacking.stderr
        quantify("-o", "table.csv", "--no-unionize", "--resolution", 200, **there)
    finally:
        server.close()
    with open(tmp_path / "table.csv", newline="") as file:
        row = next(r for r in csv.DictReader(file) if r["acronym"] == "CTX5")
    assert float(row["grid_energy"]) > 50
    assert row["grid_density"] == ""
    about = json.loads((tmp_path / "table.csv.json").read_text())
    assert about["compared_with"]["grid_kinds"] == ["energy"]
