"""The program, its settings, its cache, and the way out: what needs no request."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from atldld.doctor.model import Finding
from atldld.errors import LockWarning
from atldld.fetch.cache import Cache
from atldld.settings import API_URL, BUCKET_URL, DOWNLOAD_URL, Settings, default_cache_dir
from atldld.support.addresses import shown_address, without_login

__all__ = [
    "cache_health",
    "cache_locks",
    "cache_place",
    "cache_space",
    "certificates",
    "environment",
    "extras",
    "libraries",
    "package",
    "proxies",
    "python",
    "setting",
]

LEAST_PYTHON = (3, 11)
LEAST_FREE = 500_000_000
LOOK_FOR = 4.0
"""Seconds that looking through the cache may take."""

VARIABLES = {
    "api_url": "ATLDLD_API_URL",
    "download_url": "ATLDLD_DOWNLOAD_URL",
    "cache_dir": "ATLDLD_CACHE_DIR",
    "offline": "ATLDLD_OFFLINE",
    "strict": "ATLDLD_STRICT",
    "bucket_url": "ATLDLD_BUCKET_URL",
    "source": "ATLDLD_SOURCE",
    "per_second": "ATLDLD_PER_SECOND",
    "per_day": "ATLDLD_PER_DAY",
}
_OTHER_VARIABLES = {"ATLDLD_TRACEBACK"}
_SECRET = re.compile(r"(?i)token|key|secret|pass|pwd|auth|credential")
_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*(?:>=\s*(?P<least>[\d.]+))?")


# ---- the program


def python() -> Finding:
    """Name the interpreter and the system."""
    found = (
        f"{platform.python_implementation()} {platform.python_version()} on "
        f"{platform.system() or sys.platform} {platform.machine()}, {os.cpu_count()} cores"
    )
    if sys.version_info < LEAST_PYTHON:
        wanted = ".".join(map(str, LEAST_PYTHON))
        return Finding("fails", found, f"Use Python {wanted} or newer.")
    return Finding("pass", found)


def package() -> Finding:
    """Name the version of the package, and where it is."""
    import atldld
    from atldld.support.provenance import version

    return Finding("pass", f"atldld {version()} in {Path(atldld.__file__).parent}")


def libraries() -> Finding:
    """Name the libraries that the package always needs, and their versions."""
    wanted = [text for text in metadata.requires("atldld") or () if "extra ==" not in text]
    here, problems = _versions(wanted)
    if problems:
        return Finding("fails", "; ".join(problems), "Install them: pip install -U atldld")
    return Finding("pass", ", ".join(here))


def extras() -> Finding:
    """Name the optional libraries, by the extra that brings them."""
    requires = metadata.requires("atldld") or ()
    by_extra: dict[str, list[str]] = {}
    for text in requires:
        found = re.search(r"extra == ['\"]([\w-]+)['\"]", text)
        own = text.partition(";")[0].strip()
        if found is not None and found[1] not in ("all", "dev") and not own.startswith("atldld"):
            by_extra.setdefault(found[1], []).append(own)
    there, missing, old = [], [], []
    for extra, texts in sorted(by_extra.items()):
        here, problems = _versions(texts)
        old += [problem for problem in problems if "older" in problem]
        if problems:
            missing.append(extra)
        else:
            there.append(f"{extra} ({', '.join(here)})")
    told = "; ".join(there) or "none"
    if missing:
        told += f". Not all there: {', '.join(missing)}"
    if old:
        return Finding("differs", "; ".join(old), f"pip install -U 'atldld[{','.join(missing)}]'")
    remedy = f"For those: pip install 'atldld[{','.join(missing)}]'" if missing else None
    return Finding("pass", told, remedy)


def _versions(requirements: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return names with versions, and what is missing or too old."""
    here, problems = [], []
    for text in requirements:
        found = _REQUIREMENT.match(text)
        if found is None:
            continue
        name, least = found["name"], found["least"]
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            problems.append(f"{name} is missing")
            continue
        if least and _numbers(version) < _numbers(least):
            problems.append(f"{name} {version} is older than {least}")
        here.append(f"{name} {version}")
    return here, problems


def _numbers(version: str) -> tuple[int, ...]:
    found = [int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:4]]
    while found and found[-1] == 0:
        found.pop()
    return tuple(found)


# ---- settings


def setting(name: str, settings: Settings, environ: Mapping[str, str], *, option: bool) -> Finding:
    """Say what a setting is, and where it comes from.

    Parameters
    ----------
    name : str
        Of an attribute of `Settings`.
    settings : Settings
        All of them.
    environ : mapping
        The environment.
    option : bool
        Whether it was given to a command, and does not stand in the environment.
    """
    value, api_url = getattr(settings, name), settings.api_url
    text = shown_address(str(value)) if name.endswith("url") else str(value)
    variable = VARIABLES[name]
    named = environ.get(variable, "").strip()
    usual = {"api_url": API_URL, "download_url": DOWNLOAD_URL, "bucket_url": BUCKET_URL}
    if not option and named and _means(name, named, value):
        source = f"from {variable}"
    elif not option and name == "cache_dir" and value == default_cache_dir():
        xdg = environ.get("XDG_CACHE_HOME", "").strip()
        source = "from XDG_CACHE_HOME" if xdg else "by default"
    elif not option and (value in (False, None, "", "auto") or value == usual.get(name)):
        source = "by default"
    elif not option and name == "download_url" and value == api_url:
        source = "the API's host"
    else:
        source = "given here"
    if isinstance(value, bool):
        text = "on" if value else "off"
    elif value is None:  # of the bounds of requests, which the host decides
        text = "as usual"
    elif value == "":
        text = "none"
    genuine = usual.get(name)
    whose = "" if genuine is None or text == genuine else "; not the Allen Institute's"
    return Finding("pass", f"{text} ({source}{whose})")


def _means(name: str, text: str, value: object) -> bool:
    """Whether a variable's text means a value."""
    if isinstance(value, bool):
        return value
    if isinstance(value, Path):
        with suppress(RuntimeError, OSError):
            return Path(text).expanduser().absolute() == value
        return False
    if value is None or isinstance(value, int | float):
        with suppress(ValueError):
            return float(text) == value
        return False
    with suppress(ValueError):
        return without_login(text.rstrip("/"))[0] == value
    return False


def environment(settings: Settings | None, environ: Mapping[str, str]) -> Finding:
    """Look for variables that seem to be settings, but are none; say whether there are logins."""
    known = {*VARIABLES.values(), *_OTHER_VARIABLES}
    odd = sorted(
        name
        for name in environ
        if name.startswith("ATLDLD_") and name not in known and environ[name].strip()
    )
    if odd:
        near = ", ".join(sorted(VARIABLES.values()))
        return Finding(
            "differs", f"{', '.join(odd)}: no setting of this name.", f"Settings are {near}."
        )
    logins = settings.logins if settings is not None else ()
    return Finding(
        "pass",
        f"No other ATLDLD_ variables; {len(logins)} logins (not shown)"
        if logins
        else "No other ATLDLD_ variables, no logins",
    )


# ---- the way out


def proxies(addresses: Iterable[str], environ: Mapping[str, str]) -> Finding:
    """Say through which proxies the hosts are asked; passwords are not shown."""
    from atldld.fetch.routes import proxy_for

    ways: dict[str, list[str]] = {}
    for address in addresses:
        proxy = proxy_for(address, None if environ is os.environ else environ)
        way = str(proxy) if proxy is not None else "straight"
        ways.setdefault(way, []).append(address.partition("://")[2])
    if list(ways) == ["straight"]:
        return Finding("pass", "All hosts are asked straight.")
    return Finding("pass", "; ".join(f"{', '.join(ways[way])}: {way}" for way in ways))


def certificates(environ: Mapping[str, str]) -> Finding:
    """Say which certificates are trusted."""
    from atldld.fetch.routes import CERTIFICATES, trusted

    named = {name: environ[name] for name in CERTIFICATES if environ.get(name)}
    count = trusted(None if environ is os.environ else environ).cert_store_stats()["x509_ca"]
    if not named:
        return Finding("pass", f"{count} authorities of certifi are trusted.")
    told = ", ".join(f"{name}={value}" for name, value in named.items())
    return Finding("pass", f"{count} authorities, of {told}, are trusted, and no others.")


# ---- the cache


def cache_place(cache: Cache) -> Finding:
    """Say where the cache is, and whether it can be read and written."""
    cache.check_folder()
    cache.check_version()
    if not cache.root.exists():
        above = next(one for one in cache.root.parents if one.exists())
        if not os.access(above, os.W_OK | os.X_OK):
            return Finding(
                "fails",
                f"{cache.root} is not there, and cannot be made: {above} is not writable.",
                "Choose another folder with ATLDLD_CACHE_DIR.",
            )
        return Finding("pass", f"{cache.root} (not there yet; it can be made)")
    probe = cache.root / f".doctor-{os.getpid()}.part"
    try:
        probe.write_bytes(b"")
    except OSError as error:
        return Finding(
            "fails",
            f"{cache.root} cannot be written: {error.strerror or error}.",
            "What is in it can be used offline; else choose another folder with ATLDLD_CACHE_DIR.",
        )
    finally:
        with suppress(OSError):
            probe.unlink()
    home = default_cache_dir() in (cache.root, *cache.root.parents)
    return Finding("pass", f"{cache.root}{'' if home else ' (not the usual place)'}")


def cache_health(cache: Cache) -> Finding:
    """Say how much is there, and whether a sample of it is what was checked when it came."""
    from atldld.fetch.upkeep import spot_check

    if not cache.root.exists():
        return Finding("pass", "Nothing is in it yet.")
    found = spot_check(cache, seconds=LOOK_FOR)
    looked = found.sound + len(found.damaged)
    held = f"{'' if found.listed else 'more than '}{found.files} files, {found.bytes / 1e6:.1f} MB"
    if found.damaged:
        first = found.damaged[0]
        return Finding(
            "fails",
            f"{held}; {len(found.damaged)} of {looked} that were read again are damaged, such as "
            f"{first.path.name}: {first.problem}.",
            "Mend it with `atldld cache verify --repair`.",
        )
    sample = f"all {looked}" if found.whole else f"a sample of {looked}"
    return Finding("pass", f"{held}; {sample} read again, sound" if looked else held)


def cache_space(cache: Cache) -> Finding:
    """Say how much space is free where the cache is."""
    place = next(one for one in (cache.root, *cache.root.parents) if one.exists())
    usage = shutil.disk_usage(place)
    found = f"{usage.free / 1e9:.1f} GB of {usage.total / 1e9:.1f} GB are free"
    if usage.free < LEAST_FREE:
        return Finding(
            "fails",
            found,
            "A data set takes 50 MB to 5 GB. Make room, or run "
            "`atldld cache prune --older-than 90d`.",
        )
    return Finding("pass", found)


def cache_locks(cache: Cache) -> Finding:
    """Say whether the file system has locks, and whether any are held."""
    from atldld.fetch.locks import Taken, locked

    folder = cache.root / "locks"
    if not cache.root.exists():
        return Finding("skipped", "There is no cache yet.")
    held: list[str] = []
    works = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LockWarning)
        for path in [folder / "doctor.lock", *sorted(folder.glob("*.lock"))]:
            try:
                with locked(path, "A check", wait=False) as own:
                    works = works and own
            except Taken:
                held.append(path.stem)
            except OSError as error:
                return Finding(
                    "fails",
                    f"{path} cannot be made: {error.strerror or error}.",
                    "Choose another folder with ATLDLD_CACHE_DIR.",
                )
            if not works:
                break
    with suppress(OSError):
        (folder / "doctor.lock").unlink()
    if not works:
        return Finding(
            "differs",
            "The file system has no locks.",
            "Nothing is damaged, but processes at once may fetch the same twice; a local disk "
            "has locks.",
        )
    if held:
        what = "an update of the catalogue" if "catalogue" in held else "another process"
        return Finding("pass", f"Locks work; {len(held)} are held now, by {what}.")
    return Finding("pass", "Locks work; none is held.")
