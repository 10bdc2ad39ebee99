"""Whether addresses that a text names answer: a HEAD request, or a look-up of the name; kept for a day."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from instance.chute.upstream import Upstream, UpstreamError, UpstreamUrl
from instance.chute.upstream.dial import resolve
from instance.version import VERSION

if TYPE_CHECKING:
    from instance.core.clock import Clock

KEPT_MAX = 5_000
KEPT_NS = 86_400 * 10**9
AT_ONCE = 4
TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 3.0
GONE = (404, 410)


class LiveAddresses:
    """Asks each address once a day. Private networks are reached only where the instance may."""

    def __init__(self, clock: Clock, *, allow_private_networks: bool) -> None:
        self._clock = clock
        self._private = allow_private_networks
        self._upstream: Upstream | None = None
        self._kept: OrderedDict[str, tuple[bool, int]] = OrderedDict()
        self._gate = asyncio.Semaphore(AT_ONCE)

    async def alive(self, address: str) -> bool:
        """Whether a URL is not gone, or the domain behind an e-mail address' @ has an address."""
        now = self._clock.wall_ns()
        kept = self._kept.get(address)
        if kept is not None and now - kept[1] < KEPT_NS:
            return kept[0]
        async with self._gate:
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    found = await (self._answers(address) if "://" in address else self._resolves(address))
            except (TimeoutError, OSError, ValueError, UpstreamError):
                found = False
        self._kept[address] = (found, now)
        if len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)
        return found

    async def _answers(self, url: str) -> bool:
        if self._upstream is None:
            self._upstream = Upstream(allow_private_networks=self._private)
        parts = urlsplit(url)
        origin = UpstreamUrl.parse(f"{parts.scheme}://{parts.netloc}")
        path = quote(parts.path or "/", safe="/:@!$&'()*+,;=%~-._") + (
            f"?{quote(parts.query, safe='/:?@!$&=+,;%~-._')}" if parts.query else ""
        )
        headers = [(b"user-agent", f"stockyard/{VERSION}".encode())]
        response = await self._upstream.send(
            origin, b"HEAD", path.encode("ascii"), headers, b"", connect_timeout_s=CONNECT_TIMEOUT_S
        )
        try:
            return response.status not in GONE
        finally:
            response.close()

    async def _resolves(self, email: str) -> bool:
        return bool(await resolve(email.rpartition("@")[2], 25))

    async def close(self) -> None:
        if self._upstream is not None:
            await self._upstream.close()
            self._upstream = None
