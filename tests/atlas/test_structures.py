import numpy as np
import pytest

from atldld.atlas import StructureGraph
from atldld.errors import InvalidInputError, NotFoundError


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
        ([{**node(1, "a"), "children": ["x"]}], "id None"),
    ],
)
def test_what_is_no_graph_is_refused(document, said):
    with pytest.raises(InvalidInputError, match=said):
        StructureGraph.from_answer(document)


def test_a_parent_that_is_not_listed_makes_a_root():
    graph = StructureGraph.from_answer([node(5, "a", 4), node(6, "b", 5)])
    assert graph[6].path == (5, 6)
    assert graph[5].depth == 0


def test_a_very_deep_graph_is_read():
    deep = node(1, "n1")
    at = deep
    for k in range(2, 3000):
        at["children"] = [node(k, f"n{k}", k - 1)]
        at = at["children"][0]
    assert StructureGraph.from_answer([deep])[2999].depth == 2998


def test_an_unusable_file(tmp_path):
    (tmp_path / "a.json").write_text("{")
    for name in ("a.json", "none.json"):
        with pytest.raises(InvalidInputError, match=name):
            StructureGraph.from_file(tmp_path / name)
