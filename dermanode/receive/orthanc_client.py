"""An Orthanc's REST interface, whose refusals keep their HTTP status."""

from __future__ import annotations

import httpx
from pyorthanc import Orthanc

from dermanode.config import OrthancWatch

TIMEOUT_S = 30.0


def orthanc_client(watch: OrthancWatch, timeout_s: float = TIMEOUT_S) -> Orthanc:
    """A client, to be closed. It raises `httpx.HTTPStatusError` where Orthanc refuses, another `httpx.HTTPError` where it is silent.

    pyorthanc alone puts the status into a sentence: a series that was deleted would read like an Orthanc that is gone.
    """
    hooks = {"response": [_refused]}
    return Orthanc(watch.url, watch.username or None, watch.password or None, timeout=timeout_s, event_hooks=hooks)


def _refused(response: httpx.Response) -> None:
    response.raise_for_status()
