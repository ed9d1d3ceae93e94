"""One place to ask for metadata and images: from the cache if they are there, else the service."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from atldld.errors import (
    AnswerError,
    AtldldError,
    BrokenImageError,
    CacheError,
    DatasetNotFoundError,
    HTTPStatusError,
    ImageNotFoundError,
    InvalidInputError,
    OfflineError,
    RowShortfallWarning,
    ServiceDefectError,
    ServiceWarning,
    SkippedImageWarning,
)
from atldld.fetch.cache import Cache, CachedFile, CachedImage, read_json, sha256_of
from atldld.fetch.client import Client, Limits
from atldld.fetch.pages import fetch_all
from atldld.records import SectionDataSet, SectionImage
from atldld.rma.query import Criteria, RMAParameters
from atldld.settings import API_URL, DOWNLOAD_URL, Settings
from atldld.support.arguments import check_id, check_whole

if TYPE_CHECKING:
    import httpx
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Host", "Session", "cache_root", "check_downsample", "check_id", "default_session"]

Host = Literal["api", "download"]

DATASET_INCLUDES = ("genes", "specimen(donor(age))", "products", "treatments", "alignment3d")


class Session:
    """The settings, the cache and the client, together.

    A session can be used in forked processes and be pickled: each process has connections of its
    own, and files in the cache are shared by all.

    Parameters
    ----------
    settings : Settings, optional
        From the environment by default.
    limits : Limits, optional
        Time limits, retries and bounds of the client.
    transport : httpx.BaseTransport, optional
        Where requests go instead of the network. To be pickled with the session it must be
        picklable; in forked processes it is used as it is.

    Raises
    ------
    CacheError
        If the cache's folder cannot be one.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        limits: Limits | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.settings = settings or Settings.from_environment()
        self.cache = Cache(cache_root(self.settings), allens=self.settings.api_url == API_URL)
        self.archive_cache = Cache(
            cache_root(self.settings, "download"),
            allens=self.settings.download_url == DOWNLOAD_URL,
        )
        self.cache.check_folder()
        self.defects: list[ServiceWarning] = []
        self.client = Client(
            self.settings.api_url,
            limits=limits,
            transport=transport,
            logins=self.settings.logins,
        )

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    def report(self, defect: ServiceWarning) -> None:
        """Warn of a defect of the service and remember it in `defects`.

        Raises
        ------
        ServiceDefectError
            Strictness was asked for.
        """
        if self.settings.strict:
            raise ServiceDefectError(
                str(defect), hint="Without --strict this is a warning, and work goes on."
            )
        self.defects.append(defect)
        warnings.warn(defect, stacklevel=3)

    def strictly(self) -> Session:
        """Return a session with the same cache and connections that is strict."""
        strict = self.apart()
        strict.settings = dataclasses.replace(self.settings, strict=True)
        return strict

    def apart(self) -> Session:
        """Return a session with the same cache and connections that remembers its own defects."""
        apart = copy.copy(self)
        apart.defects = []
        return apart

    def get(self, url: str) -> dict[str, Any]:
        """Ask the service and return the envelope of its answer. Never cached.

        Parameters
        ----------
        url : str
            The whole address.
        """
        if self.settings.offline:
            raise OfflineError(
                "This needs a request to the service, and --offline forbids it.", url=url
            )
        return self.client.get_json(url)

    def rma(self, query: RMAParameters) -> dict[str, Any]:
        """Send one RMA query and return the envelope of its answer. Never cached."""
        return self.get(self.client.url("/api/v2/data/query.json", {"criteria": query.text}))

    def query(
        self,
        model: str,
        criteria: Criteria,
        include: Sequence[str] = (),
        *,
        order: str | None = None,
        refresh: bool = False,
    ) -> list[dict[str, Any]]:
        """Return every row of a query, from the cache if it was asked before.

        Parameters
        ----------
        model, criteria, include, order
            See `~atldld.rma.query.RMAParameters`.
        refresh : bool
            Ask the service even so.

        Raises
        ------
        OfflineError
            The query is not in the cache and no request is allowed.
        ServiceError
            No usable answer could be had.
        """
        query = RMAParameters(model, criteria, include, order=order)
        return list(self.answer(query, refresh=refresh)["rows"])

    def answer(self, query: RMAParameters, *, refresh: bool = False) -> dict[str, Any]:
        """Return every row of a query and when it was asked, from the cache if it was before.

        Parameters
        ----------
        query : RMAParameters
            Without a page.
        refresh : bool
            Ask the service even so.

        Returns
        -------
        dict
            ``"rows"``, and ``"fetched"``: when, in UTC (ISO 8601).

        Raises
        ------
        OfflineError, ServiceError
            See `query`.
        """
        name = hashlib.sha256(query.text.encode()).hexdigest()
        known = None if refresh else self.cache.read_document("queries", name)
        if known is None or not isinstance(known.get("rows"), list) or self._wants_more(known):
            if self.settings.offline:
                raise OfflineError(
                    f"The answer to {query.text} is not in the cache at {self.cache.root}.",
                    hint="Ask once without --offline.",
                )
            defects: list[ServiceWarning] = []
            rows = fetch_all(self.rma, query, defects.append)
            known = _document({"query": query.text, "rows": rows}, defects)
            self.cache.write_document("queries", name, known)
            known["fetched"] = datetime.now(UTC).isoformat(timespec="seconds")
        self._report_kept(known)
        return known

    def dataset_records(self, dataset_id: int | str, *, refresh: bool = False) -> dict[str, Any]:
        """Return a data set's record and those of all its images, as the service sends them.

        Parameters
        ----------
        dataset_id : int
            The id of the section data set.
        refresh : bool
            Ask the service even if they are in the cache.

        Returns
        -------
        dict
            ``"section_data_set"`` (a record with its alignment3d, genes, specimen, products),
            ``"section_images"`` (records with their alignment2d) and ``"fetched"``.

        Raises
        ------
        InvalidInputError
            The id is not a positive whole number.
        DatasetNotFoundError
            The service has no such data set.
        OfflineError, ServiceError
            It is not in the cache, and cannot be fetched.
        """
        dataset_id = check_id(dataset_id, "section data set")
        name = str(dataset_id)
        known = None if refresh else self.cache.read_document("datasets", name)
        if (
            known is None
            or not isinstance(known.get("section_data_set"), dict)
            or not isinstance(known.get("section_images"), list)
            or self._wants_more(known)
        ):
            if self.settings.offline:
                raise OfflineError(
                    f"Section data set {dataset_id} is not in the cache at {self.cache.root}.",
                    dataset_id=dataset_id,
                    hint=f"Fetch it once with `atldld download dataset {dataset_id} OUT`.",
                )
            query = RMAParameters("SectionDataSet", {"id": dataset_id}, DATASET_INCLUDES)
            query_of_images = RMAParameters(
                "SectionImage",
                {"data_set_id": dataset_id},
                ("alignment2d",),
                order="sub_images.id",
            )
            defects: list[ServiceWarning] = []
            defects_of_images: list[ServiceWarning] = []
            # Both at once: neither needs the other's answer, and each takes several round trips.
            with ThreadPoolExecutor(1, thread_name_prefix="metadata") as pool:
                arriving = pool.submit(
                    fetch_all, self.rma, query_of_images, defects_of_images.append, distinct=True
                )
                rows = fetch_all(self.rma, query, defects.append)
            if not rows and defects:
                raise AnswerError(
                    f"The service says that there is a section data set {dataset_id}, but does "
                    "not send it.",
                    dataset_id=dataset_id,
                    hint="Try again later.",
                )
            if not rows:
                raise DatasetNotFoundError(
                    f"There is no section data set {dataset_id}.",
                    dataset_id=dataset_id,
                    hint="Search for one with `atldld search dataset --gene ACRONYM`.",
                )
            images = arriving.result()
            defects += defects_of_images
            if rows[0].get("id") != dataset_id or any(
                image.get("data_set_id", dataset_id) != dataset_id for image in images
            ):
                raise AnswerError(
                    f"The service answered about something else than section data set "
                    f"{dataset_id}.",
                    dataset_id=dataset_id,
                    hint="Try again later.",
                )
            known = _document({"section_data_set": rows[0], "section_images": images}, defects)
            self.cache.write_document("datasets", name, known)
        self._report_kept(known)
        return known

    def _wants_more(self, document: Mapping[str, Any]) -> bool:
        """Whether a document lacks rows that may be had by asking again."""
        return document.get("complete") is False and not self.settings.offline

    def _report_kept(self, document: Mapping[str, Any]) -> None:
        """Report the defects that a document was fetched with, each time that it is used."""
        kinds = {kind.__name__: kind for kind in ServiceWarning.__subclasses__()}
        defects = document.get("defects")
        for defect in defects if isinstance(defects, list) else ():
            if isinstance(defect, (list, tuple)) and len(defect) == 2:
                name, text = map(str, defect)
                self.report(kinds.get(name, ServiceWarning)(text))

    def dataset(self, dataset_id: int | str, *, refresh: bool = False) -> SectionDataSet:
        """Return a data set with all its images and both alignments.

        See `dataset_records` for the parameters and errors.
        """
        records = self.dataset_records(dataset_id, refresh=refresh)
        dataset = SectionDataSet.from_records(
            records["section_data_set"], records["section_images"]
        )
        if dataset.skipped:
            self.report(
                SkippedImageWarning(
                    f"{len(dataset.skipped)} image records of data set {dataset.id} are unusable: "
                    + "; ".join(f"{one.image_id}: {one.reason}" for one in dataset.skipped)
                )
            )
        return dataset

    def image_record(self, image_id: int | str) -> dict[str, Any]:
        """Return the record of one section image, with its alignment2d.

        Raises
        ------
        InvalidInputError
            The id is not a positive whole number.
        ImageNotFoundError
            The service has no such image.
        OfflineError, ServiceError
            It is not in the cache, and cannot be fetched.
        """
        image_id = check_id(image_id, "section image")
        known = self._record_in_cached_dataset(image_id)
        if known is not None:
            return known
        rows = self.query("SectionImage", {"id": image_id}, ("alignment2d",))
        if not rows:
            raise ImageNotFoundError(
                f"There is no section image {image_id}.",
                image_id=image_id,
                hint="List those of a data set with `atldld dataset info DATASET_ID`.",
            )
        return rows[0]

    def _record_in_cached_dataset(self, image_id: int) -> dict[str, Any] | None:
        """Return an image's record if the cache holds its pixels and the whole data set's records.

        Whoever has downloaded a data set needs no request for one of its images.
        """
        folder = self.cache.image_path(image_id, 0).parent
        for companion in folder.glob("[0-9]*.jpg.json"):
            dataset = self.cache.read_document(
                "datasets", str(read_json(companion).get("dataset_id"))
            )
            for record in (dataset or {}).get("section_images") or ():
                if isinstance(record, dict) and record.get("id") == image_id:
                    return dict(record)
        return None

    def image(
        self, image: SectionImage, downsample: int = 0, *, expression: bool = False
    ) -> CachedImage:
        """Return a verified image on disk, fetching it if need be.

        Parameters
        ----------
        image : SectionImage
            Which one.
        downsample : int
            The tier: sides are the floor of size / 2^downsample.
        expression : bool
            The expression mask instead of the image.

        Raises
        ------
        InvalidInputError
            The tier does not exist. Nothing is asked.
        ImageNotFoundError
            There is no expression mask, or the service does not know the image.
        OfflineError, ServiceError, CacheError
            It is not in the cache, and cannot be fetched or kept.
        """
        downsample = check_downsample(image, downsample)
        if expression and not image.has_expression_mask:
            raise ImageNotFoundError(
                f"Section image {image.id} has no expression mask.", image_id=image.id
            )
        known = self.cache.find_image(image.id, downsample, expression=expression)
        known = known or self._adopt(image, downsample, expression)
        if known is not None:
            return known
        what = "The expression mask of section" if expression else "Section"
        if self.settings.offline:
            raise OfflineError(
                f"{what} image {image.id} at downsample {downsample} is not in the cache at "
                f"{self.cache.root}.",
                image_id=image.id,
                dataset_id=image.data_set_id,
                hint=f"Fetch it once with `atldld download image {image.id} OUT "
                f"--downsample-img {downsample}{' -e' if expression else ''}`.",
            )
        url = self._image_url(image.id, downsample, expression)
        try:
            return self._download(image, downsample, expression, url)
        except AtldldError as error:
            error.image_id = image.id
            error.dataset_id = image.data_set_id
            if isinstance(error, HTTPStatusError) and error.status_code == 404:
                raise ImageNotFoundError(
                    f"{what} image {image.id} is unknown to the service (status 404).",
                    image_id=image.id,
                    dataset_id=image.data_set_id,
                    url=url,
                ) from None
            raise

    def pixels(
        self,
        image: SectionImage,
        downsample: int = 0,
        *,
        expression: bool = False,
        reduction: int = 1,
        held: CachedImage | None = None,
    ) -> NDArray[np.uint8]:
        """Return the pixels of an image, fetching it if need be.

        An image that something else removes before it is read is fetched again.

        Parameters
        ----------
        image, downsample, expression
            See `image`.
        reduction : {1, 2, 4, 8}
            See `~atldld.fetch.jpeg.decode`.
        held : CachedImage, optional
            The verified image, where it has been asked for already.

        Returns
        -------
        numpy.ndarray, shape (height // reduction, width // reduction, 3), uint8
            RGB.

        Raises
        ------
        BrokenImageError, CacheError
            If the file does not decode, or cannot be read.
        OfflineError, ServiceError
            See `image`.
        """
        from atldld.fetch.jpeg import decode

        file = held or self.image(image, downsample, expression=expression)
        for _ in range(3):  # another run may prune the cache at this very moment
            try:
                return decode(file.path, reduction)
            except CacheError:
                if file.path.exists():
                    raise
            file = self.image(image, downsample, expression=expression)
        return decode(file.path, reduction)

    def file_address(
        self,
        path: str,
        *,
        host: Host = "api",
        params: Mapping[str, Any] | None = None,
    ) -> str:
        """Return the whole address of a file on one of the two hosts."""
        base = self.settings.api_url if host == "api" else self.settings.download_url
        # through the client, which knows how parameters are written
        return self.client.url("/" + path.lstrip("/"), params, base=base)

    def find_file(self, name: str, *, host: Host = "api") -> CachedFile | None:
        """Return a file of the cache, if it is there; see `file`."""
        return (self.cache if host == "api" else self.archive_cache).find_file(name)

    def file(
        self,
        path: str,
        *,
        check: Callable[[Path], object],
        what: str,
        remedy: str,
        host: Host = "api",
        params: Mapping[str, Any] | None = None,
        name: str | None = None,
        largest: int | None = None,
        refresh: bool = False,
        progress: Callable[[int, int | None], None] | None = None,
    ) -> CachedFile:
        """Return a verified file that is no section image, fetching it if need be.

        Parameters
        ----------
        path : str
            The path of its address, such as ``"grid_data/download/69289763"``.
        check : callable
            Takes the path of what has arrived, and raises a `~atldld.errors.ServiceError` if that
            is not what was asked for; the file does not count then, and is asked for again.
        what : str
            What it is, as the beginning of a sentence in the singular.
        remedy : str
            What to do when it is not in the cache while working offline.
        host : {"api", "download"}
            The API, or the informatics archive. What each answers is kept apart from other
            services' (`cache_root`).
        params : mapping, optional
            Parameters of the address.
        name : str, optional
            Under which path it is kept below ``files/``; that of the address by default, which
            is not enough where parameters make another file of it.
        largest : int, optional
            Bytes after which the answer is refused.
        refresh : bool
            Fetch it even if it is in the cache.
        progress : callable, optional
            Takes the bytes that have arrived, and how many were announced, if any.

        Raises
        ------
        OfflineError, ServiceError, CacheError
            It is not in the cache, and cannot be fetched or kept.
        """
        cache = self.cache if host == "api" else self.archive_cache
        kept = name or path.strip("/")
        known = None if refresh else cache.find_file(kept)
        if known is not None:
            return known
        url = self.file_address(path, host=host, params=params)
        if self.settings.offline:
            raise OfflineError(f"{what} is not in the cache at {cache.root}.", url=url, hint=remedy)
        with cache.new_file(kept) as (file, temporary, keep):
            known = None if refresh else cache.find_file(kept)
            if known is not None:
                return known  # another process has fetched it while this one waited
            sha256 = self.client.download(
                url, file, lambda: check(temporary), largest=largest, progress=progress
            )
            return keep(url=url, sha256=sha256)

    def _download(
        self, image: SectionImage, downsample: int, expression: bool, url: str
    ) -> CachedImage:
        # Here, not at the top: asking for metadata needs no image library.
        from atldld.fetch.jpeg import verify

        width, height = image.size(downsample)
        with self.cache.new_image(image.id, downsample, expression=expression) as new:
            file, temporary, keep = new
            known = self.cache.find_image(image.id, downsample, expression=expression)
            if known is not None:
                return known  # another process has fetched it while this one waited
            sha256 = self.client.download(
                url,
                file,
                lambda: verify(temporary, width, height, url=url),
                # no JPEG is longer than this, however little it could be compressed
                largest=min(self.client.limits.largest_image, 6 * width * height + (1 << 20)),
            )
            return keep(
                width=width,
                height=height,
                sha256=sha256,
                url=url,
                dataset_id=image.data_set_id,
            )

    def _adopt(self, image: SectionImage, downsample: int, expression: bool) -> CachedImage | None:
        """Take over what is on disk but not vouched for, if it proves sound.

        That is the cache of atldld 0.3, and an image whose run was killed before its companion
        was written.
        """
        from atldld.fetch.jpeg import verify

        width, height = image.size(downsample)
        for path in (
            self.cache.image_path(image.id, downsample, expression=expression),
            self.cache.old_image_path(image.id, downsample, expression=expression),
        ):
            try:
                verify(path, width, height)
                content = path.read_bytes()
            except (OSError, BrokenImageError):
                continue
            with self.cache.new_image(image.id, downsample, expression=expression) as new:
                file, temporary, keep = new
                file.write(content)
                file.flush()
                return keep(
                    width=width,
                    height=height,
                    sha256=sha256_of(temporary),
                    url=self._image_url(image.id, downsample, expression),
                    dataset_id=image.data_set_id,
                )
        return None

    def _image_url(self, image_id: int, downsample: int, expression: bool) -> str:
        params: dict[str, Any] = {"downsample": downsample}
        if expression:
            params["view"] = "expression"
        return self.client.url(f"/api/v2/section_image_download/{image_id}", params)


def cache_root(settings: Settings, host: Host = "api") -> Path:
    """Return the folder of the cache for one service.

    What another service than the Allen Institute's answers is kept apart: the demo archive serves
    made-up pixels under genuine ids, which must never be taken for the real ones.

    Parameters
    ----------
    settings : Settings
        Say where to ask and where to keep.
    host : {"api", "download"}
        The API, or the informatics archive.
    """
    url, own = (
        (settings.api_url, API_URL) if host == "api" else (settings.download_url, DOWNLOAD_URL)
    )
    if url == own:
        return settings.cache_dir
    host_name = urlsplit(url).netloc
    return settings.cache_dir / "other-services" / re.sub(r"[^A-Za-z0-9.-]", "_", host_name)


def _document(content: dict[str, Any], defects: Sequence[ServiceWarning]) -> dict[str, Any]:
    """Add to a document what was wrong with the answer.

    One that lacks rows is kept for working offline, but asked for again whenever that is possible.
    """
    return {
        **content,
        "complete": not any(isinstance(defect, RowShortfallWarning) for defect in defects),
        "defects": [(type(defect).__name__, str(defect)) for defect in defects],
    }


def check_downsample(image: SectionImage, downsample: int) -> int:
    """Return a tier as an `int`, or say which tiers an image has.

    Raises
    ------
    InvalidInputError
        It is not.
    """
    highest = image.highest_downsample
    try:
        return check_whole(downsample, "downsample", most=highest)
    except InvalidInputError:
        raise InvalidInputError(
            f"The downsample is {downsample!r}, but section image {image.id} has the tiers 0 to "
            f"{highest} (each halves the sides of the one before).",
            image_id=image.id,
        ) from None


@lru_cache(maxsize=8)
def _session(settings: Settings) -> Session:
    return Session(settings)


def default_session() -> Session:
    """Return the session for the settings in the environment; the same one for the same ones."""
    return _session(Settings.from_environment())
