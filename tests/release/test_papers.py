"""What a release is made of agrees with itself: citation, recipe, workflows, image, paper."""

import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement

from atldld.cli import COMMANDS
from tests.release.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PAPER = ROOT / "paper" / "paper.md"


def read(name):
    """Return the text of a file."""
    return (ROOT / name).read_text(encoding="utf-8")


# the citation and the changelog


def test_authors_are_the_same_everywhere():
    citation = yaml.safe_load(read("CITATION.cff"))
    (author,) = citation["authors"]
    assert author == {"name": "atldld developers"}
    assert PROJECT["project"]["authors"] == [author]
    assert (
        yaml.safe_load(read("paper/paper.md").split("---")[1])["authors"][0]["name"]
        == author["name"]
    )
    assert citation["license"] == PROJECT["project"]["license"]
    assert citation["repository-code"] == PROJECT["project"]["urls"]["Source"]


def test_the_citation_names_no_version():
    """It would be wrong from the next commit on; `atldld --version` says it."""
    assert not {"version", "date-released"} & set(yaml.safe_load(read("CITATION.cff")))


def test_every_change_has_a_kind():
    kinds = {kind["directory"] for kind in PROJECT["tool"]["towncrier"]["type"]}
    names = {path.name for path in (ROOT / "changes").iterdir()} - {"README.md"}
    wrong = {
        name for name in names if not re.fullmatch(rf"\+[\w-]+\.({'|'.join(kinds)})\.md", name)
    }
    assert not wrong, "see changes/README.md"
    assert kinds == set(re.findall(r"^\| `(\w+)` \|", read("changes/README.md"), re.MULTILINE))


def test_changes_are_put_into_the_changelog(tmp_path):
    """What is there stays as it is, below the new section."""
    (tmp_path / "changes").mkdir()
    (tmp_path / "pyproject.toml").write_text(read("pyproject.toml"))
    (tmp_path / "CHANGELOG.md").write_text(read("CHANGELOG.md"), encoding="utf-8")
    (tmp_path / "changes" / "+one.fixed.md").write_text("A fault is gone.\n")
    (tmp_path / "changes" / "+two.numbers.md").write_text("A number differs.\n")
    subprocess.run(
        [sys.executable, "-m", "towncrier", "build", "--version", "9.8.7", "--date", "2030-01-02",
         "--keep"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    before, after = read("CHANGELOG.md"), (tmp_path / "CHANGELOG.md").read_text(encoding="utf-8")
    head, mark, tail = before.partition(PROJECT["tool"]["towncrier"]["start_string"])
    assert mark
    assert after.startswith(head + mark)
    assert after.endswith(tail)
    new = after.removeprefix(head + mark).removesuffix(tail)
    shown = " ".join(new.split())
    assert shown == (
        "## 9.8.7 (2030-01-02) ### Results that differ from those of the version before "
        "- A number differs. ### Fixed - A fault is gone."
    )


# the conda recipe


OTHER_NAMES = {"opencv-python-headless": "py-opencv", "matplotlib": "matplotlib-base"}
"""What conda-forge calls the distributions that have another name there."""

# brings much with it, and is asked for by name
NOT_CONSTRAINED = {"brainglobe-atlasapi"}


def bounds(requirements):
    """Return the names and bounds of Python requirements, as the recipe has them."""
    parsed = [Requirement(text) for text in requirements]
    return {
        f"{OTHER_NAMES.get(one.name, one.name)} {one.specifier}"
        for one in parsed
        if one.name != "atldld" and one.name not in NOT_CONSTRAINED
    }


def test_the_recipe_requires_what_the_project_requires():
    recipe = yaml.safe_load(read("conda/recipe.yaml"))["requirements"]
    run = {text for text in recipe["run"] if not text.startswith("python ")}
    # of httpx[socks]
    assert run - {"socksio >=1"} == bounds(PROJECT["project"]["dependencies"])
    extras = PROJECT["project"]["optional-dependencies"]
    optional = [
        text for name, texts in extras.items() if name not in ("dev", "docs") for text in texts
    ]
    assert set(recipe["run_constraints"]) == bounds(optional)
    host = {text for text in recipe["host"] if not text.startswith(("python ", "pip"))}
    assert host == bounds(PROJECT["build-system"]["requires"])


# workflows and the container image


WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def pythons():
    """Return the oldest and the newest Python that the project is for."""
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["project"]["classifiers"]))
    ordered = sorted(named, key=lambda name: int(name.partition(".")[2]))
    assert PROJECT["project"]["requires-python"] == f">={ordered[0]}"
    return ordered[0], ordered[-1]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_run_only_what_is_pinned_and_may_do_little(path):
    text = path.read_text()
    used = re.findall(r"uses: (.*)", text)
    assert used
    assert not [one for one in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v[\d.]+", one)]
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {}
    assert all(
        "permissions" in job and "timeout-minutes" in job for job in workflow["jobs"].values()
    )


def test_one_action_has_one_version_everywhere():
    used = {one for path in WORKFLOWS for one in re.findall(r"uses: (.*)", path.read_text())}
    assert len(used) == len({one.partition("@")[0] for one in used})


def test_tests_run_on_three_systems_with_the_oldest_and_the_newest():
    jobs = yaml.safe_load(read(".github/workflows/tests.yml"))["jobs"]
    matrix = jobs["tests"]["strategy"]["matrix"]
    assert {name.partition("-")[0] for name in matrix["os"]} == {"ubuntu", "macos", "windows"}
    assert tuple(matrix["python"]) == pythons()
    assert set(matrix["libraries"]) == {"oldest", "newest"}


def test_workflows_ask_make_for_what_it_can_do():
    targets = set(re.findall(r"^([\w-]+):", read("Makefile"), re.MULTILINE))
    for path in WORKFLOWS:
        asked = set(re.findall(r"\bmake (?:-C \S+ )?([a-z-]+)$", path.read_text(), re.MULTILINE))
        assert asked <= targets


def test_releases_are_published_without_a_password():
    text = read(".github/workflows/release.yml")
    assert "secrets." not in text
    publish = yaml.safe_load(text)["jobs"]["publish"]
    assert publish["permissions"] == {"id-token": "write"}
    assert publish["environment"] == "pypi"


def test_the_image_runs_as_nobody_in_particular():
    stages = read("Dockerfile").split("\nFROM ")
    assert re.search(r"^USER 1\d{4}:1\d{4}$", stages[-1], re.MULTILINE)
    assert "ENTRYPOINT" in stages[-1].partition("\nUSER ")[2]
    versions = set(re.findall(r"^(?:FROM )?python:(3\.\d+)-", "\n".join(stages), re.MULTILINE))
    (version,) = versions
    oldest, newest = (int(name.partition(".")[2]) for name in pythons())
    assert oldest <= int(version.partition(".")[2]) <= newest


def test_the_image_is_built_from_no_more_than_it_needs():
    let_in = set(re.findall(r"^!(\S+)", read(".dockerignore"), re.MULTILINE))
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", read("Dockerfile"), re.MULTILINE)
    assert {name for line in copied for name in line.split()} == let_in


# the paper


def test_the_paper_has_the_tables_of_the_documentation():
    assert (
        subprocess.run(
            [sys.executable, ROOT / "benchmarks" / "paper.py", "--check"],
            capture_output=True,
            text=True,
        ).returncode
        == 0
    ), "run: make paper"


def prose():
    """Return the paper without its head, its tables and what is code."""
    body = PAPER.read_text(encoding="utf-8").split("---", 2)[2]
    body = re.sub(
        r"^\|.*$|^<!--.*$|`[^`]*`|\[@[^\]]*\]|\[CCFv3[^\]]*\]", "", body, flags=re.MULTILINE
    )
    return body


# a number with its unit or the word after it, or two of them
_FIGURE = r"(?<![\w.])(\d[\d.]*\d(?!\d)°?(?: to \d[\d.]*\d°?)?(?: [\w%/]+)?)"


def test_every_figure_of_the_prose_stands_in_the_documentation():
    """With the word or the sign that follows it, so that it is of the same thing."""
    pages = ["README.md", *(str(page.relative_to(ROOT)) for page in ROOT.glob("docs/**/*.md"))]
    known = " ".join("\n".join(map(read, pages)).split())
    figures = re.findall(_FIGURE, " ".join(prose().split()))
    # no measurements: a version, a year, the most that a byte holds
    measured = {one for one in figures if not one.startswith(("0.3.4", "2026", "255"))}
    assert len(measured) > 10
    assert not {one for one in measured if not re.search(rf"(?<![\d.]){re.escape(one)}", known)}


def test_what_is_cited_is_in_the_list_and_the_other_way_round():
    listed = re.findall(r"^@\w+\{(\w+),", read("paper/paper.bib"), re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert set(re.findall(r"@([a-z]+\d{2,4}|allensdk|spatialbrainmaps)", PAPER.read_text())) == set(
        listed
    )


def test_pictures_of_the_paper_are_those_that_its_command_makes():
    shown = set(re.findall(r"\]\((\S+\.png)\)", PAPER.read_text()))
    there = {path.name for path in (ROOT / "paper").glob("*.png")}
    made = set(re.findall(r'"(figure-\w+\.png)"', read("benchmarks/paper.py")))
    assert shown == there == made


def test_commands_that_the_paper_names_exist():
    rows = re.findall(r"^\| [A-Z][^|]+ \| `(\w+)` \|", PAPER.read_text(), re.MULTILINE)
    assert len(rows) >= 6
    assert set(rows) <= {name for group in COMMANDS.values() for name in group}
