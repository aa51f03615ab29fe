"""Certificates: who we are, and whom we trust."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from dermanode.config.section import Section


class ServerTls(Section):
    """TLS of a listener."""

    certificate: Path = Field(..., description="Our certificate with its chain, PEM.")
    key: Path = Field(..., description="Its private key, PEM.")
    client_ca: Path | None = Field(
        None, description="Certificates of the authorities that clients are to be signed by, PEM; set, a client without one is refused."
    )


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
