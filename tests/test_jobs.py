"""The ten jobs of docs/jobs.md run from the page, and each takes at most five lines."""

import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import atldld

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "jobs.md").read_text("utf-8")
JOBS = dict(re.findall(r"^## (.*?)\n+```python\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE))
LEFT = {
    "From a gene to a volume": ["prox1.nii.gz"],
    "A table of regions": ["prox1.csv"],
    "An overlay for a paper": ["figure/*_outlines.svg"],
    "Which structure is at a point, and what it lies in": [],
    "The sections around a structure": [],
    "Two genes, compared over regions": ["genes.pdf"],
    "QuickNII and VisuAlign": ["quicknii/prox1.json", "quicknii/*_s218.jpg"],
    "napari": ["out/metadata.json"],
    "A batch": ["volumes/69289763/*.nii.gz", "volumes/batch.jsonl"],
    "Without a network": ["out/metadata.json", "prox1.nrrd"],
}
SAID = {
    "Which structure is at a point, and what it lies in": "in ['root', 'grey', 'HPF'",
    "The sections around a structure": "218 (",
    "A batch": "1 data sets, 0 failed",
}


def test_there_are_ten():
    assert JOBS.keys() == LEFT.keys()
    assert len(JOBS) == 10


@pytest.mark.parametrize("job", JOBS)
def test_none_takes_more_than_five_lines(job):
    assert len([line for line in JOBS[job].splitlines() if line.strip()]) <= 5
    assert max(map(len, JOBS[job].splitlines())) <= 100


def coarsely(code):
    """The same with fewer pixels, and of the smallest data set of the demo."""
    code = code.replace("resolution=25", "resolution=200").replace("71717084", "909")
    if "number=70" not in code:
        code = code.replace("69289763", "909")
    return code.replace('gene=["Prox1", "Pdyn"]', 'gene="Prox1"')


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """One for all jobs: what one has fetched, others have."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def napari(monkeypatch):
    """A viewer that opens files as napari does: through npe2, with the plugin that is named."""
    npe2 = pytest.importorskip("npe2")
    plugins = npe2.PluginManager.instance()
    plugins.register(npe2.PluginManifest.from_distribution("atldld"))
    opened: list[Any] = []

    class Viewer:
        def open(self, path, plugin):
            layers = npe2.read([path], stack=False, plugin_name=plugin)
            opened.extend(layers)
            return layers

    module: Any = types.ModuleType("napari")
    module.Viewer = Viewer
    monkeypatch.setitem(sys.modules, "napari", module)
    yield opened
    plugins.unregister("atldld")


@pytest.mark.usefixtures("at_demo_server")
@pytest.mark.filterwarnings("ignore::atldld.errors.ServiceWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("job", JOBS)
def test_they_run(job, cache, tmp_path, monkeypatch, capsys, request):
    monkeypatch.setenv("ATLDLD_CACHE_DIR", str(cache))
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.chdir(tmp_path)
    opened = request.getfixturevalue("napari") if job == "napari" else []
    # the fine atlas takes seconds to unpack; counting at 8 µm renders every section at full size
    from atldld.atlas import open as atlases
    from atldld.regions import quantify as regions

    real, count = atlases.open_atlas, regions.quantify
    coarse = lambda *_, **options: real(100, **options)  # noqa: E731
    monkeypatch.setattr(atlases, "open_atlas", coarse)
    monkeypatch.setattr(atldld, "open_atlas", coarse)
    monkeypatch.setattr(
        regions, "quantify", lambda ds, atlas, _, **options: count(ds, atlas, 200, **options)
    )
    exec(coarsely(JOBS[job]), {"atldld": atldld})
    for name in LEFT[job]:
        assert list(tmp_path.glob(name)), sorted(tmp_path.rglob("*"))
    assert SAID.get(job, "") in capsys.readouterr().out
    if job == "napari":
        assert opened
