"""What `doctor` says of the HL7 listener."""

from __future__ import annotations

from pathlib import Path

from dermanode.cli.doctor import Health, hl7_signs
from dermanode.config import Hl7Listener, ServerTls


def test_listener_that_is_off_is_said_to_be() -> None:
    (sign,) = hl7_signs(Hl7Listener())
    assert (sign.health, sign.words) == (Health.GOOD, "no messages are taken: `hl7.is_enabled` is off")


def test_missing_issuer_and_certificates_are_told(tmp_path: Path) -> None:
    tls = ServerTls(certificate=tmp_path / "none.pem", key=tmp_path / "none.key")
    signs = list(hl7_signs(Hl7Listener(is_enabled=True, port=0, tls=tls)))
    assert [sign.health for sign in signs] == [Health.MISSING, Health.NOTE, Health.GOOD]
    assert "hl7.default_issuer" in signs[1].words
    assert signs[2].subject == "HL7 port (TLS)"
