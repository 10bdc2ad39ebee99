"""Opens connections: names resolved off the loop, addresses checked, TLS verified."""

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable

from instance.chute.upstream.connection import Connection
from instance.chute.upstream.errors import BlockedAddress, UpstreamError
from instance.chute.upstream.limits import Limits
from instance.chute.upstream.url import UpstreamUrl
from instance.core.address_policy import AddressPolicy

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Addresses of (host, port), best first; raises OSError when there are none."""


async def resolve(host: str, port: int) -> list[str]:
    """Addresses by the system's resolver, on a thread."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def verifying_context() -> ssl.SSLContext:
    """TLS with the system's certificate authorities (or SSL_CERT_FILE), host names checked, TLS 1.2 at least."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


class Dialer:
    """Makes the connection for a URL, trying the name's addresses in turn."""

    def __init__(
        self, policy: AddressPolicy, limits: Limits, tls: ssl.SSLContext | None = None, resolver: Resolve = resolve
    ) -> None:
        self._policy = policy
        self._limits = limits
        self._tls = tls
        self._resolver = resolver
        self._known: dict[tuple[str, int], tuple[float, list[str]]] = {}

    async def dial(self, url: UpstreamUrl, make: Callable[[], Connection], timeout_s: float) -> Connection:
        """An open connection; raises UpstreamError of kind connect, tls or connect_timeout.

        The policy judges each address that is about to be connected to, not the name it came from.
        """
        tls = await self._tls_context() if url.scheme == "https" else None
        addresses = await self._addresses(url)
        deadline = asyncio.get_running_loop().time() + timeout_s
        problem: UpstreamError | None = None
        for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            if not self._policy.allows(address):
                problem = problem or BlockedAddress(address)
                continue
            share_s = max(0.0, deadline - asyncio.get_running_loop().time()) / left
            try:
                return await self._connect(url, address, make, tls, share_s)
            except UpstreamError as error:
                problem = error
        self._known.pop((url.host, url.port), None)
        raise problem or UpstreamError("connect", f"{url.host} has no address")

    async def _connect(
        self, url: UpstreamUrl, address: str, make: Callable[[], Connection], tls: ssl.SSLContext | None, share_s: float
    ) -> Connection:
        where = f"{url.host} ({address}) port {url.port}" if address != url.host else f"{address} port {url.port}"
        loop = asyncio.get_running_loop()
        name = url.host if tls is not None else None
        try:
            async with asyncio.timeout(share_s):
                _, connection = await loop.create_connection(make, address, url.port, ssl=tls, server_hostname=name)
        except TimeoutError as error:
            raise UpstreamError("connect_timeout", f"{where} did not answer within {share_s:.1f} s") from error
        except ssl.SSLError as error:
            reason = getattr(error, "verify_message", "") or error.reason or str(error)
            raise UpstreamError("tls", f"no trusted TLS connection to {where}: {reason}") from error
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise UpstreamError("connect", f"cannot connect to {where}: {reason}") from error
        return connection

    async def _addresses(self, url: UpstreamUrl) -> list[str]:
        key = (url.host, url.port)
        now = asyncio.get_running_loop().time()
        known = self._known.get(key)
        if known is not None and now < known[0]:
            return known[1]
        try:
            addresses = await self._resolver(url.host, url.port)
        except OSError as error:
            raise UpstreamError("connect", f"{url.host} cannot be resolved: {error.strerror or error}") from error
        if len(self._known) >= self._limits.resolve_entries:
            self._known.pop(next(iter(self._known)))
        self._known[key] = (now + self._limits.resolve_ttl_s, addresses)
        return addresses

    async def _tls_context(self) -> ssl.SSLContext:
        """Made at the first https call, on a thread: reading the authorities takes tens of milliseconds."""
        if self._tls is None:
            self._tls = await asyncio.get_running_loop().run_in_executor(None, verifying_context)
        return self._tls
