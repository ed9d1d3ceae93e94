"""A made-up catalogue of the service's size, the same one each time, and questions to it.

It has 20,000 mouse genes with names and synonyms, 26,000 data sets of the adult brain and 18,000
others; and, where they are wanted, the numbers of their section images, about 1.5 million.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from atldld.errors import NotFoundError
from atldld.fetch.session import Session
from atldld.find import build, search
from atldld.find.catalogue import catalogue_path
from atldld.find.searches import Kind
from atldld.settings import Settings

__all__ = ["data_sets", "genes", "images", "made_up_catalogue", "questions"]

GENES = 20_000
ADULT = 26_000
OTHERS = 18_000
SERVICE = "http://generated.invalid"

Record = dict[str, Any]

# fmt: off
SYLLABLES = [
    "ac", "al", "an", "ap", "ar", "as", "ba", "be", "bo", "ca", "ce", "ch", "cl",
    "co", "cr", "cy", "da", "de", "di", "do", "ef", "el", "en", "ep", "er", "fa",
    "fi", "fo", "ga", "ge", "gl", "go", "gr", "ha", "he", "ho", "hy", "in", "ir",
    "ka", "ke", "ki", "kl", "la", "le", "li", "lo", "ma", "me", "mi", "mo", "my",
    "na", "ne", "ni", "no", "nu", "on", "op", "or", "os", "pa", "pe", "ph", "pi",
    "pl", "po", "pr", "pt", "ra", "re", "ri", "ro", "ry", "sa", "se", "sh", "si",
    "sl", "so", "st", "sy", "ta", "te", "th", "ti", "to", "tr", "ub", "un", "va",
    "ve", "vi", "wa", "we", "wi", "xe", "yo", "za", "ze",
]
WORDS = [
    "actin", "adhesion", "alpha", "antigen", "ATPase", "beta",
    "binding", "calcium", "cadherin", "carrier", "cell", "chain",
    "channel", "coiled", "complex", "containing", "cyclin", "cytochrome",
    "delta", "dehydrogenase", "dependent", "domain", "endopeptidase", "enhancer",
    "factor", "family", "finger", "forkhead", "gamma", "glutamate",
    "glycoprotein", "growth", "helix", "heterogeneous", "homeobox", "inhibitor",
    "initiation", "integrin", "interacting", "kinase", "ligase", "ligand",
    "like", "lipid", "member", "membrane", "mitochondrial", "motif",
    "nuclear", "olfactory", "oncogene", "organic", "oxidase", "peptidase",
    "phosphatase", "potassium", "protein", "receptor", "regulator", "repeat",
    "ribosomal", "ring", "serine", "sodium", "solute", "subfamily",
    "subunit", "synthase", "transcription", "transferase", "translocation", "transmembrane",
    "transporter", "type", "ubiquitin", "vesicle", "voltage", "zinc",
]
# fmt: on
AGES = (("P56", 15), ("P28", 14), ("P14", 13), ("P4", 12), ("E18.5", 11), ("E15.5", 10))
KNOWN = (
    ("Gad1", "glutamate decarboxylase 1", 14415, "Gad67 GAD25"),
    ("Pvalb", "parvalbumin", 19293, "Pva Parv"),
    ("Prox1", "prospero homeobox 1", 19130, "A230003G05Rik"),
    ("Pdyn", "prodynorphin", 18610, "Dyn"),
)


def genes(count: int = GENES) -> list[Record]:
    """Return made-up gene records, and four real ones first."""
    rng = random.Random(1)
    rows = [
        {"id": k, "acronym": a, "name": n, "entrez_id": e, "alias_tags": t, "organism_id": 2}
        for k, (a, n, e, t) in enumerate(KNOWN, 1)
    ]
    taken = {row["acronym"] for row in rows}
    while len(rows) < count:
        acronym = "".join(rng.choices(SYLLABLES, k=rng.choice((1, 2, 2, 2, 3)))).capitalize()
        acronym += str(rng.randrange(1, 40)) if rng.random() < 0.7 else ""
        if acronym in taken or len(acronym) < 3:
            continue
        taken.add(acronym)
        number = len(rows) + 1
        rows.append(
            {
                "id": number,
                "acronym": acronym,
                "name": " ".join(rng.choices(WORDS, k=rng.randrange(2, 7)))
                + (f" {rng.randrange(1, 30)}" if rng.random() < 0.6 else ""),
                "entrez_id": 1_000_000 + number,
                "ensembl_id": f"ENSMUSG{number:011d}",
                "organism_id": 2,
                "alias_tags": " ".join(
                    "".join(rng.choices(SYLLABLES, k=2)).upper() + str(rng.randrange(100))
                    for _ in range(rng.randrange(0, 5))
                ),
            }
        )
    return rows


def data_sets(
    known: Sequence[Record], adult: int = ADULT, others: int = OTHERS
) -> Iterator[Record]:
    """Give made-up records of data sets, with all that a query includes."""
    rng = random.Random(2)
    for k in range(adult + others):
        number = 67_000_000 + 7 * k
        nissl = rng.random() < 0.06
        plane = 2 if k < adult * 0.83 else (1 if k < adult else rng.choice((1, 2, 4, 4)))
        age, age_id = AGES[0] if k < adult else rng.choice(AGES)
        specimen = 60_000_000 + k // 4  # four interleaved sets each
        gene = KNOWN_RECORD if k % 2200 == 0 else known[(k * 7919) % len(known)]
        yield {
            "id": number,
            "specimen_id": specimen,
            "plane_of_section_id": plane,
            "reference_space_id": 9 if plane == 1 else 10,
            "section_thickness": 25.0,
            "failed": rng.random() < 0.03,
            "delegate": rng.random() < 0.4,
            "expression": not nissl,
            "qc_date": "2009-05-02T22:45:57Z",
            "genes": [] if nissl else [gene],
            "probes": []
            if nissl
            else [
                {
                    "id": number + 1,
                    "name": f"RP_{k}",
                    "gene_id": gene["id"],
                    "orientation_id": 1 if rng.random() < 0.01 else 2,
                }
            ],
            "treatments": [{"id": 2, "name": "NISSL"} if nissl else {"id": 1, "name": "ISH"}],
            "products": [
                {"id": 1, "name": "Mouse Brain", "abbreviation": "Mouse"}
                if k < adult
                else {"id": 3, "name": "Developing Mouse Brain", "abbreviation": "DevMouse"}
            ],
            "specimen": {
                "id": specimen,
                "name": f"{5 + k % 5:02d}-{k // 4:05d}",
                "donor_id": specimen,
                "donor": {
                    "id": specimen,
                    "name": f"{5 + k % 5:02d}-{k // 4:05d}",
                    "age_id": age_id,
                    "organism_id": 2,
                    "sex": "M" if rng.random() < 0.98 else "F",
                    "strain": "C57BL/6J",
                    "age": {"id": age_id, "name": age},
                },
            },
        }


KNOWN_RECORD = genes(len(KNOWN))[0]


def images(count: int = ADULT + OTHERS) -> Iterator[Record]:
    """Give made-up records of images: 20 to 60 of each data set."""
    number = 100_000_000
    for k in range(count):
        for section in range(20 if k % 10 < 7 else 66):
            number += 1
            yield {
                "id": number,
                "data_set_id": 67_000_000 + 7 * k,
                "section_number": 6 + 8 * section,
                "width": 9000 + section,
                "height": 7000,
                "tier_count": 7,
                "resolution": 1.049,
                "failed": False,
            }


def made_up_catalogue(folder: Path, *, with_images: bool = False) -> Session:
    """Build the catalogue in a folder, and return a session that searches it."""
    session = Session(Settings(api_url=SERVICE, cache_dir=folder, offline=True))
    known = genes()
    tables: list[tuple[str, Any]] = [("Gene", known), ("SectionDataSet", data_sets(known))]
    imaged: Sequence[int] = ()
    if with_images:
        tables.append(("SectionImage", images()))
        imaged = [67_000_000 + 7 * k for k in range(ADULT + OTHERS)]
    path = catalogue_path(session.cache.root)
    build(path, tables, service=SERVICE, images_of=imaged)
    return session


def _unknown(session: Session, name: str) -> str:
    """Ask for a gene that does not exist, and return what is suggested."""
    try:
        search(gene=name, session=session).ids  # noqa: B018
    except NotFoundError as error:
        return str(error.hint)
    raise AssertionError(name)


def questions(session: Session) -> dict[str, Callable[[], Any]]:
    """Return searches by what they are."""

    def ask(kind: Kind = "dataset", **filters: Any) -> list[int]:
        return search(kind, session=session, **filters).ids

    return {
        "data sets of Gad1": lambda: ask(gene="Gad1"),
        "data sets of GAD1 (capitals)": lambda: ask(gene="GAD1"),
        "data sets of Gad67 (synonym)": lambda: ask(gene="Gad67"),
        "data sets of parvalbumin (name)": lambda: ask(gene="parvalbumin"),
        "data sets of 19293 (Entrez id)": lambda: ask(gene="19293"),
        "Gad1, sagittal, antisense, P56": lambda: ask(
            gene="Gad1", plane="sagittal", orientation="antisense", age="P56"
        ),
        "genes called parvalbumin": lambda: ask("gene", name="parvalbumin"),
        "genes called kinase (many)": lambda: ask("gene", name="kinase"),
        "fuzzy: Prx1": lambda: _unknown(session, "Prx1"),
        "fuzzy: parvalbumine": lambda: _unknown(session, "parvalbumine"),
        "fuzzy: glutamate decarboxilase": lambda: _unknown(session, "glutamate decarboxilase"),
        "the specimen of a data set": lambda: ask(specimen="05-00100"),
        "all coronal adult sets": lambda: ask(plane="coronal", product="adult"),
    }
