"""Affine maps as things: they know their frames, compose, invert, save and load.

The way of a section from its pixels to the brain has two steps, and a picture adds a third::

    output pixel ──▶ image ──▶ volume ──▶ reference
      (column, row)   (x, y)    (vx, vy, s)  (p, i, r)

Each is an `Affine`. What is composed must fit: an affine that ends in the volume cannot be followed
by one that starts in the image. The stored ways back (``trv``, ``tvs``) are affines of their own:
they have six digits and are no exact inverses, and from the three coordinates of the volume to the
two of an image there is no inverse at all, but a projection along the section number.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from atldld.errors import InvalidInputError
from atldld.place.spaces import BLOCK, check_points
from atldld.records import SectionDataSet, SectionImage
from atldld.support.documents import DocumentError, parse_json
from atldld.support.files import whole_file
from atldld.support.pipeline import default_jobs

__all__ = [
    "FRAMES",
    "Affine",
    "apply_affine",
    "apply_affine_to_columns",
    "image_to_volume",
    "in_blocks",
    "reference_to_volume",
    "volume_to_image",
    "volume_to_reference",
]

Matrix = NDArray[np.float64]

FRAMES = {
    "image": "(x, y) in full-resolution pixels of the section's box, origin upper left",
    "flat image": "(x, y) as in the image, once its deformation is taken out",
    "volume": "(vx, vy, s) in µm of the data set's volume, s = section number × thickness",
    "reference": "(p, i, r) in µm of the reference space",
    "output pixel": "(column, row) of a picture on the reference grid, centres at whole numbers",
}
"""What the frames that this package uses are: axes, order, unit, origin. Others may be named."""

_DIMENSIONS = {"image": 2, "flat image": 2, "volume": 3, "reference": 3, "output pixel": 2}

FORMAT = "atldld affine"
VERSION = 1


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """An affine map from one frame to another: ``out = matrix @ [*in, 1]``.

    Parameters
    ----------
    matrix : array-like, shape (m, n + 1)
        m rows for m coordinates out; n columns for n coordinates in, and the shift. A read-only
        float64 copy is kept.
    source, target : str
        The frames: one of `FRAMES`, or a name of your own.

    Raises
    ------
    InvalidInputError
        If the matrix has another shape, entries that are not finite, or a frame of `FRAMES` has
        another number of coordinates.

    Examples
    --------
    >>> flip = Affine([[-1, 0, 100], [0, 1, 0]], "image", "mirrored image")
    >>> flip.then(flip.inverse())
    Affine(image → image, 2 → 2 coordinates)
    >>> flip.apply([[10, 20]])
    array([[90., 20.]])
    """

    matrix: Matrix
    source: str
    target: str

    def __post_init__(self) -> None:
        try:
            matrix = np.array(self.matrix, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            raise InvalidInputError("The matrix of an affine map must hold numbers.") from None
        if matrix.ndim != 2 or matrix.shape[0] < 1 or matrix.shape[1] < 2:
            raise InvalidInputError(
                f"The matrix of an affine map has shape {matrix.shape}, but must have (m, n + 1): "
                "m coordinates out, n coordinates in and the shift."
            )
        if not np.isfinite(matrix).all():
            raise InvalidInputError("The matrix of an affine map holds NaN or infinity.")
        for frame, count in ((self.source, matrix.shape[1] - 1), (self.target, matrix.shape[0])):
            if not isinstance(frame, str) or not frame:
                raise InvalidInputError(f"A frame is named {frame!r}, but must have a name.")
            if _DIMENSIONS.get(frame, count) != count:
                raise InvalidInputError(
                    f"The frame {frame!r} has {_DIMENSIONS[frame]} coordinates, {FRAMES[frame]}, "
                    f"but the matrix has {count}."
                )
        matrix.flags.writeable = False
        object.__setattr__(self, "matrix", matrix)

    def __reduce__(self) -> tuple[type[Affine], tuple[Any, ...]]:
        # by its constructor: arrays that are unpickled as such can be written to
        return Affine, (self.matrix, self.source, self.target)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Affine)
            and (self.source, self.target) == (other.source, other.target)
            and np.array_equal(self.matrix, other.matrix)
        )

    def __hash__(self) -> int:
        # zeros of both signs are equal, so they must not be told apart here
        return hash((self.source, self.target, (self.matrix + 0.0).tobytes()))

    def __repr__(self) -> str:
        rows, columns = self.matrix.shape
        return f"Affine({self.source} → {self.target}, {columns - 1} → {rows} coordinates)"

    def apply(self, points: ArrayLike) -> Matrix:
        """Map points.

        Parameters
        ----------
        points : array-like, shape (..., n)
            In the source frame.

        Returns
        -------
        numpy.ndarray, shape (..., m), float64
            In the target frame.

        Raises
        ------
        InvalidInputError
            If the points have another shape, or coordinates that are not finite.
        """
        what = FRAMES.get(self.source, self.source)
        checked = check_points(points, self.matrix.shape[1] - 1, what)
        return apply_affine(self.matrix, checked)

    def then(self, other: Affine) -> Affine:
        """Return the map that applies this one first and then another.

        Parameters
        ----------
        other : Affine
            It starts in the frame in which this one ends.

        Raises
        ------
        InvalidInputError
            If `other` does not start in the frame in which this map ends.
        """
        if self.target != other.source:
            raise InvalidInputError(
                f"A map to the frame {self.target!r} cannot be followed by one from the frame "
                f"{other.source!r}.",
                hint="The first must end where the second begins.",
            )
        if self.matrix.shape[0] != other.matrix.shape[1] - 1:
            raise InvalidInputError(
                f"A map to {self.matrix.shape[0]} coordinates cannot be followed by one from "
                f"{other.matrix.shape[1] - 1}."
            )
        matrix = other.matrix[:, :-1] @ self.matrix
        matrix[:, -1] += other.matrix[:, -1]
        return Affine(matrix, self.source, other.target)

    def inverse(self) -> Affine:
        """Return the inverse map.

        Raises
        ------
        InvalidInputError
            If the map has no inverse: the frames differ in their number of coordinates, or it
            flattens.
        """
        rows, columns = self.matrix.shape
        if rows != columns - 1:
            raise InvalidInputError(
                f"A map from {columns - 1} to {rows} coordinates has no inverse.",
                hint="From the reference to an image use `Placement.reference_to_image`, which "
                "drops the distance to the section.",
            )
        linear = self.matrix[:, :-1]
        # The condition, not the determinant: that one depends on the units.
        if not np.linalg.cond(linear) < 1 / np.finfo(np.float64).eps:
            raise InvalidInputError(
                f"The map from {self.source!r} to {self.target!r} flattens its points, so it has "
                "no inverse."
            )
        inverted = np.linalg.inv(linear)
        shift = -inverted @ self.matrix[:, -1]
        return Affine(np.column_stack((inverted, shift)), self.target, self.source)

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write the map as JSON, whole or not at all.

        Parameters
        ----------
        path : str or pathlib.Path
            The numbers are written so that `load` returns exactly the same ones.
        force : bool
            Replace a file that is there.

        Raises
        ------
        OutputError
            If the file cannot be written, or exists and `force` is false.
        """
        record = {
            "format": FORMAT,
            "version": VERSION,
            "source": self.source,
            "target": self.target,
            # for the reader of the file; `load` does not need it
            "frames": {f: FRAMES[f] for f in (self.source, self.target) if f in FRAMES},
            "matrix": self.matrix.tolist(),
        }
        with whole_file(path, force=force) as temporary:
            text = json.dumps(record, ensure_ascii=False, indent=1) + "\n"
            temporary.write_text(text, "utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Affine:
        """Read a map that `save` wrote.

        Parameters
        ----------
        path : str or pathlib.Path
            The JSON file.

        Raises
        ------
        InvalidInputError
            If the file cannot be read, or does not hold a map.
        """
        try:
            record: Any = parse_json(Path(path).read_bytes())
        except OSError as error:
            raise InvalidInputError(f"{path} cannot be read: {error.strerror or error}.") from None
        except DocumentError as error:
            raise InvalidInputError(f"{path} cannot be read as JSON: it {error}.") from None
        if not isinstance(record, dict) or record.get("format") != FORMAT:
            raise InvalidInputError(
                f'{path} is no saved affine map: it lacks "format": "{FORMAT}".',
                hint="`Affine.save` writes such files.",
            )
        if record.get("version") != VERSION:
            raise InvalidInputError(
                f"{path} has version {record.get('version')!r}; this atldld reads {VERSION}."
            )
        missing = [key for key in ("matrix", "source", "target") if key not in record]
        if missing:
            raise InvalidInputError(f"{path} lacks {', '.join(missing)}.")
        return cls(record["matrix"], record["source"], record["target"])


def apply_affine(matrix: Matrix, points: Matrix, out: Matrix | None = None) -> Matrix:
    """Map points block by block: fast, and with no memory beside the result's.

    Parameters
    ----------
    matrix : numpy.ndarray, shape (m, n + 1), float64
        ``out = matrix @ [*in, 1]``.
    points : numpy.ndarray, shape (..., n), float64
        Not checked.
    out : numpy.ndarray, shape (..., m), float64, optional
        C-contiguous array to write into.

    Returns
    -------
    numpy.ndarray, shape (..., m), float64
    """
    linear, shift = np.ascontiguousarray(matrix[:, :-1].T), matrix[:, -1]
    if out is None:
        out = np.empty((*points.shape[:-1], len(matrix)))
    rows, results = points.reshape(-1, points.shape[-1]), out.reshape(-1, len(matrix))

    def work(block: slice) -> None:
        part = results[block]
        np.matmul(rows[block], linear, out=part)
        part += shift

    in_blocks(len(rows), work)
    return out


def apply_affine_to_columns(matrix: Matrix, points: Matrix) -> Matrix:
    """Like `apply_affine`, for points that stand in columns, and whose results are checked.

    Parameters
    ----------
    matrix : numpy.ndarray, shape (m, n + 1), float64
        ``out = matrix @ [*in, 1]``.
    points : numpy.ndarray, shape (n, N), float64
        Not checked.

    Returns
    -------
    numpy.ndarray, shape (m, N), float64

    Raises
    ------
    InvalidInputError
        If a point is not finite.
    """
    linear, shift = np.ascontiguousarray(matrix[:, :-1]), matrix[:, -1:]
    out = np.empty((len(matrix), points.shape[1]))
    # A row without zeros has something of every coordinate, and so tells of all of them.
    telling = int(np.abs(linear).min(axis=1).argmax())
    told = slice(telling, telling + 1) if linear[telling].all() else slice(None)

    def work(block: slice) -> None:
        part = out[:, block]
        # Checked while it is still in the processor's cache. A sum is finite only if all of it
        # is; one that overflows is looked at closely.
        with np.errstate(invalid="ignore", over="ignore"):
            np.add(linear @ points[:, block], shift, out=part)
            finite = np.isfinite(part[told].sum())
        if not finite and not np.isfinite(points[:, block]).all():
            raise InvalidInputError("The coordinates hold NaN or infinity.")

    in_blocks(points.shape[1], work)
    return out


def in_blocks(count: int, work: Callable[[slice], None]) -> None:
    """Call `work` with every slice of `BLOCK` of so many points, in threads where there are many.

    Parameters
    ----------
    count : int
        Points.
    work : callable
        Takes a slice, and writes what it makes of these points.
    """
    jobs = min(default_jobs(), count // (4 * BLOCK))
    if jobs < 2:
        for start in range(0, count, BLOCK):
            work(slice(start, start + BLOCK))
        return
    share = -(-count // jobs)

    def work_on(first: int) -> None:
        last = min(first + share, count)
        for start in range(first, last, BLOCK):
            work(slice(start, min(start + BLOCK, last)))

    with ThreadPoolExecutor(jobs, thread_name_prefix="points") as pool:
        list(pool.map(work_on, range(0, count, share)))


def image_to_volume(dataset: SectionDataSet, image: SectionImage) -> Affine:
    """Return ``tsv`` with the section's depth: image → volume, 2 → 3 coordinates.

    Raises
    ------
    AlignmentMissingError
        If the image has no alignment2d, or the data set has no alignment3d or thickness.
    """
    _, thickness = dataset.check_alignment()
    depth = [0.0, 0.0, image.section_number * thickness]
    return Affine(np.vstack((image.check_alignment().to_volume, depth)), "image", "volume")


def volume_to_reference(dataset: SectionDataSet) -> Affine:
    """Return ``tvr``: volume → reference, 3 → 3 coordinates.

    Raises
    ------
    AlignmentMissingError
        If the data set has no alignment3d.
    """
    return Affine(dataset.check_alignment()[0].to_reference, "volume", "reference")


def reference_to_volume(dataset: SectionDataSet) -> Affine:
    """Return ``trv``: reference → volume, 3 → 3 coordinates.

    Raises
    ------
    AlignmentMissingError
        If the data set has no alignment3d.
    """
    return Affine(dataset.check_alignment()[0].to_volume, "reference", "volume")


def volume_to_image(image: SectionImage) -> Affine:
    """Return ``tvs``: volume → image, 3 → 2 coordinates; the distance to the section is dropped.

    Raises
    ------
    AlignmentMissingError
        If the image has no alignment2d.
    """
    tvs = image.check_alignment().to_image
    return Affine(np.insert(tvs, 2, 0.0, axis=1), "volume", "image")
