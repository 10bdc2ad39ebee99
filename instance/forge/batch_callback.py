"""Tells whoever asked for it that a batch has ended: one signed POST, repeated while it is not taken."""

from __future__ import annotations

import asyncio
import hmac
import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from instance.chute.upstream import Upstream, UpstreamError, UpstreamUrl
from instance.core.errors import StockyardError
from instance.core.instance_file import may_call_private_networks
from instance.version import VERSION

if TYPE_CHECKING:
    from instance.core.core import Core

TRIES = 5
FIRST_WAIT_S = 1.0
TIMEOUT_S = 10.0
ANSWER_MAX_BYTES = 64 << 10
SIGNATURE = b"x-stockyard-signature"

log = logging.getLogger("stockyard.forge")


def checked_url(url: str) -> str:
    """The address; raises `invalid_value` for one that cannot be posted to."""
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https"):
            raise ValueError("it begins with http:// or https://")
        UpstreamUrl.parse(url)
    except ValueError as error:
        raise StockyardError(
            "invalid_value", f"The callback's address cannot be used: {error}.", param="callback_url"
        ) from None
    return url


def signature(secret: bytes, body: bytes) -> str:
    """`sha256=` and the HMAC of the body in hex, as receivers compute it to know the sender."""
    return "sha256=" + hmac.new(secret, body, "sha256").hexdigest()


class BatchCallback:
    """Posts. Hosted, private addresses are not posted to."""

    def __init__(self, core: Core) -> None:
        self._clock = core.clock
        self._upstream = Upstream(allow_private_networks=may_call_private_networks(core.hosted))

    async def tell(self, url: str, secret: bytes, event: dict[str, Any]) -> bool:
        """Whether it was taken (2xx), after at most `TRIES` tries."""
        body = orjson.dumps(event)
        headers = [
            (b"content-type", b"application/json"),
            (b"user-agent", f"stockyard/{VERSION}".encode()),
            (SIGNATURE, signature(secret, body).encode()),
        ]
        for attempt in range(TRIES):
            if attempt:
                await self._clock.sleep(FIRST_WAIT_S * 4 ** (attempt - 1))
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    response = await self._upstream.send(
                        UpstreamUrl.parse(url), b"POST", b"", headers, body, connect_timeout_s=TIMEOUT_S
                    )
                    try:
                        await response.read(ANSWER_MAX_BYTES)
                    finally:
                        response.close()
                if 200 <= response.status < 300:
                    return True
                log.warning("the callback of batch %s was answered with %d", event.get("id"), response.status)
            except (UpstreamError, TimeoutError) as error:
                log.warning("the callback of batch %s failed: %s", event.get("id"), error or type(error).__name__)
        return False

    async def close(self) -> None:
        await self._upstream.close()
