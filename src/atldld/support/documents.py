"""JSON of others: read so that whatever stands in it is a value or one kind of error."""

from __future__ import annotations

import re
from typing import Any, TypeVar

from atldld.support.text import whole_text

__all__ = [
    "DEEPEST",
    "LARGEST_MEMORY",
    "CostlyDocumentError",
    "DocumentError",
    "check_depth",
    "check_numbers",
    "parse_as",
    "parse_json",
]

# How a lone surrogate, which no file can hold, is spelt; a pair of them is one character.
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")

T = TypeVar("T")

LARGEST_NUMBER = 1e15
"""Nothing that is counted or measured here comes near; computing with more overflows."""


LARGEST_MEMORY = 512 << 20
"""Bytes of memory that the objects of one document may take. A page of 2000 data sets with all that
is asked of them takes about 15 MB."""

DEEPEST = 100
"""Objects within objects. The deepest genuine document, the tree of structures, has about 25."""

# What Python takes for each, by its first sign. Measured with the worst of each kind, they tell up
# to four times too much and never too little.
_MEMORY = {b"{": 240, b"[": 88, b",": 100}


class DocumentError(ValueError):
    """These bytes cannot be used; the text goes on from the name of what holds them."""


class CostlyDocumentError(DocumentError):
    """To read these bytes would take more memory, or more levels, than any document needs."""


def parse_json(content: bytes | bytearray, *, memory: int = LARGEST_MEMORY) -> Any:
    """Parse a JSON document.

    Eight megabytes of empty objects become two hundred in memory, so how much it will be is
    estimated before anything is made.

    Numbers that are none (``NaN``), or too large for a float, are NaN or infinite, as `json` reads
    them. Every text can be written as UTF-8.

    Parameters
    ----------
    content : bytes
        The document.
    memory : int
        Bytes that its objects may take.

    Raises
    ------
    DocumentError
        If the bytes are not JSON, or would cost too much to read.
    """
    import json  # here, as what only lists the cache reads none

    _check_cost(content, memory)
    try:
        # strictly: `json` itself lets through what no file can hold
        text = content.decode(json.detect_encoding(bytes(content[:4])))
        document = json.loads(text)
        return _mended(document) if _SURROGATE.search(text) else document
    except RecursionError:
        raise CostlyDocumentError("is nested too deep to be read") from None
    except UnicodeDecodeError:
        raise DocumentError("is not in UTF-8") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise DocumentError(f"is no JSON: it goes wrong at {where}") from None
    except ValueError:  # Python does not read a whole number of thousands of digits
        raise DocumentError("holds a number with too many digits") from None


def parse_as(content: bytes | bytearray, kind: type[T], *, memory: int = LARGEST_MEMORY) -> T:
    """Parse a JSON document as a `msgspec.Struct` or another type.

    Parameters
    ----------
    content : bytes
        The document.
    kind : type
        What it must be.
    memory : int
        Bytes that its objects may take.

    Raises
    ------
    DocumentError
        If the bytes are not JSON, are not of the type, or would cost too much to read.
    """
    import msgspec

    _check_cost(content, memory)
    try:
        return msgspec.json.decode(content, type=kind)
    except RecursionError:
        raise CostlyDocumentError("is nested too deep to be read") from None
    except UnicodeDecodeError:
        raise DocumentError("is not in UTF-8") from None
    except msgspec.ValidationError as error:
        raise DocumentError(f"does not say what it should ({error})") from None
    except msgspec.DecodeError:
        raise DocumentError("is no JSON") from None


def check_numbers(document: object, largest: float = LARGEST_NUMBER) -> None:
    """Refuse NaN and infinity, which Python reads in JSON all the same, and huge numbers.

    Raises
    ------
    DocumentError
        If the document holds such a number.
    """
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, int | float) and not abs(value) <= largest:
            raise DocumentError("holds a number that cannot be")
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def check_depth(document: object) -> None:
    """Refuse a document that is nested deeper than any needs to be.

    Raises
    ------
    CostlyDocumentError
        If the document has more than `DEEPEST` levels.
    """
    level = [document]
    for _ in range(DEEPEST + 1):
        level = [
            value
            for outer in level
            if isinstance(outer, (dict, list))
            for value in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(value, (dict, list))
        ]
        if not level:
            return
    raise CostlyDocumentError(f"is nested more than {DEEPEST} levels deep")


def _check_cost(content: bytes | bytearray, memory: int) -> None:
    needed = len(content) + sum(content.count(sign) * size for sign, size in _MEMORY.items())
    if needed > memory:
        raise CostlyDocumentError(
            f"of {len(content) / 1e6:.1f} MB would take about {needed / 1e9:.1f} GB of memory, "
            f"more than the {memory / 1e9:.1f} GB that one may"
        )


def _mended(document: Any) -> Any:
    if isinstance(document, str):
        return whole_text(document)
    if isinstance(document, list):
        return [_mended(value) for value in document]
    if isinstance(document, dict):
        return {whole_text(name): _mended(value) for name, value in document.items()}
    return document
