import csv
import io
import os
from typing import Any

import numpy as np
import pytest

from atldld.atlas import StructureGraph
from atldld.errors import InvalidInputError, NotFoundError
from atldld.regions.table import ids_within


def node(id, acronym, parent=None, children=(), **more):
    return {
        "id": id,
        "acronym": acronym,
        "name": f"the {acronym}",
        "color_hex_triplet": "019399",
        "parent_structure_id": parent,
        "children": list(children),
        **more,
    }


def small():
    leaves = [node(4, "x", 2), node(5, "X", 2)]
    return StructureGraph.from_answer(
        [node(1, "root", None, [node(2, "a", 1, leaves), node(3, "b", 1)])]
    )


def test_the_genuine_graph(graph):
    assert len(graph) == 1327
    assert [one.graph_order for one in graph] == sorted(one.graph_order for one in graph)
    root = next(iter(graph))
    assert (root.id, root.depth, root.parent_id, root.path) == (997, 0, None, (997,))
    sg = graph[632]
    assert (sg.acronym, sg.color, sg.parent_id, sg.depth) == ("DG-sg", "66A83D", 726, 8)
    assert sg.rgb == (0x66, 0xA8, 0x3D)
    assert graph.ancestors(632)[-1] == 726
    assert 632 in graph.descendants(graph.find("HPF").id)
    assert graph.descendants(632) == (632,)
    assert 632 in graph.children(726)
    assert not graph.synthetic
    # every structure's path is its parent's and itself
    for one in graph:
        assert one.path[-1] == one.id
        assert one.parent_id is None or one.path[:-1] == graph[one.parent_id].path
    assert set(graph.descendants(997)) == {one.id for one in graph}
    assert all(not graph.children(leaf) for leaf in graph.leaves)


def test_colours_keep_their_leading_zeros(graph):
    assert graph[184].color == "268F45"
    assert any(one.color.startswith("0") for one in graph)
    assert all(len(one.color) == 6 for one in graph)


def test_a_flat_list_of_rows_makes_the_same_graph(graph):
    rows = [
        {
            "id": one.id,
            "acronym": one.acronym,
            "name": one.name,
            "color_hex_triplet": one.color,
            "parent_structure_id": one.parent_id,
            "graph_order": one.graph_order,
            "st_level": one.st_level,
            "structure_id_path": "/" + "/".join(map(str, one.path)) + "/",
        }
        for one in graph
    ]
    for listed in (rows, rows[::-1]):
        assert StructureGraph.from_answer({"success": True, "msg": listed}).structures == (
            graph.structures
        )


@pytest.mark.parametrize(
    "what", [632, "632", "DG-sg", "dg-SG", "dentate gyrus, granule cell LAYER"]
)
def test_find(graph, what):
    assert graph.find(what).id == 632


def test_find_tells_capitals_apart_where_they_differ_in_nothing_else():
    graph = small()
    assert (graph.find("x").id, graph.find("X").id) == (4, 5)
    assert graph.find("A").id == 2
    doubled = StructureGraph.from_answer([node(1, "a"), node(2, "a")])
    with pytest.raises(InvalidInputError, match=r"1 \(a.*2 \(a"):
        doubled.find("A")


def test_what_there_is_not_is_said_with_what_looks_like_it(graph):
    with pytest.raises(NotFoundError, match=r"Did you mean DG \(Dentate gyrus\)"):
        graph.find("dentate girus")
    with pytest.raises(NotFoundError, match="no structure 5"):
        small()[50]
    with pytest.raises(NotFoundError, match="acronym such as"):
        small().find("qqqqqq")


def test_roll_up():
    graph = small()
    ids = np.array([[0, 1, 2], [3, 4, 99]], dtype=np.uint32)
    assert graph.roll_up(ids, depth=1).tolist() == [[0, 1, 2], [3, 2, 99]]
    assert graph.roll_up(ids, depth=0).tolist() == [[0, 1, 1], [1, 1, 99]]
    assert graph.roll_up(ids, to=[2]).tolist() == [[0, 0, 2], [0, 2, 99]]
    # the nearest of those chosen
    assert graph.roll_up(ids, to=[1, 4]).tolist() == [[0, 1, 1], [1, 4, 99]]
    assert graph.roll_up(ids, depth=9).dtype == np.uint32
    assert graph.unknown(ids) == (99,)
    for wrong in ({}, {"depth": 1, "to": [2]}, {"depth": -1}):
        with pytest.raises(InvalidInputError):
            graph.roll_up(ids, **wrong)
    with pytest.raises(NotFoundError):
        graph.roll_up(ids, to=[77])


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"success": False, "msg": "no such graph"}, "no list"),
        ([], "no list"),
        ([{"acronym": "a"}], "id None"),
        ([node(1, "a"), node(1, "b")], "twice"),
        ([node(1, "a", 2), node(2, "b", 1)], "own ancestor"),
        ([{**node(1, "a"), "children": ["x"]}], "'x' stands where"),
        ([{**node(1, "a"), "children": "2, 3"}], "children of structure 1"),
        ({"msg": "no such graph", "id": 0}, "no list"),
        ([node(0, "a")], "id 0"),
        ([node(True, "a")], "id True"),
        ([node(1.5, "a")], "id 1.5"),
        ([node("x1", "a")], "id 'x1'"),
        ([node(2**63, "a")], "9223372036854775808"),
        ([node("997", "a"), node(997.0, "b")], "997 twice"),
        ([node(1, "a", 1)], "own ancestor"),
        ([node(1, "a", "root")], "parent of structure 1 is 'root'"),
        ([node(1, "a"), node(2, "b", 1), node(3, "c", 99)], "3 lies in 99, which the graph lacks"),
        ([{"id": 1}, {"id": 2, "parent_acronym": "a"}], "'parentacronym', which is not read"),
        ([{"id": 1, "structure_id_path": "/997/8/"}], "path of structure 1"),
        ([{"id": 1, "structure_id_path": [997, None, 1]}], "path of structure 1"),
        (
            [node(1, "a"), node(2, "b", 1), {**node(3, "c", 1), "structure_id_path": [1, 2, 3]}],
            "contradicts itself: structure 3 lies in 1 and in 2",
        ),
        ([node(1, "a", None, [node(2, "b", 5)])], "contradicts itself"),
        ([{**node(2, "b", 1), "structure_id_path": "/2/"}], "path says that it is a root"),
        ([{**node(1, "a"), "color_hex_triplet": "blue"}], "colour of structure 1 is 'blue'"),
        ([{"id": 1, "rgb_triplet": [1, 2]}], "colour of structure 1"),
        ([{"id": 1, "rgb_triplet": [1, 2, 256]}], "colour of structure 1"),
        ([{**node(1, "a"), "color_hex_triplet": float("inf")}], "colour of structure 1"),
    ],
)
def test_what_is_no_graph_is_refused(document, said):
    with pytest.raises(InvalidInputError, match=said):
        StructureGraph.from_answer(document)


def test_a_parent_that_is_not_listed_makes_a_root():
    graph = StructureGraph.from_answer([node(5, "a", 4), node(6, "b", 5)])
    assert graph[6].path == (5, 6)
    assert graph[5].depth == 0


# ---- the layouts that are about


def as_allensdk(graph):
    return [
        {
            "acronym": one.acronym,
            "graph_id": 1,
            "graph_order": one.graph_order,
            "id": one.id,
            "name": one.name,
            "structure_id_path": list(one.path),
            "structure_set_ids": [2, 112905828],
            "rgb_triplet": list(one.rgb),
        }
        for one in graph
    ]


def as_pandas(graph, **more):
    """Rows as they come back from a table: numbers with .0, none as NaN, colours as numbers."""
    return [
        {
            "id": float(one.id),
            "acronym": one.acronym,
            "name": one.name,
            "parent_structure_id": float("nan") if one.parent_id is None else float(one.parent_id),
            "color_hex_triplet": int(one.color) if one.color.isdecimal() else one.color,
            "graph_order": float(one.graph_order),
            **more,
        }
        for one in graph
    ]


def as_text(graph):
    return [
        {key: "" if value != value else str(value) for key, value in row.items()}
        for row in as_pandas(graph)
    ]


def as_table(rows, delimiter=","):
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def hierarchy(graph):
    return [(one.id, one.acronym, one.name, one.color.upper(), one.path) for one in graph]


@pytest.mark.parametrize("wrap", ["bare", "msg", "data", "structures", "both"])
@pytest.mark.parametrize("layout", [as_allensdk, as_pandas, as_text])
def test_lists_in_other_layouts_make_the_same_graph(graph, layout, wrap):
    """The kind: a list in another layout made every structure a root, white, without a word."""
    listed = layout(graph)
    document = {
        "bare": listed,
        "msg": {"success": True, "id": 0, "msg": listed},
        "data": {"data": listed},
        "structures": {"structures": listed},
        "both": {"data": {"structures": listed[::-1]}},
    }[wrap]
    assert hierarchy(StructureGraph.from_answer(document)) == hierarchy(graph)


@pytest.mark.parametrize("layout", [as_allensdk, as_pandas, as_text])
@pytest.mark.parametrize(("delimiter", "mark"), [(",", ""), (";", "\ufeff"), ("\t", "")])
def test_tables_make_the_same_graph(graph, tmp_path, layout, delimiter, mark):
    rows = [
        {key: value for key, value in row.items() if not isinstance(value, float) or value == value}
        for row in layout(graph)[1:]
    ]
    root = {**dict.fromkeys(rows[0], ""), **layout(graph)[0]}
    path = tmp_path / "structures.csv"
    path.write_text(mark + as_table([root, *rows], delimiter), "utf-8")
    assert hierarchy(StructureGraph.from_file(path)) == hierarchy(graph)


def test_brainglobes_table():
    rows = [
        {
            "identifier": 1,
            "parent_identifier": "",
            "abbreviation": "r",
            "root_identifier_path": [1],
        },
        {
            "identifier": -4,
            "parent_identifier": 1,
            "abbreviation": "NA",
            "root_identifier_path": [1, -4],
        },
    ]
    for listed in (rows, [{k: str(v) for k, v in row.items()} for row in rows]):
        graph = StructureGraph.from_answer(listed)
        assert [(one.id, one.acronym, one.path) for one in graph] == [
            (1, "r", (1,)),
            (-4, "NA", (1, -4)),
        ]


@pytest.mark.parametrize(
    "path", ["/1/2/3/", "1/2/3", "[1, 2, 3]", "1,2,3", [1, 2, 3], (1.0, 2.0, 3.0), ["1", "2", "3"]]
)
def test_paths_in_all_writings(path):
    graph = StructureGraph.from_answer([{"id": 3, "structure_id_path": path}, {"id": 2}])
    # of what it lies in, the nearest that the list holds
    assert graph[3].path == (2, 3)


@pytest.mark.parametrize(
    ("given", "color"),
    [
        ("19399", "019399"),
        (19399, "019399"),
        (19399.0, "019399"),
        ("19399.0", "019399"),
        ("#0193Ab", "0193Ab"),
        ("#f0A", "ff00AA"),
        ("0x019399", "019399"),
        (0, "000000"),
        (None, "FFFFFF"),
        (float("nan"), "FFFFFF"),
        ([1, 147, 153], "019399"),
        ("[1, 147, 153]", "019399"),
        ("(1.0, 147.0, 153.0)", "019399"),
        (np.array([1, 147, 153]), "019399"),
    ],
)
def test_colours_in_all_writings(given, color):
    for key in ("color_hex_triplet", "rgb_triplet"):
        assert StructureGraph.from_answer([{"id": 1, key: given}])[1].color == color


def test_ids_of_either_sign_and_any_length():
    """Lists for atlases that tell the hemispheres apart."""
    far = 2**32 + 8
    graph = StructureGraph.from_answer([node(1, "r"), node(-997, "l", 1), node(far, "f", -997)])
    same: tuple[Any, ...] = (-997, "-997", "l", -997.0, np.int64(-997))
    for what in same:
        assert graph.find(what).id == -997
    assert graph[far].path == (1, -997, far)
    labels = np.array([1, -997, far])
    assert graph.roll_up(labels, depth=1).tolist() == [1, -997, -997]
    assert graph.unknown(labels) == ()
    # what does not fit into the labels' own type is no other structure
    large = StructureGraph.from_answer([node(997, "r"), node(5, "a", 997)])
    assert large.roll_up(np.array([5, 0], np.uint8), depth=0).tolist() == [997, 0]
    for fractions in ([1.0, np.nan], np.array([997.0])):
        with pytest.raises(InvalidInputError, match="whole numbers"):
            large.roll_up(fractions, depth=0)


def test_a_single_id_or_name_is_no_list():
    graph = small()
    assert graph.roll_up([4, 3], to=2).tolist() == [2, 0]
    assert ids_within(graph, "a") == [2, 4, 5]


def test_a_very_deep_graph_is_read():
    deep = node(1, "n1")
    at = deep
    for k in range(2, 3000):
        at["children"] = [node(k, f"n{k}", k - 1)]
        at = at["children"][0]
    assert StructureGraph.from_answer([deep])[2999].depth == 2998


@pytest.mark.timeout(20)
def test_an_unusable_file(tmp_path):
    """The kind: a path that is no file of structures; reading a pipe would wait for ever."""
    files = {
        "a.json": b"{",
        "empty.json": b"",
        "words.csv": b"nothing of the kind",
        "latin.csv": "id,name\n1,Schläfe".encode("latin-1"),
        "long.csv": b"id,name\n1,a,b,c\n",
        "other.csv": b"a,b\n1,2\n",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    os.mkfifo(tmp_path / "pipe")
    for name in (*files, "none.json", "pipe", "."):
        with pytest.raises(InvalidInputError) as caught:
            StructureGraph.from_file(tmp_path / name)
        assert name == "other.csv" or str(tmp_path / name) in str(caught.value)
    with pytest.raises(InvalidInputError, match="device"):
        StructureGraph.from_file("/dev/zero")
