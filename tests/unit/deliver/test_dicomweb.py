from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from dermanode.config import ClientTls, DicomwebDestination, ServerTls
from dermanode.deliver.destination import Package
from dermanode.deliver.dicomweb import Dicomweb
from dermanode.errors import DeliveryRefused, DestinationUnavailable
from dermanode.testing.certificates import Authority

Write = Callable[..., Path]
JSON = {"content-type": "application/dicom+json"}


@dataclass
class Reply:
    status: int = 200
    content: Any = None
    headers: dict[str, str] = field(default_factory=lambda: JSON)


class Server(HTTPServer):
    """Answers as `reply` says, and remembers what came."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.reply = Reply()
        self.headers: dict[str, str] = {}
        self.body = b""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A handshake that fails is the test's subject."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        self.server.headers = {name.lower(): value for name, value in self.headers.items()} | {"path": self.path}
        self.server.body = self.rfile.read(int(self.headers["content-length"]))
        content = self.server.reply.content
        content = content if isinstance(content, bytes) else b"" if content is None else json.dumps(content).encode()
        self.send_response(self.server.reply.status)
        for name, value in {"content-length": str(len(content)), **self.server.reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def serving(server: Server) -> Iterator[Server]:
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    yield from serving(Server())


def road(server: Server, scheme: str = "http", **settings: object) -> Dicomweb:
    url = f"{scheme}://127.0.0.1:{server.server_port}/dicom-web/"
    return Dicomweb("pacs", DicomwebDestination.model_validate({"type": "dicomweb", "url": url, "timeout_s": 5, **settings}))


@pytest.fixture
def package(write_dicom: Write) -> Package:
    return Package("case", (write_dicom("seg.dcm", "1.2.3"), write_dicom("sr.dcm", "1.2.4")))


def item(uid: str, **numbers: int) -> dict[str, Any]:
    names = {"reason": "00081197", "warning": "00081196"}
    return {"00081155": {"vr": "UI", "Value": [uid]}} | {names[name]: {"vr": "US", "Value": [value]} for name, value in numbers.items()}


def told(*, stored: tuple[Any, ...] = (), failed: tuple[Any, ...] = (), other: tuple[Any, ...] = ()) -> dict[str, Any]:
    named = {"00081199": stored, "00081198": failed, "0008119A": other}
    return {name: {"vr": "SQ", "Value": list(items)} for name, items in named.items() if items}


def test_all_objects_go_in_one_request_as_they_are(server: Server, package: Package) -> None:
    server.reply = Reply(200, told(stored=(item("1.2.3"), item("1.2.4"))))
    assert road(server).deliver(package) == f"2 objects stored at http://127.0.0.1:{server.server_port}/dicom-web/studies"
    assert server.headers["path"] == "/dicom-web/studies"
    assert server.headers["accept"] == "application/dicom+json"
    kind, _, boundary = server.headers["content-type"].partition("; boundary=")
    assert kind == 'multipart/related; type="application/dicom"'
    parts = server.body.split(f"--{boundary}".encode())
    assert [part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for part in parts[1:3]] == [file.read_bytes() for file in package.files]
    assert parts[3] == b"--\r\n"


@pytest.mark.parametrize(
    ("reply", "receipt"),
    [
        (Reply(200), "2 objects stored"),
        (Reply(200, b"<NativeDicomModel/>", {"content-type": "application/dicom+xml"}), "2 objects stored"),
        (Reply(200, [told(stored=(item("1.2.3", warning=0xB000), item("1.2.4")))]), "seg.dcm: 0xB000"),
        (Reply(409, told(failed=(item("1.2.3", reason=0x0111), item("1.2.4", reason=0x0111)))), "it has the instance already"),
    ],
)
def test_what_a_server_has_is_delivered(server: Server, package: Package, reply: Reply, receipt: str) -> None:
    server.reply = reply
    assert receipt in road(server).deliver(package)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(202, told(stored=(item("1.2.3"),), failed=(item("1.2.4", reason=0xA900),))), "stored 1 of 2; sr.dcm: 0xA900 the data set"),
        (Reply(409, told(failed=(item("1.2.3", reason=0xC122), item("1.2.4", reason=0x0122)))), "seg.dcm: 0xC122 the transfer syntax"),
        (Reply(400, b"No boundary.", {"content-type": "text/plain"}), "HTTP 400: No boundary."),
        (Reply(401), "HTTP 401"),
        (Reply(415), "HTTP 415"),
        (Reply(301, None, {"location": "http://elsewhere.example.org/"}), "HTTP 301"),
    ],
)
def test_what_a_server_would_refuse_again_is_refused(server: Server, package: Package, reply: Reply, words: str) -> None:
    server.reply = reply
    with pytest.raises(DeliveryRefused) as refused:
        road(server).deliver(package)
    assert words in refused.value.reason


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(202, told(stored=(item("1.2.3"),))), "sr.dcm: not mentioned"),
        (Reply(202, told(stored=(item("1.2.3"),), failed=(item("1.2.4", reason=0xA700),))), "sr.dcm: 0xA700 out of resources"),
        (Reply(409, told(failed=(item("1.2.3", reason=0x0110), item("1.2.4", reason=0xA900)))), "seg.dcm: 0x0110 processing failure"),
        (Reply(409, told(other=({"00081197": {"vr": "US", "Value": [0xA700]}},))), "0xA700"),
        (Reply(409), "HTTP 409"),
        (Reply(202, b"<NativeDicomModel/>", {"content-type": "application/dicom+xml"}), "HTTP 202"),
        (Reply(503, b"Disk full.", {"content-type": "text/plain"}), "HTTP 503: Disk full."),
        (Reply(429), "HTTP 429"),
        (Reply(500, {"error": "none of DICOM"}), "HTTP 500"),
    ],
)
def test_what_may_pass_is_tried_again(server: Server, package: Package, reply: Reply, words: str) -> None:
    server.reply = reply
    with pytest.raises(DestinationUnavailable) as unavailable:
        road(server).deliver(package)
    assert words in unavailable.value.reason


def test_a_server_that_is_not_there_or_says_nothing_is_tried_again(server: Server, package: Package) -> None:
    closed = HTTPServer(("127.0.0.1", 0), Handler)
    port = closed.server_port
    closed.server_close()
    settings = DicomwebDestination(type="dicomweb", url=f"http://127.0.0.1:{port}", timeout_s=1)
    with pytest.raises(DestinationUnavailable, match="cannot be reached"):
        Dicomweb("pacs", settings).deliver(package)


def test_a_file_that_is_no_dicom_is_refused_before_anything_is_sent(server: Server, tmp_path: Path) -> None:
    (tmp_path / "notes.dcm").write_text("no DICOM")
    with pytest.raises(DeliveryRefused, match=r"notes\.dcm is no DICOM file"):
        road(server).deliver(Package("case", (tmp_path / "notes.dcm",)))
    assert server.body == b""


def test_it_logs_in_as_it_is_told(server: Server, package: Package) -> None:
    road(server, username="node", password="secret").deliver(package)
    assert server.headers["authorization"] == "Basic " + base64.b64encode(b"node:secret").decode()
    road(server, token="abc").deliver(package)
    assert server.headers["authorization"] == "Bearer abc"


def test_both_sides_show_certificates(package: Package, tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path / "authority"), Authority(tmp_path / "stranger")
    own, client = authority.issue("server"), authority.issue("node")
    server = Server()
    context = ServerTls(certificate=own.certificate, key=own.key, client_ca=authority.ca).context()
    server.socket = context.wrap_socket(server.socket, server_side=True)
    assert isinstance(server.socket, ssl.SSLSocket)
    for guarded in serving(server):
        trusted = ClientTls(ca=authority.ca, certificate=client.certificate, key=client.key)
        assert "2 objects stored" in road(guarded, "https", tls=trusted.model_dump()).deliver(package)
        with pytest.raises(DestinationUnavailable, match="cannot be reached"):
            road(guarded, "https", tls={"ca": str(stranger.ca)}).deliver(package)
        with pytest.raises(DeliveryRefused, match="PEM"):
            road(guarded, "https", tls={"ca": str(tmp_path / "missing.pem")}).deliver(package)
