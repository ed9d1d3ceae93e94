"""Everything that can go wrong, as one tree.

::

    AtldldError
    ├── InvalidInputError (also ValueError)      what the caller passed: shape, unit, range, frame
    │   ├── AmbiguousNameError                   a gene of which several data sets fit
    │   └── MissingFileError (also FileNotFoundError)
    ├── NotFoundError (also LookupError)         the service has no such thing
    │   ├── DatasetNotFoundError
    │   ├── GridNotFoundError                    no expression grid, or one that lacks a kind
    │   └── ImageNotFoundError
    ├── ServiceError                             asking the service failed
    │   ├── OfflineError                         a request would be needed, and none is allowed
    │   ├── DailyLimitError                      all requests that are allowed a day were sent
    │   ├── NetworkError (also ConnectionError)  no connection, or it broke
    │   ├── ServiceTimeoutError (also TimeoutError)
    │   ├── HTTPStatusError                      an HTTP status that is not success
    │   ├── AnswerError                          an unusable answer (HTML, broken JSON)
    │   │   └── BrokenImageError                 not the whole image that was asked for
    │   └── RMAError                             the service says ``success: false``
    ├── ServiceDefectError                       a `ServiceWarning`, where strictness is asked for
    ├── RecordError                              a record lacks what the work needs
    │   ├── AlignmentMissingError
    │   └── UnsupportedPlaneError
    ├── CacheError (also OSError)                the cache cannot be read or written
    └── OutputError (also OSError)               the output folder or file cannot be used

    ServiceWarning (a UserWarning)               defects of the service that work can go on with
    ├── RowShortfallWarning                      fewer rows arrived than were promised
    ├── RepeatedRowsWarning                      rows arrived more than once
    ├── UnsortedRowsWarning                      rows arrived in another order than asked for
    ├── ClampedSectionWarning                    points lie far from the section they were put on
    ├── MissingAlignmentWarning                  images without an alignment are left out
    ├── OtherSourceWarning                       images come from elsewhere than asked for first
    └── SkippedImageWarning                      an image cannot be used and is left out

    AlignmentFileWarning (a UserWarning)         parts of an alignment file are not used, or its
    │                                            planes mirror sections
    └── OtherAtlasWarning                        it was made with another atlas than is used
    CurveLeftOutWarning (a UserWarning)          a file has room for planes only, and sections are
                                                 curved
    LockWarning (a UserWarning)                  another process is waited for, or locks are missing

Every error is one sentence that says what happened, followed by the ids and the URL that are
known and by what to do next. What to do next may be a `Remedy`, which Python and the command line
spell differently.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self, TypedDict, Unpack

    class _Known(TypedDict, total=False):
        hint: str | None
        dataset_id: int | None
        image_id: int | None
        url: str | None

    class _KnownOfService(_Known, total=False):
        retry_after: float | None
        tries: int | None


__all__ = [
    "AlignmentFileWarning",
    "AlignmentMissingError",
    "AmbiguousNameError",
    "AnswerError",
    "AtldldError",
    "BrokenImageError",
    "CacheError",
    "ClampedSectionWarning",
    "CurveLeftOutWarning",
    "DailyLimitError",
    "DatasetNotFoundError",
    "GridNotFoundError",
    "HTTPStatusError",
    "ImageNotFoundError",
    "InvalidInputError",
    "LockWarning",
    "MissingAlignmentWarning",
    "MissingFileError",
    "NetworkError",
    "NotFoundError",
    "OfflineError",
    "OtherAtlasWarning",
    "OtherSourceWarning",
    "OutputError",
    "RMAError",
    "RecordError",
    "Remedy",
    "RepeatedRowsWarning",
    "RowShortfallWarning",
    "ServiceDefectError",
    "ServiceError",
    "ServiceTimeoutError",
    "ServiceWarning",
    "SkippedImageWarning",
    "UnsortedRowsWarning",
    "UnsupportedPlaneError",
    "shown_address",
    "speaking",
]


LONGEST = 2000
"""Characters of a message: what is quoted in it may be of any length."""


def shown_address(address: str) -> str:
    """Return an address as it may be shown and kept: without user name, password and tokens.

    It stands here because no error may tell a secret.

    Parameters
    ----------
    address : str
        Any text that is meant as an address, however broken.

    Examples
    --------
    >>> shown_address("https://me:secret@host/x?token=abc&n=1")
    'https://host/x?token=…&n=1'
    """
    import re  # here, not at the top: `atldld --help` does without

    # whatever stands before the last @: a password may hold any sign, however much it must not
    user = r"(?s)^(?P<scheme>[^@]*?://)?(?P<user>.*@)"
    address = re.sub(user, lambda found: found["scheme"] or "", address, count=1)
    # what stands where a port should may be a password whose host was forgotten
    no_port = r"(?P<host>://[^/:?#\[\]]+):(?!\d*(?:[/?#]|$))[^/?#]*"
    address = re.sub(no_port, r"\g<host>:…", address, count=1)
    secret = (
        r"(?i)(?P<name>[?&;](?:[^=&;]*(?:token|key|secret|password|passwd|pwd|signature"
        r"|credentials?)|auth|sig))=[^&;#]*"
    )
    before, mark, query = address.partition("?")
    return before + re.sub(secret, lambda found: f"{found['name']}=…", mark + query)


class Remedy(enum.StrEnum):
    """What helps, which a caller in Python and the command line spell differently.

    Each is one character that nobody writes (of Unicode's private use), so that it can stand in
    any sentence of an error, ``f"Replace it with {Remedy.FORCE}."``, beside whatever that quotes.
    """

    ALIGNMENT = "\U000f0001"
    CACHE_DIR = "\U000f0002"
    DATASETS = "\U000f0003"
    FORCE = "\U000f0004"
    JOBS = "\U000f0005"
    KIND = "\U000f0006"
    LIVE = "\U000f0007"
    OFFLINE = "\U000f0008"
    OWN_FILES = "\U000f0009"
    PORT = "\U000f000a"
    PRUNE_ALL = "\U000f000b"
    PRUNE_SOME = "\U000f000c"
    PUBLIC = "\U000f000d"
    REFRESH = "\U000f000e"
    STAIN_THRESHOLD = "\U000f000f"
    STRICT = "\U000f0010"
    DATASET = "\U000f0011"
    SPACE = "\U000f0012"
    UNIT = "\U000f0013"
    SOURCE_API = "\U000f0014"
    SOURCE_AUTO = "\U000f0015"
    SOURCE_BUCKET = "\U000f0016"
    API_URL = "\U000f0017"
    BUCKET_URL = "\U000f0018"
    OME_ZARR = "\U000f0019"


IN_PYTHON: Mapping[Remedy, str] = {
    Remedy.ALIGNMENT: "alignment=…",
    Remedy.CACHE_DIR: "Settings(cache_dir=…)",
    Remedy.DATASETS: "dataset_ids",
    Remedy.FORCE: "force=True",
    Remedy.JOBS: "threads",
    Remedy.KIND: "kinds",
    Remedy.LIVE: "live=True",
    Remedy.OFFLINE: "offline=True",
    Remedy.OWN_FILES: "open_atlas(annotation=…, graph=…)",
    Remedy.PORT: "port",
    Remedy.PRUNE_ALL: "max_size=0",
    Remedy.PRUNE_SOME: "older_than, max_size or dataset_id",
    Remedy.PUBLIC: "public=True",
    Remedy.REFRESH: "refresh=True",
    Remedy.STAIN_THRESHOLD: "stain_threshold=0.3",
    Remedy.STRICT: "strict=True",
    Remedy.DATASET: "dataset_id",
    Remedy.SPACE: "space",
    Remedy.UNIT: "unit",
    Remedy.SOURCE_API: "Settings(source='api')",
    Remedy.SOURCE_AUTO: "Settings(source='auto')",
    Remedy.SOURCE_BUCKET: "Settings(source='bucket')",
    Remedy.API_URL: "Settings(api_url=…)",
    Remedy.BUCKET_URL: "Settings(bucket_url=…)",
    Remedy.OME_ZARR: "use atldld.write_volume with a name that ends in .ome.zarr",
}
"""How a caller in Python uses each remedy."""

_spoken: Mapping[Remedy, str] = IN_PYTHON


@contextmanager
def speaking(words: Mapping[Remedy, str]) -> Iterator[None]:
    """Let all errors of this process spell remedies as the users of a front end do.

    Parameters
    ----------
    words : mapping of Remedy to str
        How each is spelled; those of Python stand in for what is missing.
    """
    global _spoken  # as of a locale: threads and what they write have the same
    before, _spoken = _spoken, {**IN_PYTHON, **words}
    try:
        yield
    finally:
        _spoken = before


def _told(text: str) -> str:
    """Return a sentence with its remedies spelled out."""
    return "".join(_spoken[Remedy(sign)] if sign in _SIGNS else sign for sign in text)


_SIGNS = frozenset(Remedy)


class AtldldError(Exception):
    """Base class of every error that atldld raises on purpose.

    Parameters
    ----------
    message : str
        What happened, as a sentence; a `Remedy` may stand in it.
    hint : str, optional
        What to do next, as a sentence; a `Remedy` may stand in it.
    dataset_id, image_id : int, optional
        The section data set and the section image that the error is about.
    url : str, optional
        The address that was asked; kept without user name and password.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        dataset_id: int | None = None,
        image_id: int | None = None,
        url: str | None = None,
    ) -> None:
        if len(message) > LONGEST:  # it quotes a file or an answer that has no end
            message = f"{message[:LONGEST]}…"
        super().__init__(_told(message))
        self._message = message
        self._hint = hint
        self.dataset_id = dataset_id
        self.image_id = image_id
        self.url = None
        if url is not None:
            self.url = shown_address(url)

    @property
    def message(self) -> str:
        """What happened, as a sentence."""
        return _told(self._message)

    @property
    def hint(self) -> str | None:
        """What to do next, as a sentence."""
        return None if self._hint is None else _told(self._hint)

    @property
    def remedies(self) -> tuple[Remedy, ...]:
        """The remedies that the hint speaks of."""
        return tuple(Remedy(sign) for sign in self._hint or "" if sign in _SIGNS)

    def about(self, *, dataset_id: int | None = None, image_id: int | None = None) -> Self:
        """Return the same error, which says what it is about."""
        import copy  # it brings more than all errors

        error = copy.copy(self)
        error.dataset_id = self.dataset_id if dataset_id is None else dataset_id
        error.image_id = self.image_id if image_id is None else image_id
        return error.with_traceback(self.__traceback__)

    def __str__(self) -> str:
        known = [
            f"{name} {value}"
            for name, value in (
                ("data set", self.dataset_id),
                ("image", self.image_id),
                ("URL", self.url),
            )
            if value is not None and str(value) not in self.message
        ]
        return "".join(
            (
                self.message,
                f" [{', '.join(known)}]" if known else "",
                f" {self.hint}" if self.hint else "",
            )
        )


class InvalidInputError(AtldldError, ValueError):
    """An argument has the wrong shape, unit, range or frame."""


class AmbiguousNameError(InvalidInputError):
    """A name fits several data sets.

    Parameters
    ----------
    message, **known
        See `AtldldError`.
    candidates : iterable of str
        What it fits: the id of each, and what tells it from the others.
    """

    def __init__(
        self, message: str, *, candidates: Iterable[str] = (), **known: Unpack[_Known]
    ) -> None:
        super().__init__(message, **known)
        self.candidates = tuple(candidates)

    def __str__(self) -> str:
        return " ".join(filter(None, (self.message, f"{'; '.join(self.candidates)}.", self.hint)))


class MissingFileError(InvalidInputError, FileNotFoundError):
    """A file that the caller named is not there."""

    # A ValueError and an OSError are laid out differently, and both bring a `__new__`. The first
    # in line is ValueError's, which refuses to make an OSError; tblib calls it to unpickle one.
    __new__ = FileNotFoundError.__new__  # type: ignore[assignment]


class NotFoundError(AtldldError, LookupError):
    """The service has no such thing."""


class DatasetNotFoundError(NotFoundError):
    """The service has no section data set of that id."""


class GridNotFoundError(NotFoundError):
    """The service has no expression grid of a data set, or one without what was asked for."""


class ImageNotFoundError(NotFoundError):
    """The service has no section image of that id, or not the view of it that was asked for."""


class ServiceError(AtldldError):
    """Asking the service failed.

    Parameters
    ----------
    message, **known
        See `AtldldError`.
    retry_after : float, optional
        The seconds that the service asked to wait before trying again.
    tries : int, optional
        How often it is worth asking in all, where fewer times than usual: 1 for what cannot pass.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        tries: int | None = None,
        **known: Unpack[_Known],
    ) -> None:
        super().__init__(message, **known)
        self.retry_after = retry_after
        self.tries = tries


class OfflineError(ServiceError):
    """A request would be needed, and working offline was asked for."""


class DailyLimitError(ServiceError):
    """As many requests have been sent today as are allowed a day, and none was sent now."""


class NetworkError(ServiceError, ConnectionError):
    """No connection could be made, or it broke."""


class ServiceTimeoutError(ServiceError, TimeoutError):
    """No answer, or not all of it, arrived in time."""


class HTTPStatusError(ServiceError):
    """The service answered with an HTTP status that is not success.

    Parameters
    ----------
    message, **known
        See `ServiceError`.
    status_code : int
        The HTTP status.
    """

    def __init__(
        self, message: str, *, status_code: int = 0, **known: Unpack[_KnownOfService]
    ) -> None:
        super().__init__(message, **known)
        self.status_code = status_code


class AnswerError(ServiceError):
    """The service answered something that cannot be used."""


class BrokenImageError(AnswerError):
    """The bytes of an image do not decode whole, or have the wrong size."""


class RMAError(ServiceError):
    """The service answered ``success: false``; the message is its own."""


class ServiceDefectError(AtldldError):
    """A defect of the service, which is an error because strictness was asked for."""


class RecordError(AtldldError):
    """A record of the service lacks something that the work needs."""


class AlignmentMissingError(RecordError):
    """A data set has no ``alignment3d``, or an image no ``alignment2d``."""


class UnsupportedPlaneError(RecordError):
    """The plane of section or the reference space is not one that pictures can be laid out in."""


class CacheError(AtldldError, OSError):
    """The cache cannot be read or written."""


class OutputError(AtldldError, OSError):
    """The output folder or file cannot be used."""


class ServiceWarning(UserWarning):
    """A defect of the service that work can go on with."""


class RowShortfallWarning(ServiceWarning):
    """Fewer rows arrived than the service had promised."""


class RepeatedRowsWarning(ServiceWarning):
    """Rows arrived more than once; each is kept once."""


class UnsortedRowsWarning(ServiceWarning):
    """Rows arrived in another order than was asked for, so pages may have missed some."""


class ClampedSectionWarning(ServiceWarning):
    """Points lie far from the section that the service's rule, the nearest one, put them on."""


class MissingAlignmentWarning(ServiceWarning):
    """Section images without a usable alignment are left out."""


class OtherSourceWarning(ServiceWarning):
    """Images come from elsewhere than was asked first, so their pixels are encoded otherwise."""


class SkippedImageWarning(ServiceWarning):
    """A section image cannot be used and is left out."""


class AlignmentFileWarning(UserWarning):
    """Parts of an alignment file are not used, or look wrong.

    Planes that show a section as the mirror image of what the service's alignment has are used as
    they are, since sets that were mirrored on purpose are about.
    """


class OtherAtlasWarning(AlignmentFileWarning):
    """Sections are laid on another atlas, or another version of it, than the one that is used."""


class CurveLeftOutWarning(UserWarning):
    """A file has room for planes only, so how sections are curved within them is not in it."""


class LockWarning(UserWarning):
    """Another process is waited for, or the file system has no locks to keep it apart."""
