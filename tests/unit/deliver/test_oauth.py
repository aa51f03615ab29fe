from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from dermanode.config import Oauth
from dermanode.deliver.oauth import LEEWAY_S, Tokens
from dermanode.errors import DestinationUnavailable

SETTINGS = Oauth(token_url="https://auth.example.org/token", client_id="node 1", client_secret="s%cret:x", scope="system/*.cruds")


class Issuer:
    """A token server in memory."""

    def __init__(self, **answer: Any) -> None:
        self.requests: list[httpx.Request] = []
        self.answer, self.status = answer, 200

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        token = {"access_token": f"token-{len(self.requests)}", "token_type": "Bearer"} if self.status == 200 else {}
        return httpx.Response(self.status, content=json.dumps({**token, **self.answer}))


def tokens(clock: Callable[[], float] = lambda: 0.0) -> Tokens:
    return Tokens("ehr", SETTINGS, clock=clock)


def client(issuer: Callable[[httpx.Request], httpx.Response]) -> httpx.Client:
    return httpx.Client(transport=httpx.MockTransport(issuer))


def test_token_is_asked_for_with_client_credentials() -> None:
    issuer = Issuer(expires_in=3600)
    assert tokens().bearer(client(issuer)) == "token-1"
    (asked,) = issuer.requests
    assert asked.content == b"grant_type=client_credentials&scope=system%2F%2A.cruds"
    scheme, _, credentials = asked.headers["authorization"].partition(" ")
    assert (scheme, base64.b64decode(credentials)) == ("Basic", b"node+1:s%25cret%3Ax")
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"


def test_token_is_kept_until_shortly_before_its_end() -> None:
    issuer, now_s = Issuer(expires_in=3600), [0.0]
    kept = tokens(lambda: now_s[0])
    with client(issuer) as one:
        assert [kept.bearer(one), kept.bearer(one)] == ["token-1", "token-1"]
        now_s[0] = 3600 - LEEWAY_S - 1
        assert kept.bearer(one) == "token-1"
        now_s[0] = 3600 - LEEWAY_S
        assert kept.bearer(one) == "token-2"


def test_short_lived_token_is_used_for_half_its_life() -> None:
    issuer, now_s = Issuer(expires_in=10), [0.0]
    kept = tokens(lambda: now_s[0])
    with client(issuer) as one:
        kept.bearer(one)
        now_s[0] = 4.0
        assert kept.bearer(one) == "token-1"
        now_s[0] = 5.0
        assert kept.bearer(one) == "token-2"


def test_refused_token_is_forgotten() -> None:
    kept = tokens()
    with client(Issuer()) as one:
        kept.bearer(one)
        kept.forget()
        assert kept.bearer(one) == "token-2"


def test_refusal_is_told_in_the_servers_words_without_our_secret() -> None:
    issuer = Issuer(error="invalid_client", error_description="no client node 1 with s%cret:x")
    issuer.status = 401
    with pytest.raises(DestinationUnavailable, match="HTTP 401: invalid_client no client node 1") as refused:
        tokens().bearer(client(issuer))
    assert "s%cret:x" not in str(refused.value)


@pytest.mark.parametrize("content", [b"<html>", b"[]", b'{"access_token": ""}', b'{"access_token": 7}'])
def test_answer_without_a_token_is_said(content: bytes) -> None:
    with pytest.raises(DestinationUnavailable, match="HTTP 200: no access token in its answer"):
        tokens().bearer(client(lambda _request: httpx.Response(200, content=content)))


@pytest.mark.parametrize(
    ("error", "words"), [(httpx.ConnectError("refused"), "cannot be reached: refused"), (httpx.ReadTimeout(""), "in time")]
)
def test_absent_token_server_is_tried_again(error: httpx.HTTPError, words: str) -> None:
    def absent(request: httpx.Request) -> httpx.Response:
        raise error

    with pytest.raises(DestinationUnavailable, match=f"auth.example.org/token, which .*{words}"):
        tokens().bearer(client(absent))
