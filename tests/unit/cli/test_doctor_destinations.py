"""What `doctor` says of the ways out."""

from __future__ import annotations

import socket
from pathlib import Path

from dermanode.cli.doctor import Health, destination_signs
from dermanode.config import ClientTls, DicomwebDestination, FhirDestination, FolderDestination, MllpDestination, Oauth


def test_folder_is_named() -> None:
    (sign,) = destination_signs("share", FolderDestination(type="folder", path=Path("/share")))
    assert (sign.subject, sign.health, sign.words) == ("destination share", Health.GOOD, "folder /share")


def test_server_and_its_token_server_are_called() -> None:
    with socket.create_server(("127.0.0.1", 0)) as here, socket.create_server(("127.0.0.1", 0)) as gone:
        away = gone.getsockname()[1]
        gone.close()
        oauth = Oauth(token_url=f"http://127.0.0.1:{away}/token", client_id="node", client_secret="secret")
        ehr = FhirDestination(type="fhir", url=f"http://127.0.0.1:{here.getsockname()[1]}/fhir", oauth=oauth)
        server, tokens = destination_signs("ehr", ehr)
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
            answers, certificates = destination_signs("out", way)
            assert answers.health is Health.GOOD
            assert certificates.health is Health.MISSING
            assert "gone.pem" in certificates.words
