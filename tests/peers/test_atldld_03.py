"""The doors of 0.3, beside the published 0.3.4 run as a black box on the same local service.

Run with ``pytest -m peer tests/peers``. What is not named in `DIFFERENCES` must agree.
"""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from atldld.cli.spelling import OLD
from tests.peers.answers import Answers, Failure, Field, difference

pytestmark = [pytest.mark.peer, pytest.mark.timeout(900)]

DIFFERENCES = {
    # Python: patterns of the names of `probe`'s questions
    "dataset.ReferenceSpace": "all ten spaces, not two",
    "signature.*Error": "an error has a message and more to tell",
    "signature.base.DisplacementField.save": "one argument more: force, by default as in 0.3",
    "signature.sync.download_*": "0.3.4 does not have these two; its page speaks of them",
    "sync.download_*": "the same",
    "signature.requests.RMAParameters": "two arguments more, at the end: order and only",
    "parameters.repr": "the same",
    "error.*Error": "more base classes, those of 0.3 among them",
    "error.*": "what cannot be had is a plain sentence instead of a stray error of a library",
    "rma.model": "refusals are an RMAError with the service's own words, not an HTTPError",
    "rma.column": "the same",
    "rma.association": "the same",
    "rma_all.model": "the same",
    "rma_all.column": "the same",
    "rma_all.association": "the same",
    "rma_all.page": "rma_all goes on from start_row; 0.3 throws start_row and num_rows away",
    "get_image.folder.*.5.False": "a tier that is not there is refused before any request",
    "get_image.folder.absent": "the folder is made; 0.3 fails if it is not there",
    "xy_to_pir.homogeneous": "3 rows; 0.3 passes the homogeneous row on",
    "parallel.homogeneous": "the homogeneous row is accepted",
    "xy_to_pir.list": "lists are accepted",
    "field.from_list": "lists are accepted",
    "xy_to_pir.float32": "float64 throughout",
    "affine.2x3": "a ValueError in both",
    "field.eq.*": "what differs is unequal; 0.3 raises for another shape or type",
    "field.ne.shape": "the same",
    "field.save.bare*": "a ValueError in both, ours a sentence",
    "field.load.bare*": "the same",
    "warp.*.transparent": "0.3 leaves pixels outside the image to chance",
    "warp.transparent.twice": "the same",
    "warp.color.c.37": "one number is meant for every channel; 0.3 fills the first one only",
    "warp.color.c.255": "the same",
    "warp.float.c.*": "the same",
    "parameters.*": "strings are quoted, true, false and null are the service's own words",
    "downloader.len.without_metadata": "metadata is fetched on demand; 0.3 raises",
    "run.without_metadata": "the same",
    "page": "the same: the printed page does not run under 0.3.4",
    "plot.TRANSVERSE": "drawn; 0.3 raises",
    "plot.VARIABLE": "refused as a ValueError",
    "plot.NA": "the same",
    # the command line
    "exit 3: nothing found": "0.3 says so and exits with 0",
    "exit 3: no such thing": "0.3 exits with 1, as for all that goes wrong",
    "exit 3: no such name": "a word may be a gene's name; 0.3 takes numbers only",
    "exit 2: no condition": "a mistake in the arguments, as for any other; 0.3 exits with 1",
    "exit 2: no id": "an id below 1 is a mistake in the arguments; 0.3 asks the service",
    "pictures": "pixel centres, and the third coordinate at the middle of the image; 0.3 uses "
    "the corners of pixels and image pixel (0, 0)",
}

# Names of questions with tolerances: what 0.3 computes in single precision.
TOLERANCES = {
    "xy_to_pir.*": 0.02,  # µm
    "pir_to_xy.*": 0.005,  # pixels
    "parallel.*": 0.01,  # pixels
    "corners.*": 1e-9,
    "field.norm": 1e-5,
    "run.warped": 2,  # grey levels
    "run.first": 0.01,
    "run.*": 0.01,  # µm and pixels
    "get_image*": 2,  # grey levels: decoders of JPEG
}


def tolerance(name: str) -> float:
    return next((value for key, value in TOLERANCES.items() if fnmatchcase(name, key)), 0.0)


def agree(old: Answers, new: Answers, *patterns: str, leave_out: str = "") -> None:
    names = [
        name
        for name in old.names()
        if any(fnmatchcase(name, pattern) for pattern in patterns)
        and not any(fnmatchcase(name, known) for known in DIFFERENCES)
        and not (leave_out and fnmatchcase(name, leave_out))
    ]
    assert names, patterns
    found = {}
    for name in names:
        if (what := difference(old[name], new[name], atol=tolerance(name))) is not None:
            found[name] = what
    assert not found, "\n".join(f"{k}: 0.3 | ours: {v}" for k, v in found.items())


# ---------------------------------------------------------------- the same answers


def test_the_probe_asked_both_the_same(old, new):
    assert old.names() == new.names()
    assert not old.names("broken.")
    assert not new.names("broken.")


def test_constants(old, new):
    agree(old, new, "constants.REF*", "dataset.Plane*", "config.*")


def test_affine_templates(old, new):
    assert old["constants.AFFINE_TEMPLATES"] == new["constants.AFFINE_TEMPLATES"]


def test_reference_spaces_of_03_keep_their_names(old, new):
    mine = {(name, number): label for name, number, label in new["dataset.ReferenceSpace"]}
    for name, number, label in old["dataset.ReferenceSpace"]:
        by_number = [n for (n, k) in mine if k == number]
        assert mine.get((name, number)) == label, f"{name} is called {by_number}"


def test_reference_space_of_an_id(old, new):
    agree(old, new, "dataset.ReferenceSpace(*")


def test_every_name_of_a_module_is_there(old, new):
    """Scripts also take from a module what it had only imported."""
    for question in old.names("names."):
        assert set(old[question]) <= set(new[question]), question


def test_signatures(old, new):
    agree(old, new, "signature.*")


def test_images(old, new):
    agree(old, new, "get_image.*")


def test_matrices(old, new):
    agree(old, new, "get_2d.*", "get_2d_bulk.*", "get_3d.*", "get_axis.*", "get_reference_space.*")


def test_points(old, new):
    agree(old, new, "xy_to_pir.*", "pir_to_xy.*", "corners.*")


def test_single_points(old, new):
    agree(old, new, "xy_to_pir_API_single.*", "pir_to_xy_API_single.*")


def test_parallel_transforms(old, new):
    agree(old, new, "parallel.*")


def test_affine(old, new):
    assert difference(old["affine"], [x.astype(float) for x in new["affine"]], atol=1e-5) is None


def test_affine_divides_by_the_third_coordinate(old, new):
    np.testing.assert_allclose(
        flat(new["affine.projective"]), flat(old["affine.projective"]), atol=1e-5
    )


@pytest.mark.parametrize("centred", [False, True], ids=["origin", "centred"])
@pytest.mark.parametrize("height", [7, 8])
def test_affine_simple(old, new, height, centred):
    """Centred is about ((width - 1) / 2, (height - 1) / 2) in 0.3: the middle pixel's centre."""
    # the last of the probe's parameters is apply_centering: True, False, True, ...
    theirs, mine = (
        np.array([flat(fields) for fields in answers[f"affine_simple.{height}"]])
        for answers in (old, new)
    )
    step = slice(0 if centred else 1, None, 2)
    np.testing.assert_allclose(mine[step], theirs[step], atol=1e-5)


def test_affine_types(old, new):
    for name in [*old.names("affine_simple."), "affine"]:
        assert {a.dtype for a in leaves(new[name])} == {a.dtype for a in leaves(old[name])}, name


def test_displacement_fields(old, new):
    agree(old, new, "field.*")


def test_warps(old, new):
    agree(old, new, "warp.*")


def test_rma_answers(old, new):
    agree(old, new, "rma.*", "rma_all.*", "abi_get_request*")


def test_gene_lists(old, new):
    agree(old, new, "genes.*")


@pytest.mark.parametrize(
    ("gene", "axis", "id"), [("Prox1", "sagittal", 69289763), ("Pdyn", "coronal", 71717084)]
)
def test_gene_lists_are_not_empty(old, new, gene, axis, id):
    assert old[f"genes.{gene}.{axis}"] == [id]
    assert new[f"genes.{gene}.{axis}"] == [id]


def test_downloader_before_and_length(old, new):
    agree(old, new, "downloader.metadata.before", "downloader.len", "downloader.attributes")


def test_downloader_metadata_has_the_keys_of_03(old, new):
    theirs, mine = old["downloader.metadata"], new["downloader.metadata"]
    assert mine.keys() >= theirs.keys()
    missing = {
        "dataset": theirs["dataset"].keys() - mine["dataset"].keys(),
        "images": theirs["images"][0].keys() - mine["images"][0].keys(),
    }
    assert missing == {"dataset": set(), "images": set()}


def test_downloader_metadata_has_the_values_of_03(old, new):
    theirs, mine = old["downloader.metadata"], new["downloader.metadata"]
    for key, value in theirs["dataset"].items():
        assert difference(value, mine["dataset"].get(key)) is None, key
    for a, b in zip(theirs["images"], mine["images"], strict=True):
        for key, value in a.items():
            assert difference(value, b.get(key)) is None, key


def test_downloader_order(old, new):
    for key in ("id", "section_number"):
        assert [image[key] for image in old["downloader.metadata"]["images"]] == [
            image[key] for image in new["downloader.metadata"]["images"]
        ]


def test_downloader_runs(old, new):
    agree(old, new, "run.*", leave_out="run.first")


def test_downloader_first_section_with_all_its_pixels(old, new):
    theirs, mine = old["run.first"], new["run.first"]
    assert mine[0] == theirs[0]
    assert abs(mine[1] - theirs[1]) < 0.01
    assert difference(theirs[2], mine[2], atol=2) is None
    assert mine[3] is theirs[3] is None
    assert difference(theirs[4], mine[4], atol=0.01) is None


def test_page_with_fetch_metadata(old, new):
    theirs, mine = old["page.metadata"], new["page.metadata"]
    assert [mine[0], *mine[2:4]] == [theirs[0], *theirs[2:4]]
    assert abs(mine[1] - theirs[1]) < 0.01
    assert difference(theirs[4], mine[4], atol=2) is None


def test_figures(old, new):
    agree(old, new, "plot.*")


# ---------------------------------------------------------------- the known differences


def test_the_table_holds_nothing_but_differences(old, new):
    for pattern in DIFFERENCES:
        if pattern.startswith("exit ") or pattern == "pictures" or "transparent" in pattern:
            continue  # tested by what follows; and chance may agree
        matching = [name for name in old.names() if fnmatchcase(name, pattern)]
        assert any(difference(old[name], new[name], atol=tolerance(name)) for name in matching), (
            pattern
        )


def test_page_runs_as_printed(old, new):
    assert old["page"].name == "RuntimeError"
    assert not isinstance(new["page"], Failure)
    assert difference(new["page"], new["page.metadata"]) is None


def test_metadata_on_demand(old, new):
    assert old["downloader.len.without_metadata"].name == "RuntimeError"
    assert old["run.without_metadata"].name == "RuntimeError"
    assert new["downloader.len.without_metadata"] == 14
    assert new["run.without_metadata"] == new["run.first"][0]


def test_two_names_that_only_the_page_has(old, new):
    for name in ("download_dataset", "download_parallel_dataset"):
        assert old[f"sync.{name}"].name == "AttributeError"
        assert new[f"sync.{name}"] is True


def test_errors_say_what_is_missing(old, new):
    """Each error of ours is our own, and a LookupError, a ValueError or one of 0.3's names."""
    for name in old.names("error."):
        theirs, mine = old[name], new[name]
        if isinstance(theirs, Failure) and theirs.name in {
            "KeyError",
            "TypeError",
            "FileNotFoundError",
        }:
            assert isinstance(mine, Failure), name
            assert theirs.name in {mine.name, *mine.bases}, (name, mine)
        elif isinstance(theirs, Failure):
            assert isinstance(mine, Failure), name
            assert "AtldldError" in mine.bases, (name, mine)
            assert {"LookupError", "ValueError", "ServiceError"} & {*mine.bases}, (name, mine)


def test_errors_of_03_can_still_be_caught(old, new):
    """What 0.3 raises on purpose is caught by the same ``except``."""
    for name in (
        "error.field.shapes",
        "error.field.1d",
        "error.field.3d",
        "error.field.load.shape",
        "affine.2x3",
        "error.affine.shape",
        "error.downloader.fetch",
        "error.warp.interpolation",
        "error.warp.border",
        "error.xy_to_pir.rows",
    ):
        assert old[name].name in {new[name].name, *new[name].bases}, name
    for name in ("RMAError", "DatasetNotFoundError"):
        assert set(new[f"error.{name}"]) >= set(old[f"error.{name}"])


@pytest.mark.parametrize("what", ["get_axis", "get_reference_space", "pir_to_xy", "xy_to_pir"])
def test_what_is_absent_was_a_value_error(old, new, what):
    assert old[f"error.{what}.absent"].name == "ValueError"
    assert "NotFoundError" in new[f"error.{what}.absent"].bases


def test_refusals_are_rma_errors(old, new):
    for name in ("rma.model", "rma.column", "rma.association", "rma_all.model"):
        assert old[name].name == "HTTPError"
        assert new[name].name == "RMAError"


def test_a_page_of_rma_all(old, new):
    everything = [row["id"] for row in old["rma_all.page"]]
    assert len(everything) == 14  # start_row=3, num_rows=5 were thrown away
    assert [row["id"] for row in new["rma_all.page"]] == everything[3:]


def test_absent_folder_is_made(old, new):
    assert old["get_image.folder.absent"].name == "FileNotFoundError"
    assert new["get_image.folder.absent"] == [166, 178, 3]


def test_homogeneous_rows(old, new):
    assert old["xy_to_pir.homogeneous"].shape == (4, 2)
    assert difference(old["xy_to_pir.homogeneous"][:3], new["xy_to_pir.homogeneous"]) is None
    assert isinstance(old["parallel.homogeneous"], Failure)
    assert isinstance(new["parallel.homogeneous"], Field)


def test_lists_and_precision(old, new):
    for name in ("xy_to_pir.list", "field.from_list"):
        assert old[name].name == "AttributeError"
        assert not isinstance(new[name], Failure)
    assert old["xy_to_pir.float32"].dtype == np.float32
    assert new["xy_to_pir.float32"].dtype == np.float64
    np.testing.assert_allclose(new["xy_to_pir.float32"], old["xy_to_pir.float32"])


def test_equality(old, new):
    for name in ("same", "close", "far"):
        assert old[f"field.eq.{name}"] == new[f"field.eq.{name}"]
    assert old["field.eq.shape"].name == "ValueError"
    assert old["field.eq.other"].name == "TypeError"
    assert new["field.eq.shape"] is new["field.eq.other"] is False


def test_saved_without_suffix(old, new):
    assert old["field.save.bare"].name == "ValueError"
    assert "ValueError" in new["field.save.bare"].bases
    assert new["field.files"] == old["field.files"]


def test_one_number_fills_every_channel(old, new):
    for name, kind, c in (("37", "color", 37), ("255", "color", 255), ("half", "float", 0.5)):
        black, theirs, mine = (
            new[f"warp.{kind}.linear.constant"],
            old[f"warp.{kind}.c.{name}"],
            new[f"warp.{kind}.c.{name}"],
        )
        outside = (old[f"warp.{kind}.c.triple"] - black == [10, 20, 30]).all(axis=-1)
        assert outside.any()
        assert (theirs[outside] == [c, 0, 0]).all()
        assert (mine[outside] == c).all()


def test_transparent_agrees_inside(old, new):
    for interpolation in ("nearest", "linear"):
        name = f"warp.color.{interpolation}.transparent"
        inside = (new["warp.color.linear.constant"].astype(int) == new["warp.color.c.255"]).all(
            axis=-1
        )
        assert (np.abs(old[name][inside].astype(int) - new[name][inside]) <= 2).all()


def test_transparent_does_not_show_memory_of_others(new):
    assert new["warp.transparent.twice"] is True


def test_planes_that_cannot_be_drawn(old, new):
    for name in ("TRANSVERSE", "VARIABLE", "NA"):
        assert old[f"plot.{name}"].name == "NotImplementedError"
    assert new["plot.TRANSVERSE"] == ["Figure", "FigureBase"]
    for name in ("VARIABLE", "NA"):
        assert "AtldldError" in new[f"plot.{name}"].bases, new[f"plot.{name}"]


# The text of a query: what 0.3 writes, and what ours writes where that is something else.
TEXTS = {
    "string": ("[name$eqP56 Brain]", "[name$eq'P56 Brain']"),
    "digits": ("[acronym$eq123]", "[acronym$eq'123']"),
    "bools": ("[failed$eqFalse][expression$eqTrue]", "[failed$eqfalse][expression$eqtrue]"),
    "bool strings": ("[failed$eqfalse]", "[failed$eq'false']"),
    "none": ("[rnaseq_design_id$eqNone]", "[rnaseq_design_id$eqnull]"),
    "empty criteria": ("model::S,rma::criteria", "model::S"),
    "include empty": ("model::S,rma::include", "model::S"),
    "deep mixed": (
        "specimen[id$eq3](donor[name$eqx](age[id$eq1]))",
        "specimen[id$eq3](donor[name$eq'x'](age[id$eq1]))",
    ),
}


def test_text_of_a_query_is_the_criteria_part(old, new):
    assert old["parameters.model"] == "criteria=model::SectionDataSet"
    assert new["parameters.model"] == old["parameters.model"]


def test_text_of_queries(old, new):
    """The same but for quotation marks around strings, and the words of `TEXTS`."""
    for name in old.names("parameters."):
        short = name.removeprefix("parameters.")
        if short in {*TEXTS, "repr", "attributes", "eq"} or "quoted" in short or "list" in short:
            continue
        theirs, mine = (a[name].removeprefix("criteria=") for a in (old, new))
        assert mine.replace("'", "") == theirs, name
        assert theirs.count("$eq") == mine.count("$eq")


@pytest.mark.parametrize("name", TEXTS)
def test_text_of_values(old, new, name):
    theirs, mine = TEXTS[name]
    assert old[f"parameters.{name}"].endswith(theirs)
    assert new[f"parameters.{name}"].endswith(mine)


@pytest.mark.parametrize("name", ["quoted", "quoted spaces"])
def test_values_that_the_caller_has_quoted(old, new, name):
    """0.3 writes no quotation marks, so its users had to."""
    assert new[f"parameters.{name}"] == old[f"parameters.{name}"]


# ---------------------------------------------------------------- the command line

COMMANDS = (
    "info version",
    "info cache",
    "search dataset",
    "search image",
    "dataset info",
    "dataset preview",
    "download dataset",
    "download image",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_options_of_03_are_there(peer, ours, command):
    theirs, mine = (side.run(*command.split(), "--help").stdout for side in (peer, ours))
    wanted = {word for word in re.findall(r"(?<![\w-])--?[a-z][\w-]*", theirs) if word != "--help"}
    hidden = {word for word in wanted if not re.search(rf"{word}(?![\w-])", mine)}
    assert hidden <= set(OLD.get(command, {})), "neither shown nor an older spelling that is taken"


@pytest.mark.parametrize(
    ("arguments", "status", "why"),
    [
        ("info version", 0, None),
        ("info cache", 0, None),
        ("search dataset -g Prox1", 0, None),
        ("search dataset -i 909", 0, None),
        ("search dataset -s 70971025", 0, None),
        ("search dataset -p sagittal", 0, None),
        ("search dataset -g Prox1 -p sagittal", 0, None),
        ("search image -i 101321610", 0, None),
        ("search image -d 909", 0, None),
        ("search image -g Prox1", 0, None),
        ("search dataset -i 123", 3, "exit 3: nothing found"),
        ("search image -i 5", 3, "exit 3: nothing found"),
        ("search dataset", 2, "exit 2: no condition"),
        ("search image", 2, "exit 2: no condition"),
        ("dataset info 123", 3, "exit 3: no such thing"),
        ("dataset info abc", 3, "exit 3: no such name"),
        ("dataset info 0", 2, "exit 2: no id"),
        ("dataset preview 123", 3, "exit 3: no such thing"),
        ("bogus", 2, None),
        ("dataset", 2, None),
        ("search", 2, None),
        ("download image 5 .", 3, "exit 3: no such thing"),
        ("download dataset 123 .", 3, "exit 3: no such thing"),
        ("download dataset 909", 2, None),
    ],
)
def test_exit_status(peer, ours, tmp_path, arguments, status, why):
    theirs, mine = (side.run(*arguments.split(), cwd=tmp_path).returncode for side in (peer, ours))
    assert mine == status
    if why is None:
        assert theirs == status
    else:
        assert why in DIFFERENCES
        assert theirs != status


@pytest.mark.parametrize(
    ("arguments", "dataset_id"),
    [("-g Prox1", 69289763), ("-g Pdyn", 71717084), ("-p sagittal", 69289763), ("-i 909", 909)],
)
def test_search_finds_the_same(peer, ours, arguments, dataset_id):
    for side in (peer, ours):
        found = side.run("search", "dataset", *arguments.split())
        assert str(dataset_id) in found.stdout, side.command


def test_dataset_info_says_what_03_says(peer, ours):
    """0.3 needs a column that the local service does not have."""
    patch = '"failed": false=>"failed": false, "sphinx_id": 12345'
    theirs = peer.run("dataset", "info", 909, PEER_PATCH=patch).stdout
    mine = ours.run("dataset", "info", 909).stdout
    facts = dict(line.split(":", 1) for line in theirs.splitlines() if ":" in line)
    facts = {key.strip(): value.strip() for key, value in facts.items()}
    assert facts["ID"] == "909"
    for key in ("ID", "Gene(s)", "Plane of section", "Number of section images"):
        assert facts[key] in mine, key
    assert "25.0" in facts["Section thickness"]
    assert "25.0" in mine


@pytest.mark.parametrize("options", [(), ("-e",)], ids=["plain", "expression"])
def test_files_of_download_image(peer, ours, tmp_path, options):
    names = []
    for side, folder in ((peer, tmp_path / "old"), (ours, tmp_path / "new")):
        done = side.run("download", "image", 101321616, folder, "--downsample-img", 2, *options)
        assert done.returncode == 0
        names.append(files(folder))
    assert names[0] == ["101321616-2-expression.png", "101321616-2.png"][-1 - len(options) :]
    assert names[1] == names[0]


def test_pixels_of_download_image(peer, ours, tmp_path):
    pictures = []
    for side, folder in ((peer, tmp_path / "old"), (ours, tmp_path / "new")):
        side.run("download", "image", 101321616, folder, "--downsample-img", 2, "-e")
        pictures.append([read(folder / name) for name in sorted(files(folder), key=len)])
    assert difference(*pictures, atol=2) is None


def test_file_of_preview(peer, ours, tmp_path):
    for side, folder in ((peer, tmp_path / "old"), (ours, tmp_path / "new")):
        folder.mkdir()
        assert side.run("dataset", "preview", 909, cwd=folder).returncode == 0
        assert side.run("dataset", "preview", 909, "-o", folder / "sub" / "sub").returncode == 0
    theirs, mine = (
        sorted(
            path.relative_to(tmp_path / name).as_posix()
            for path in (tmp_path / name).rglob("*.png")
        )
        for name in ("old", "new")
    )
    assert theirs == ["dataset-id-909-preview.png", "sub/sub/dataset-id-909-preview.png"]
    assert mine == theirs


SETTINGS = ("--downsample-ref", 100, "--downsample-img", 2)


@pytest.fixture(scope="module")
def downloads(peer, ours, tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("downloads")
    for name, side, more in (
        ("old-909", peer, ("-e",)),
        ("new-909", ours, ("-e", "--plane", "parallel")),
        ("default-909", ours, ("-e",)),
        ("old-69289763", peer, ()),
        ("new-69289763", ours, ("--plane", "parallel")),
    ):
        done = side.run(
            "download", "dataset", name[-8:].split("-")[-1], root / name, *SETTINGS, *more
        )
        assert done.returncode == 0, name
    return {folder.name: folder for folder in root.iterdir()}


def test_files_of_download_dataset(downloads):
    for dataset_id in (909, 69289763):
        assert files(downloads[f"old-{dataset_id}"]) == files(downloads[f"new-{dataset_id}"])
    assert files(downloads["old-909"]) == files(downloads["default-909"])
    assert len(files(downloads["old-909"])) == 14 + 14 + 1


def metadata(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "metadata.json").read_text())
    return found


def test_metadata_of_03_is_as_known(downloads):
    """The whole structure: a change here is a change of the peer or of the local service."""
    theirs = metadata(downloads["old-909"])
    per_image = theirs.pop("per_image")
    assert theirs == {
        "dataset_id": "909",
        "downsample_ref": 100,
        "downsample_img": 2,
        "plane_of_section": 1,
        "section_thickness": 25.0,
    }
    assert next(iter(per_image)) == "101321623"
    for entry in per_image.values():
        assert set(entry) == {"section_coordinate", "section_coordinate_scaled"}
        scaled = entry["section_coordinate"] / theirs["section_thickness"]
        assert entry["section_coordinate_scaled"] == pytest.approx(scaled, rel=1e-6)


@pytest.mark.parametrize("folder", ["new-909", "default-909", "new-69289763"])
def test_metadata_has_the_keys_of_03(downloads, folder):
    theirs, mine = metadata(downloads["old-" + folder.split("-")[1]]), metadata(downloads[folder])
    assert mine.keys() >= theirs.keys()
    assert mine["per_image"].keys() == theirs["per_image"].keys()
    for image_id, entry in theirs["per_image"].items():
        assert entry.keys() - mine["per_image"][image_id].keys() == set()


@pytest.mark.parametrize(
    "key",
    ["dataset_id", "downsample_ref", "downsample_img", "plane_of_section", "section_thickness"],
)
@pytest.mark.parametrize("dataset_id", [909, 69289763])
def test_metadata_has_the_values_of_03(downloads, dataset_id, key):
    theirs, mine = (metadata(downloads[f"{side}-{dataset_id}"])[key] for side in ("old", "new"))
    assert mine == theirs


@pytest.mark.parametrize("dataset_id", [909, 69289763])
def test_metadata_lists_the_highest_section_first(downloads, dataset_id):
    theirs, mine = (
        list(metadata(downloads[f"{side}-{dataset_id}"])["per_image"]) for side in ("old", "new")
    )
    assert mine == theirs


@pytest.mark.parametrize("dataset_id", [909, 69289763])
def test_pictures_have_the_shape_of_03(downloads, dataset_id):
    for name in files(downloads[f"old-{dataset_id}"])[:-1]:
        a, b = (read(downloads[f"{side}-{dataset_id}"] / name) for side in ("old", "new"))
        assert a.shape == b.shape == ((80, 114, 3) if dataset_id == 909 else (132, 80, 3))


@pytest.mark.parametrize("dataset_id", [909, 69289763])
def test_pictures_are_those_of_03_moved_by_half_a_pixel(downloads, dataset_id):
    """Ours shows at row, column what 0.3 would show at row + 1/2, column + 1/2."""
    assert "pictures" in DIFFERENCES
    theirs, mine = (metadata(downloads[f"{side}-{dataset_id}"]) for side in ("old", "new"))
    axes = {"p": 0, "i": 1, "r": 2}
    rows, columns = (axes[mine["output"][f"axis_of_{kind}"]] for kind in ("rows", "columns"))
    assert (rows, columns) == ((1, 2) if dataset_id == 909 else (0, 1))
    for image_id, entry in theirs["per_image"].items():
        ours = mine["per_image"][image_id]
        to_image = np.array(ours["reference_to_image"])
        point = np.full(4, ours["section_coordinate"])
        point[3] = 1
        point[[rows, columns]] = 100 * (5 + 0.5), 100 * (3 + 0.5)
        np.testing.assert_allclose(
            np.array(ours["image_from_output"]) @ [3, 5, 1], to_image @ point, atol=1e-6
        )
        # 0.3 takes the coordinate of image pixel (0, 0), ours that of the middle
        to_reference = np.array(ours["image_to_reference"])[3 - rows - columns]
        assert entry["section_coordinate"] == pytest.approx(to_reference[2], abs=0.01)
        middle = to_reference @ [ours["width"] / 2, ours["height"] / 2, 1]
        assert ours["section_coordinate"] == pytest.approx(middle, abs=1)


@pytest.mark.parametrize("dataset_id", [909, 69289763])
def test_pictures_are_those_of_03_to_the_eye(downloads, dataset_id):
    """Half a pixel apart: the same means, and much alike."""
    for image_id in metadata(downloads[f"old-{dataset_id}"])["per_image"]:
        a, b = (
            read(downloads[f"{side}-{dataset_id}"] / f"{image_id}.png").astype(float)
            for side in ("old", "new")
        )
        assert np.abs(a.mean(axis=(0, 1)) - b.mean(axis=(0, 1))).max() < 3
        if a.std() > 5:
            assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.75


# ---------------------------------------------------------------- helpers


def leaves(value: Any) -> list[np.ndarray]:
    if isinstance(value, np.ndarray):
        return [value]
    return [leaf for item in value for leaf in leaves(item)]


def flat(value: Any) -> np.ndarray:
    return np.stack(leaves(value)).astype(float)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def read(path: Path) -> np.ndarray:
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert picture is not None, path.name
    return picture
