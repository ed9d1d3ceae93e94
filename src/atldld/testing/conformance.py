"""The tests that every source of images must pass.

`check_source` runs one case of the whole matrix (each fault, on metadata, on an image, on a mask,
passing and lasting) against anything that is asked like `atldld.fetch.Session`: ``dataset(id)``
returns an object with ``images``, and ``image(record, downsample, expression=...)`` an object whose
``path`` is a file. With pytest::

    import pytest
    from atldld.testing.conformance import check_source, source_cases

    @pytest.mark.parametrize("case", source_cases(), ids=str)
    def test_my_source_survives(case, tmp_path):
        check_source(
            lambda url, folder: MySource(url, cache=folder),
            Application(DemoArchive((909,))),
            909,
            case,
            folder=tmp_path,
        )

`check_image_source` checks that a source keeps the contract of `atldld.fetch.sources.ImageSource`.

Nothing here needs pytest.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from atldld.errors import AtldldError, BrokenImageError
from atldld.fetch.sources import ImageSource, Wanted
from atldld.testing.faults import (
    Fault,
    FaultPlan,
    Where,
    images,
    masks,
    queries,
    standard_faults,
)
from atldld.testing.server import FaultServer

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

__all__ = [
    "Case",
    "Fetcher",
    "check_image_source",
    "check_source",
    "source_cases",
]


class Fetcher(Protocol):
    """What `check_source` asks: the two methods of `atldld.fetch.Session` that it needs.

    If it has a method ``close``, that is called in the end.
    """

    def dataset(self, dataset_id: int, /) -> Any:
        """Return a data set: an object with ``images``, which compares equal to its like."""

    def image(self, image: Any, downsample: int = 0, /, *, expression: bool = False) -> Any:
        """Return an image: an object whose ``path`` is a file with the bytes of the service."""


MakeFetcher = Callable[[str, Path], Fetcher]
Target = Literal["metadata", "image", "mask"]


@dataclass(frozen=True)
class Case:
    """One case of the matrix.

    Attributes
    ----------
    name : str
        What the fault is called.
    fault : Fault
        What happens.
    target : {"metadata", "image", "mask"}
        To which requests.
    lasting : bool
        Whether it happens at every try, or at the first only.
    """

    name: str
    fault: Fault
    target: Target
    lasting: bool

    def __str__(self) -> str:
        return f"{self.target}-{self.name}-{'lasting' if self.lasting else 'passing'}"


def source_cases(
    faults: Mapping[str, Fault] | None = None,
    *,
    targets: Iterable[Target] = ("metadata", "image", "mask"),
) -> list[Case]:
    """Return the cases of the matrix, each of which `check_source` can run.

    Parameters
    ----------
    faults : mapping of str to Fault, optional
        Those of `standard_faults` by default.
    targets : iterable of str
        Leave out what the source does not offer.
    """
    faults = standard_faults() if faults is None else faults
    return [
        Case(name, fault, target, lasting)
        for target in targets
        for name, fault in faults.items()
        if (fault.metadata if target == "metadata" else fault.image)
        for lasting in (False, True)
    ]


def check_source(
    make_source: MakeFetcher,
    application: WSGIApplication,
    dataset_id: int,
    case: Case,
    *,
    folder: Path,
    downsample: int = 4,
    count: int = 3,
    errors: tuple[type[Exception], ...] = (AtldldError,),
    within: float = 60.0,
    where: Mapping[Target, Callable[[int], Where]] | None = None,
) -> None:
    """Check that a source survives one fault.

    A fault that passes must not be noticed: the records and bytes are those of a run without it.
    One that lasts must end in an error (or, for rows that are missing, at least a warning) in
    time, must not keep the rest from being had, and must leave nothing behind: when it is over,
    the same folder gives the records and bytes of a run without it.

    Parameters
    ----------
    make_source : callable
        Takes the address of the service and a folder to keep things in; returns a `Fetcher`.
    application : WSGI application
        The good service, such as ``Application(DemoArchive((909,)))``.
    dataset_id : int
        A data set that it has.
    case : Case
        See `source_cases`.
    folder : pathlib.Path
        An empty folder.
    downsample : int
        The tier of the images that are asked for.
    count : int
        How many images are asked for, masks too.
    errors : tuple of exception types
        What the source may raise where a fault lasts.
    within : float
        Seconds that the faulty run may last.
    where : mapping of str to callable, optional
        For a source that asks otherwise than the service is asked: what chooses the requests of a
        target, given the image that is to fail.

    Raises
    ------
    AssertionError
        If it does not survive.
    """
    with FaultServer(application) as server:

        def run(name: str) -> tuple[dict[str, object], dict[str, Exception]]:
            with _closing(make_source(server.url, folder / name)) as source:
                return _ask_for_all(source, dataset_id, downsample, count, case, errors)

        truth, problems = run("undisturbed")
        assert not problems, f"without any fault: {problems}"
        ids = [name.partition(" ")[2] for name in truth if name.startswith("image ")]
        chosen = int(ids[len(ids) // 2])
        choose = {"metadata": lambda _: queries(), "image": images, "mask": masks, **(where or {})}
        meant = choose[case.target](chosen)
        server.use(FaultPlan(case.fault, meant, None if case.lasting else 1))
        begun = time.monotonic()
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            found, problems = run("disturbed")
        elapsed = time.monotonic() - begun
        assert elapsed < within, f"{case}: it lasted {elapsed:.1f} s"
        if case.fault.harmless or not case.lasting:
            assert not problems, f"{case}: {problems}"
            _compare(found, truth, case)
        elif case.target == "metadata":
            assert problems or warned or found == truth, f"{case}: neither an error nor a warning"
        else:
            assert set(problems) == {f"{case.target} {chosen}"}, f"{case}: {problems or 'no error'}"
            rest = {name: value for name, value in truth.items() if name not in problems}
            _compare(found, rest, case)
        server.use()
        found, problems = run("disturbed")
        assert not problems, f"{case}: after it was over: {problems}"
        _compare(found, truth, case)


def _ask_for_all(
    source: Fetcher,
    dataset_id: int,
    downsample: int,
    count: int,
    case: Case,
    errors: tuple[type[Exception], ...],
) -> tuple[dict[str, object], dict[str, Exception]]:
    """Return what could be had and what could not, by name."""
    found: dict[str, object] = {}
    problems: dict[str, Exception] = {}
    try:
        found["metadata"] = dataset = source.dataset(dataset_id)
    except errors as error:
        return found, {"metadata": error}
    for image in dataset.images[:count]:
        for kind in ("image", "mask"):
            if kind == "mask" and case.target != "mask":
                continue
            try:
                got = source.image(image, downsample, expression=kind == "mask")
                found[f"{kind} {image.id}"] = Path(got.path).read_bytes()
            except errors as error:
                problems[f"{kind} {image.id}"] = error
    return found, problems


def _compare(found: Mapping[str, object], truth: Mapping[str, object], case: Case) -> None:
    different = [name for name in truth if found.get(name) != truth[name]]
    different += [name for name in found if name not in truth]
    assert not different, f"{case}: not as without the fault: {', '.join(different)}"


@contextlib.contextmanager
def _closing(source: Fetcher) -> Iterator[Fetcher]:
    try:
        yield source
    finally:
        close = getattr(source, "close", None)
        if close is not None:
            close()


# ---- the contract of an image source


def check_image_source(
    source: ImageSource, held: Mapping[Wanted, bytes], lacking: Iterable[Wanted] = ()
) -> None:
    """Check that an image source does what `ImageSource` says.

    Parameters
    ----------
    source : ImageSource
        It is closed in the end.
    held : mapping of Wanted to bytes
        Images that it has, and their JPEGs.
    lacking : iterable of Wanted
        Images that it does not have.

    Raises
    ------
    AssertionError
        If it does something else.
    """
    with contextlib.closing(source):
        assert source.name, "it has no name"
        for wanted, content in held.items():
            address = source.address(wanted)
            assert "://" in address, f"{address!r} is no address"
            assert _written_by(source, wanted) == content, f"{wanted}: other bytes"
            _check_refusal(source, wanted)
        for wanted in lacking:
            found = _written_by(source, wanted)
            assert found is None, f"{wanted}: the source says that it is there"
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda wanted: _written_by(source, wanted), [*held] * 4))
        assert together == [*held.values()] * 4, "other bytes when asked from several threads"
        with contextlib.closing(pickle.loads(pickle.dumps(source))) as unpickled:
            for wanted, content in held.items():
                assert _written_by(unpickled, wanted) == content, f"{wanted}: lost by pickling"


def _written_by(
    source: ImageSource, wanted: Wanted, check: Callable[[], object] = lambda: None
) -> bytes | None:
    file = io.BytesIO()
    return None if source.fetch(wanted, file, check) is None else file.getvalue()


def _check_refusal(source: ImageSource, wanted: Wanted) -> None:
    """Check that what is no good is not passed off as good, if it is checked at all."""
    refused = []

    def refuse() -> None:
        refused.append(wanted)
        raise BrokenImageError("It is no good.", tries=1)

    try:
        _written_by(source, wanted, refuse)
    except BrokenImageError:
        return
    assert not refused, f"{wanted}: it was refused, and no error was raised"
