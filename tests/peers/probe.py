"""Ask the installed package ``atldld`` many things and write its answers down.

Run unchanged by two interpreters, each with a package of that name::

    python probe.py FOLDER

``FOLDER/answers.json`` and ``FOLDER/arrays.npz`` are read by `answers.Answers`. Nothing but the
published import paths is used. A call that fails is an answer too: the class of the error.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import itertools
import json
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

DEMO, DEMO_IMAGE = 909, 101321610
SAGITTAL, CORONAL = 69289763, 71717084
ABSENT_SET, ABSENT_IMAGE = 123, 5

answers: dict[str, Any] = {}
arrays: dict[str, np.ndarray] = {}
scratch = Path(tempfile.mkdtemp())


def encode(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return {"plain": value}
    if isinstance(value, enum.Enum):
        return {"plain": [value.name, value.value, str(value)]}
    if isinstance(value, (int, float, str, np.number)):
        kind = type(value).__name__
        return {"plain": value.item() if isinstance(value, np.number) else value, "type": kind}
    if isinstance(value, np.ndarray):
        key = f"a{len(arrays)}"
        arrays[key] = value
        return {"array": key}
    if isinstance(value, dict):
        return {"pairs": [[encode(k), encode(v)] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        return {"items": [encode(v) for v in value], "type": type(value).__name__}
    if type(value).__name__ == "DisplacementField":
        return {"field": [encode(value.delta_x), encode(value.delta_y)]}
    if isinstance(value, Path):
        return {"plain": value.name, "type": "Path"}
    return {"plain": None, "type": type(value).__name__}


def probe(name: str, call: Callable[[], Any]) -> None:
    assert name not in answers, name
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answers[name] = encode(call())
    except Exception as error:
        bases = [base.__name__ for base in type(error).__mro__]
        answers[name] = {"error": bases[0], "bases": bases[1:], "message": str(error)[:300]}


def module(name: str) -> Any:
    return importlib.import_module(f"atldld.{name}")


def constants() -> None:
    c, d = module("constants"), module("dataset")
    for name in ("REF_DIM_1UM", "REF_DIM_25UM", "AFFINE_TEMPLATES"):
        probe(f"constants.{name}", lambda name=name: getattr(c, name))
    for name in ("PlaneOfSection", "ReferenceSpace"):
        probe(f"dataset.{name}", lambda name=name: list(getattr(d, name)))
        probe(f"dataset.{name}(9)", lambda name=name: getattr(d, name)(9))
        probe(f"dataset.{name}(77)", lambda name=name: getattr(d, name)(77))
        probe(f"dataset.{name}('coronal')", lambda name=name: getattr(d, name)("coronal"))
    probe("config.user_cache_dir", lambda: module("config").user_cache_dir())
    probe("config.user_cache_dir.exists", lambda: module("config").user_cache_dir().is_dir())


def signatures() -> None:
    wanted = {
        "utils": "get_image get_experiment_list_from_gene get_2d get_2d_bulk get_3d "
        "pir_to_xy_API_single xy_to_pir_API_single get_corners_in_ref_space abi_get_request "
        "CommonQueries",
        "sync": "xy_to_pir pir_to_xy get_parallel_transform DatasetDownloader "
        "DatasetNotFoundError download_dataset download_parallel_dataset",
        "base": "DisplacementField affine affine_simple",
        "requests": "RMAParameters rma rma_all RMAError",
        "config": "user_cache_dir",
        "plot": "dataset_preview",
    }

    def parameters(of: Any) -> list[list[str]]:
        return [
            [p.name, repr(None if p.default is p.empty else p.default), str(p.default is p.empty)]
            for p in inspect.signature(of).parameters.values()
        ]

    for where, names in wanted.items():
        for name in names.split():
            key = f"signature.{where}.{name}"
            probe(key, lambda where=where, name=name: parameters(getattr(module(where), name)))
    for cls, method in itertools.chain(
        (("sync.DatasetDownloader", m) for m in ("fetch_metadata", "run", "__len__")),
        (("base.DisplacementField", m) for m in ("warp", "save", "from_file", "from_transform")),
        (("utils.CommonQueries", m) for m in ("get_axis", "get_reference_space")),
    ):
        where, name = cls.split(".")
        probe(
            f"signature.{cls}.{method}",
            lambda where=where, name=name, method=method: parameters(
                getattr(getattr(module(where), name), method)
            ),
        )


def names() -> None:
    """Ask what each module offers: names of the package, and constants."""

    def offered(module: Any) -> list[str]:
        found = []
        for name, value in vars(module).items():
            home = getattr(value, "__module__", None) or type(value).__module__
            public = not name.startswith("_") and not inspect.ismodule(value)
            if public and (home.startswith("atldld") or name.isupper()):
                found.append(name)
        return sorted(found)

    for where in ("sync", "utils", "base", "requests", "dataset", "constants", "config", "plot"):
        probe(f"names.{where}", lambda where=where: offered(module(where)))


def images() -> None:
    u = module("utils")
    for d in (0, 1, 3):
        probe(f"get_image.{d}", lambda d=d: u.get_image(DEMO_IMAGE, downsample=d))
    probe("get_image.again", lambda: u.get_image(DEMO_IMAGE, downsample=3))
    probe(
        "get_image.expression", lambda: u.get_image(DEMO_IMAGE + 6, expression=True, downsample=2)
    )
    for kind in (str, Path):
        folder = scratch / f"folder-{kind.__name__}"
        folder.mkdir()
        key, given = f"get_image.folder.{kind.__name__}", kind(folder)
        probe(key, lambda f=given: u.get_image(DEMO_IMAGE, folder=f, downsample=4))
        probe(f"{key}.files", lambda f=folder: sorted(p.name for p in f.rglob("*") if p.is_file()))
        for d, expression in ((4, True), (5, False)):
            probe(
                f"{key}.{d}.{expression}",
                lambda f=given, d=d, expression=expression: (
                    u.get_image(DEMO_IMAGE, f, expression, d).shape
                ),
            )
        probe(
            f"{key}.files.more",
            lambda f=folder: sorted(p.name for p in f.rglob("*") if p.is_file()),
        )
    probe(
        "get_image.folder.absent",
        lambda: u.get_image(DEMO_IMAGE, folder=scratch / "new" / "deep", downsample=4).shape,
    )
    probe("get_image.str", lambda: u.get_image(str(DEMO_IMAGE), downsample=4).shape)
    probe("error.get_image.absent", lambda: u.get_image(ABSENT_IMAGE))
    probe("error.get_image.absent.expression", lambda: u.get_image(ABSENT_IMAGE, expression=True))
    probe("error.get_image.tier", lambda: u.get_image(DEMO_IMAGE, downsample=99))
    probe("error.get_image.negative", lambda: u.get_image(DEMO_IMAGE, downsample=-1))


def matrices() -> None:
    u = module("utils")
    for dataset, image in ((DEMO, DEMO_IMAGE), (SAGITTAL, 69177634)):
        for ref2inp, last in itertools.product((False, True), repeat=2):
            flags = f"{dataset}.{ref2inp:d}{last:d}"
            probe(f"get_2d.{flags}", lambda i=image, r=ref2inp, a=last: u.get_2d(i, r, a))
            probe(
                f"get_2d_bulk.{flags}", lambda i=dataset, r=ref2inp, a=last: u.get_2d_bulk(i, r, a)
            )
            probe(f"get_3d.{flags}", lambda i=dataset, r=ref2inp, a=last: u.get_3d(i, r, a))
            probe(
                f"get_3d.{flags}.meta",
                lambda i=dataset, r=ref2inp, a=last: u.get_3d(i, r, a, return_meta=True),
            )
        for name in ("get_axis", "get_reference_space"):
            probe(f"{name}.{dataset}", lambda i=dataset, n=name: getattr(u.CommonQueries, n)(i))
            probe(
                f"{name}.{dataset}.instance",
                lambda i=dataset, n=name: getattr(u.CommonQueries(), n)(i),
            )
    for name in ("get_2d", "xy_to_pir"):
        call = (
            (lambda: u.get_2d(ABSENT_IMAGE))
            if name == "get_2d"
            else (lambda: u.xy_to_pir_API_single(0, 0, ABSENT_IMAGE))
        )
        probe(f"error.{name}.absent", call)
    probe("error.get_2d_bulk.absent", lambda: u.get_2d_bulk(ABSENT_SET))
    probe("error.get_3d.absent", lambda: u.get_3d(ABSENT_SET))
    probe("error.get_axis.absent", lambda: u.CommonQueries.get_axis(ABSENT_SET))
    probe(
        "error.get_reference_space.absent", lambda: u.CommonQueries.get_reference_space(ABSENT_SET)
    )
    probe("error.pir_to_xy.absent", lambda: u.pir_to_xy_API_single(1, 2, 3, ABSENT_SET))
    probe("error.corners.absent", lambda: u.get_corners_in_ref_space(ABSENT_IMAGE, 10, 10))


def points() -> None:
    u, s = module("utils"), module("sync")
    random = np.random.default_rng(5)
    for dataset in (DEMO, SAGITTAL, CORONAL):
        bulk = u.get_2d_bulk(dataset)
        ids = [int(i) for i in sorted(bulk)][:: max(len(bulk) // 4, 1)][:4]
        tvr, trv = u.get_3d(dataset), u.get_3d(dataset, ref2inp=True)
        for i in ids:
            tsv, tvs = u.get_2d(i), u.get_2d(i, ref2inp=True)
            xys = np.vstack(
                (random.uniform(-500, 12000, (2, 40)), random.uniform(0, 9000, (1, 40)))
            )
            pir = random.uniform(0, 1, (3, 40)) * [[13200], [8000], [11400]]
            probe(f"xy_to_pir.{i}", lambda a=xys, m=tsv, n=tvr: s.xy_to_pir(a, m, n))
            probe(f"pir_to_xy.{i}", lambda a=pir, m=tvs, n=trv: s.pir_to_xy(a, m, n))
            for k, (x, y) in enumerate(((0, 0), (100, 250.5), (5000, 3000), (-10, 7))):
                probe(
                    f"xy_to_pir_API_single.{i}.{k}",
                    lambda i=i, x=x, y=y: u.xy_to_pir_API_single(x, y, i),
                )
            probe(f"corners.{i}", lambda i=i: u.get_corners_in_ref_space(i, 2856, 2656))
        for k, (p, i, r) in enumerate(
            ((6600, 4000, 5700), (3000, 2500.5, 4000), (9000, 3000, 7000), (-50, 100, 200))
        ):
            for space in (9, 10):
                probe(
                    f"pir_to_xy_API_single.{dataset}.{k}.{space}",
                    lambda d=dataset, a=(p, i, r), space=space: u.pir_to_xy_API_single(
                        *a, d, reference_space=space
                    ),
                )
            probe(
                f"pir_to_xy_API_single.{dataset}.{k}.default",
                lambda d=dataset, a=(p, i, r): u.pir_to_xy_API_single(*a, d),
            )
    tsv, tvr = np.eye(3)[:2] * 2, np.eye(4)[:3]
    probe("xy_to_pir.homogeneous", lambda: s.xy_to_pir(np.ones((3, 2)), np.eye(3), np.eye(4)))
    probe("xy_to_pir.list", lambda: s.xy_to_pir([[1.0], [2.0], [3.0]], tsv.tolist(), tvr.tolist()))
    probe("xy_to_pir.int", lambda: s.xy_to_pir(np.ones((3, 2), dtype=int), tsv, tvr))
    probe("xy_to_pir.float32", lambda: s.xy_to_pir(np.ones((3, 2), np.float32), tsv, tvr))
    probe("xy_to_pir.empty", lambda: s.xy_to_pir(np.ones((3, 0)), tsv, tvr))
    for name in ("xy_to_pir", "pir_to_xy"):
        f = getattr(s, name)
        probe(f"error.{name}.rows", lambda f=f: f(np.ones((2, 4)), tsv, tvr))
        probe(f"error.{name}.one", lambda f=f: f(np.ones(3), tsv, tvr))
        probe(f"error.{name}.matrices", lambda f=f: f(np.ones((3, 2)), tvr, tsv))


def transforms() -> None:
    u, s = module("utils"), module("sync")
    for dataset, image in ((DEMO, DEMO_IMAGE + 7), (SAGITTAL, 69177658)):
        tvs, trv = u.get_2d(image, True), u.get_3d(dataset, True)
        for axis, ref, tier in itertools.product(
            ("coronal", "sagittal", "transverse"), (25, 64, 100), (0, 2)
        ):
            probe(
                f"parallel.{dataset}.{axis}.{ref}.{tier}",
                lambda m=tvs, n=trv, a=axis, r=ref, t=tier: s.get_parallel_transform(
                    5000.5, m, n, axis=a, downsample_ref=r, downsample_img=t
                ),
            )
    tvs, trv = np.eye(3)[:2], np.eye(4)[:3]
    probe("error.parallel.axis", lambda: s.get_parallel_transform(1, tvs, trv, "bogus", 100))
    probe("error.parallel.ref", lambda: s.get_parallel_transform(1, tvs, trv, "coronal", 0))
    probe("error.parallel.shapes", lambda: s.get_parallel_transform(1, trv, tvs, "coronal", 100))
    probe(
        "parallel.homogeneous",
        lambda: s.get_parallel_transform(1, np.eye(3), np.eye(4), "coronal", 100),
    )


def affines() -> None:
    b = module("base")
    grid = list(
        itertools.product((1, 0.8), (1, 1.3), (0, 0.4), (0, 3), (0, -2.5), (0, 0.2), (True, False))
    )
    for shape in ((7, 11), (8, 8)):
        probe(
            f"affine_simple.{shape[0]}", lambda h=shape: [b.affine_simple(h, *row) for row in grid]
        )
    matrix = np.array([[1.1, -0.2, 3], [0.3, 0.9, -4], [0, 0, 1]])
    probe("affine", lambda: b.affine((6, 9), matrix))
    projective = np.vstack((matrix[:2], [0.01, 0.02, 1]))
    probe("affine.projective", lambda: b.affine((6, 9), projective))
    probe("affine.2x3", lambda: b.affine((6, 9), matrix[:2]))
    probe("error.affine.shape", lambda: b.affine((6, 9), np.eye(2)))
    probe("affine_simple.defaults", lambda: b.affine_simple((4, 5)))


def fields() -> None:
    field = module("base").DisplacementField
    random = np.random.default_rng(7)
    rows, columns = np.mgrid[:30, :35].astype(float)
    dx = 6 * np.sin(rows / 5) + 0.3 * columns - 2.3
    dy = 7 * np.cos(columns / 6) + 0.2 * rows + 1.1
    probe("field.deltas", lambda: field(dx, dy))
    for name in ("shape", "norm", "transformation", "is_valid", "delta_x", "delta_y"):
        probe(f"field.{name}", lambda name=name: getattr(field(dx, dy), name))
    probe("field.from_transform", lambda: field.from_transform(dx + 3, dy - 2))
    probe("field.from_list", lambda: field(dx.tolist(), dy.tolist()))
    probe("field.float64", lambda: field(dx, dy).delta_x)
    probe("field.times", lambda: field(dx, dy) * 2.5)
    probe("field.times.left", lambda: 2.5 * field(dx, dy))
    probe("field.times.numpy", lambda: np.float64(2.5) * field(dx, dy))
    probe("field.times.zero", lambda: field(dx, dy) * 0)
    probe("error.field.times.str", lambda: field(dx, dy) * "a")
    probe("error.field.times.field", lambda: field(dx, dy) * field(dx, dy))
    for name, other in (
        ("same", (dx, dy)),
        ("close", (dx + 1e-7, dy)),
        ("far", (dx + 1, dy)),
        ("shape", (dx[:5], dy[:5])),
    ):
        probe(f"field.eq.{name}", lambda o=other: bool(field(dx, dy) == field(*o)))
        probe(f"field.ne.{name}", lambda o=other: bool(field(dx, dy) != field(*o)))
    probe("field.eq.other", lambda: bool(field(dx, dy) == 3))
    probe("field.hash", lambda: isinstance(hash(field(dx, dy)), int))
    for name, path in (
        ("path", scratch / "f.npy"),
        ("str", str(scratch / "g.npy")),
        ("bare", scratch / "h"),
        ("bare.str", str(scratch / "j")),
    ):
        probe(f"field.save.{name}", lambda p=path: field(dx, dy).save(p))
        probe(f"field.load.{name}", lambda p=path: field.from_file(p))
    probe("field.files", lambda: sorted(p.name for p in scratch.iterdir() if p.is_file()))
    probe("field.file", lambda: np.load(scratch / "f.npy"))
    probe("error.field.load.absent", lambda: field.from_file(scratch / "none.npy"))
    np.save(scratch / "bad.npy", np.zeros((4, 5)))
    probe("error.field.load.shape", lambda: field.from_file(scratch / "bad.npy"))
    probe("error.field.shapes", lambda: field(dx, dy[:5]))
    probe("error.field.1d", lambda: field(dx[0], dy[0]))
    probe("error.field.3d", lambda: field(dx[None], dy[None]))

    color = random.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    kinds = {
        "color": color,
        "gray": color[..., 0],
        "float": color.astype(np.float32) / 255,
        "double": color[..., 0].astype(np.float64),
    }
    interpolations = ("nearest", "linear", "cubic", "area", "lanczos")
    borders = ("constant", "replicate", "reflect", "wrap", "reflect_101", "transparent")
    for kind, interpolation, border in itertools.product(kinds, interpolations, borders):
        probe(
            f"warp.{kind}.{interpolation}.{border}",
            lambda k=kind, i=interpolation, b=border: field(dx, dy).warp(kinds[k], i, b),
        )
    for name, c in (("37", 37), ("255", 255), ("half", 0.5), ("triple", (10, 20, 30))):
        for kind in kinds:
            probe(
                f"warp.{kind}.c.{name}",
                lambda k=kind, c=c: field(dx, dy).warp(kinds[k], "linear", "constant", c),
            )

    def twice() -> bool:
        """Whether memory that others have used shows in the result."""
        found = []
        for junk in range(17, 250, 20):
            used = [np.full((40, 35, 3), junk, dtype=np.uint8)[:30] for _ in range(50)]
            del used
            found.append(field(dx, dy).warp(color, "linear", "transparent"))
        return all(np.array_equal(found[0], other) for other in found)

    probe("warp.transparent.twice", twice)
    probe("warp.keywords", lambda: field(dx, dy).warp(img=color, border_mode="reflect", c=3))
    probe("warp.default", lambda: field(dx, dy).warp(color))
    probe("warp.smaller", lambda: field(dx[:10, :12], dy[:10, :12]).warp(color))
    probe("warp.larger", lambda: field(np.zeros((60, 70)), np.zeros((60, 70))).warp(color))
    probe("error.warp.interpolation", lambda: field(dx, dy).warp(color, interpolation="bogus"))
    probe("error.warp.border", lambda: field(dx, dy).warp(color, border_mode="bogus"))
    probe("error.warp.image", lambda: field(dx, dy).warp(np.zeros(5)))


def queries() -> None:
    r, u = module("requests"), module("utils")
    p = r.RMAParameters
    forms: dict[str, Callable[[], Any]] = {
        "model": lambda: p("SectionDataSet"),
        "one": lambda: p("SectionDataSet", {"id": 909}),
        "two": lambda: p("SectionDataSet", {"id": 909, "plane_of_section_id": 1}),
        "string": lambda: p("SectionDataSet", {"name": "P56 Brain"}),
        "plain string": lambda: p("Gene", {"acronym": "Prox1"}),
        "digits": lambda: p("Gene", {"acronym": "123"}),
        "quoted": lambda: p("Gene", {"acronym": "'Prox1'"}),
        "bools": lambda: p("SectionDataSet", {"failed": False, "expression": True}),
        "bool strings": lambda: p("SectionDataSet", {"failed": "false"}),
        "float": lambda: p("SectionDataSet", {"section_thickness": 25.0}),
        "none": lambda: p("SectionDataSet", {"rnaseq_design_id": None}),
        "nested": lambda: p("SectionDataSet", {"genes": {"acronym": "Prox1"}}),
        "nested two": lambda: p("SectionDataSet", {"genes": {"acronym": "Prox1", "id": 3}}),
        "mixed": lambda: p("SectionDataSet", {"id": 1, "genes": {"acronym": "Prox1"}}),
        "mixed order": lambda: p("SectionDataSet", {"genes": {"acronym": "Prox1"}, "id": 1}),
        "mixed three": lambda: p("M", {"a": {"b": 1}, "c": 2, "d": {"e": 3}, "f": 4}),
        "deep": lambda: p("S", {"specimen": {"donor": {"age": {"name": "P56"}}}}),
        "deep mixed": lambda: p(
            "S", {"specimen": {"id": 3, "donor": {"name": "x", "age": {"id": 1}}}}
        ),
        "two associations": lambda: p("S", {"a": {"x": 1}, "b": {"y": 2}}),
        "nested two associations": lambda: p("S", {"z": {"a": {"x": 1}, "b": {"y": 2}}}),
        "empty criteria": lambda: p("S", {}),
        "empty association": lambda: p("S", {"genes": {}}),
        "include": lambda: p("S", include=["genes", "section_images"]),
        "include one": lambda: p("S", include=["genes"]),
        "include string": lambda: p("S", include="genes"),
        "include tuple": lambda: p("S", include=("genes", "x")),
        "include filter": lambda: p("S", include=["genes[id$eq3]", "specimen(donor)"]),
        "include empty": lambda: p("S", include=[]),
        "start": lambda: p("S", start_row=0),
        "rows": lambda: p("S", num_rows=5),
        "start rows": lambda: p("S", start_row=10, num_rows=20),
        "rows zero": lambda: p("S", start_row=0, num_rows=0),
        "rows all": lambda: p("S", num_rows="all"),
        "everything": lambda: p("S", {"id": 3, "g": {"n": "x"}}, ["a", "b"], 5, 7),
        "keywords": lambda: p(model="S", criteria={"a": 1}, include=["b"], start_row=1, num_rows=2),
        "quoted spaces": lambda: p("Specimen", {"name": "'a b'"}),
        "list value": lambda: p("S", {"id": [1, 2]}),
        "list of numbers": lambda: p("S", {"id": (1, 2)}),
    }
    for name, make in forms.items():
        probe(f"parameters.{name}", lambda make=make: str(make()))
    probe("parameters.eq", lambda: p("S", {"id": 1}) == p("S", {"id": 1}))
    probe("parameters.repr", lambda: repr(p("S", {"id": 1})))
    probe(
        "parameters.attributes", lambda: [p("S", {"id": 1}).model, p("S").include, p("S").num_rows]
    )

    asked = {
        "one": lambda: p("SectionDataSet", {"id": DEMO}),
        "include": lambda: p("SectionDataSet", {"id": SAGITTAL}, include=["genes", "alignment3d"]),
        "page": lambda: p("SectionImage", {"data_set_id": DEMO}, start_row=3, num_rows=5),
        "images": lambda: p("SectionImage", {"data_set_id": DEMO}, include=["alignment2d"]),
        "gene": lambda: p("SectionDataSet", {"genes": {"acronym": "Prox1"}}, include=["genes"]),
        "nothing": lambda: p("SectionDataSet", {"id": ABSENT_SET}),
        "model": lambda: p("NoSuchModel", {"id": 1}),
        "column": lambda: p("SectionDataSet", {"no_such_column": 1}),
        "association": lambda: p("SectionDataSet", {"no_such_association": {"id": 1}}),
    }
    for name, make in asked.items():
        probe(f"rma.{name}", lambda make=make: r.rma(make()))
        probe(f"rma_all.{name}", lambda make=make: r.rma_all(make()))
    probe("error.RMAError", lambda: [base.__name__ for base in r.RMAError.__mro__])
    base = "https://api.brain-map.org/api/v2/data/"
    probe("abi_get_request", lambda: u.abi_get_request(f"{base}SectionDataSet/{DEMO}.json"))
    probe(
        "abi_get_request.query",
        lambda: u.abi_get_request(
            f"{base}query.json?criteria=model::Gene,rma::criteria,[acronym$eqProx1]"
        ),
    )
    probe(
        "error.abi_get_request",
        lambda: u.abi_get_request(f"{base}query.json?criteria=model::NoSuchModel"),
    )
    for gene, axis in itertools.product(("Prox1", "Pdyn", "nothing"), ("sagittal", "coronal")):
        probe(f"genes.{gene}.{axis}", lambda g=gene, a=axis: u.get_experiment_list_from_gene(g, a))
    probe("genes.default", lambda: u.get_experiment_list_from_gene("Prox1"))
    probe("error.genes.axis", lambda: u.get_experiment_list_from_gene("Prox1", "bogus"))


def datasets() -> None:
    s = module("sync")
    make = s.DatasetDownloader

    def ready(*arguments: Any, **options: Any) -> Any:
        downloader = make(*arguments, **options)
        downloader.fetch_metadata()
        return downloader

    probe("downloader.metadata.before", lambda: make(DEMO).metadata)
    probe("downloader.len", lambda: len(ready(DEMO)))
    probe("downloader.len.without_metadata", lambda: len(make(DEMO)))
    probe(
        "downloader.attributes",
        lambda: {
            k: v for k, v in vars(make(DEMO)).items() if not k.startswith("_") and k != "metadata"
        },
    )

    def metadata(**options: Any) -> Any:
        downloader = make(DEMO)
        downloader.fetch_metadata(**options)
        return downloader.metadata

    probe("downloader.metadata", metadata)
    probe("downloader.metadata.again", lambda: metadata(force_redownload=True))

    def light(one: Any) -> list[Any]:
        """The types of a section's five things, and all but the pixels."""
        image_id, coordinate, img, expression, df = one
        return [
            [type(x).__name__ for x in one],
            int(image_id),
            float(coordinate),
            img.shape,
            None if expression is None else expression.shape,
            df,
        ]

    cases = {
        "plain": {"downsample_ref": 100, "downsample_img": 3},
        "expression": {"downsample_ref": 100, "downsample_img": 2, "include_expression": True},
        "detection": {"downsample_ref": 100, "downsample_img": 3, "detection_xy": (1428, 1328)},
        "odd": {"downsample_ref": 64, "downsample_img": 1, "detection_xy": (100, 2000)},
    }
    for name, options in cases.items():
        probe(f"run.{name}", lambda o=options: [light(x) for x in ready(DEMO, **o).run()])
    probe("run.first", lambda: list(next(iter(ready(DEMO, downsample_ref=25).run()))))
    probe(
        "run.sagittal",
        lambda: [
            light(x)
            for x in itertools.islice(
                ready(SAGITTAL, downsample_ref=100, downsample_img=4).run(), 4
            )
        ],
    )
    probe(
        "run.order.coronal",
        lambda: [
            int(x[0])
            for x in itertools.islice(ready(CORONAL, downsample_ref=100, downsample_img=4).run(), 5)
        ],
    )
    probe(
        "run.warped",
        lambda: [
            df.warp(img)
            for _, _, img, _, df in itertools.islice(
                ready(DEMO, downsample_ref=50, downsample_img=2).run(), 4
            )
        ],
    )
    probe("run.str", lambda: len(ready(str(DEMO))))
    probe("error.downloader", lambda: make(ABSENT_SET))
    probe("error.downloader.len", lambda: len(make(ABSENT_SET)))
    probe("error.downloader.fetch", lambda: make(ABSENT_SET).fetch_metadata())
    probe("error.downloader.run", lambda: next(iter(make(ABSENT_SET).run())))

    def before_metadata() -> int:
        return int(next(iter(make(DEMO, downsample_ref=100, downsample_img=3).run()))[0])

    probe("run.without_metadata", before_metadata)
    probe(
        "error.DatasetNotFoundError", lambda: [b.__name__ for b in s.DatasetNotFoundError.__mro__]
    )
    for name in ("download_dataset", "download_parallel_dataset"):
        probe(f"sync.{name}", lambda name=name: callable(getattr(s, name)))


def page() -> Any:
    from atldld.utils import get_image

    img = get_image(101321610)

    from atldld.sync import DatasetDownloader

    downloader = DatasetDownloader(909, downsample_ref=25)
    data_gen = downloader.run()
    image_id, p, img, img_expression, df = next(iter(data_gen))
    img_reg = df.warp(img)
    return image_id, float(p), img.shape, img_expression, img_reg


def page_with_metadata() -> Any:
    from atldld.sync import DatasetDownloader

    downloader = DatasetDownloader(909, downsample_ref=25)
    downloader.fetch_metadata()
    image_id, p, img, img_expression, df = next(iter(downloader.run()))
    return image_id, float(p), img.shape, img_expression, df.warp(img)


def figures() -> None:
    d, plot = module("dataset"), module("plot")
    corners = [
        np.array([[p, 0, 0], [p, 0, 9000], [p, 7000, 9000], [p, 7000, 0]]) for p in (1e3, 5e3)
    ]

    def figure(plane: Any) -> Any:
        made = plot.dataset_preview(corners, plane)
        return [base.__name__ for base in type(made).__mro__ if "igure" in base.__name__]

    for name in ("CORONAL", "SAGITTAL", "TRANSVERSE", "VARIABLE", "NA"):
        probe(f"plot.{name}", lambda name=name: figure(getattr(d.PlaneOfSection, name)))
    probe("plot.empty", lambda: type(plot.dataset_preview([], d.PlaneOfSection.CORONAL)).__name__)
    probe(
        "plot.generator",
        lambda: type(plot.dataset_preview((c for c in corners), d.PlaneOfSection.CORONAL)).__name__,
    )


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for part in (
        constants, names, signatures, images, matrices, points, transforms, affines, fields,
        queries, datasets, figures,
    ):  # fmt: skip
        try:
            part()
        except Exception as error:
            answers[f"broken.{part.__name__}"] = {
                "error": type(error).__name__, "bases": [], "message": str(error)[:300],
            }  # fmt: skip
    probe("page", page)
    probe("page.metadata", page_with_metadata)
    np.savez(folder / "arrays.npz", **arrays)
    (folder / "answers.json").write_text(json.dumps(answers))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
