"""Commands out of annotated functions."""

import inspect
from pathlib import Path
from typing import Annotated, Literal

import click
import pytest
from click.testing import CliRunner

from atldld.cli.declare import Argument, Commands, Option, command_of


def run(function, *words, **environment):
    """What a command is called with; the sentence where it is refused."""
    got = {}

    def told(**given):
        got.update(given)

    told.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    done = CliRunner().invoke(command_of(told, "it"), words, env=environment, standalone_mode=False)
    return str(done.exception) if done.exception else got


def limited(
    whole: Annotated[int, Option(min=0, max=99)] = 7,
    number: Annotated[float | None, Option("-n", "--number", min=0)] = None,
) -> None:
    """Take numbers within limits."""


def kinds(
    ids: Annotated[list[int] | None, Argument()] = None,
    word: Annotated[Literal["a", "b"], Option()] = "a",
    many: Annotated[list[str] | None, Option("--many")] = None,
    flag: Annotated[bool, Option("--flag", envvar="A_FLAG")] = False,
    other: Annotated[bool, Option("--other/--no-other")] = True,
    path: Annotated[Path | None, Option()] = None,
) -> None:
    """Take one of each kind."""


NOTHING = {"ids": None, "word": "a", "many": None, "flag": False, "other": True, "path": None}


@pytest.mark.parametrize(
    ("words", "got"),
    [
        ((), {}),
        (("1", "2"), {"ids": [1, 2]}),
        (("--many", "x", "--many", "y"), {"many": ["x", "y"]}),
        (("--word=b", "--flag", "--no-other"), {"word": "b", "flag": True, "other": False}),
        (("--path", "a/b"), {"path": Path("a/b")}),
    ],
)
def test_what_is_not_given_keeps_its_default(words, got):
    assert run(kinds, *words) == NOTHING | got


def test_a_flag_may_stand_in_the_environment():
    assert run(kinds, A_FLAG="1")["flag"] is True
    assert run(kinds, A_FLAG="off")["flag"] is False


@pytest.mark.parametrize("text", ["5", "5.0", "+5", " 5", "5.000"])
def test_whole_numbers_may_be_written_in_several_ways(text):
    assert run(limited, f"--whole={text}")["whole"] == 5


@pytest.mark.parametrize("text", ["-1", "100", "٣", "nan", "1.5", "5.", "", "1e3", "-inf"])
def test_what_is_no_such_number_is_quoted_as_it_was_given(text):
    """Python would take three in Arabic digits for a port, and serve there."""
    assert repr(text) in run(limited, f"--whole={text}")


@pytest.mark.parametrize("text", ["-1", "nan", "-inf", "٣", "x"])
def test_no_limit_holds_what_is_none(text):
    assert repr(text) in run(limited, "-n", text)
    assert run(limited, "-n", "1e400")["number"] == float("inf")


def test_a_parameter_without_a_default_is_needed():
    def needs(name: Annotated[str, Argument(metavar="NAME")]) -> None: ...

    assert run(needs, "x") == {"name": "x"}
    assert run(needs).startswith("Missing")


def test_a_group_has_its_commands_by_name():
    app = Commands("Do things.")

    @app.command()
    def first_thing() -> None:
        """Do one."""

    @app.command("other")
    def second() -> None:
        """Do another."""

    group = app.group("things")
    assert isinstance(group, click.Group)
    assert {name: command.help for name, command in group.commands.items()} == {
        "first-thing": "Do one.",
        "other": "Do another.",
    }
