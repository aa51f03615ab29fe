"""Access tokens by client credentials (RFC 6749, 4.4)."""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import quote_plus

import httpx

from dermanode.config import Oauth
from dermanode.errors import DestinationUnavailable

UNSAID_LIFETIME_S = 300.0
"""Of a token whose server does not say how long it is good for; a refusal ends it sooner."""
LEEWAY_S = 30.0
"""A token is not used that may run out on its way."""


class Tokens:
    """Asks for a token when there is none that is good, and keeps it as long as it is. Used by one thread."""

    def __init__(self, destination: str, settings: Oauth, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._destination, self._settings, self._clock = destination, settings, clock
        self._token, self._good_until_s = "", 0.0

    def bearer(self, client: httpx.Client) -> str:
        """Raises `DestinationUnavailable`: nothing is wrong with the message, and credentials can be put right."""
        if not self._token or self._clock() >= self._good_until_s:
            self._ask(client)
        return self._token

    def forget(self) -> None:
        """The token was refused: the next one is asked for anew."""
        self._token = ""

    def _ask(self, client: httpx.Client) -> None:
        asked = self._settings
        form = {"grant_type": "client_credentials", **({"scope": asked.scope} if asked.scope else {})}
        # RFC 6749, 2.3.1: both are form-encoded before they are put together
        credentials = httpx.BasicAuth(quote_plus(asked.client_id), quote_plus(asked.client_secret))
        try:
            response = client.post(asked.token_url, data=form, auth=credentials, headers={"accept": "application/json"})
        except httpx.TimeoutException as error:
            raise self._none("gave no answer in time") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._none(f"cannot be reached: {error}") from error
        try:
            said = response.json()
        except ValueError:
            said = None
        if not isinstance(said, dict):
            said = {}
        token, lifetime_s = said.get("access_token"), said.get("expires_in")
        if not response.is_success or not isinstance(token, str) or not token:
            # 5.2: an error code for machines, and perhaps a description for people
            why = " ".join(str(said[name]) for name in ("error", "error_description") if said.get(name)) or "no access token in its answer"
            raise self._none(f"answered HTTP {response.status_code}: {why}".replace(asked.client_secret, "..."))
        good_for_s = float(lifetime_s) if isinstance(lifetime_s, int | float) else UNSAID_LIFETIME_S
        self._token = token
        self._good_until_s = self._clock() + good_for_s - min(LEEWAY_S, good_for_s / 2)

    def _none(self, why: str) -> DestinationUnavailable:
        return DestinationUnavailable(self._destination, f"no token from {self._settings.token_url}, which {why}")
