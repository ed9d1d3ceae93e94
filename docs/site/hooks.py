"""What the build of the site does beside reading pages: navigation, reference pages, glossary.

MkDocs calls the functions whose names begin with ``on_``; see ``mkdocs.yml``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import pictures
import reference
import terms

DOCS = Path(__file__).resolve().parents[1]


def on_config(config: Any) -> Any:
    """Fill in what the navigation names as ``folder/*``."""
    made = reference.pages()
    config.extra["made"] = made
    config.nav = _filled(config.nav, sorted(made))
    return config


def _filled(nav: list[Any], made: list[str]) -> list[Any]:
    result: list[Any] = []
    for entry in nav:
        if isinstance(entry, str) and entry.endswith("/*"):
            folder = entry.removesuffix("*")
            kept = [path.relative_to(DOCS).as_posix() for path in DOCS.glob(f"{folder}*.md")]
            found = {*kept, *(name for name in made if name.startswith(folder))}
            # the page about a folder comes first
            result += sorted(found, key=lambda name: (Path(name).stem not in _FIRST, name))
        elif isinstance(entry, dict):
            ((title, inner),) = entry.items()
            if isinstance(inner, str) and inner.endswith("/*"):
                inner = [inner]
            if isinstance(inner, list):
                inner = _filled(inner, made)
            result.append({title: inner})
        else:
            result.append(entry)
    return result


_FIRST = ("README", "index")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages and files that are made from the program, and the pictures made by pages."""
    from mkdocs.structure.files import File

    for name, content in config.extra["made"].items():
        files.append(File.generated(config, name, content=content))
    for name, content in reference.schemas().items():
        files.append(File.generated(config, name, content=content))
    for name, path in pictures.make(DOCS, Path(config.site_dir).parent / "pictures").items():
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Link each term to the glossary where a page first uses it."""
    name = page.file.src_uri
    if name == terms.PAGE or name.startswith(("reference/", "decisions/")):
        return html
    known = terms.read((DOCS / terms.PAGE).read_text("utf-8"))
    glossary = files.get_file_from_path(terms.PAGE).url_relative_to(page.file)
    return terms.linked(html, known, glossary)
