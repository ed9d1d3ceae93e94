"""What the benchmarks of registrations share: the genuine data, and figures of placements."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atldld.atlas import Atlas, open_atlas
from atldld.fetch.session import Session
from atldld.fetch.sources import ImageSource
from atldld.place.placement import Placement
from atldld.records import SectionDataSet
from atldld.settings import Settings
from atldld.testing.cut import HasPlaces

sys.path.append(str(Path(__file__).resolve().parents[1]))
from memory import peak_mb

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"

Matrix = NDArray[np.float64]


_STEP = 16.0  # full-resolution pixels over which areas are compared


def genuine_atlas() -> Atlas:
    """Return the genuine annotation at 25 µm, with the template at 100 µm."""
    folder = SHARED / "atlas"
    return open_atlas(
        annotation=folder / "annotation_25.nrrd",
        graph=folder / "structure_graph_1.json",
        template=folder / "average_template_100.nrrd",
    )


def genuine_record(dataset_id: int) -> SectionDataSet:
    """Return the genuine records of a data set."""
    records = json.loads((SHARED / "datasets" / f"{dataset_id}.json").read_text())
    return SectionDataSet.from_records(records["section_data_set"], records["section_images"])


@contextlib.contextmanager
def session_of(pictures: ImageSource) -> Iterator[Session]:
    """Give a session that has these pictures and no network, with a cache of its own."""
    with (
        tempfile.TemporaryDirectory() as folder,
        warnings.catch_warnings(),
        Session(Settings(cache_dir=Path(folder), offline=True), sources=[pictures]) as session,
    ):
        warnings.simplefilter("ignore")
        yield session


def numbers_of(text: str) -> list[int]:
    """Return the whole numbers that a text such as ``0-2,7`` means."""
    out: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        out += range(int(first), int(last or first) + 1)
    return out


def jacobians(placement: HasPlaces, start: HasPlaces, xy: Matrix) -> tuple[float, float]:
    """Return the least and greatest change of area against the start, at pixels (N, 2)."""
    areas = [_areas(one, xy) for one in (placement, start)]
    across = areas[1].mean(axis=0) / np.linalg.norm(areas[1].mean(axis=0))
    changes = (areas[0] @ across) / (areas[1] @ across)
    # of tissue against its plane, not of the plane: a scale of all is no deformation
    changes = changes / np.median(changes)
    return float(changes.min()), float(changes.max())


def _areas(placement: HasPlaces, xy: Matrix) -> Matrix:
    middle = placement.to_reference(xy)
    along, down = (placement.to_reference(xy + step) - middle for step in _STEP * np.eye(2))
    return np.cross(along, down)


def there_and_back(placement: HasPlaces, xy: Matrix) -> float:
    """Return how far pixels lie from where they were, in µm, after the way there and back.

    NaN where there is no way back.
    """
    if not isinstance(placement, Placement):
        return float("nan")
    away = np.linalg.norm(placement.to_image(placement.to_reference(xy)) - xy, axis=1)
    side = float(np.linalg.norm(placement.forward[:, :2], axis=0).max())
    return float(away.max()) * side


def rank_correlation(a: Matrix, b: Matrix) -> float:
    """Return Spearman's correlation."""
    from scipy.stats import spearmanr

    return float(spearmanr(a, b).statistic)


class Peak:
    """The most memory that this process holds from now on, where the system can tell."""

    def __init__(self) -> None:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far

    @property
    def megabytes(self) -> float:
        """In MB."""
        return peak_mb()
