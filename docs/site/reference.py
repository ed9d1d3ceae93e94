"""Reference pages that are made from the program: commands, Python, errors, settings, schemas."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parents[2] / "src" / "atldld"

# Modules whose public names are described, by page: title, what the page is about, the modules.
PYTHON: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "data-sets": (
        "Data sets and sections",
        "`atldld.open_dataset` opens a data set; nearly everything else is a method of what it "
        "returns.",
        ("atldld.api", "atldld.sections.opened", "atldld.sections.exports"),
    ),
    "search": (
        "Search and catalogue",
        "Find data sets, images, genes and structures.",
        ("atldld.find",),
    ),
    "registered": (
        "Registered sections and folders",
        "What `ds.register()` yields, and what `atldld.download` writes.",
        ("atldld.sections.register", "atldld.sections.download", "atldld.sections.metadata"),
    ),
    "coordinates": (
        "Coordinates, planes and points",
        "Pure geometry: nothing here reads a file or asks the service.",
        ("atldld.place", "atldld.place.sections", "atldld.place.deformation"),
    ),
    "warp": (
        "Resampling and displacement fields",
        "Move pixels.",
        ("atldld.warp", "atldld.warp.stain"),
    ),
    "atlas": ("Atlases and outlines", "`atldld.open_atlas` opens an atlas.", ("atldld.atlas",)),
    "volume": ("Volumes", "All sections in one grid of voxels.", ("atldld.volume",)),
    "regions": (
        "Region tables and grids",
        "Expression by structure, from sections and from Allen's 200 µm grids.",
        ("atldld.regions.table", "atldld.regions.grids"),
    ),
    "quality": ("Quality", "Which sections to trust.", ("atldld.quality",)),
    "refine": (
        "Refinement and registrations",
        "Move and bend sections to where they fit the atlas, and read the result.",
        ("atldld.refine", "atldld.place.registration", "atldld.place.refinement"),
    ),
    "report": ("Reports", "One page about a data set.", ("atldld.report",)),
    "plot": (
        "Figures",
        "Figures for papers; see the [gallery](../../gallery.md).",
        ("atldld.plot",),
    ),
    "formats": ("File formats", "Write arrays for other tools.", ("atldld.formats",)),
    "batch": ("Batches", "Many data sets, resumable, on one machine or many.", ("atldld.batch",)),
    "service": (
        "The service, the cache and sources",
        "Where pixels and records come from.",
        ("atldld.settings", "atldld.fetch", "atldld.fetch.sources", "atldld.records"),
    ),
    "testing": (
        "Conformance suites",
        "Tests for sources and formats of your own.",
        ("atldld.testing.conformance",),
    ),
}


def pages() -> dict[str, str]:
    """Return every generated page by its place below ``docs``."""
    return {
        **dict(_commands()),
        **dict(_python()),
        "reference/errors.md": _errors(),
        "reference/settings.md": _settings(),
        "reference/schemas.md": _schemas_page(),
    }


# ---- commands


def _commands() -> Iterator[tuple[str, str]]:
    import click

    from atldld.cli import COMMANDS, app

    root: Any = app
    context = click.Context(root, info_name="atldld")
    for names in COMMANDS.values():
        for name in names:
            lines = list(_command(root.commands[name], (name,), context))
            yield f"reference/commands/{name}.md", "\n".join(lines) + "\n"


def _command(command: Any, path: tuple[str, ...], context: Any) -> Iterator[str]:
    from atldld.cli.examples import EXAMPLES
    from atldld.cli.help import HEADINGS, heading_of, meaning_of, name_of, names_of, usage_of

    yield f"{'#' * len(path)} atldld {' '.join(path)}"
    yield ""
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        yield _plain(" ".join(paragraph.split()))
        yield ""
    inner = dict(getattr(command, "commands", {}))
    if inner:
        for name, one in inner.items():
            yield from _command(one, (*path, name), context)
        return
    shown = [one for one in command.get_params(context) if not getattr(one, "hidden", False)]
    yield from ("```text", f"atldld {' '.join(path)} {usage_of(shown)}", "```", "")
    example = EXAMPLES.get(" ".join(path))
    if example:
        yield from ("For example:", "", "```sh", *example.split("\n"), "```", "")
    arguments = [one for one in shown if one.param_type_name == "argument"]
    yield from _table("Arguments", [(name_of(one), meaning_of(one)) for one in arguments])
    for heading in HEADINGS:
        options = [
            one for one in shown if one not in arguments and heading_of(one, path) == heading
        ]
        yield from _table(heading, [(names_of(one), meaning_of(one)) for one in options])


def _table(title: str, rows: list[tuple[str, str]]) -> Iterator[str]:
    if not rows:
        return
    yield from (f"**{title}**", "")
    for name, meaning in rows:  # not a table: names would break on narrow screens
        yield from (f"`{name}`", f":   {_plain(meaning)}", "")


def _plain(text: str) -> str:
    """Return a text of the program as Markdown that shows it as it is."""
    text = text.replace("\u00a0", " ").replace("*", r"\*").replace("<", "&lt;")
    return re.sub(r"\[(default: |env: |required)(.*?)\]$", r"*(\1\2)*", text)


# ---- Python


def public_names(module: str) -> tuple[str, ...]:
    """Return what a module says is public."""
    from importlib import import_module

    return tuple(import_module(module).__all__)


def _python() -> Iterator[tuple[str, str]]:
    yield "reference/python/index.md", _python_index()
    described: set[Any] = set()
    for page, (title, about, modules) in PYTHON.items():
        lines = [f"# {title}", "", about, ""]
        for module in modules:
            for name in public_names(module):
                home = _home(module, name)
                if home is None or home in described:  # a constant or a type of two lines; or known
                    continue
                described.add(home)
                lines += [f"::: {home}", ""]
        yield f"reference/python/{page}.md", "\n".join(lines)


def _home(module: str, name: str) -> str | None:
    """Return the full name of a class or function where it is defined."""
    from importlib import import_module

    value = getattr(import_module(module), name)
    if not (inspect.isclass(value) or inspect.isfunction(value)):
        return None
    home = getattr(value, "__module__", "")
    return f"{home}.{value.__qualname__}" if home.startswith("atldld") else None


def _python_index() -> str:
    stub = (SOURCE / "__init__.pyi").read_text("utf-8")
    listed = re.findall(r"^from (\S+) import \w+ as (\w+)$", stub, re.MULTILINE)
    lines = [
        "# Python",
        "",
        "`import atldld` takes no time: each name is imported when you first use it.",
        "These are the names of the package itself.",
        "",
        "| name | what it is |",
        "|---|---|",
    ]
    for module, name in listed:
        home = _home(module, name)
        assert home is not None, name
        there = f"(../errors.md#{name.lower()})" if module == "atldld.errors" else f"[{home}]"
        lines.append(f"| [`atldld.{name}`]{there} | {_first_sentence(module, name)} |")
    lines += ["", "All pages:", ""]
    lines += [f"- [{title}]({page}.md): {about}" for page, (title, about, _) in PYTHON.items()]
    return "\n".join([*lines, ""])


def _first_sentence(module: str, name: str) -> str:
    from importlib import import_module

    text = inspect.getdoc(getattr(import_module(module), name)) or ""
    sentence = " ".join(text.split("\n\n")[0].split()).split(". ")[0].rstrip(".:")
    return f"{sentence}.".replace("``", "`").replace("|", r"\|")


# ---- errors, settings, schemas


def _errors() -> str:
    from atldld import errors
    from atldld.cli.codes import code_of

    tree = re.split(r"\n::\n\n|\n\nEvery error", inspect.getdoc(errors) or "")[1]
    lines = [
        "# Errors",
        "",
        "Every error that atldld raises on purpose is an `AtldldError`: one sentence that says",
        "what happened, then the ids and the address that are known, then what to do next",
        "(`hint`). Catch the branch that you can do something about. The command ends with the",
        "[exit code](../exit-codes.md) of the branch.",
        "",
        "```text",
        inspect.cleandoc(tree),
        "```",
        "",
    ]
    for name in errors.__all__:
        kind = getattr(errors, name)
        if not (inspect.isclass(kind) and issubclass(kind, Exception)):
            continue
        lines += [f"## {name}", ""]
        if issubclass(kind, errors.AtldldError):
            lines += [f"Exit code {code_of(kind('x'))}.", ""]
        text = inspect.getdoc(kind) or ""
        lines += [re.split(r"\n\n(?:Parameters|Attributes)\n", text)[0].replace("``", "`"), ""]
    return "\n".join(lines)


# What no field of `Settings` stands for.
OTHER_VARIABLES = {
    "ATLDLD_TRACEBACK": "`1` shows where in the program an error came from",
    "NO_COLOR": "any value: no bold headings",
    "COLUMNS": "width of tables and help, in characters",
    "HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY": "as in other programs; see [behind a "
    "proxy](../how-to/proxy.md)",
    "XDG_CACHE_HOME": "the cache is `atldld` in this folder, unless `ATLDLD_CACHE_DIR` is set",
}


def _settings() -> str:
    from atldld.settings import Settings

    told = _parameters(inspect.getdoc(Settings) or "")
    lines = [
        "# Settings",
        "",
        "An option goes before a variable of the environment, and that before the default.",
        "In Python, `atldld.Settings` and the arguments of `atldld.open_dataset` hold the same.",
        "",
    ]
    for field in dataclasses.fields(Settings):
        variable = f"ATLDLD_{field.name.upper()}"
        if f"``{variable}``" not in told[field.name]:
            continue
        about = told[field.name].replace(f" (``{variable}``)", "").replace("``", "`")
        about = re.sub(r"`~?atldld\.errors\.(\w+)`", r"[`\1`](errors.md)", about)
        option = f"`--{field.name.replace('_', '-')}`"
        default = field.default
        if default is dataclasses.MISSING:
            default = "the platform's folder for caches"
        shown = "off" if default is False else f"`{default}`" if "://" in str(default) else default
        lines += [f"`{variable}`, {option}", f":   {about} *(default: {shown})*", ""]
    lines += ["Other variables:", ""]
    for names, about in OTHER_VARIABLES.items():
        shown = ", ".join(f"`{name}`" for name in names.split(", "))
        lines += [shown, f":   {about}", ""]
    lines += ["", "[`atldld info cache`](commands/info.md) prints what is in force.", ""]
    return "\n".join(lines)


def _parameters(docstring: str) -> dict[str, str]:
    """Return what a NumPy docstring says of each parameter."""
    body = docstring.split("Parameters\n----------\n")[1].split("\n\n")[0]
    found = re.findall(r"^(\w+) : .*\n((?:    .*\n?)+)", body, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


def schemas() -> dict[str, str]:
    """Return the JSON Schema of each command's document, by its place on the site."""
    from atldld.cli.results import RESULTS, envelope_schema, error_schema

    found = {name.replace(" ", "-"): envelope_schema(name) for name in RESULTS}
    found["error"] = error_schema()
    return {
        f"reference/schemas/{name}.json": json.dumps(schema, indent=1) + "\n"
        for name, schema in found.items()
    }


def _schemas_page() -> str:
    lines = [
        "# JSON Schemas",
        "",
        "One for each command's [`--json`](../json.md), and one for errors. In Python,",
        '`atldld.cli.results.envelope_schema("dataset info")` returns the same.',
        "",
    ]
    for path in schemas():
        name = Path(path).stem
        lines.append(f"- [{name}](schemas/{name}.json)")
    return "\n".join([*lines, ""])
