"""What napari's own plugin engine, npe2, makes of the reader. napari itself is not needed."""

import subprocess
import sys
from importlib.resources import files

import pytest

npe2 = pytest.importorskip("npe2")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def manager():
    """The engine that `npe2.read` asks, without what else is installed here."""
    manifest = npe2.PluginManifest.from_distribution("atldld")
    plugins = npe2.PluginManager.instance()
    plugins.register(manifest)
    yield plugins
    plugins.unregister("atldld")


def test_npe2_finds_the_manifest_valid():
    done = subprocess.run(
        [sys.executable, "-m", "npe2", "validate", "atldld"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    manifest = npe2.PluginManifest.from_distribution("atldld")
    manifest.validate_imports()
    assert manifest.contributions.readers[0].accepts_directories
    # the file is part of the package, not only of this folder
    assert files("atldld.napari").joinpath("napari.yaml").is_file()


def test_a_folder_is_read(manager, coronal):
    layers, reader = npe2.io_utils.read_get_reader([str(coronal[1])], stack=False)
    assert reader.command == "atldld.get_reader"
    assert [kind for *_, kind in layers] == ["image", "image", "shapes"]


def test_only_folders_and_stores_are_offered(manager, tmp_path):
    """A pattern of all files would make napari ask which reader to take for each picture."""
    offered = lambda name: [  # noqa: E731
        one.command for one in manager.iter_compatible_readers([str(name)])
    ]
    assert offered(tmp_path) == ["atldld.get_reader"]
    assert offered("somewhere/a.ome.zarr") == ["atldld.get_reader"]
    assert offered("picture.png") == offered("picture.tif") == offered("volume.zarr") == []


def test_what_is_not_ours_is_not_read(manager, tmp_path):
    (tmp_path / "metadata.json").write_text("{}")
    with pytest.raises(ValueError, match="No readers"):
        npe2.read([str(tmp_path)], stack=False)
