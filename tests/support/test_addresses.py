import copy
import dataclasses
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atldld.batch.places import Store, open_place
from atldld.errors import AtldldError
from atldld.fetch.roots import cache_root
from atldld.settings import API_URL, Settings
from atldld.support.addresses import Login, login_for, shown_address, shown_addresses, without_login

URL = "https://me:m4rk@host:8080/path"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://host/x?a=1", "https://host/x?a=1"),
        (URL, "https://host:8080/path"),
        ("https://me@host", "https://host"),
        ("https://a:m4@rk/?#@host/x", "https://host/x"),
        ("me:m4rk@host", "host"),
        ("https://host/x?token=m4rk&n=1", "https://host/x?token=…&n=1"),
        ("https://host/x?n=1&X-Amz-Signature=m4rk#y", "https://host/x?n=1&X-Amz-Signature=…#y"),
        ("https://host/x?api_key=m4rk", "https://host/x?api_key=…"),
        ("https://me:m4rk", "https://me:…"),
        ("https://[::1]:80/x", "https://[::1]:80/x"),
        ("s3://bucket/prefix", "s3://bucket/prefix"),
        ("not an address", "not an address"),
        ("", ""),
    ],
)
def test_shown(address, expected):
    assert shown_address(address) == expected
    assert shown_address(shown_address(address)) == expected


def test_a_text_with_addresses():
    told = shown_addresses(f"Neither {URL} nor 'ftp://u:m4rk@b/x' answers.")
    assert told == "Neither https://host:8080/path nor 'ftp://b/x' answers."


@given(st.text(min_size=1), st.text(min_size=1))
def test_no_password_is_shown_however_it_is_written(user, password):
    marked = f"m4rk{password}m4rk"
    assert "m4rk" not in shown_address(f"https://{user}:{marked}@host/x").partition("?")[0]


def test_a_login_is_parted_from_its_address():
    address, login = without_login("https://us%40er:p%2Fw%C3%A4@Host:1/x/")
    assert address == "https://Host:1/x/"
    assert login == Login("https://Host:1/x", "Basic dXNAZXI6cC93w6Q=")
    assert without_login("https://host/x?a@b") == ("https://host/x?a@b", None)


def test_a_login_goes_to_its_own_address_alone():
    api, files = Login("http://h", "Basic a"), Login("http://h/files", "Basic b")
    both = (api, files)
    assert login_for("http://H:80/x?y", both) is api
    assert login_for("http://h/files/x", both) is files
    assert login_for("http://h/filesystem", both) is api
    for url in ("https://h/x", "http://h.evil/x", "http://h:8080/x", "http://evil/http://h/"):
        assert login_for(url, both) is None


def test_settings_hold_a_login_and_never_show_it():
    settings = Settings(URL, "http://you:m4rk2@files")
    again = dataclasses.replace(settings, strict=True)
    for held in (settings, again, pickle.loads(pickle.dumps(settings)), copy.deepcopy(settings)):
        assert held.api_url == "https://host:8080/path"
        assert held.download_url == "http://files"
        assert [login.authorization for login in held.logins] == [
            "Basic bWU6bTRyaw==",
            "Basic eW91Om00cmsy",
        ]
        for text in (repr(held), str(held), f"{held.logins}", str(dataclasses.asdict(held))):
            assert "m4rk" not in text
            assert "bWU6" not in text
    assert settings != Settings("https://me:other@host:8080/path", "http://you:m4rk2@files")
    assert settings != again


def test_the_cache_depends_on_no_login(tmp_path):
    def roots(login):
        settings = Settings(f"http://{login}host", f"http://{login}files", tmp_path)
        return cache_root(settings), cache_root(settings, "download")

    assert roots("me:m4rk@") == roots("you:x@") == roots("")
    own = Settings(API_URL.replace("://", "://me:m4rk@"), cache_dir=tmp_path)
    assert cache_root(own) == tmp_path
    assert Settings.from_environment({}, api_url=own.api_url).download_url == own.download_url


def test_another_service_is_asked_for_the_archive_with_the_same_login():
    settings = Settings.from_environment({"ATLDLD_API_URL": "http://me:m4rk@h"})
    assert settings.download_url == "http://h"
    assert login_for("http://h/files", settings.logins) is not None


def test_errors_keep_addresses_that_may_be_shown():
    error = AtldldError("No.", url=URL)
    assert error.url == "https://host:8080/path"
    assert "m4rk" not in str(error) + repr(error.__dict__)


def test_a_store_shows_its_address_without_login(tmp_path):
    """Results may go to an address with a password, too."""
    pytest.importorskip("fsspec")
    place = open_place("ftp://me:m4rk@host/prefix", tmp_path)
    assert isinstance(place, Store)
    assert place.url == "ftp://me:m4rk@host/prefix"
    assert str(place) == "ftp://host/prefix"
    assert "m4rk" not in repr(place)
    assert place.journal == open_place("ftp://host/prefix", tmp_path).journal
