"""Files of the Allen Institute whose content is known: what claims to be one of them must be it.

The hashes are those of the files of the informatics archive (``current-release/mouse_ccf``, CCFv3
of 2017) and of the adult mouse's structure graph, as several public repositories hold them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from atldld.fetch.cache import Cache

__all__ = ["GRAPH", "Known", "is_known_graph", "known_file", "problem_of"]

GRAPH = "api/v2/structure_graph_download/1.json"
"""Path of the address of the adult mouse's structure graph."""

_CCF = "informatics-archive/current-release/mouse_ccf"

# The service writes the graph anew for every answer, so its content counts and not its bytes.
_GRAPH_CONTENT = "20538d87603a3bb687ecd042211e8ec2e0e74f5ff6d630c709ab1a9653d76a8f"


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a file.

    Attributes
    ----------
    sha256 : str
        Of the file.
    voxels : str or None
        SHA-256 of its voxels as they follow one another, in little endian; `None` if not known.
    """

    sha256: str
    voxels: str | None = None


_KNOWN = {
    f"{_CCF}/annotation/ccf_2017/annotation_25.nrrd": Known(
        "c620cbcc562183e4dcd40250d440130501781f74b41de35b1c1bdabace290c42",
        "e4c549f12c9f21b643fac265b6a38a1befbcea95caea368f78c99ba46ed21073",
    ),
    f"{_CCF}/average_template/average_template_25.nrrd": Known(
        "e4a2b483e842b4c8c1b5452d940ea59e14bc1ebaa38fe6a9c3bacac6db2a8f4b",
    ),
    f"{_CCF}/average_template/average_template_100.nrrd": Known(
        "6c24cae773a5cf256586b0384af0ac93ad68564d211c9bdcff4bee9acf07786a",
        "3e0c90fcd3706990156a68a225e8074427c73b419c68d55935d0a9c0d2fb996e",
    ),
}


def known_file(cache: Cache, name: str) -> Known | None:
    """Return what is known of a file in the cache; nothing is of other services' files.

    Parameters
    ----------
    cache : Cache
        Where it is.
    name : str
        The path of its address.
    """
    return _KNOWN.get(name) if cache.allens else None


def problem_of(cache: Cache, name: str, path: Path, sha256: str) -> str | None:
    """Return why a file is not the Allen Institute's that it claims to be, if it is not.

    Parameters
    ----------
    cache : Cache
        For which it is meant.
    name : str
        The path of its address.
    path : pathlib.Path
        Where it is now.
    sha256 : str
        Its hash, which was computed and not only stated.
    """
    known = known_file(cache, name)
    if known is not None and sha256 != known.sha256:
        return (
            f"it is not the Allen Institute's file of this name: its SHA-256 is {sha256} instead "
            f"of {known.sha256}"
        )
    if name == GRAPH and cache.allens and not is_known_graph(_structures_in(path)):
        return "it is not the Allen Institute's structure graph as far as that is known"
    return None


def is_known_graph(structures: Iterable[tuple[int, int | None, str, str, str]]) -> bool:
    """Return whether structures are the adult mouse's as they are known.

    Parameters
    ----------
    structures : iterable of tuple
        Of each its id, that of its parent, acronym, name and colour.
    """
    rows = [
        (number, parent, acronym, name, color.upper())
        for number, parent, acronym, name, color in structures
    ]
    content = json.dumps(sorted(rows, key=lambda row: row[0]))
    return hashlib.sha256(content.encode()).hexdigest() == _GRAPH_CONTENT


def _structures_in(path: Path) -> Iterator[tuple[int, int | None, str, str, str]]:
    """Yield the structures of the service's own answer; of anything else, none."""
    try:
        waiting = [(record, None) for record in json.loads(path.read_bytes())["msg"]]
        while waiting:
            record, parent = waiting.pop()
            texts = [record[key] for key in ("acronym", "name", "color_hex_triplet")]
            if not all(isinstance(text, str) for text in texts):
                raise TypeError
            yield int(record["id"]), parent, *texts
            waiting += [(child, record["id"]) for child in record["children"]]
    # what others wrote may be anything, and nested as deep as it likes
    except (OSError, ArithmeticError, ValueError, TypeError, LookupError, RecursionError):
        yield 0, None, "", "", ""
