"""Every write and every read fails in turn, and every write is a kill: nothing is left by halves.

For each command that writes, the n-th change of the disk (opening, writing, flushing, moving,
making, removing) fails, or the process is killed there, for n = 1, 2, … until the command needs no
more; and so does the n-th read of a file or opening for reading, once or from then on. Each time:
one sentence and no traceback; nothing half written under a final name; nothing lost that is the
user's; nothing hidden left after the next run, which ends as if nothing had been.

A sample is tested by default. All of it, which takes the better part of an hour::

    pytest -n 0 -m slow tests/faults/test_io_sweep.py
"""

import threading
import zlib

import pytest

from atldld.demo.archive import DemoArchive
from atldld.serve.listen import listen
from tests.faults.io_sweep import MODES, READS, Case, ForkServer, Sweep, build

SECTIONS = (101321610, 101321612)
WARM = "volume 909 -o warm.npy --resolution 400"
TABLES = "quantify 909 --resolution 100 --atlas-resolution 100 --no-grid --no-unionize"
QUALITY = "quality 909 --resolution 200 --atlas-resolution 100"
REPORT = "report 909 --resolution 400 --table-resolution 100 --atlas-resolution 100"
OUTLINES = "atlas outlines 909 -o out --resolution 200 --atlas-resolution 100 --downsample-img 4"
DOWNLOAD = "download dataset 909 out --resolution 400 --jobs 1"
BATCH = "download datasets 909 out --resolution 400 --jobs 1"
POINTS = "image_id,x,y\n101321610,10,20\n"


def replacing(case):
    """The same where something of these names is there: --force replaces it, or leaves it whole."""
    return Case(
        f"{case.name}, replacing",
        f"{case.command} --force",
        (*case.before, case.command.replace("400", "300")),
        results=case.results,
    )


VOLUMES = [
    Case(f"volume {ending}", f"volume 909 -o out/v.{ending} --resolution 400", (WARM,))
    for ending in ("nii.gz", "nii", "nrrd", "npy", "ome.zarr", "tif")
]
CASES = [
    Case("download dataset", DOWNLOAD),
    Case("download dataset, all kinds", f"{DOWNLOAD} -e --fields", (WARM,)),
    Case("download dataset, tiff", f"{DOWNLOAD} --format tiff", (WARM,)),
    replacing(Case("download dataset, warm", DOWNLOAD, (WARM,))),
    Case("download image", f"download image {SECTIONS[0]} out --downsample-img 4 -e"),
    Case("download datasets", BATCH, (WARM,)),
    *VOLUMES,
    *(replacing(case) for case in VOLUMES if case.name.split()[1] in {"nii.gz", "npy", "ome.zarr"}),
    Case("volume of many", "volume --datasets 909 -o out --resolution 400", (WARM,)),
    Case("report", f"{REPORT} -o out/r.html", (f"{REPORT} -o warm.html",)),
    Case("quantify csv", f"{TABLES} -o out/t.csv", (TABLES,)),
    replacing(Case("quantify csv", f"{TABLES} -o out/t.csv", (TABLES,))),
    Case("quantify parquet", f"{TABLES} -o out/t.parquet", (TABLES,)),
    Case("quality csv", f"{QUALITY} -o out/q.csv", (QUALITY,)),
    Case("quality json", f"{QUALITY} -o out/q.json", (QUALITY,)),
    *(
        Case(
            f"export fields {form}",
            f"export fields 909 out --resolution 400 --format {form}",
            ("dataset info 909",),
        )
        for form in ("itk", "npy", "zarr")
    ),
    Case("export sections", "export sections 909 out --resolution 400 -e", (WARM,)),
    Case("export quicknii", "export quicknii 909 -o out/a.json", ("dataset info 909",)),
    replacing(Case("export quicknii", "export quicknii 909 -o out/a.json", ("dataset info 909",))),
    Case("export quicknii images", "export quicknii 909 -o out/a.csv --images --downsample-img 4"),
    Case("grid", "grid 909 -o out/g.nii.gz", ("grid 909",)),
    Case("grid fetched", "grid 909 -o out/g.npy"),
    Case("outlines svg", OUTLINES, (OUTLINES,), ("out/*",)),
    Case("outlines png", f"{OUTLINES} --format png", (OUTLINES,), ("out/*",)),
    Case("outlines geojson", f"{OUTLINES} --format geojson", (OUTLINES,), ("out/*",)),
    Case("plates", "atlas plates 990000001 -o out --downsample-img 3"),
    Case("atlas fetch", "atlas fetch annotation --resolution 100", results="cache"),
    Case("catalogue update", "catalogue update --images", results="cache"),
    Case("catalogue again", "catalogue update --full", ("catalogue update",), results="cache"),
    Case("cache export zip", "cache export out/a.zip", (WARM,)),
    Case("cache export folder", "cache export out/a", (WARM,)),
    Case(
        "cache import",
        "cache import a.zip",
        (WARM, "cache export a.zip"),
        ("cache/*",),
        results="cache",
        again="",
    ),
    Case("cache prune", "cache prune --dataset 909", (WARM,), results="cache"),
    Case(
        "cache verify",
        "cache verify --repair",
        (WARM,),
        # what is removed, and not there again after a kill, is fetched when it is needed
        spoil=("cache/**/images/**/[0-9].jpg",),
    ),
    Case("preview", "dataset preview 909 -o out", ("dataset info 909",)),
    Case(
        "sync csv",
        "sync image-to-reference points.csv -o out/p.csv",
        ("dataset info 909",),
        files={"points.csv": POINTS},
    ),
    Case(
        "sync parquet",
        "sync image-to-reference points.csv -o out/p.parquet",
        ("dataset info 909",),
        files={"points.csv": POINTS},
    ),
]
SAMPLED = 2  # of the calls of a case; of its reads, half as many in either way
DEFAULT = [
    case
    for case in CASES
    if case.name
    in {
        "download dataset, all kinds",
        "download dataset, warm, replacing",
        "download datasets",
        "volume nii.gz",
        "volume npy, replacing",
        "volume ome.zarr, replacing",
        "quantify csv, replacing",
        "export fields itk",
        "export quicknii, replacing",
        "atlas fetch",
        "catalogue again",
        "cache export zip",
        "cache prune",
        "sync csv",
    }
]


class Small(DemoArchive):
    """Data set 909 with two sections, so that a run needs few calls."""

    def tables(self):
        tables = dict(super().tables())
        (dataset,) = tables["SectionDataSet"]
        images = [one for one in tables["SectionImage"] if one["id"] in SECTIONS]
        images = images or list(tables["SectionImage"])[:2]
        tables["SectionImage"] = images
        tables["SectionDataSet"] = [{**dataset, "section_images": images}]
        return tables


@pytest.fixture(scope="module")
def service():
    server = listen("127.0.0.1", 0, Small((909,)))
    threading.Thread(target=server.run, daemon=True).start()
    yield f"http://127.0.0.1:{server.effective_port}"
    server.close()


@pytest.fixture(scope="module")
def commands(service, tmp_path_factory):
    folder = tmp_path_factory.mktemp("io")
    library = build(folder)
    if library is None:
        pytest.skip("there is no C compiler here for the library that lets calls fail")
    server = ForkServer(library, service, folder)
    yield server
    server.close()


@pytest.mark.one_in(5)
@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", DEFAULT, ids=lambda case: case.name)
def test_a_sample(commands, tmp_path, case):
    sweep = Sweep(commands, case, tmp_path)
    assert sweep.changes > 1
    first = zlib.crc32(case.name.encode())
    for k, mode in enumerate(MODES.values()):
        # the same calls in every test run, others for every case and every way to fail
        count = sweep.count(mode)
        step = count // (SAMPLED // 2 if mode in READS else SAMPLED) + 1
        for n in range((first + k) % step, count, step):
            sweep.trial(mode, n + 1)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_call(commands, tmp_path, case, mode):
    sweep = Sweep(commands, case, tmp_path)
    for n in range(1, sweep.count(MODES[mode]) + 1):
        sweep.trial(MODES[mode], n)
