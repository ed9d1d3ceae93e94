import json

import pytest

from atldld.atlas import StructureGraph, open_atlas
from atldld.place import Placement


@pytest.fixture(scope="session")
def graph(shared):
    """The genuine graph of 1,327 structures."""
    return StructureGraph.from_file(shared / "atlas" / "structure_graph_1.json")


@pytest.fixture(scope="session")
def real_atlas(shared, graph):
    """The genuine annotation at 25 µm."""
    return open_atlas(annotation=shared / "atlas" / "annotation_25.nrrd", graph=graph)


@pytest.fixture(scope="session")
def demo_session(tmp_path_factory):
    """One session for all, so that each volume of the demo brain is made once."""
    from atldld.demo.local import in_process_session

    with in_process_session(tmp_path_factory.mktemp("cache")) as session:
        yield session


@pytest.fixture(scope="session")
def demo_atlas(demo_session):
    return open_atlas(100, session=demo_session)


@pytest.fixture(scope="session")
def prox1(shared):
    """Section image 69177654, of which there is a picture, and its placement."""
    from atldld.records import SectionDataSet

    records = json.loads((shared / "datasets" / "69289763.json").read_text())
    dataset = SectionDataSet.from_records(records["section_data_set"], records["section_images"])
    image = dataset.image(69177654)
    return image, Placement.of(dataset, image)
