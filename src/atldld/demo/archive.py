"""The packaged demo archive: genuine numbers, made-up pixels.

It holds the records of section data sets 69289763 (Prox1, sagittal, 18 sections) and 71717084
(Pdyn, coronal, 112 sections) as the Allen Institute registered them. Their pixels are rendered
when they are asked for, from the procedural brain of `atldld.demo.anatomy`, through those very
matrices; each picture says that it is synthetic. So the truth at every point is known, and no
image of the Allen Institute is redistributed.

Data set 909, which the published page of atldld 0.3 uses, is a stand-in: every eighth section of
71717084 in small images (2856 × 2656 pixels), renumbered.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from threading import Lock
from typing import Any, TypeVar, overload

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from atldld.demo import anatomy, render
from atldld.demo.atlas import atlas_tables
from atldld.place import Placement
from atldld.records import SectionDataSet
from atldld.serve.archive import Archive, View, vocabulary
from atldld.support.bounded import Bounded
from atldld.support.processes import cached_property, renew_in_children

__all__ = ["DEMO_DATASET_IDS", "DemoArchive"]

DEMO_DATASET_IDS = (69289763, 71717084, 909)

PAGE_DATASET = 909
PAGE_IMAGE = 101321610
PAGE_SIZE = (2856, 2656)
PAGE_SCALE = 5.8  # so that the widest section of 71717084 fits into PAGE_SIZE

# Encoded pictures that are kept: some clients ask for the same one again and again. Pixels are
# kept too, as one picture may be asked for in many pieces and qualities.
KEPT_BYTES = 64 << 20
KEPT_PIXELS = 96 << 20

# Where the centres of the demo brain's structures lie, as (p, i, r) in µm: the mean over its right
# half of the voxels of 100 µm whose centres are in the structure, rounded to 10 µm.
STRUCTURE_CENTERS = {
    1: (7340, 4010, 7650),  # root
    2: (7450, 3970, 7650),  # grey
    10: (5910, 3400, 8280),  # CTX
    11: (6100, 3250, 8300),  # CTX1
    12: (5760, 3350, 8200),  # CTX2/3
    13: (5770, 3420, 8240),  # CTX4
    14: (5900, 3480, 8330),  # CTX5
    15: (6080, 3540, 8400),  # CTX6
    20: (7570, 3370, 8070),  # HPF
    21: (7700, 2940, 7780),  # CA
    22: (7420, 3410, 8090),  # DG
    23: (7580, 3410, 8090),  # HPFn
    30: (5520, 4770, 7590),  # STR
    31: (6970, 4150, 6730),  # TH
    32: (6460, 6180, 6250),  # HY
    33: (9100, 3570, 6730),  # MB
    34: (11070, 5870, 6930),  # HB
    40: (11750, 3230, 7550),  # CB
    41: (11770, 3220, 7610),  # CBmo
    42: (11740, 3210, 7480),  # CBgr
    43: (11500, 4000, 7200),  # CBN
    50: (1110, 4600, 6620),  # OB
    51: (1000, 4650, 6570),  # OBgl
    52: (1090, 4630, 6610),  # OBopl
    53: (1220, 4540, 6680),  # OBgr
    70: (6280, 4350, 7740),  # fiber tracts
    71: (6110, 4280, 8000),  # cc
    72: (5880, 4550, 7450),  # int
    73: (11520, 3360, 7590),  # arb
    80: (7530, 4200, 6110),  # VS
    81: (5400, 3350, 6290),  # VL
    82: (6730, 5080, 5750),  # V3
    83: (11080, 4130, 6350),  # V4
}

# What the demo's genes are called. The acronyms come with the genuine records; names, Entrez and
# Ensembl ids are the real ones, the ids of the records are made up. The human gene has no data set.
GENES: tuple[dict[str, Any], ...] = (
    {
        "id": 900001,
        "acronym": "Prox1",
        "name": "prospero homeobox 1",
        "alias_tags": "A230003G05Rik",
        "entrez_id": 19130,
        "ensembl_id": "ENSMUSG00000010175",
        "organism_id": 2,
    },
    {
        "id": 900002,
        "acronym": "Pdyn",
        "name": "prodynorphin",
        "alias_tags": "Dyn",
        "entrez_id": 18610,
        "ensembl_id": "ENSMUSG00000027400",
        "organism_id": 2,
    },
    {
        "id": 900003,
        "acronym": "Demo",
        "name": "gene of the demonstration",
        "alias_tags": None,
        "entrez_id": None,
        "ensembl_id": None,
        "organism_id": 2,
    },
    {
        "id": 900004,
        "acronym": "PDYN",
        "name": "prodynorphin",
        "alias_tags": "ADCA PENKB SCA23",
        "entrez_id": 5173,
        "ensembl_id": "ENSG00000101327",
        "organism_id": 1,
    },
)

ISH = {"id": 900001, "name": "ISH", "synthetic": True}

Record = dict[str, Any]
T = TypeVar("T")


class DemoArchive(Archive):
    """A source for the local service whose pixels come from a procedural brain.

    Parameters
    ----------
    dataset_ids : sequence of int
        Which of the packaged data sets to offer.
    cells, noise : bool
        Whether the pictures show cells and camera noise.
    label : str or None
        What is written on every picture.
    """

    synthetic = True
    makes_files = True

    def __init__(
        self,
        dataset_ids: Sequence[int] = DEMO_DATASET_IDS,
        *,
        cells: bool = True,
        noise: bool = True,
        label: str | None = "SYNTHETIC",
    ) -> None:
        self.cells, self.noise, self.label = cells, noise, label
        self._datasets = [_load(dataset_id) for dataset_id in dataset_ids]
        self._forget()
        self._lock = Lock()
        renew_in_children(self)

    def renew(self) -> None:
        """Make a new lock in a forked child."""
        self._lock = Lock()

    def _forget(self) -> None:
        self._kept: Bounded[tuple[object, ...], bytes] = Bounded(KEPT_BYTES, len)
        self._pixels: Bounded[tuple[object, ...], NDArray[np.uint8]] = Bounded(KEPT_PIXELS, _size)

    def __getstate__(self) -> dict[str, Any]:
        made_when_asked = {"_lock", "_tables", "_kept", "_pixels"}
        return {name: value for name, value in vars(self).items() if name not in made_when_asked}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget()
        self.renew()
        renew_in_children(self)

    def tables(self) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """Return the records by model; see `Archive.tables`."""
        return self._tables

    @cached_property
    def _tables(self) -> dict[str, Sequence[Record]]:
        datasets: list[Record] = []
        images: list[Record] = []
        for dataset, own in self._datasets:
            full = {**_searchable(dataset), "synthetic": True, "section_images": own}
            datasets.append(full)
            images += [{**image, "data_set": full, "section_data_set": full} for image in own]
        return {
            "SectionDataSet": datasets,
            "SectionImage": images,
            **vocabulary(),
            "StructureCenter": _structure_centers(),
            "StructureUnionize": _Unionizes(datasets),
            **atlas_tables(),
            "Gene": [{**gene, "synthetic": True} for gene in GENES],
            "Probe": [probe for dataset in datasets for probe in dataset["probes"]],
            "Specimen": list({d["specimen_id"]: d["specimen"] for d in datasets}.values()),
            "Treatment": [ISH],
            "Product": list({p["id"]: p for d in datasets for p in d["products"]}.values()),
            "Structure": _structures(),
        }

    def image(
        self,
        image_id: int,
        downsample: int,
        view: View,
        *,
        quality: int,
        region: tuple[int, int, int, int] | None,
    ) -> bytes | None:
        """Return the rendered JPEG of a section image; see `Archive.image`."""
        jpeg = self.held_image(image_id, downsample, view, quality=quality, region=region)
        if jpeg is not None:
            return jpeg
        pixels = self._rendered(image_id, downsample, view)
        if pixels is None:
            return None
        if region is not None:
            left, top, width, height = region
            pixels = pixels[top : top + height, left : left + width]
        made: bytes = simplejpeg.encode_jpeg(
            np.ascontiguousarray(pixels), quality=quality, colorspace="RGB", colorsubsampling="444"
        )
        key = (image_id, downsample, view, quality, region)
        if len(made) <= KEPT_BYTES // 2:
            with self._lock:
                self._kept.keep(key, made)
        return made

    def held_image(
        self,
        image_id: int,
        downsample: int,
        view: View,
        *,
        quality: int,
        region: tuple[int, int, int, int] | None,
    ) -> bytes | None:
        """Return a JPEG that was made before, or `None`; see `Archive.held_image`."""
        key = (image_id, downsample, view, quality, region)
        with self._lock:
            return self._kept.get(key)

    def _rendered(self, image_id: int, downsample: int, view: View) -> NDArray[np.uint8] | None:
        key = (image_id, downsample, view)
        with self._lock:
            known = self._pixels.get(key)
        if known is not None:
            return known
        found = self._find(image_id)
        if found is None:
            return None
        dataset, image = found
        pixels = render.render(
            Placement.from_records(dataset, image).forward,
            image["width"],
            image["height"],
            downsample,
            view=view,
            cells=self.cells,
            noise=self.noise,
            seed=image_id,
            label=self.label,
        )
        if pixels.nbytes <= KEPT_PIXELS // 2:
            with self._lock:
                self._pixels.keep(key, pixels)
        return pixels

    def make_file(self, path: str) -> bytes | None:
        """Return the atlas's volumes and structure graph, by the path of their addresses."""
        from atldld.demo import atlas as volumes

        if path.removesuffix(".json") == "/api/v2/structure_graph_download/1":
            return volumes.structure_graph()
        return volumes.volume(path)

    def plate(
        self, plate_id: int, downsample: int, *, annotation: bool, quality: int
    ) -> bytes | None:
        """Return a plate of the demo atlas; see `Archive.plate`."""
        from atldld.demo import atlas as volumes

        return volumes.plate_image(plate_id, downsample, annotation=annotation, quality=quality)

    def plate_svg(self, plate_id: int) -> bytes | None:
        """Return a plate's drawing of the demo atlas; see `Archive.plate_svg`."""
        from atldld.demo import atlas as volumes

        return volumes.plate_svg(plate_id)

    def grid(self, dataset_id: int, kinds: Sequence[str]) -> bytes | None:
        """Return grids that are summed up from the rendered sections; see `Archive.grid`."""
        from atldld.demo.grids import grid_zip

        for dataset, images in self._datasets:
            if dataset["id"] == dataset_id:
                return grid_zip(SectionDataSet.from_records(dataset, images), kinds)
        return None

    def _find(self, image_id: int) -> tuple[Record, Record] | None:
        pairs: Iterator[tuple[Record, Record]] = (
            (dataset, image) for dataset, own in self._datasets for image in own
        )
        return next((pair for pair in pairs if pair[1]["id"] == image_id), None)


def _size(pixels: NDArray[np.uint8]) -> int:
    return pixels.nbytes


class _Unionizes(Sequence[Record]):
    """The rows of StructureUnionize, summed up when they are first asked for."""

    def __init__(self, datasets: Sequence[Record]) -> None:
        self._datasets = datasets
        self._summed: list[Record] | None = None
        self._lock = Lock()

    @property
    def _rows(self) -> list[Record]:
        from atldld.demo.grids import structure_unionizes

        with self._lock:  # it takes seconds, and more than one may ask
            if self._summed is None:
                self._summed = [
                    row
                    for dataset in self._datasets
                    for row in structure_unionizes(
                        SectionDataSet.from_records(dataset, dataset["section_images"])
                    )
                ]
            return self._summed

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | Sequence[Record]:
        return self._rows[index]


def _searchable(dataset: Record) -> Record:
    """Complete a data set's record with what searches look at: its genes, a probe, a treatment."""
    shown = {gene["acronym"] for gene in dataset["genes"]}
    genes = [{**gene, "synthetic": True} for gene in GENES if gene["acronym"] in shown]
    probes = [
        {
            "id": 10 * gene["id"] + k,
            "name": f"{gene['acronym']} - demo",
            "gene_id": gene["id"],
            "orientation_id": 2,
            "orientation": {"id": 2, "name": "Antisense"},
            "synthetic": True,
        }
        for k, gene in enumerate(genes)
    ]
    return {**dataset, "genes": genes, "probes": probes, "treatments": [ISH]}


def _structures() -> list[Record]:
    """Return the demo brain's own structures as those of the adult mouse's graph."""
    paths: dict[int | None, str] = {None: "/"}
    records = []
    for order, structure in enumerate(anatomy.STRUCTURES):
        paths[structure.id] = f"{paths[structure.parent_id]}{structure.id}/"
        records.append(
            {
                "id": structure.id,
                "acronym": structure.acronym,
                "name": structure.name,
                "parent_structure_id": structure.parent_id,
                "graph_id": 1,
                "graph_order": order,
                "depth": paths[structure.id].count("/") - 2,
                "structure_id_path": paths[structure.id],
                "color_hex_triplet": structure.color_hex,
                "synthetic": True,
            }
        )
    return records


def _structure_centers() -> list[Record]:
    """Return the centres in both adult spaces: right ones in 9, left ones in 10."""
    return [
        {
            "id": 100 * space + structure_id,
            "structure_id": structure_id,
            "x": float(p),
            "y": float(i),
            "z": float(r if space == 9 else 11400 - r),
            "reference_space_id": space,
            "synthetic": True,
        }
        for space in (9, 10)
        for structure_id, (p, i, r) in STRUCTURE_CENTERS.items()
    ]


def _load(dataset_id: int) -> tuple[Record, list[Record]]:
    if dataset_id == PAGE_DATASET:
        return _page_dataset()
    text = files("atldld.demo").joinpath("data", f"{dataset_id}.json").read_text("utf-8")
    records = json.loads(text)
    return records["section_data_set"], records["section_images"]


def _page_dataset() -> tuple[Record, list[Record]]:
    """Make the stand-in for data set 909 out of every eighth section of 71717084."""
    dataset, originals = _load(71717084)
    dataset = {
        **dataset,
        "id": PAGE_DATASET,
        "alignment3d": {**dataset["alignment3d"], "aligned_id": PAGE_DATASET},
        "genes": [{"acronym": "Demo"}],
    }
    originals = sorted(originals, key=lambda image: image["section_number"])[::8]
    images = []
    for offset, original in enumerate(originals):
        width, height = PAGE_SIZE
        alignment: Record = {"section_image_id": PAGE_IMAGE + offset}
        for name, scale in (("tsv", PAGE_SCALE), ("tvs", 1 / PAGE_SCALE)):
            numbers = [original["alignment2d"][f"{name}_{k:02d}"] for k in range(6)]
            linear, shift = np.reshape(numbers[:4], (2, 2)), np.array(numbers[4:])
            old = np.array([original["width"], original["height"]]) / 2
            new = np.array([width, height]) / 2
            # both boxes keep the same centre in the volume
            if name == "tsv":
                shift = shift + linear @ (old - PAGE_SCALE * new)
            else:
                shift = new + (shift - old) / PAGE_SCALE
            numbers = [*(linear * scale).ravel(), *shift]
            # six digits, as the service stores them
            alignment |= {f"{name}_{k:02d}": float(f"{v:.6g}") for k, v in enumerate(numbers)}
        images.append(
            {
                **original,
                "id": PAGE_IMAGE + offset,
                "data_set_id": PAGE_DATASET,
                "width": width,
                "height": height,
                "image_width": width,
                "image_height": height,
                "resolution": round(original["resolution"] * PAGE_SCALE, 3),
                "tier_count": 5,
                "alignment2d": alignment,
            }
        )
    return dataset, images
