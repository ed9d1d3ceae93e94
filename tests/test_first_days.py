"""Every line of docs/first-days.md is typed as it stands, against the demo archive."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "first-days.md").read_text("utf-8")
PEOPLE = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))
CODE = {
    who: "".join(re.findall(r"```(?:sh|python)\n(.*?)```", text, re.DOTALL))
    for who, text in PEOPLE.items()
}
STUDENT, METHODS, ENGINEER = CODE
NUMBERS = {"Six": 6}
LEFT = {
    STUDENT: ["prox1.html", "prox1.csv", "figure/69177654_outlines.png", "prox1.nii.gz"],
    METHODS: [
        "ids.txt",
        "registrations/909/909.json",
        "registrations/batch.jsonl",
        "pictures/909/metadata.json",
        "quality-909.csv",
        "regions-909.csv",
    ],
}


@pytest.mark.parametrize("who", CODE)
def test_nobody_types_more_than_the_page_says(who):
    typed = [line for line in CODE[who].splitlines() if line and line != "import atldld"]
    said = re.search(r"\* (\w+) lines(?:, and two for the loop)?:", " ".join(PEOPLE[who].split()))
    assert said, who
    loop = 2 if "for the loop" in said[0] else 0
    assert len(typed) == NUMBERS[said[1]] + loop
    assert max(map(len, typed)) <= 100


@pytest.fixture
def shell(demo_server, tmp_path):
    """Run lines in a shell as somebody would who has just installed the package."""

    def run(lines):
        environment = dict(
            os.environ,
            ATLDLD_API_URL=demo_server,
            ATLDLD_DOWNLOAD_URL=demo_server,
            ATLDLD_CACHE_DIR=str(tmp_path / "cache"),
            PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        )
        place = tmp_path / "work"
        place.mkdir(exist_ok=True)
        done = subprocess.run(
            ["bash", "-e", "-c", lines],
            env=environment,
            cwd=place,
            capture_output=True,
            text=True,
            timeout=1200,
        )
        assert done.returncode == 0, done.stderr
        return place, done.stdout

    return run


def coarsely(lines):
    """The same with fewer pixels, where a command takes them: the whole takes minutes."""
    lines = lines.replace("report Prox1", "report --resolution 100 --table-resolution 100 Prox1")
    lines = re.sub(r"(atldld (?:volume|download datasets|refine)) ", r"\1 --resolution 100 ", lines)
    lines = re.sub(r"(atldld quantify) ", r"\1 --resolution 100 ", lines)
    atlas = r"(atldld (?:report|quality|quantify|refine|atlas outlines)) "
    lines = re.sub(atlas, r"\1 --atlas-resolution 100 ", lines)
    return lines.replace("> ids.txt", "| grep 909 > ids.txt")  # the demo's smallest


@pytest.mark.skipif(os.name == "nt", reason="the page is written for a POSIX shell")
@pytest.mark.long
@pytest.mark.parametrize("who", LEFT)
def test_the_commands_run(who, shell):
    place, _ = shell(coarsely(CODE[who]))
    for name in LEFT[who]:
        assert (place / name).stat().st_size > 0, name


@pytest.mark.slow
@pytest.mark.parametrize("who", LEFT)
def test_the_commands_run_as_they_stand(who, shell):
    place, _ = shell(CODE[who])
    for name in LEFT[who]:
        assert (place / name).stat().st_size > 0, name


@pytest.mark.usefixtures("at_demo_server")
@pytest.mark.filterwarnings("ignore::atldld.errors.ServiceWarning")
def test_the_notebook_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("ATLDLD_CACHE_DIR", str(tmp_path))
    from atldld.atlas import open as atlases

    real = atlases.open_atlas
    monkeypatch.setattr(atlases, "open_atlas", lambda **_: real(100))
    names: dict[str, object] = {}
    code = CODE[ENGINEER].replace("resolution=25)\nsection", "resolution=100)\nsection")
    exec(code.replace("quantify(atlas)", "quantify(atlas, 100)").replace("=25, ", "=100, "), names)
    assert names["pixels"].shape[:2] == names["mask"].shape[:2]  # type: ignore[attr-defined]
    assert {"acronym", "energy"} <= set(names["energies"].columns)  # type: ignore[attr-defined]
    assert names["volume"].dims == ("p", "i", "r")  # type: ignore[attr-defined]
