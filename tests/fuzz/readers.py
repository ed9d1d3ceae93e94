"""Every file that is read: valid ones, and how they are read.

A new reader is one more `Reader` in `READERS`: a name, how to make valid files, and a function of
the file's path that reads it and looks at all that it gave.
"""

import io
import json
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import httpx
import numpy as np

from atldld.fetch.limits import Limits
from atldld.fetch.session import Session
from atldld.settings import Settings


@dataclass(frozen=True)
class Reader:
    """A kind of file.

    Attributes
    ----------
    name : str
        Of the test.
    file : str
        The file's name, with folders if need be.
    samples : callable
        Returns valid files as bytes; takes a `Samples`.
    read : callable
        Takes the file's path, and reads it.
    cases : int
        How many odd files are tried.
    """

    name: str
    file: str
    samples: Callable[["Samples"], list[bytes]]
    read: Callable[[Path], object]
    cases: int = 1000


class Samples:
    """What valid files are made from, once for all readers."""

    def __init__(self, folder, session):
        self.folder, self.session = folder, session
        self.download()  # some readers look into it, whichever of them comes first

    def download(self):
        """An output folder of data set 909, coarse and without masks."""
        from atldld.sections.download import download_dataset
        from atldld.sections.register import Recipe

        out = self.folder / "909"
        if not out.exists():
            download_dataset(909, out, Recipe(400), session=self.session)
        return out

    def content(self, name, write):
        path = self.folder / name
        write(path)
        return path.read_bytes()


# ---- alignment files


def _alignments(samples):
    from atldld.api import open_dataset
    from atldld.formats import write_quicknii

    dataset = open_dataset(909, session=samples.session)
    ours = samples.content("q.json", lambda path: write_quicknii(dataset, path))
    document = json.loads(ours)
    slices = document["slices"][:2]
    small = {**document, "slices": slices}
    markers = [{**one, "markers": [[1, 2, 3, 4]]} for one in slices]
    others = {
        "atlas": document["target"],
        "sections": [{**one, "ouv": one["anchoring"]} for one in slices],
        "aligner": "VisuAlign",
    }
    web = {
        "atlas": document["target"],
        "sections": [
            {**one, "filename": f"909_s{one['nr']:03d}", "ouv": one["anchoring"]} for one in markers
        ],
    }
    documents = small, {**small, "slices": markers}, others, web
    return [json.dumps(one).encode() for one in documents]


def read_alignment(path):
    from atldld.place.alignment import read_alignment as read

    alignment = read(path)
    assert alignment.file is not None
    json.dumps(alignment.file.describe()).encode()
    for placement in alignment.placements(_record()).values():
        assert np.isfinite(placement.forward).all()
        assert np.isfinite(placement.backward).all()
        if placement.deformation is not None:
            back = placement.deformation.to_image(placement.deformation.to_flat([[50.0, 60.0]]))
            np.testing.assert_allclose(back, [[50, 60]], atol=10)  # as far as a file may miss


@cache
def _record():
    from atldld.demo.archive import DemoArchive
    from atldld.records import SectionDataSet

    (row,) = (one for one in DemoArchive().tables()["SectionDataSet"] if one["id"] == 909)
    return SectionDataSet.from_records(row, row["section_images"])


# ---- registrations


def _registrations(samples, folder="reg"):
    from atldld.place.deformation import Displacements, SplineDeformation
    from atldld.place.markers import MarkerDeformation
    from atldld.place.placement import Placement
    from atldld.place.refinement import ExpectedError
    from atldld.place.registration import Registration, SectionFit

    images = _record().images[:3]
    plain = [Placement.of(_record(), image) for image in images]
    waves = np.sin(np.arange(5 * 6 * 2)).reshape(5, 6, 2) * 9
    bends = (
        SplineDeformation.of(Displacements((0.0, 0.0), (200.0, 200.0), waves)),
        MarkerDeformation.of([[300, 300, 310, 305]], 900, 700),
        None,
    )
    error = ExpectedError(
        before=9, after=5, bound90_before=19, bound90_after=9, structures={997: (9, 5)}
    )
    fits = {
        image.id: SectionFit.of(
            Placement(flat.forward, flat.backward, bend),
            image.section_number,
            pixel=1.0,
            expected_error=error,
        )
        for image, flat, bend in zip(images, plain, bends, strict=True)
    }
    path = samples.folder / folder / "r.json"
    Registration(909, fits, {"atlas": {"name": "ccf_2017"}}).save(path, force=True)
    return [path.read_bytes()]


def _displacements(samples):
    _registrations(samples, "mha")
    (file,) = (samples.folder / "mha" / "r.fields").glob("*_to_flat.mha")
    return [file.read_bytes()]


def read_displacements(path):
    """Read a registration that vouches for the field, whatever that holds."""
    from hashlib import sha256

    whole = path.parent / "mha" / "r.json"
    document = json.loads(whole.read_text())
    (told,) = (one["deformation"] for one in document["sections"].values() if "deformation" in one)
    content = path.read_bytes()
    (whole.parent / told["to_flat"]["file"]).write_bytes(content)
    told["to_flat"]["sha256"] = sha256(content).hexdigest()
    path.with_name("mha").joinpath("odd.json").write_text(json.dumps(document))
    read_alignment(path.with_name("mha") / "odd.json")


# ---- grids


def _header(**fields):
    known = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryDataByteOrderMSB": "False",
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "Offset": "0 0 0",
        "ElementSpacing": "200 200 200",
        "DimSize": "3 2 2",
        "ElementType": "MET_FLOAT",
        "ElementDataFile": "energy.raw",
        **fields,
    }
    return "\n".join(f"{name} = {value}" for name, value in known.items()).encode()


def read_grid_header(path):
    from atldld.regions.grids import read_grid

    (path.parent / "energy.raw").write_bytes(np.arange(12, dtype="<f4").tobytes())
    grid = read_grid({"energy": path})
    assert grid.data["energy"].size == 12


def _zips(samples):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for kind in ("energy", "density", "intensity"):
            archive.writestr(f"{kind}.mhd", _header(ElementDataFile=f"{kind}.raw"))
            archive.writestr(f"{kind}.raw", np.arange(12, dtype="<f4").tobytes())
    return [out.getvalue()]


def _answering(path):
    """A session of which every answer is a file's content."""
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=path.read_bytes()))
    settings = Settings(api_url="http://s", download_url="http://s", cache_dir=path.parent / "c")
    return Session(settings, limits=Limits(attempts=1, first_wait=0), transport=transport)


def read_grid_answer(path):
    from atldld.regions.grids import fetch_grid

    with _answering(path) as session:
        fetch_grid(909, session=session, refresh=True)


# ---- fields, maps, drawings


def _fields(samples):
    out = io.BytesIO()
    np.save(out, np.zeros((4, 3, 2), dtype=np.float32))
    whole = io.BytesIO()
    np.save(whole, np.ones((2, 2, 2), dtype=">i2"))
    pickled = io.BytesIO()
    np.save(pickled, np.array([print, None]), allow_pickle=True)
    return [out.getvalue(), whole.getvalue(), pickled.getvalue()]


def read_field(path):
    from atldld.warp import DisplacementField

    field = DisplacementField.from_file(path)
    assert field.delta_x.dtype == np.float32


def _maps(samples):
    from atldld.place import Affine

    affine = Affine(np.eye(3, 4), "a", "b")
    return [samples.content("m.json", affine.save)]


def read_map(path):
    from atldld.place import Affine

    assert Affine.load(path).matrix.ndim == 2


def _drawings(samples):
    plain = (
        b'<?xml version="1.0" encoding="UTF-8"?>\n<svg xmlns="http://www.w3.org/2000/svg" '
        b'width="10" height="20"><g id="1"><path structure_id="5" d="M 1,2 L 3,4 z"/></g></svg>\n'
    )
    entities = (
        b'<!DOCTYPE svg [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">'
        b'<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;"><!ENTITY d SYSTEM "file:///etc/passwd">]>'
        b"<svg><title>&c;</title></svg>"
    )
    return [plain, entities]


def read_drawing(path):
    from atldld.atlas.plates import _check_svg

    _check_svg(path)


def _graphs(samples):
    from atldld.demo.atlas import structure_graph

    whole = json.loads(structure_graph())
    flat = [
        {"id": 1, "acronym": "root", "name": "root", "parent_structure_id": None},
        {"id": 2, "acronym": "b", "parent_structure_id": 1, "color_hex_triplet": "FF0000"},
        {"id": 3, "acronym": "c", "parent_structure_id": 2, "graph_order": 2, "st_level": 1},
    ]
    return [json.dumps(whole).encode(), json.dumps(flat).encode()]


def read_graph(path):
    from atldld.atlas import StructureGraph

    graph = StructureGraph.from_file(path)
    for one in graph:
        graph.ancestors(one.id)
        assert len(one.rgb) == 3
    graph.roll_up([1, 2, 3], depth=1)


# ---- lists, journals, tables


def read_list(path):
    from atldld.batch import read_ids

    listed = read_ids([str(path)])
    assert all(0 < one < 1 << 63 for one in listed.ids)


def _journals(samples):
    lines = (
        {"batch": 1, "request": {"makes": "sections", "resolution": 25.0}},
        {"begun": "2026-01-01T00:00:00+00:00", "command_line": "atldld download"},
        {"data_set": 909, "state": "done", "sections": 14, "bytes": 5, "seconds": 1.5},
        {"data_set": 5, "state": "failed", "why": "No such thing.", "passing": True},
    )
    return [b"\n".join(json.dumps(one).encode() for one in lines) + b"\n"]


def read_journal(path):
    from atldld.batch.journal import Journal

    journal = Journal(path, {"makes": "sections", "resolution": 25.0})
    journal.close()
    for entry in journal.known.values():
        assert f"{entry.bytes / 1e6:,.1f} {entry.seconds:,.1f} {entry.sections}"
    Journal(path, {"makes": "sections", "resolution": 25.0}).close()


def _points(samples):
    return [
        b'note,image_id,x,y\n"the dentate,\n gyrus",69177654,6384,2744\n=1+1,5,1e2,-3.5\n,,,\n',
        b"structure_id,p_um,i_um,r_um\n22,1,2,3\n",
    ]


def read_points(path):
    from atldld.formats.points import _pixels, _reference
    from atldld.formats.tables import read_table, write_table

    table = read_table(str(path))
    whole = table.with_columns({"new": np.zeros(len(table))})
    write_table(path.with_name("out.csv"), whole, force=True)
    if "structure_id" in table.names:
        table.ids("structure_id")
        _reference(table, None)
    ids, xy = _pixels(table)
    assert ids.dtype == np.int64
    assert xy.shape == (len(table), 2)


def _parquet(samples):
    import pyarrow
    import pyarrow.parquet

    def table(last):
        columns = {
            "note": ["a", None],
            "image_id": [69177654, 5],
            "x": [1.5, 2.0],
            "y": pyarrow.array([1, 2], pyarrow.int8()),
            "when": pyarrow.array([0, last], pyarrow.timestamp("s")),
            "nested": [[1], []],
        }
        return samples.content(
            "p.parquet", lambda path: pyarrow.parquet.write_table(pyarrow.table(columns), path)
        )

    return [table(1), table(2**40)]  # of the second, Python has no date


# ---- the catalogue


def _catalogues(samples):
    from atldld.find import update
    from atldld.find.catalogue import catalogue_path

    update(samples.session, images=True)
    return [catalogue_path(samples.session.cache.root).read_bytes()]


def read_catalogue(path):
    from atldld.find import catalogue_info, search

    session = Session(Settings(cache_dir=path.parent, offline=True, api_url="http://s"))
    root = session.cache.root
    root.mkdir(parents=True, exist_ok=True)
    (root / "catalogue.sqlite").write_bytes(path.read_bytes())
    catalogue_info(session)
    queries: tuple[tuple[Literal["dataset", "image", "gene", "structure"], dict[str, Any]], ...] = (
        ("dataset", {"gene": "Prox1"}),
        ("image", {"dataset": 909}),
        ("gene", {"name": "p*"}),
        ("structure", {"name": "*"}),
    )
    for kind, filters in queries:
        found = search(kind, session=session, **filters)
        found.to_records()
        str(found.source)


# ---- output folders


def _metadata(samples):
    return [(samples.download() / "metadata.json").read_bytes()]


def _folder(path):
    """The folder of a file, with the pictures of a whole one beside it."""
    folder = path.parent
    for picture in (path.parent.parent / "909").glob("*.png"):
        link = folder / picture.name
        if not link.exists():
            link.symlink_to(picture)
    return folder


def read_metadata_for_reports(path):
    from atldld.report import open_source

    session = Session(Settings(cache_dir=path.parent / "c", offline=True))
    source = open_source(str(_folder(path)), session=session)
    assert f"{source.origin} {source.resolution} {source.failed}"
    for _, registered in source.registered(lambda one: one.image.shape, jobs=1):
        str(registered)
        break


def read_metadata_for_napari(path):
    from atldld.napari.folder import _stack, is_ours
    from atldld.sections.metadata import read_metadata

    is_ours(_folder(path))
    _stack(read_metadata(path.parent), path.parent)


def read_metadata_for_resuming(path):
    from atldld.batch.work import _metadata_in
    from atldld.sections.download import _difference
    from atldld.sections.folder import earlier_result, files_of, still_there

    before = earlier_result(_folder(path), 909, force=False)
    still_there(path.parent, before)
    _difference(before.get("request"), {"resolution": 25})
    files_of(_metadata_in(path.parent))


def read_metadata_for_sheets(path):
    from atldld.sections.download import overview

    overview(_folder(path), path.parent / "sheet.png")


def _outlines(samples):
    document = {
        "type": "FeatureCollection",
        "atldld": {"frame": "image", "pixel": 4.0},
        "features": [
            {
                "type": "Feature",
                "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]},
                "properties": {
                    "structure_id": 5,
                    "acronym": "a",
                    "structure_name": "b",
                    "hemisphere": "left",
                    "classification": {"name": "a", "color": [1, 2, 3]},
                },
            }
        ],
    }
    return [json.dumps(document).encode()]


def read_outlines(path):
    from atldld.napari.folder import _rings
    from atldld.sections.metadata import read_metadata

    metadata = read_metadata(path.parent.parent / "909")
    warnings.filterwarnings("ignore", "o.geojson does not say on which picture")
    for _, rings in _rings(path, metadata.output, next(iter(metadata.per_image.values()))):
        assert all(ring.ndim == 2 for ring in rings)


def _store(samples):
    document = {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": {
            "ome": {
                "version": "0.5",
                "multiscales": [
                    {
                        "name": "v",
                        "axes": [{"name": "z", "type": "space", "unit": "micrometer"}],
                        "datasets": [],
                    }
                ],
            },
            "atldld": {"shows": "image"},
        },
    }
    return [json.dumps(document).encode()]


def read_store(path):
    from atldld.napari.store import is_ours

    is_ours(path.parent)


def _pictures(samples):
    return [next(iter(sorted(samples.download().glob("*.png")))).read_bytes()]


def read_picture(path):
    from atldld.napari.folder import _picture
    from atldld.sections.metadata import read_metadata

    output = read_metadata(path.parent / "909").output
    _picture(path, (output.rows, output.columns, 3))


# ---- volumes, archives, what an update has left


def _volumes(samples):
    import nrrd

    data = np.zeros((132, 80, 114), dtype=np.uint32)
    data[1:5, 2:6, 3:7] = 997
    header = {
        "space": "left-posterior-superior",
        "space directions": np.eye(3) * 100,
        "space origin": [0, 0, 0],
    }
    return [samples.content("v.nrrd", lambda path: nrrd.write(str(path), data, header))]


def read_volume(path):
    from atldld.atlas.ccf import read_volume as read

    read(path, 100, "annotation")


def _archives(samples):
    from atldld.fetch.archive import export_archive

    samples.session.dataset(909)
    path = samples.folder / "archive.zip"
    if not path.exists():
        export_archive(samples.session.cache, path)
    return [path.read_bytes()]


def read_archive(path):
    from atldld.fetch.archive import import_archive
    from atldld.fetch.cache import Cache

    import_archive(Cache(path.parent / "imported"), path)


def _staged(samples):
    import sqlite3
    import zlib

    def write(path):
        path.unlink(missing_ok=True)
        db = sqlite3.connect(path)
        db.execute(
            "CREATE TABLE page (query TEXT, page TEXT PRIMARY KEY, fetched TEXT, envelope TEXT, "
            "rows BLOB)"
        )
        envelope = json.dumps({"num_rows": 1, "total_rows": 1, "msg": [{"id": 5}]})
        rows = zlib.compress(json.dumps([{"id": 5, "name": "a"}]).encode())
        db.execute("INSERT INTO page VALUES ('q', 'p', '2999', ?, ?)", (envelope, rows))
        db.commit()
        db.close()

    return [samples.content("staged.sqlite", write)]


def read_staged(path):
    from atldld.find.renewal import _errors, _Staging
    from atldld.rma.query import RMAParameters

    session = Session(Settings(cache_dir=path.parent, offline=True, api_url="http://s"))
    root = session.cache.root
    root.mkdir(parents=True, exist_ok=True)
    (root / "catalogue-update.sqlite").write_bytes(path.read_bytes())
    with _errors(root):
        (root / "catalogue-update.sqlite-journal").unlink(missing_ok=True)
        staging = _Staging(root, session, None)
        try:
            page = RMAParameters("M")
            query = RMAParameters("M")
            for column, text in (("page", page.text), ("query", query.text)):
                staging._db.execute(f"UPDATE page SET {column} = ?", (text,))
            staging._page(query, page)
            assert all(row is None or isinstance(row, object) for row in staging.rows(query))
        finally:
            staging.close()


READERS = (
    Reader("alignment", "a.json", _alignments, read_alignment, 2000),
    Reader("registration", "reg/r.json", _registrations, read_alignment, 1000),
    Reader("displacements of a registration", "f.mha", _displacements, read_displacements, 500),
    Reader("grid header", "energy.mhd", lambda _: [_header(), _header(DimSize="1 1 12")],
           read_grid_header, 2000),
    Reader("grid answer", "grid.zip", _zips, read_grid_answer, 400),
    Reader("field", "f.npy", _fields, read_field, 2000),
    Reader("map", "m.json", _maps, read_map),
    Reader("drawing of a plate", "p.svg", _drawings, read_drawing),
    Reader("structure graph", "g.json", _graphs, read_graph, 1500),
    Reader("list of ids", "l.txt", lambda _: [b"# mine\n909\n69289763 # Prox1\n", b"1\r\n2\r\n"],
           read_list, 2000),
    Reader("journal", "batch.jsonl", _journals, read_journal, 1000),
    Reader("points as CSV", "p.csv", _points, read_points, 2000),
    Reader("points as Parquet", "p.parquet", _parquet, read_points, 1000),
    Reader("catalogue", "k.sqlite", _catalogues, read_catalogue, 250),
    Reader("folder for reports", "r/metadata.json", _metadata, read_metadata_for_reports, 250),
    Reader("folder for napari", "n/metadata.json", _metadata, read_metadata_for_napari, 1000),
    Reader("folder to go on with", "o/metadata.json", _metadata, read_metadata_for_resuming, 400),
    Reader("folder for a sheet", "s/metadata.json", _metadata, read_metadata_for_sheets, 150),
    Reader("outlines", "u/o.geojson", _outlines, read_outlines, 1500),
    Reader("store", "z/zarr.json", _store, read_store, 1000),
    Reader("picture", "p.png", _pictures, read_picture, 500),
    Reader("volume", "v.nrrd", _volumes, read_volume, 400),
    Reader("archive", "import.zip", _archives, read_archive, 400),
    Reader("what an update has left", "staged.sqlite", _staged, read_staged, 400),
)  # fmt: skip
