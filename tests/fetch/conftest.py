"""Proxies and encrypted servers of this machine, in the test's own process."""

import base64
import contextlib
import json
import socket
import socketserver
import ssl
import threading
from urllib.parse import urlsplit

import pytest
import trustme

GOOD = {"success": True, "id": 0, "start_row": 0, "num_rows": 1, "total_rows": 1, "msg": [{}]}


def read_head(connection):
    """The head of a request: its first line, and the headers by lower-case name."""
    got = b""
    while b"\r\n\r\n" not in got:
        data = connection.recv(4096)
        if not data:
            return "", {}
        got += data
    first, *lines = got.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    return first, {n.lower(): v for n, _, v in (line.partition(": ") for line in lines)}


def answer(connection, status="200 OK", headers=(), body=None):
    """Send one whole answer."""
    body = json.dumps(GOOD).encode() if body is None else body
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    connection.sendall("\r\n".join(lines).encode() + body)


class Local:
    """A server of this machine whose connections are given to a function, each in a thread."""

    def __init__(self, serve, context=None):
        self.heads = []
        self.connections = 0
        local = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                local.connections += 1
                with contextlib.suppress(OSError):
                    connection = self.request
                    if context is not None:
                        connection = context.wrap_socket(connection, server_side=True)
                    with connection:
                        serve(local, connection)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def serve_http(local, connection):
    """Answer every request with the good envelope."""
    while True:
        first, headers = read_head(connection)
        if not first:
            return
        local.heads.append((first, headers))
        answer(connection)


def join(left, right):
    """Copy what arrives on either side to the other, until one ends."""

    def copy(source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    back = threading.Thread(target=copy, args=(right, left), daemon=True)
    back.start()
    copy(left, right)
    back.join()


def http_proxy(refuse=None, login=None, target=None):
    """A proxy for HTTP: CONNECT, and whole addresses. All hosts are `target`, if one is given."""

    def serve(local, connection):
        while True:
            first, headers = read_head(connection)
            if not first:
                return
            local.heads.append((first, headers))
            method, where, _ = first.split(" ")
            right = login is None or headers.get("proxy-authorization") == "Basic " + (
                base64.b64encode(login.encode()).decode()
            )
            if refuse or not right:
                answer(connection, refuse or "407 Proxy Authentication Required", body=b"no")
                return
            host, _, port = (where if method == "CONNECT" else urlsplit(where).netloc).rpartition(
                ":"
            )
            with socket.create_connection(target or (host.strip("[]"), int(port))) as there:
                if method == "CONNECT":
                    connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                else:
                    there.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                join(connection, there)
            return

    return serve


def socks5_proxy(login=None, target=None):
    """A SOCKS5 proxy; all hosts are `target`, if one is given."""

    def take(connection, count):
        got = b""
        while len(got) < count:
            data = connection.recv(count - len(got))
            if not data:
                raise OSError
            got += data
        return got

    def serve(local, connection):
        _, count = take(connection, 2)
        offered = take(connection, count)
        wanted = 2 if login else 0
        if wanted not in offered:
            connection.sendall(b"\x05\xff")
            return
        connection.sendall(bytes((5, wanted)))
        if login:
            _, length = take(connection, 2)
            user = take(connection, length)
            password = take(connection, take(connection, 1)[0])
            right = f"{user.decode()}:{password.decode()}" == login
            connection.sendall(bytes((1, 0 if right else 1)))
            if not right:
                return
        kind = take(connection, 4)[3]
        if kind == 3:
            host = take(connection, take(connection, 1)[0]).decode()
        else:
            host = socket.inet_ntop(
                *((socket.AF_INET, take(connection, 4)) if kind == 1 else
                  (socket.AF_INET6, take(connection, 16)))
            )  # fmt: skip
        port = int.from_bytes(take(connection, 2))
        local.heads.append((host, {}))
        try:
            there = socket.create_connection(target or (host, port))
        except OSError:
            connection.sendall(b"\x05\x04\x00\x01" + bytes(6))
            return
        with there:
            connection.sendall(b"\x05\x00\x00\x01" + bytes(6))
            join(connection, there)

    return serve


@pytest.fixture
def start():
    """Starts servers that end with the test."""
    with contextlib.ExitStack() as stack:

        def begin(serve=serve_http, context=None):
            local = Local(serve, context)
            stack.callback(local.close)
            return local

        yield begin


@pytest.fixture(scope="session")
def authority():
    """Who vouches for the certificates of the servers here; nobody else knows it."""
    return trustme.CA()


@pytest.fixture(scope="session")
def certificates(authority, tmp_path_factory):
    """The file of the authority's certificate."""
    path = tmp_path_factory.mktemp("certificates") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture(scope="session")
def encrypted(authority):
    """The server's side of encrypted connections."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost", "service.test").configure_cert(context)
    return context


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    """Whatever the machine that runs the tests has set."""
    for name in (
        *(f"{kind}_proxy" for kind in ("http", "https", "all", "no")),
        "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
    ):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def filled(session):
    """A session whose cache holds data set 909: three images and one mask."""
    dataset = session.dataset(909)
    for image in dataset.images[:3]:
        session.image(image, 4)
    session.image(dataset.images[0], 4, expression=True)
    session.image_record(dataset.images[0].id)
    return session
