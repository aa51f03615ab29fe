from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from xml.etree import ElementTree

import pytest
from pydantic import ValidationError

from dermanode.config import Web
from dermanode.config.settings import Login
from dermanode.ledger.records import ObjectState
from dermanode.receive.part10 import file_head
from dermanode.testing.dicomweb import DERMOSCOPIC, Service, as_file, multipart_body, photograph
from dermanode.web.login import hash_password

QUOTED = 'multipart/related; type="application/dicom"; boundary="BoundaryOfTests"'
UNQUOTED = "multipart/related; type=application/dicom; boundary=BoundaryOfTests"
FAILED, REFERENCED, OTHER, REASON = "00081198", "00081199", "0008119A", "00081197"


def reasons(response: object, sequence: str = FAILED) -> list[int]:
    return [item[REASON]["Value"][0] for item in response.json()[sequence]["Value"]]  # type: ignore[attr-defined]  # httpx's response


HEADERS = ("Content-Type: application/dicom\r\n", "", "Content-Type: application/dicom; transfer-syntax=*\r\n")


def test_an_object_is_stored_and_told_with_its_place(service: Service) -> None:
    for kind, header in ((kind, header) for kind in (QUOTED, UNQUOTED) for header in HEADERS):
        response = service.post(multipart_body([as_file(photograph())], header=header), kind=kind)
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/dicom+json"
        item = response.json()[REFERENCED]["Value"][0]
        assert item["00081155"]["Value"] == ["2.25.11"]
        assert item["00081150"]["Value"] == [DERMOSCOPIC]
        assert item["00081190"]["Value"] == ["http://127.0.0.1:8104/dicom-web/studies/2.25.1/series/2.25.10/instances/2.25.11"]
    assert service.stored()[0].PatientName == "Doe^Jane"


def test_the_same_object_has_the_same_digest_as_by_dimse(service: Service) -> None:
    dataset = photograph()
    service.store(dataset)
    content = as_file(dataset)
    data_set = content[144 + struct.unpack_from("<I", content, 140)[0] :]
    ours = file_head(DERMOSCOPIC, "2.25.11", str(dataset.file_meta.TransferSyntaxUID)) + data_set  # type: ignore[arg-type]  # plain texts do
    assert service.spool.path(service.ledger.objects.recent(1)[0].arrival.path).read_bytes() == ours


def test_many_objects_in_small_pieces_keep_their_order(service: Service) -> None:
    body = multipart_body([as_file(photograph(f"2.25.{number}")) for number in range(100, 140)])

    def pieces() -> Iterator[bytes]:
        yield from (body[at : at + 997] for at in range(0, len(body), 997))

    response = service.client.post("/dicom-web/studies", content=pieces(), headers={"content-type": QUOTED})
    assert response.status_code == 200
    assert [item["00081155"]["Value"][0] for item in response.json()[REFERENCED]["Value"]] == [f"2.25.{n}" for n in range(100, 140)]
    assert len(service.released) == 1
    assert service.stow.open_associations() == frozenset()


def test_an_arrival_says_who_brought_it(service: Service) -> None:
    service.store(photograph())
    arrival = service.ledger.objects.recent(1)[0].arrival
    assert arrival.calling_ae == "STOW-RS"
    assert arrival.called_ae == "DERMANODE"
    assert arrival.source_address == "testclient"
    assert [arrival.association] == service.released


def test_a_duplicate_is_a_success_and_a_conflict_goes_to_quarantine(service: Service) -> None:
    service.store(photograph())
    service.store(photograph())
    service.store(photograph(PatientName="Roe^Richard"))
    counts = service.ledger.objects.counts()
    assert counts[ObjectState.WAITING] == counts[ObjectState.QUARANTINED] == 1


def test_an_object_of_another_study_than_the_urls_is_refused_alone(service: Service) -> None:
    body = multipart_body([as_file(photograph()), as_file(photograph("2.25.12", study="2.25.2"))])
    response = service.post(body, path="/dicom-web/studies/2.25.1")
    assert response.status_code == 202
    assert reasons(response) == [0x0110]
    assert "2.25.12: it belongs to the study 2.25.2" in response.headers["warning"]
    assert [str(one.SOPInstanceUID) for one in service.stored()] == ["2.25.11"]


def test_what_is_no_dicom_is_told_apart_and_the_rest_is_stored(service: Service) -> None:
    response = service.post(multipart_body([b"GIF89a" * 40, as_file(photograph()), b"short", b""]))
    assert response.status_code == 202
    assert reasons(response, OTHER) == [0xC000, 0xC000, 0xC000]
    assert len(response.json()[REFERENCED]["Value"]) == 1
    assert service.post(multipart_body([b"GIF89a" * 40])).status_code == 409


def test_what_is_no_storage_class_or_syntax_is_refused_with_its_reason(service: Service) -> None:
    directory = photograph("2.25.12")
    directory.SOPClassUID = "1.2.840.10008.5.1.4.34.6.1"
    nameless = photograph("2.25.13")
    del nameless.StudyInstanceUID
    response = service.post(multipart_body([_with_syntax(as_file(photograph())), as_file(directory), as_file(nameless)]))
    assert response.status_code == 409
    assert reasons(response) == [0xC122, 0x0122, 0xA900]
    assert not service.stored()


def _with_syntax(content: bytes) -> bytes:
    start = 144 + struct.unpack_from("<I", content, 140)[0]
    return file_head(DERMOSCOPIC, "2.25.11", "1.2.840.10008.1.2.4.100") + content[start:]  # type: ignore[arg-type]  # plain texts do


WRONG = (
    ("application/dicom", 415, "multipart/related"),
    ("multipart/related; type=application/dicom+json; boundary=BoundaryOfTests", 415, "application/dicom"),
    ("multipart/form-data; boundary=BoundaryOfTests", 415, "multipart/related"),
    ("", 415, "multipart/related"),
    ("multipart/related; type=application/dicom", 400, "boundary"),
    (f"multipart/related; type=application/dicom; boundary={'x' * 300}", 400, "boundary"),
    ("multipart/related; type=application/dicom; boundary=Another", 400, "boundary"),
)


def test_a_wrong_request_is_refused_in_a_sentence(service: Service) -> None:
    for kind, status, words in WRONG:
        response = service.post(multipart_body([as_file(photograph())]), kind=kind)
        assert response.status_code == status, kind
        assert words in response.text
    for body in (b"", b"--BoundaryOfTests--\r\n", b"--BoundaryOfTests", b"nonsense" * 1000):
        response = service.post(body)
        assert response.status_code == 400
        assert response.text.endswith(".")
    assert service.post(multipart_body([as_file(photograph())]), path="/dicom-web/studies/..%2f..%2fetc").status_code in (400, 404, 405)
    assert not service.stored()


def test_a_body_that_ends_early_loses_nothing_that_was_whole(service: Service) -> None:
    body = multipart_body([as_file(photograph()), as_file(photograph("2.25.12"))])
    response = service.post(body[: len(body) - 400])
    assert response.status_code == 202
    assert reasons(response) == [0xC000]
    assert [str(one.SOPInstanceUID) for one in service.stored()] == ["2.25.11"]
    assert not list((service.spool.root / "incoming").iterdir())
    only = multipart_body([as_file(photograph("2.25.13"))])
    response = service.post(only[: len(only) - 400])
    assert response.status_code == 400
    assert "closing boundary" in response.text


def test_a_full_disk_asks_for_another_try(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.spool, "free_mib", lambda: -1)
    response = service.post(multipart_body([as_file(photograph())]))
    assert response.status_code == 413
    monkeypatch.setattr(service.spool, "free_mib", iter([1, -1]).__next__)
    response = service.post(multipart_body([as_file(photograph())]))
    assert response.status_code == 503
    assert reasons(response) == [0xA700]
    assert response.headers["retry-after"]


def test_a_node_that_stops_takes_nothing_more(service: Service) -> None:
    service.stow.stop()
    response = service.post(multipart_body([as_file(photograph())]))
    assert response.status_code == 503
    assert response.headers["retry-after"]


def test_the_answer_can_be_xml(service: Service) -> None:
    response = service.post(multipart_body([as_file(photograph())]), accept="application/dicom+xml")
    assert response.headers["content-type"] == "application/dicom+xml"
    tree = ElementTree.fromstring(response.content)
    assert [value.text for value in tree.iterfind("DicomAttribute[@tag='00081199']/Item/DicomAttribute[@tag='00081155']/Value")] == [
        "2.25.11"
    ]
    assert service.post(multipart_body([as_file(photograph())]), accept="text/html").status_code == 406


def test_an_origin_is_a_whole_one() -> None:
    for wrong in ("*", "https://*.example.org", "viewer.example.org", "https://viewer.example.org/", "https://a b"):
        with pytest.raises(ValidationError):
            Web(allow_origins=(wrong,))


class TestWithLogin:
    @pytest.fixture
    def web(self) -> Web:
        return Web(login=Login(username="derma", password_hash=hash_password("secret")), allow_origins=("https://viewer.example.org",))

    def test_only_who_logs_in_may_send(self, service: Service) -> None:
        body = multipart_body([as_file(photograph())])
        assert service.post(body).status_code == 401
        assert not service.stored()
        login = "Basic " + base64.b64encode(b"derma:secret").decode()
        assert service.post(body, authorization=login).status_code == 200
        assert service.ledger.objects.recent(1)[0].arrival.association.endswith(" of derma")

    def test_a_viewer_elsewhere_is_let_in_where_it_is_allowed(self, service: Service) -> None:
        asks = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
        allowed = service.client.options("/dicom-web/studies", headers={"origin": "https://viewer.example.org", **asks})
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == "https://viewer.example.org"
        other = service.client.options("/dicom-web/studies", headers={"origin": "https://elsewhere.example.org", **asks})
        assert "access-control-allow-origin" not in other.headers
        page = service.client.options("/cases", headers={"origin": "https://viewer.example.org", **asks})
        assert "access-control-allow-origin" not in page.headers
        login = "Basic " + base64.b64encode(b"derma:secret").decode()
        body = multipart_body([as_file(photograph())])
        assert service.post(body, authorization=login, origin="https://viewer.example.org").status_code == 200
        assert service.post(body, authorization=login, origin="https://elsewhere.example.org").status_code == 403
