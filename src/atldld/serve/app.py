"""The web service over an archive: a read-only WSGI application that answers the Allen URLs.

It offers what placing and downloading section images needs: RMA queries, the two downloads of
section images, and the six synchronisation calls. Any WSGI server can serve it, and any client of
the Allen Brain Map API can ask it.
"""

from __future__ import annotations

import csv
import io
import logging
import mimetypes
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from functools import cache, lru_cache, partial
from http import HTTPStatus
from typing import IO, TYPE_CHECKING, Any

from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import BaseConverter, Map, Rule
from werkzeug.wrappers import Request, Response
from werkzeug.wsgi import wrap_file

from atldld.errors import AlignmentMissingError, AtldldError, InvalidInputError
from atldld.fetch.members import Member
from atldld.place import (
    ImagePoints,
    StructureCenter,
    image_to_atlas,
    image_to_image,
    image_to_image_2d,
    image_to_reference,
    reference_to_image,
    structure_to_image,
)
from atldld.place.spaces import ReferenceSpace
from atldld.records import SectionDataSet, SectionImage
from atldld.regions.grids import GRID_KINDS
from atldld.rma.budget import Budget, Limits, QueryError
from atldld.rma.evaluate import Lookup, columns, encode, run
from atldld.rma.parse import parse
from atldld.rma.query import Column, Filter, Query, Term
from atldld.serve.archive import Archive, Record, Tables, View
from atldld.serve.kept import LARGEST, KeptAnswer, KeptAnswers
from atldld.serve.lanes import BusyError, Lane, Lanes
from atldld.support.files import nameless_file

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

__all__ = ["Application"]

MAX_URL = 16_384
MAX_PARAMETERS = 100
MAX_DATA_SETS = 100
MAX_FILE_PATH = 1024

# Points on so many data sets or images are heavy work, where that is limited.
_LIGHT_SYNC = 4
# Larger ones are written to a temporary file to be sent from it, where they are packed.
_IN_MEMORY = 4 << 20
_PIXELS_PER_TENTH = 2e6  # of an image that is made, in a tenth of a second
_ASK_AGAIN_AFTER = "2"  # seconds
# Where the paths begin whose answers are kept.
_KEPT = ("/api/v2/data/", "/api/v2/section_image_download/", "/api/v2/image_download/")

ENDPOINTS = (
    "/api/v2/data/query.json?criteria=model::{Model},...",
    "/api/v2/data/{Model}/query.json?criteria=[...]&include=...",
    "/api/v2/data/{Model}/{id}.json?include=...",
    "/api/v2/section_image_download/{id}?downsample=&quality=&left=&top=&width=&height=&view=",
    "/api/v2/image_download/{id}?downsample=&quality=&left=&top=&width=&height=&view=",
    "/api/v2/image_to_reference/{id}.json?x=&y=",
    "/api/v2/reference_to_image/{reference_space_id}.json?x=&y=&z=&section_data_set_ids=",
    "/api/v2/image_to_image/{id}.json?x=&y=&section_data_set_ids=",
    "/api/v2/image_to_image_2d/{id}.json?x=&y=&section_image_ids=",
    "/api/v2/structure_to_image/{section_data_set_id}.json?structure_ids=",
    "/api/v2/image_to_atlas/{id}.json?x=&y=&atlas_id=",
    "/grid_data/download/{section_data_set_id}?include=energy,density,intensity",
    "/api/v2/structure_graph_download/1.json",
    "/api/v2/atlas_image_download/{id}?downsample=&quality=&annotation=",
    "/api/v2/svg_download/{id}",
    "/informatics-archive/current-release/mouse_ccf/...",
)

# Parameters with which the Allen service changes the pixels. Ignoring them would answer another
# picture than the one that was asked for.
RENDERINGS = ("range", "rgb", "contrast", "colormap", "filter", "filterVals")

_WHOLE = re.compile(r"-?[0-9]{1,9}")
_NUMBER = re.compile(r"-?[0-9]{1,9}(\.[0-9]{0,30})?([eE]-?[0-9]{1,2})?")
_LARGEST_COORDINATE = 1e9

_log = logging.getLogger(__name__)


class _Refusal(Exception):  # noqa: N818 - not an error of the application
    """Ends the work on a request with an answer that says why."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


def _bad(message: str) -> _Refusal:
    return _Refusal(HTTPStatus.BAD_REQUEST, message)


def _unknown(message: str) -> _Refusal:
    return _Refusal(HTTPStatus.NOT_FOUND, message)


class _Id(BaseConverter):
    # Bounded, because Python refuses to read numbers of thousands of digits.
    regex = "[0-9]{1,15}"

    def to_python(self, value: str) -> int:
        return int(value)


_ROUTES = (
    ("/", "_index"),
    ("/api/v2/data/query", "_query"),
    ("/api/v2/data/query.<extension>", "_query"),
    ("/api/v2/data/<model>/query", "_query_model"),
    ("/api/v2/data/<model>/query.<extension>", "_query_model"),
    ("/api/v2/data/<model>/<id:record_id>", "_record"),
    ("/api/v2/data/<model>/<id:record_id>.<extension>", "_record"),
    ("/api/v2/section_image_download/<id:image_id>", "_image"),
    ("/api/v2/section_image_download/<id:image_id>.jpg", "_image"),
    ("/api/v2/image_download/<id:image_id>", "_image"),
    ("/api/v2/image_download/<id:image_id>.jpg", "_image"),
    ("/api/v2/image_to_reference/<id:image_id>.json", "_image_to_reference"),
    ("/api/v2/reference_to_image/<id:space>.json", "_reference_to_image"),
    ("/api/v2/image_to_image/<id:image_id>.json", "_image_to_image"),
    ("/api/v2/image_to_image_2d/<id:image_id>.json", "_image_to_image_2d"),
    ("/api/v2/structure_to_image/<id:data_set_id>.json", "_structure_to_image"),
    ("/api/v2/image_to_atlas/<id:image_id>.json", "_image_to_atlas"),
    ("/api/v2/atlas_image_download/<id:image_id>", "_plate"),
    ("/api/v2/svg_download/<id:image_id>", "_svg"),
    ("/api/v2/svg/<id:image_id>", "_svg"),
    ("/grid_data/download/<id:data_set_id>", "_grid"),
    ("/grid_data/download/<id:data_set_id>.zip", "_grid"),
)
"""Paths, and the method of `Application` that answers them."""


def _map_of_paths() -> Map:
    rules: list[Rule] = []
    for path, answer in _ROUTES:
        rules.append(Rule(path, endpoint=answer, methods=["GET"]))
        if path.endswith(">.json"):  # no ending means JSON
            rules.append(Rule(path.removesuffix(".json"), endpoint=answer, methods=["GET"]))
    paths = Map(rules, converters={"id": _Id}, merge_slashes=False)
    paths.update()  # here and not at the first request, which takes a lock for it
    return paths


# Once, as this file is imported, which one thread does: Werkzeug compiles rules, and Python 3.11
# fails now and then where two threads compile at once (python/cpython#106905).
_PATHS = _map_of_paths()


class Application:
    """A WSGI application that answers the URLs of the Allen Brain Map web API from an archive.

    Parameters
    ----------
    archive : Archive
        What it answers from.
    row_cap : int, optional
        Most rows in the answer to one query, however many it asks for.
    limits : Limits, optional
        What the answer to one question may cost.
    lanes : Lanes, optional
        How much heavy work is done at once; by default as much as is asked for.

    Examples
    --------
    Ask it in the same process::

        client = httpx.Client(
            transport=httpx.WSGITransport(Application(archive)), base_url="http://archive"
        )
        client.get("/api/v2/data/SectionDataSet/query.json?num_rows=all").json()["msg"]
    """

    def __init__(
        self,
        archive: Archive,
        *,
        row_cap: int = 25_000,
        limits: Limits | None = None,
        lanes: Lanes | None = None,
    ) -> None:
        self._archive = archive
        self._row_cap = row_cap
        self._limits = limits or Limits()
        self._lanes = lanes
        self._last_records: _Records | None = None

    def __reduce__(self) -> tuple[Callable[..., Application], tuple[Any, ...]]:
        return partial(type(self), row_cap=self._row_cap), (self._archive,)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        kept = self._kept(_address(environ))
        if kept is None:
            return self._respond(environ)(environ, start_response)
        method = environ["REQUEST_METHOD"]
        if method == "GET" and "HTTP_IF_NONE_MATCH" not in environ:
            start_response("200 OK", kept.headers)
            return [kept.body]
        if method in ("GET", "HEAD"):
            return _from_kept(kept, Request(environ))(environ, start_response)
        return self._respond(environ)(environ, start_response)

    def is_kept(self, path: str, query: str) -> bool:
        """Whether the answer to an address need only be sent.

        Parameters
        ----------
        path, query : str
            ``PATH_INFO`` and ``QUERY_STRING`` of WSGI.
        """
        return self._kept((path, query)) is not None

    def _kept(self, address: tuple[str, str]) -> KeptAnswer | None:
        if not address[0].startswith(_KEPT):
            return None
        try:
            return self._records().answers.get(address)
        except Exception:  # it is raised again where it can be told
            return None

    def _respond(self, environ: WSGIEnvironment) -> Response:
        try:
            request = Request(environ)
            length = len(environ.get("PATH_INFO", "")) + len(environ.get("QUERY_STRING", ""))
            if length > MAX_URL:
                raise _Refusal(
                    HTTPStatus.REQUEST_URI_TOO_LONG, f"the URL has more than {MAX_URL} characters"
                )
            # The host is nobody's business here: nothing is looked up by it or redirected to it.
            name, arguments = _PATHS.bind("localhost").match(request.path, request.method)
            answer = getattr(self, name)
            if request.query_string.count(b"&") >= MAX_PARAMETERS:
                raise _bad(f"the URL has more than {MAX_PARAMETERS} parameters")
            response: Response = answer(request, **arguments)
        except _Refusal as refusal:
            return _failure(refusal.status, str(refusal))
        except UnicodeError:  # of a server that passes on what is no URL
            return _failure(HTTPStatus.BAD_REQUEST, "the URL is not encoded as URLs are")
        except BusyError:
            busy = _failure(
                HTTPStatus.SERVICE_UNAVAILABLE, "too much is asked for at once; ask again later"
            )
            busy.headers["Retry-After"] = _ASK_AGAIN_AFTER
            return busy
        except AtldldError as error:  # a record of the archive cannot be used
            return _failure(HTTPStatus.NOT_FOUND, error.message)
        except QueryError as error:
            return _failure(HTTPStatus.BAD_REQUEST, str(error))
        except MethodNotAllowed as error:
            refused = _failure(
                HTTPStatus.METHOD_NOT_ALLOWED, "the archive is read-only: GET and HEAD are offered"
            )
            refused.headers["Allow"] = ", ".join(sorted(error.valid_methods or ("GET", "HEAD")))
            return refused
        except HTTPException as error:
            file = self._file(request)
            if file is not None:
                return file
            return _failure(
                HTTPStatus(error.code or HTTPStatus.NOT_FOUND),
                f"nothing is served at this path; there are: {' '.join(ENDPOINTS)}",
            )
        except Exception:
            _log.exception("a request failed")
            return _failure(
                HTTPStatus.INTERNAL_SERVER_ERROR, "the archive failed; its log says how"
            )
        return response

    # ---- what is served

    def _records(self) -> _Records:
        """Return the archive's records with what was looked up in them, as long as they last."""
        tables, records = self._archive.tables(), self._last_records
        if records is None or records.tables is not tables:
            records = self._last_records = _Records(tables)
        return records

    @contextmanager
    def _heavy(self, request: Request, lane: str, cost: float = 0) -> Iterator[None]:
        """Wait for a place in a lane, if there are any, and hold it."""
        if self._lanes is None:
            yield
            return
        entered: Lane = getattr(self._lanes, lane)
        with entered.enter(cost, request.environ.get("waitress.client_disconnected")):
            yield

    def _file(self, request: Request) -> Response | None:
        """Answer another file of the archive, by looking its whole path up."""
        if request.method not in ("GET", "HEAD") or len(request.path) > MAX_FILE_PATH:
            return None
        for ending in ("", ".zip", ".json"):
            held = self._archive.file(request.path + ending)
            if held is not None:
                return self._send(request, held)
        if self._archive.makes_files:
            try:
                with self._heavy(request, "pixels", 20):
                    made = self._archive.make_file(request.path)
            except AtldldError as error:  # a library that is not installed
                raise _unknown(error.message) from None
            if made is not None:
                json_like = request.path.startswith("/api/")
                kind = "application/json" if json_like else "application/octet-stream"
                return Response(made, content_type=kind)
        return None

    def _send(self, request: Request, held: Member) -> Response:
        response = Response(content_type=_kind(held))
        response.set_etag(_version(held))
        response.make_conditional(request)
        if response.status_code != HTTPStatus.OK:
            return response
        try:
            if held.seekable:
                file = held.open()
            elif held.size <= _IN_MEMORY:
                file = io.BytesIO(held.read(_IN_MEMORY))
            else:
                with self._heavy(request, "pixels", held.size / 10e6):
                    file = _spooled(held)
        except (OSError, InvalidInputError) as error:
            raise _unreadable(error) from None
        response.response = wrap_file(request.environ, file)
        response.direct_passthrough = True
        response.content_length = held.size
        return response

    def _index(self, request: Request) -> Response:
        tables = self._archive.tables()
        about: dict[str, Any] = {
            "section_data_sets": [record["id"] for record in tables["SectionDataSet"]],
            "section_images": len(tables["SectionImage"]),
            "endpoints": ENDPOINTS,
        }
        if self._archive.synthetic is not None:
            about["synthetic"] = self._archive.synthetic
        return _json(about)

    # ---- RMA

    def _query(self, request: Request, extension: str = "json") -> Response:
        criteria = request.args.get("criteria", request.args.get("q"))
        if criteria is None:
            raise _bad("the parameter criteria is missing: criteria=model::SectionDataSet,...")
        return self._answer(request, _parse(request, criteria), extension)

    def _query_model(self, request: Request, model: str, extension: str = "json") -> Response:
        criteria = request.args.get("criteria", request.args.get("q", ""))
        query = _parse(request, criteria, model)
        # `?id=479` is short for `[id$eq479]`. What is no column is ignored, as the service does.
        names = self._records().columns(model)
        return self._answer(
            request,
            _with_values(query, {n: v for n, v in request.args.items() if n in names}),
            extension,
        )

    def _record(
        self, request: Request, model: str, record_id: int, extension: str = "json"
    ) -> Response:
        query = _with_values(_parse(request, "", model), {"id": str(record_id)})
        return self._answer(request, query, extension)

    def _answer(self, request: Request, query: Query, extension: str) -> Response:
        if extension not in ("json", "csv"):
            raise _bad(f"the format {extension!r:.20} is not offered; there are: json, csv")
        if extension == "csv":
            # The service does not write included records into a table either.
            include = query.include if query.options.tabular else ()
            query = replace(query, include=include)
        records = self._records()
        with ExitStack() as stack:
            budget = Budget(
                self._limits,
                when_heavy=lambda: stack.enter_context(self._heavy(request, "queries")),
            )
            answer = run(
                query,
                records.tables,
                row_cap=self._row_cap,
                budget=budget,
                lookup=records.lookup,
            )
            if extension == "csv":
                response = _csv(answer.rows, budget)
            else:
                response = _success(
                    answer.rows, answer.start_row, answer.num_rows, answer.total_rows
                )
        kept = KeptAnswer.of(response.get_data(), response.headers["Content-Type"])
        records.answers.keep(_address(request.environ), kept)
        return _from_kept(kept, request)

    # ---- images

    def _image(self, request: Request, image_id: int) -> Response:
        records = self._records()
        image = records.image(image_id)
        unsupported = [name for name in RENDERINGS if name in request.args]
        if unsupported:
            raise _bad(
                f"not offered: {', '.join(unsupported)}; the pixels are answered as they are"
            )
        downsample = _whole(request, "downsample", 0)
        if not 0 <= downsample <= image.highest_downsample:
            raise _bad(
                f"downsample is {downsample}, but section image {image_id} has the tiers"
                f" 0 to {image.highest_downsample}"
            )
        quality = _quality(request)
        view = _view(request)
        if view == "expression" and not image.has_expression_mask:
            raise _unknown(f"section image {image_id} has no expression mask")
        region = _region(request, image, downsample)
        body = self._archive.held_image(image_id, downsample, view, quality=quality, region=region)
        if isinstance(body, Member):
            return self._held(request, records, body)
        if body is not None:
            kept = KeptAnswer.of(body, "image/jpeg")
            records.answers.keep(_address(request.environ), kept)
            return _from_kept(kept, request)
        width, height = image.size(downsample)
        with self._heavy(request, "pixels", width * height / _PIXELS_PER_TENTH):
            body = self._archive.image(image_id, downsample, view, quality=quality, region=region)
        if body is None:
            what = "the expression mask of section" if view == "expression" else "section"
            raise _unknown(
                f"the archive does not hold {what} image {image_id} at downsample {downsample}"
            )
        return _from_kept(KeptAnswer.of(body, "image/jpeg"), request)

    def _held(self, request: Request, records: _Records, held: Member) -> Response:
        """Answer an image as it is held, and keep it as long as its file does not change."""
        stamp = self._archive.stamp(held)
        if stamp is None or held.size > LARGEST:
            return self._send(request, held)
        try:
            content = held.read(LARGEST)
        except (OSError, InvalidInputError) as error:
            raise _unreadable(error) from None

        def is_current() -> bool:
            return self._archive.stamp(held) == stamp

        kept = KeptAnswer(content, _kind(held), _version(held), is_current)
        records.answers.keep(_address(request.environ), kept)
        return _from_kept(kept, request)

    def _plate(self, request: Request, image_id: int) -> Response:
        downsample, quality = _whole(request, "downsample", 0), _quality(request)
        annotation = request.args.get("annotation", "false").lower() in ("true", "t")
        with self._heavy(request, "pixels", 2):
            body = self._archive.plate(image_id, downsample, annotation=annotation, quality=quality)
        if body is None:
            raise _unknown(f"the archive does not hold atlas image {image_id} at that downsample")
        return Response(body, content_type="image/jpeg")

    def _svg(self, request: Request, image_id: int) -> Response:
        with self._heavy(request, "pixels", 10):
            body = self._archive.plate_svg(image_id)
        if body is None:
            raise _unknown(f"the archive holds no drawing of atlas image {image_id}")
        return Response(body, content_type="image/svg+xml")

    def _grid(self, request: Request, data_set_id: int) -> Response:
        # each once, however often it is named
        kinds = list(dict.fromkeys(request.args.get("include", "energy").split(",")))
        unknown = sorted(set(kinds) - set(GRID_KINDS))
        if unknown:
            raise _bad(f"include is {unknown[0]!r:.100}, but offered are {', '.join(GRID_KINDS)}")
        body = None
        if self._archive.makes_files:
            with self._heavy(request, "pixels", 20):
                body = self._archive.grid(data_set_id, kinds)
        if body is not None:
            return Response(body, content_type="application/zip")
        # an archive holds the ZIP as a file, with all that was fetched
        held = self._file(request)
        if held is None:
            raise _unknown(f"the archive holds no grid of section data set {data_set_id}")
        return held

    # ---- synchronisation

    def _image_to_reference(self, request: Request, image_id: int) -> Response:
        _, _, (point,) = self._from(request, image_id)
        return _success({"image_to_reference": dict(zip("xyz", point, strict=True))}, 0, 1, 1)

    def _reference_to_image(self, request: Request, space: int) -> Response:
        known = [known.value for known in ReferenceSpace]
        if space not in known:
            raise _unknown(f"there is no reference space {space}; there are {known}")
        point = [_coordinate(request, name) for name in "xyz"]
        ids = _ids(request, "section_data_set_ids")
        records = self._records()
        with self._for_each(request, ids):
            return _synchronised(
                _synchronise(
                    target,
                    partial(reference_to_image, target, [point], space=space, beyond="ignore"),
                )
                for target in [records.data_set(target_id) for target_id in ids]
            )

    def _image_to_image(self, request: Request, image_id: int) -> Response:
        source, pixel, _ = self._from(request, image_id)
        ids = _ids(request, "section_data_set_ids")
        records = self._records()
        with self._for_each(request, ids):
            return _synchronised(
                _synchronise(
                    target,
                    partial(image_to_image, source, image_id, pixel, target, beyond="ignore"),
                )
                for target in [records.data_set(target_id) for target_id in ids]
            )

    def _image_to_image_2d(self, request: Request, image_id: int) -> Response:
        source, pixel, _ = self._from(request, image_id)
        ids = _ids(request, "section_image_ids")
        records = self._records()
        found = []
        with self._for_each(request, ids):
            for target_id in ids:
                record = records.find("SectionImage", target_id, "section image")
                target = records.data_set(record.get("data_set_id"))
                find = partial(image_to_image_2d, source, image_id, pixel, target, target_id)
                found.append(_synchronise(target, find))
        return _synchronised(found)

    def _structure_to_image(self, request: Request, data_set_id: int) -> Response:
        records = self._records()
        data_set = records.data_set(data_set_id)
        if "StructureCenter" not in records.tables:
            raise _unknown("the archive holds no structure centers")
        ids = _ids(request, "structure_ids")
        with self._for_each(request, ids):
            centers = records.centers()
            return _synchronised(
                _synchronise(
                    data_set,
                    partial(structure_to_image, data_set, [target], centers, beyond="ignore"),
                )
                for target in ids
            )

    def _image_to_atlas(self, request: Request, image_id: int) -> Response:
        source, pixel, _ = self._from(request, image_id)
        atlas, plates = self._records().atlas(_whole(request, "atlas_id", 1))
        found = _synchronise(
            atlas, partial(image_to_atlas, source, image_id, pixel, atlas, plates, beyond="ignore")
        )
        # one object and not a list: so the service has it
        return _success({"image_sync": found}, 0, 1, 1)

    def _for_each(self, request: Request, ids: Sequence[int]) -> AbstractContextManager[None]:
        return self._heavy(request, "queries") if len(ids) > _LIGHT_SYNC else nullcontext()

    def _from(
        self, request: Request, image_id: int
    ) -> tuple[SectionDataSet, list[list[float]], list[list[float]]]:
        """Read the pixel of an image: its data set, the pixel, and where it lies."""
        records = self._records()
        image = records.find("SectionImage", image_id, "section image")
        pixel = [[_coordinate(request, name) for name in "xy"]]
        data_set = SectionDataSet.from_records(
            records.find("SectionDataSet", image.get("data_set_id"), "section data set"), [image]
        )
        try:
            found = image_to_reference(data_set, image_id, pixel)
        except (AlignmentMissingError, InvalidInputError) as error:
            raise _unknown(error.message) from None
        return data_set, pixel, found.pir.tolist()


# ---- reading requests


def _address(environ: WSGIEnvironment) -> tuple[str, str]:
    """Return the path and the parameters of a request, on which alone an answer depends."""
    return environ.get("PATH_INFO", ""), environ.get("QUERY_STRING", "")


def _parse(request: Request, criteria: str, model: str | None = None) -> Query:
    return parse(
        criteria,
        model=model,
        include=request.args.get("include", ""),
        options=request.args.to_dict(),
    )


def _with_values(query: Query, values: Mapping[str, str]) -> Query:
    """Add the criterion that columns have these values."""
    equal = tuple(Filter(Column(None, name), "$eq", (value,)) for name, value in values.items())
    return replace(query, criteria=(*query.criteria, Term(None, equal)))


def _whole(request: Request, name: str, default: int) -> int:
    text = request.args.get(name)
    if text is None:
        return default
    if _WHOLE.fullmatch(text) is None:
        raise _bad(f"{name} is {text!r:.100}, but must be a whole number")
    return int(text)


def _quality(request: Request) -> int:
    quality = _whole(request, "quality", 100)
    if not 0 <= quality <= 100:
        raise _bad(f"quality is {quality}, but must be from 0 to 100")
    return quality


def _coordinate(request: Request, name: str) -> float:
    text = request.args.get(name)
    if text is None:
        raise _bad(f"the parameter {name} is missing")
    if _NUMBER.fullmatch(text) is None or abs(float(text)) > _LARGEST_COORDINATE:
        raise _bad(f"{name} is {text!r:.100}, but must be a number within ±{_LARGEST_COORDINATE:g}")
    return float(text)


def _ids(request: Request, name: str) -> list[int]:
    listed = request.args.get(name, "").split(",")
    if len(listed) > MAX_DATA_SETS or not all(_WHOLE.fullmatch(number) for number in listed):
        raise _bad(f"{name} must be one to {MAX_DATA_SETS} whole numbers with commas between")
    return [int(number) for number in listed]


def _view(request: Request) -> View:
    # The boolean is the older spelling of view=expression.
    older = request.args.get("expression", "false").lower()
    view = request.args.get("view", "expression" if older in ("true", "t") else "image")
    if older in ("true", "t", "false", "f"):
        if view == "image":
            return "image"
        if view == "expression":
            return "expression"
    raise _bad("the views that are offered are view=expression and, without view, the section")


def _region(
    request: Request, image: SectionImage, downsample: int
) -> tuple[int, int, int, int] | None:
    """Read a region of interest, as left, top, width and height on the section's own box.

    In the URL the corner is in full-resolution pixels of the scanned slide, and the size in
    pixels of the tier.
    """
    whole_width, whole_height = image.size(downsample)
    # Rounding down makes pixel k of a tier begin at full-resolution pixel 2^d · k of the box,
    # which is what synchronisation means by it.
    left = (_whole(request, "left", image.x) - image.x) >> downsample
    top = (_whole(request, "top", image.y) - image.y) >> downsample
    width = _whole(request, "width", whole_width)
    height = _whole(request, "height", whole_height)
    if (
        min(left, top) < 0
        or min(width, height) < 1
        or left + width > whole_width
        or top + height > whole_height
    ):
        raise _bad(
            f"the region is not inside section image {image.id}, whose box is {image.width} ×"
            f" {image.height} pixels at ({image.x}, {image.y}) of the slide and"
            f" {whole_width} × {whole_height} at downsample {downsample}; left and top count"
            " full-resolution pixels of the slide, width and height pixels of the tier"
        )
    region = left, top, width, height
    return None if region == (0, 0, whole_width, whole_height) else region


# ---- looking things up


class _Records:
    """The records of an archive, and what was looked up in them."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.lookup = Lookup(tables)
        self.answers = KeptAnswers()
        # methods of their own for each archive, so that what they keep goes with it
        self.columns = cache(partial(columns, tables))
        self.data_set = lru_cache(maxsize=256)(self._data_set)
        self.image = lru_cache(maxsize=4096)(self._image)
        self.centers = cache(self._centers)
        self.atlas = lru_cache(maxsize=8)(self._atlas)

    def find(self, model: str, record_id: object, what: str) -> Record:
        """Return a record by its id, or refuse."""
        found = self.lookup.find(model, "id", record_id)
        if not found:
            raise _unknown(f"the archive holds no {what} {record_id}")
        return found[0]

    def _data_set(self, data_set_id: int | None) -> SectionDataSet:
        return SectionDataSet.from_records(
            self.find("SectionDataSet", data_set_id, "section data set"),
            self.lookup.find("SectionImage", "data_set_id", data_set_id),
        )

    def _image(self, image_id: int) -> SectionImage:
        return SectionImage.from_record(self.find("SectionImage", image_id, "section image"))

    def _centers(self) -> list[StructureCenter]:
        return [StructureCenter.from_record(center) for center in self.tables["StructureCenter"]]

    def _atlas(self, atlas_id: int) -> tuple[SectionDataSet, list[SectionImage]]:
        """Return the data set of an atlas and its plates: the annotated images, if any are."""
        atlas = self.find("Atlas", atlas_id, "atlas")
        # The two sides of one association; a record may lack either.
        named = [dataset["id"] for dataset in atlas.get("atlas_data_sets") or ()]
        named += [
            record["id"]
            for record in self.tables.get("AtlasDataSet", ())
            if any(linked["id"] == atlas_id for linked in record.get("atlases") or ())
        ]
        if not named:
            raise _unknown(f"the archive holds no data set of atlas {atlas_id}")
        data_set = self.find("AtlasDataSet", named[0], "atlas data set")
        images = self.lookup.find("AtlasImage", "data_set_id", data_set["id"])
        plates = [image for image in images if image.get("annotated")] or images
        whole = SectionDataSet.from_records(data_set, plates)
        return whole, list(whole.images)


def _kind(held: Member) -> str:
    return mimetypes.guess_type(held.name)[0] or "application/octet-stream"


def _version(held: Member) -> str:
    return f"{held.size:x}-{int(held.changed * 1e9):x}"


def _unreadable(error: Exception) -> _Refusal:
    return _unknown(f"the archive's file cannot be read: {error}")


def _spooled(held: Member) -> IO[bytes]:
    """Unpack a file into a temporary one that has no name, and so goes with the process."""
    file = nameless_file()
    try:
        for chunk in held.chunks(held.size):
            file.write(chunk)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


def _synchronise(target: SectionDataSet, find: Callable[[], ImagePoints]) -> dict[str, Any]:
    """Put what is found of one point on one data set as the service does."""
    answer = dict.fromkeys(("section_image_id", "section_number", "x", "y"))
    try:
        found = find()
    except (AlignmentMissingError, InvalidInputError):
        # A data set without an answer stays in the list, as a target that failed.
        pass
    else:
        if found.answered[0]:
            answer = {
                "section_image_id": int(found.image_ids[0]),
                "section_number": int(found.section_numbers[0]),
                "x": float(found.xy[0, 0]),
                "y": float(found.xy[0, 1]),
            }
    return {"section_data_set_id": target.id, **answer}


# ---- writing answers


def _json(body: Mapping[str, Any], status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(encode(body), status=status, content_type="application/json")


def _from_kept(kept: KeptAnswer, request: Request) -> Response:
    """Return an answer that is kept; without its body where the client has that already."""
    response = Response(kept.body, content_type=kept.content_type)
    response.set_etag(kept.etag)
    response.make_conditional(request)
    return response


def _synchronised(found: Iterable[Mapping[str, Any]]) -> Response:
    listed = [{"image_sync": match} for match in found]
    return _success(listed, 0, len(listed), len(listed))


def _success(msg: Any, start_row: int, num_rows: int, total_rows: int) -> Response:
    return _json(
        {
            "success": True,
            "id": 0,
            "start_row": start_row,
            "num_rows": num_rows,
            "total_rows": total_rows,
            "msg": msg,
        }
    )


def _failure(status: HTTPStatus, message: str) -> Response:
    envelope = {"success": False, "id": 0, "start_row": 0, "num_rows": 0, "total_rows": 0}
    return _json({**envelope, "msg": message}, status)


def _csv(rows: Sequence[Mapping[str, Any]], budget: Budget) -> Response:
    names = list(dict.fromkeys(name for row in rows for name in row))
    # a row that lacks columns has commas for them
    budget.spend(len(rows) * len(names) // 4)
    budget.write(len(rows) * len(names))
    text = io.StringIO()
    table = csv.DictWriter(text, names, lineterminator="\n")
    table.writeheader()
    for row in rows:
        # Spelt as in a query, where Python would write True.
        table.writerow({n: str(v).lower() if isinstance(v, bool) else v for n, v in row.items()})
    return Response(text.getvalue(), content_type="text/csv; charset=utf-8")
