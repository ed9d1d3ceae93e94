"""What the doctor says of this machine, with nothing asked: settings, secrets, the cache.

The kind of fault: a password on the screen, a damaged cache that is found well, a setting whose
source is told wrongly, a diagnosis that a bad setting ends.
"""

import json
import os
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner

from atldld.cli import app
from atldld.cli.results import envelope_schema
from atldld.doctor import CONTRACT_CHECKS, diagnose, machine
from atldld.fetch.cache import Cache
from atldld.fetch.locks import locked
from atldld.settings import Settings


def offline(**settings):
    return diagnose(Settings(offline=True, **settings))


@pytest.fixture
def run(monkeypatch):
    def asked(*words, **environ):
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        return CliRunner().invoke(app, ["doctor", *map(str, words)])

    return asked


def found_by(done):
    return json.loads(done.stdout)["result"]


def test_offline_nothing_is_asked(tmp_path):
    found = offline(cache_dir=tmp_path)
    assert found.healthy
    assert found.offline
    assert found.bytes == 0
    asked = [one for one in found.checks if one.name in CONTRACT_CHECKS]
    assert {one.status for one in asked} == {"skipped"}
    assert {"python", "package", "libraries", "extras", "cache.place"} <= {
        one.name for one in found.checks
    }


def test_the_screen_has_eighty_columns(run, tmp_path):
    done = run("--offline", COLUMNS="80")
    assert done.exit_code == 0, done.output
    # what cannot be broken is a path
    assert all(len(line) <= 80 for line in done.stdout.splitlines()), done.stdout


def test_sources_of_settings(run, tmp_path):
    def told(name, *words, **environ):
        (one,) = [
            check
            for check in found_by(run("--offline", "--json", *words, **environ))["checks"]
            if check["name"] == name
        ]
        return one["found"]

    assert "from ATLDLD_API_URL" in told("api_url")
    assert "not the Allen Institute's" in told("api_url")
    assert "the API's host" in told("download_url")
    assert "given here" in told("api_url", "--api-url", "https://mirror.example")
    assert "mirror.example" in told("api_url", "--api-url", "https://mirror.example")
    assert "from ATLDLD_CACHE_DIR" in told("cache_dir")
    assert "given here" in told("cache_dir", "--cache-dir", tmp_path / "other")
    assert told("strict") == "off (by default)"
    assert told("strict", ATLDLD_STRICT="1") == "on (from ATLDLD_STRICT)"
    assert "by default" in told("api_url", ATLDLD_API_URL="")


def test_no_secret_is_shown(run):
    secret = "swordfish"
    done = run(
        "--offline",
        "--json",
        ATLDLD_API_URL=f"https://me:{secret}@mirror.example",
        HTTPS_PROXY=f"http://me:{secret}@proxy.example:8080",
        ALL_PROXY=f"socks5://me:{secret}@proxy.example",
    )
    assert secret not in done.output
    assert "mirror.example" in done.stdout
    assert "proxy.example" in done.stdout
    assert "1 logins (not shown)" in done.stdout
    bad = run("--offline", ATLDLD_API_URL=f"https://me:{secret}@mir ror?token={secret}")
    assert secret not in bad.output


def test_settings_that_make_no_sense_are_a_finding(run):
    done = run("--json", ATLDLD_API_URL="nonsense")
    assert done.exit_code == 2
    found = found_by(done)
    jsonschema.validate(json.loads(done.stdout), envelope_schema("doctor"))
    failed = [one for one in found["checks"] if one["status"] == "fails"]
    assert [one["name"] for one in failed] == ["settings"]
    assert "nonsense" in failed[0]["found"]
    assert found["service"] is None


def test_a_misspelt_variable(run):
    done = run("--offline", "--json", ATLDLD_CACHEDIR="/x")
    assert done.exit_code == 1
    (odd,) = [one for one in found_by(done)["checks"] if one["name"] == "environment"]
    assert odd["status"] == "differs"
    assert "ATLDLD_CACHEDIR" in odd["found"]
    assert "ATLDLD_CACHE_DIR" in odd["remedy"]


def test_a_service_that_is_away(run):
    """The port of the environment refuses; the rest is not waited for."""
    done = run("--json")
    assert done.exit_code == 4
    checks = {one["name"]: one for one in found_by(done)["checks"]}
    assert checks["api.connection"]["status"] == "fails"
    assert checks["rma.dataset"]["status"] == "skipped"
    assert "api.connection" in checks["rma.dataset"]["found"]


# ---- the cache


def test_a_damaged_cache(session, tmp_path, run):
    dataset = session.dataset(909)
    file = session.image(dataset.images[0], 4)
    cache = session.cache
    good = machine.cache_health(cache)
    assert good.status == "pass"
    assert "all 2 read again, sound" in good.found
    content = bytearray(file.path.read_bytes())
    content[len(content) // 2] ^= 1
    file.path.write_bytes(content)
    bad = machine.cache_health(cache)
    assert bad.status == "fails"
    assert "its bytes have changed" in bad.found
    assert "--repair" in (bad.remedy or "")
    # as a command: another code than that of the service
    done = run("--offline", "--json", ATLDLD_API_URL="http://demo.invalid")
    assert done.exit_code == 6


def test_a_cache_that_is_none(tmp_path, run):
    (tmp_path / "file").write_text("x")
    done = run("--offline", "--json", ATLDLD_CACHE_DIR=str(tmp_path / "file" / "cache"))
    assert done.exit_code == 6
    failed = [one["name"] for one in found_by(done)["checks"] if one["status"] == "fails"]
    assert "cache.place" in failed


def test_a_newer_cache(tmp_path):
    (tmp_path / "atldld-archive.json").write_text('{"format": "atldld-archive", "version": 9}')
    found = offline(cache_dir=tmp_path, api_url="https://api.brain-map.org")
    assert found["cache.place"].status == "fails"
    assert "does not know" in found["cache.place"].found


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_cache_that_cannot_be_written(tmp_path):
    tmp_path.chmod(0o500)
    try:
        assert machine.cache_place(Cache(tmp_path)).status == "fails"
    finally:
        tmp_path.chmod(0o700)


def test_locks(tmp_path):
    cache = Cache(tmp_path)
    assert machine.cache_locks(cache).found == "Locks work; none is held."
    with locked(tmp_path / "locks" / "catalogue.lock", "The catalogue"):
        held = machine.cache_locks(cache)
    assert held.status == "pass"
    assert "1 are held now, by an update of the catalogue" in held.found


def test_nothing_is_left_in_the_cache(tmp_path):
    offline(cache_dir=tmp_path, api_url="https://api.brain-map.org")
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert left == []


def test_little_space(tmp_path, monkeypatch):
    class Usage:
        free, total = 1_000_000, 10**9

    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage)
    found = machine.cache_space(Cache(tmp_path))
    assert found.status == "fails"


# ---- libraries


def test_missing_and_old_libraries(monkeypatch):
    from importlib import metadata

    wanted = [
        "httpx[socks]>=0.27", "numpy>=1.26", "zarr>=3.0; extra == 'zarr'",
        "nosuchthing>=1; extra == 'plot'", "numpy>=999; extra == 'volume'",
    ]  # fmt: skip
    monkeypatch.setattr(metadata, "requires", lambda _: wanted)
    assert machine.libraries().status == "pass"
    extras = machine.extras()
    assert extras.status == "differs"
    assert "older than 999" in extras.found
    monkeypatch.setattr(metadata, "requires", lambda _: ["nosuchthing>=2"])
    missing = machine.libraries()
    assert missing.status == "fails"
    assert "nosuchthing is missing" in missing.found


@pytest.mark.parametrize(
    ("older", "newer"),
    [("1.9", "1.10"), ("2.0.0", "2.0.1"), ("1.26.4", "2"), ("2.0rc1", "2.1")],
)
def test_versions_are_compared_by_number(older, newer):
    assert machine._numbers(older) < machine._numbers(newer)
    assert machine._numbers("2.0") == machine._numbers("2")


def test_the_library_is_where_it_is():
    assert str(Path(machine.__file__).parent.parent) in machine.package().found


def test_the_page_names_every_check():
    page = (Path(__file__).resolve().parents[2] / "docs" / "doctor.md").read_text("utf-8")
    for name in (*CONTRACT_CHECKS, "rate_limit"):
        group = f"{name.partition('.')[0]}.…"
        assert f"`{name}`" in page or f"`{group}`" in page, name
