"""What pages name and no test has: a proxy, a cluster, a bucket, somebody else's server, a window.

Each is played by something of this machine, and its name on the page is replaced by its address.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import ssl
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from urllib.request import Request, urlopen

from tests.s3 import bucket_server

ALLEN = ("api.brain-map.org", "download.alleninstitute.org")

_NAPARI = """\
#!{python}
import sys
sys.path[:0] = {path!r}
from tests.docs.stand_ins import napari
napari(sys.argv[1:])
"""


def napari(paths: list[str]) -> None:
    """Read as napari does, through its plugin engine, but show nothing."""
    import npe2

    plugins = npe2.PluginManager.instance()
    plugins.register(npe2.PluginManifest.from_distribution("atldld"))
    for path in paths:
        layers, _ = npe2.io_utils.read_get_reader([path], stack=False, plugin_name="atldld")
        assert layers, path
        print(path, *(str(layer[-1]) for layer in layers))


def path_of_modules() -> list[str]:
    """Return where a program of a page finds the tests, and the package that is tested."""
    root = str(Path(__file__).resolve().parents[2])
    return [root, *(one for one in sys.path if one.endswith("src"))]


def program(folder: Path, name: str, text: str) -> None:
    """Put a program where a page finds it."""
    (folder / name).write_text(text)
    (folder / name).chmod(stat.S_IRWXU)


@dataclass
class StandIns:
    """Those that a page has asked for, each begun when it is first named.

    Parameters
    ----------
    folder : pathlib.Path
        For their files.
    server : str
        Address of the demo archive.
    """

    folder: Path
    server: str
    environment: dict[str, str] = field(default_factory=dict)
    _ends: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _known: dict[str, str] = field(default_factory=dict)

    def put_in(self, code: str) -> str:
        """Return code with what it names replaced."""
        for name, begin in self._ways().items():
            if name in code:
                if name not in self._known:
                    self._known[name] = begin()
                code = code.replace(name, self._known[name])
        return code

    def _ways(self) -> dict[str, Callable[[], str]]:
        return {
            "http://proxy.example:3128": lambda: self._service()["HTTPS_PROXY"],
            "/etc/ssl/laboratory.pem": lambda: self._service()["SSL_CERT_FILE"],
            "tcp://scheduler:8786": self._scheduler,
            "s3://bucket": self._bucket,
            "https://user:pass%2Fword@mirror.example": self._with_a_password,
            "brainglobe:allen_mouse_25um": self._brainglobe,
            "22:00-06:00": _hours_around_now,
        }

    def close(self) -> None:
        """End them all."""
        self._ends.close()

    def programs(self, folder: Path) -> None:
        """Write the programs that open windows."""
        text = _NAPARI.format(python=sys.executable, path=path_of_modules())
        program(folder, "napari", text)

    # ---- Allen's service, which is the demo behind a proxy that encrypts

    def at_allens_service(self) -> dict[str, str]:
        """Return the variables with which the demo archive answers for Allen's own hosts."""
        return self._service()

    def _service(self) -> dict[str, str]:
        if "service" not in self._known:
            import trustme

            from tests.fetch.conftest import Local, http_proxy, join

            authority = trustme.CA()
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert(*ALLEN).configure_cert(context)
            certificates = self.folder / "laboratory.pem"
            authority.cert_pem.write_to_path(str(certificates))
            at = urlsplit(self.server)

            def serve(_: Any, connection: Any) -> None:
                with socket.create_connection((at.hostname, at.port)) as there:
                    join(connection, there)

            service = Local(serve, context)
            self._ends.callback(service.close)
            proxy = Local(http_proxy(target=("127.0.0.1", service.port)))
            self._ends.callback(proxy.close)
            self._known["service"] = json.dumps(
                {
                    "HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}",
                    "SSL_CERT_FILE": str(certificates),
                }
            )
        found: dict[str, str] = json.loads(self._known["service"])
        return found

    # ---- the others

    def _bucket(self) -> str:
        environment, _ = self._ends.enter_context(bucket_server(Bucket="bucket"))
        self.environment |= environment
        return "s3://bucket"

    def _scheduler(self) -> str:
        """Begin a cluster whose workers know the bucket; they are processes of their own."""
        import distributed

        self.put_in("s3://bucket")
        before = dict(os.environ)
        os.environ.update(self.environment)
        try:
            cluster = distributed.LocalCluster(
                n_workers=1,
                threads_per_worker=1,
                dashboard_address="127.0.0.1:0",
                silence_logs=50,
            )
        finally:
            os.environ.clear()
            os.environ.update(before)
        self._ends.callback(cluster.close)
        return str(cluster.scheduler_address)

    def _with_a_password(self) -> str:
        return self.server.replace("http://", "http://user:pass%2Fword@")

    def _brainglobe(self) -> str:
        from tests.atlas.test_brainglobe import write

        # where BrainGlobe looks without a configuration of its own
        home = self.folder / "home"
        write(home / ".brainglobe", "tiny_mouse_200um")
        self.environment["HOME"] = str(home)
        return "brainglobe:tiny_mouse_200um"


def _hours_around_now() -> str:
    """Return a window that is open now and for most of a day; no test waits for the night."""
    now = datetime.now().astimezone()
    return f"{now - timedelta(hours=1):%H}:00-{now - timedelta(hours=2):%H}:00"


def confirm_all(address: str) -> None:
    """Confirm every section on the page of `atldld align`, as somebody at the browser would."""
    at = urlsplit(address)
    token = parse_qs(at.query)["token"][0]

    def ask(path: str, sent: object = None) -> Any:
        content = None if sent is None else json.dumps(sent).encode()
        asked = Request(f"http://{at.netloc}{path}", data=content)
        asked.add_header("Authorization", f"Bearer {token}")
        asked.add_header("X-Tab", "page")
        asked.add_header("Content-Type", "application/json")
        with urlopen(asked) as answer:
            return json.load(answer)

    for section in ask("/api/dataset")["sections"]:
        image_id = section["image_id"]
        ask("/api/edit", {"kind": "status", "image_id": image_id, "status": "confirmed"})


ADDRESS = re.compile(r"^http://\S+$", re.MULTILINE)
