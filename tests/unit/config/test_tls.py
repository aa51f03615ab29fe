from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from dermanode.config.tls import ClientTls, ServerTls
from dermanode.errors import ConfigurationError

OPENSSL = shutil.which("openssl")
needs_openssl = pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed")


def made_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate for that name, signed by itself, and its key."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    command = [str(OPENSSL), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    subprocess.run(
        [*command, "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    return certificate, key


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> None:
    """A whole handshake in memory. Raises `ssl.SSLError` where either side refuses the other."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = (server.wrap_bio(to_server, to_client, server_side=True), client.wrap_bio(to_client, to_server, server_hostname=name))
    for _ in range(10):
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    for side in sides:
        side.do_handshake()


@needs_openssl
def test_both_sides_present_a_certificate_and_believe_the_other(tmp_path: Path) -> None:
    ours, theirs = made_certificate(tmp_path, "node"), made_certificate(tmp_path, "pacs")
    server = ServerTls(certificate=theirs[0], key=theirs[1], client_ca=ours[0]).context()
    handshake(server, ClientTls(ca=theirs[0], certificate=ours[0], key=ours[1]).context(), "pacs")
    with pytest.raises(ssl.SSLError):
        handshake(server, ClientTls(ca=theirs[0]).context(), "pacs")


@needs_openssl
def test_a_server_of_another_name_or_another_authority_is_not_believed(tmp_path: Path) -> None:
    ours, theirs = made_certificate(tmp_path, "node"), made_certificate(tmp_path, "pacs")
    server = ServerTls(certificate=theirs[0], key=theirs[1]).context()
    with pytest.raises(ssl.SSLError, match=r"[Hh]ostname"):
        handshake(server, ClientTls(ca=theirs[0]).context(), "elsewhere")
    handshake(server, ClientTls(ca=theirs[0], is_name_checked=False).context(), "elsewhere")
    with pytest.raises(ssl.SSLError, match="verify failed"):
        handshake(server, ClientTls(ca=ours[0], is_name_checked=False).context(), "pacs")
    with pytest.raises(ssl.SSLError, match="verify failed"):
        handshake(server, ClientTls().context(), "pacs")


def test_a_file_that_is_no_certificate_is_named_with_the_cure(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()
    with pytest.raises(ConfigurationError, match=r"empty\.pem.*PEM"):
        ClientTls(ca=tmp_path / "empty.pem").context()
    with pytest.raises(ConfigurationError, match=r"missing\.pem.*PEM"):
        ClientTls(certificate=tmp_path / "missing.pem", key=tmp_path / "missing.key").context()
