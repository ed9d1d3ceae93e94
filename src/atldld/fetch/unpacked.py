"""Arrays of volumes, unpacked so that they can be mapped into memory.

Each is kept below ``unpacked/`` as a ``.npy`` file. Its companion says of which file it was made
and what was written: the file's SHA-256, and that of the voxels. To open one, the length and the
time of the last change are compared, which takes no time; where the time differs, as in a copy,
and when the cache is verified, all bytes are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atldld.errors import CacheError, Remedy
from atldld.fetch.cache import Cache, companion_of, read_json
from atldld.fetch.kept import CachedFile
from atldld.fetch.known import known_file
from atldld.support.files import whole_file, write_errors

if TYPE_CHECKING:
    # imported where it is used: files are listed without it
    from numpy.typing import NDArray

__all__ = ["check_unpacked", "find_unpacked", "new_unpacked"]

_CHUNK = 1 << 22
_ELSEWHERE = f"Another folder is chosen with {Remedy.CACHE_DIR} or ATLDLD_CACHE_DIR."


def find_unpacked(cache: Cache, name: str, source: CachedFile) -> NDArray[Any] | None:
    """Return the array of a verified file, mapped read-only; `None` if there is none to trust.

    Parameters
    ----------
    cache : Cache
        Where it is.
    name : str
        Under which name the cache has the file.
    source : CachedFile
        The file.
    """
    import numpy as np

    path = _path(cache, name, source.sha256)
    facts = read_json(companion_of(path))
    known = known_file(cache, name)
    try:
        found = path.stat()
        if (
            facts.get("source") != name
            or facts.get("source_sha256") != source.sha256
            or facts.get("bytes") != found.st_size
            or (known and known.voxels and facts.get("voxels_sha256") != known.voxels)
        ):
            return None
        mapped: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        if facts.get("changed") != found.st_mtime_ns:
            if _voxels_of(path) != facts.get("voxels_sha256"):
                return None
            # where the cache cannot be written, it is read each time
            with suppress(CacheError):
                cache.write_json(companion_of(path), {**facts, "changed": found.st_mtime_ns})
    except (OSError, ValueError):
        return None
    return mapped


@contextmanager
def new_unpacked(
    cache: Cache, name: str, source_sha256: str
) -> Iterator[tuple[Path, Callable[[str], None]]]:
    """Give the path of a temporary file, and the function that makes it count.

    The function takes the SHA-256 of the voxels. Arrays of other files of the same name go.

    Parameters
    ----------
    cache : Cache
        Where to keep it.
    name, source_sha256 : str
        Under which name the cache has the file of which it is made, and that file's hash.

    Raises
    ------
    CacheError
        If it cannot be written.
    """
    path = _path(cache, name, source_sha256)
    with write_errors(path, CacheError, hint=_ELSEWHERE):
        with whole_file(
            path, force=True, sync=False, kind=CacheError, hint=_ELSEWHERE
        ) as temporary:
            written: list[str] = []
            yield temporary, written.append
            companion_of(path).unlink(missing_ok=True)
        found = path.stat()
    facts = {
        "source": name,
        "source_sha256": source_sha256,
        "bytes": found.st_size,
        "changed": found.st_mtime_ns,
        "voxels_sha256": written[0],
    }
    cache.write_json(companion_of(path), facts)
    for old in path.parent.glob(f"{Path(name).name}-*.npy"):
        if old != path:  # which another process may just have made too
            companion_of(old).unlink(missing_ok=True)
            old.unlink(missing_ok=True)


def check_unpacked(cache: Cache) -> Iterator[tuple[Path, str | None]]:
    """Yield every unpacked array, and what is wrong with it, if something is; reads all bytes."""
    folder = cache.root / "unpacked"
    for path in sorted(folder.rglob("*.npy")):
        if not path.name.startswith("."):
            yield path, _problem_of(cache, path)


def _problem_of(cache: Cache, path: Path) -> str | None:
    facts = read_json(companion_of(path))
    if not facts:
        return "nothing is known of which file it was made"
    name, sha256 = str(facts.get("source")), str(facts.get("source_sha256"))
    try:
        source = cache.find_file(name)
    except CacheError:
        source = None
    if (source is not None and source.sha256 != sha256) or path != _path(cache, name, sha256):
        return "it was not made of the file that the cache has"
    known = known_file(cache, name)
    voxels = _voxels_of(path)
    if voxels is None or voxels != facts.get("voxels_sha256"):
        return "its bytes have changed"
    if known and known.voxels not in (None, voxels):
        return "its voxels are not those of the Allen Institute's file"
    return None


def _path(cache: Cache, name: str, source_sha256: str) -> Path:
    return cache.root / "unpacked" / f"{name}-{source_sha256[:16]}.npy"


def _voxels_of(path: Path) -> str | None:
    """Return the SHA-256 of an array's voxels; `None` if the file holds no array."""
    import numpy as np

    try:
        begin = np.load(path, mmap_mode="r", allow_pickle=False).offset
        digest = hashlib.sha256()
        with open(path, "rb") as file:
            file.seek(begin)
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except (OSError, ValueError, AttributeError):
        return None
    return digest.hexdigest()
