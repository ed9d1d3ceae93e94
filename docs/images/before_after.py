"""Draw docs/images/before-after.webp: a section of the demo brain before and after refinement.

``python docs/images/before_after.py`` puts the sections off by known amounts, refines them, and
draws one of them with its expression and the atlas's outlines.
"""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from atldld import Atlas
    from atldld.api import DataSet

HERE = Path(__file__).resolve().parent
PICTURE = HERE / "before-after.webp"
DATASET, SECTION = 69289763, 70
DEPTH = 3
RESOLUTION = 12.5
BOX = (4200.0, 11200.0, 5700.0, 700.0)  # left, right, bottom, top in µm: around the hippocampus


def draw(ds: DataSet, atlas: Atlas, axes: Axes, title: str) -> None:
    """Draw the section, its expression mask, and what the atlas has there."""
    from atldld import plot

    section = ds.section(number=SECTION)
    plot.section(section, atlas, ax=axes, depth=DEPTH, labels=False, title=title)
    (registered,) = ds.register(resolution=RESOLUTION, sections=[section], expression=True)
    assert registered.mask is not None
    rows, columns = registered.mask.shape[:2]
    opacity = registered.mask.max(axis=2) / 255.0
    axes.imshow(
        np.dstack([registered.mask / 255.0, np.where(opacity > 0.1, 0.75 * opacity, 0)]),
        extent=(0, columns * RESOLUTION, rows * RESOLUTION, 0),
        zorder=0.5,
    )
    axes.set(xlim=BOX[:2], ylim=BOX[2:])


def main() -> None:
    """Make the picture."""
    os.environ.setdefault("MPLBACKEND", "agg")
    from matplotlib import pyplot as plt

    import atldld
    from atldld import plot
    from atldld.demo.local import in_process_session
    from atldld.testing.disturbed import disturbed

    target = Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE
    warnings.simplefilter("ignore")  # what is odd about planes that are off on purpose
    with (
        tempfile.TemporaryDirectory() as folder,
        in_process_session(Path(folder) / "cache") as session,
    ):
        atlas = atldld.open_atlas(25, session=session)
        truth = atldld.open_dataset(DATASET, session=session)
        off, refined = Path(folder) / "off.json", Path(folder) / "refined.json"
        disturbed(truth, atlas).save(off)
        start = atldld.open_dataset(DATASET, session=session, alignment=off)
        start.refine(atlas, resolution=50).save(refined)
        end = atldld.open_dataset(DATASET, session=session, alignment=refined)
        plt.rcParams.update(plot.STYLE)
        figure, (left, right) = plt.subplots(1, 2, figsize=(7.1, 2.75), layout="constrained")
        draw(start, atlas, left, "before")
        draw(end, atlas, right, "after atldld refine")
        png = Path(folder) / "picture.png"
        figure.savefig(png, dpi=200)
        pixels = cv2.imread(str(png), cv2.IMREAD_COLOR)
        assert pixels is not None
        cv2.imwrite(str(target), pixels, [cv2.IMWRITE_WEBP_QUALITY, 85])


if __name__ == "__main__":
    main()
