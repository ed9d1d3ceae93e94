"""What napari asks: whether a path is ours, and what its layers are.

Every layer lies in one world: (p, i, r) in µm from the anterior-superior-left corner, whatever the
plane of section. The centre of voxel k is at ``scale`` · k + ``translate``, as napari counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from atldld.napari import folder, store

__all__ = ["get_reader"]

Layer = tuple[Any, dict[str, Any], str]
"""napari's layer data tuple: the data, the layer's options, the kind of layer."""


def get_reader(path: str | Sequence[str]) -> Callable[[str], list[Layer]] | None:
    """Return the function that reads a path, or `None` if this package did not write it.

    Ours are folders that ``atldld download dataset`` has written, and the OME-Zarr stores of
    ``atldld volume`` and ``atldld grid``. Little is read to tell: the beginning of one file.

    Parameters
    ----------
    path : str or sequence of str
        What napari was asked to open; a sequence is to become one stack, which is not ours.

    Returns
    -------
    callable or None
        Called with the path, it returns layer data tuples.
    """
    if not isinstance(path, str):
        return None
    if folder.is_ours(Path(path)):
        return lambda path: folder.layers(Path(path))
    if store.is_ours(Path(path)):
        return lambda path: store.layers(Path(path))
    return None
