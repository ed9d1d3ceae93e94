"""All checks, one after another or at once, within one budget."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from atldld.doctor import contract, hosts, machine, questions
from atldld.doctor.asking import LARGEST, LONGEST, PATIENCE, Asker, Budget, SpentError
from atldld.doctor.contract import Asked
from atldld.doctor.model import Check, Diagnosis, Finding
from atldld.errors import AtldldError, OfflineError
from atldld.fetch.cache import Cache
from atldld.fetch.client import Client
from atldld.fetch.roots import cache_root
from atldld.fetch.session import Session
from atldld.settings import API_URL, Settings

__all__ = ["CONTRACT_CHECKS", "diagnose"]

AT_ONCE = 4  # checks; few requests at once are kind to the service

Progress = Callable[[int, int, str], None]


@dataclasses.dataclass(frozen=True)
class _Inquiry:
    """A check that asks a host."""

    name: str
    look: Callable[[Asked], Finding]
    host: str = "api"
    part: str = "contract"


_INQUIRIES = (
    _Inquiry("rma.dataset", contract.dataset),
    _Inquiry("rma.images", contract.images),
    _Inquiry("rma.paging", contract.paging),
    _Inquiry("rma.order", contract.order),
    _Inquiry("rma.only", contract.only),
    _Inquiry("rma.in", contract.among),
    _Inquiry("rma.empty", contract.empty),
    _Inquiry("rma.total", contract.total),
    _Inquiry("rma.search", contract.searched),
    _Inquiry("rma.gene", contract.gene),
    _Inquiry("rma.like", contract.gene_alike),
    _Inquiry("rma.specimen", contract.specimen),
    _Inquiry("rma.structure", contract.structure),
    _Inquiry("rma.unionize", contract.unionize),
    _Inquiry("rma.centres", contract.centres),
    _Inquiry("rma.plates", contract.plates),
    _Inquiry("rma.atlas", contract.atlas_dataset),
    _Inquiry("image", contract.image),
    _Inquiry("image.mask", contract.mask),
    _Inquiry("sync.image_to_reference", contract.image_to_reference),
    _Inquiry("sync.reference_to_image", contract.reference_to_image),
    _Inquiry("sync.image_to_image", contract.image_to_image),
    _Inquiry("sync.image_to_image_2d", contract.image_to_image_2d),
    _Inquiry("sync.structure_to_image", contract.structure_to_image),
    _Inquiry("sync.image_to_atlas", contract.image_to_atlas),
    _Inquiry("plate", contract.plate),
    _Inquiry("grid", contract.grid),
    _Inquiry("graph", contract.graph),
    _Inquiry("archive.template", contract.template, "archive"),
    _Inquiry("archive.annotation", contract.annotation, "archive"),
    _Inquiry("archive.grid_annotation", contract.grid_annotation, "archive"),
    _Inquiry("bucket.record", contract.bucket_record, "bucket"),
    _Inquiry("bucket.slide", contract.bucket_slide, "bucket"),
    _Inquiry("errors", questions.errors, part="questions"),
    _Inquiry("beyond_last_tier", questions.beyond_last_tier, part="questions"),
    _Inquiry("region_outside", questions.region_outside, part="questions"),
    _Inquiry("missing_mask", questions.missing_mask, part="questions"),
    _Inquiry("posting", questions.posting, part="questions"),
    _Inquiry("flip", questions.flip, part="questions"),
    _Inquiry("tie", questions.tie, part="questions"),
    _Inquiry("headers", questions.headers, part="questions"),
    _Inquiry("pyramid", questions.pyramid, part="questions"),
    _Inquiry("space_names", questions.space_names, part="questions"),
    _Inquiry("quotes", questions.quotes, part="questions"),
    _Inquiry("volume_sizes", questions.volume_sizes, "archive", "questions"),
    _Inquiry("row_cap", questions.row_cap, part="questions"),
)

CONTRACT_CHECKS = tuple(inquiry.name for inquiry in _INQUIRIES)
"""Names of all checks that ask a host for something, in their order."""


def diagnose(
    settings: Settings | AtldldError | None = None,
    *,
    session: Session | None = None,
    offline: bool = False,
    given: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    largest: int = LARGEST,
    longest: float = LONGEST,
    patience: float = PATIENCE,
    progress: Progress | None = None,
) -> Diagnosis:
    """Look at this machine, the way to the service, and what the service answers.

    Nothing is written but an empty file, which is removed again, and nothing is kept.

    Parameters
    ----------
    settings : Settings or AtldldError, optional
        Where to ask and where to keep; from the environment by default. An error says why there
        are none: that is a finding, too.
    session : Session, optional
        In place of `settings`: its settings, and its way to the service.
    offline : bool
        Look at this machine alone.
    given : mapping, optional
        Which settings were given to a command, by name.
    environ : mapping, optional
        The environment; the process's own by default.
    largest : int
        Bytes that may come from the network.
    longest : float
        Seconds after which nothing more is asked.
    patience : float
        Seconds that one request may take.
    progress : callable, optional
        Takes how many checks are done, how many there are, and the last one's name.

    Returns
    -------
    Diagnosis
        Checks in a fixed order. No finding raises an error.
    """
    began = time.monotonic()
    env = os.environ if environ is None else environ
    if session is not None:
        settings = session.settings
    elif settings is None:
        try:
            settings = Settings.from_environment(env)
        except AtldldError as error:
            settings = error
    known = settings if isinstance(settings, Settings) else None
    offline = offline or (known is not None and known.offline)
    checks = list(_machine(settings, env, given or {}))
    budget = Budget(largest, longest, patience)
    synthetic = None
    if offline or known is None:
        why = "The settings cannot be used." if known is None else "Offline: nothing is asked."
        checks += [Check(one.part, one.name, "skipped", why) for one in _INQUIRIES]
    else:
        own = session.client if session is not None else Client(known.api_url, logins=known.logins)
        try:
            bucket = known.bucket_url or ""
            ask = Asker(own, budget, api=known.api_url, archive=known.download_url, bucket=bucket)
            more, synthetic = _asked(ask, progress)
            checks += more
        finally:
            if session is None:
                own.close()
    return Diagnosis(
        checks=tuple(checks),
        service=known.api_url if known is not None else None,
        synthetic=synthetic,
        offline=offline,
        bytes=budget.taken,
        seconds=time.monotonic() - began,
    )


def _machine(
    settings: Settings | AtldldError, env: Mapping[str, str], given: Mapping[str, Any]
) -> Iterator[Check]:
    for name, look in (
        ("python", machine.python),
        ("package", machine.package),
        ("libraries", machine.libraries),
        ("extras", machine.extras),
    ):
        yield _checked("program", name, look)
    if isinstance(settings, AtldldError):
        yield Check("settings", "settings", "fails", settings.message, settings.hint)
        yield _checked("settings", "environment", lambda: machine.environment(None, env))
        yield _checked("settings", "certificates", lambda: machine.certificates(env))
        return
    for name in machine.VARIABLES:
        option = _is_option(name, given, env)
        yield _checked(
            "settings",
            name,
            lambda: machine.setting(name, settings, env, option=option),  # noqa: B023
        )
    yield _checked("settings", "environment", lambda: machine.environment(settings, env))
    hosts_ = list(dict.fromkeys((settings.api_url, settings.download_url)))
    yield _checked("settings", "proxies", lambda: machine.proxies(hosts_, env))
    yield _checked("settings", "certificates", lambda: machine.certificates(env))
    cache = Cache(cache_root(settings), allens=settings.api_url == API_URL)
    for name, see in (
        ("place", machine.cache_place),
        ("health", machine.cache_health),
        ("space", machine.cache_space),
        ("locks", machine.cache_locks),
    ):
        yield _checked("cache", f"cache.{name}", lambda: see(cache))  # noqa: B023


def _is_option(name: str, given: Mapping[str, Any], env: Mapping[str, str]) -> bool:
    """Whether a value was given that does not stand in the environment."""
    value = given.get(name)
    if value is None or value is False:
        return False
    from_env = env.get(machine.VARIABLES[name], "").strip()
    return not from_env or (value is not True and str(value) != from_env)


def _asked(ask: Asker, progress: Progress | None) -> tuple[list[Check], bool | None]:
    """Ask all hosts; return the checks, and whether the service's data are made up."""
    began = time.monotonic()
    checks, away = _ways(ask)
    synthetic, why_not = None, away.get("api")
    if why_not is None:
        try:
            synthetic = contract.is_synthetic(ask.apart())
        except AtldldError:
            synthetic = False  # what is wrong with it is said by the checks themselves
        except SpentError as error:
            why_not = str(error)
    statuses: list[int] = []
    limits: dict[str, str] = {}
    # what the archive holds is made up if it is the service's own
    same = ask.hosts["archive"] == ask.hosts["api"]
    done = 0

    def look(inquiry: _Inquiry) -> Check:
        nonlocal done
        own = ask.apart()
        reason = away.get(inquiry.host)
        if inquiry.host == "api" and reason is None:
            reason = why_not
        if reason is not None:
            check = Check(inquiry.part, inquiry.name, "skipped", reason)
        else:
            made_up = bool(synthetic) and (inquiry.host != "archive" or same)
            check = _checked(
                inquiry.part, inquiry.name, lambda: inquiry.look(Asked(own, made_up)), own
            )
        statuses.extend(own.statuses)
        limits.update(own.limits)
        done += 1
        if progress is not None:
            progress(done, len(_INQUIRIES), inquiry.name)
        return check

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="doctor") as pool:
        checks += pool.map(look, _INQUIRIES)
    seconds = time.monotonic() - began
    if why_not is None:
        checks.append(
            _checked(
                "questions", "rate_limit", lambda: questions.rate_limit(statuses, limits, seconds)
            )
        )
    return checks, synthetic


def _ways(ask: Asker) -> tuple[list[Check], dict[str, str]]:
    """Look at the way to each host; return checks, and why a host is not asked any further."""
    checks: list[Check] = []
    away: dict[str, str] = {}
    if not ask.hosts["bucket"]:
        away["bucket"] = "The bucket belongs to the Allen Institute's service, not to this one."
    addresses = {host: address for host, address in ask.hosts.items() if address}
    for host, address in addresses.items():
        if host == "archive" and address == ask.hosts["api"]:
            if "api" in away:
                away["archive"] = away["api"]
            continue
        steps: list[tuple[str, Callable[[], Finding]]] = []
        if not ask.client.in_process:
            steps = [
                ("name", lambda: hosts.name(address)),  # noqa: B023
                ("connection", lambda: hosts.connection(address)),  # noqa: B023
            ]
        own = ask.apart()
        steps.append(("latency", lambda: hosts.latency(own, host)))  # type: ignore[arg-type]  # noqa: B023
        for step, look in steps:
            if host in away:
                checks.append(Check("hosts", f"{host}.{step}", "skipped", away[host]))
                continue
            check = _checked("hosts", f"{host}.{step}", look, own)
            checks.append(check)
            if check.status == "fails":
                away[host] = f"{address.partition('://')[2]} cannot be asked; see {host}.{step}."
    return checks, away


def _checked(part: str, name: str, look: Callable[[], Finding], own: Asker | None = None) -> Check:
    """Carry out a check: whatever happens becomes a finding."""
    began, before = time.monotonic(), own.bytes if own is not None else 0
    try:
        found = look()
    except SpentError as error:
        found = Finding("skipped", f"Left out: {error}.")
    except OfflineError as error:
        found = Finding("skipped", error.message)
    except AtldldError as error:
        if part == "questions":  # nothing rests on the answer
            found = Finding("skipped", f"No answer: {error.message}")
        else:
            found = Finding("fails", error.message, error.hint or contract.REPORT)
    except Exception as error:  # a diagnosis that breaks off helps nobody
        found = Finding(
            "fails",
            f"What came breaks the check itself ({type(error).__name__}: {error!s:.100}).",
            contract.REPORT,
        )
    return Check(
        part=part,
        name=name,
        bytes=(own.bytes if own is not None else 0) - before,
        seconds=time.monotonic() - began,
        **{field.name: getattr(found, field.name) for field in dataclasses.fields(Finding)},
    )
