"""Links from the first use of a term on a page to its entry in the glossary."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass

PAGE = "glossary.md"

_ENTRY = re.compile(
    r"^### (?P<name>.+?) \{#(?P<anchor>[\w-]+)(?P<also>[^}]*)\}\n+(?P<text>.+?)\n\n", re.M | re.S
)
# What stands in these is not prose of which a word could be a link.
_NOT_IN = {"a", "code", "pre", "h1", "h2", "h3", "h4", "h5", "h6", "figure", "svg", "script", "th"}
_VOID = {"img", "br", "hr", "input", "wbr", "col", "source"}
_PIECES = re.compile(r"(<!--.*?-->|<[^>]*>)", re.S)


@dataclass(frozen=True)
class Term:
    """An entry of the glossary.

    Attributes
    ----------
    anchor : str
        Its place on the page.
    words : tuple of str
        How it is written in running text.
    meaning : str
        The first sentence, without marks.
    """

    anchor: str
    words: tuple[str, ...]
    meaning: str


def read(page: str) -> tuple[Term, ...]:
    """Read the glossary.

    A heading ``### tier {#tier also="tiers"}`` begins an entry; what ``also`` lists, with bars
    between, is linked too.
    """
    found = []
    for entry in _ENTRY.finditer(page + "\n\n"):
        also = re.search(r'also="(.*?)"', entry["also"])
        words = (entry["name"], *(also[1].split("|") if also else ()))
        plain = re.sub(r"\[(.*?)\]\(.*?\)|[`*]", lambda mark: mark[1] or "", entry["text"])
        sentence = re.split(r"(?<=[.!?])\s", " ".join(plain.split()))[0]
        found.append(Term(entry["anchor"], words, sentence))
    return tuple(found)


def linked(page: str, terms: tuple[Term, ...], glossary: str) -> str:
    """Return the HTML of a page with each term's first use linked.

    Parameters
    ----------
    page : str
        HTML.
    terms : tuple of Term
    glossary : str
        Address of the glossary, as seen from the page.
    """
    by_word: Mapping[str, Term] = {word.lower(): term for term in terms for word in term.words}
    if not by_word:
        return page
    longest_first = sorted(by_word, key=len, reverse=True)
    pattern = re.compile(rf"(?<![\w/-])({'|'.join(map(re.escape, longest_first))})(?![\w-])", re.I)
    used: set[str] = set()
    open_tags: list[str] = []

    def link(found: re.Match[str]) -> str:
        term = by_word[found[1].lower()]
        if term.anchor in used:
            return found[0]
        used.add(term.anchor)
        meaning = html.escape(term.meaning, quote=True)
        return f'<a class="term" href="{glossary}#{term.anchor}" title="{meaning}">{found[1]}</a>'

    pieces = []
    for piece in _PIECES.split(page):
        if piece.startswith("<"):
            name = re.match(r"</?([\w-]+)", piece)
            if name and name[1] not in _VOID and not piece.endswith("/>"):
                if piece.startswith("</"):
                    while open_tags and open_tags.pop() != name[1]:
                        pass
                else:
                    open_tags.append(name[1])
        elif not _NOT_IN & set(open_tags):
            piece = pattern.sub(link, piece)
        pieces.append(piece)
    return "".join(pieces)
