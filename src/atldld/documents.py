"""JSON of others: read so that whatever stands in it is a value or one kind of error."""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar

from atldld.text import whole_text

__all__ = ["DocumentError", "check_numbers", "parse_as", "parse_json"]

# How a lone surrogate, which no file can hold, is spelt; a pair of them is one character.
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")

T = TypeVar("T")

LARGEST_NUMBER = 1e15
"""Nothing that is counted or measured here comes near; computing with more overflows."""


class DocumentError(ValueError):
    """These bytes cannot be used; the text goes on from the name of what holds them."""


def parse_json(content: bytes | bytearray) -> Any:
    """Return what a JSON document says.

    Numbers that are none (``NaN``), or too large for a float, are NaN or infinite, as `json` reads
    them. Every text can be written as UTF-8.

    Parameters
    ----------
    content : bytes
        The document.

    Raises
    ------
    DocumentError
        If it is no JSON, or nested too deep to be read.
    """
    try:
        # strictly: `json` itself lets through what no file can hold
        text = content.decode(json.detect_encoding(bytes(content[:4])))
        document = json.loads(text)
        return _mended(document) if _SURROGATE.search(text) else document
    except RecursionError:
        raise DocumentError("is nested too deep to be read") from None
    except UnicodeDecodeError:
        raise DocumentError("is not in UTF-8") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise DocumentError(f"is no JSON: it goes wrong at {where}") from None
    except ValueError:  # Python does not read a whole number of thousands of digits
        raise DocumentError("holds a number with too many digits") from None


def parse_as(content: bytes, kind: type[T]) -> T:
    """Return what a JSON document says, as a `msgspec.Struct` or another type.

    Parameters
    ----------
    content : bytes
        The document.
    kind : type
        What it must be.

    Raises
    ------
    DocumentError
        If it is no JSON, nested too deep to be read, or says something else.
    """
    import msgspec

    try:
        return msgspec.json.decode(content, type=kind)
    except RecursionError:
        raise DocumentError("is nested too deep to be read") from None
    except UnicodeDecodeError:
        raise DocumentError("is not in UTF-8") from None
    except msgspec.ValidationError as error:
        raise DocumentError(f"does not say what it should ({error})") from None
    except msgspec.DecodeError:
        raise DocumentError("is no JSON") from None


def check_numbers(document: object, largest: float = LARGEST_NUMBER) -> None:
    """Refuse numbers that are none, which Python reads in JSON all the same, or far too large.

    Raises
    ------
    DocumentError
        If there is one, anywhere.
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


def _mended(document: Any) -> Any:
    if isinstance(document, str):
        return whole_text(document)
    if isinstance(document, list):
        return [_mended(value) for value in document]
    if isinstance(document, dict):
        return {whole_text(name): _mended(value) for name, value in document.items()}
    return document
