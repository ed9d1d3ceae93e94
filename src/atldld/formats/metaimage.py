"""MetaImage: the service's grids are read in it, and displacement fields written.

Source: the MetaImage format (ITK).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atldld.errors import AnswerError, InvalidInputError
from atldld.place.spaces import BOX
from atldld.support.files import check_file
from atldld.support.metaimage import ELEMENT_TYPES, LONGEST_HEADER, VectorImage, header_of

if TYPE_CHECKING:
    from atldld.formats.displacements import PhysicalField

__all__ = ["LONGEST_HEADER", "Layout", "header_of", "layout_of", "read_mhd", "write_mha"]

_LONGEST_SIDE = 10_000  # in voxels


def read_mhd(path: str | Path) -> tuple[NDArray[Any], float]:
    """Read a MetaImage of the service: a header ``.mhd`` with its ``.raw`` beside it.

    Parameters
    ----------
    path : str or pathlib.Path
        The header.

    Returns
    -------
    data : numpy.ndarray, shape (P, I, R)
        As stored: −1 is still −1.
    resolution : float
        Side of a voxel, in µm. Voxel k is centred at k · resolution.

    Raises
    ------
    InvalidInputError
        If the files cannot be read, or are not an image of this kind.
    """
    path = Path(path)
    try:
        check_file(path)
        with open(path, "rb") as file:
            header = header_of(file.read(LONGEST_HEADER), str(path))
        layout = layout_of(header, str(path))
        named = header.get("ElementDataFile", "")
        raw = path.parent / Path(named).name
        if raw.name != named:
            raise AnswerError(f"its voxels are in {named!r}, and not in a file beside it.")
        check_file(raw, largest=layout.length)
        return layout.array(raw.read_bytes()), layout.step
    except (OSError, AnswerError, InvalidInputError) as error:
        raise InvalidInputError(f"{path} cannot be used: {error}") from None


@dataclass(frozen=True, slots=True)
class Layout:
    """How the voxels of a MetaImage lie in its raw file."""

    what: str
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    step: float

    @property
    def length(self) -> int:
        """Bytes of the voxels."""
        return math.prod(self.shape) * self.dtype.itemsize

    def array(self, raw: bytes) -> NDArray[Any]:
        """Return the voxels, shape (P, I, R)."""
        if len(raw) != self.length:
            x, y, z = self.shape
            raise AnswerError(
                f"{self.what} has {len(raw)} bytes, but its {x} × {y} × {z} voxels have "
                f"{self.length}."
            )
        # x is the fastest in the file and runs from anterior to posterior
        array = np.frombuffer(raw, self.dtype).reshape(self.shape[::-1]).transpose(2, 1, 0)
        return np.ascontiguousarray(array, self.dtype.newbyteorder("="))


def layout_of(fields: Mapping[str, str], what: str) -> Layout:
    """Return what a header says of the voxels; refuse what is not understood."""

    def numbers(name: str, default: str) -> list[float]:
        try:
            return [float(word) for word in fields.get(name, default).split()]
        except ValueError:
            raise AnswerError(f"{what}: its {name} is {fields[name]!r:.60}.") from None

    sizes, steps = numbers("DimSize", ""), numbers("ElementSpacing", "")
    kind = fields["ElementType"]
    if (
        len(sizes) != 3
        or not all(size.is_integer() and 1 <= size <= _LONGEST_SIDE for size in sizes)
        or len(steps) != 3
        or len(set(steps)) != 1
        or not 0 < steps[0] < BOX[0]
    ):
        raise AnswerError(
            f"{what} has DimSize = {fields['DimSize']:.60} and ElementSpacing = "
            f"{fields.get('ElementSpacing', 'nothing'):.60}, but must have three sizes and cubic "
            "voxels."
        )
    usual = (
        ("NDims", "3"),
        ("TransformMatrix", "1 0 0 0 1 0 0 0 1"),
        ("Offset", "0 0 0"),
        ("HeaderSize", "0"),
        ("ElementNumberOfChannels", "1"),
    )
    for name, value in usual:
        if numbers(name, value) != [float(number) for number in value.split()]:
            raise AnswerError(
                f"{what} has {name} = {fields[name]:.60}, but the service's grids have {value}."
            )
    stored = fields.get("CompressedData", "False"), fields.get("BinaryData", "True")
    if kind not in ELEMENT_TYPES or [text.lower() for text in stored] != ["false", "true"]:
        raise AnswerError(f"{what} holds {kind:.60}, compressed, as text or of a type not read.")
    big = "true" in (
        fields.get("BinaryDataByteOrderMSB", "").lower(),
        fields.get("ElementByteOrderMSB", "").lower(),
    )
    x, y, z = (int(size) for size in sizes)
    return Layout(what, (x, y, z), np.dtype((">" if big else "<") + ELEMENT_TYPES[kind]), steps[0])


def write_mha(field: PhysicalField, path: Path) -> None:
    """Write a displacement field as one file."""
    image = VectorImage(
        field.vectors,
        (field.spacing, field.spacing),
        (field.spacing / 2, field.spacing / 2),
        f"atldld: displacements in mm, section image {field.provenance['image_id']}, in "
        f"coordinates of {field.provenance['coordinates']}",
    )
    with open(path, "wb") as file:
        file.write(image.header)
        file.write(image.data)
