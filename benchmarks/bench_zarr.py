"""OME-Zarr volumes written by us and by ngff-zarr: memory, time, bytes, and what the store says.

    python benchmarks/bench_zarr.py [RESOLUTION]

Each volume is written in a process of its own. Memory is what the process takes at most while it
writes, beyond the volume itself; it is read from /proc, so this needs Linux. What the figures mean
is in docs/decisions/0013-ome-zarr-stays-ours.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from findings import Findings, json_option

BOX = (13200, 8000, 11400)
ORIENTATIONS = {
    "z": "anterior-to-posterior",
    "y": "superior-to-inferior",
    "x": "left-to-right",
}


def volume(kind: str, resolution: float) -> NDArray[Any]:
    """Return a ball with some noise, in nothing: it packs about as well as a brain."""
    shape = tuple(round(side / resolution) for side in BOX)
    p, i, r = np.ogrid[tuple(slice(-1, 1, n * 1j) for n in shape)]
    inside = p**2 + i**2 + r**2 < 0.8
    rng = np.random.default_rng(0)
    if kind == "float32":
        out = np.full(shape, np.nan, dtype=np.float32)
        out[inside] = rng.normal(0.3, 0.05, int(inside.sum())).astype(np.float32)
        return out
    out = np.zeros((*shape, 3), dtype=np.uint8)
    out[inside] = rng.integers(170, 202, (int(inside.sum()), 3), dtype=np.uint8)
    return out


def ours(data: NDArray[Any], resolution: float, path: Path) -> None:
    from atldld.formats.ome_zarr import write
    from atldld.formats.voxels import Voxels

    write(Voxels(data, resolution, "expression", {}), path)


def theirs(data: NDArray[Any], resolution: float, path: Path) -> None:
    """As near to ours as its options go: the same dims, positions, orientation and chunks."""
    import ngff_zarr as nz

    colours = data.ndim == 4
    dims: Any = ["c", "z", "y", "x"] if colours else ["z", "y", "x"]
    chunk = 128 if colours else 64
    image = nz.to_ngff_image(
        np.moveaxis(data, -1, 0) if colours else data,
        dims=dims,
        scale=dict.fromkeys("zyx", resolution),
        translation=dict.fromkeys("zyx", resolution / 2),
        axes_units=dict.fromkeys("zyx", "micrometer"),
        name="expression",
    )
    image.axes_orientations = {
        axis: nz.AnatomicalOrientation(value=nz.AnatomicalOrientationValues(value))
        for axis, value in ORIENTATIONS.items()
    }
    factors = [2**k for k in range(1, 9) if max(data.shape) > 128 * 2 ** (k - 1)]
    levels = nz.to_multiscales(
        image,
        scale_factors=factors,
        method=nz.Methods.ITKWASM_BIN_SHRINK,  # means of blocks
        chunks={**({"c": 1} if colours else {}), "z": chunk, "y": chunk, "x": chunk},
    )
    nz.to_ome_zarr(str(path), levels, version="0.5")


WRITERS = {"ours": ours, "ngff-zarr": theirs}


def high_water() -> int:
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def measure(writer: str, kind: str, resolution: float) -> dict[str, Any]:
    data = volume(kind, resolution)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "v.ome.zarr"
        WRITERS[writer](data[:32, :32, :32].copy(), resolution, Path(folder) / "warm.zarr")
        Path("/proc/self/clear_refs").write_text("5", "ascii")  # the mark begins anew
        before, start = high_water(), time.perf_counter()
        WRITERS[writer](data, resolution, path)
        seconds = time.perf_counter() - start
        return {
            "MB": (high_water() - before) / 1e6,
            "s": seconds,
            "stored MB": sum(f.stat().st_size for f in path.rglob("*") if f.is_file()) / 1e6,
            "files": sum(f.is_file() for f in path.rglob("*")),
            **look(data, resolution, path),
        }


def look(data: NDArray[Any], resolution: float, path: Path) -> dict[str, Any]:
    """Return what the store says: whether it is valid, and its levels means in their place."""
    import ngff_zarr as nz
    import zarr

    group: Any = zarr.open_group(str(path), mode="r")
    attributes: dict[str, Any] = dict(group.attrs)
    try:
        nz.validate(attributes, version="0.5", model="image", strict=True)
        valid = "yes"
    except Exception as error:
        valid = f"no: {str(error).splitlines()[0][:80]}"
    scales = attributes["ome"]["multiscales"][0]
    told = [axis.get("orientation", {}).get("value") for axis in scales["axes"]]
    sides = [group[level["path"]].shape[-3:] for level in scales["datasets"]]
    second = scales["datasets"][1]
    moved = next(
        t["translation"][-1]
        for t in second["coordinateTransformations"]
        if t["type"] == "translation"
    )
    finer = data[:256, :256, :256].astype(np.float32)
    pairs = finer.reshape(*(n for side in finer.shape[:3] for n in (side // 2, 2)), -1)
    means = pairs.mean(axis=(1, 3, 5))
    found = np.asarray(group[second["path"]][..., :128, :128, :128], dtype=np.float32)
    found = np.moveaxis(found, 0, -1) if found.ndim == 4 else found[..., None]
    return {
        "0.5 valid": valid,
        "orientation": told[-3:] == list(ORIENTATIONS.values()),
        "levels": ", ".join("x".join(map(str, side)) for side in sides),
        "level 1 starts at": moved,
        "off the mean by": float(np.nanmax(np.abs(found - means))),
        "NaN as in means": bool((np.isnan(found) == np.isnan(means)).all()),
    }


def main() -> None:
    if len(sys.argv) == 4 and sys.argv[1] in WRITERS:
        print(json.dumps(measure(sys.argv[1], sys.argv[2], float(sys.argv[3]))))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("resolution", nargs="?", default="25")
    json_option(parser)
    options = parser.parse_args()
    resolution, findings = options.resolution, Findings("zarr", options.json)
    for kind in ("uint8", "float32"):
        for writer in WRITERS:
            done = subprocess.run(
                [sys.executable, __file__, writer, kind, resolution],
                capture_output=True,
                text=True,
            )
            if done.returncode:
                print(f"{kind:8} {writer:10} {done.stderr.strip().splitlines()[-1]}")
                continue
            print(f"{kind:8} {writer:10}", end="")
            found = json.loads(done.stdout.splitlines()[-1])
            findings.row({"kind": kind, "writer": writer, **found})
            for name, value in found.items():
                told = f"{value:.1f}" if isinstance(value, float) else value
                print(f" | {name} {told}", end="")
            print()
    told = (f"{row['kind']} {row['writer']}" for row in findings.rows)
    findings.tell(f"written and read back: {', '.join(told)}")


if __name__ == "__main__":
    main()
