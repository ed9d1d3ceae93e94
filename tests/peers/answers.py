"""Read what `probe` wrote down, and compare two such answers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Failure:
    """A call that raised: the class of the error, and all classes that it is."""

    name: str
    bases: tuple[str, ...]
    message: str


@dataclass(frozen=True)
class Field:
    delta_x: np.ndarray
    delta_y: np.ndarray


class Answers:
    """What one package answered, by the name of the question."""

    def __init__(self, folder: Path) -> None:
        self.raw: dict[str, Any] = json.loads((folder / "answers.json").read_text())
        with np.load(folder / "arrays.npz") as arrays:
            self.arrays = dict(arrays)

    def __getitem__(self, name: str) -> Any:
        return self._decode(self.raw[name])

    def names(self, start: str = "") -> list[str]:
        return [name for name in self.raw if name.startswith(start)]

    def _decode(self, found: Any) -> Any:
        if "error" in found:
            return Failure(found["error"], tuple(found["bases"]), found["message"])
        if "array" in found:
            return self.arrays[found["array"]]
        if "pairs" in found:
            return {self._hashable(k): self._decode(v) for k, v in found["pairs"]}
        if "items" in found:
            return [self._decode(v) for v in found["items"]]
        if "field" in found:
            return Field(*(self._decode(v) for v in found["field"]))
        if found.get("plain") is None and "type" in found:
            return f"<{found['type']}>"
        return found["plain"]

    def _hashable(self, found: Any) -> Any:
        key = self._decode(found)
        return tuple(key) if isinstance(key, list) else key


def difference(a: Any, b: Any, *, atol: float = 0.0, rtol: float = 0.0) -> str | None:
    """Say where two answers differ, or None."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        if (a.dtype, a.shape) != (b.dtype, b.shape):
            return f"{a.dtype}{a.shape} | {b.dtype}{b.shape}"
        if a.size == 0 or np.allclose(
            a.astype(float), b.astype(float), atol=atol, rtol=rtol, equal_nan=True
        ):
            return None
        off = np.abs(a.astype(float) - b.astype(float))
        return f"differ by up to {off.max():.6g} in {np.mean(off > atol):.2%} of {a.shape}"
    if isinstance(a, Field) and isinstance(b, Field):
        return difference(a.delta_x, b.delta_x, atol=atol, rtol=rtol) or difference(
            a.delta_y, b.delta_y, atol=atol, rtol=rtol
        )
    if type(a) is not type(b) and not (isinstance(a, (int, float)) and isinstance(b, (int, float))):
        return f"{_short(a)} | {_short(b)}"
    if isinstance(a, list):
        if len(a) != len(b):
            return f"{len(a)} items | {len(b)} items: {_short(a)} | {_short(b)}"
        for k, (x, y) in enumerate(zip(a, b, strict=True)):
            if found := difference(x, y, atol=atol, rtol=rtol):
                return f"[{k}]: {found}"
        return None
    if isinstance(a, dict):
        if a.keys() != b.keys():
            return f"only one has {sorted(map(str, a.keys() ^ b.keys()))}"
        for key in a:
            if found := difference(a[key], b[key], atol=atol, rtol=rtol):
                return f"[{key!r}]: {found}"
        return None if list(a) == list(b) else f"order {list(a)[:5]} | {list(b)[:5]}"
    if isinstance(a, Failure):
        return None if a.name == b.name else f"{_short(a)} | {_short(b)}"
    if isinstance(a, (int, float)) and not isinstance(a, bool):
        return None if abs(a - b) <= atol + rtol * abs(b) else f"{a!r} | {b!r}"
    return None if a == b else f"{_short(a)} | {_short(b)}"


def _short(value: Any) -> str:
    if isinstance(value, Failure):
        return f"{value.name}({value.message[:90]!r}; {', '.join(value.bases[:3])})"
    if isinstance(value, np.ndarray):
        return f"array {value.dtype}{value.shape}"
    return repr(value)[:200]
