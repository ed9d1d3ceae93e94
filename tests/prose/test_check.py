"""The prose check finds what it is for, and nothing in code."""

import pytest

from tests.prose.check import ROOT, faults, found, messages, pages, turns

TURNS = turns()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("An image that cannot be had is left out.", "cannot be had"),
        ("It was spoken\nof, but never there.", "spoken of"),
        ("Python 3.12 is well.", "is well"),
        ("They are made Anew.", "Anew"),
    ],
)
def test_a_turn_is_found(text, words):
    turned = [what for _, what, _ in faults(f"# Title\n\n{text}\n", TURNS)]
    assert words in turned


@pytest.mark.parametrize(
    "text",
    [
        "`anew` is a name.",
        "```sh\natldld anew\n```",
        "<!-- not run: it cannot be had -->",
        "[page](anew.md)",
        "<!-- prose: off -->\nanew\n<!-- prose: on -->",
    ],
)
def test_code_is_left_alone(text):
    assert not list(faults(text, TURNS))


def test_the_line_is_right():
    ((line, _, instead),) = faults("one\n```\nanew\n```\nmade anew\n", TURNS)
    assert (line, instead) == (5, "again")


def test_pages_and_messages_are_free_of_it():
    """As `make lint` says; here too, so that it is noticed by whoever runs the tests alone."""
    assert len(pages()) > 60
    assert not list(found())


def test_messages_are_strings_that_may_be_said():
    code = '''"""A module."""\nA = 1\n"""Of A."""\nraise E(\n    f"made {what} anew",\n)\n'''
    assert list(messages(code)) == [(5, "made "), (5, " anew")]


def test_help_and_errors_are_free_of_it():
    """The reference is made from the program, so this reads all help, and what errors mean."""
    import sys
    from importlib import import_module

    sys.path.insert(0, str(ROOT / "docs" / "site"))
    try:
        reference = import_module("reference")
    finally:
        sys.path.pop(0)
    # names of commands and classes have words of their own
    listed = [turn for turn in TURNS if turn.instead != "data set"]
    made = {name: text for name, text in reference.pages().items() if "schemas" not in name}
    assert len(made) > 30
    turned = {(name, words) for name, text in made.items() for _, words, _ in faults(text, listed)}
    assert not turned
