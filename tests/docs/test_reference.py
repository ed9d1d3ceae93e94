"""Pages that are made from the program leave nothing out, and the glossary links what it should.

The kind of fault: a command, a public name, an error or a variable that no page describes.
"""

import json
import re
import sys
from importlib import import_module

import pytest

import atldld
from tests.docs.pages import DOCS, ROOT


def module(name):
    sys.path.insert(0, str(DOCS / "site"))
    try:
        return import_module(name)
    finally:
        sys.path.pop(0)


reference, terms = module("reference"), module("terms")


@pytest.fixture(scope="module")
def made():
    return reference.pages()


def test_every_command_and_option_is_there(made):
    from tests.cli.test_grammar import leaves

    for name, command in leaves():
        page = made[f"reference/commands/{name.split()[0]}.md"]
        assert re.search(rf"^#+ atldld {name}$", page, re.MULTILINE), name
        for one in command.params:
            if one.param_type_name == "option" and not one.hidden:
                long = next(word for word in one.opts if word.startswith("--"))
                assert long in page, (name, long)


def test_every_key_of_metadata_is_there(session, tmp_path):
    from atldld.sections.download import download_dataset
    from atldld.sections.register import Recipe

    recipe = Recipe(resolution=400, downsample=4, expression=True)
    download_dataset(909, tmp_path / "out", recipe, session=session)
    found = json.loads((tmp_path / "out" / "metadata.json").read_text("utf-8"))
    named = set(re.findall(r"`(\w+)`", (DOCS / "output.md").read_text("utf-8")))
    keys = {*found, *(key for image in found["per_image"].values() for key in image)}
    assert len(keys) > 35
    assert keys <= named, keys - named


def test_every_public_name_is_there(made):
    from atldld.support.lazy import homes_of

    everything = "\n".join(made.values())
    index = made["reference/python/index.md"]
    for name, home in homes_of(atldld).items():
        assert f"`atldld.{name}`" in index, name
        where = re.search(rf"`atldld\.{name}`\]\[(.*?)\]", index)
        if where is not None:
            assert f"::: {where[1]}\n" in everything, (name, home)


def test_every_error_and_variable_is_there(made):
    from atldld import errors

    for name in errors.__all__:
        if isinstance(getattr(errors, name), type) and issubclass(getattr(errors, name), Exception):
            assert f"\n## {name}\n" in made["reference/errors.md"]
    source = "\n".join(path.read_text("utf-8") for path in (ROOT / "src").rglob("*.py"))
    used = set(re.findall(r"\bATLDLD_[A-Z_]+", source)) - {"ATLDLD_COMPLETE", "ATLDLD_"}
    for name in used:
        assert f"`{name}`" in made["reference/settings.md"], name


def test_schemas_are_those_of_all_commands():
    from atldld.cli.results import RESULTS

    names = {f"reference/schemas/{name.replace(' ', '-')}.json" for name in RESULTS}
    assert set(reference.schemas()) == names | {"reference/schemas/error.json"}


GLOSSARY = """\
### tier {#tier also="tiers"}

A size of an [image](x.md). More.

### plane {#plane}

Flat.
"""


def test_the_first_use_is_linked():
    known = terms.read(GLOSSARY)
    assert [(term.anchor, term.words, term.meaning) for term in known] == [
        ("tier", ("tier", "tiers"), "A size of an image."),
        ("plane", ("plane",), "Flat."),
    ]
    html = "<h1>Tier</h1><p><code>tier</code> Tiers <b>and a tier</b>, <a>plane</a>-tier.</p>"
    assert terms.linked(html, known, "g.html") == html.replace(
        "> Tiers ", '> <a class="term" href="g.html#tier" title="A size of an image.">Tiers</a> '
    )
    assert "href" not in terms.linked("<p>frontiers, planet</p>", known, "g.html")


def test_the_glossary_is_read_whole():
    text = (DOCS / "glossary.md").read_text("utf-8")
    known = terms.read(text)
    assert len(known) == len(re.findall(r"^### ", text, re.MULTILINE)) > 30
    assert len({term.anchor for term in known}) == len(known)
    assert all(term.meaning.endswith((".", ":")) for term in known)
