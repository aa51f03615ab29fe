"""A FHIR server as a destination: a transaction bundle, posted to its base."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import httpx

from dermanode.config import FhirDestination
from dermanode.deliver.destination import Package
from dermanode.errors import DeliveryRefused, DestinationUnavailable

_TRY_AGAIN = frozenset({408, 409, 412, 425, 429})
"""Answers below 500 that another try may change: time-outs, limits, and conflicts with a transaction that ran at the same time.

412 is what a conditional create gets where two resources already match; an administrator merges them.
"""


class Fhir:
    """Posts the bundles of a package."""

    def __init__(self, name: str, settings: FhirDestination) -> None:
        self.name, self.settings = name, settings
        self._headers = {"content-type": "application/fhir+json", "accept": "application/fhir+json"}
        if settings.token:
            self._headers["authorization"] = f"Bearer {settings.token}"

    def deliver(self, package: Package) -> str:
        try:
            with httpx.Client(timeout=self.settings.timeout_s, headers=self._headers) as client:
                return "; ".join(self._post(client, file.read_bytes()) for file in package.files)
        except httpx.TimeoutException as error:
            raise DestinationUnavailable(self.name, f"gave no answer within {self.settings.timeout_s:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise DestinationUnavailable(self.name, f"{self.settings.url} cannot be reached: {error}") from error

    def _post(self, client: httpx.Client, bundle: bytes) -> str:
        response = client.post(self.settings.url, content=bundle)
        said = _parsed(response)
        words = f"HTTP {response.status_code}" + (f": {problems}" if (problems := _problems(said)) else "")
        if response.is_success:
            return _receipt(response.status_code, said)
        if response.status_code in _TRY_AGAIN or response.is_server_error:
            raise DestinationUnavailable(self.name, f"answered {words}")
        # 3xx too: a transaction is not sent to an address that nobody configured
        raise DeliveryRefused(self.name, f"refused with {words}")


def _parsed(response: httpx.Response) -> dict[str, Any]:
    try:
        said = response.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        return {}
    return said if isinstance(said, dict) else {}


def _receipt(status: int, said: dict[str, Any]) -> str:
    """`HTTP 200; 7 created, 1 unchanged; DiagnosticReport/17`."""
    answers = [entry.get("response") or {} for entry in said.get("entry") or () if isinstance(entry, dict)]
    counts = Counter(str(answer.get("status", "?")).split(" ")[0] for answer in answers)
    words = {"200": "present", "201": "created", "304": "unchanged"}
    summary = ", ".join(f"{count} {words.get(code, code)}" for code, count in sorted(counts.items(), reverse=True))
    reports = [str(a["location"]).split("/_history")[0] for a in answers if "DiagnosticReport/" in str(a.get("location", ""))]
    return "; ".join(filter(None, [f"HTTP {status}", summary, *reports]))


def _problems(said: dict[str, Any]) -> str:
    """The text of an OperationOutcome."""
    texts = []
    for issue in said.get("issue") or ():
        text = (issue.get("details") or {}).get("text") or issue.get("diagnostics") or issue.get("code", "")
        where = ", ".join(issue.get("expression") or ())
        texts.append(f"{text} ({where})" if where else text)
    return "; ".join(texts)[:1000]
