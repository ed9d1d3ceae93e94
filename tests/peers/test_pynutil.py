"""PyNutil, as a black box, reads the folder that `atldld export quicknii --images` writes.

The kind of fault: a file that is right in itself, under a name that the program it is for refuses.
"""

import json

import numpy as np
import pytest

from atldld.api import open_dataset
from atldld.formats import image_name, write_quicknii
from atldld.place.alignment import read_alignment
from atldld.sections.images import copy_images
from tests.peers.environments import pynutil_runner

pytestmark = [pytest.mark.peer, pytest.mark.timeout(900)]

TIER = 4


@pytest.fixture(scope="session")
def pynutil(request, tmp_path_factory):
    """Run PyNutil on a folder, in an environment of its own."""
    return pynutil_runner(request, tmp_path_factory)


def test_the_whole_folder_is_read_and_lies_where_it_should(pynutil, session, tmp_path):
    dataset = open_dataset(909, session=session)
    folder = tmp_path / "images"
    path = write_quicknii(dataset, folder / "allen.json", downsample=TIER)
    images = {folder / image_name(section.image): section.image for section in dataset}
    copy_images(session, images, TIER)
    done = pynutil(folder, path, tmp_path / "found.json")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["slices"] == len(dataset)
    assert found["numbers"] == [section.number for section in dataset]
    assert len(found["lengths"]) == len(dataset)
    for section, middle, count in zip(dataset, found["middles"], found["lengths"], strict=True):
        width, height = section.image.size(TIER)
        assert count == width * height
        # PyNutil gives voxels of 25 µm from the anterior, superior and right side
        p, i, r = section.to_reference([((width << TIER) - 1) / 2, ((height << TIER) - 1) / 2])
        # and takes a pixel's corner for its place: half a pixel
        pixel = np.abs(section.placement.forward[:, :2]).sum() * (1 << TIER)
        np.testing.assert_allclose(np.array(middle) * 25, (p, i, 11400 - r), atol=pixel / 2 + 1)

    # without the section number it reads none, or not as what they are
    for section in dataset:
        (folder / image_name(section.image)).rename(folder / f"{section.id}.jpg")
    assert pynutil(folder, path, tmp_path / "again.json").returncode != 0
    assert len(read_alignment(path).placements(dataset.record)) == len(dataset)
