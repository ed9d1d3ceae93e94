"""MetaImage's header, and the one picture that is both written and read in it: vectors of a plane.

Source: the MetaImage format (ITK).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from atldld.errors import AnswerError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["ELEMENT_TYPES", "LONGEST_HEADER", "VectorImage", "header_of"]

LONGEST_HEADER = 10_000
"""Bytes of a header that are read."""

ELEMENT_TYPES = {
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
    "MET_UCHAR": "u1",
    "MET_USHORT": "u2",
    "MET_SHORT": "i2",
    "MET_UINT": "u4",
    "MET_INT": "i4",
}

_DATA_FOLLOWS = re.compile(rb"^ElementDataFile *= *LOCAL *\r?\n", re.MULTILINE)


def header_of(text: bytes, what: str) -> dict[str, str]:
    """Return the fields of a MetaImage's header.

    Parameters
    ----------
    text : bytes
        The header, or the beginning of a file.
    what : str
        What it is the header of, for messages.

    Raises
    ------
    AnswerError
        If the text says no sizes or no type.
    """
    fields: dict[str, str] = {}
    for line in text[:LONGEST_HEADER].decode("latin-1").splitlines():
        name, equals, value = line.partition("=")
        if equals:
            fields[name.strip()] = value.strip()
    if "DimSize" not in fields or "ElementType" not in fields:
        raise AnswerError(f"{what} is no header of a MetaImage: it has no DimSize or ElementType.")
    return fields


@dataclass(frozen=True, eq=False)
class VectorImage:
    """A plane of vectors as ``.mha`` holds it: a header of lines, then the numbers.

    ITK makes a `DisplacementFieldTransform` of it as it is, which needs float64.

    Attributes
    ----------
    vectors : numpy.ndarray, shape (rows, columns, 2), float64
        (x, y) of each vector.
    spacing, origin : tuple of 2 float
        Steps along (x, y), and where the first vector stands.
    comment : str
        One short line of ASCII about it.
    """

    vectors: NDArray[np.float64]
    spacing: tuple[float, float]
    origin: tuple[float, float]
    comment: str

    @property
    def header(self) -> bytes:
        """The lines; `data` follows them."""
        rows, columns = self.vectors.shape[:2]
        header = {
            "ObjectType": "Image",
            "NDims": 2,
            "BinaryData": True,
            "BinaryDataByteOrderMSB": False,
            "CompressedData": False,
            "TransformMatrix": "1 0 0 1",
            "Offset": "{!r} {!r}".format(*map(float, self.origin)),
            "CenterOfRotation": "0 0",
            "ElementSpacing": "{!r} {!r}".format(*map(float, self.spacing)),
            "DimSize": f"{columns} {rows}",
            "ElementNumberOfChannels": 2,
            "ElementType": "MET_DOUBLE",
            # a line of MetaImage's header must be short: no room for more
            "Comment": self.comment,
            "ElementDataFile": "LOCAL",  # must be the last line
        }
        return "".join(f"{key} = {value}\n" for key, value in header.items()).encode("ascii")

    @property
    def data(self) -> memoryview:
        """The numbers: x fastest, components together, little-endian."""
        import numpy as np

        return np.ascontiguousarray(self.vectors, dtype="<f8").data

    @classmethod
    def of(cls, content: bytes, what: str) -> Self:
        """Return what a file holds.

        Parameters
        ----------
        content : bytes
            The whole file.
        what : str
            Its name, for messages.

        Raises
        ------
        AnswerError
            If it is not a plane of vectors as this class writes it, but for the numbers' size and
            order.
        """
        import numpy as np

        begins = _DATA_FOLLOWS.search(content[:LONGEST_HEADER])
        if begins is None:
            raise AnswerError(f"{what} is no MetaImage with its numbers inside.")
        fields = header_of(content[: begins.end()], what)
        usual = {
            "NDims": "2",
            "ElementNumberOfChannels": "2",
            "BinaryData": "true",
            "CompressedData": "false",
            "TransformMatrix": "1 0 0 1",
        }
        for name, value in usual.items():
            if fields.get(name, value).lower() != value:
                raise AnswerError(f"{what} has {name} = {fields[name]:.60}, but must have {value}.")
        kind = ELEMENT_TYPES.get(fields["ElementType"], "")
        if not kind.startswith("f"):
            raise AnswerError(f"{what} holds {fields['ElementType']:.60}, but must hold floats.")
        big = fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "False"))
        dtype = np.dtype((">" if big.lower() == "true" else "<") + kind)
        columns, rows = _two(fields, "DimSize", what)
        numbers = content[begins.end() :]
        if min(columns, rows) < 1 or len(numbers) != columns * rows * 2 * dtype.itemsize:
            raise AnswerError(
                f"{what} has {len(numbers)} bytes of numbers, which are not the {columns:.0f} × "
                f"{rows:.0f} pairs that its header tells."
            )
        vectors = np.frombuffer(numbers, dtype).reshape(int(rows), int(columns), 2)
        return cls(
            vectors.astype(np.float64),
            _two(fields, "ElementSpacing", what),
            _two(fields, "Offset", what),
            fields.get("Comment", ""),
        )


def _two(fields: dict[str, str], name: str, what: str) -> tuple[float, float]:
    try:
        first, second = map(float, fields.get(name, "").split())
    except ValueError:
        raise AnswerError(
            f"{what} has {name} = {fields.get(name, 'nothing'):.60}, but must have two numbers."
        ) from None
    return first, second
