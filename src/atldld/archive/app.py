"""The web service over an archive: a read-only WSGI application that answers the Allen URLs.

It offers what placing and downloading section images needs: RMA queries, the two downloads of
section images, and the six synchronisation calls. Any WSGI server can serve it, and any client of
the Allen Brain Map API can ask it.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal, Protocol

from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import BaseConverter, Map, Rule
from werkzeug.utils import send_file
from werkzeug.wrappers import Request, Response

from atldld.archive import rma
from atldld.errors import AlignmentMissingError, AtldldError, InvalidInputError
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
from atldld.records import SectionDataSet, SectionImage
from atldld.spaces import ReferenceSpace

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

__all__ = ["Application", "Source", "View"]

View = Literal["image", "expression"]
Record = Mapping[str, Any]
Tables = Mapping[str, Sequence[Record]]

MAX_URL = 16_384
MAX_PARAMETERS = 100
MAX_DATA_SETS = 100

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

# What grids there are: of expression, not of injections.
GRID_KINDS = ("energy", "density", "intensity")

# Parameters with which the Allen service changes the pixels. Ignoring them would answer another
# picture than the one that was asked for.
RENDERINGS = ("range", "rgb", "contrast", "colormap", "filter", "filterVals")

_WHOLE = re.compile(r"-?[0-9]{1,9}")
_NUMBER = re.compile(r"-?[0-9]{1,9}(\.[0-9]{0,30})?([eE]-?[0-9]{1,2})?")
_LARGEST_COORDINATE = 1e9

_log = logging.getLogger(__name__)


class Source(Protocol):
    """What an archive must offer to be served.

    A source may also have a boolean attribute ``synthetic``, which the page at ``/`` then tells,
    a method ``files()`` that maps paths of addresses to files that are answered as they are, and
    a method ``grid(data_set_id, kinds)`` that returns a ZIP of expression grids, or `None`;
    ``make_file(path)``, which returns the bytes of a file that is made when it is asked for, or
    `None`; and ``plate`` and ``plate_svg`` for the plates of an atlas.
    """

    def tables(self) -> Tables:
        """Return the records by name of the model, in the shape of the Allen service's JSON.

        ``SectionDataSet`` and ``SectionImage`` are needed; further models can be queried too.
        Associated records stand inside a record, such as ``alignment2d`` in a section image.
        """

    def image(
        self,
        image_id: int,
        downsample: int,
        view: View,
        *,
        quality: int,
        region: tuple[int, int, int, int] | None,
    ) -> bytes | None:
        """Return a section image as a JPEG.

        Parameters
        ----------
        image_id : int
            The section image, one of the table ``SectionImage``.
        downsample : int
            Tier of the pyramid: sides are halved so many times, and rounded down.
        view : {"image", "expression"}
            The section itself or its expression mask.
        quality : int
            Quality of the JPEG, 0 to 100.
        region : tuple of 4 int or None
            Left, top, width and height in pixels of the tier, counted from the section's own box
            and inside of it; `None` for the whole section.

        Returns
        -------
        bytes or None
            The JPEG; `None` where the archive does not hold it.
        """


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


class Application:
    """A WSGI application that answers the URLs of the Allen Brain Map web API from an archive.

    Parameters
    ----------
    source : Source
        The archive.
    row_cap : int, optional
        Most rows in the answer to one query, however many it asks for.

    Examples
    --------
    Ask it in the same process::

        client = httpx.Client(
            transport=httpx.WSGITransport(Application(source)), base_url="http://archive"
        )
        client.get("/api/v2/data/SectionDataSet/query.json?num_rows=all").json()["msg"]
    """

    def __init__(self, source: Source, *, row_cap: int = 25_000) -> None:
        self._source = source
        self._row_cap = row_cap
        rules: list[Rule] = []
        for path, answer in (
            ("/", self._index),
            ("/api/v2/data/query", self._query),
            ("/api/v2/data/query.<extension>", self._query),
            ("/api/v2/data/<model>/query", self._query_model),
            ("/api/v2/data/<model>/query.<extension>", self._query_model),
            ("/api/v2/data/<model>/<id:record_id>", self._record),
            ("/api/v2/data/<model>/<id:record_id>.<extension>", self._record),
            ("/api/v2/section_image_download/<id:image_id>", self._image),
            ("/api/v2/section_image_download/<id:image_id>.jpg", self._image),
            ("/api/v2/image_download/<id:image_id>", self._image),
            ("/api/v2/image_download/<id:image_id>.jpg", self._image),
            ("/api/v2/image_to_reference/<id:image_id>.json", self._image_to_reference),
            ("/api/v2/reference_to_image/<id:space>.json", self._reference_to_image),
            ("/api/v2/image_to_image/<id:image_id>.json", self._image_to_image),
            ("/api/v2/image_to_image_2d/<id:image_id>.json", self._image_to_image_2d),
            ("/api/v2/structure_to_image/<id:data_set_id>.json", self._structure_to_image),
            ("/api/v2/image_to_atlas/<id:image_id>.json", self._image_to_atlas),
            ("/api/v2/atlas_image_download/<id:image_id>", self._plate),
            ("/api/v2/svg_download/<id:image_id>", self._svg),
            ("/api/v2/svg/<id:image_id>", self._svg),
            ("/grid_data/download/<id:data_set_id>", self._grid),
            ("/grid_data/download/<id:data_set_id>.zip", self._grid),
        ):
            rules.append(Rule(path, endpoint=answer, methods=["GET"]))
            if path.endswith(">.json"):  # no ending means JSON
                rules.append(Rule(path.removesuffix(".json"), endpoint=answer, methods=["GET"]))
        self._paths = Map(rules, converters={"id": _Id}, merge_slashes=False)
        self._paths.update()  # here and not at the first request, which takes a lock for it

    def __reduce__(self) -> tuple[Callable[..., Application], tuple[Any, ...]]:
        return partial(type(self), row_cap=self._row_cap), (self._source,)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        return self._respond(environ)(environ, start_response)

    def _respond(self, environ: WSGIEnvironment) -> Response:
        try:
            request = Request(environ)
            length = len(environ.get("PATH_INFO", "")) + len(environ.get("QUERY_STRING", ""))
            if length > MAX_URL:
                raise _Refusal(
                    HTTPStatus.REQUEST_URI_TOO_LONG, f"the URL has more than {MAX_URL} characters"
                )
            # The host is nobody's business here: nothing is looked up by it or redirected to it.
            answer, arguments = self._paths.bind("localhost").match(request.path, request.method)
            if request.query_string.count(b"&") >= MAX_PARAMETERS:
                raise _bad(f"the URL has more than {MAX_PARAMETERS} parameters")
            response: Response = answer(request, **arguments)
        except _Refusal as refusal:
            return _failure(refusal.status, str(refusal))
        except rma.QueryError as error:
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

    def _file(self, request: Request) -> Response | None:
        """Answer another file of the archive, by looking its whole path up."""
        offered = self._source.files() if hasattr(self._source, "files") else {}
        for ending in ("", ".zip", ".json"):
            if request.path + ending in offered and request.method in ("GET", "HEAD"):
                return send_file(offered[request.path + ending], request.environ, conditional=True)
        if hasattr(self._source, "make_file") and request.method in ("GET", "HEAD"):
            try:
                made = self._source.make_file(request.path)
            except AtldldError as error:  # a library that is not installed
                raise _unknown(error.message) from None
            if made is not None:
                json_like = request.path.startswith("/api/")
                kind = "application/json" if json_like else "application/octet-stream"
                return Response(made, content_type=kind)
        return None

    def _index(self, request: Request) -> Response:
        tables = self._source.tables()
        about: dict[str, Any] = {
            "section_data_sets": [record["id"] for record in tables["SectionDataSet"]],
            "section_images": len(tables["SectionImage"]),
            "endpoints": ENDPOINTS,
        }
        if hasattr(self._source, "synthetic"):
            about["synthetic"] = bool(self._source.synthetic)
        return _json(about)

    # ---- RMA

    def _query(self, request: Request, extension: str = "json") -> Response:
        criteria = request.args.get("criteria", request.args.get("q"))
        if criteria is None:
            raise _bad("the parameter criteria is missing: criteria=model::SectionDataSet,...")
        return self._answer(_parse(request, criteria), extension)

    def _query_model(self, request: Request, model: str, extension: str = "json") -> Response:
        criteria = request.args.get("criteria", request.args.get("q", ""))
        query = _parse(request, criteria, model)
        # `?id=479` is short for `[id$eq479]`. What is no column is ignored, as the service does.
        names = rma.columns(self._source.tables(), model)
        return self._answer(
            _with_values(query, {n: v for n, v in request.args.items() if n in names}), extension
        )

    def _record(
        self, request: Request, model: str, record_id: int, extension: str = "json"
    ) -> Response:
        query = _with_values(_parse(request, "", model), {"id": str(record_id)})
        return self._answer(query, extension)

    def _answer(self, query: rma.Query, extension: str) -> Response:
        if extension not in ("json", "csv"):
            raise _bad(f"the format {extension!r} is not offered; there are: json, csv")
        if extension == "csv":
            # The service does not write included records into a table either.
            include = query.include if query.options.tabular else ()
            query = replace(query, include=include)
        answer = rma.run(query, self._source.tables(), row_cap=self._row_cap)
        if extension == "csv":
            return _csv(answer.rows)
        return _success(answer.rows, answer.start_row, answer.num_rows, answer.total_rows)

    # ---- images

    def _image(self, request: Request, image_id: int) -> Response:
        image = SectionImage.from_record(
            _find(self._source.tables(), "SectionImage", image_id, "section image")
        )
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
        quality = _whole(request, "quality", 100)
        if not 0 <= quality <= 100:
            raise _bad(f"quality is {quality}, but must be from 0 to 100")
        view = _view(request)
        if view == "expression" and not image.has_expression_mask:
            raise _unknown(f"section image {image_id} has no expression mask")
        region = _region(request, image, downsample)
        body = self._source.image(image_id, downsample, view, quality=quality, region=region)
        if body is None:
            what = "the expression mask of section" if view == "expression" else "section"
            raise _unknown(
                f"the archive does not hold {what} image {image_id} at downsample {downsample}"
            )
        response = Response(body, content_type="image/jpeg")
        response.set_etag(hashlib.sha256(body).hexdigest()[:32])
        response.make_conditional(request)
        return response

    def _plate(self, request: Request, image_id: int) -> Response:
        body = None
        if hasattr(self._source, "plate"):
            body = self._source.plate(
                image_id,
                _whole(request, "downsample", 0),
                annotation=request.args.get("annotation", "false").lower() in ("true", "t"),
                quality=_whole(request, "quality", 100),
            )
        if body is None:
            raise _unknown(f"the archive does not hold atlas image {image_id} at that downsample")
        return Response(body, content_type="image/jpeg")

    def _svg(self, request: Request, image_id: int) -> Response:
        body = None
        if hasattr(self._source, "plate_svg"):
            body = self._source.plate_svg(image_id)
        if body is None:
            raise _unknown(f"the archive holds no drawing of atlas image {image_id}")
        return Response(body, content_type="image/svg+xml")

    def _grid(self, request: Request, data_set_id: int) -> Response:
        kinds = request.args.get("include", "energy").split(",")
        unknown = sorted(set(kinds) - set(GRID_KINDS))
        if unknown:
            raise _bad(f"include is {unknown[0]!r}, but offered are {', '.join(GRID_KINDS)}")
        body = None
        if hasattr(self._source, "grid"):
            body = self._source.grid(data_set_id, kinds)
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
        tables = self._source.tables()
        targets = [_data_set(tables, one) for one in _ids(request, "section_data_set_ids")]
        return _synchronised(
            _synchronise(
                target, partial(reference_to_image, target, [point], space=space, beyond="ignore")
            )
            for target in targets
        )

    def _image_to_image(self, request: Request, image_id: int) -> Response:
        tables = self._source.tables()
        source, pixel, _ = self._from(request, image_id)
        targets = [_data_set(tables, one) for one in _ids(request, "section_data_set_ids")]
        return _synchronised(
            _synchronise(
                target, partial(image_to_image, source, image_id, pixel, target, beyond="ignore")
            )
            for target in targets
        )

    def _image_to_image_2d(self, request: Request, image_id: int) -> Response:
        tables = self._source.tables()
        source, pixel, _ = self._from(request, image_id)
        found = []
        for target_id in _ids(request, "section_image_ids"):
            record = _find(tables, "SectionImage", target_id, "section image")
            target = _data_set(tables, record["data_set_id"])
            find = partial(image_to_image_2d, source, image_id, pixel, target, target_id)
            found.append(_synchronise(target, find))
        return _synchronised(found)

    def _structure_to_image(self, request: Request, data_set_id: int) -> Response:
        tables = self._source.tables()
        data_set = _data_set(tables, data_set_id)
        if "StructureCenter" not in tables:
            raise _unknown("the archive holds no structure centers")
        centers = [StructureCenter.from_record(record) for record in tables["StructureCenter"]]
        return _synchronised(
            _synchronise(
                data_set, partial(structure_to_image, data_set, [one], centers, beyond="ignore")
            )
            for one in _ids(request, "structure_ids")
        )

    def _image_to_atlas(self, request: Request, image_id: int) -> Response:
        tables = self._source.tables()
        source, pixel, _ = self._from(request, image_id)
        atlas, plates = _atlas(tables, _whole(request, "atlas_id", 1))
        found = _synchronise(
            atlas, partial(image_to_atlas, source, image_id, pixel, atlas, plates, beyond="ignore")
        )
        # one object and not a list: so the service has it
        return _success({"image_sync": found}, 0, 1, 1)

    def _from(
        self, request: Request, image_id: int
    ) -> tuple[SectionDataSet, list[list[float]], list[list[float]]]:
        """Read the pixel of an image: its data set, the pixel, and where it lies."""
        tables = self._source.tables()
        image = _find(tables, "SectionImage", image_id, "section image")
        pixel = [[_coordinate(request, name) for name in "xy"]]
        data_set = SectionDataSet.from_records(
            _find(tables, "SectionDataSet", image["data_set_id"], "section data set"), [image]
        )
        try:
            found = image_to_reference(data_set, image_id, pixel)
        except (AlignmentMissingError, InvalidInputError) as error:
            raise _unknown(error.message) from None
        return data_set, pixel, found.pir.tolist()


# ---- reading requests


def _parse(request: Request, criteria: str, model: str | None = None) -> rma.Query:
    return rma.parse(
        criteria,
        model=model,
        include=request.args.get("include", ""),
        options=request.args.to_dict(),
    )


def _with_values(query: rma.Query, values: Mapping[str, str]) -> rma.Query:
    """Add the criterion that columns have these values."""
    equal = tuple(
        rma.Filter(rma.Column(None, name), "$eq", (value,)) for name, value in values.items()
    )
    return replace(query, criteria=(*query.criteria, rma.Term(None, equal)))


def _whole(request: Request, name: str, default: int) -> int:
    text = request.args.get(name)
    if text is None:
        return default
    if _WHOLE.fullmatch(text) is None:
        raise _bad(f"{name} is {text!r}, but must be a whole number")
    return int(text)


def _coordinate(request: Request, name: str) -> float:
    text = request.args.get(name)
    if text is None:
        raise _bad(f"the parameter {name} is missing")
    if _NUMBER.fullmatch(text) is None or abs(float(text)) > _LARGEST_COORDINATE:
        raise _bad(f"{name} is {text!r}, but must be a number within ±{_LARGEST_COORDINATE:g}")
    return float(text)


def _ids(request: Request, name: str) -> list[int]:
    listed = request.args.get(name, "").split(",")
    if len(listed) > MAX_DATA_SETS or not all(_WHOLE.fullmatch(one) for one in listed):
        raise _bad(f"{name} must be one to {MAX_DATA_SETS} whole numbers with commas between")
    return [int(one) for one in listed]


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


def _find(tables: Tables, model: str, record_id: int, what: str) -> Record:
    for record in tables.get(model, ()):
        if record["id"] == record_id:
            return record
    raise _unknown(f"the archive holds no {what} {record_id}")


def _data_set(tables: Tables, data_set_id: int) -> SectionDataSet:
    return SectionDataSet.from_records(
        _find(tables, "SectionDataSet", data_set_id, "section data set"),
        [image for image in tables["SectionImage"] if image["data_set_id"] == data_set_id],
    )


def _atlas(tables: Tables, atlas_id: int) -> tuple[SectionDataSet, list[SectionImage]]:
    """Return the data set of an atlas and its plates: the annotated images, if any are."""
    atlas = _find(tables, "Atlas", atlas_id, "atlas")
    # The two sides of one association; a record may lack either.
    named = [one["id"] for one in atlas.get("atlas_data_sets") or ()]
    named += [
        record["id"]
        for record in tables.get("AtlasDataSet", ())
        if any(one["id"] == atlas_id for one in record.get("atlases") or ())
    ]
    if not named:
        raise _unknown(f"the archive holds no data set of atlas {atlas_id}")
    data_set = _find(tables, "AtlasDataSet", named[0], "atlas data set")
    images = [
        image for image in tables.get("AtlasImage", ()) if image["data_set_id"] == data_set["id"]
    ]
    plates = [image for image in images if image.get("annotated")] or images
    whole = SectionDataSet.from_records(data_set, plates)
    return whole, list(whole.images)


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
    # Strict, because NaN would make JSON that other languages do not read.
    return Response(
        json.dumps(body, allow_nan=False), status=status, content_type="application/json"
    )


def _synchronised(found: Iterable[Mapping[str, Any]]) -> Response:
    listed = [{"image_sync": one} for one in found]
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


def _csv(rows: Sequence[Mapping[str, Any]]) -> Response:
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    table = csv.DictWriter(text, names, lineterminator="\n")
    table.writeheader()
    for row in rows:
        # Spelt as in a query, where Python would write True.
        table.writerow({n: str(v).lower() if isinstance(v, bool) else v for n, v in row.items()})
    return Response(text.getvalue(), content_type="text/csv; charset=utf-8")
