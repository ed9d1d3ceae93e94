from __future__ import annotations

import pytest

from atldld.rma.parse import RMASyntaxError, parse
from atldld.rma.query import Column, Filter, Options, Order, Term

DOCUMENTED = [
    "model::SectionDataSet[failed$eqfalse],products[id$eq1]",
    "model::SectionDataSet,rma::criteria,[id$eq479],rma::include,alignment3d,"
    "rma::options[start_row$eq0][num_rows$eq25000]",
    "model::SectionImage,rma::criteria,[data_set_id$eq479],rma::include,alignment2d",
    "model::DataSet,rma::criteria,[failed$eq'f'],products[abbreviation$eq'Mouse'],"
    "probes(orientation[name$eq'Antisense']),rma::options[only$eq'data_sets.id']"
    "[order$eq'data_sets.id$asc'][start_row$eq0][num_rows$eq26000]",
    "model::AtlasImage,rma::criteria,[annotated$eqtrue],atlas_data_set(atlases[id$eq1]),"
    "alternate_images[image_type$eq'Atlas - Adult Mouse'],"
    "rma::options[order$eq'sub_images.section_number'][num_rows$eqall]",
    "model::Structure,[graph_id$eq1],rma::options[order$eqstructures.graph_order][num_rows$eqall]",
    "model::SectionDataSet,rma::criteria,specimen(donor(age[name$eq'P56']))",
    "model::SectionImage,rma::criteria,data_set[specimen_id$eq123](genes[acronym$eqGad1])",
    "model::SectionDataSet,rma::criteria,products[id$in5,31],treatments[name$in'NISSL','ISH']",
    "model::SectionDataSet,rma::criteria,specimen(donor[transgenic_mouse_id$eqnull])",
    "model::SectionDataSet,rma::criteria,[storage_directory$ne'nil']",
    "model::StructureUnionize,rma::criteria,[intensity_call$ne'']",
    "model::Gene,rma::criteria,probes[orientation_id]",
    "model::SectionDataSet,rma::include,genes[id$eq7],products[id$eq3]",
    "model::SectionDataSet,rma::options[order$eq'genes.acronym,data_sets.id'][num_rows$eq'all']",
]


@pytest.mark.parametrize("text", DOCUMENTED)
def test_documented_queries_parse(text: str) -> None:
    assert parse(text).model == text[7:].replace("[", ",").split(",")[0]


def test_a_query_in_parts() -> None:
    query = parse(
        "model::SectionDataSet[failed$eqf],genes[acronym$in'A b',C](organism[id$ge2][id]),"
        "rma::include,alignment3d,rma::options[num_rows$eqall][order$eq'genes.id$desc,id']"
        "[tabular$eq'distinct data_sets.id as key','genes.id'][debug$eq'true']"
    )
    assert query.criteria == (
        Term(None, (Filter(Column(None, "failed"), "$eq", ("f",)),)),
        Term(
            "genes",
            (Filter(Column(None, "acronym"), "$in", ("A b", "C")),),
            (
                Term(
                    "organism",
                    (
                        Filter(Column(None, "id"), "$ge", ("2",)),
                        Filter(Column(None, "id"), "$ne", (None,)),
                    ),
                ),
            ),
        ),
    )
    assert query.include == (Term("alignment3d"),)
    options = query.options
    assert options.num_rows is None
    assert options.order == (Order(Column("genes", "id"), True), Order(Column(None, "id")))
    assert options.distinct
    assert options.tabular == (
        ("key", Column("data_sets", "id")),
        ("id", Column("genes", "id")),
    )


def test_parts_from_a_url() -> None:
    query = parse(
        "[id$eq5],genes",
        model="SectionDataSet",
        include="genes,specimen(donor)",
        options={"num_rows": "3", "order": "id desc", "numRows": "7", "count": "false"},
    )
    assert query.model == "SectionDataSet"
    assert len(query.criteria) == 2
    assert query.include == (Term("genes"), Term("specimen", (), (Term("donor"),)))
    assert query.options == Options(
        num_rows=3, order=(Order(Column(None, "id"), True),), count=False
    )


def test_options_in_the_query_win_over_the_url() -> None:
    text = "model::Gene,rma::options[num_rows$eq3]"
    assert parse(text, options={"num_rows": "4", "start_row": "2"}).options == Options(
        num_rows=3, start_row=2
    )


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", 0),
        ("modl::SectionDataSet", 0),
        ("model::", 7),
        ("model::Gene,", 12),
        ("model::Gene[", 12),
        ("model::Gene[id", 14),
        ("model::Gene[id$xx3]", 14),
        ("model::Gene[id$eq]", 17),
        ("model::Gene[id$eq3", 18),
        ("model::Gene[id$eq3,4]", 18),
        ("model::Gene[id$eq 3]", 17),
        ("model::Gene[id$eq'3]", 17),
        ("model::Gene[name$eq'it's']", 23),
        ("model::Gene[id$eq$there]", 17),
        ("model::Gene,products(genes", 26),
        ("model::Gene,products)", 20),
        ("model::Gene,rma::where,[id$eq3]", 17),
        ("model::Gene,rma::include,[id$eq3]", 25),
        ("model::Gene,rma::options", 24),
        ("model::Gene,rma::options[rows$eq3]", 25),
        ("model::Gene,rma::options[num_rows$gt3]", 33),
        ("model::Gene,model::Probe", 12),
        ("service::mouse_agea", 0),
        ("model::Gene,rma::options[num_rows$eq-3]", 0),
        ("model::Gene,rma::options[order$eq'id up']", 0),
        ("model::Gene,rma::options[only$eq'id,,']", 3),
    ],
)
def test_syntax_errors_point_at_the_place(text: str, position: int) -> None:
    with pytest.raises(RMASyntaxError) as caught:
        parse(text)
    assert caught.value.position == position
    assert str(position) in str(caught.value)


def test_length_and_depth_are_bounded() -> None:
    with pytest.raises(RMASyntaxError, match="at most 16384 characters"):
        parse("model::Gene," + "[id$eq3]" * 3000)
    with pytest.raises(RMASyntaxError, match="at most 16 associations"):
        parse("model::Gene," + "genes(" * 2000)
    assert parse("model::Gene," + "genes(" * 15 + "genes" + ")" * 15)
