"""Arguments of the whole Python interface, as NumPy, pandas and generators give them.

The kind of fault: an argument that is right for a person is wrong for the code, because it is
NumPy's number, a column of a table, a generator, or one name where several may be. It is taken as
it is meant, or refused in one sentence of the error tree; never is a text taken apart into letters.
"""

import inspect
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pytest

import atldld
from atldld.api import DataSet, Section, assess, open_dataset, quantify
from atldld.atlas.outlines import Selection, section_outlines
from atldld.batch import Download, run_batch
from atldld.errors import AtldldError, InvalidInputError
from atldld.find import search
from atldld.formats import write_field, write_quicknii
from atldld.place import (
    image_to_image,
    image_to_image_2d,
    image_to_reference,
    reference_to_image,
    structure_to_image,
)
from atldld.place.spaces import Grid, Plane, ReferenceSpace
from atldld.quality import assess_pictures
from atldld.regions.grids import fetch_grid
from atldld.regions.table import ids_within
from atldld.report import open_source
from atldld.sections.download import download_dataset
from atldld.sections.drawings import Drawing
from atldld.sections.images import save_image
from atldld.sections.register import Recipe
from atldld.support import arguments

ID = 909
IMAGE = 101321610
COARSE = 400


def numbers(value):
    """A whole number in all the kinds that are met."""
    return (
        [
            value,
            np.int64(value),
            np.int32(value),
            np.uint16(value % 60000),
            np.array(value),
            np.float64(value),
        ]
        if value < 60000
        else [
            value,
            np.int64(value),
            np.uint32(value),
            np.array(value),
            np.float64(value),
        ]
    )


def ids(value):
    return [*numbers(value), str(value), np.str_(value)]


def steps(value):
    return [
        value,
        float(value),
        np.float32(value),
        np.float64(value),
        np.int64(value),
        np.array(value),
    ]


def lists(*values):
    """Several values in all the kinds of collections that are met."""
    return [
        list(values),
        tuple(values),
        np.array(values),
        np.array(values, dtype=object),
        pd.Series(values, index=range(5, 5 + len(values))),
        pd.Index(values),
        pd.DataFrame({"column": list(values)})["column"],
        Again(lambda: (value for value in values)),
    ]


@dataclass
class Again:
    """A generator anew for each call."""

    make: Any


NO_IDS = [True, np.bool_(True), 0, -5, 2.5, "x", "", None, [], np.array([1.5]), object()]
NO_LENGTHS = [True, np.bool_(True), 0, -1, "25", np.nan, np.inf, None, [25], object()]
NO_TIERS = [True, np.bool_(False), -1, 2.5, "x", None, [1], np.array([1, 2]), object()]
NO_STRUCTURES = [True, [True], [None], 2.5, "nothing of that name", ["CH", "nothing"], [object()]]


@dataclass
class Case:
    """One argument of one function: values that mean the same, and values that mean nothing."""

    call: Any
    good: list[Any]
    bad: list[Any] = field(default_factory=list)


def of(value):
    return value.make() if isinstance(value, Again) else value


def plainly(result):
    """Return a result as something that can be compared."""
    if isinstance(result, np.ndarray):
        return result.dtype.kind, result.tolist()
    if isinstance(result, (list, tuple, map)) or inspect.isgenerator(result):
        return [plainly(one) for one in result]
    for name in ("xy", "pir", "image", "data", "mask"):
        if hasattr(result, name) and isinstance(getattr(result, name), np.ndarray):
            return plainly(getattr(result, name))
    if hasattr(result, "to_rows"):
        return result.to_rows()
    if hasattr(result, "columns") and hasattr(result, "rows"):
        return repr(list(result.rows()))
    if hasattr(result, "sections"):
        return [section.id for section in result.sections]
    if hasattr(result, "id"):
        return result.id
    if hasattr(result, "polygons"):
        return result.area
    return result


def cases(session, dataset, atlas, regions, tmp_path):
    record = dataset.record
    section = dataset.sections[6]
    other = session.dataset(71717084)
    names = [one.acronym for one in atlas.graph][3:5]
    two = [atlas.graph.find(name).id for name in names]
    center = atldld.StructureCenter(two[0], 6000.0, 4000.0, 5000.0, 9)
    labels = atlas.annotation[60]
    to = iter(range(1000))

    def registered(**options):
        return list(dataset.register(COARSE, jobs=1, **options))

    def written(path):
        return path.read_text("utf-8").replace(str(path), "")

    def new(ending=""):
        return tmp_path / f"{next(to)}{ending}"

    def stored(paths):
        return np.load(paths[0])

    return {
        # finding and opening
        "open_dataset": [Case(lambda v: open_dataset(v, session=session), ids(ID), NO_IDS)],
        "neighbours": [
            Case(lambda v: atldld.neighbours(v, session=session)[0].data_set.id, ids(ID), NO_IDS)
        ],
        "search": [
            Case(
                lambda v: search(id=v, session=session).ids,
                [*ids(ID), *lists(ID), *lists("909")],
                [True, np.bool_(True), [True], 1.5, "x", [None], [np.nan]],
            ),
            Case(
                lambda v: search(gene=v, session=session).ids,
                ["Prox1", np.str_("Prox1"), *lists("Prox1")],
                [True, np.bool_(True), [np.nan], pd.Series(["Prox1", None]), [b"Prox1"]],
            ),
            Case(lambda v: search(gene=v, session=session).ids, lists("Prox1", "Pdyn")),
            Case(lambda v: search("image", dataset=v, session=session).ids, [*ids(ID), *lists(ID)]),
            Case(
                lambda v: search(gene="Pdyn", plane=v, session=session).ids,
                ["coronal", np.str_("coronal"), 1, np.int64(1), 1.0, *lists(1), *lists("coronal")],
                [True, ["sideways"], [np.nan]],
            ),
            Case(lambda v: search(gene="Pdyn", space=v, session=session).ids, [*numbers(9)]),
            Case(
                lambda v: search(id=ID, min_sections=v, session=session).ids,
                numbers(3),
                [True, np.bool_(True), -1, 2.5, "x"],
            ),
            Case(
                lambda v: search(id=ID, resolution=v, session=session).ids,
                steps(9),
                [True, -1, "x", np.nan],
            ),
            Case(lambda v: search(id=ID, failed=v, session=session).ids, [True, np.bool_(True)]),
            Case(
                lambda v: search("gene", name="Prox1", organism=v, session=session).ids,
                ["mouse", np.str_("mouse"), 2, np.int64(2)],
                [["mouse", "human"], True],
            ),
            Case(
                lambda v: search(v, id=ID, session=session).ids,
                ["dataset", np.str_("dataset")],
                [["dataset"], 5, None, "datasets"],
            ),
        ],
        "fetch_grid": [
            Case(lambda v: fetch_grid(v, session=session).dataset_id, ids(69289763), NO_IDS),
            Case(
                lambda v: sorted(fetch_grid(69289763, session=session, kinds=v).data),
                ["energy", np.str_("energy"), *lists("energy")],
                ["sum", [], [5]],
            ),
        ],
        "open_atlas": [
            Case(
                lambda v: atldld.open_atlas(v, session=session).resolution,
                steps(100),
                [True, "100", np.nan, 33, [100]],
            ),
            Case(
                lambda v: atldld.open_atlas(100, name=v, session=session).name,
                ["ccf_2017", np.str_("ccf_2017")],
                [5, None, True],
            ),
        ],
        "open_source": [Case(lambda v: open_source(v, session=session).dataset, ids(ID)[:5])],
        # sections
        "DataSet.section": [
            Case(dataset.section, ids(IMAGE), NO_IDS),
            Case(
                lambda v: dataset.section(number=v),
                numbers(dataset.sections[3].number),
                [True, -1, 2.5, "x", None, [5]],
            ),
        ],
        "DataSet.chosen": [
            Case(dataset.chosen, [section, *lists(section)][:5], [5, IMAGE, "x", [section, 5]])
        ],
        "DataSet.register": [
            Case(lambda v: next(iter(dataset.register(v))), steps(COARSE), NO_LENGTHS),
            Case(lambda v: registered(downsample=v, sections=section), numbers(3), NO_TIERS),
            Case(lambda v: registered(downsample=v, sections=section), ["auto", np.str_("auto")]),
            Case(
                lambda v: registered(sections=v),
                [
                    section,
                    [section],
                    (section,),
                    np.array([section], dtype=object),
                    pd.Series([section]),
                    Again(lambda: (one for one in [section])),
                ],
                [5, IMAGE, "x", [section, 5], True],
            ),
            Case(
                lambda v: registered(expression=v, sections=section)[0].mask, [True, np.bool_(True)]
            ),
            Case(
                lambda v: registered(cut="parallel", detection_xy=v, sections=section),
                [*lists(5, 7)[:3], pd.Series([5, 7]), np.array([5, 7], dtype=np.float32)],
                ["x", 5, [5], [1, 2, 3], [np.nan, 1], [[1, 2]]],
            ),
            Case(
                lambda v: registered(cut=v, sections=section),
                ["parallel", np.str_("parallel")],
                ["slanted", True, 5],
            ),
            Case(
                lambda v: list(dataset.register(COARSE, sections=section, jobs=v)),
                [1, np.int64(1)],
                [0, -1, "2", 1.5, True],
            ),
        ],
        "DataSet.volume": [
            Case(lambda v: dataset.volume(v), steps(800), NO_LENGTHS),
            Case(lambda v: dataset.volume(800, thickness=v), steps(50), NO_LENGTHS[:-3]),
            Case(lambda v: dataset.volume(800, channel=v), ["image", np.str_("image")], ["x", 5]),
        ],
        "build_volume": [
            Case(
                lambda v: atldld.build_volume(v, 800),
                [dataset, [dataset], (dataset,), Again(lambda: (one for one in [dataset]))],
                [ID, "909", [ID], [], None],
            ),
        ],
        "DataSet.write_volume": [
            Case(lambda v: stored(dataset.write_volume(new(".npy"), v)), steps(800), NO_LENGTHS),
            Case(
                lambda v: stored(dataset.write_volume(v, 800, force=True)),
                [str(tmp_path / "v.npy"), tmp_path / "v.npy"],
                [tmp_path / "v.xyz", "nothing"],
            ),
        ],
        "write_volume": [
            Case(
                lambda v: stored(atldld.write_volume(v, new(".npy"), 800)),
                [dataset, [dataset], (dataset,), Again(lambda: (one for one in [dataset]))],
                [ID, "909", [ID], [], None],
            ),
        ],
        "Section.pixels": [Case(section.pixels, numbers(3), NO_TIERS)],
        "Section.register": [
            Case(section.register, steps(COARSE), NO_LENGTHS),
            Case(lambda v: section.register(COARSE, downsample=v), numbers(3), NO_TIERS),
        ],
        "Section.annotation": [
            Case(lambda v: section.annotation(atlas, v), steps(COARSE), NO_LENGTHS),
            Case(
                lambda v: section.annotation(atlas, downsample=v),
                numbers(3),
                [True, -1, 2.5, "x", [1], 40],
            ),
        ],
        "Section.outlines": [
            Case(
                lambda v: section.outlines(atlas, COARSE, structures=v),
                [
                    names[0],
                    np.str_(names[0]),
                    two[0],
                    np.int64(two[0]),
                    *lists(names[0]),
                    *lists(two[0]),
                ],
                NO_STRUCTURES,
            ),
            Case(lambda v: section.outlines(atlas, COARSE, structures=v), lists(*names)),
            Case(
                lambda v: section.outlines(atlas, COARSE, depth=v), numbers(1), [True, -1, 1.5, "x"]
            ),
            Case(
                lambda v: section.outlines(atlas, COARSE, tolerance=v),
                steps(1),
                [True, -1, "1", np.nan],
            ),
            Case(
                lambda v: section_outlines(section, atlas, downsample=v),
                numbers(4),
                [True, -1, 2.5, "x"],
            ),
        ],
        "Selection": [
            Case(
                lambda v: Selection(structures=v).structures,
                [names[0], np.str_(names[0]), *lists(names[0])],
                [True, [2.5], [None]],
            ),
            Case(
                lambda v: Drawing(selection=Selection(structures=v)).check_structures(atlas),
                [names[0], *lists(names[0]), *lists(two[0])],
                ["nothing", ["nothing"]],
            ),
        ],
        # the atlas
        "StructureGraph.find": [
            Case(
                atlas.graph.find,
                [*ids(two[0]), names[0], np.str_(names[0])],
                [True, None, 2.5, [names[0]], "nothing"],
            ),
        ],
        "StructureGraph.children": [
            Case(
                atlas.graph.children,
                ids(two[0]),
                [True, np.bool_(True), None, 2.5, "CH", np.nan, [5], -1],
            ),
        ],
        "StructureGraph.roll_up": [
            Case(
                lambda v: atlas.graph.roll_up(labels, to=v),
                [names[0], two[0], np.int64(two[0]), *lists(two[0]), *lists(names[0])],
                NO_STRUCTURES,
            ),
            Case(lambda v: atlas.graph.roll_up(labels, depth=v), numbers(1), [True, -1, 1.5, "x"]),
            Case(
                lambda v: atlas.graph.roll_up(v, depth=0),
                [list(two), np.array(two), pd.Series(two), pd.Index(two)],
            ),
        ],
        "ids_within": [
            Case(
                lambda v: ids_within(atlas.graph, v),
                [names[0], np.str_(names[0]), two[0], np.int64(two[0]), *lists(names[0])],
                NO_STRUCTURES,
            ),
        ],
        # tables, figures
        "quantify": [
            Case(
                lambda v: quantify(dataset, atlas, v, grid=False, unionize=False),
                steps(200),
                NO_LENGTHS,
            ),
            Case(
                lambda v: quantify(dataset, atlas, 200, threshold=v, grid=False, unionize=False),
                numbers(20),
                [True, -1, 255, 2.5, "20", None],
            ),
            Case(
                lambda v: quantify(dataset, atlas, 200, stain_threshold=v),
                [0.5, np.float64(0.5), np.float32(0.5)],
                [True, 0, 1, "0.5", np.nan],
            ),
            Case(
                lambda v: quantify(dataset, atlas, 200, sections=v, grid=False, unionize=False),
                [section, [section], Again(lambda: (one for one in [section]))],
                [5, [5], [], True],
            ),
        ],
        "RegionTable.select": [
            Case(
                regions.select,
                [two[0], np.int64(two[0]), *lists(two[0])],
                ["CH", [True], [2.5], True],
            ),
            Case(
                lambda v: regions.select(hemispheres=v),
                ["left", np.str_("left"), *lists("left")],
                ["up", ["up"], [5]],
            ),
            Case(lambda v: regions.select(depth=v), numbers(1), [True, -1, 1.5, "x"]),
            Case(lambda v: regions.select(kinds=v), ["structure", *lists("structure")]),
        ],
        "RegionTable.row": [Case(regions.row, [two[0], np.int64(two[0]), names[0]], [5, "x"])],
        "quality": [
            Case(
                lambda v: atldld.quality(dataset, None, resolution=v),
                steps(300)[1:4],
                NO_LENGTHS,
            ),
            Case(lambda v: atldld.quality(v, None, session=session, resolution=300), [ID], NO_IDS),
        ],
        "DataSet.quality": [
            Case(lambda v: dataset.quality(None, resolution=v), steps(300)[1:4], NO_LENGTHS),
            Case(lambda v: dataset.quality(v, resolution=300), [None], [5, "x", True, [atlas]]),
        ],
        "assess": [
            Case(lambda v: assess(dataset, resolution=v), steps(300)[1:4], NO_LENGTHS),
            Case(lambda v: assess(dataset, resolution=300, jobs=v), [1, np.int64(1)], [0, "x"]),
        ],
        "DataSet.assess": [
            Case(lambda v: dataset.assess(resolution=v), steps(300)[1:4], NO_LENGTHS),
        ],
        "DataSet.quantify": [
            Case(
                lambda v: dataset.quantify(atlas, v, grid=False, unionize=False),
                steps(200)[1:4],
                NO_LENGTHS,
            ),
        ],
        "DataSet.refine": [
            Case(
                lambda v: dataset.refine(atlas, resolution=v, steps=[]).moved,
                [100, np.int64(100), np.float32(100)],
                [True, 5, "x", np.nan],
            ),
            Case(
                lambda v: dataset.refine(atlas, resolution=200, steps=v).moved,
                ["whole", *lists("whole")],
                [True, ["spline"], "spline"],
            ),
        ],
        "refine": [
            Case(
                lambda v: atldld.refine(v, atlas, session=session, steps=[]).moved,
                ids(ID)[:3],
                NO_IDS,
            ),
        ],
        "volume": [
            Case(lambda v: atldld.volume(v, 800, session=session), ids(ID)[:3], NO_IDS),
            Case(lambda v: atldld.volume(dataset, 800, fill=v), ["none", np.str_("none")], ["x"]),
        ],
        "download": [
            Case(
                lambda v: atldld.download(v, new(), COARSE, session=session).written,
                ids(ID)[:3],
                NO_IDS,
            ),
        ],
        "DataSet.download": [
            Case(lambda v: dataset.download(new(), v).written, steps(COARSE)[:4], NO_LENGTHS),
            Case(
                lambda v: dataset.download(new(), COARSE, downsample=v).written,
                numbers(4)[:2],
                NO_TIERS,
            ),
        ],
        "report": [
            Case(
                lambda v: open_source(str(v), session=session).dataset,
                ids(ID)[:3],
            ),
            Case(
                lambda v: v if v is dataset else atldld.report(v, new(".html")), [dataset], NO_IDS
            ),
        ],
        "DataSet.report": [
            Case(
                lambda v: v if v == "x.html" else dataset.report(v),
                ["x.html"],
                ["x.txt", tmp_path / "x.csv"],
            ),
        ],
        "DataSet.at": [
            Case(
                lambda v: dataset.at(v).xy,
                [(6000, 4000, 5000), *lists(6000, 4000, 5000)[:3], pd.Series([6000, 4000, 5000])],
                ["x", 5, None, (1, 2), [(1, 2, 3)] * 2, (1, 2, np.nan)],
            ),
        ],
        "DataSet.sections_near": [
            Case(
                lambda v: dataset.sections_near(v, atlas),
                [names[0], np.str_(names[0]), two[0], np.int64(two[0]), *lists(names[0])],
                NO_STRUCTURES,
            ),
            Case(
                lambda v: dataset.sections_near(names[0], atlas, within=v),
                steps(100),
                [True, -1, "x", np.nan, None],
            ),
        ],
        "assess_pictures": [
            Case(
                lambda v: assess_pictures(v, resolution=COARSE),
                [Again(lambda: dataset.register(COARSE)), Again(lambda: registered())],
            ),
        ],
        # points
        "image_to_reference": [
            Case(
                lambda v: image_to_reference(record, v, [(5, 7)]),
                [*ids(IMAGE), *lists(IMAGE), *lists(str(IMAGE)), pd.Series([float(IMAGE)])],
                [True, [True], "x", [2.5], [np.nan], [IMAGE, IMAGE], [[IMAGE]], 5],
            ),
            Case(
                lambda v: image_to_reference(record, IMAGE, v),
                [
                    [(5, 7)],
                    np.array([(5, 7)]),
                    pd.DataFrame({"x": [5], "y": [7]}),
                    np.array([(5, 7)], dtype=np.float32),
                ],
                ["x", [1], [(1, 2, 3)], [(np.nan, 1)], None],
            ),
        ],
        "reference_to_image": [
            Case(
                lambda v: reference_to_image(
                    record, [(6000, 4000, 5000)], space=v, beyond="ignore"
                ),
                [9, np.int64(9), np.array(9), ReferenceSpace.P56],
                [True, 5, 99, "x", 2.5, [9]],
            ),
            Case(
                lambda v: reference_to_image(record, [(6000, 4000, 5000)], max_distance=v),
                [*steps(9000), np.inf],
                [True, -1, "x", np.nan, [5]],
            ),
        ],
        "image_to_image": [
            Case(
                lambda v: image_to_image(record, v, [(5, 7)], other, beyond="ignore"),
                [*ids(IMAGE), *lists(IMAGE)],
                [True, "x", 5],
            ),
        ],
        "image_to_image_2d": [
            Case(
                lambda v: image_to_image_2d(record, v, [(5, 7)], record, IMAGE), ids(IMAGE), NO_IDS
            ),
            Case(
                lambda v: image_to_image_2d(record, IMAGE, [(5, 7)], record, v), ids(IMAGE), NO_IDS
            ),
        ],
        "structure_to_image": [
            Case(
                lambda v: structure_to_image(record, v, [center], beyond="ignore"),
                [*ids(two[0]), *lists(two[0])],
                [True, "x", [2.5], [True]],
            ),
        ],
        # places
        "Grid": [
            Case(lambda v: Grid(Plane.CORONAL, v).shape, steps(COARSE), NO_LENGTHS),
            Case(
                lambda v: Grid(v, COARSE).shape,
                [Plane.CORONAL, "coronal", np.str_("coronal")],
                ["x", 1, None, True],
            ),
        ],
        "ReferenceSpace": [
            Case(
                lambda v: ReferenceSpace.of(v).id,
                [9, np.int64(9), np.array(9), 9.0],
                [True, np.bool_(True), 99, "x", None, [9]],
            ),
            Case(ReferenceSpace.P56.shape, steps(100), NO_LENGTHS),
            Case(
                lambda v: ReferenceSpace.P56.to_voxels([(100, 100, 100)], v), steps(100), NO_LENGTHS
            ),
            Case(lambda v: ReferenceSpace.P56.to_um([(1, 1, 1)], v), steps(100), NO_LENGTHS),
        ],
        # files
        "download_dataset": [
            Case(
                lambda v: download_dataset(v, new(), Recipe(COARSE), session=session).written,
                ids(ID)[:3],
                NO_IDS,
            ),
            Case(
                lambda v: download_dataset(ID, new(), Recipe(v), session=session).written,
                steps(COARSE)[:4],
                NO_LENGTHS,
            ),
            Case(
                lambda v: (
                    download_dataset(
                        ID, new(), Recipe(COARSE, downsample=v), session=session
                    ).written
                ),
                numbers(4)[:2],
                NO_TIERS,
            ),
        ],
        "save_image": [
            Case(lambda v: len(save_image(session, v, new(), downsample=4)), ids(IMAGE), NO_IDS),
            Case(
                lambda v: len(save_image(session, IMAGE, new(), downsample=v)), numbers(4), NO_TIERS
            ),
        ],
        "write_quicknii": [
            Case(
                lambda v: written(write_quicknii(dataset, new(".json"), downsample=v)),
                numbers(3),
                NO_TIERS,
            ),
        ],
        "write_field": [
            Case(
                lambda v: (
                    write_field(section, section.register(COARSE).plane, new(".npy"), downsample=v)
                    .stat()
                    .st_size
                ),
                numbers(3),
                NO_TIERS,
            ),
        ],
        "run_batch": [
            Case(
                lambda v: len(
                    run_batch(
                        v,
                        new(),
                        Download(
                            Recipe(
                                np.float32(COARSE),  # type: ignore[arg-type]
                                downsample=np.int64(4),  # type: ignore[arg-type]
                                cut="parallel",
                                detection_xy=np.array([5, 7]),
                            )
                        ),
                        session=session,
                    ).failed
                ),
                [ID, np.int64(ID), *lists(ID), *lists("909")],
                [True, [True], "x", [2.5], [], None],
            ),
        ],
    }


NAMES = re.findall(r'^        "([\w.]+)": \[', inspect.getsource(cases), re.MULTILINE)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    from atldld.demo.local import in_process_session

    folder = tmp_path_factory.mktemp("arguments")
    with in_process_session(folder / "cache") as session:
        dataset = open_dataset(ID, session=session)
        atlas = atldld.open_atlas(100, session=session)
        regions = quantify(dataset, atlas, 200, grid=False, unionize=False)
        yield cases(session, dataset, atlas, regions, folder)


# Values, and functions whose arguments are looked at nowhere else than in their own tests: maps of
# points and matrices, which take any array, and settings.
ELSEWHERE = {
    *("Affine", "Cache", "DisplacementField", "Limits", "OutputPlane", "Placement", "Session"),
    *("Settings", "image_to_atlas", "Plane"),
}
VALUES = {
    *("Atlas", "AtldldError", "DatasetQuality", "ExpressionGrid", "ImagePoints"),
    *("ReferencePoints", "RegisteredSection", "Search", "SectionDataSet", "SectionGeometry"),
    *("SectionImage", "SectionQuality", "Sections", "Spot", "StructureCenter", "Volume"),
    "__version__",
}


def test_every_public_function_is_in_the_table(table):
    heads = {name.partition(".")[0] for name in table}
    package: Any = atldld  # type checkers do not know its `__all__`
    assert set(package.__all__) - heads <= ELSEWHERE | VALUES | {"RegionTable"}
    methods = {
        f"{kind.__name__}.{name}"
        for kind in (DataSet, Section)
        for name, member in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_") and len(inspect.signature(member).parameters) > 1
    }
    # these take any array of points
    assert methods - table.keys() == {"Section.to_reference", "Section.to_image"}


MARKED = [
    pytest.param(name, marks=pytest.mark.long) if name in ("report", "DataSet.refine") else name
    for name in NAMES
]


def shown(value):
    return f"{type(value).__name__} {value!r}"


@pytest.mark.one_in(3)
@pytest.mark.filterwarnings("ignore::atldld.errors.ServiceWarning")
@pytest.mark.parametrize("name", MARKED)
def test_what_means_the_same_gives_the_same(table, name):
    for number, case in enumerate(table[name]):
        first, *others = case.good
        expected = plainly(case.call(of(first)))
        for value in others:
            try:
                found = plainly(case.call(of(value)))
            except Exception as error:
                raise AssertionError(f"{name}, case {number}: {shown(value)}: {error!r}") from error
            assert found == expected, (name, number, shown(value))


@pytest.mark.filterwarnings("ignore::atldld.errors.ServiceWarning")
@pytest.mark.parametrize("name", MARKED)
def test_what_means_nothing_is_refused_in_one_sentence(table, name):
    for number, case in enumerate(table[name]):
        for value in case.bad:
            try:
                plainly(case.call(of(value)))
            except AtldldError as error:
                # one sentence, whatever ids and hints follow
                assert error.message.endswith((".", "?")), error  # noqa: PT017
            except Exception as error:
                raise AssertionError(f"{name}, case {number}: {shown(value)}: {error!r}") from error
            else:
                raise AssertionError(f"{name}, case {number}: {shown(value)} is accepted")


def test_the_helpers():
    assert arguments.several("CTX") == ["CTX"]
    assert arguments.several(np.array("CTX")) == ["CTX"]
    assert arguments.several(number for number in (1, 2)) == [1, 2]
    assert [type(one) for one in arguments.several(np.array([1, 2]))] == [int, int]
    assert not any(
        map(arguments.is_given, (None, "", [], (), np.array([]), pd.Series([], dtype=int)))
    )
    assert all(map(arguments.is_given, (0, False, "x", [0], np.array([0]), np.int64(0))))
    with pytest.raises(InvalidInputError, match="at least 3"):
        arguments.check_whole(2, "number", least=3)
    with pytest.raises(InvalidInputError, match="from 0 to 4"):
        arguments.check_whole(5, "number", most=4)
    with pytest.raises(InvalidInputError, match="positive number of µm"):
        arguments.check_number(10**400, "resolution", above=0, unit="µm")
