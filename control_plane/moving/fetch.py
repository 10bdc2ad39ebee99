"""Fetches a file for an import from an address that a customer gave: https, public addresses only, bounded."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

from control_plane.errors import CloudError
from control_plane.moving.to_disk import save, too_large
from instance.core.address_policy import is_public

WHOLE_S = 1800.0
SILENCE_S = 30.0
PARAM = "import_url"

Resolve = Callable[[str, int], Awaitable[list[str]]]


async def resolve(host: str, port: int) -> list[str]:
    """The host's addresses by the system's resolver. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass(frozen=True, slots=True)
class Fetcher:
    """`allows` judges the very address that is then connected to, so that a name cannot come to mean another meanwhile."""

    allows: Callable[[str], bool] = is_public
    resolver: Resolve = resolve
    tls: ssl.SSLContext | None = None

    async def fetch(self, url: str, into: Path, most: int) -> None:
        """Write what lies at `url` to `into`, a new file. Raises `invalid_value`, or `body_too_large`."""
        try:
            async with asyncio.timeout(WHOLE_S):
                await self._fetch(url, into, most)
        except TimeoutError:
            raise _refusal(f"it was not there within {WHOLE_S:g} s") from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as problem:
            raise _refusal(f"it cannot be fetched ({type(problem).__name__})") from None

    async def _fetch(self, url: str, into: Path, most: int) -> None:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port or 443
        except ValueError:
            raise _refusal("it is no address") from None
        if parts.scheme != "https" or not host or parts.username is not None:
            raise _refusal("it must be an https address without a user name")
        address = await self._address(host, port)
        where = f"[{address}]" if ":" in address else address
        target = httpx2.URL(url).copy_with(host=where, port=port, fragment=None)
        headers = {"Host": parts.netloc, "Accept-Encoding": "identity"}
        client = httpx2.AsyncClient(trust_env=False, verify=self.tls or ssl.create_default_context(), timeout=SILENCE_S)
        async with (
            client,
            client.stream("GET", target, headers=headers, extensions={"sni_hostname": host}) as answer,
        ):
            if answer.status_code != 200:
                more = "; give the address that it leads to" if answer.is_redirect else ""
                raise _refusal(f"its host answered {answer.status_code}{more}")
            declared = answer.headers.get("content-length", "")
            if declared.isdigit() and int(declared) > most:
                raise too_large(most)
            await save(answer.aiter_raw(), into, most)

    async def _address(self, host: str, port: int) -> str:
        try:
            addresses = await self.resolver(host, port)
        except OSError:
            addresses = []
        if not addresses:
            raise _refusal("its host has no address")
        allowed = [address for address in addresses if self.allows(address)]
        if not allowed:
            raise _refusal("its host is not on the public internet")
        return allowed[0]


def _refusal(why: str) -> CloudError:
    return CloudError("invalid_value", f"{PARAM}: {why}", param=PARAM)
