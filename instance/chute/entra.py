"""Access tokens of Microsoft Entra for an application (OAuth 2.0 client credentials), kept and renewed before they expire."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from instance.core.clock import Clock
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    import httpx2

AUTHORITY = "https://login.microsoftonline.com"
SCOPE = "https://cognitiveservices.azure.com/.default"
RENEW_BEFORE_NS = 300 * 10**9
TIMEOUT_S = 15.0
USUAL_LIFE_S = 3600


class EntraToken:
    """The token of one application. Concurrent callers wait for one request; a token that still holds is used while the
    renewal of an expiring one fails."""

    def __init__(self, tenant: str, client_id: str, secret: str, clock: Clock, authority: str = "") -> None:
        self._url = f"{(authority or AUTHORITY).rstrip('/')}/{quote(tenant, safe='')}/oauth2/v2.0/token"
        self._form = {
            "grant_type": "client_credentials",
            "client_id": client_id,
            "client_secret": secret,
            "scope": SCOPE,
        }
        self._clock = clock
        self._lock = asyncio.Lock()
        self._token = ""
        self._expires_ns = 0

    async def get(self) -> str:
        """A token that holds for a while. Raises `provider_auth_failed` when none can be had."""
        if self._clock.mono_ns() < self._expires_ns - RENEW_BEFORE_NS:
            return self._token
        async with self._lock:
            if self._clock.mono_ns() >= self._expires_ns - RENEW_BEFORE_NS:
                try:
                    await self._renew()
                except StockyardError:
                    if self._clock.mono_ns() >= self._expires_ns:
                        raise
            return self._token

    async def _renew(self) -> None:
        import httpx2  # heavy, and needed only by those who use Entra

        try:
            async with httpx2.AsyncClient(timeout=TIMEOUT_S) as client:
                response = await client.post(self._url, data=self._form)
            answer = _body(response)
        except httpx2.HTTPError as error:
            raise _refused(f"{type(error).__name__}") from error
        token = answer.get("access_token")
        if response.status_code != 200 or not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise _refused(str(answer.get("error_description") or answer.get("error") or response.status_code)[:300])
        seconds = answer.get("expires_in")
        lasts_s = int(str(seconds)) if str(seconds).isdigit() else USUAL_LIFE_S
        self._token = token
        self._expires_ns = self._clock.mono_ns() + lasts_s * 10**9


def _body(response: httpx2.Response) -> dict[str, Any]:
    try:
        found = response.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _refused(said: str) -> StockyardError:
    return StockyardError("provider_auth_failed", f"Microsoft Entra gave no token: {said}.", retryable=False)
