"""Annotations as arrays of ids: which types hold them, and how they are made small."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from atldld.errors import InvalidInputError
from atldld.support.memory import let_go

__all__ = ["Labels", "as_labels", "check_labels", "compact_labels", "labels_type"]

Labels = NDArray[np.uint32] | NDArray[np.int64]
"""Ids of structures: int64 where there are negative ones, or ones beyond 2³²."""


def as_labels(array: NDArray[Any], what: str) -> Labels:
    """Return ids of structures in an integer type that holds all of them.

    Parameters
    ----------
    array : numpy.ndarray, any shape
        Ids; 0 is the outside. Atlases that tell the hemispheres apart have negative ones, or ones
        beyond 2³².
    what : str
        What it is, as the beginning of a sentence in the singular.

    Returns
    -------
    numpy.ndarray
        Of the same shape: uint32 where that holds them all, else int64.

    Raises
    ------
    InvalidInputError
        If the array holds anything but whole numbers, or ids beyond signed 64 bits.
    """
    check_labels(array, what)
    dtype = labels_type(array.dtype, *_extremes(array))
    if dtype is None:
        beyond = np.unique(array[array > np.iinfo(np.int64).max])
        raise InvalidInputError(
            f"{what} holds ids of structures that are too large: "
            f"{', '.join(map(str, beyond[:5].tolist()))}.",
            hint="An id is a whole number of at most 63 bits and a sign.",
        )
    return array.astype(dtype, copy=False)


def check_labels(array: NDArray[Any], what: str) -> None:
    """Check that the values of an array can be ids of structures.

    Raises
    ------
    InvalidInputError
        If the array holds anything but whole numbers.
    """
    if array.dtype.kind not in "iu":
        raise InvalidInputError(
            f"{what} holds {array.dtype} values, but an annotation holds whole numbers.",
            hint="Ids of structures have nine digits, which float32 changes to others: make it "
            "again from where the numbers were whole."
            if array.dtype.kind == "f"
            else None,
        )


def labels_type(dtype: np.dtype[Any], least: int, most: int) -> type[np.integer[Any]] | None:
    """Return the type that `as_labels` gives ids between two; `None` if there is none."""
    if dtype.kind == "u" and dtype.itemsize <= 4:
        return np.uint32
    if least >= 0 and most <= np.iinfo(np.uint32).max:
        return np.uint32
    return np.int64 if most <= np.iinfo(np.int64).max else None


def _extremes(array: NDArray[Any]) -> tuple[int, int]:
    if not array.size or (array.dtype.kind == "u" and array.dtype.itemsize <= 4):
        return 0, 0
    return int(array.min()), int(array.max())


def compact_labels(
    annotation: NDArray[np.integer[Any]],
) -> tuple[NDArray[np.int64], NDArray[np.unsignedinteger[Any]]]:
    """Map the structures of an annotation to small numbers, which can be counted with.

    Ids have nine digits. An atlas of 25 µm takes a second.

    Parameters
    ----------
    annotation : numpy.ndarray, shape (P, I, R) or that of a picture
        Ids; 0 is the outside.

    Returns
    -------
    ids : numpy.ndarray, shape (N,), int64
        The different ids; the first is 0, whether it occurs or not, and the others are sorted.
    places : numpy.ndarray, shape (P, I, R), uint16 (or uint32), in C order
        Where in `ids` each voxel's is.

    Raises
    ------
    InvalidInputError
        If the array holds anything but whole numbers, or ids beyond signed 64 bits.
    """
    check_labels(annotation, "The annotation")
    # Along the axis that is fastest in memory, voxels come in runs of one id.
    turned = not annotation.flags.c_contiguous
    volume = annotation.T if turned else annotation
    slabs = []
    for start in range(0, len(volume) if volume.size else 0, 16):
        flat = np.ascontiguousarray(volume[start : start + 16]).reshape(-1)
        let_go(annotation)
        begins = np.flatnonzero(np.concatenate(([True], flat[1:] != flat[:-1])))
        slabs.append((flat[begins], np.diff(begins, append=flat.size)))
    present = np.concatenate([volume[:0].ravel(), *(np.unique(values) for values, _ in slabs)])
    ids = np.unique(present[present != 0])
    all_ids = np.concatenate(([0], as_labels(ids, "The annotation").astype(np.int64)))
    dtype = np.uint16 if len(all_ids) <= 1 << 16 else np.uint32
    # filled in C order right away: to turn it afterwards would take as much memory again
    places = np.empty(annotation.shape, dtype)
    filled = places.T if turned else places
    for start, (values, lengths) in zip(range(0, len(volume), 16), slabs, strict=False):
        slab = filled[start : start + 16]
        numbers = np.where(values == 0, 0, np.searchsorted(ids, values) + 1).astype(dtype)
        slab[...] = np.repeat(numbers, lengths).reshape(slab.shape)
    return all_ids, places
