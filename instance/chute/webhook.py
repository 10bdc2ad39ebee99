"""Tells a webhook what happened: notices of a module, posted in the background."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import orjson

from instance.chute.upstream import Upstream, UpstreamError, UpstreamUrl
from instance.core.instance_file import may_call_private_networks
from instance.version import VERSION

if TYPE_CHECKING:
    from instance.core.core import Core

WAITING_MAX = 100
"""Notices that wait to be sent; what comes beyond is dropped and logged."""
TIMEOUT_S = 10.0
ANSWER_MAX_BYTES = 64 << 10

log = logging.getLogger("stockyard.modules")


class Webhook:
    """Posts one JSON object for each notice, in order, in the background. Hosted, private addresses are not posted to.

    `module` is whose notices they are, for the log.
    """

    def __init__(self, url: str, core: Core, module: str) -> None:
        self._module = module
        self._url = UpstreamUrl.parse(url)
        self._upstream = Upstream(allow_private_networks=may_call_private_networks(core.hosted))
        self._waiting: asyncio.Queue[dict[str, Any]] = asyncio.Queue(WAITING_MAX)
        self._sender = asyncio.create_task(self._send_all())

    def add(self, notice: dict[str, Any]) -> None:
        """Have it sent; never waits."""
        try:
            self._waiting.put_nowait(notice)
        except asyncio.QueueFull:
            log.warning("%s: the webhook is too slow; a notice was dropped", self._module)

    async def close(self) -> None:
        """Send no more."""
        self._sender.cancel()
        await asyncio.gather(self._sender, return_exceptions=True)
        await self._upstream.close()

    async def _send_all(self) -> None:
        while True:
            notice = await self._waiting.get()
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    await self._send(notice)
            except (UpstreamError, TimeoutError) as error:
                log.warning("%s: the webhook could not be told: %s", self._module, error or type(error).__name__)

    async def _send(self, notice: dict[str, Any]) -> None:
        headers = [(b"content-type", b"application/json"), (b"user-agent", f"stockyard/{VERSION}".encode())]
        response = await self._upstream.send(
            self._url, b"POST", b"", headers, orjson.dumps(notice), connect_timeout_s=TIMEOUT_S
        )
        try:
            await response.read(ANSWER_MAX_BYTES)
            if response.status >= 300:
                log.warning("%s: the webhook answered %d", self._module, response.status)
        finally:
            response.close()
