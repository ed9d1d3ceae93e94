from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atldld.errors import InvalidInputError
from atldld.rma.parse import parse
from atldld.rma.query import (
    Bare,
    Column,
    Filter,
    Options,
    Order,
    Query,
    RMAParameters,
    Term,
    among,
    as_terms,
)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        (RMAParameters("Gene"), "model::Gene"),
        (
            RMAParameters("SectionDataSet", {"id": 479}, ["alignment3d"], 0, 25000),
            "model::SectionDataSet,rma::criteria,[id$eq479],rma::include,alignment3d,"
            "rma::options[start_row$eq0][num_rows$eq25000]",
        ),
        (
            RMAParameters("SectionDataSet", {"failed": False, "genes": {"acronym": "Gad1"}}),
            "model::SectionDataSet,rma::criteria,[failed$eqfalse],genes[acronym$eq'Gad1']",
        ),
        (
            RMAParameters("SectionDataSet", {"specimen": {"donor": {"age": {"name": "P56"}}}}),
            "model::SectionDataSet,rma::criteria,specimen(donor(age[name$eq'P56']))",
        ),
        (
            RMAParameters("M", {"a": {"x": 1, "b": {"y": None}, "c": {"z": 2.5}}}, order="ms.id"),
            "model::M,rma::criteria,a[x$eq1](b[y$eqnull],c[z$eq2.5]),rma::options[order$eq'ms.id']",
        ),
    ],
)
def test_text(query, text):
    assert query.text == text
    assert str(query) == f"criteria={text}"


def test_our_queries_are_grammatical():
    parsed = parse(RMAParameters("M", {"q": {"a": {"b": {"c": "d e, f"}, "g": {"h": 1}}}}).text)
    assert parsed.criteria[0].association == "q"
    assert [term.association for term in parsed.criteria[0].terms[0].terms] == ["b", "g"]


def test_quotes_cannot_be_sent():
    with pytest.raises(InvalidInputError, match="quotation"):
        str(RMAParameters("Gene", {"name": "5'-nucleotidase"}))
    quoted = RMAParameters("Gene", {"name": "'a b'"})
    assert quoted.text == "model::Gene,rma::criteria,[name$eq'a b']"


def test_terms():
    assert as_terms({"genes": {"acronym": "pd*"}}, "$il")[0].text == "genes[acronym$il'pd*']"
    assert among("id", [1]).text == "[id$eq1]"
    assert among("id", [1, 2]).text == "[id$in1,2]"
    assert among("name", ["a b", "c"]).text == "[name$in'a b','c']"
    own = Term(None, (Filter.of("id", "$gt", 5),))
    query = RMAParameters("Gene", [own, Term(None), "[x]"], order="genes.id", only=["genes.id"])
    assert query.text == (
        "model::Gene,rma::criteria,[id$gt5],[x],rma::options[order$eq'genes.id'][only$eq'genes.id']"
    )


# ---- what is written is read as it was meant

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True).filter(
    lambda name: name.lower() != "distinct"
)
columns = st.builds(Column, st.none() | names, names)
quoted = st.text(st.characters(exclude_characters="'", codec="utf-8"), max_size=12)
bare = st.sampled_from(["0", "-3", "2.5e9", "true", "Gad1"]).map(Bare)
values = st.none() | quoted | bare
filters = st.one_of(
    st.builds(
        Filter,
        columns,
        st.sampled_from(["$eq", "$ne", "$lt", "$gt", "$le", "$ge", "$li", "$il", "$is"]),
        st.tuples(values),
    ),
    st.builds(Filter, columns, st.just("$in"), st.lists(values, min_size=1, max_size=4).map(tuple)),
)
some_filters = st.lists(filters, max_size=2).map(tuple)
leaves = st.builds(Term, names, some_filters)
branches = st.builds(Term, names, some_filters, st.lists(leaves, max_size=2).map(tuple))
named = st.builds(Term, names, some_filters, st.lists(branches, max_size=2).map(tuple))
own = st.builds(
    Term,
    st.none(),
    st.lists(filters, min_size=1, max_size=2).map(tuple),
    st.lists(named, max_size=2).map(tuple),
)
chosen = st.lists(columns, max_size=3).map(tuple)
numbers = st.integers(0, 10**12 - 1)
options = st.builds(
    Options,
    num_rows=st.none() | numbers,
    start_row=numbers,
    order=st.lists(st.builds(Order, columns, st.booleans()), max_size=3).map(tuple),
    only=chosen,
    omit=chosen,
    count=st.booleans(),
) | st.builds(
    Options,
    tabular=st.lists(st.tuples(names, columns), min_size=1, max_size=3).map(tuple),
    distinct=st.booleans(),
)


@given(
    st.builds(
        Query,
        names,
        st.lists(named | own, max_size=3).map(tuple),
        st.lists(named, max_size=3).map(tuple),
        options,
    )
)
def test_what_is_written_is_what_is_read(query):
    read = parse(query.text)
    assert read == query
    assert read.text == query.text
