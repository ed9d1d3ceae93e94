from pathlib import Path

import pytest

from atldld.errors import InvalidInputError
from atldld.fetch.session import cache_root
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
