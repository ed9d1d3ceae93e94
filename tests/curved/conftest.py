"""Sections that are curved by a known deformation."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from atldld.api import DataSet
from atldld.atlas.open import open_atlas
from atldld.demo.local import in_process_session
from atldld.place.curves import CurvedMap
from atldld.place.deformation import Displacements, SplineDeformation
from atldld.place.sections import PlacedDataSet
from atldld.place.tiers import shrink_source, tier_matrix, tier_to_image
from atldld.warp.background import background_of
from atldld.warp.resample import nearest, resample

SPACING = 100.0
FADING = 20


def smooth(size, seed, largest=300.0):
    """A smooth deformation of an image of `size` (width, height) pixels, up to `largest` px."""
    random = np.random.default_rng(seed)
    # It fades beyond the image, so that nothing is kinked at the edges of the nodes.
    x, y = (np.arange(-FADING, side // SPACING + 1 + FADING) * SPACING for side in size)
    fades = [
        np.clip(np.minimum(k, k[::-1]) / FADING, 0, 1)
        for k in (np.arange(len(x)), np.arange(len(y)))
    ]
    fade_x, fade_y = (fade**2 * (3 - 2 * fade) for fade in fades)
    vectors = np.zeros((len(y), len(x), 2))
    for _ in range(8):
        across, down = random.uniform(-1, 1, 2) * 2 * np.pi / 4000
        phase, direction = random.uniform(0, 2 * np.pi), random.normal(size=2)
        wave = np.sin(across * x + (down * y)[:, None] + phase)
        vectors += wave[..., None] * direction
    vectors *= (fade_x * fade_y[:, None])[..., None]
    vectors *= largest / np.linalg.norm(vectors, axis=-1).max()
    return SplineDeformation.of(
        Displacements((float(x[0]), float(y[0])), (SPACING, SPACING), vectors.astype(np.float32))
    )


def curve(section, seed=1, largest=300.0):
    image = section.image
    deformation = smooth((image.width, image.height), seed + section.number, largest)
    return replace(section, placement=replace(section.placement, deformation=deformation))


@pytest.fixture(scope="session")
def placed(demo_records):
    """The demo's data sets as the service places them, by id."""
    return {
        dataset_id: PlacedDataSet.of(record)
        for dataset_id, record in demo_records.items()
        if dataset_id in (69289763, 71717084)
    }


@pytest.fixture(scope="session", params=[69289763, 71717084])
def flat(request, placed):
    """A section in the middle of the brain, as the service places it."""
    dataset = placed[request.param]
    return dataset.sections[len(dataset) // 2]


@pytest.fixture(scope="session")
def curved(flat):
    """The same section with a deformation."""
    return curve(flat)


@pytest.fixture(scope="session")
def curved_sets(placed):
    """Both data sets, with every fourth section only, all of them curved."""
    found = {}
    for dataset_id, dataset in placed.items():
        kept = [curve(section) for section in dataset.sections[:: max(len(dataset) // 5, 1)]]
        record = dataset.record
        found[dataset_id] = PlacedDataSet(record, dataset.plane, tuple(kept), ())
    return found


@pytest.fixture(scope="session")
def demo_session(tmp_path_factory):
    """One session for all, so that each picture of the demo brain is made once."""
    with in_process_session(tmp_path_factory.mktemp("cache")) as session:
        yield session


@pytest.fixture(scope="session")
def atlas(demo_session):
    return open_atlas(100, session=demo_session)


@pytest.fixture
def opened(curved_sets, demo_session):
    """A function that opens one of the curved data sets with pixels."""
    return lambda dataset_id: DataSet.with_pixels(curved_sets[dataset_id], demo_session)


class Bending:
    """A session whose pictures of curved sections are bent, as their sections were.

    Those of the demo are of flat sections. Pixel u of a bent picture shows the flat one at
    to_flat(u): as a smooth picture, or as one of whole pixels, where colours must not be mixed.
    """

    def __init__(self, session, dataset):
        self._session = session
        self._curves = {section.id: section.placement.deformation for section in dataset.sections}

    def __getattr__(self, name):
        return getattr(self._session, name)

    def pixels(self, image, downsample=0, *, expression=False, **options):
        flat = self._session.pixels(image, downsample, expression=expression, **options)
        deformation = self._curves[image.id]
        reduction = options.get("reduction", 1)
        to_image = tier_to_image(downsample).matrix @ np.array(
            [[reduction, 0, (reduction - 1) / 2], [0, reduction, (reduction - 1) / 2], [0, 0, 1]]
        )
        back = shrink_source(tier_matrix(np.eye(2, 3), downsample), reduction)
        way = CurvedMap(to_image, deformation.to_flat, back)
        if expression:
            return nearest(flat, way, flat.shape[:2])
        return resample(flat, way, flat.shape[:2], background_of(flat))


@pytest.fixture
def bent(curved_sets, demo_session):
    """A function that opens a curved data set whose pictures are bent as it says."""

    def opened(dataset_id):
        dataset = curved_sets[dataset_id]
        session: Any = Bending(demo_session, dataset)
        return DataSet.with_pixels(dataset, session)

    return opened


@pytest.fixture
def straight(curved_sets, demo_session):
    """A function that opens the same sections flat, with the demo's own pictures."""

    def opened(dataset_id):
        dataset = curved_sets[dataset_id]
        sections = tuple(
            replace(section, placement=replace(section.placement, deformation=None))
            for section in dataset.sections
        )
        return DataSet.with_pixels(replace(dataset, sections=sections), demo_session)

    return opened
