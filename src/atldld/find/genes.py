"""From what people call a gene to the gene: acronym, name, synonym, Entrez or Ensembl id."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "HUMAN",
    "MOUSE",
    "ORGANISMS",
    "ResolvedGene",
    "Suggestion",
    "like",
    "matching",
    "organism_name",
    "resolve",
    "suggestions",
]

HUMAN, MOUSE = 1, 2
ORGANISMS = {"human": HUMAN, "mouse": MOUSE}
"""The service's ids of the two organisms that its genes are mostly of."""

_ENSEMBL = re.compile(r"ENS[A-Z]*G\d{6,}(\.\d+)?", re.IGNORECASE)

# How alike two names must be for one to be suggested instead of the other (0 to 1).
_ALIKE = 0.55
_CANDIDATES = 150

# A mistyped name is looked for by its rarest trigrams: by so many at least, and as many more as
# occur in so many names together.
_AT_LEAST = 4
_NAMES = 10_000

# A name may be found by each of these, the first that fits counts.
_ROLES = ("acronym", "name", "alias")

_Gene = tuple[int, str, int | None, str]  # id, acronym, organism, by which name it was found


@dataclass(frozen=True)
class ResolvedGene:
    """What a gene's name stands for.

    Attributes
    ----------
    text : str
        What was asked for.
    ids : tuple of int
        Ids of the genes; empty where there is none of that name.
    remark : str or None
        A sentence to show where the name is not simply the gene's acronym.
    """

    text: str
    ids: tuple[int, ...]
    remark: str | None = None


@dataclass(frozen=True)
class Suggestion:
    """A gene or structure whose name is like what was asked for."""

    id: int
    acronym: str
    name: str | None

    def __str__(self) -> str:
        return f"{self.acronym} ({self.name})" if self.name else self.acronym


def organism_name(organism_id: int | None) -> str:
    """Return ``"mouse"``, ``"human"``, or the number of another organism."""
    if organism_id is None:
        return "unknown"
    names = {number: name for name, number in ORGANISMS.items()}
    return names.get(organism_id, f"organism {organism_id}")


def like(text: str) -> str:
    """Return a LIKE pattern, with a backslash as escape, for a text where ``*`` is anything."""
    return re.sub(r"([%_\\])", r"\\\1", text).replace("*", "%")


def resolve(
    db: sqlite3.Connection, text: str, *, organism: int | None = None, exact: bool = False
) -> ResolvedGene:
    """Find the genes that a text names.

    An acronym goes before a name, a name before a synonym. Where both a mouse gene and others fit,
    the mouse gene is meant, unless an organism is given.

    Parameters
    ----------
    db : sqlite3.Connection
        A catalogue.
    text : str
        An acronym (``*`` stands for anything), a name, a synonym, an Entrez or Ensembl id.
    organism : int, optional
        Id of the organism.
    exact : bool
        Compare acronyms with regard to case, as the service does.
    """
    text = text.strip()
    for role, sql, value in _questions(text):
        found = db.execute(f"SELECT id, acronym, organism_id FROM gene WHERE {sql}", (value,))
        fitting = [
            (number, acronym or "?", of, role)
            for number, acronym, of in found.fetchall()
            if organism in (None, of)
        ]
        if exact and role == "acronym":
            chosen = [gene for gene in fitting if gene[1] == text]
        else:
            chosen = [gene for gene in fitting if gene[2] == MOUSE] or fitting
        if chosen:
            remark = _remark(text, chosen, fitting)
            return ResolvedGene(text, tuple(gene[0] for gene in chosen), remark)
    return ResolvedGene(text, ())


def _questions(text: str) -> list[tuple[str, str, object]]:
    """Return what to look for: the kind of name, SQL, and its parameter."""
    if "*" in text:
        return [("pattern", r"acronym LIKE ? ESCAPE '\'", like(text))]
    named = [
        ("acronym", "acronym = ?", text),
        *(
            (
                role,
                "id IN (SELECT owner FROM name WHERE kind = 'gene' "
                f"AND role = '{role}' AND text = ?)",
                text,
            )
            for role in _ROLES[1:]
        ),
    ]
    if text.isdecimal() and len(text) < 19:
        return [("Entrez id", "entrez_id = ?", int(text)), *named]
    if _ENSEMBL.fullmatch(text):
        return [("Ensembl id", "ensembl_id = ?", text.partition(".")[0]), *named]
    return named  # type: ignore[return-value]


def _remark(text: str, chosen: Sequence[_Gene], fitting: Sequence[_Gene]) -> str | None:
    acronyms = list(dict.fromkeys(gene[1] for gene in chosen))
    names = _listed(acronyms)
    organism, role = chosen[0][2], chosen[0][3]
    if role == "pattern":
        return f"{text} stands for {len(chosen)} genes: {names}."
    others = [gene for gene in fitting if gene[2] != organism and gene not in chosen]
    instead = f"; the {organism_name(others[0][2])} gene is {others[0][1]}" if others else ""
    if role != "acronym":
        article = "an" if role == "alias" else "the"
        several = "; all of them are meant" if len(acronyms) > 1 else ""
        return f"{text} is {article} {role} of {names}{several}{instead}."
    if acronyms == [text]:
        special = others or organism == HUMAN
        return f"{text} is the {organism_name(organism)} gene{instead}." if special else None
    if organism == MOUSE and text.isupper():
        return f"{text} is written as in humans; the mouse gene {names} is meant{instead}."
    return f"{text} is taken for {names}{instead}."


def _listed(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def matching(db: sqlite3.Connection, kind: str, text: str, *, most: int = 1000) -> list[int]:
    """Return the ids of genes or structures one of whose names holds a text, best first.

    Parameters
    ----------
    db : sqlite3.Connection
        A catalogue.
    kind : {"gene", "structure"}
        Of what.
    text : str
        Part of an acronym, name or synonym, without regard to case; shorter than three letters:
        the beginning of one. ``*`` stands for anything, and then the whole name must fit.
    most : int
        How many at most.
    """
    text = text.strip()
    # a name that is the text, then acronyms, then the shortest
    order = (
        "ORDER BY min(n.text <> ?2), min(CASE n.role WHEN 'acronym' THEN 0 WHEN 'name' THEN 1 "
        "ELSE 2 END), min(length(n.text)), n.owner LIMIT ?4"
    )
    if "*" in text or len(text) < 3:
        pattern = like(text if "*" in text else text + "*")
        where, value = r"name n WHERE n.text LIKE ?1 ESCAPE '\'", pattern
    else:
        where = "trigram t JOIN name n ON n.id = t.rowid WHERE t.text MATCH ?1"
        value = _quoted(text)
    rows = db.execute(
        f"SELECT n.owner FROM {where} AND n.kind = ?3 GROUP BY n.owner {order}",
        (value, text, kind, most),
    )
    return [owner for (owner,) in rows]


def suggestions(db: sqlite3.Connection, kind: str, text: str, *, most: int = 4) -> list[Suggestion]:
    """Return what a mistyped name may have meant, the likeliest first.

    Names that share trigrams with the text are ranked by SQLite (BM25: rare trigrams count more);
    the best of them are compared letter by letter.

    Parameters
    ----------
    db, kind
        See `matching`.
    text : str
        What was typed.
    most : int
        How many at most.
    """
    wanted = text.strip().lower()
    padded = f" {wanted} "
    trigrams = _telling(db, {padded[k : k + 3] for k in range(len(padded) - 2)})
    if not trigrams:
        return []
    rows = db.execute(
        "SELECT n.owner, n.text, n.role FROM trigram t JOIN name n ON n.id = t.rowid "
        "WHERE t.text MATCH ? AND n.kind = ? ORDER BY t.rank LIMIT ?",
        (" OR ".join(map(_quoted, trigrams)), kind, _CANDIDATES),
    ).fetchall()
    from difflib import SequenceMatcher

    comparing = SequenceMatcher(autojunk=False, b=wanted)
    scores: dict[int, float] = {}
    for owner, name, role in rows:
        comparing.set_seq1(name.lower())
        score = comparing.ratio() - 0.02 * _ROLES.index(role)
        if score >= _ALIKE:
            scores[owner] = max(score, scores.get(owner, 0.0))
    best = sorted(scores, key=lambda owner: (-scores[owner], owner))[:most]
    found = []
    for owner in best:
        row = db.execute(f"SELECT acronym, name FROM {kind} WHERE id = ?", (owner,)).fetchone()
        found.append(Suggestion(owner, row[0] or "?", row[1]))
    return found


def _telling(db: sqlite3.Connection, trigrams: set[str]) -> list[str]:
    """Return the rarest of some trigrams: frequent ones cost time and tell little."""
    rows = db.execute(
        "SELECT term, doc FROM trigram_count WHERE term IN (SELECT value FROM json_each(?)) "
        "ORDER BY doc",
        (json.dumps(sorted(trigrams)),),
    )
    chosen: list[str] = []
    names = 0
    for trigram, number in rows:
        names += number
        if names > _NAMES and len(chosen) >= _AT_LEAST:
            break
        chosen.append(trigram)
    return chosen


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
