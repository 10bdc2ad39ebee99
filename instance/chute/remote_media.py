"""Fetching what a caller names by address (an image in a message), for providers that only take it inlined.

The address is the caller's choice, so it is judged where it is connected to, after names were resolved and for each redirect:
a hosted instance reaches public addresses only, and none is led to link-local ones, where clouds keep their credentials.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Iterable
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import quote, urljoin, urlsplit

from instance.chute.dialects.data_url import Media
from instance.chute.upstream import BlockedAddress, Upstream, UpstreamError, UpstreamUrl
from instance.chute.upstream.dial import Resolve, resolve
from instance.core.errors import StockyardError
from instance.core.instance_file import may_call_private_networks
from instance.version import VERSION

if TYPE_CHECKING:
    from instance.core.core import Core

REDIRECTS_MAX = 3
URLS_MAX = 32
"""Addresses that one call may name."""
AT_ONCE = 4
CONNECT_TIMEOUT_S = 5.0
FETCH_TIMEOUT_S = 30.0
ACCEPTED = ("image/", "audio/", "video/", "application/pdf")
SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"%PDF-", "application/pdf"),
)
_SAFE = "/:?#[]@!$&'()*+,;=%~-._"


async def _resolve_but_link_local(host: str, port: int, resolver: Resolve = resolve) -> list[str]:
    found = await resolver(host, port)
    allowed = [address for address in found if not ip_address(address.partition("%")[0]).is_link_local]
    if found and not allowed:
        raise BlockedAddress(found[0])
    return allowed


class RemoteMedia:
    """Fetches media over HTTP. One object serves many calls; `close` ends its connections."""

    def __init__(
        self, *, allow_private_networks: bool, accepted: tuple[str, ...] = ACCEPTED, https_only: bool = False
    ) -> None:
        """`accepted`: beginnings of the content types that are taken."""
        self._allow_private = allow_private_networks
        self._accepted = accepted
        self._https_only = https_only
        self._upstream: Upstream | None = None

    @classmethod
    def of(cls, core: Core) -> RemoteMedia:
        """One that may reach what this instance may reach."""
        return cls(allow_private_networks=may_call_private_networks(core.hosted))

    async def fetch_all(self, urls: Iterable[tuple[str, str]], max_bytes: int) -> dict[str, Media]:
        """What lies at each (url, param); all of it together at most `max_bytes`.

        Raises `StockyardError` 400 naming the `param` of what cannot be had: `blocked_address`, else `bad_request`; 413 for what is too large.
        """
        asked = list(urls)
        if len(asked) > URLS_MAX:
            raise StockyardError("bad_request", f"A call may name at most {URLS_MAX} addresses.", param=asked[-1][1])
        if not asked:
            return {}
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(url: str, param: str) -> Media:
            async with gate:
                return await self.fetch(url, param, max_bytes)

        tasks = [asyncio.ensure_future(one(url, param)) for url, param in asked]
        try:
            found = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        if sum(len(media.base64) for media in found) * 3 // 4 > max_bytes + 3 * len(found):
            raise _too_large(max_bytes, asked[0][1])
        return {url: media for (url, _), media in zip(asked, found, strict=True)}

    async def fetch(self, url: str, param: str, max_bytes: int) -> Media:
        """What lies at one address. Raises as `fetch_all`."""
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                return await self._fetch(url, param, max_bytes)
        except TimeoutError:
            raise _failed(param, f"did not arrive within {FETCH_TIMEOUT_S:.0f} s") from None
        except UpstreamError as error:
            if error.kind == "blocked_address":
                raise StockyardError(
                    "blocked_address",
                    "The address of an image is not one that may be fetched from.",
                    param=param,
                    retryable=False,
                ) from error
            if error.kind == "too_large":
                raise _too_large(max_bytes, param) from error
            raise _failed(param, f"could not be fetched: {error.kind}") from error

    async def _fetch(self, url: str, param: str, max_bytes: int) -> Media:
        if self._upstream is None:
            self._upstream = Upstream(allow_private_networks=self._allow_private, resolver=_resolve_but_link_local)
        headers = [
            (b"user-agent", f"stockyard/{VERSION}".encode()),
            (b"accept", ",".join(f"{kind}*" if kind.endswith("/") else kind for kind in self._accepted).encode()),
        ]
        for _ in range(REDIRECTS_MAX + 1):
            if self._https_only and urlsplit(url).scheme.lower() != "https":
                raise UpstreamError("blocked_address", "only https is fetched from")
            origin, path = _taken_apart(url, param)
            response = await self._upstream.send(
                origin, b"GET", path, headers, b"", connect_timeout_s=CONNECT_TIMEOUT_S
            )
            try:
                if response.status in (301, 302, 303, 307, 308) and b"location" in response.headers:
                    url = urljoin(url, response.headers[b"location"].decode("latin-1"))
                    continue
                if response.status != 200:
                    raise _failed(param, f"answered {response.status}")
                body = await response.read(max_bytes)
            finally:
                response.close()
            kind = _media_type(response.headers.get(b"content-type", b""), body)
            if not kind.startswith(self._accepted):
                wanted = ", ".join(self._accepted)
                raise _failed(param, f"is of type {kind or 'unknown'}, which is none of {wanted}")
            return Media(kind, b64encode(body).decode())
        raise _failed(param, "was redirected too often")

    async def close(self) -> None:
        if self._upstream is not None:
            await self._upstream.close()
            self._upstream = None


def _taken_apart(url: str, param: str) -> tuple[UpstreamUrl, bytes]:
    try:
        parts = urlsplit(url)
        origin = UpstreamUrl.parse(f"{parts.scheme}://{parts.netloc}")
        path = quote(parts.path or "/", safe=_SAFE) + (f"?{quote(parts.query, safe=_SAFE)}" if parts.query else "")
        return origin, path.encode("ascii")
    except ValueError as error:
        raise _failed(param, f"is none that can be fetched: {error}") from None


def _media_type(header: bytes, body: bytes) -> str:
    kind = header.decode("latin-1").partition(";")[0].strip().lower()
    if kind and kind not in ("application/octet-stream", "binary/octet-stream"):
        return kind
    if body[:4] == b"RIFF" and body[8:12] == b"WEBP":
        return "image/webp"
    return next((name for start, name in SIGNATURES if body.startswith(start)), kind)


def _failed(param: str, why: str) -> StockyardError:
    return StockyardError("bad_request", f"An address in the message {why}.", param=param, retryable=False)


def _too_large(max_bytes: int, param: str) -> StockyardError:
    return StockyardError(
        "body_too_large", f"What has to be inlined is over {max_bytes >> 20} MB.", param=param, retryable=False
    )
