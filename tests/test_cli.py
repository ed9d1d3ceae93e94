"""The command, as it is typed; errors are one sentence and a status, never a traceback."""

import json
import re
import subprocess
import sys
from functools import partial

import pytest

COMMAND = [sys.executable, "-m", "atldld"]


@pytest.fixture
def atldld(at_demo_server):
    def run(*arguments, status=0, **environ):
        import os

        done = subprocess.run(
            [*COMMAND, *map(str, arguments)],
            capture_output=True,
            text=True,
            env={**os.environ, **environ},
            timeout=600,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == status, (done.stdout, done.stderr)
        return done

    return run


COMMANDS = [
    (),
    ("info",),
    ("info", "version"),
    ("info", "cache"),
    *(("cache", name) for name in ("info", "list", "verify", "prune", "export", "import")),
    *(("export", name) for name in ("quicknii", "fields", "sections")),
    *(
        ("sync", name)
        for name in (
            "image-to-reference",
            "reference-to-image",
            "image-to-image",
            "structure-to-image",
            "image-to-image-2d",
            "image-to-atlas",
        )
    ),
    ("volume",),
    ("search",),
    ("search", "dataset"),
    ("search", "image"),
    ("dataset",),
    ("dataset", "info"),
    ("dataset", "preview"),
    ("download",),
    ("download", "dataset"),
    ("download", "image"),
    ("serve",),
    ("demo",),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command, atldld):
    assert "Usage" in atldld(*command, "--help").stdout


def test_version(atldld):
    from atldld import __version__

    assert __version__ in atldld("--version").stdout
    assert __version__ in atldld("info", "version").stdout


def test_info_cache(atldld, tmp_path):
    atldld("dataset", "info", 909)
    told = atldld("info", "cache").stdout
    assert str(tmp_path / "cache") in told
    assert "files" in told


def test_search(atldld):
    found = atldld("search", "dataset", "-g", "Prox1", "-p", "sagittal")
    assert "69289763" in found.stdout
    assert "05-0660" in found.stdout
    assert "1 section data set" in found.stderr
    assert "71717084" in atldld("search", "dataset", "-s", "05-2716").stdout
    assert "69289763" in atldld("search", "dataset", "-i", 69289763).stdout
    images = atldld("search", "image", "-d", 69289763)
    assert "69177654" in images.stdout
    assert "18 section images" in images.stderr
    assert "69177654" in atldld("search", "image", "-g", "Prox1").stdout
    assert "11921" in atldld("search", "image", "-i", 69177654).stdout


def test_search_finds_nothing(atldld):
    told = atldld("search", "dataset", "-g", "prox1", status=3)
    assert "exactly" in told.stderr
    assert "condition" in atldld("search", "dataset", status=2).stderr


def test_search_again_offline(atldld):
    atldld("search", "dataset", "-g", "Prox1")
    assert "69289763" in atldld("search", "dataset", "-g", "Prox1", "--offline").stdout
    assert (
        "not in the cache"
        in atldld("search", "dataset", "-g", "Pdyn", "--offline", status=4).stderr
    )


def test_dataset_info(atldld):
    told = atldld("dataset", "info", 69289763).stdout
    for word in ("Prox1", "sagittal", "P56 Brain, L/R Flipped", "25.0 µm", "SYNTHETIC", "1.01°"):
        assert word in told
    assert "69177654" in told


def test_dataset_preview(atldld, tmp_path):
    told = atldld("dataset", "preview", 909, "-o", tmp_path / "p")
    assert told.stdout.strip().endswith("dataset-id-909-preview.png")
    assert (tmp_path / "p" / "dataset-id-909-preview.png").stat().st_size > 10_000


def test_download_twice_the_second_time_offline(atldld, tmp_path):
    out = tmp_path / "out"
    args = ("download", "dataset", 909, out, "--resolution", 100, "-e")
    first = atldld(*args)
    assert "14 sections written" in first.stderr
    assert str(out) in first.stdout
    metadata = json.loads((out / "metadata.json").read_text())
    assert metadata["command_line"].endswith(f"download dataset 909 {out} --resolution 100 -e")
    second = atldld(*args[:3], tmp_path / "again", *args[4:], "--offline")
    assert "14 sections written" in second.stderr
    for path in out.glob("*.png"):
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
    third = atldld(*args, "--offline")
    assert "0 sections written, 14 were there already" in third.stderr


def test_download_options(atldld, tmp_path):
    out = tmp_path / "o"
    atldld(
        "download", "dataset", 909, out, "--plane", "parallel", "--downsample-ref", 200,
        "--downsample-img", 3, "--fields", "--format", "tiff", "--jobs", 1,
    )  # fmt: skip
    metadata = json.loads((out / "metadata.json").read_text())
    assert metadata["downsample_ref"] == 200
    assert metadata["downsample_img"] == 3
    assert metadata["output"]["plane_kind"] == "parallel"
    assert (out / "101321615.tif").exists()
    assert (out / "101321615_field.npy").exists()
    told = atldld("download", "dataset", 909, out, status=6)
    assert "--force" in told.stderr
    atldld("download", "dataset", 909, out, "--resolution", 200, "--force")
    assert not (out / "101321615.tif").exists()


def test_download_image(atldld, tmp_path):
    told = atldld("download", "image", 101321610, tmp_path / "o", "--downsample-img", 4, "-e")
    assert told.stdout.splitlines() == [
        str(tmp_path / "o" / "101321610-4.png"),
        str(tmp_path / "o" / "101321610-4-expression.png"),
    ]
    many = atldld(
        "download", "image", 101321611, 5, 101321612, tmp_path / "o", "--downsample-img", 4,
        status=1,
    )  # fmt: skip
    assert len(many.stdout.splitlines()) == 2
    assert "no section image 5" in many.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (("dataset", "12345"), 3, "12345"),
        (("dataset", "-5"), 2, "-5"),
        (("dataset", "0"), 2, "0"),
        (("dataset", "Prox1:coronal"), 3, "Prox1"),
        (("dataset", "909", "--resolution", "0"), 2, "positive"),
        (("dataset", "909", "--resolution", "nan"), 2, "positive"),
        (("dataset", "909", "--downsample-img", "5"), 2, "tiers 0 to 4"),
        (("dataset", "909", "--downsample-img", "fine"), 2, "auto"),
        (("dataset", "909", "--plane", "slanted"), 2, "slanted"),
        (("dataset", "909", "--api-url", "nonsense"), 2, "ATLDLD_API_URL"),
        pytest.param(
            ("dataset", "909", "--api-url", "http://127.0.0.1:9"),
            4,
            "http://127.0.0.1:9",
            marks=pytest.mark.long,  # it tries again, and waits in between
        ),
        (("dataset", "909", "--offline"), 4, "atldld download 909"),
        (("image", "12345"), 3, "12345"),
        (("image", "101321610", "--downsample-img", "7"), 2, "tiers 0 to 4"),
    ],
)
def test_bad_input(atldld, tmp_path, arguments, status, says):
    kind, number, *options = arguments
    told = atldld("download", kind, number, tmp_path / "out", *options, status=status)
    assert says in told.stderr
    assert not (tmp_path / "out").exists()


def test_settings_are_options_of_the_command(atldld, at_demo_server, tmp_path):
    other = tmp_path / "other-cache"
    atldld(
        "dataset", "info", 909, "--cache-dir", other, "--api-url", at_demo_server,
        ATLDLD_API_URL="http://127.0.0.1:9",
    )  # fmt: skip
    assert list(other.rglob("909.json"))
    atldld("dataset", "info", 909, "--cache-dir", other, ATLDLD_OFFLINE="1")


def check_demo(stdout, stderr, tmp_path):
    folder = tmp_path / "demo" / "69289763"
    page = tmp_path / "demo" / "report.html"
    assert stdout.split() == [str(folder), str(page)]
    assert "SYNTHETIC" in stderr
    text = page.read_text("utf-8")
    assert "SYNTHETIC" in text
    # the sections were put off by known amounts, and the report shows them there and refined
    assert '"alignments":{"before":"disturbed.json","after":"refined.json"}' in text
    said = re.search(r"Known error, .*: (\d+) µm before, (\d+) µm after; ", stderr)
    assert said is not None
    before, after = map(int, said.groups())
    assert 150 < before < 300
    assert after < before / 2
    for name in ("disturbed", "refined"):
        registration = json.loads((tmp_path / "demo" / f"{name}.json").read_text())
        assert registration["about"]["synthetic"]
        assert list((tmp_path / "demo" / f"{name}.fields").glob("*.mha"))
    assert len(list(folder.glob("*_expr.png"))) == 18
    assert json.loads((folder / "metadata.json").read_text())["complete"]
    assert not (tmp_path / "cache").exists()


@pytest.mark.long
def test_demo(tmp_path, monkeypatch):
    """All that the command does, at a quarter of its resolution."""
    from click.testing import CliRunner

    import atldld.report as report
    from atldld.cli import app
    from atldld.sections import register

    monkeypatch.setenv("ATLDLD_API_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(register, "Recipe", partial(register.Recipe, 100))
    monkeypatch.setattr(report, "try_atlas", partial(report.try_atlas, resolution=100))
    coarse = partial(report.open_source, resolution=100, table_resolution=100)
    monkeypatch.setattr(report, "open_source", coarse)
    told = CliRunner().invoke(app, ["demo", str(tmp_path / "demo")])
    assert told.exit_code == 0, told.output
    check_demo(told.stdout, told.stderr, tmp_path)


@pytest.mark.slow
def test_demo_as_it_is_typed(atldld, tmp_path):
    told = atldld("demo", tmp_path / "demo", ATLDLD_API_URL="http://127.0.0.1:9")
    check_demo(told.stdout, told.stderr, tmp_path)


def test_a_reason_that_many_share_is_told_once(capsys):
    from atldld.cli.download import _say_failed

    refused = "The request failed: refused."
    _say_failed(
        {"1": f"{refused} [image 1]", "2": f"{refused} [image 2]", "3": "Broken. [image 3]"}
    )
    assert capsys.readouterr().err.splitlines() == [
        f"Image 1 could not be fetched: {refused} [image 1]",
        "The same happened to 1 more: 2",
        "Image 3 could not be fetched: Broken. [image 3]",
    ]


def test_offline_names_what_is_missing(atldld, tmp_path):
    cache = ("--cache-dir", tmp_path / "c")
    atldld("dataset", "info", 909, *cache)
    told = atldld("download", "dataset", 909, tmp_path / "out", *cache, "--offline", status=1)
    assert told.stderr.count("Fetch it once with `atldld download image") == 14


def test_the_list_of_commands_says_what_they_say():
    """The root's help imports none of them, so it could drift away."""
    from atldld.cli import COMMANDS, app, help_text

    commands = app.commands
    shown = help_text()
    for part in COMMANDS.values():
        for name, summary in part.items():
            assert commands[name].get_short_help_str(200).startswith(summary.rstrip(".")), name
            assert f"  {name} " in shown
    assert len(commands) == sum(map(len, COMMANDS.values()))
