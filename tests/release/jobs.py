"""What each extra is for, as a small job that an environment with that extra alone must do.

Run in such an environment, from outside of the repository, with ``ATLDLD_API_URL`` at the demo
archive: ``python jobs.py EXTRA``. It needs nothing but the package and what the extra brings.
"""

import importlib
import pkgutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

DATASET = 69289763
SMALL = 909


def command(*arguments: object) -> None:
    """Run the command line; what it says on its way to failing goes where ours does."""
    subprocess.run([sys.executable, "-m", "atldld", *map(str, arguments)], check=True)


def written(path: Path) -> None:
    """Look whether there is something in a file, or in a folder's files."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    assert files, f"{path} was not written"
    assert all(file.stat().st_size for file in files)


def nothing(out: Path) -> None:
    """Without any extra: every module can be imported, and the main job and points work."""
    import atldld

    for found in pkgutil.walk_packages(atldld.__path__, "atldld."):
        if found.name != "atldld.__main__":
            importlib.import_module(found.name)
    command("download", DATASET, out / "sections", "--resolution", 100, "--fields")
    written(out / "sections" / "metadata.json")
    command("export", "quicknii", DATASET, "-o", out / "planes.json")
    written(out / "planes.json")
    section = atldld.open_dataset(DATASET).section(number=70)
    assert section.to_reference([(6384, 2744)]).shape == (1, 3)


def atlas(out: Path) -> None:
    """Outlines as vectors and for QuPath; regions as a table."""
    section = ("--section", 70, "--resolution", 100)
    command("atlas", "outlines", DATASET, "-o", out / "svg", *section)
    command("atlas", "outlines", DATASET, "-o", out / "qupath", *section, "--format", "geojson")
    command("quantify", DATASET, "-o", out / "regions.csv", "--resolution", 100)
    for name in ["svg", "qupath", "regions.csv"]:
        written(out / name)


def brainglobe(_out: Path) -> None:
    """The library answers that it has no such atlas here; to fetch one takes the network."""
    import atldld
    from atldld.errors import OfflineError

    session = atldld.Session(atldld.Settings.from_environment(offline=True))
    try:
        atldld.open_atlas(name="brainglobe:allen_mouse_50um", session=session)
    except OfflineError:
        return
    raise AssertionError("an atlas that is not here was opened")


def dask(out: Path) -> None:
    """A batch on two processes of Dask, into a folder and into a store of fsspec."""
    batch = ("download", "datasets", SMALL)
    command(*batch, out / "batch", "--resolution", 200, "--dask", "local:2")
    written(out / "batch" / str(SMALL))
    command(*batch, f"local://{out / 'store'}", "--resolution", 200)
    written(out / "store" / str(SMALL))
    importlib.import_module("s3fs")


def plot(out: Path) -> None:
    """A figure."""
    command("dataset", "preview", DATASET, "-o", out / "preview.png")
    written(out / "preview.png")


def refine(out: Path) -> None:
    """A registration, which needs the atlas."""
    command("refine", DATASET, "-o", out / "reg.json", "--resolution", 100, "--steps", "whole")
    written(out / "reg.json")


def report(out: Path) -> None:
    """The page."""
    command("report", SMALL, "-o", out / "report.html", "--resolution", 200)
    written(out / "report.html")


def small_volume():
    """Return a coarse volume of the smallest data set."""
    import atldld

    return atldld.open_dataset(SMALL).volume(resolution=200)


def sitk(_out: Path) -> None:
    """An image of ITK."""
    assert small_volume().to_sitk().GetDimension() == 3


def tables(out: Path) -> None:
    """A data frame, and points out of and into Parquet."""
    import atldld

    frame = atldld.search(gene="Prox1", plane="sagittal").to_pandas()
    assert list(frame.index) == [DATASET]
    points = out / "points.csv"
    points.write_text("p_um,i_um,r_um\n8052,2890,3346\n")
    found = out / "found.parquet"
    command("sync", "reference-to-image", points, "--dataset", DATASET, "-o", found)
    written(found)
    import pandas

    pixels = pandas.read_parquet(found)[["image_id", "x", "y"]]
    pixels.to_parquet(out / "pixels.parquet")
    command("sync", "image-to-reference", out / "pixels.parquet", "-o", out / "back.parquet")
    back = pandas.read_parquet(out / "back.parquet")
    assert abs(back["p_um"][0] - 8052) < 1


def volume(out: Path) -> None:
    """NIfTI and NRRD."""
    for name in ["volume.nii.gz", "volume.nrrd"]:
        command("volume", SMALL, "-o", out / name, "--resolution", 200)
        written(out / name)


def xarray(_out: Path) -> None:
    """A labelled array."""
    assert set(small_volume().to_xarray().dims) >= {"p", "i", "r"}


def zarr(out: Path) -> None:
    """A store of OME-Zarr."""
    command("volume", SMALL, "-o", out / "volume.ome.zarr", "--resolution", 200)
    written(out / "volume.ome.zarr")


def everything(out: Path) -> None:
    """Each of the others, in one environment."""
    for name, job in JOBS.items():
        if name not in ("all", "brainglobe"):
            folder = out / (name or "nothing")
            folder.mkdir()
            job(folder)


JOBS: dict[str, Callable[[Path], None]] = {
    "": nothing,
    "atlas": atlas,
    "brainglobe": brainglobe,
    "dask": dask,
    "plot": plot,
    "refine": refine,
    "report": report,
    "sitk": sitk,
    "tables": tables,
    "volume": volume,
    "xarray": xarray,
    "zarr": zarr,
    "all": everything,
}
"""By the extra; ``dev`` and ``docs`` are what tests and the site are made with."""

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        JOBS[sys.argv[1]](Path(folder))
    print("done")
