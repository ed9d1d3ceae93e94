"""The web service around a desk: a WSGI application that answers the page.

What it answers, and takes, stands in docs/develop/align.md. Every answer under ``/api/`` that is no
picture is JSON; one of status 400 and above is ``{"error": a sentence, "hint": what to do}``.
"""

from __future__ import annotations

import logging
import mimetypes
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import BaseConverter, Map, Rule
from werkzeug.wrappers import Request, Response

from atldld.align.access import HEADERS, MOST_BYTES, Access, Refusal
from atldld.align.compare import Comparison
from atldld.align.cuts import Cuts
from atldld.align.desk import Desk, StaleError
from atldld.align.edits import MOST_MARKERS, deformed
from atldld.align.images import Pictures
from atldld.align.jobs import Jobs
from atldld.align.marks import Marks
from atldld.align.overlay import KINDS, Painter, View
from atldld.align.plane_numbers import PlaneNumbers, check_forward
from atldld.align.state import Marker, rows_of
from atldld.errors import (
    AtldldError,
    ImageNotFoundError,
    InvalidInputError,
    NotFoundError,
    OfflineError,
    OutputError,
)
from atldld.place.placement import Placement
from atldld.serve.lanes import BusyError, Lane
from atldld.support.provenance import version
from atldld.support.text import shown

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from atldld.records import SectionImage

__all__ = ["LIVE", "Application", "Tabs"]

Matrix = NDArray[np.float64]
T = TypeVar("T")

LIVE = 15.0
"""Seconds after which a tab that has said nothing no longer keeps others from editing."""

_NUMBERS = "structures"  # a kind of overlay that is no picture
_STILL = 1.0  # seconds without a drawing after which nothing is being dragged
MAX_URL = 65_536  # markers stand in addresses of overlays

_log = logging.getLogger(__name__)


class _Id(BaseConverter):
    # bounded, because Python refuses to read numbers of thousands of digits
    regex = "[0-9]{1,15}"

    def to_python(self, value: str) -> int:
        return int(value)


class _Mark(msgspec.Struct):
    image: tuple[float, float]
    flat: tuple[float, float]
    id: str | int | None = None


class _Edit(msgspec.Struct):
    """What an edit brings."""

    kind: Literal["place", "markers", "status", "note", "reset"]
    image_id: int
    revision: int | None = None
    forward: list[Any] | None = None  # flat or by rows
    plane: PlaneNumbers | None = None
    carry: bool | Literal["vectors", "moves"] = False
    markers: list[_Mark] | None = None
    status: str | None = None
    note: str | None = None


class _Fit(msgspec.Struct):
    image_ids: list[int]
    steps: tuple[str, ...] = ("sections", "inplane")
    resolution: float | None = None
    revision: int | None = None


class _Step(msgspec.Struct):
    revision: int | None = None


class _Take(msgspec.Struct):
    take: bool = False
    tab: str | None = None


class Tabs:
    """Which of the browser's tabs may edit: one at a time.

    Parameters
    ----------
    clock : callable
        Returns seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._holder: str | None = None
        self._seen = 0.0

    def met(self, tab: str | None, *, take: bool = False) -> bool:
        """Note down that a tab is there, and return whether it may edit.

        A tab that edits keeps doing so until another one takes over, or nothing has been heard of
        it for `LIVE` seconds. Programs that are no tab may edit while no tab does.
        """
        with self._lock:
            now = self._clock()
            free = self._holder is None or now > self._seen + LIVE
            if tab is None:
                return free
            if take or free or tab == self._holder:
                self._holder, self._seen = tab, now
                return True
            return False


class Application:
    """A WSGI application that answers the page of a desk.

    Parameters
    ----------
    desk : Desk
        What is edited.
    access : Access
        Who may ask.
    tabs : Tabs, optional
        Which tab may edit.
    marks : Marks, optional
        Which sections are suspicious.
    """

    def __init__(
        self, desk: Desk, access: Access, tabs: Tabs | None = None, marks: Marks | None = None
    ) -> None:
        self.desk = desk
        self.access = access
        self.tabs = tabs or Tabs()
        self._pictures = Pictures(desk.dataset.session)
        self._painter = Painter(desk.atlas)
        self._slices = Cuts(self._painter)
        self._jobs = Jobs(desk)
        self._comparison = Comparison(desk)
        self._marks = marks or Marks(desk, busy=self._is_drawing)
        self._drawn_at = 0.0
        # drawing keeps a core busy each; pictures may wait for the service as well
        self._drawing, self._fetching = Lane(2, 60), Lane(6, 400)
        # what lies beside the section never takes the place of what lies over it
        self._beside = Lane(1, 60)
        self._products = _products(desk)
        self._page = files("atldld.align") / "page"
        section = "/api/sections/<id:image_id>"
        rules: list[tuple[str, str, Callable[..., Response]]] = [
            ("GET", "/api/dataset", self._dataset),
            ("GET", f"{section}", self._section),
            ("GET", f"{section}/plane", self._plane),
            ("GET", f"{section}/tiles/<id:tier>.jpg", self._tier),
            ("GET", f"{section}/tiles/<id:tier>/<id:column>_<id:row>.jpg", self._tile),
            ("GET", f"{section}/thumbnail.jpg", self._thumbnail),
            ("GET", f"{section}/overlay", self._overlay),
            ("GET", f"{section}/structure", self._structure),
            ("GET", "/api/cuts", self._cuts),
            ("GET", "/api/cut.jpg", self._cut),
            ("GET", "/api/compare", self._compare),
            ("GET", "/api/methods", self._methods),
            ("POST", "/api/fit", self._fit),
            ("GET", "/api/jobs/<string(maxlength=40):job>", self._job),
            ("POST", "/api/jobs/<string(maxlength=40):job>/accept", self._accept),
            ("POST", "/api/jobs/<string(maxlength=40):job>/discard", self._discard),
            ("POST", "/api/jobs/<string(maxlength=40):job>/cancel", self._discard),
            ("POST", "/api/edit", self._edit),
            ("POST", "/api/undo", self._undo),
            ("POST", "/api/redo", self._redo),
            ("POST", "/api/lock", self._take_over),
        ]
        self._paths = Map(
            [
                Rule("/", endpoint=self._index, methods=["GET"]),
                Rule("/static/<path:name>", endpoint=self._static, methods=["GET"]),
                *(Rule(path, endpoint=what, methods=[method]) for method, path, what in rules),
            ],
            converters={"id": _Id},
            merge_slashes=False,
        )
        self._paths.update()

    def close(self) -> None:
        """End what works beside the requests."""
        self._marks.close()
        self._jobs.close()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        response = self._respond(environ)
        for name, value in HEADERS.items():
            response.headers[name] = value
        response.headers.setdefault("Cache-Control", "no-store")
        return response(environ, start_response)

    def _respond(self, environ: WSGIEnvironment) -> Response:
        try:
            request = Request(environ)
            request.max_content_length = MOST_BYTES
            if len(environ.get("PATH_INFO", "")) + len(environ.get("QUERY_STRING", "")) > MAX_URL:
                raise Refusal(HTTPStatus.REQUEST_URI_TOO_LONG, "the address is too long")
            self.access.check(request, token=request.path.startswith("/api/"))
            answer, arguments = self._paths.bind("localhost").match(request.path, request.method)
            if request.method == "POST":
                self._check_body(request)
            response: Response = answer(request, **arguments)
        except Refusal as refusal:
            return _failure(refusal.status, str(refusal), **refusal.more)
        except UnicodeError:
            return _failure(HTTPStatus.BAD_REQUEST, "the address is not encoded as addresses are")
        except BusyError:
            busy = _failure(HTTPStatus.SERVICE_UNAVAILABLE, "too much is asked for at once")
            busy.headers["Retry-After"] = "1"
            return busy
        except StaleError:
            return _failure(
                HTTPStatus.CONFLICT,
                "another edit has come before this one",
                state=self._told(request),
            )
        except AtldldError as error:
            return _failure(_status_of(error, request), error.message, hint=error.hint)
        except MethodNotAllowed as error:
            refused = _failure(HTTPStatus.METHOD_NOT_ALLOWED, "nothing is done so here")
            refused.headers["Allow"] = ", ".join(sorted(error.valid_methods or ()))
            return refused
        except HTTPException as error:
            return _failure(
                HTTPStatus(error.code or HTTPStatus.NOT_FOUND), "nothing is served at this address"
            )
        except Exception:
            _log.exception("a request failed")
            return _failure(
                HTTPStatus.INTERNAL_SERVER_ERROR, "this program failed; its log says how"
            )
        return response

    def _check_body(self, request: Request) -> None:
        length = request.content_length
        if length is None:
            raise Refusal(HTTPStatus.LENGTH_REQUIRED, "the length of what is sent is not said")
        if length > MOST_BYTES:
            raise Refusal(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"{length} bytes are sent, but {MOST_BYTES} are taken at most",
            )
        # what other pages can send without asking is never this
        if length and request.mimetype != "application/json":
            raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "what is sent must be JSON")

    # ---- the page

    def _index(self, request: Request) -> Response:
        return self._file("index.html")

    def _static(self, request: Request, name: str) -> Response:
        return self._file(*name.split("/"))

    def _file(self, *parts: str) -> Response:
        found = self._page
        for part in parts:
            # one name after the other, each of which must be one: no way leads out
            names = {one.name: one for one in found.iterdir()} if found.is_dir() else {}
            if part not in names or part.startswith((".", "_")):
                raise Refusal(HTTPStatus.NOT_FOUND, "the page has no such file")
            found = names[part]
        if not found.is_file():
            raise Refusal(HTTPStatus.NOT_FOUND, "the page has no such file")
        kind = mimetypes.guess_type(parts[-1])[0] or "application/octet-stream"
        if parts[-1].endswith((".js", ".mjs")):
            kind = "text/javascript"
        response = Response(found.read_bytes(), content_type=_with_charset(kind))
        response.headers["Cache-Control"] = "no-cache"
        response.add_etag()
        return response

    # ---- what there is

    def _dataset(self, request: Request) -> Response:
        told = self._told(request)
        self._marks.begin()
        return _json(told)

    def _told(self, request: Request) -> dict[str, Any]:
        desk = self.desk
        record, atlas = desk.dataset.record, desk.atlas
        may_edit = self.tabs.met(_tab(request))
        history = desk.journal.history
        return {
            "id": record.id,
            "gene": ", ".join(gene.acronym for gene in record.genes if gene.acronym),
            "plane": desk.dataset.plane.value,
            "products": self._products,
            "synthetic": desk.synthetic,
            "atlas": {
                "name": atlas.name,
                "resolution": atlas.resolution,
                "shape": atlas.annotation.shape,
                "coordinates": desk.journal.beginning.about.get("space"),
                "depths": self._painter.deepest + 1,
                "colours": self._painter.colours_by_number,
                "citation": atlas.citation,
                "synthetic": atlas.synthetic,
            },
            "sections": [self._described(one) for one in history.document.sections],
            "steps": ["whole", "sections", "inplane"],
            "output": desk.output.name,
            "offline": desk.dataset.session.settings.offline,
            "tab": {"readonly": not may_edit, "since": None},
            "readonly": not may_edit,
            "version": version(),
            "news": self._marks.news,
            **self._where(),
        }

    def _where(self) -> dict[str, Any]:
        history = self.desk.journal.history
        return {
            "revision": history.revision,
            "can_undo": history.can_undo,
            "can_redo": history.can_redo,
            "undo": history.next_undone,
            "redo": history.next_redone,
        }

    def _described(self, image_id: int) -> dict[str, Any]:
        image = self.desk.sections[image_id].image
        told = self.desk.describe(image_id)
        return {**told, "tiers": self._pictures.tiers(image), "quality": self._marks.of(image_id)}

    def _section(self, request: Request, image_id: int) -> Response:
        self.desk.check_section(image_id)
        return _json(self._described(image_id))

    def _plane(self, request: Request, image_id: int) -> Response:
        shape = self.desk.shape_of(image_id)
        if (given := request.args.get("plane")) is not None:
            forward = _read(given.encode(), PlaneNumbers).forward(shape)
        else:
            forward = _forward(request) if "forward" in request.args else self._forward_of(image_id)
        return _json({"forward": rows_of(forward), "plane": PlaneNumbers.of(forward, shape)})

    def _forward_of(self, image_id: int) -> Matrix:
        return np.array(self.desk.document.sections[image_id].forward)

    # ---- pictures

    def _image(self, request: Request, image_id: int) -> tuple[SectionImage, bool]:
        image = self.desk.check_section(image_id).image
        view = request.args.get("view", "image")
        if view not in ("image", "expression"):
            raise Refusal(HTTPStatus.BAD_REQUEST, "the view must be image or expression")
        return image, view == "expression"

    def _tier(self, request: Request, image_id: int, tier: int) -> Response:
        image, expression = self._image(request, image_id)
        with self._fetching.enter(1, _gone(request)):
            return _picture(self._pictures.whole(image, tier, expression=expression), "jpeg")

    def _tile(self, request: Request, image_id: int, tier: int, column: int, row: int) -> Response:
        image, expression = self._image(request, image_id)
        with self._fetching.enter(0, _gone(request)):
            return _picture(
                self._pictures.tile(image, tier, column, row, expression=expression), "jpeg"
            )

    def _thumbnail(self, request: Request, image_id: int) -> Response:
        image, expression = self._image(request, image_id)
        with self._fetching.enter(5, _gone(request)):
            return _picture(self._pictures.thumbnail(image, expression=expression), "jpeg")

    def _overlay(self, request: Request, image_id: int) -> Response:
        section = self.desk.check_section(image_id)
        kind = request.args.get("kind", "borders")
        if kind not in (_NUMBERS, *KINDS):
            kinds = ", ".join((_NUMBERS, *KINDS))
            raise Refusal(HTTPStatus.BAD_REQUEST, f"there are the kinds {kinds}")
        image = section.image
        width, height = (_whole(request, name, 1, 4096) for name in ("width", "height"))
        if "scale" in request.args:
            across = down = _number(request, "scale")
        else:
            across, down = image.width / width, image.height / height
        view = View(
            width, height, _number(request, "x0", 0.0), _number(request, "y0", 0.0), across, down
        )
        depth = _whole(request, "depth", 0, 99) if request.args.get("depth") else None
        placement = self._proposed(request, image_id)
        self._drawn_at = time.monotonic()
        with self._drawing.enter(0, _gone(request)):
            if kind == _NUMBERS:
                numbers = self._painter.structures(placement, view, depth=depth)
                response = Response(numbers, content_type="application/octet-stream")
                response.headers["Content-Encoding"] = "deflate"  # what zlib makes, in HTTP's words
            else:
                drawn = self._painter.png(placement, view, _kind(kind), depth=depth)
                response = _picture(drawn, "png")
        response.headers["Cache-Control"] = "no-store"
        return response

    def _is_drawing(self) -> bool:
        return time.monotonic() < self._drawn_at + _STILL

    def _proposed(self, request: Request, image_id: int) -> Placement:
        """Return where a section would lie, by a request's matrix and markers."""
        self.desk.check_section(image_id)
        if job := request.args.get("job"):
            return self._jobs.placement(job, image_id)
        forward = _forward(request) if request.args.get("forward") else None
        markers = _markers(request) if request.args.get("markers") else None
        return self.desk.placement(image_id, forward=forward, markers=markers)

    def _structure(self, request: Request, image_id: int) -> Response:
        placement = self._proposed(request, image_id)
        xy = np.array([_number(request, "x"), _number(request, "y")])
        state = self.desk.document.sections[image_id]
        markers = _markers(request) if request.args.get("markers") else state.markers
        image = self.desk.sections[image_id].image
        bent = deformed(markers, image.width, image.height, None)
        flat = xy if bent is None else bent.to_flat(xy)
        point = placement.to_reference(xy)
        try:
            found = self.desk.atlas.structure_at(point)
        except NotFoundError:
            found = None
        told = None
        if found is not None:
            graph = self.desk.atlas.graph
            told = {
                "id": found.id,
                "acronym": found.acronym,
                "name": found.name,
                "color": found.color,
                "path": [
                    {"acronym": graph[one].acronym, "name": graph[one].name} for one in found.path
                ],
            }
        return _json(
            {"structure": told, "reference": point.tolist(), "flat": np.asarray(flat).tolist()}
        )

    # ---- edits

    def _edit(self, request: Request) -> Response:
        self._check_may_edit(request)
        sent = _read(request.get_data(), _Edit)
        desk, revision = self.desk, sent.revision
        desk.check_section(sent.image_id)
        if sent.kind == "place":
            if sent.plane is not None:
                forward = sent.plane.forward(desk.shape_of(sent.image_id))
            elif sent.forward is not None:
                forward = check_forward(sent.forward)
            else:
                raise Refusal(HTTPStatus.BAD_REQUEST, "no plane is given: forward or plane")
            carry = "vectors" if sent.carry is True else sent.carry or None
            changed = desk.place(sent.image_id, forward, carry=carry, revision=revision)
        elif sent.kind == "markers":
            if sent.markers is None:
                raise Refusal(HTTPStatus.BAD_REQUEST, "no markers are given")
            changed = desk.mark(sent.image_id, _named(sent.markers), revision=revision)
        elif sent.kind == "reset":
            changed = desk.reset(sent.image_id, revision=revision)
        else:
            status = sent.status if sent.kind == "status" else None
            note = sent.note if sent.kind == "note" else None
            if status is None and note is None:
                raise Refusal(HTTPStatus.BAD_REQUEST, f"no {sent.kind} is given")
            changed = desk.say(sent.image_id, status=status, note=note, revision=revision)
        return self._changed(changed)

    def _undo(self, request: Request) -> Response:
        self._check_may_edit(request)
        return self._changed(self.desk.undo(revision=_read(request.get_data(), _Step).revision))

    def _redo(self, request: Request) -> Response:
        self._check_may_edit(request)
        return self._changed(self.desk.redo(revision=_read(request.get_data(), _Step).revision))

    def _changed(self, changed: Iterable[int]) -> Response:
        ids = set(changed)
        return _json(
            {
                **self._where(),
                "sections": [self._described(one) for one in self.desk.sections if one in ids],
                "saved": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            }
        )

    def _check_may_edit(self, request: Request) -> None:
        if not self.tabs.met(_tab(request)):
            raise Refusal(
                HTTPStatus.LOCKED,
                "another tab is editing this data set",
                hint="Go on there, or take over in this tab.",
            )

    def _take_over(self, request: Request) -> Response:
        sent = _read(request.get_data(), _Take)
        may_edit = self.tabs.met(_tab(request) or sent.tab, take=sent.take)
        return _json(
            {
                "readonly": not may_edit,
                "revision": self.desk.revision,
                "news": self._marks.news,
            }
        )

    # ---- cuts, comparison and fits

    def _cuts(self, request: Request) -> Response:
        image_id = _whole(request, "section", 1, 10**15)
        self.desk.check_section(image_id)
        document = self.desk.document
        forward = _forward(request) if request.args.get("forward") else self._forward_of(image_id)
        sections = {
            one: (section.image, np.array(document.sections[one].forward))
            for one, section in self.desk.sections.items()
        }
        cuts = self._slices.describe(forward, image_id, sections, self.desk.dataset.plane)
        for cut in cuts:
            cut["picture"] = f"/api/cut.jpg?axis={cut['axis']}&voxel={cut['voxel']}"
        return _json({"cuts": cuts})

    def _cut(self, request: Request) -> Response:
        axis = _whole(request, "axis", 0, 2)
        voxel = _whole(request, "voxel", 0, self.desk.atlas.annotation.shape[axis] - 1)
        with self._beside.enter(0, _gone(request)):
            return _picture(self._slices.picture(axis, voxel), "jpeg")

    def _compare(self, request: Request) -> Response:
        with self._beside.enter(10, _gone(request)):
            return _json({"rows": self._comparison.rows()})

    def _methods(self, request: Request) -> Response:
        with self._beside.enter(10, _gone(request)):
            return Response(self._comparison.methods(), content_type="text/plain; charset=utf-8")

    def _fit(self, request: Request) -> Response:
        self._check_may_edit(request)
        sent = _read(request.get_data(), _Fit)
        if sent.revision is not None and sent.revision != self.desk.revision:
            raise StaleError
        job = self._jobs.start(sent.image_ids, sent.steps, resolution=sent.resolution)
        return _json({"job": job.id}, HTTPStatus.ACCEPTED)

    def _job(self, request: Request, job: str) -> Response:
        return _json(self._jobs.describe(job))

    def _accept(self, request: Request, job: str) -> Response:
        self._check_may_edit(request)
        revision = _read(request.get_data(), _Step).revision
        return self._changed(self._jobs.accept(job, revision=revision))

    def _discard(self, request: Request, job: str) -> Response:
        self._check_may_edit(request)
        self._jobs.cancel(job)
        return self._changed(())


# ---- requests and answers


def _products(desk: Desk) -> list[str]:
    """Return the names of what the data set belongs to, as the service's record says."""
    session, dataset_id = desk.dataset.session, desk.dataset.id
    record = session.dataset_records(dataset_id)["section_data_set"]
    found = record.get("products")
    listed = found if isinstance(found, list) else []
    names = [one.get("name") for one in listed if isinstance(one, dict)]
    return [shown(name) for name in names if isinstance(name, str)]


def _tab(request: Request) -> str | None:
    tab = request.headers.get("X-Tab")
    return None if not tab else tab[:64]


def _gone(request: Request) -> Callable[[], bool] | None:
    found: Callable[[], bool] | None = request.environ.get("waitress.client_disconnected")
    return found


def _read(content: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(content or b"{}", type=kind)
    except msgspec.DecodeError as error:  # of validation, too
        raise Refusal(HTTPStatus.BAD_REQUEST, f"what is sent cannot be used: {error}") from None


def _number(request: Request, name: str, default: float | None = None) -> float:
    given = request.args.get(name)
    if given is None:
        if default is None:
            raise Refusal(HTTPStatus.BAD_REQUEST, f"{name} is missing")
        return default
    try:
        number = float(given[:40])
    except ValueError:
        number = np.nan
    if not np.isfinite(number) or abs(number) > 1e7:
        raise Refusal(HTTPStatus.BAD_REQUEST, f"{name} must be a number")
    return number


def _whole(request: Request, name: str, least: int, most: int) -> int:
    given = request.args.get(name, "")
    number = int(given) if given.isascii() and given.isdigit() and len(given) < 18 else -1
    if not least <= number <= most:
        raise Refusal(
            HTTPStatus.BAD_REQUEST, f"{name} must be a whole number from {least} to {most}"
        )
    return number


def _forward(request: Request) -> Matrix:
    given = request.args.get("forward", "")
    try:
        numbers = [float(one[:40]) for one in given.split(",", 9)]
    except ValueError:
        numbers = []
    return check_forward(numbers)


def _markers(request: Request) -> list[Marker]:
    given = _read(request.args.get("markers", "").encode(), list[tuple[float, float, float, float]])
    return _named([_Mark((x, y), (flat_x, flat_y)) for flat_x, flat_y, x, y in given])


def _named(markers: Sequence[_Mark]) -> list[Marker]:
    """Return markers that all have a name of their own."""
    if len(markers) > MOST_MARKERS:
        raise InvalidInputError(
            f"A section may have {MOST_MARKERS} markers, and these are {len(markers)}."
        )
    taken = {str(one.id)[:40] for one in markers if one.id is not None}
    free = (str(k) for k in range(1, 2 * MOST_MARKERS + 2))
    out = []
    for one in markers:
        name = str(one.id)[:40] if one.id is not None else next(k for k in free if k not in taken)
        out.append(Marker(name, one.image, one.flat))
    return out


def _kind(text: str) -> Any:
    return text


def _json(document: object, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(msgspec.json.encode(document, enc_hook=_plain), status, content_type=_JSON)


_JSON = "application/json; charset=utf-8"


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    raise NotImplementedError(f"{type(value).__name__} is not JSON")


def _failure(status: HTTPStatus, message: str, **more: object) -> Response:
    sentence = message[:1].upper() + message[1:]
    if not sentence.endswith((".", "!", "?")):
        sentence += "."
    return _json({"error": sentence, "hint": None, **more}, status)


def _status_of(error: AtldldError, request: Request) -> HTTPStatus:
    if isinstance(error, OutputError):
        return HTTPStatus.INSUFFICIENT_STORAGE
    if isinstance(error, ImageNotFoundError | NotFoundError | OfflineError):
        return HTTPStatus.NOT_FOUND
    if isinstance(error, InvalidInputError):
        post = request.method == "POST"
        return HTTPStatus.UNPROCESSABLE_ENTITY if post else HTTPStatus.BAD_REQUEST
    return HTTPStatus.BAD_GATEWAY


def _picture(content: bytes, kind: str) -> Response:
    response = Response(content, content_type=f"image/{kind}")
    response.headers["Cache-Control"] = "private, max-age=3600"
    return response


def _with_charset(kind: str) -> str:
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind
