"""All series of the benchmark of registrations, as they stand in the documentation.

    python benchmarks/registration/all.py [--quick] [--jobs 2] [--pictures FOLDER]

Needs the genuine data in ``shared/data`` beside the repository. Prints one Markdown table for each:

a  real sections that experts have drawn (`plates.py`)
b  real anatomy at known places (`cut.py`), and the same where all sections lie right at the start
c  the one genuine section of a hybridisation (`prox1.py`)
d  damaged pictures and odd input (`damage.py`)

and the rule for suspicious sections (`suspicious.py`). Beside it is what SimpleITK and elastix make
of the same sections; elastix only where ``itk-elastix`` is installed. With ``--quick`` there is
less of everything, to see that it works: these figures are not to be reported. ``--pictures`` draws
four plates and Prox1 before and after; they show the pixels of others, and are not to be passed on.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
WHOLE = (
    ("(a) Real sections that experts have drawn", "plates.py", "--peers"),
    ("(b) Real anatomy, known places", "cut.py", "--peers"),
    ("(b) All sections lie right at the start", "cut.py", "69289763 74272479 --right --seeds 100"),
    ("(c) One section, alone", "prox1.py", "--peers"),
    ("(d) Damage and odd input", "damage.py", ""),
    ("The rule for suspicious sections", "suspicious.py", ""),
)
QUICK = (
    ("(a) Real sections that experts have drawn", "plates.py", "--resolution 100"),
    ("(b) Real anatomy, known places", "cut.py", "69289763 --seeds 0 --resolution 100"),
    ("(c) One section, alone", "prox1.py", ""),
    ("(d) Damage and odd input", "damage.py", "pictures single --seed 0"),
    ("The rule for suspicious sections", "suspicious.py", "--seeds 0-1"),
)

PICTURES = {
    "plates.py": ("--pictures", "{}"),
    "prox1.py": ("--picture", "{}/prox1.png"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument(
        "--pictures", type=Path, help="a folder for pictures before and after (not to be passed on)"
    )
    options = parser.parse_args()
    failed = []
    for title, script, arguments in QUICK if options.quick else WHOLE:
        print(f"\n### {title}\n", flush=True)
        begun = time.perf_counter()
        shown = f"{script} {arguments}".strip()
        command = [sys.executable, str(HERE / script), *arguments.split(), f"--jobs={options.jobs}"]
        if options.pictures:
            options.pictures.mkdir(parents=True, exist_ok=True)
            command += [word.format(options.pictures) for word in PICTURES.get(script, ())]
        if subprocess.run(command, check=False).returncode:
            failed.append(script)
        spent = time.perf_counter() - begun
        print(f"\n`{shown}`, {spent / 60:.0f} minutes", flush=True)
    if failed:
        raise SystemExit("These have failed: " + ", ".join(failed))


if __name__ == "__main__":
    main()
