"""What the README says runs."""

import re
from pathlib import Path
from typing import Any

import pytest

README = (Path(__file__).resolve().parent.parent / "README.md").read_text("utf-8")


@pytest.mark.usefixtures("at_demo_server")
@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_python(code):
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["registered"].image.shape == (80, 132, 3)


def test_commands_exist():
    from atldld.cli import app
    from atldld.cli.spelling import DEFAULTS

    lines = re.findall(r"(?:^|\| )atldld ([^#\n|]*)", README, re.MULTILINE)
    assert len(lines) >= 5
    root: Any = app
    for line in lines:
        words = line.split()
        command = root
        while words and hasattr(command, "commands"):
            name = words[0] if words[0] in command.commands else DEFAULTS[str(command.name)]
            words = words[1:] if words[0] == name else words
            command = command.commands[name]
        known = {name for parameter in command.params for name in parameter.opts}
        assert {word for word in words if word.startswith("-") and word != "-"} <= known, line
