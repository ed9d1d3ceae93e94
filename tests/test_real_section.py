"""The one real section image, by the whole road, against Allen's own annotation."""

import json

import numpy as np
import pytest
import simplejpeg

from atldld.api import open_dataset
from atldld.demo.local import in_process_session
from atldld.serve.archive import Archive

IMAGE_ID = 69177654


class RealSection(Archive):
    """An archive that holds data set 69289763 with the real pixels of one section."""

    def __init__(self, shared):
        records = json.loads((shared / "datasets" / "69289763.json").read_text())
        self.dataset = records["section_data_set"]
        self.images = records["section_images"]
        self.jpeg = (shared / "images" / f"{IMAGE_ID}_downsample2.jpg").read_bytes()
        self.tier2 = simplejpeg.decode_jpeg(self.jpeg, "RGB")

    def tables(self):
        return {"SectionDataSet": [self.dataset], "SectionImage": self.images}

    def image(self, image_id, downsample, view, *, quality, region):
        if image_id != IMAGE_ID or view != "image" or downsample < 2 or region is not None:
            return None
        if downsample == 2:
            return self.jpeg
        n = 2 ** (downsample - 2)
        height, width = 7553 >> downsample, 11921 >> downsample
        boxes = self.tier2[: height * n, : width * n].reshape(height, n, width, n, 3)
        pixels = np.rint(boxes.mean(axis=(1, 3))).astype(np.uint8)
        return simplejpeg.encode_jpeg(pixels, quality, "RGB", "444")


@pytest.fixture(scope="module")
def annotation(shared):
    nrrd = pytest.importorskip("nrrd")
    return nrrd.read(str(shared / "atlas" / "annotation_25.nrrd"))[0]


@pytest.fixture
def section(shared, tmp_path):
    with in_process_session(tmp_path, RealSection(shared)) as session:
        yield open_dataset(69289763, session=session).section(IMAGE_ID)


def tissue(picture):
    """Where a bright-field picture is darker than its background, without specks."""
    import cv2

    grey = cv2.GaussianBlur(picture.min(axis=2), (0, 0), 2)
    return grey < np.percentile(grey, 99) - 12


def annotated(annotation, plane):
    """The annotation at the section's own plane: structure ids of the output pixels."""
    rows, columns = np.indices(plane.grid.shape)
    voxel = [None] * 3
    voxel[plane.grid.row_axis] = rows
    voxel[plane.grid.column_axis] = columns
    depth = np.floor(plane.depth_at(rows, columns) / 25).astype(int)
    voxel[plane.grid.depth_axis] = np.clip(depth, 0, annotation.shape[2] - 1)
    return annotation[tuple(voxel)]


def overlap(one, other):
    return (one & other).sum() / (one | other).sum()


@pytest.mark.parametrize("downsample", [2, 3, "auto"])
def test_it_sits_where_the_annotation_expects_it(section, annotation, downsample):
    registered = section.register(25, downsample=downsample)
    assert registered.image.shape == (320, 528, 3)
    brain = annotated(annotation, registered.plane) > 0
    seen = tissue(registered.image)
    found = overlap(seen, brain)
    print(f"overlap of tissue and annotation: {found:.3f}")
    assert found > 0.85
    # the right way up and round: every mirror image fits worse
    for flipped in (seen[::-1], seen[:, ::-1], seen[::-1, ::-1]):
        assert overlap(flipped, brain) < found - 0.05


def test_the_dentate_gyrus_is_dark_where_it_is_annotated(section, annotation):
    """Prox1 is expressed in the granule cells of the dentate gyrus (structure 632)."""
    registered = section.register(25)
    granule = annotated(annotation, registered.plane) == 632
    rows, columns = np.nonzero(granule)
    near = np.s_[rows.min() - 12 : rows.max() + 12, columns.min() - 12 : columns.max() + 12]
    grey = registered.image.mean(axis=2)
    darkest = grey[near] < 120
    assert darkest.sum() > 30  # the dark band is there
    elsewhere = (grey < 120).sum() - darkest.sum()
    assert darkest.sum() > elsewhere


def test_background_is_the_slides_own(section):
    registered = section.register(25)
    assert min(registered.background) > 235
    np.testing.assert_allclose(registered.image[-1, 0], registered.background, atol=1)
