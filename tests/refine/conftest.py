"""The demo data set with planes that are off by known amounts, and its atlas."""

import json
import warnings

import numpy as np
import pytest

from atldld.api import open_dataset
from atldld.atlas import open_atlas
from atldld.demo.local import in_process_session
from atldld.formats.quicknii import write_quicknii

DATASET = 909


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """A session of the demo archive, data set 909 and the demo's atlas."""
    with in_process_session(tmp_path_factory.mktemp("refine")) as session:
        yield session, open_dataset(DATASET, session=session), open_atlas(100, session=session)


@pytest.fixture(scope="session")
def disturbed(demo, tmp_path_factory):
    """The same, every section moved by about 150 µm and all together by 200 µm more."""
    session, dataset, _ = demo
    path = write_quicknii(dataset, tmp_path_factory.mktemp("planes") / "off.json")
    document = json.loads(path.read_text())
    rng = np.random.default_rng(5)
    together = np.array([5.0, -4.0, 4.0])  # voxels of 25 µm
    for image in document["slices"]:
        o, u, v = np.reshape(image["anchoring"], (3, 3))
        image["anchoring"] = np.concatenate(
            (
                o + together + rng.normal(0, 2.5, 3),
                u + rng.normal(0, 5, 3),
                v + rng.normal(0, 5, 3),
            )
        ).tolist()
    path.write_text(json.dumps(document))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return open_dataset(DATASET, session=session, alignment=path)


@pytest.fixture(scope="session")
def refined(demo, disturbed):
    """The registration of the disturbed data set."""
    return disturbed.refine(demo[2], resolution=75, jobs=2)
