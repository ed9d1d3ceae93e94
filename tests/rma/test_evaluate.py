from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atldld.rma.budget import Budget, BudgetError, Limits, QueryError
from atldld.rma.evaluate import Answer, encode, run
from atldld.rma.parse import RMASyntaxError, parse

DATA = Path(__file__).parents[2] / ".." / "shared" / "data" / "datasets"

TABLES: dict[str, list[dict[str, Any]]] = {
    "SectionDataSet": [
        {
            "id": 30,
            "failed": False,
            "name": None,
            "section_thickness": 25.0,
            "plane_of_section_id": 2,
            "reference_space_id": 10,
            "alignment3d": {"id": 7, "trv_00": 1.5},
            "genes": [{"id": 1, "acronym": "Prox1"}],
            "products": [
                {"id": 3, "abbreviation": "DevMouse"},
                {"id": 1, "abbreviation": "Mouse"},
            ],
            "specimen": {
                "id": 4,
                "name": "05-0660",
                "donor": {"id": 5, "sex": "M", "age": {"id": 15, "name": "P56"}},
            },
        },
        {
            "id": 10,
            "failed": False,
            "name": "x, [y]",
            "section_thickness": 25.0,
            "plane_of_section_id": 1,
            "reference_space_id": 9,
            "alignment3d": None,
            "genes": [{"id": 2, "acronym": "Gabra1"}, {"id": 1, "acronym": "Prox1"}],
            "products": [{"id": 1, "abbreviation": "Mouse"}],
            "specimen": {
                "id": 6,
                "name": "other",
                "donor": {"id": 8, "sex": "F", "age": {"id": 16, "name": "P14"}},
            },
        },
        {
            "id": 20,
            "failed": True,
            "name": "gabra",
            "section_thickness": 100.0,
            "plane_of_section_id": 1,
            "reference_space_id": 9,
            "products": [],
        },
    ],
    "SectionImage": [
        {"id": 303, "data_set_id": 30, "section_number": 8, "alignment2d": {"id": 93}},
        {"id": 301, "data_set_id": 30, "section_number": 16, "alignment2d": {"id": 91}},
        {"id": 302, "data_set_id": 30, "section_number": None},
        {"id": 101, "data_set_id": 10, "section_number": 4},
        {"id": 102, "data_set_id": 10, "section_number": 2},
    ],
    "PlaneOfSection": [{"id": 1, "name": "coronal"}, {"id": 2, "name": "sagittal"}],
}


def ask(text: str, **kwargs: Any) -> Answer:
    return run(parse(text), TABLES, **kwargs)


def ids(text: str, **kwargs: Any) -> list[int]:
    return [row["id"] for row in ask(text, **kwargs).rows]


# ---- any text

PIECES = """
model:: SectionDataSet rma::criteria rma::include rma::options , , [ ] [ ] ( ) ' ' $eq $in $li
id genes products.id data_sets.id num_rows all order true null * 3 -1 $asc .
"""
pieces = st.lists(st.sampled_from(PIECES.split()), max_size=25).map("".join)


@given(
    st.one_of(st.text(), pieces),
    st.sampled_from(["", "model::SectionDataSet", "model::SectionDataSet,rma::options[order$eq"]),
)
def test_arbitrary_text_raises_nothing_but_syntax_errors(text: str, start: str) -> None:
    for model in (None, "SectionDataSet"):
        try:
            query = parse(start + text, model=model, include=text, options={"order": text})
        except RMASyntaxError:
            continue
        assert query.model


@given(pieces)
def test_arbitrary_queries_are_answered_or_refused(text: str) -> None:
    try:
        answer = run(parse(text, model="SectionDataSet"), TABLES)
    except QueryError:
        return
    assert answer.num_rows >= len(answer.rows)


# ---- criteria


@pytest.mark.parametrize(
    ("criteria", "expected"),
    [
        ("", [30, 10, 20]),
        ("[id$eq10]", [10]),
        ("[id$ne10]", [30, 20]),
        ("[id$lt20]", [10]),
        ("[id$le20]", [10, 20]),
        ("[id$gt20]", [30]),
        ("[id$ge20]", [30, 20]),
        ("[id$in10,30,99]", [30, 10]),
        ("[id$ge20][failed$eqfalse]", [30]),
        ("[failed$eq't']", [20]),
        ("[failed$eqtrue]", [20]),
        ("[failed$eq'f']", [30, 10]),
        ("[section_thickness$eq25]", [30, 10]),
        ("[section_thickness$gt2.5e1]", [20]),
        ("[name$eqnull]", [30]),
        ("[name$isnil]", [30]),
        ("[name$nenull]", [10, 20]),
        ("[name]", [10, 20]),
        # In SQL a null is neither equal to anything nor different from it.
        ("[name$ne'gabra']", [10]),
        ("[name$in'gabra',null]", [20]),
        ("[name$eq'x, [y]']", [10]),
        ("[name$eq'Gabra']", []),
        ("[name$li'ga*']", [20]),
        ("[name$li'Ga*']", []),
        ("[name$il'*BR*']", [20]),
        ("[name$li'gabra']", [20]),
        ("[name$li'*a*a*a*']", []),
        ("[data_sets.id$eq10]", [10]),
        ("alignment3d", [30]),
        ("genes", [30, 10]),
        ("genes[acronym$eqGabra1]", [10]),
        ("genes[acronym$eqGABRA1]", []),
        ("products[id$eq1],[id$eq10]", [10]),
        ("specimen(donor(age[name$eq'P56']))", [30]),
        ("specimen(donor(age[name$eq'P56'],[sex$eqF]))", []),
        ("specimen[name$li'*'](donor[sex$eqF])", [10]),
        ("plane_of_section[name$eqcoronal]", [10, 20]),
        ("section_images[section_number$eq2]", [10]),
        ("section_images(alignment2d[id$eq91])", [30]),
        # One partner must satisfy all filters of a term; two terms join two partners.
        ("genes[id$eq1][acronym$eqGabra1]", []),
        ("genes[id$eq1],genes[acronym$eqGabra1]", [10]),
        # A filter may be on a table that is joined after it.
        ("[genes.acronym$eqGabra1],genes", [10]),
    ],
)
def test_criteria(criteria: str, expected: list[int]) -> None:
    assert ids(f"model::SectionDataSet,{criteria}".rstrip(",")) == expected


def test_parents_are_found_from_their_images() -> None:
    text = "model::SectionImage,section_data_set[plane_of_section_id$eq1](genes[id$eq2])"
    assert ids(text) == [101, 102]
    assert ids("model::SectionImage,data_set[id$eq30]") == [303, 301, 302]


def test_the_parent_class_names_the_model() -> None:
    assert ids("model::DataSet[id$eq10]") == [10]


def test_a_pattern_with_many_stars_is_quick() -> None:
    tables = {"Gene": [{"id": 1, "name": "a" * 5000}]}
    assert not run(parse(f"model::Gene[name$li'{'*a' * 2000}*b*']"), tables).rows
    assert run(parse(f"model::Gene[name$li'{'*a' * 2000}*']"), tables).rows
    # The end of the pattern must not share characters with its start.
    assert not run(parse("model::Gene[name$liab*ba]"), {"Gene": [{"name": "aba"}]}).rows


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model::Gen", "there is no model 'Gen' here; there are: PlaneOfSection, SectionDataSet"),
        ("model::SectionDataSet[idd$eq3]", "data_sets has no column 'idd' here; it has: failed"),
        ("model::SectionDataSet[genes$eq3]", "data_sets has no column 'genes'"),
        ("model::SectionDataSet[alignment3d$eqnull]", "data_sets has no column 'alignment3d'"),
        ("model::SectionDataSet,genes[idd$eq3]", "genes has no column 'idd' here; it has: acronym"),
        ("model::SectionDataSet,gene[id$eq3]", "data_sets has no association 'gene'; it has: "),
        ("model::SectionDataSet,rma::include,gene", "data_sets has no association 'gene'"),
        ("model::SectionDataSet,rma::include,failed", "data_sets has no association 'failed'"),
        ("model::SectionDataSet,rma::include,genes(gen)", "genes has no association 'gen'"),
        ("model::SectionDataSet[id$eqten]", "id is a number, not 'ten'"),
        ("model::SectionDataSet[failed$eq2]", "failed is true or false, not '2'"),
        ("model::SectionDataSet[id$li'3*']", r"\$li compares text, and id is not"),
        ("model::SectionDataSet[genes.id$eq1]", "genes.id is of a table that is not joined"),
        ("model::SectionDataSet,rma::options[order$eqgenes.id]", "neither joined nor included"),
        ("model::SectionDataSet,rma::options[order$eqidd]", "data_sets has no column 'idd'"),
        ("model::SectionDataSet,rma::options[only$eqidd]", "data_sets has no column 'idd'"),
        ("model::SectionDataSet,rma::options[except$eqgenes.id]", "neither joined nor included"),
    ],
)
def test_refusals_say_what_there_is(text: str, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        ask(text)


def test_a_wrong_column_is_one_even_when_nothing_is_left() -> None:
    with pytest.raises(QueryError, match="no column 'idd'"):
        ask("model::SectionDataSet[id$eq99][idd$eq3]")


@pytest.mark.parametrize(
    "text",
    [
        "model::SectionImage," + ",".join(["data_set(section_images)"] * 4),
        "model::SectionDataSet," + ",".join(["section_images(data_set)"] * 6),
        "model::SectionImage," + "[id$ge1]" * 200,
    ],
)
def test_what_a_query_may_cost_is_bounded(text: str) -> None:
    with pytest.raises(BudgetError, match=r"more than 200 steps of work.*smaller page"):
        ask(text, budget=Budget(Limits(steps=200)))


def test_records_that_are_shared_are_rendered_once() -> None:
    """Nested includes used to be copied out before anything was counted."""
    costs = []
    for depth in (1, 3, 5, 7):
        budget = Budget()
        nested = "section_images(data_set(" * depth + "genes" + "))" * depth
        answer = ask(f"model::SectionDataSet,rma::include,{nested}", budget=budget)
        costs.append(budget.steps)
        assert len(encode(answer.rows)) <= budget.answer
    # each level costs the same although each has several times the records of the last
    assert costs[3] - costs[2] == costs[2] - costs[1]


def test_a_long_list_is_read_once() -> None:
    """A `$in` used to be compared value by value with each of the joined rows."""
    wanted = ",".join(map(str, range(3000)))
    budget = Budget()
    answer = ask(f"model::SectionImage,data_set(section_images[id$in{wanted}])", budget=budget)
    assert answer.total_rows == 13
    assert budget.steps < 2.2 * 3000
    with pytest.raises(QueryError, match="id is a number, not 'x'"):
        ask("model::SectionImage[id$in301,x]")


@pytest.mark.parametrize("values", ["10", "10,30,99", "30,10.0,30", "99", "'10'"])
def test_what_an_index_finds_is_what_a_search_finds(values: str) -> None:
    operator = "$in" if "," in values else "$eq"
    budget = Budget()
    found = ids(f"model::SectionDataSet[id{operator}{values}]", budget=budget)
    numbers = {float(value.strip("'")) for value in values.split(",")}
    assert found == [row["id"] for row in TABLES["SectionDataSet"] if row["id"] in numbers]


def test_time_is_the_last_resort() -> None:
    """What waits for its turn does not work, and is not charged."""
    now = [0.0]

    def wait() -> None:
        now[0] += 1000

    budget = Budget(Limits(light=10, seconds=5), clock=lambda: now[0], when_heavy=wait)
    budget.spend(20)
    budget.spend(10_000)
    assert now == [1000]
    now[0] += 6
    with pytest.raises(BudgetError, match="more than 5 s"):
        budget.spend(10_000)


# ---- what is answered


def test_a_row_has_its_own_columns_only() -> None:
    (row,) = ask("model::SectionDataSet[id$eq30]").rows
    assert row == {
        "id": 30,
        "failed": False,
        "name": None,
        "section_thickness": 25.0,
        "plane_of_section_id": 2,
        "reference_space_id": 10,
    }


def test_includes_without_filters_keep_every_row() -> None:
    answer = ask("model::SectionDataSet,rma::include,alignment3d,genes,specimen(donor(age))")
    assert answer.total_rows == answer.num_rows == 3
    first, second, third = answer.rows
    assert first["alignment3d"] == {"id": 7, "trv_00": 1.5}
    assert first["specimen"]["donor"] == {"id": 5, "sex": "M", "age": {"id": 15, "name": "P56"}}
    # Missing: a single record is left out, whether absent or null, and a list is empty.
    assert "alignment3d" not in second
    assert "alignment3d" not in third
    assert "specimen" not in third
    assert third["genes"] == []
    assert [gene["acronym"] for gene in second["genes"]] == ["Gabra1", "Prox1"]


def test_includes_with_filters_restrict_rows_and_partners() -> None:
    answer = ask("model::SectionDataSet,rma::include,genes[acronym$eqGabra1],products")
    assert [row["id"] for row in answer.rows] == [10]
    assert answer.rows[0]["genes"] == [{"id": 2, "acronym": "Gabra1"}]
    assert len(answer.rows[0]["products"]) == 1
    nested = ask("model::SectionDataSet,rma::include,section_images(alignment2d[id$eq91])")
    assert [[one["id"] for one in row["section_images"]] for row in nested.rows] == [[301]]
    # What is inside a filtered include without a filter of its own restricts nothing.
    assert ids("model::SectionDataSet,rma::include,specimen[id$eq4](structure)") == [30]


def test_criteria_do_not_filter_what_is_included() -> None:
    (row,) = ask("model::SectionDataSet,genes[id$eq2],rma::include,genes").rows
    assert len(row["genes"]) == 2


def test_null_entries_of_a_list_are_passed_on() -> None:
    tables = {"SectionDataSet": [{"id": 1, "section_images": [None, {"id": 2, "failed": False}]}]}
    for name in ("section_images", "sub_images"):
        (row,) = run(parse(f"model::SectionDataSet,rma::include,{name}"), tables).rows
        assert row == {"id": 1, name: [None, {"id": 2, "failed": False}]}
    text = "model::SectionDataSet,rma::include,section_images[failed$eqf]"
    (row,) = run(parse(text), tables).rows
    assert row["section_images"] == [{"id": 2, "failed": False}]


def test_only_and_except() -> None:
    text = "model::SectionDataSet[id$eq30],rma::include,genes,rma::options"
    assert ask(text + "[only$eq'data_sets.id','genes.acronym']").rows == [
        {"id": 30, "genes": [{"acronym": "Prox1"}]}
    ]
    (row,) = ask(text + "[only$eqid,failed][except$eqdata_sets.failed,genes.id]").rows
    assert row == {"id": 30, "genes": [{"acronym": "Prox1"}]}


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("id", [10, 20, 30]),
        ("data_sets.id$desc", [30, 20, 10]),
        ("data_sets.id+asc", [10, 20, 30]),
        ("'reference_space_id desc,id'", [30, 10, 20]),
        ("'reference_space_id,id$desc'", [20, 10, 30]),
        # Nulls are the largest, as in the service's database.
        ("name", [20, 10, 30]),
        ("name$desc", [30, 10, 20]),
        ("specimens.name", [30, 10, 20]),
        ("ages.name", [10, 30, 20]),
    ],
)
def test_order(order: str, expected: list[int]) -> None:
    text = f"model::SectionDataSet,rma::include,specimen(donor(age)),rma::options[order$eq{order}]"
    assert ids(text) == expected


def test_order_by_a_joined_table() -> None:
    text = "model::SectionImage,section_data_set,rma::options[order$eq'data_sets.id,sub_images.id']"
    assert ids(text) == [101, 102, 301, 302, 303]
    text = "model::SectionImage,rma::options[order$eq'sub_images.section_number']"
    assert ids(text) == [102, 101, 303, 301, 302]


def test_tabular() -> None:
    text = "model::SectionDataSet,genes,rma::options[order$eq'data_sets.id'][tabular$eq"
    assert ask(text + "'data_sets.id','genes.acronym']").rows == [
        {"id": 10, "acronym": "Gabra1"},
        {"id": 10, "acronym": "Prox1"},
        {"id": 30, "acronym": "Prox1"},
    ]
    distinct = ask(text + "'distinct genes.acronym as gene'][num_rows$eq1]")
    assert distinct.rows == [{"gene": "Gabra1"}]
    assert distinct.total_rows == 2
    included = "model::SectionDataSet,rma::include,genes,specimen,rma::options[tabular$eq'id,"
    assert ask(included + "genes.acronym,specimens.name']").rows == [
        {"id": 30, "acronym": "Prox1", "name": "05-0660"},
        {"id": 10, "acronym": "Gabra1", "name": "other"},
        {"id": 20, "acronym": None, "name": None},
    ]


# ---- pages


def many(count: int) -> dict[str, list[dict[str, Any]]]:
    return {
        "SectionDataSet": [
            {"id": n, "products": [{"id": k} for k in range(n % 4)]} for n in range(count)
        ]
    }


def test_default_page() -> None:
    answer = run(parse("model::SectionDataSet"), many(60))
    assert (answer.start_row, answer.num_rows, answer.total_rows) == (0, 50, 60)
    assert len(answer.rows) == 50
    assert run(parse("model::SectionDataSet,rma::options[num_rows$eqall]"), many(60)).num_rows == 60


def test_rows_are_capped_whatever_is_asked_for() -> None:
    for asked in ("all", "10", "8"):
        query = parse(f"model::SectionDataSet,rma::options[num_rows$eq{asked}]")
        answer = run(query, many(9), row_cap=7)
        assert (len(answer.rows), answer.num_rows, answer.total_rows) == (7, 7, 9)


def test_past_the_end_the_page_is_empty() -> None:
    answer = ask("model::SectionDataSet,rma::options[start_row$eq3]")
    assert answer == Answer([], 3, 0, 3)


def test_without_count() -> None:
    text = "model::SectionDataSet,rma::options[count$eqfalse][start_row$eq1][num_rows$eq1]"
    assert ask(text).total_rows == 2


def test_joined_rows_are_counted_and_objects_folded() -> None:
    answer = run(parse("model::SectionDataSet,products"), many(8))
    # Data sets of 0, 1, 2 and 3 products each, twice.
    assert (answer.num_rows, answer.total_rows) == (12, 12)
    assert [row["id"] for row in answer.rows] == [1, 2, 3, 5, 6, 7]
    page = run(
        parse("model::SectionDataSet,products,rma::options[start_row$eq2][num_rows$eq2]"), many(8)
    )
    # The second row of data set 2 and the first of data set 3.
    assert [row["id"] for row in page.rows] == [2, 3]


@pytest.mark.parametrize("row_cap", [1, 7, 50])
@pytest.mark.parametrize(
    "text",
    [
        "model::SectionDataSet",
        "model::SectionDataSet,products",
        "model::SectionDataSet,rma::include,products[id$le1]",
    ],
)
def test_pages_make_up_the_whole(text: str, row_cap: int) -> None:
    tables = many(33)
    options = {"num_rows": "all", "order": "data_sets.id desc"}
    whole = run(parse(text, options=options), tables)
    start, rows = 0, {}
    while True:
        query = parse(text, options={**options, "start_row": str(start)})
        page = run(query, tables, row_cap=row_cap)
        assert page.total_rows == whole.total_rows
        assert page.num_rows <= row_cap
        if not page.rows:
            break
        start += page.num_rows
        rows.update({row["id"]: row for row in page.rows})
    assert start == whole.total_rows
    assert list(rows.values()) == whole.rows


# ---- genuine records


@pytest.mark.skipif(not DATA.is_dir(), reason="the genuine records are not beside the project")
def test_genuine_records() -> None:
    tables: dict[str, list[dict[str, Any]]] = {"SectionDataSet": [], "SectionImage": []}
    for number in (69289763, 71717084, 74272479):
        found = json.loads((DATA / f"{number}.json").read_text())
        tables["SectionDataSet"].append(found["section_data_set"])
        tables["SectionImage"] += found["section_images"]

    def answer(text: str) -> Answer:
        return run(parse(text), tables)

    one = answer("model::SectionDataSet,genes[acronym$eq'Prox1'],rma::include,alignment3d")
    assert [row["id"] for row in one.rows] == [69289763]
    assert one.rows[0]["alignment3d"]["trv_09"] == 1047.61
    assert "genes" not in one.rows[0]
    images = answer(
        "model::SectionImage[data_set_id$eq71717084],rma::include,alignment2d,"
        "rma::options[num_rows$eqall][order$eq'sub_images.section_number']"
    )
    assert images.total_rows == 112
    numbers = [row["section_number"] for row in images.rows]
    assert numbers == sorted(numbers)
    assert all(len(row["alignment2d"]) == 13 for row in images.rows)
    products = answer("model::SectionDataSet,products,rma::options[order$eqdata_sets.id]")
    # Each of the three is in two products, the adult and the developing mouse.
    assert (products.total_rows, len(products.rows)) == (6, 3)
