"""Where the pixels of section images come from: the contract, the service, and archives.

A source is asked for one image at a time, and writes its JPEG into a file. What it wrote counts
only when it has been decoded whole and has the size that the image's record tells, whatever the
source; a session sees to that, keeps the file, and asks its sources one after the other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

from atldld.errors import BrokenImageError, HTTPStatusError, ImageNotFoundError, InvalidInputError
from atldld.fetch.cache import Cache, Origin
from atldld.records import SectionImage
from atldld.support.processes import renew_in_children

if TYPE_CHECKING:
    from atldld.fetch.client import Client
    from atldld.fetch.members import Members

__all__ = ["ArchiveImages", "ImageSource", "Received", "ServiceImages", "Wanted"]


@dataclass(frozen=True)
class Wanted:
    """A section image, at one tier and in one view.

    Attributes
    ----------
    image : SectionImage
        Its record.
    downsample : int
        The tier: sides are the floor of size / 2^downsample.
    expression : bool
        The expression mask instead of the image.
    """

    image: SectionImage
    downsample: int = 0
    expression: bool = False

    def __str__(self) -> str:
        view = "The expression mask of section" if self.expression else "Section"
        return f"{view} image {self.image.id}"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, in pixels of the tier."""
        return self.image.size(self.downsample)


@dataclass(frozen=True)
class Received:
    """What a source says of an image that it has written.

    Attributes
    ----------
    url : str
        Where it came from.
    sha256 : str, optional
        The hash of the bytes that were written, in hexadecimal, where the source has worked it out
        already.
    fetched : str, optional
        When it came from the service, in UTC (ISO 8601), if that was not just now.
    """

    url: str
    sha256: str | None = None
    fetched: str | None = None


class ImageSource(ABC):
    """Where the pixels of section images come from. It is asked from many threads at once.

    To be used in other processes with its session it must be picklable.

    Attributes
    ----------
    remote : bool
        Whether asking it needs a network. Such a source is not asked while working offline.
    """

    remote: ClassVar[bool] = True

    @property
    @abstractmethod
    def name(self) -> str:
        """What it is called within a sentence, such as ``"the archive at images.zip"``."""

    @abstractmethod
    def address(self, wanted: Wanted) -> str:
        """Return where an image is, or would be, for errors."""

    @abstractmethod
    def fetch(self, wanted: Wanted, file: BinaryIO, check: Callable[[], object]) -> Received | None:
        """Write an image into a file: its JPEG, or a TIFF of `atldld.fetch.slides`.

        Parameters
        ----------
        wanted : Wanted
            Which one.
        file : binary file
            Empty, open for reading and writing, at its start.
        check : callable
            May be called when the image is written, by a source that can ask again if the bytes
            are no good. They are checked in any case.

        Returns
        -------
        Received or None
            `None` if the source does not have the image.

        Raises
        ------
        ServiceError
            If it cannot be fetched from here, although it should be. `check` raises one too:
            `~atldld.errors.BrokenImageError`.
        """

    def close(self) -> None:  # noqa: B027 - most sources hold nothing open
        """Let go of what is open."""


class ServiceImages(ImageSource):
    """The Allen Brain Map web API, or a service that answers like it.

    Parameters
    ----------
    client : Client
        Asks it.
    """

    name = "the service"

    def __init__(self, client: Client) -> None:
        self._client = client

    def address(self, wanted: Wanted) -> str:
        """Return the address of an image's download."""
        params: dict[str, Any] = {"downsample": wanted.downsample}
        if wanted.expression:
            params["view"] = "expression"
        return self._client.url(f"/api/v2/section_image_download/{wanted.image.id}", params)

    def fetch(self, wanted: Wanted, file: BinaryIO, check: Callable[[], object]) -> Received:
        """Download an image, again and again if need be; see `ImageSource.fetch`.

        Raises
        ------
        ImageNotFoundError
            If the service does not know the image.
        ServiceError
            If no whole image of the right size arrives.
        """
        url = self.address(wanted)
        width, height = wanted.size
        # no JPEG is longer than this, however little it could be compressed
        largest = min(self._client.limits.largest_image, 6 * width * height + (1 << 20))
        try:
            sha256 = self._client.download(url, file, check, largest=largest)
        except HTTPStatusError as error:
            if error.status_code != 404:
                raise
            raise ImageNotFoundError(
                f"{wanted} is unknown to the service (status 404).", url=url
            ) from None
        return Received(url, sha256)


class ArchiveImages(ImageSource):
    """An exported archive, or another cache. Nothing is ever written there.

    Links are not followed, and an image whose bytes do not match its hash is refused.

    Parameters
    ----------
    path : pathlib.Path
        The ZIP file or folder that `atldld.fetch.archive.export_archive` wrote, or the folder of a
        cache.

    Raises
    ------
    CacheError
        If it is no archive, or one that this version does not know.
    """

    remote = False

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()
        self._layout = Cache(Path("/"))  # knows the names; it reads nothing
        self._lock = Lock()
        self._opened: Members | None = None
        self._members()
        renew_in_children(self)

    def __reduce__(self) -> tuple[type[ArchiveImages], tuple[Path]]:
        return ArchiveImages, (self.path,)

    @property
    def name(self) -> str:
        """What it is called within a sentence."""
        return f"the archive at {self.path}"

    def address(self, wanted: Wanted) -> str:
        """Return the address of the archive, and the name of the image in it."""
        return f"{self.path.as_uri()}/{self._name_in_archive(wanted)}"

    def fetch(self, wanted: Wanted, file: BinaryIO, check: Callable[[], object]) -> Received | None:
        """Copy an image; see `ImageSource.fetch`.

        Raises
        ------
        BrokenImageError
            If it is there, but its bytes or what is said about them cannot be used.
        """
        import hashlib

        from atldld.fetch.facts import ImageFacts
        from atldld.fetch.members import LARGEST_IMAGE, facts_of

        members, name = self._members(), self._name_in_archive(wanted)
        member = members.get(name)
        if member is None and not wanted.expression:
            name = self._name_in_archive(wanted, "bucket")
            member = members.get(name)
        if member is None:
            return None
        try:
            facts = facts_of(members, name, ImageFacts)
            digest = hashlib.sha256()
            for chunk in member.chunks(LARGEST_IMAGE):
                digest.update(chunk)
                file.write(chunk)
            if digest.hexdigest() != facts.sha256:
                raise InvalidInputError("its bytes do not match its hash")
        except InvalidInputError as error:
            raise BrokenImageError(
                f"{wanted} in {self.name} cannot be used: {error.message}.",
                url=self.address(wanted),
                hint="Verify the cache that it was exported from, and export it again.",
            ) from None
        return Received(facts.url or self.address(wanted), facts.sha256, facts.fetched)

    def close(self) -> None:
        """Let go of the file; it is opened again when an image is asked for."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()
            self._opened = None

    def renew(self) -> None:
        """Open the file again in a forked child, which would read on where its parent does."""
        self._lock = Lock()
        self._opened = None

    def _members(self) -> Members:
        from atldld.fetch.members import check_marker, opened_members

        with self._lock:
            if self._opened is None:
                members = opened_members(self.path)
                try:
                    check_marker(self.path, members)
                except BaseException:
                    members.close()
                    raise
                self._opened = members
            return self._opened

    def _name_in_archive(self, wanted: Wanted, origin: Origin = "api") -> str:
        path = self._layout.image_path(
            wanted.image.id, wanted.downsample, expression=wanted.expression, origin=origin
        )
        return path.relative_to(self._layout.root).as_posix()
