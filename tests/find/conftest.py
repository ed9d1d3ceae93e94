"""Catalogues to search: the demo's, and one of real experiments."""

import csv
from pathlib import Path
from typing import Any

import pytest

from atldld.fetch.session import Session
from atldld.find import build, update
from atldld.find.catalogue import catalogue_path
from atldld.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PLANES = {"coronal": 1, "sagittal": 2}


def real_tables(folder):
    """Turn the two lists of real experiments into records as the service sends them."""
    genes: dict[str, dict[str, Any]] = {}
    data_sets: dict[int, dict[str, Any]] = {}
    with open(folder / "gene_experiments.csv", newline="") as file:
        for row in csv.DictReader(file):
            acronym = row["acronym"].rstrip("*")
            entrez = row["entrez.id"]
            gene = {
                "id": len(genes) + 1,
                "acronym": acronym,
                "entrez_id": None if entrez == "NA" else int(entrez),
                "organism_id": 2,
            }
            number = int(row["Section_Data_ID"])
            data_sets[number] = {
                "id": number,
                "failed": False,
                "plane_of_section_id": PLANES[row["cutting_plane"]],
                "genes": [genes.setdefault(acronym, gene)],
                "products": [{"id": 1, "name": "Mouse Brain", "abbreviation": "Mouse"}],
            }
    with open(folder / "ish_experiments.csv", newline="") as file:
        for row in csv.DictReader(file):
            number, animal = int(row["experiment_id"]), int(row["animal_id"])
            shown = [genes[row["gene"]]] if row["gene"] in genes else []
            data_set = data_sets.setdefault(
                number, {"id": number, "failed": False, "genes": shown, "products": []}
            )
            donor = {
                "id": animal,
                "name": row["animal_name"],
                "sex": row["sex"][0],
                "age": {"id": 15, "name": row["age"]},
                "age_id": 15,
            }
            orientation = row["probe_orientation"]
            data_set |= {
                "plane_of_section_id": PLANES[row["plane_of_section"]],
                "specimen_id": animal,
                "specimen": {
                    "id": animal,
                    "name": row["animal_name"],
                    "donor_id": animal,
                    "donor": donor,
                },
                "treatments": [
                    {"id": 1 if row["treatment"] == "ISH" else 2} | {"name": row["treatment"]}
                ],
                "probes": []
                if orientation == "Nothing"
                else [{"id": number, "orientation_id": int(orientation)}],
            }
    return [("Gene", genes.values()), ("SectionDataSet", data_sets.values())]


def offline_session(folder, url="http://generated.invalid"):
    return Session(Settings(api_url=url, cache_dir=folder, offline=True))


@pytest.fixture(scope="session")
def real(shared, tmp_path_factory):
    """An offline session whose catalogue holds the real experiments."""
    with offline_session(tmp_path_factory.mktemp("real")) as session:
        tables = real_tables(shared / "catalogue")
        build(catalogue_path(session.cache.root), tables, service=session.settings.api_url)
        yield session


@pytest.fixture
def catalogued(session):
    """A session at the demo's service that has its catalogue, with images."""
    update(session, images=True)
    return session


@pytest.fixture
def session_of(request):
    def of(source):
        return request.getfixturevalue("session" if source == "service" else "catalogued")

    return of
