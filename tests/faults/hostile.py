"""Queries that nobody in good faith would send, and an archive that is large enough to suffer."""

import random
from collections.abc import Iterator
from typing import Any

LONGEST = 16_000  # characters; a longer one is refused unread


def large_tables(data_sets: int = 60, images: int = 200) -> dict[str, list[dict[str, Any]]]:
    """An archive as a laboratory may have it, with a text to try patterns on."""
    tables: dict[str, list[dict[str, Any]]] = {"SectionDataSet": [], "SectionImage": []}
    genes = [
        {"id": n, "acronym": f"Gene{n}", "name": "a" * 300 + str(n), "alias_tags": None}
        for n in range(1, 21)
    ]
    for number in range(1, data_sets + 1):
        own = [
            {
                "id": number * 1000 + k,
                "data_set_id": number,
                "section_number": 4 * k,
                "width": 16_000,
                "height": 9_000,
                "resolution": 1.049,
                "failed": False,
                "expression_path": "/a" * 60 + "b",
                "tier_count": 8,
                "alignment2d": {
                    f"{way}_{j:02d}": float(j in (0, 3))  # there and back are the same
                    for way in ("tsv", "tvs")
                    for j in range(6)
                },
            }
            for k in range(images)
        ]
        record = {
            "id": number,
            "failed": False,
            "section_thickness": 25.0,
            "plane_of_section_id": 1,
            "reference_space_id": 9,
            "name": "a" * 2000,
            "genes": [genes[number % 20], genes[(number * 7) % 20]],
            "products": [{"id": k, "abbreviation": f"P{k}"} for k in range(1, 6)],
            "specimen": {"id": number, "name": f"s{number}", "donor": {"id": 1, "sex": "M"}},
            "alignment3d": {
                f"{way}_{j:02d}": float(j in (0, 4, 8)) for way in ("tvr", "trv") for j in range(12)
            },
            "section_images": own,
        }
        tables["SectionDataSet"].append(record)
        tables["SectionImage"] += own
    tables["Gene"] = genes
    return tables


def hostile_queries(count: int, seed: int = 20) -> Iterator[str]:
    """Whole queries of about twenty kinds, each made with other numbers every time."""
    chance = random.Random(seed)
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        yield kind(chance)[:LONGEST]


def _ids(chance: random.Random) -> str:
    return ",".join(str(chance.randrange(1, 99_999)) for _ in range(LONGEST // 6))


def _nested(depth: int, last: str) -> str:
    text = last
    for level in range(depth):
        text = f"{('data_set', 'section_images')[level % 2]}({text})"
    return text


KINDS = [
    # includes inside each other, which multiply
    lambda c: (
        f"model::SectionImage,rma::include,{_nested(2 * c.randrange(2, 8) - 1, 'genes')},"
        "rma::options[num_rows$eqall]"
    ),
    lambda c: (
        "model::SectionDataSet,rma::include,"
        "section_images(section_data_set(section_images(section_data_set(section_images(alignment2d)))))"
        ",rma::options[num_rows$eqall]"
    ),
    lambda c: (
        "model::SectionDataSet,rma::include,"
        + _nested(2 * c.randrange(2, 8), "alignment2d")
        + f",rma::options[num_rows$eq{c.randrange(1, 10**11)}]"
    ),
    # the same include over and over
    lambda c: (
        "model::SectionDataSet,rma::include,"
        + ",".join(["section_images(alignment2d)"] * (LONGEST // 29))
        + ",rma::options[num_rows$eqall]"
    ),
    # joins that multiply
    lambda c: "model::SectionImage," + ",".join(["data_set(section_images)"] * c.randrange(2, 200)),
    lambda c: "model::SectionImage," + ",".join(["data_set(products,genes)"] * 300),
    lambda c: "model::SectionDataSet," + ",".join(["products"] * c.randrange(6, 900)),
    # long lists, alone, over joins, and many times
    lambda c: f"model::SectionImage,rma::criteria,[section_number$in{_ids(c)}]",
    lambda c: f"model::SectionImage,data_set(section_images[section_number$in{_ids(c)[:15_000]}])",
    lambda c: "model::SectionImage," + "[section_number$in1,2,3,4,5,6,7,8,9]" * 400,
    lambda c: "model::SectionImage," + "[width$ge1]" * 1400,
    # patterns
    lambda c: f"model::SectionDataSet[name$li'{'*a' * c.randrange(10, 7000)}*b']",
    lambda c: "model::SectionDataSet(section_images[expression_path$il'" + "*/A" * 4000 + "*c'])",
    lambda c: f"model::SectionDataSet[name$il'{'*' * 15_000}b']",
    lambda c: (
        "model::SectionImage" + f"[expression_path$li'*{'a' * c.randrange(1, 50)}*b*c']" * 200
    ),
    # parentheses, brackets, quotes, lengths
    lambda c: "model::SectionDataSet," + "section_images(" * c.randrange(15, 1000),
    lambda c: "model::SectionDataSet," + "[" * 15_000,
    lambda c: "model::SectionDataSet,rma::options" + "[num_rows$eq'all']" * 800,
    lambda c: f"model::SectionDataSet[name$eq'{'x' * 15_000}",
    lambda c: f"model::{'S' * 15_000}",
    lambda c: f"model::SectionDataSet,rma::options[order$eq'{' ' * 15_000}x']",
    lambda c: "model::SectionDataSet,rma::options[order$eq'a" + " + +$" * 2500 + "as']",
    lambda c: "model::SectionDataSet,rma::options[tabular$eq'id" + " as+as" * 2500 + " ']",
    # sorting and tables
    lambda c: (
        "model::SectionImage,rma::options[num_rows$eqall][order$eq'"
        + ",".join(c.choice(("id", "width", "section_number")) for _ in range(1500))
        + "']"
    ),
    lambda c: (
        "model::SectionImage,data_set(genes),rma::options[num_rows$eqall][order$eq'"
        "genes.name,data_sets.name,sub_images.expression_path,data_sets.id,genes.id']"
    ),
    lambda c: (
        "model::SectionImage,data_set(products,genes),rma::options[num_rows$eqall][tabular$eq'"
        + ",".join(f"data_sets.name as n{k}" for k in range(500))
        + "']"
    ),
    lambda c: (
        "model::SectionImage,data_set(products,genes),rma::options[num_rows$eqall]"
        "[tabular$eq'distinct sub_images.id,data_sets.name,genes.name,products.id']"
    ),
    # everything at once
    lambda c: (
        "model::SectionImage,rma::include,alignment2d,data_set(genes,specimen(donor)),"
        "rma::options[num_rows$eqall]"
    ),
    lambda c: (
        "model::Gene,data_sets(section_images(data_set(genes))),rma::include,"
        "data_sets(section_images(alignment2d)),rma::options[num_rows$eqall]"
    ),
    lambda c: (
        "model::SectionDataSet,rma::include,"
        "section_images[section_number$ge0](data_set[id$ge0](section_images[width$ge1])),"
        "rma::options[num_rows$eqall]"
    ),
    lambda c: (
        "model::SectionDataSet,rma::include," + "section_images(data_set," * 14 + "genes" + ")" * 14
    ),
    lambda c: "model::SectionImage,nothing,rma::options[num_rows$eqall]",
    lambda c: (
        "model::SectionImage,rma::options[only$eq'" + ",".join(f"x{k}" for k in range(2500)) + "']"
    ),
    lambda c: f"model::Gene,rma::options[start_row$eq{c.randrange(10**12)}][count$eqfalse]",
]
