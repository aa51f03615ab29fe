"""What `doctor` says of the ways out."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dermanode.cli.doctor import Health, destination_signs, source_signs
from dermanode.cli.peers import certificate_sign
from dermanode.config import (
    ClientTls,
    DicomwebDestination,
    FhirDestination,
    FolderDestination,
    MllpDestination,
    Oauth,
    OrthancWatch,
    Priors,
    ServerTls,
    Settings,
    Source,
)
from dermanode.domain import AETitle
from dermanode.testing.certificates import Authority
from dermanode.testing.pacs import LoopbackPacs

OWN = AETitle("DERMANODE")


def test_folder_is_named(tmp_path: Path) -> None:
    (sign,) = destination_signs("share", FolderDestination(type="folder", path=tmp_path / "share"), OWN)
    assert (sign.subject, sign.health, sign.words) == ("destination share", Health.GOOD, f"folder {tmp_path / 'share'}")


def test_server_and_its_token_server_are_called() -> None:
    with socket.create_server(("127.0.0.1", 0)) as here, socket.create_server(("127.0.0.1", 0)) as gone:
        away = gone.getsockname()[1]
        gone.close()
        oauth = Oauth(token_url=f"http://127.0.0.1:{away}/token", client_id="node", client_secret="secret")
        ehr = FhirDestination(type="fhir", url=f"http://127.0.0.1:{here.getsockname()[1]}/fhir", oauth=oauth)
        server, tokens = destination_signs("ehr", ehr, OWN)
    assert (server.subject, server.health) == ("destination ehr", Health.GOOD)
    assert (tokens.subject, tokens.health) == ("destination ehr, its token server", Health.NOTE)


def test_certificates_that_cannot_be_used_are_told_of_every_way_out(tmp_path: Path) -> None:
    tls = ClientTls(ca=tmp_path / "gone.pem")
    with socket.create_server(("127.0.0.1", 0)) as here:
        port = here.getsockname()[1]
        url = f"https://127.0.0.1:{port}/x"
        ways = (
            MllpDestination(type="mllp", host="127.0.0.1", port=port, tls=tls),
            DicomwebDestination(type="dicomweb", url=url, tls=tls),
            FhirDestination(type="fhir", url=url, tls=tls),
        )
        for way in ways:
            (sign,) = destination_signs("out", way, OWN)
            assert sign.health is Health.MISSING
            assert "gone.pem" in sign.words


def test_pacs_that_lets_us_in_is_told_from_one_that_goes_by_another_title(tmp_path: Path) -> None:
    with LoopbackPacs(tmp_path) as pacs:
        right = pacs.destination()
        (sign,) = destination_signs("pacs", right, OWN)
        assert (sign.health, sign.words) == (Health.GOOD, f"LOOPBACK at 127.0.0.1:{pacs.port} lets us in, with C-ECHO")
        pacs._entity.require_called_aet = True
        (sign,) = destination_signs("pacs", right.model_copy(update={"ae_title": AETitle("OTHER")}), OWN)
        assert sign.health is Health.MISSING
        assert "it does not answer to the AE title OTHER" in sign.words
        source = Source(ae_title=AETitle("LOOPBACK"), host="127.0.0.1", port=pacs.port)
        (sign,) = source_signs(Settings(sources={"pacs": source}))
        assert sign.health is Health.MISSING
        assert "it offers none of Study Root" in sign.words


def test_source_that_gives_no_earlier_reports_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    source = Source(ae_title=AETitle("PACS"), host="127.0.0.1", port=port, retrieve="move")
    away, unfit = source_signs(Settings(sources={"pacs": source}, priors=Priors(ask=("pacs",))))
    assert away.health is Health.NOTE
    assert unfit.health is Health.MISSING
    assert "set `retrieve: get`" in unfit.words


def test_certificate_of_a_server_that_has_expired_is_told_with_the_cure(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    old = authority.issue("old", timedelta(seconds=-1))
    listening = ServerTls(certificate=old.certificate, key=old.key).context()
    with socket.create_server(("127.0.0.1", 0)) as server:
        caller = threading.Thread(target=_serve_one, args=(server, listening))
        caller.start()
        his = MllpDestination(type="mllp", host="127.0.0.1", port=server.getsockname()[1], tls=ClientTls(ca=authority.ca))
        (sign,) = destination_signs("his", his, OWN)
        caller.join(10)
    assert sign.health is Health.MISSING
    assert "has a certificate that is not accepted: certificate has expired. Renew it there" in sign.words


def _serve_one(server: socket.socket, context: ssl.SSLContext) -> None:
    with suppress(OSError), context.wrap_socket(server.accept()[0], server_side=True) as peer:
        peer.recv(1)


def test_own_certificate_is_told_by_its_last_day(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    now = datetime.now(UTC)
    for name, valid, health, words in (
        ("good", timedelta(days=90), Health.GOOD, "is good until"),
        ("soon", timedelta(days=9), Health.NOTE, "expires on"),
        ("old", timedelta(seconds=-1), Health.MISSING, "has expired"),
    ):
        made = authority.issue(name, valid)
        sign = certificate_sign("DICOM port (TLS)", made.certificate, made.key, now)
        assert sign.health is health
        assert words in sign.words
    other = certificate_sign("DICOM port (TLS)", made.certificate, tmp_path / "good.key", now)
    assert other.health is Health.MISSING
    assert "old.pem" in other.words


def test_orthanc_that_is_none_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    (sign,) = source_signs(Settings(orthanc={"clinic": OrthancWatch(url=f"http://127.0.0.1:{port}")}))
    assert (sign.subject, sign.health) == ("orthanc clinic", Health.NOTE)
