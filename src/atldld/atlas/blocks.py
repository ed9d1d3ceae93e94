"""NRRD files read block by block: what they announce is checked before anything is decoded.

A file may announce more than any memory holds, unpack to more than it announces, or name another
file. So its header is read first, the voxels follow in blocks of some MB, and reading stops where
the header says that they end.

Source: the NRRD format definition.
"""

from __future__ import annotations

import bz2
import gzip
import io
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atldld.errors import InvalidInputError
from atldld.formats.common import need
from atldld.support.files import check_file, read_errors

__all__ = ["NrrdFile", "open_nrrd"]

_BLOCK = 1 << 22  # bytes
_LONGEST_HEADER = 4 << 20
# deflate takes at least one bit for 129 bytes
_GZIP_RATIO = 1032

_TYPES = {
    "i1": "signed char, int8, int8_t",
    "u1": "uchar, unsigned char, uint8, uint8_t",
    "i2": "short, short int, signed short, signed short int, int16, int16_t",
    "u2": "ushort, unsigned short, unsigned short int, uint16, uint16_t",
    "i4": "int, signed int, int32, int32_t",
    "u4": "uint, unsigned int, uint32, uint32_t",
    "i8": "longlong, long long, long long int, signed long long, signed long long int, int64, "
    "int64_t",
    "u8": "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t",
    "f4": "float",
    "f8": "double",
}
_TYPE_OF = {name: code for code, names in _TYPES.items() for name in names.split(", ")}
_ENCODINGS = {"raw": "raw", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2"}


@dataclass(frozen=True, slots=True)
class NrrdFile:
    """A NRRD file whose header was read.

    Attributes
    ----------
    name : str
        What to call it in errors.
    header : dict
        The fields, as pynrrd reads them.
    shape : tuple of int
        Voxels along its axes; the first is the fastest in the file.
    dtype : numpy.dtype
        Of the voxels, as they are stored.
    encoding : {"raw", "gzip", "bzip2"}
        How they are stored.
    data : pathlib.Path
        Where: the file itself, or one beside it.
    begin : int
        Where in it.
    """

    name: str
    header: dict[str, Any]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    encoding: str
    data: Path
    begin: int

    @property
    def bytes(self) -> int:
        """Bytes of all voxels."""
        return math.prod(self.shape) * self.dtype.itemsize

    def blocks(self) -> Iterator[NDArray[Any]]:
        """Yield the voxels one after the other, in the order of bytes of this machine.

        Raises
        ------
        InvalidInputError
            If the file holds fewer or more voxels than its header says, or they cannot be decoded
            or read.
        """
        left = self.bytes
        try:
            with read_errors(self.name), open(self.data, "rb") as file:
                file.seek(self.begin)
                stream = _decoded(file, self.encoding)
                while left:
                    block = _exactly(stream, min(left, _BLOCK))
                    left -= len(block)
                    if not block or len(block) % self.dtype.itemsize:
                        raise InvalidInputError(
                            f"{self.name} is no whole NRRD file: it ends after "
                            f"{self.bytes - left} of {self.bytes} bytes."
                        )
                    stored = np.frombuffer(block, self.dtype)
                    yield stored.astype(self.dtype.newbyteorder("="), copy=False)
                # reading on to the end is also what checks gzip's own sum
                if stream.read(1):
                    raise InvalidInputError(
                        f"{self.name} is no whole NRRD file: it holds more than the {self.bytes} "
                        "bytes that its header announces."
                    )
        except (OSError, EOFError, zlib.error, ValueError) as error:
            if isinstance(error, InvalidInputError):
                raise
            raise InvalidInputError(f"{self.name} is no whole NRRD file: {error}.") from None


def open_nrrd(path: Path, *, name: str, alone: bool = False) -> NrrdFile:
    """Read the header of a NRRD file and check it, and nothing else.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    name : str
        What to call it in errors.
    alone : bool
        Whether the voxels must be in the same file. Else they may be in another one in the same
        folder.

    Raises
    ------
    InvalidInputError
        If the file cannot be read, is not NRRD, has a type or an encoding that is not supported,
        keeps its voxels elsewhere, or cannot hold what its header announces.
    """
    _check_file(path, name)
    header, begin = _header(path, name)
    encoding = _ENCODINGS.get(str(header.get("encoding")).lower())
    if encoding is None:
        raise InvalidInputError(
            f"{name} is encoded as {header.get('encoding')}, which is not read.",
            hint="Write it as gzip or raw.",
        )
    for field in ("line skip", "lineskip", "byte skip", "byteskip"):
        if header.get(field):
            raise InvalidInputError(f"{name} has a {field} in its header, which is not read.")
    data = _data_file(path, header, name, alone)
    if data != path:
        _check_file(data, name)
        begin = 0
    found = NrrdFile(
        name, header, _sizes(header, name), _dtype(header, name), encoding, data, begin
    )
    stored = data.stat().st_size - begin
    if encoding == "raw" and stored != found.bytes:
        raise InvalidInputError(
            f"{name} is no whole NRRD file: it holds {stored} bytes of voxels, but its header "
            f"announces {found.bytes}."
        )
    if encoding == "gzip" and found.bytes > stored * _GZIP_RATIO:
        raise InvalidInputError(
            f"{name} announces {found.bytes} bytes of voxels, but its {stored} bytes cannot hold "
            "so many."
        )
    return found


def _check_file(path: Path, name: str) -> None:
    try:
        check_file(path)
    except InvalidInputError as error:
        raise InvalidInputError(f"{name} is no whole NRRD file: {error.message}") from None


def _header(path: Path, name: str) -> tuple[dict[str, Any], int]:
    nrrd = need("nrrd", "atlas", "Volumes of the atlas")
    lines: list[bytes] = []
    with read_errors(name), open(path, "rb") as file:
        if (begin := file.read(4)) != b"NRRD":
            raise InvalidInputError(
                f"{name} is no NRRD file: it begins with {begin!r}.",
                hint="Volumes are read from NRRD files; SimpleITK and 3D Slicer write them.",
            )
        file.seek(0)
        left = _LONGEST_HEADER
        while (line := file.readline(_LONGEST_HEADER)).strip():
            lines.append(line)
            left -= len(line)
            if left < 0:
                raise InvalidInputError(f"{name} is no NRRD file: its header has no end.")
        try:
            header: dict[str, Any] = nrrd.read_header(lines)
        # pynrrd raises what its parts do: errors of numpy, of reading numbers
        except Exception as error:
            raise InvalidInputError(f"{name} is no whole NRRD file: {error}.") from None
        return header, file.tell()


def _sizes(header: dict[str, Any], name: str) -> tuple[int, ...]:
    sizes = tuple(int(size) for size in np.atleast_1d(header.get("sizes", ())))
    if len(sizes) != header.get("dimension") or len(sizes) != 3:
        raise InvalidInputError(
            f"{name} has {header.get('dimension')} axes and sizes for {len(sizes)}, but must have "
            "three: (p, i, r)."
        )
    if min(sizes) < 1:
        raise InvalidInputError(
            f"{name} has the shape {' × '.join(map(str, sizes))}, but each side must be 1 or more."
        )
    return sizes


def _dtype(header: dict[str, Any], name: str) -> np.dtype[Any]:
    kind, endian = header.get("type"), header.get("endian")
    code = _TYPE_OF.get(str(kind))
    if code is None:
        raise InvalidInputError(f"{name} holds voxels of the type {kind}, which is not read.")
    if code.endswith("1"):
        return np.dtype(code)
    if endian not in ("little", "big"):
        raise InvalidInputError(
            f"{name} is no whole NRRD file: it says of the order of bytes {endian!r}."
        )
    return np.dtype(("<" if endian == "little" else ">") + code)


def _data_file(path: Path, header: dict[str, Any], name: str, alone: bool) -> Path:
    elsewhere = header.get("data file", header.get("datafile"))
    if elsewhere is None:
        return path
    beside = path.parent / Path(str(elsewhere)).name
    if alone or str(elsewhere) != beside.name or beside == path:
        raise InvalidInputError(
            f"{name} has its voxels in another file, {str(elsewhere)!r}"
            + (
                ", but must hold them itself."
                if alone
                else ", but only one in the same folder is read."
            )
        )
    return beside


def _decoded(file: io.BufferedReader, encoding: str) -> io.BufferedIOBase:
    if encoding == "gzip":
        return gzip.GzipFile(fileobj=file)
    return bz2.BZ2File(file) if encoding == "bzip2" else file


def _exactly(stream: io.BufferedIOBase, length: int) -> bytes:
    """Read so many bytes; fewer only at the end."""
    parts = []
    while length and (part := stream.read(length)):
        parts.append(part)
        length -= len(part)
    return b"".join(parts)
