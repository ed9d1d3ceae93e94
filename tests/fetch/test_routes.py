"""Proxies and certificates as the environment names them: they work, or one sentence says why."""

import contextlib
import logging
import os
import socket
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atldld.errors import AtldldError, HTTPStatusError, InvalidInputError, NetworkError
from atldld.fetch.client import Client
from atldld.fetch.limits import Limits
from atldld.fetch.routes import CERTIFICATES, is_exempt, proxy_for
from atldld.testing.server import refused_url

from .conftest import GOOD, answer, http_proxy, read_head, serve_http, socks5_proxy

QUICK = Limits(first_wait=0.001, longest_wait=0.01, read=1, connect=1)
SECRET = "sw0rdf%2Fish"


def ask(url, limits=QUICK):
    with contextlib.closing(Client(url, limits=limits)) as client:
        return client.get_json(f"{url}/x"), client


def fails(url, limits=QUICK):
    """The error of a lasting failure, and how many requests it took."""
    with contextlib.closing(Client(url, limits=limits)) as client:
        with pytest.raises(AtldldError) as caught:
            client.get_json(f"{url}/x")
        return caught.value, client.requests_sent


# ---- what works


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_an_encrypted_service_through_a_proxy(
    variable, start, encrypted, certificates, monkeypatch
):
    service = start(context=encrypted)
    proxy = start(http_proxy(login="us:er:sword/fish", target=("127.0.0.1", service.port)))
    monkeypatch.setenv(variable, f"http://us:er%3Asword%2Ffish@127.0.0.1:{proxy.port}")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates))
    found, client = ask("https://service.test")
    assert found == GOOD
    assert client.requests_sent == 1
    assert proxy.heads[0][0].startswith("CONNECT service.test:443")


def test_a_proxy_that_is_encrypted_itself(start, encrypted, certificates, monkeypatch):
    """The certificate that vouches for it is looked for where that of the service is."""
    service = start(context=encrypted)
    proxy = start(http_proxy(target=("127.0.0.1", service.port)), context=encrypted)
    monkeypatch.setenv("HTTPS_PROXY", f"https://localhost:{proxy.port}")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates))
    assert ask("https://service.test")[0] == GOOD


def test_a_plain_service_through_a_proxy(start, monkeypatch):
    service = start()
    proxy = start(http_proxy(login="u:p"))
    monkeypatch.setenv("HTTP_PROXY", f"u:p@127.0.0.1:{proxy.port}")  # no http:// before it
    assert ask(f"http://127.0.0.1:{service.port}")[0] == GOOD
    assert proxy.connections == 1


@pytest.mark.parametrize("scheme", ["socks", "socks5", "socks5h", "SOCKS5"])
@pytest.mark.parametrize("over", ["http", "https"])
def test_socks(scheme, over, start, encrypted, certificates, monkeypatch):
    service = start(context=encrypted if over == "https" else None)
    proxy = start(socks5_proxy(login="u:sword/fish", target=("127.0.0.1", service.port)))
    monkeypatch.setenv("ALL_PROXY", f"{scheme}://u:sword%2Ffish@127.0.0.1:{proxy.port}")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates))
    assert ask(f"{over}://service.test")[0] == GOOD
    assert proxy.heads == [("service.test", {})]  # it looks the name up, not this machine


def test_a_login_for_socks_stands_in_no_log(start, monkeypatch, caplog):
    service = start()
    proxy = start(socks5_proxy(login="u:sw0rdfish", target=("127.0.0.1", service.port)))
    monkeypatch.setenv("ALL_PROXY", f"socks5://u:sw0rdfish@127.0.0.1:{proxy.port}")
    with caplog.at_level(logging.DEBUG):
        assert ask("http://service.test")[0] == GOOD
    assert "setup_socks5_connection" in caplog.text
    assert "sw0rdfish" not in caplog.text


@pytest.mark.parametrize("variable", CERTIFICATES)
@pytest.mark.parametrize("kind", ["file", "folder", "hashed folder"])
def test_certificates(variable, kind, start, encrypted, certificates, tmp_path, monkeypatch):
    """atldld 0.3 took REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE, which may be folders too."""
    if kind == "file" and variable == "SSL_CERT_DIR":
        pytest.skip("names folders")
    place = certificates
    if kind != "file":
        place = tmp_path / "certs"
        place.mkdir()
        name = "authority.pem"
        if kind == "hashed folder":
            cryptography = pytest.importorskip("cryptography.x509")
            name = f"{hash_of(cryptography, certificates)}.0"
        (place / name).write_bytes(certificates.read_bytes())
    monkeypatch.setenv(variable, str(place))
    service = start(context=encrypted)
    assert ask(f"https://127.0.0.1:{service.port}")[0] == GOOD


def hash_of(x509, path):
    """The name that OpenSSL looks a certificate up by."""
    import subprocess

    try:
        done = subprocess.run(
            ["openssl", "x509", "-subject_hash", "-noout", "-in", path],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no openssl on this machine")
    return done.stdout.strip()


def test_all_variables_count_together(start, encrypted, certificates, monkeypatch, tmp_path):
    import certifi

    monkeypatch.setenv("SSL_CERT_FILE", certifi.where())
    monkeypatch.setenv("CURL_CA_BUNDLE", str(certificates))
    service = start(context=encrypted)
    assert ask(f"https://127.0.0.1:{service.port}")[0] == GOOD


def test_certificates_do_not_matter_where_nothing_is_encrypted(start, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    assert ask(f"http://127.0.0.1:{start().port}")[0] == GOOD


# ---- NO_PROXY


@pytest.mark.parametrize(
    ("host", "port", "entries"),
    [
        ("anything", 80, "*"),
        ("h.example", 443, "a, * ,b"),
        ("h.example", 443, "h.example"),
        ("H.Example", 443, "a  h.EXAMPLE. b"),
        ("h.example", 443, "example"),
        ("h.example", 443, ".example"),
        ("h.example", 443, "*.example"),
        ("h.example", 443, "h.example:443"),
        ("example", 443, ".example"),
        ("::1", 80, "[::1]"),
        ("::1", 80, "::1"),
        ("::1", 80, "[::1]:80"),
        ("::1", 80, "::1/128"),
        ("::1", 80, "[::1]/128"),
        ("fe80::1%eth0", 80, "fe80::/10"),
        ("fe80::1", 80, "10.0.0.0/8,[fe80::]/10"),
        ("0:0:0:0:0:0:0:1", 80, "::1"),
        ("::ffff:10.1.2.3", 80, "10.0.0.0/8"),
        ("10.1.2.3", 80, "10.0.0.0/8"),
        ("10.1.2.3", 80, "10.1.2.3/8"),
        ("10.1.2.3", 80, "10.1.2.3"),
        ("10.1.2.3", 8080, "10.1.2.3:8080"),
    ],
)
def test_hosts_without_a_proxy(host, port, entries):
    assert is_exempt(host, port, entries)


@pytest.mark.parametrize(
    ("host", "port", "entries"),
    [
        ("h.example", 443, ""),
        ("h.example", 443, " , "),
        ("h.example", 443, "h.example:80"),
        ("h.example", 443, "xh.example,h.example.org,ample"),
        ("example", 443, "h.example"),
        ("::2", 80, "::1/128,[::1]"),
        ("fec0::1", 80, "fe80::/10"),
        ("11.1.2.3", 80, "10.0.0.0/8"),
        ("10.1.2.3", 80, "fe80::/10"),
        ("h.example", 80, "10.0.0.0/8"),
        ("10.1.2.3", 80, "2.3,.3"),
        ("h.example", 80, "[::1,10.0.0.0/99,:::,http://,h.example:x,h.example:999999999999999999"),
    ],
)
def test_hosts_with_a_proxy(host, port, entries):
    assert not is_exempt(host, port, entries)


@given(st.text(max_size=20), st.sampled_from(["h.example", "10.0.0.1", "::1"]))
def test_no_entry_is_an_error(entries, host):
    is_exempt(host, 80, entries)


def test_ipv6_through_the_whole_client(monkeypatch):
    try:
        listening = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 on this machine")
    import threading

    def serve():
        with listening, listening.accept()[0] as connection:
            read_head(connection)
            answer(connection)

    threading.Thread(target=serve, daemon=True).start()
    monkeypatch.setenv("ALL_PROXY", refused_url())
    monkeypatch.setenv("NO_PROXY", "[::1],fe80::/10")
    assert ask(f"http://[::1]:{listening.getsockname()[1]}")[0] == GOOD


def test_capitals_go_last_and_an_empty_variable_names_nothing():
    def chosen(url="http://h.example", **environ):
        found = proxy_for(url, environ)
        return found and (found.variable, found.url.host)

    assert chosen(HTTP_PROXY="http://b", http_proxy="http://a") == ("http_proxy", "a")
    assert chosen(HTTP_PROXY="http://b", ALL_PROXY="http://c") == ("HTTP_PROXY", "b")
    assert chosen("https://h.example", HTTP_PROXY="http://b", ALL_PROXY="c") == ("ALL_PROXY", "c")
    assert chosen(http_proxy="", HTTP_PROXY="http://b") is None
    assert chosen(HTTP_PROXY="http://b", REQUEST_METHOD="GET") is None
    assert chosen(HTTP_PROXY=" ") is None


# ---- what cannot work: one sentence that names the variable, and no six tries


@pytest.mark.parametrize(
    "value",
    [
        "not a proxy",
        f"socks4://u:{SECRET}@127.0.0.1:1",
        f"socks4a://u:{SECRET}@127.0.0.1:1",
        f"gopher://u:{SECRET}@host",
        f"http://u:{SECRET}@",
        "http://",
        f"http://u:{SECRET}@host:port",
        f"http://u:{SECRET}@127.0.0.1:99999",
        f"http://u:{SECRET}@[::1",
        f"u:{SECRET}@host:x",
        "http://\u2603\u2603.\ud800",
        "://",
        f"http://u:{SECRET}\x01@host",
    ],
)
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "all_proxy"])
def test_a_proxy_that_makes_no_sense(value, variable, monkeypatch):
    """Kind: a variable that httpx's constructor breaks off at, with a traceback of its own."""
    with contextlib.suppress(UnicodeEncodeError):
        monkeypatch.setenv(variable, value)
    if variable not in os.environ:
        pytest.skip("cannot stand in the environment here")
    error, sent = fails("https://h.example")
    assert isinstance(error, InvalidInputError)
    assert variable in str(error)
    assert SECRET not in str(error)
    assert sent <= 1


@pytest.mark.parametrize("scheme", ["http", "https", "socks5"])
def test_a_proxy_where_nobody_is(scheme, monkeypatch):
    at = refused_url().removeprefix("http://")
    monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://u:{SECRET}@{at}")
    error, sent = fails("https://h.example")
    assert isinstance(error, NetworkError)
    for words in ("HTTPS_PROXY", at, "cannot be reached", "refused", "NO_PROXY"):
        assert words in str(error)
    assert SECRET not in str(error)
    assert sent == 2


@pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "403 Forbidden"])
@pytest.mark.parametrize("url", ["http://h.example", "https://h.example"])
def test_a_proxy_that_refuses(status, url, start, monkeypatch):
    proxy = start(http_proxy(refuse=status))
    variable = f"{url.partition(':')[0]}_PROXY".upper()
    monkeypatch.setenv(variable, f"http://u:{SECRET}@127.0.0.1:{proxy.port}")
    error, sent = fails(url)
    assert status[:3] in str(error)
    assert sent == (1 if status.startswith("407") else 2)
    if status.startswith("407") or url.startswith("https"):  # else the service may have said so
        assert variable in str(error)
    assert SECRET not in str(error)


def test_a_socks_proxy_that_wants_another_login(start, monkeypatch):
    proxy = start(socks5_proxy(login="u:other"))
    for login in (f"u:{SECRET}@", ""):
        monkeypatch.setenv("ALL_PROXY", f"socks5://{login}127.0.0.1:{proxy.port}")
        error, sent = fails("http://h.example")
        assert "ALL_PROXY" in str(error)
        assert "password" in str(error)
        assert SECRET not in str(error)
        assert sent == 1


def test_a_socks_proxy_that_leads_nowhere(start, monkeypatch):
    target = ("127.0.0.1", int(refused_url().rpartition(":")[2]))
    proxy = start(socks5_proxy(target=target))
    monkeypatch.setenv("ALL_PROXY", f"socks5://127.0.0.1:{proxy.port}")
    error, sent = fails("http://h.example")
    assert "does not lead to h.example" in str(error)
    assert sent == 3


def silent(local, connection):
    with contextlib.suppress(OSError):
        while connection.recv(4096):
            pass


def garbage(local, connection):
    connection.recv(4096)
    connection.sendall(b"\x00\xff garbage \r\n\r\n" * 10)


@pytest.mark.parametrize("scheme", ["http", "socks5"])
@pytest.mark.parametrize("serve", [silent, garbage])
def test_a_proxy_that_is_none(scheme, serve, start, monkeypatch):
    """Kind: whatever stands where a proxy should; neither a traceback nor a wait without end."""
    proxy = start(serve)
    monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://127.0.0.1:{proxy.port}")
    begun = time.monotonic()
    limits = Limits(first_wait=0.001, longest_wait=0.01, read=0.2, connect=0.2, attempts=2)
    error, _ = fails("https://h.example", limits)
    assert time.monotonic() - begun < 20
    assert not isinstance(error, InvalidInputError)


@pytest.mark.parametrize("variable", CERTIFICATES)
@pytest.mark.parametrize("kind", ["missing", "no PEM", "empty", "empty folder", "a key"])
def test_certificates_that_cannot_be_used(variable, kind, tmp_path, monkeypatch, authority):
    place = tmp_path / "it"
    if kind == "no PEM":
        place.write_bytes(b"\x00\x01 nonsense")
    elif kind == "empty":
        place.touch()
    elif kind == "empty folder":
        place.mkdir()
    elif kind == "a key":
        place.write_bytes(authority.private_key_pem.bytes())
    monkeypatch.setenv(variable, str(place))
    error, sent = fails("https://h.example")
    assert isinstance(error, InvalidInputError)
    assert f"{variable} names {place}" in str(error)
    assert sent <= 1


@pytest.mark.parametrize("through", ["nothing", "a proxy", "an encrypted proxy", "socks"])
def test_a_certificate_that_nobody_vouches_for_is_tried_once(
    through, start, encrypted, monkeypatch
):
    service = start(context=encrypted)
    target = ("127.0.0.1", service.port)
    if through == "a proxy":
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{start(http_proxy()).port}")
    elif through == "an encrypted proxy":
        proxy = start(http_proxy(target=target), context=encrypted)
        monkeypatch.setenv("HTTPS_PROXY", f"https://127.0.0.1:{proxy.port}")
    elif through == "socks":
        monkeypatch.setenv("HTTPS_PROXY", f"socks5://127.0.0.1:{start(socks5_proxy()).port}")
    error, sent = fails(f"https://127.0.0.1:{service.port}")
    assert isinstance(error, NetworkError)
    assert "is not trusted" in str(error)
    assert "SSL_CERT_FILE" in str(error)
    assert ("HTTPS_PROXY" in error.message) == (through == "an encrypted proxy")
    assert sent == 1


def test_a_certificate_for_another_name(start, encrypted, certificates, monkeypatch):
    service = start(context=encrypted)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates))
    monkeypatch.setattr(
        socket, "getaddrinfo",
        lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", service.port))],
    )  # fmt: skip
    error, sent = fails("https://another.test")
    assert "another.test" in error.message
    assert sent == 1


def test_a_service_that_is_not_encrypted(start):
    service = start(garbage)
    error, sent = fails(f"https://127.0.0.1:{service.port}")
    assert "no encryption can be agreed on" in str(error)
    assert sent == 2


def test_a_407_of_the_service_itself(start):
    def serve(local, connection):
        read_head(connection)
        answer(connection, "407 Proxy Authentication Required")

    error, sent = fails(f"http://127.0.0.1:{start(serve).port}")
    assert isinstance(error, HTTPStatusError)
    assert sent == 1


def test_both_requests_of_one_tunnel_are_watched(start, encrypted, certificates, monkeypatch):
    """A connection through a proxy is used again; it and its answers are still watched."""
    service = start(serve_http, context=encrypted)
    proxy = start(http_proxy(target=("127.0.0.1", service.port)))
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates))
    with contextlib.closing(Client("https://service.test", limits=QUICK)) as client:
        for _ in range(3):
            assert client.get_json("https://service.test/x") == GOOD
    assert proxy.connections == 1
