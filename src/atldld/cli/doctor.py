"""`atldld doctor`: is all well with this machine, the network and the service."""

import os
from itertools import groupby
from typing import TYPE_CHECKING, Any

from atldld.cli.codes import code_of
from atldld.cli.declare import Exit
from atldld.cli.manner import result
from atldld.cli.options import answer, knows_service, progress_bar, say, settings_of, table
from atldld.errors import AtldldError, CacheError, InvalidInputError, ServiceError
from atldld.settings import Settings

if TYPE_CHECKING:
    from atldld.doctor import Check, Diagnosis

__all__ = ["doctor"]


@knows_service
def doctor(chosen: dict[str, Any]) -> None:
    """Check this machine, the network and the service.

    Asks for less than 2 MB in less than a minute; with --offline for nothing. A problem report is
    best sent with what `atldld doctor --json` prints: passwords and tokens are not in it.
    """
    from atldld.doctor import diagnose
    from atldld.doctor.model import PARTS

    settings: Settings | AtldldError
    try:
        settings = settings_of(chosen)
    except AtldldError as error:
        settings = error
    with progress_bar("Looking") as progress:
        found = diagnose(settings, given=chosen, environ=os.environ, progress=progress)
    counts = {
        "passed": found.count("pass"),
        "differing": found.count("differs"),
        "failed": found.count("fails"),
        "skipped": found.count("skipped"),
    }
    result(
        {
            "healthy": found.healthy,
            **counts,
            "service": found.service,
            "synthetic": found.synthetic,
            "offline": found.offline,
            "bytes": found.bytes,
            "seconds": round(found.seconds, 3),
            "checks": found.checks,
        }
    )
    for number, (part, checks) in enumerate(groupby(found.checks, key=lambda check: check.part)):
        if number:
            answer("")
        answer(f"{PARTS[part]}:")
        listed = list(checks)
        reasons = {check.found if check.status == "skipped" else None for check in listed}
        if len(reasons) == 1 and None not in reasons:
            answer(f"{len(listed)} checks are skipped. {listed[0].found}")
            continue
        table(
            {"check": "left", "": "left", "what was found": "left", "kB": "right", "s": "right"},
            [_row(check) for check in listed],
        )
    answer("")
    say(_summary(found))
    code = _status(found)
    if code:
        raise Exit(code)


_SHORT = {"pass": "pass", "differs": "DIFFERS", "fails": "FAILS", "skipped": "–"}


def _row(check: "Check") -> list[object]:
    found = check.found
    if check.remedy:
        found = f"{found} → {check.remedy}"
    return [
        check.name,
        _SHORT[check.status],
        found,
        f"{check.bytes / 1e3:.1f}" if check.bytes else "",
        f"{check.seconds:.1f}" if check.seconds >= 0.05 else "",
    ]


def _summary(found: "Diagnosis") -> str:
    made_up = "; its data are made up" if found.synthetic else ""
    asked = (
        ""
        if found.synthetic is None
        else f" {found.bytes / 1e6:.2f} MB from {found.service}{made_up}."
    )
    return (
        f"{found.count('pass')} checks pass, {found.count('differs')} differ, "
        f"{found.count('fails')} fail, {found.count('skipped')} are skipped, in "
        f"{found.seconds:.0f} s.{asked}"
    )


def _status(found: "Diagnosis") -> int:
    """Return the status that the worst finding has, as other commands would end on it."""
    failed = {check.part for check in found.checks if check.status == "fails"}
    if "settings" in failed:
        return code_of(InvalidInputError(""))
    if "cache" in failed:
        return code_of(CacheError(""))
    if "hosts" in failed:
        return code_of(ServiceError(""))
    return 0 if found.healthy else 1
