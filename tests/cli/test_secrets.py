"""A password in an address is used, and told nowhere.

The kind: a secret that comes in with an address (of the service, of a store, of a proxy) and goes
out with whatever is built from the address.
"""

import base64
import json
import logging
import sys
import zipfile
from urllib.parse import quote

import pytest

from atldld.cli import main
from atldld.demo.archive import DemoArchive
from atldld.serve.app import Application
from atldld.testing.server import FaultServer

PASSWORD = "m4rk/er@x?#%"
WRITTEN = f"lab:{quote(PASSWORD, safe='')}"
IMAGE = 101321615
FORMS = {
    form
    for text in (PASSWORD, quote(PASSWORD, safe=""), "m4rk")
    for form in (
        text.encode(),
        *(base64.b64encode(bytes(k) + text.encode())[4:-4] for k in range(3) if len(text) > 8),
        base64.b64encode(f"lab:{PASSWORD}".encode()),
    )
}


class Guarded:
    """The archive, for those who know the password alone."""

    def __init__(self, application):
        self.application = application
        self.refused = 0

    def __call__(self, environ, start_response):
        told = environ.get("HTTP_AUTHORIZATION", "")
        if told != "Basic " + base64.b64encode(f"lab:{PASSWORD}".encode()).decode():
            self.refused += 1
            start_response("401 Unauthorized", [("Content-Length", "0")])
            return [b""]
        return self.application(environ, start_response)


@pytest.fixture(scope="module")
def guarded():
    application = Guarded(Application(DemoArchive((909,))))
    with FaultServer(application) as server:
        yield server, application


@pytest.fixture
def service(guarded, monkeypatch, tmp_path):
    """The address with the password; every log is on."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ATLDLD_API_URL")
    guarded[1].refused = 0
    return guarded[0].url.replace("://", f"://{WRITTEN}@")


@pytest.fixture
def run(monkeypatch, capfd, caplog):
    """Calls a command in this process; gives its status and what it has printed."""
    caplog.set_level(logging.DEBUG)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["atldld", *map(str, words)])
        status: int | str = 0
        try:
            main()
        except SystemExit as end:
            status = end.code or 0
        printed = capfd.readouterr()
        return status, printed.out + printed.err

    return call


def told_in(*texts, folder=None):
    """Where any form of the secret stands."""
    found: list[object] = [form for form in FORMS for text in texts if form in text.encode()]
    for path in folder.rglob("*") if folder else ():
        if path.is_file():
            contents = [path.read_bytes()]
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    contents += [archive.read(name) for name in archive.namelist()]
            found += [(path, form) for form in FORMS for data in contents if form in data]
    return found


COMMANDS: dict[str, list[object]] = {
    "download": ["download", "dataset", 909, "a", "--resolution", 200, "--fields"],
    "batch": ["download", "datasets", 909, "b", "--resolution", 200],
    "dry run": ["download", "datasets", 909, "c", "--resolution", 200, "--dry-run"],
    "images": ["download", "image", IMAGE, "d", "--downsample-img", 4],
    "info": ["dataset", "info", 909],
    "search": ["search", "dataset", "-g", "Demo"],
    "volume": ["volume", 909, "-o", "v.nii.gz", "--resolution", 200],
    "volumes": ["volume", "--datasets", "ids.txt", "-o", "vs", "--resolution", 200],
    "quantify": ["quantify", 909, "-o", "q.csv", "--resolution", 50, "--atlas-resolution", 100],
    "quality": ["quality", 909, "-o", "quality.json", "--no-atlas", "--resolution", 100],
    "grid": ["grid", 909, "-o", "e.nii.gz"],
    "report": ["report", 909, "-o", "r.html", "--resolution", 200, "--no-atlas", "--no-volume"],
    "quicknii": ["export", "quicknii", 909, "-o", "x/q.json", "--downsample-img", 4],
    "fields": ["export", "fields", 909, "f", "--resolution", 200],
    "sections": ["export", "sections", 909, "s", "--resolution", 200],
    "atlas": ["atlas", "fetch", "annotation", "--resolution", 100],
    "outlines": ["atlas", "outlines", 909, "-o", "o", "--resolution", 200],
    "plates": ["atlas", "plates"],
    "catalogue": ["catalogue", "update"],
    "catalogue info": ["catalogue", "info"],
    "cache info": ["cache", "info"],
    "verify": ["cache", "verify"],
    "exported": ["cache", "export", "cache.zip"],
    "unknown": ["dataset", "info", 12345],
}
FAILING = {"unknown"}


@pytest.mark.long
def test_a_password_in_the_address_stands_nowhere(service, guarded, run, caplog, tmp_path):
    """Every command that writes or prints; all are asked for a login, at each request."""
    (tmp_path / "ids.txt").write_text("909\n")
    for name, words in COMMANDS.items():
        status, printed = run(*words, "--api-url", service)
        assert status == (3 if name in FAILING else 0), (name, printed)
        assert not told_in(printed), name
    assert guarded[1].refused == 0
    assert not told_in(caplog.text, folder=tmp_path)
    address = guarded[0].url
    for kept in ("a/metadata.json", "r.html"):
        assert f"--api-url {address}" in (tmp_path / kept).read_text()
    assert json.loads((tmp_path / "a/metadata.json").read_text())["service"] == address


def test_the_cache_is_the_same_for_everyone(service, guarded, run, tmp_path):
    assert run("download", "image", IMAGE, "d", "--downsample-img", 4, "--api-url", service)[0] == 0
    words = ("download", "image", IMAGE, "e", "--downsample-img", 4, "--offline")
    assert run(*words, "--api-url", guarded[0].url)[0] == 0


@pytest.mark.parametrize("words", [("dataset", "info", 909), ("search", "dataset", "-g", "Demo")])
def test_a_wrong_password_is_one_sentence(words, service, guarded, run):
    status, printed = run(*words, "--api-url", service.replace("lab:", "lab:m4rk"))
    assert status == 4
    assert "401" in printed
    assert "user:password@host" in printed
    assert not told_in(printed)
    assert guarded[1].refused <= 2  # two questions at once, each once


@pytest.mark.parametrize(
    "address",
    [
        "http://u:m4rk@host?token=m4rk", "http://host/?token=m4rk", "http://host#m4rk",
        "http://u:m4/m4rk@host", "http://u:m4rk?@host", "u:m4rk@host", "http:/u:m4rk@host",
        "http://u:m4rk@", "http://u:m4rk@host:port", "http://u:m4rk", "ftp://u:m4rk@host",
        "http://u:m4rk @host", "http://u:m4rk@[::1", "http://u:m4rk@h\u2100st",
        "http://u:m@4@m4rk@host",
    ],
)  # fmt: skip
@pytest.mark.parametrize("variable", ["--api-url", "--download-url", "ATLDLD_API_URL"])
def test_an_address_that_is_none_keeps_its_secret(address, variable, run, monkeypatch):
    if variable.startswith("--"):
        status, printed = run("dataset", "info", 909, variable, address)
    else:
        monkeypatch.setenv(variable, address)
        status, printed = run("dataset", "info", 909)
    assert status == 2
    assert "ATLDLD_" in printed
    assert not told_in(printed)
