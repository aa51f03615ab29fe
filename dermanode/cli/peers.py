"""Whether the machines that the settings name answer, and let us in."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from dermanode.cli.sign import Health, Sign
from dermanode.config import OrthancWatch, Source
from dermanode.config.tls import ClientTls, ServerTls
from dermanode.domain.identifiers import AETitle
from dermanode.errors import ConfigurationError, SourceRefused, SourceUnavailable

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
"""Study Root, FIND."""
TIMEOUT_S = 5.0
_NO_STUDY = FIND
"""A UID that no study has: the answer is that there is none."""
_SOON_DAYS = 30
_EXPIRED = 10
"""X509_V_ERR_CERT_HAS_EXPIRED"""


def answers(subject: str, host: str, port: int, tls: ClientTls | None, waits: str) -> Sign:
    """Whether somebody listens there, over TLS where that is set; `waits` says what waits while nobody does."""
    try:
        with socket.create_connection((host, port), timeout=TIMEOUT_S) as connection:
            if tls is not None and (trouble := _trouble_with_tls(connection, host, tls)):
                return Sign(subject, Health.MISSING, f"{host}:{port} {trouble}")
    except OSError as error:
        return Sign(subject, Health.NOTE, f"{host}:{port} does not answer now ({error.strerror or error}); {waits}")
    return Sign(subject, Health.GOOD, f"{host}:{port} answers")


def _trouble_with_tls(connection: socket.socket, host: str, tls: ClientTls) -> str:
    try:
        tls.context().wrap_socket(connection, server_hostname=host).close()
    except ConfigurationError as error:
        return f"cannot be called with TLS: {error}"
    except ssl.SSLCertVerificationError as error:
        return f"has a certificate that is not accepted: {error.verify_message}. Renew it there, or set the right `tls.ca`"
    except OSError as error:
        return f"and this node do not agree on TLS ({error.strerror or error}): does it speak TLS on this port, and take our certificate?"
    return ""


def answers_at(subject: str, address: str, tls: ClientTls | None, waits: str) -> Sign:
    """The same for a URL."""
    url = urlsplit(address)
    is_secured = url.scheme == "https"
    return answers(
        subject, url.hostname or "", url.port or (443 if is_secured else 80), (tls or ClientTls()) if is_secured else None, waits
    )


def lets_us_in(subject: str, peer: Source, own_title: AETitle, services: Mapping[str, str], waits: str) -> Sign:
    """Whether a DICOM application accepts an association of ours, with one of these services, named by SOP class."""
    reached = answers(subject, peer.host, peer.port, peer.tls, waits)
    if reached.health is not Health.GOOD:
        return reached
    from pynetdicom import build_context

    from dermanode.receive.dimse_peer import DimsePeer, DimseSearch

    caller = DimsePeer(subject, peer.model_copy(update={"timeout_s": TIMEOUT_S}), own_title)
    where = f"{peer.ae_title} at {peer.host}:{peer.port}"
    try:
        with caller.association([build_context(service) for service in services]) as association:
            offered = {str(context.abstract_syntax) for context in association.accepted_contexts}
            if FIND in offered:
                DimseSearch(caller, association).studies({"StudyInstanceUID": _NO_STUDY})
    except SourceRefused as error:
        return Sign(subject, Health.MISSING, f"{where} refuses us: {error.reason}")
    except SourceUnavailable as error:
        return Sign(subject, Health.NOTE, f"{where} lets us in no further: {error.reason}; {waits}")
    lacking = [name for service, name in services.items() if service not in offered]
    if lacking:
        return Sign(subject, Health.NOTE, f"{where} lets us in, but does not offer us {', '.join(lacking)}")
    return Sign(subject, Health.GOOD, f"{where} lets us in, with {', '.join(services.values())}")


def orthanc_sign(name: str, watch: OrthancWatch) -> Sign:
    """Whether an Orthanc that is watched answers, and knows the user."""
    import httpx

    subject = f"orthanc {name}"
    try:
        said = httpx.get(f"{watch.url.rstrip('/')}/system", auth=(watch.username, watch.password), timeout=TIMEOUT_S)
    except httpx.HTTPError as error:
        return Sign(subject, Health.NOTE, f"{watch.url} does not answer now ({error}); it is watched from where we were, once it does")
    if said.status_code in (401, 403):
        words = f"{watch.url} refuses us (HTTP {said.status_code}): set `username` and `password`, or let them in under its RegisteredUsers"
        return Sign(subject, Health.MISSING, words)
    if said.status_code != 200 or "Version" not in said.text:
        return Sign(
            subject, Health.MISSING, f"{watch.url} is no Orthanc (HTTP {said.status_code}): name its REST address, port 8042 as a rule"
        )
    return Sign(subject, Health.GOOD, f"{watch.url} answers: Orthanc {said.json().get('Version')}")


def certificate_sign(subject: str, certificate: Path, key: Path, now: datetime) -> Sign:
    """Whether our own certificate can be used, and for how long: an expired one is only noticed by who calls."""
    try:
        listening = ServerTls(certificate=certificate, key=key).context()
        until = _valid_until(listening, certificate)
    except (ConfigurationError, OSError) as error:
        if isinstance(error, ssl.SSLCertVerificationError) and error.verify_code == _EXPIRED:
            return Sign(subject, Health.MISSING, f"the certificate {certificate} has expired: nobody who checks it lets us in. Renew it")
        return Sign(subject, Health.MISSING, f"{certificate}: {error}")
    days = (until - now).days
    if days < _SOON_DAYS:
        return Sign(subject, Health.NOTE, f"the certificate {certificate} expires on {until:%Y-%m-%d}: renew it")
    return Sign(subject, Health.GOOD, f"the certificate {certificate} is good until {until:%Y-%m-%d}")


def _valid_until(listening: ssl.SSLContext, certificate: Path) -> datetime:
    """By a handshake with ourselves, which trusts the certificate itself: the library reads no certificate that nobody has checked."""
    calling = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    calling.check_hostname = False
    calling.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    calling.load_verify_locations(certificate)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = calling.wrap_bio(back, there)
    server = listening.wrap_bio(there, back, server_side=True)
    for side in (client, server, client):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    found = client.getpeercert() or {}
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(found.get("notAfter", ""))), UTC)
