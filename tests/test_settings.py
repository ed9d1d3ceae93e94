import os
import subprocess
import sys
from pathlib import Path

import pytest

from atldld.errors import CacheError, InvalidInputError
from atldld.fetch.roots import cache_root
from atldld.fetch.session import Session
from atldld.settings import API_URL, Settings, default_cache_dir


def test_defaults(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    settings = Settings.from_environment({})
    assert settings.api_url == "https://api.brain-map.org"
    assert settings.download_url == "https://download.alleninstitute.org"
    assert settings.cache_dir.name == "atldld"
    assert not settings.offline


def test_environment_and_arguments():
    env = {
        "ATLDLD_API_URL": "http://localhost:1/",
        "ATLDLD_DOWNLOAD_URL": "http://localhost:2",
        "ATLDLD_CACHE_DIR": "/somewhere",
        "ATLDLD_OFFLINE": "1",
    }
    settings = Settings.from_environment(env)
    assert settings == Settings(
        "http://localhost:1", "http://localhost:2", Path("/somewhere"), True
    )
    chosen = Settings.from_environment(
        env, api_url="http://h", download_url="http://d", cache_dir="c", offline=False
    )
    assert chosen == Settings("http://h", "http://d", Path("c"), False)


def test_another_service_is_asked_for_the_archive_too():
    assert Settings.from_environment({"ATLDLD_API_URL": "http://s"}).download_url == "http://s"
    assert Settings.from_environment({}, api_url="http://s").download_url == "http://s"
    own = Settings.from_environment({"ATLDLD_API_URL": "https://api.brain-map.org/"})
    assert own.download_url == "https://download.alleninstitute.org"


def test_xdg(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "atldld"


@pytest.mark.parametrize("url", ["api.brain-map.org", "ftp://x", "http://", "http://h/?a=b"])
def test_bad_address(url):
    with pytest.raises(InvalidInputError, match="ATLDLD_API_URL"):
        Settings(api_url=url)


def test_other_services_have_a_cache_of_their_own(tmp_path):
    assert cache_root(Settings(cache_dir=tmp_path)) == tmp_path
    assert cache_root(Settings(api_url=API_URL + "/", cache_dir=tmp_path)) == tmp_path
    roots = {
        cache_root(Settings(api_url=url, cache_dir=tmp_path))
        for url in ("http://127.0.0.1:8000", "http://127.0.0.1:8001", "http://u:p@../../x")
    }
    assert len(roots) == 3
    assert all(root.parent == tmp_path / "other-services" for root in roots)


BAD_URLS = [
    *("http://[::1", "http://[::1]x", "http://h:99999", "http://h:0", "http://h:-1", "http://h:x"),
    *("http://:80", "http://a b", "http://h\n", "http://h\nx", "http://h\0", "http://h#a"),
    *("http://999.1.2.3", "http://" + "ä" * 80, "//h", "http:/h", "file:///etc", "-", "http://["),
]


@pytest.mark.parametrize("name", ["ATLDLD_API_URL", "ATLDLD_DOWNLOAD_URL"])
@pytest.mark.parametrize("url", [url for url in BAD_URLS if url.strip() == url])
def test_addresses_that_make_no_sense(name, url):
    """The kind: a value of a setting that some library chokes on becomes one sentence naming it."""
    with pytest.raises(InvalidInputError, match=name):
        Settings.from_environment({name: url})


@pytest.mark.parametrize(
    "url",
    ["http://[::1]:80", "https://h.org:65535/", "http://127.0.0.1", " http://h "],
)
def test_addresses_that_do(url):
    assert Settings(api_url=url).api_url == url.strip().rstrip("/")


@pytest.mark.parametrize("folder", ["~nosuchuser/x", "a\0b", "/tmp/\0", b"bytes", 7, None])
def test_folders_that_make_no_sense(folder):
    with pytest.raises(InvalidInputError, match="ATLDLD_CACHE_DIR"):
        Settings(cache_dir=folder)


def test_a_relative_folder_stays_where_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = Settings.from_environment({"ATLDLD_CACHE_DIR": "cache"})
    monkeypatch.chdir("/")
    assert settings.cache_dir == tmp_path / "cache"


def test_a_relative_folder_where_there_is_no_current_one(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(InvalidInputError, match="ATLDLD_CACHE_DIR"):
        Settings(cache_dir="cache")  # type: ignore[arg-type]
    settings = Settings(cache_dir="/c")  # type: ignore[arg-type]
    assert settings.cache_dir == Path("/c")


@pytest.mark.parametrize("value", ["", " ", "\t"])
def test_empty_variables_count_as_not_set(value):
    names = ("API_URL", "DOWNLOAD_URL", "CACHE_DIR", "OFFLINE", "STRICT")
    empty = Settings.from_environment({f"ATLDLD_{name}": value for name in names})
    assert empty == Settings.from_environment({})


def test_xdg_may_be_wrong_too(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "~nosuchuser")
    with pytest.raises(InvalidInputError, match="XDG_CACHE_HOME"):
        default_cache_dir()
    monkeypatch.setenv("XDG_CACHE_HOME", " ")
    assert default_cache_dir().name == "atldld"


@pytest.mark.parametrize("name", ["OFFLINE", "STRICT"])
def test_switches(name):
    for word, on in {"1": True, "TRUE": True, " yes ": True, "0": False, "Off": False}.items():
        settings = Settings.from_environment({f"ATLDLD_{name}": word})
        assert getattr(settings, name.lower()) is on
    with pytest.raises(InvalidInputError, match=f"ATLDLD_{name}"):
        Settings.from_environment({f"ATLDLD_{name}": "maybe"})


def test_an_account_without_a_home(monkeypatch):
    pwd = pytest.importorskip("pwd")

    def nobody(_):
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InvalidInputError, match="ATLDLD_CACHE_DIR"):
        Settings.from_environment({})
    assert Settings.from_environment({"ATLDLD_CACHE_DIR": "/c"}).cache_dir == Path("/c")


WRONG = [
    {"ATLDLD_API_URL": "http://[::1"},
    {"ATLDLD_CACHE_DIR": "~nosuchuser/x"},
    {"ATLDLD_CACHE_DIR": "/dev/null"},
    {"ATLDLD_CACHE_DIR": "/dev/null/x"},
    {"ATLDLD_OFFLINE": "maybe"},
]


def run(*arguments, **environ):
    return subprocess.run(
        [sys.executable, *arguments], env={**os.environ, **environ}, capture_output=True, text=True
    )


@pytest.mark.parametrize("environ", WRONG)
def test_the_command_line_says_one_sentence_that_names_the_variable(environ):
    done = run("-m", "atldld", "cache", "info", **environ)
    assert done.returncode in (2, 6)
    assert "Traceback" not in done.stderr
    assert next(iter(environ)) in done.stderr


def test_importing_works_whatever_is_set():
    everything = {name: value for wrong in WRONG for name, value in wrong.items()}
    done = run("-c", "import atldld, atldld.config, atldld.utils\nfor name in atldld.__all__: "
               "getattr(atldld, name)", **everything, XDG_CACHE_HOME="~nosuchuser")  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_cache_folder_that_is_none_is_told_before_anything_is_asked(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(CacheError, match="ATLDLD_CACHE_DIR"):
            Session(Settings(cache_dir=folder))
