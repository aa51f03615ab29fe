from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from dermanode.config import ClientTls, FhirDestination, Oauth, ServerTls
from dermanode.deliver.destination import Package
from dermanode.deliver.fhir import Fhir
from dermanode.errors import DeliveryRefused, DestinationUnavailable
from dermanode.messages.fhir.terms import REVISION
from dermanode.testing.certificates import Authority

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
BUNDLE = {
    "resourceType": "Bundle",
    "type": "transaction",
    "entry": [{"fullUrl": "urn:uuid:1", "resource": {"resourceType": "Device"}, "request": {"method": "POST", "url": "Device"}}],
}


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def entries(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.body)["entry"]
        return found


@dataclass
class Reply:
    status: int = 200
    content: Any = field(default_factory=lambda: ANSWER)
    headers: dict[str, str] = field(default_factory=dict)


class Server(HTTPServer):
    """Answers as `reply` says, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[Request] = []
        self.reply: Callable[[Request], Reply] = lambda _request: Reply()
        self.scheme = "http"

    @property
    def base(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_port}"

    def posted(self) -> list[Request]:
        return [one for one in self.requests if one.method == "POST" and one.path == "/fhir"]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A handshake that fails is the test's subject."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        headers = {k.lower(): v for k, v in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", "0")))
        request = Request(self.command, unquote(self.path), headers, body)
        self.server.requests.append(request)
        reply = self.server.reply(request)
        content = reply.content if isinstance(reply.content, bytes) else json.dumps(reply.content).encode()
        self.send_response(reply.status)
        self.send_header("content-length", str(len(content)))
        for name, value in reply.headers.items():
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


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
def guarded(authority: Authority) -> Iterator[Server]:
    """Speaks TLS, and only to clients that the authority has signed."""
    own = authority.issue("server")
    made = Server()
    context = ServerTls(certificate=own.certificate, key=own.key, client_ca=authority.ca).context()
    made.socket = context.wrap_socket(made.socket, server_side=True, do_handshake_on_connect=False)
    made.scheme = "https"
    yield from serving(made)


def sent(base: str, tmp_path: Path, *bundles: dict[str, Any], **settings: Any) -> str:
    files = []
    for number, bundle in enumerate(bundles or (BUNDLE,), start=1):
        file = tmp_path / f"fhir-ehr.{number}.json"
        file.write_text(json.dumps(bundle))
        files.append(file)
    destination = FhirDestination(type="fhir", url=f"{base}/fhir", **{"timeout_s": 5, **settings})
    return Fhir("ehr", destination).deliver(Package("case-1", tuple(files)))


def test_bundle_is_posted_to_the_base_with_its_type_and_token(server: Server, tmp_path: Path) -> None:
    sent(server.base, tmp_path, token="secret")
    (request,) = server.requests
    assert (request.path, json.loads(request.body)) == ("/fhir", BUNDLE)
    assert request.headers["content-type"] == "application/fhir+json"
    assert request.headers["authorization"] == "Bearer secret"


def test_receipt_counts_the_entries_and_names_the_report(server: Server, tmp_path: Path) -> None:
    assert sent(server.base, tmp_path) == "1 transaction; 2 created, 1 present; DiagnosticReport/17"
    assert sent(server.base, tmp_path, BUNDLE, BUNDLE).startswith("2 transactions; 4 created, 2 present; ")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 301])
def test_refusal_is_final_and_tells_the_servers_reason(server: Server, tmp_path: Path, status: int) -> None:
    server.reply = lambda _request: Reply(status, OUTCOME)
    with pytest.raises(DeliveryRefused, match=rf"refused with HTTP {status}: no status \(Observation\)"):
        sent(server.base, tmp_path)


@pytest.mark.parametrize("status", [408, 409, 412, 429, 500, 502, 503])
def test_busy_and_broken_servers_are_tried_again(server: Server, tmp_path: Path, status: int) -> None:
    server.reply = lambda _request: Reply(status, b"<html>busy</html>")
    with pytest.raises(DestinationUnavailable, match=f"answered HTTP {status}") as busy:
        sent(server.base, tmp_path)
    assert busy.value.retry_after_s is None


def test_server_that_names_a_time_is_not_asked_before(server: Server, tmp_path: Path) -> None:
    in_an_hour = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    for text, least_s, most_s in (("120", 120, 120), (in_an_hour, 3500, 3600), ("Thu, 01 Jan 2004 00:00:00 GMT", 0, 0)):
        server.reply = lambda _request, text=text: Reply(429, OUTCOME, {"retry-after": text})
        with pytest.raises(DestinationUnavailable) as busy:
            sent(server.base, tmp_path)
        assert busy.value.retry_after_s is not None
        assert least_s <= busy.value.retry_after_s <= most_s


@pytest.mark.parametrize("said", [{"issue": ["x", {"details": "y", "diagnostics": 7, "expression": [1]}]}, {"issue": None}, []])
def test_answer_that_is_no_operation_outcome_breaks_nothing(server: Server, tmp_path: Path, said: Any) -> None:
    server.reply = lambda _request: Reply(400, said)
    with pytest.raises(DeliveryRefused, match="refused with HTTP 400"):
        sent(server.base, tmp_path)


def test_part_of_a_transaction_that_was_not_taken_is_tried_again(server: Server, tmp_path: Path) -> None:
    server.reply = lambda _request: Reply(200, {"entry": [{"response": {"status": "422", "outcome": OUTCOME}}]})
    with pytest.raises(DestinationUnavailable, match="only a part of a transaction: 422: no status"):
        sent(server.base, tmp_path)


def test_silent_server_is_tried_again(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(DestinationUnavailable, match=r"no answer within 0\.2 s"),
    ):
        sent(f"http://127.0.0.1:{silent.getsockname()[1]}", tmp_path, timeout_s=0.2)


def test_absent_server_is_tried_again(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(DestinationUnavailable, match="cannot be reached"):
        sent(f"http://127.0.0.1:{port}", tmp_path)


def revised(kind: str, revision: int, **elements: Any) -> dict[str, Any]:
    resource = {"resourceType": kind, "extension": [{"url": REVISION, "valuePositiveInt": revision}], **elements}
    return {"fullUrl": f"urn:uuid:{kind}", "resource": resource, "request": {"method": "PUT", "url": f"{kind}?identifier=s|{kind}"}}


def holding(*resources: dict[str, Any]) -> Callable[[Request], Reply]:
    """A server that finds these, and takes everything."""

    def reply(request: Request) -> Reply:
        if request.method == "GET":
            found = [{"resource": one} for one in resources if request.path.startswith(f"/fhir/{one['resourceType']}?")]
            return Reply(200, {"resourceType": "Bundle", "entry": found} if found else {"resourceType": "Bundle"})
        places = [{"response": {"status": "201", "location": f"{e['resource']['resourceType']}/9"}} for e in request.entries]
        return Reply(200, {"entry": places})

    return reply


def test_later_revision_on_the_server_is_left_there(server: Server, tmp_path: Path) -> None:
    later = {"resourceType": "DiagnosticReport", "id": "3", "extension": [{"url": REVISION, "valuePositiveInt": 2}]}
    server.reply = holding(later)
    bundle = {**BUNDLE, "entry": [revised("DiagnosticReport", 1)]}
    assert sent(server.base, tmp_path, bundle) == "not sent: a later revision (2) is there already; DiagnosticReport/3"
    assert not server.posted()
    assert server.requests[0].path == "/fhir/DiagnosticReport?identifier=s|DiagnosticReport"
    assert server.requests[0].headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("status", [403, 404, 405, 501])
def test_server_that_lets_nobody_look_gets_nothing_in_blind(server: Server, tmp_path: Path, status: int) -> None:
    server.reply = lambda request: Reply(status, OUTCOME) if request.method == "GET" else Reply()
    expected = DestinationUnavailable if status == 501 else DeliveryRefused
    with pytest.raises(expected, match="DiagnosticReport"):
        sent(server.base, tmp_path, {**BUNDLE, "entry": [revised("DiagnosticReport", 1)]})
    assert not server.posted()


def test_later_transactions_refer_to_where_the_earlier_ones_were_put(server: Server, tmp_path: Path) -> None:
    server.reply = holding({"resourceType": "Observation", "id": "4", "meta": {"versionId": "2"}})
    once = {"method": "POST", "url": "Device", "ifNoneExist": "identifier=s|1"}
    device = {"fullUrl": "urn:uuid:1", "resource": {"resourceType": "Device"}, "request": once}
    first = {**BUNDLE, "entry": [device, revised("Observation", 1)]}
    names = ("Observation?identifier=s|Observation", "Device?identifier=s|1", "urn:uuid:elsewhere")
    last = {**BUNDLE, "entry": [revised("DiagnosticReport", 1, result=[{"reference": name} for name in names])]}
    sent(server.base, tmp_path, first, last)
    (_, observation), (report,) = (request.entries for request in server.posted())
    assert observation["request"] == {"method": "PUT", "url": "Observation/4", "ifMatch": 'W/"2"'}
    assert [one["reference"] for one in report["resource"]["result"]] == ["Observation/4", "Device/9", "urn:uuid:elsewhere"]


def credentials(base: str) -> Oauth:
    return Oauth(token_url=f"{base}/token", client_id="node", client_secret="secret")


def issuing(*refused: str) -> Callable[[Request], Reply]:
    """A token server and a FHIR server at once, which refuses some tokens."""
    given = 0

    def reply(request: Request) -> Reply:
        nonlocal given
        if request.path == "/token":
            given += 1
            return Reply(200, {"access_token": f"t{given}", "expires_in": 600})
        is_refused = request.headers.get("authorization", "").removeprefix("Bearer ") in refused
        return Reply(401, OUTCOME) if is_refused else Reply()

    return reply


def test_one_token_serves_all_transactions(server: Server, tmp_path: Path) -> None:
    server.reply = issuing()
    sent(server.base, tmp_path, BUNDLE, BUNDLE, oauth=credentials(server.base))
    assert [request.path for request in server.requests] == ["/token", "/fhir", "/fhir"]
    assert {request.headers["authorization"] for request in server.posted()} == {"Bearer t1"}


def test_token_that_was_taken_back_is_renewed_once(server: Server, tmp_path: Path) -> None:
    server.reply = issuing("t1")
    sent(server.base, tmp_path, oauth=credentials(server.base))
    assert [request.headers["authorization"] for request in server.posted()] == ["Bearer t1", "Bearer t2"]
    server.requests.clear()
    server.reply = issuing("t1", "t2")
    with pytest.raises(DeliveryRefused, match="HTTP 401"):
        sent(server.base, tmp_path, oauth=credentials(server.base))
    assert len(server.posted()) == 2


def test_secrets_are_neither_in_logs_nor_in_reasons(server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    server.reply = issuing("t1", "t2")
    with pytest.raises(DeliveryRefused) as refused:
        sent(server.base, tmp_path, oauth=credentials(server.base))
    assert not [secret for secret in ("secret", "Bearer", "t1") if secret in f"{caplog.text}{refused.value}"]


def test_own_certificate_and_private_authority_open_the_server(guarded: Server, authority: Authority, tmp_path: Path) -> None:
    own = authority.issue("node")
    tls = ClientTls(ca=authority.ca, certificate=own.certificate, key=own.key)
    guarded.reply = issuing()
    said = sent(guarded.base, tmp_path, tls=tls, oauth=credentials(guarded.base))
    assert said.startswith("1 transaction")
    assert [request.path for request in guarded.requests] == ["/token", "/fhir"]


def test_without_a_certificate_the_server_stays_closed(guarded: Server, authority: Authority, tmp_path: Path) -> None:
    with pytest.raises(DestinationUnavailable, match="cannot be reached"):
        sent(guarded.base, tmp_path, tls=ClientTls(ca=authority.ca))
    assert not guarded.requests


def test_server_of_an_authority_that_is_not_trusted_gets_nothing(guarded: Server, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "stranger", "Somebody else")
    own = stranger.issue("node")
    with pytest.raises(DestinationUnavailable, match="certificate verify failed"):
        sent(guarded.base, tmp_path, tls=ClientTls(ca=stranger.ca, certificate=own.certificate, key=own.key))
    assert not guarded.requests


def test_certificate_that_cannot_be_read_is_named_and_tried_again(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DestinationUnavailable, match=r"gone\.pem"):
        sent(server.base, tmp_path, tls=ClientTls(ca=tmp_path / "gone.pem"))


def test_old_protocols_are_not_spoken() -> None:
    assert ClientTls().context().minimum_version is ssl.TLSVersion.TLSv1_2
