"""Certificates: who we are, and whom we trust."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from dermanode.config.section import Section
from dermanode.errors import ConfigurationError


class ServerTls(Section):
    """TLS of a listener."""

    certificate: Path = Field(..., description="Our certificate with its chain, PEM.")
    key: Path = Field(..., description="Its private key, PEM.")
    client_ca: Path | None = Field(
        None, description="Certificates of the authorities that clients are to be signed by, PEM; set, a client without one is refused."
    )

    def context(self) -> ssl.SSLContext:
        """For a listening socket. Raises `ConfigurationError` for files that are missing, unreadable or do not belong together."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        _load_own(made, self.certificate, self.key)
        if self.client_ca is not None:
            _load_trusted(made, self.client_ca)
            made.verify_mode = ssl.CERT_REQUIRED
        return made


class ClientTls(Section):
    """TLS towards a server."""

    ca: Path | None = Field(
        None, description="Certificates of the authorities that the server is to be signed by, PEM; by default the system's."
    )
    certificate: Path | None = Field(None, description="Our own certificate, PEM, where the server asks for one (mTLS).")
    key: Path | None = Field(None, description="Its private key, PEM.")
    is_name_checked: bool = Field(True, description="The server's certificate must name the host that is called.")

    @model_validator(mode="after")
    def _has_both_or_none(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("`certificate` and `key` belong together: set both or none")
        return self

    def context(self) -> ssl.SSLContext:
        """For a connecting socket. Raises `ConfigurationError` for files that are missing, unreadable or do not belong together."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.ca is None:
            made.load_default_certs()
        else:  # only those: any of the system's would do for an impostor with a certificate for the name
            _load_trusted(made, self.ca)
        if self.certificate is not None and self.key is not None:
            _load_own(made, self.certificate, self.key)
        made.check_hostname = self.is_name_checked
        return made


def towards(host: str, tls: ClientTls | None) -> tuple[ssl.SSLContext, str] | None:
    """What a DICOM association with that host is secured with; None for one that is not. Raises `ConfigurationError`."""
    return None if tls is None else (tls.context(), host)


def _load_own(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    try:
        # Without this, OpenSSL would ask a terminal for the password of a key.
        context.load_cert_chain(certificate, key, password=lambda: "")
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"the certificate {certificate} with the key {key} cannot be used: {error.strerror or error}",
            cure="Name a certificate and its own private key without a password, both PEM, that the node's user may read.",
        ) from error


def _load_trusted(context: ssl.SSLContext, authorities: Path) -> None:
    try:
        context.load_verify_locations(authorities)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"the authorities' certificates {authorities} cannot be used: {error.strerror or error}",
            cure="Name a PEM file of certificates that the node's user may read.",
        ) from error
