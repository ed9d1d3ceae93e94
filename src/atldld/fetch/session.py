"""One place to ask for metadata and images: from the cache if they are there, else the service."""

from __future__ import annotations

import dataclasses
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from atldld.errors import (
    AlignmentFileWarning,
    AtldldError,
    BrokenImageError,
    CacheError,
    ImageNotFoundError,
    InvalidInputError,
    MissingAlignmentWarning,
    OfflineError,
    OtherSourceWarning,
    Remedy,
    ServiceDefectError,
    ServiceError,
    ServiceWarning,
    SkippedImageWarning,
    shown_address,
)
from atldld.fetch.cache import Arriving, Cache, Origin, read_json, sha256_of
from atldld.fetch.documents import Documents
from atldld.fetch.retry import log
from atldld.fetch.roots import Host, cache_of, cache_root
from atldld.records import SectionDataSet, SectionImage
from atldld.rma.query import Criteria, RMAParameters
from atldld.settings import API_URL, BUCKET_URL, DOWNLOAD_URL, Settings
from atldld.support.arguments import check_id, check_whole
from atldld.support.fields import CHANGED
from atldld.support.processes import cached_property, renew_in_children

if TYPE_CHECKING:
    from concurrent.futures import Future

    import httpx
    import numpy as np
    from numpy.typing import NDArray

    from atldld.fetch.bucket import BucketImages
    from atldld.fetch.client import Client, Version
    from atldld.fetch.facts import ImageFacts
    from atldld.fetch.kept import CachedFile, CachedImage
    from atldld.fetch.limits import Limits
    from atldld.fetch.sources import ImageSource, Received, Wanted

__all__ = [
    "Session",
    "check_downsample",
    "check_id",
    "default_session",
    "session_for",
    "usual_limits",
]


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
    sources : sequence of ImageSource, optional
        Where section images are looked for, one after the other, before the service is asked: an
        exported archive, such as ``ArchiveImages("images.zip")``, or a source of one's own.
    client : Client, optional
        That of another session for the same service, to share its connections.
    bucket : BucketImages, optional
        That of another session; by default the one that the settings name.

    Attributes
    ----------
    settings : Settings
        Where to ask, and where to keep.
    cache, archive_cache : Cache
        What the API and the informatics archive have answered.
    client : Client
        Asks them.
    sources : tuple of ImageSource
        Where section images are looked for before the service is asked.
    defects : list of ServiceWarning or AlignmentFileWarning
        What was wrong so far: with the answers, or with what is used beside them.

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
        sources: Sequence[ImageSource] = (),
        client: Client | None = None,
        bucket: BucketImages | None = None,
    ) -> None:
        self.settings = settings or Settings.from_environment()
        self.cache = cache_of(self.settings)
        self.archive_cache = Cache(
            cache_root(self.settings, "download"),
            allens=self.settings.download_url == DOWNLOAD_URL,
        )
        self.defects: list[ServiceWarning | AlignmentFileWarning] = []
        self.sources = tuple(sources)
        self._limits, self._transport, self._closed = limits, transport, False
        if client is not None:
            self.client = client
        self._bucket = bucket
        self._origins: dict[int, set[Origin]] = {}  # of the images of each data set, so far
        self._told: set[tuple[int, str]] = set()
        self._ahead: dict[
            tuple[int, bool], Future[dict[str, Any]]
        ] = {}  # what is asked for already
        renew_in_children(self)

    def __getstate__(self) -> dict[str, Any]:
        # with the client: sessions that arrive in one process are to share it
        return {**self.__dict__, "client": self.client, "_ahead": {}}

    def renew(self) -> None:
        """Forget, in a forked child, what the parent's threads are asking for."""
        self._ahead = {}

    @property
    def limits(self) -> Limits:
        """How much is asked at once, and how long is waited."""
        client: Client | None = vars(self).get("client")
        return usual_limits(self.settings, self._limits) if client is None else client.limits

    @cached_property
    def client(self) -> Client:
        """Asks the service; made when it is first needed: what the cache answers needs none."""
        from atldld.fetch.allowance import Allowance
        from atldld.fetch.client import Client

        limits = self.limits
        allowance = None
        if limits.per_day:
            host = urlsplit(self.settings.api_url).netloc
            allowance = Allowance(self.cache.root, limits.per_day, host)
        client = Client(
            self.settings.api_url,
            limits=limits,
            transport=self._transport,
            logins=self.settings.logins,
            allowance=allowance,
        )
        if self._closed:
            client.close()
        return client

    @property
    def bucket(self) -> BucketImages | None:
        """The public bucket of slides, if there is one that belongs to the service.

        It is made when it is first asked for: it needs NumPy, which many commands do without.
        """
        url = self.settings.bucket_url
        if self._bucket is None and url and self.settings.source != "api":
            own = self._own_bucket(url)
            # two threads may come at once, and are to have the same one
            self._bucket = self.__dict__.setdefault("_first_bucket", own)
        return self._bucket

    def _own_bucket(self, url: str) -> BucketImages:
        from atldld.fetch.bucket import BucketImages
        from atldld.fetch.client import Client

        # a store of files is made for many requests, and a box needs several
        limits = dataclasses.replace(self.limits, per_second=None, per_day=None)
        client = Client(url, limits=limits, logins=self.settings.logins)
        root = cache_root(self.settings, "bucket")
        return BucketImages(client, Cache(root, allens=url == BUCKET_URL))

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections, and the sources."""
        self._closed = True
        if "client" in vars(self):
            self.client.close()
        for source in self.sources:
            source.close()
        if self._bucket is not None:
            self._bucket.close()

    def report(self, defect: ServiceWarning | AlignmentFileWarning) -> None:
        """Warn of a defect of the service, or of what is used beside it, and remember it.

        Raises
        ------
        ServiceDefectError
            If strictness was asked for, and the service has the defect.
        InvalidInputError
            If strictness was asked for, and a file has it.
        """
        if self.settings.strict:
            kind = (
                InvalidInputError
                if isinstance(defect, AlignmentFileWarning)
                else ServiceDefectError
            )
            raise kind(
                str(defect), hint=f"Without {Remedy.STRICT} this is a warning, and work goes on."
            )
        self.defects.append(defect)
        warnings.warn(defect, stacklevel=3)

    def strictly(self) -> Session:
        """Return a session with the same cache and connections that is strict."""
        settings = dataclasses.replace(self.settings, strict=True)
        return Session(settings, client=self.client, sources=self.sources, bucket=self.bucket)

    def apart(self) -> Session:
        """Return a session with the same cache and connections that remembers its own defects."""
        return Session(self.settings, client=self.client, sources=self.sources, bucket=self.bucket)

    def taking(self, origin: Origin) -> Session:
        """Return a session with the same cache and connections, for images of one origin."""
        settings = dataclasses.replace(self.settings, source=origin)
        return Session(settings, client=self.client, sources=self.sources, bucket=self.bucket)

    def get(self, url: str) -> dict[str, Any]:
        """Ask the service and return the envelope of its answer. Never cached.

        Parameters
        ----------
        url : str
            The whole address.
        """
        if self.settings.offline:
            raise OfflineError(
                f"This needs a request to the service, and {Remedy.OFFLINE} forbids it.", url=url
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
            If the query is not in the cache and no request is allowed.
        ServiceError
            If no usable answer arrives.
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
        known = self._documents().answer(query, refresh=refresh)
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
            If the id is not a positive whole number.
        DatasetNotFoundError
            If the service has no such data set.
        OfflineError, ServiceError
            If they are not in the cache, and cannot be fetched.
        """
        dataset_id = check_id(dataset_id, "section data set")
        ahead = self._ahead.pop((dataset_id, refresh), None)
        if ahead is None:
            known = self._documents().dataset(dataset_id, refresh=refresh)
        else:
            known = ahead.result()
        self._report_kept(known)
        return known

    def ask_ahead(self, dataset_id: int | str, *, refresh: bool = False) -> None:
        """Begin to fetch the records of a data set, for `dataset_records` to return later.

        Meanwhile a command imports what it will need, and the connections for the images are
        opened. What goes wrong is raised there, not here.

        Parameters
        ----------
        dataset_id, refresh :
            See `dataset_records`.

        Raises
        ------
        InvalidInputError
            If the id is not a positive whole number.
        """
        key = check_id(dataset_id, "section data set"), refresh
        if key in self._ahead or self.settings.offline:
            return
        if not refresh and self.cache.has_document("datasets", str(key[0])):
            return  # nothing will be asked, so the client is not even loaded
        from concurrent.futures import Future

        self.client.load()  # here, as a thread would have to take turns with other imports
        ahead: Future[dict[str, Any]] = Future()
        self._ahead[key] = ahead

        def first(query: RMAParameters) -> dict[str, Any]:
            if self.settings.source != "bucket":  # else the images come from elsewhere
                with suppress(AtldldError):  # an odd proxy or certificate is told by the request
                    self.client.open_ahead()
            return self.rma(query)

        documents = Documents(self.cache, first, offline=False)

        def ask() -> None:
            try:
                ahead.set_result(documents.dataset(key[0], refresh=refresh))
            except BaseException as error:
                ahead.set_exception(error)

        # one that ends with the process: whoever breaks off does not wait for an answer
        threading.Thread(target=ask, name="ahead", daemon=True).start()

    def _documents(self) -> Documents:
        return Documents(self.cache, self.rma, offline=self.settings.offline)

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
                    + "; ".join(f"{image.image_id}: {image.reason}" for image in dataset.skipped)
                    + f". {CHANGED}"
                )
            )
        odd = [image for image in dataset.images if image.alignment_problem]
        if odd:
            self.report(
                MissingAlignmentWarning(
                    f"{len(odd)} images of data set {dataset.id} have an alignment that cannot be "
                    "used: "
                    + "; ".join(f"{image.id}: {image.alignment_problem}" for image in odd)
                    + f". {CHANGED}"
                )
            )
        return dataset

    def image_record(self, image_id: int | str) -> dict[str, Any]:
        """Return the record of one section image, with its alignment2d.

        Raises
        ------
        InvalidInputError
            If the id is not a positive whole number.
        ImageNotFoundError
            If the service has no such image.
        OfflineError, ServiceError
            If it is not in the cache, and cannot be fetched.
        """
        image_id = check_id(image_id, "section image")
        known = self._record_in_cached_dataset(image_id) or self._record_in_placements(image_id)
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
        for companion in folder.glob("[0-9]*.json"):
            dataset = self.cache.read_document(
                "datasets", str(read_json(companion).get("dataset_id"))
            )
            for record in (dataset or {}).get("section_images") or ():
                if isinstance(record, dict) and record.get("id") == image_id:
                    return dict(record)
        return None

    def _record_in_placements(self, image_id: int) -> dict[str, Any] | None:
        """Return an image's record if the placements catalogue has it."""
        from atldld.fetch.placements import read_placement, whose_image

        dataset_id = whose_image(self.cache.root, image_id)
        placed = None if dataset_id is None else read_placement(self.cache.root, dataset_id)
        images = placed["section_images"] if placed else ()
        return next((dict(image) for image in images if image.get("id") == image_id), None)

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
            If the tier does not exist. Nothing is asked.
        ImageNotFoundError
            If there is no expression mask, or the service does not know the image.
        OfflineError, ServiceError, CacheError
            If it is not in the cache, and cannot be fetched or kept.
        """
        from atldld.fetch.sources import Wanted

        downsample = check_downsample(image, downsample)
        if expression and not image.has_expression_mask:
            raise ImageNotFoundError(
                f"Section image {image.id} has no expression mask.", image_id=image.id
            )
        wanted = Wanted(image, downsample, expression)
        known = self._held(wanted) or self._adopt(wanted)
        if known is not None:
            log.debug("%s at downsample %d is in the cache.", wanted, wanted.downsample)
        try:
            known = known or self._fetch(wanted)
            self._note_origin(wanted, known)
            return known
        except AtldldError as error:
            about = error.about(dataset_id=image.data_set_id, image_id=image.id)
            raise about from error.__cause__

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
        from atldld.fetch.pictures import decode

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
            Fetch it even if it is in the cache, unless the server says that it has not changed.
        progress : callable, optional
            Takes the bytes that have arrived, and how many were announced, if any.

        Raises
        ------
        OfflineError, ServiceError, CacheError
            If it is not in the cache, and cannot be fetched or kept.
        """
        from atldld.fetch.client import Unchanged, Version
        from atldld.fetch.facts import FileFacts

        cache = self.cache if host == "api" else self.archive_cache
        kept = name or path.strip("/")
        known = None if refresh else cache.find_file(kept)
        if known is not None:
            log.debug("%s is in the cache, %s.", what, known.path)
            return known
        url = self.file_address(path, host=host, params=params)
        if self.settings.offline:
            raise OfflineError(f"{what} is not in the cache at {cache.root}.", url=url, hint=remedy)
        with cache.new_file(kept) as arriving:
            known = None if refresh else cache.find_file(kept)
            if known is not None:
                return known  # another process has fetched it while this one waited
            version = Version()

            def note(told: Version) -> None:
                nonlocal version
                version = told

            before = cache.find_file(kept) if refresh else None
            try:
                sha256 = self.client.download(
                    url,
                    arriving.file,
                    lambda: check(arriving.path),
                    largest=largest,
                    progress=progress,
                    known=_version_of(before, url),
                    tell=note,
                )
            except Unchanged:
                log.debug("%s has not changed since it was fetched.", what)
                same = cache.still_the_same(kept)
                assert same is not None
                return same
            return arriving.keep(
                FileFacts(
                    url=url, sha256=sha256, etag=version.etag[:512], modified=version.modified[:512]
                )
            )

    def _held(self, wanted: Wanted) -> CachedImage | None:
        """Return an image of the cache whose pixels are of an origin that may be used."""
        return self.cache.find_image(
            wanted.image.id,
            wanted.downsample,
            expression=wanted.expression,
            origins=self._order(wanted),
        )

    def _order(self, wanted: Wanted) -> list[Origin]:
        """Return whose pixels may be used, those that the data set has already first."""
        if wanted.expression:
            return ["api"]
        if self.settings.source != "auto":
            return [self.settings.source]
        before = self._origins.get(wanted.image.data_set_id or 0, {"api"})
        return ["bucket", "api"] if before == {"bucket"} else ["api", "bucket"]

    def _note_origin(self, wanted: Wanted, image: CachedImage) -> None:
        """Tell when the images of a data set begin to come from more than one origin."""
        if wanted.expression:
            return
        dataset_id = wanted.image.data_set_id or 0
        origins = self._origins.setdefault(dataset_id, set())
        origins.add("api" if image.path.suffix == ".jpg" else "bucket")
        if len(origins) > 1:
            self._tell_once(
                dataset_id,
                "both",
                f"Some images of section data set {dataset_id} are the service's and some the "
                "public bucket's: they show the same sections, but were encoded apart, so their "
                "pixels differ a little. With ATLDLD_SOURCE=bucket all come from there.",
            )

    def _tell_once(self, dataset_id: int, what: str, text: str) -> None:
        if (dataset_id, what) not in self._told:
            self._told.add((dataset_id, what))
            self.report(OtherSourceWarning(text))

    def _fetch(self, wanted: Wanted) -> CachedImage:
        """Return an image from the first source that has it."""
        sources = self._sources(wanted)
        if not sources:
            raise self._nowhere(wanted)
        failed: ServiceError | ImageNotFoundError | None = None
        with self._arriving(wanted) as arriving:
            known = self._held(wanted)
            if known is not None:
                return known  # another process has fetched it while this one waited
            for source in sources:
                if failed is not None:
                    log.warning("%s It is asked for elsewhere.", failed.message)
                arriving.file.seek(0)
                arriving.file.truncate()
                try:
                    if source is self.bucket:
                        self._compare_once(wanted, ask=failed is None)
                    facts = _received(source, wanted, arriving)
                except (ServiceError, ImageNotFoundError) as error:
                    # what the service says is told rather than what the bucket does
                    failed = failed if failed and source is self.bucket else error
                    continue
                if facts is None:
                    continue
                if source is self.bucket and failed is not None:
                    self._tell_once(
                        wanted.image.data_set_id or 0,
                        "elsewhere",
                        f"Images of section data set {wanted.image.data_set_id} come from "
                        f"{source.name}, as the service failed: {failed.message}",
                    )
                return arriving.keep(facts)
        raise failed or self._nowhere(wanted)

    def _sources(self, wanted: Wanted) -> list[ImageSource]:
        """Return where an image is looked for, one after the other."""
        from atldld.fetch.sources import ServiceImages

        service = ServiceImages(self.client)
        remote: dict[Origin, ImageSource] = {"api": service}
        if self.bucket is not None:
            remote["bucket"] = self.bucket
        found = [*self.sources, *(remote[one] for one in self._order(wanted) if one in remote)]
        if self.settings.source == "bucket" and wanted.expression:
            found.remove(service)
        return [source for source in found if not (source.remote and self.settings.offline)]

    def _compare_once(self, wanted: Wanted, *, ask: bool) -> None:
        """Compare a picture of the bucket with the service's, for the first of a data set."""
        from atldld.fetch.compare import compare

        assert self.bucket is not None
        with self.bucket.first_use(wanted.image.data_set_id or 0) as first:
            if first:
                compare(wanted.image, self.bucket, self.cache, self.client if ask else None)

    def _nowhere(self, wanted: Wanted) -> OfflineError | ImageNotFoundError:
        """Return the error that says that no source has an image, though all were asked."""
        if self.settings.offline or self.bucket is None:
            return self._not_here(wanted)
        if wanted.expression:
            why = "holds no expression masks"
        else:
            why = f"does not have it at downsample {wanted.downsample}"
        return ImageNotFoundError(
            f"{wanted} is to come from {self.bucket.name}, which {why}.",
            hint=f"The service may have it: {Remedy.SOURCE_AUTO}, or ATLDLD_SOURCE=auto.",
        )

    def _arriving(
        self, wanted: Wanted
    ) -> AbstractContextManager[Arriving[ImageFacts, CachedImage]]:
        return self.cache.new_image(
            wanted.image.id, wanted.downsample, expression=wanted.expression
        )

    def _not_here(self, wanted: Wanted) -> OfflineError:
        """Return the error that says that an image is in no place where it may be looked for."""
        image_id, downsample = wanted.image.id, wanted.downsample
        places = [f"in the cache at {self.cache.root}"]
        places += [f"in {source.name}" for source in self.sources if not source.remote]
        where = f"not {places[0]}" if len(places) == 1 else f"neither {' nor '.join(places)}"
        return OfflineError(
            f"{wanted} at downsample {downsample} is {where}.",
            hint=f"Fetch it once with `atldld download image {image_id} OUT "
            f"--downsample-img {downsample}{' -e' if wanted.expression else ''}`.",
        )

    def _adopt(self, wanted: Wanted) -> CachedImage | None:
        """Take over what is on disk but not vouched for, if it proves sound.

        That is the cache of atldld 0.3, and an image whose run was killed before its companion
        was written.
        """
        import hashlib

        from atldld.fetch.jpeg import verify
        from atldld.fetch.sources import Received, ServiceImages

        if "api" not in self._order(wanted):
            return None
        image, view = wanted.image, {"expression": wanted.expression}
        for path in (
            self.cache.image_path(image.id, wanted.downsample, expression=wanted.expression),
            self.cache.old_image_path(image.id, wanted.downsample, **view),
        ):
            try:
                verify(path, *wanted.size)
                content = path.read_bytes()
            except (OSError, BrokenImageError):
                continue
            with self._arriving(wanted) as arriving:
                arriving.file.write(content)
                url = ServiceImages(self.client).address(wanted)
                sha256 = hashlib.sha256(content).hexdigest()
                return arriving.keep(_facts(wanted, Received(url), sha256))
        return None


def _received(
    source: ImageSource, wanted: Wanted, arriving: Arriving[ImageFacts, CachedImage]
) -> ImageFacts | None:
    """Have a source write an image, and return what is known of it, now that it is verified."""
    # Here, not at the top: asking for metadata needs no image library.
    from atldld.fetch.pictures import verify

    sound = False

    def check() -> None:
        nonlocal sound
        arriving.file.flush()
        verify(arriving.path, *wanted.size, url=source.address(wanted), sender=source.name)
        sound = True

    received = source.fetch(wanted, arriving.file, check)
    if received is None:
        return None
    if not sound:
        check()
    return _facts(wanted, received, received.sha256 or sha256_of(arriving.path))


def _version_of(file: CachedFile | None, url: str) -> Version | None:
    """Return the version of a file that need not be sent again: only the whole and sound one."""
    if file is None or file.url != shown_address(url):
        return None
    from atldld.fetch.client import Version

    return Version(file.etag, file.modified) if sha256_of(file.path) == file.sha256 else None


def _facts(wanted: Wanted, received: Received, sha256: str) -> ImageFacts:
    from atldld.fetch.facts import ImageFacts

    width, height = wanted.size
    return ImageFacts(
        width=width,
        height=height,
        sha256=sha256,
        url=received.url,
        fetched=received.fetched,
        dataset_id=wanted.image.data_set_id,
    )


def usual_limits(settings: Settings, limits: Limits | None = None) -> Limits:
    """Return limits with the bounds of requests a second and a day that the settings say.

    Parameters
    ----------
    settings : Settings
        Where nothing is said there, the Allen Institute's own service has bounds, others have none.
    limits : Limits, optional
        What they say themselves goes first.
    """
    from atldld.fetch.limits import PER_DAY, PER_SECOND, Limits

    limits = limits or Limits()
    own = settings.api_url == API_URL
    per_second = PER_SECOND if settings.per_second is None and own else settings.per_second
    per_day = PER_DAY if settings.per_day is None and own else settings.per_day
    return dataclasses.replace(
        limits,
        per_second=limits.per_second or per_second or None,
        per_day=limits.per_day or per_day or None,
    )


def check_downsample(image: SectionImage, downsample: int) -> int:
    """Return a tier as an `int`, or say which tiers an image has.

    Raises
    ------
    InvalidInputError
        If the image has no such tier.
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


def session_for(settings: Settings) -> Session:
    """Return the session for some settings; the same one for the same ones."""
    return _session(settings)


def default_session() -> Session:
    """Return the session for the settings in the environment; the same one for the same ones."""
    return _session(Settings.from_environment())
