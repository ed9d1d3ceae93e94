"""Folders and stores of the demo brain, as the commands leave them."""

import warnings

import pytest

from atldld.api import open_dataset
from atldld.atlas import open_atlas
from atldld.atlas.outlines import Selection
from atldld.sections.download import download_dataset
from atldld.sections.drawings import Drawing, write_drawing
from atldld.sections.register import Recipe

RESOLUTION = 100


@pytest.fixture(scope="session")
def demo_session(tmp_path_factory):
    from atldld.demo.local import in_process_session

    with in_process_session(tmp_path_factory.mktemp("cache")) as session:
        yield session


@pytest.fixture(scope="session")
def demo_atlas(demo_session):
    return open_atlas(100, session=demo_session)


def opened(dataset_id, session):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the genuine records lack is not the matter here
        return open_dataset(dataset_id, session=session)


@pytest.fixture(scope="session")
def coronal(demo_session, demo_atlas, tmp_path_factory):
    """A data set, and its folder with masks and outlines."""
    pytest.importorskip("shapely")
    folder = tmp_path_factory.mktemp("coronal")
    dataset = opened(909, demo_session)
    recipe = Recipe(RESOLUTION, expression=True)
    download_dataset(dataset.id, folder, recipe, session=demo_session)
    # of another resolution than the pictures
    drawing = Drawing("geojson", "reference", 50, selection=Selection(depth=3))
    for section in dataset.sections[3:6]:
        write_drawing(section, demo_atlas, drawing, folder, session=section.session)
    return dataset, folder


@pytest.fixture(scope="session")
def sagittal(demo_session, demo_atlas, tmp_path_factory):
    """The same of sagittal sections, tilted by a degree, laid out as atldld 0.3 had them."""
    pytest.importorskip("shapely")
    folder = tmp_path_factory.mktemp("sagittal")
    dataset = opened(69289763, demo_session)
    recipe = Recipe(RESOLUTION, downsample=6, layout="0.3")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        download_dataset(dataset.id, folder, recipe, session=demo_session)
    drawing = Drawing("geojson", "reference", RESOLUTION, selection=Selection(depth=3))
    write_drawing(dataset.sections[5], demo_atlas, drawing, folder, session=dataset.session)
    return dataset, folder
