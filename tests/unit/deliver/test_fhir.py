from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from dermanode.config import FhirDestination
from dermanode.deliver.destination import Package
from dermanode.deliver.fhir import Fhir
from dermanode.errors import DeliveryRefused, DestinationUnavailable

ANSWER = {
    "resourceType": "Bundle",
    "entry": [
        {"response": {"status": "201 Created", "location": "DiagnosticReport/17/_history/1"}},
        {"response": {"status": "201"}},
        {"response": {"status": "200 OK"}},
    ],
}
OUTCOME = {
    "resourceType": "OperationOutcome",
    "issue": [{"code": "invalid", "details": {"text": "no status"}, "expression": ["Observation"]}],
}


class Server(HTTPServer):
    status = 200
    answer: Any = ANSWER
    requests: list[tuple[str, dict[str, str], bytes]]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        content = self.server.answer if isinstance(self.server.answer, bytes) else json.dumps(self.server.answer).encode()
        self.send_response(self.server.status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        running.requests = []
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def posted(port: int, tmp_path: Path, **settings: Any) -> str:
    file = tmp_path / "fhir-ehr.json"
    file.write_bytes(b'{"resourceType": "Bundle"}')
    destination = FhirDestination(type="fhir", url=f"http://127.0.0.1:{port}/fhir", **{"timeout_s": 5, **settings})
    return Fhir("ehr", destination).deliver(Package("case-1", (file,)))


def test_bundle_is_posted_to_the_base_with_its_type_and_token(server: Server, tmp_path: Path) -> None:
    posted(server.server_port, tmp_path, token="secret")
    ((path, headers, body),) = server.requests
    assert (path, body) == ("/fhir", b'{"resourceType": "Bundle"}')
    assert headers["content-type"] == "application/fhir+json"
    assert headers["authorization"] == "Bearer secret"


def test_receipt_counts_the_entries_and_names_the_report(server: Server, tmp_path: Path) -> None:
    assert posted(server.server_port, tmp_path) == "HTTP 200; 2 created, 1 present; DiagnosticReport/17"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 301])
def test_refusal_is_final_and_tells_the_servers_reason(server: Server, tmp_path: Path, status: int) -> None:
    server.status, server.answer = status, OUTCOME
    with pytest.raises(DeliveryRefused, match=rf"refused with HTTP {status}: no status \(Observation\)"):
        posted(server.server_port, tmp_path)


@pytest.mark.parametrize("status", [408, 409, 412, 429, 500, 502, 503])
def test_busy_and_broken_servers_are_tried_again(server: Server, tmp_path: Path, status: int) -> None:
    server.status, server.answer = status, b"<html>busy</html>"
    with pytest.raises(DestinationUnavailable, match=f"answered HTTP {status}"):
        posted(server.server_port, tmp_path)


def test_silent_server_is_tried_again(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(DestinationUnavailable, match=r"no answer within 0\.2 s"),
    ):
        posted(silent.getsockname()[1], tmp_path, timeout_s=0.2)


def test_absent_server_is_tried_again(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(DestinationUnavailable, match="cannot be reached"):
        posted(port, tmp_path)
