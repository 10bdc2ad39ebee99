"""One provider, ready to be called: an API in some dialect behind the upstream client, or the mock model."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from instance.chute.mock_model import MockModel
from instance.chute.mock_response import MockResponse
from instance.chute.provider_dialects import PROVIDER_DIALECTS, native_base_url, openai_base_url
from instance.chute.provider_health import ProviderHealth
from instance.chute.provider_key import ProviderKey
from instance.chute.provider_spec import DIALECTS, BadProvider, ProviderSpec, check_headers, check_key
from instance.chute.upstream import Upstream, UpstreamResponse, UpstreamUrl
from instance.chute.upstream.client import header_lines
from instance.core.errors import StockyardError
from instance.version import VERSION

JSON_TYPE = b"application/json"
USER_AGENT = f"stockyard/{VERSION}".encode()


class Provider:
    """One provider, ready to be called. Immutable but for `health` and `listed`; a change makes a new one."""

    __slots__ = (
        "_headers",
        "_lines",
        "_mock",
        "_openai_headers",
        "_openai_lines",
        "_upstream",
        "dialect",
        "health",
        "is_mock",
        "key_name",
        "key_source",
        "listed",
        "listed_at_ns",
        "name",
        "openai_url",
        "problem",
        "region",
        "speaks",
        "spec",
        "stream_usage",
        "timeout_s",
        "url",
        "usable",
    )

    def __init__(
        self,
        spec: ProviderSpec,
        upstream: Upstream,
        mock: MockModel | None = None,
        health: ProviderHealth | None = None,
    ) -> None:
        self.spec = spec
        self.name = spec.name
        self.dialect = spec.type
        self.region = spec.region
        self.timeout_s = spec.timeout_s
        self.is_mock = mock is not None
        self.key_source = spec.key_source
        self.key_name = spec.key_source if spec.api_key else ""
        self.stream_usage = spec.stream_usage
        self.health = health or ProviderHealth()
        self.listed: tuple[str, ...] = ()
        """Models that the provider itself listed when last asked."""
        self.listed_at_ns = 0
        self.problem = ""
        """Why it cannot be used although it is configured; empty when it can."""
        self.url: UpstreamUrl | None = None
        self.openai_url: UpstreamUrl | None = None
        """Where it is OpenAI-compatible, for calls that no shim serves; `None` when it is not."""
        self.speaks = frozenset(spec.speaks)
        """Dialects of `/v1` that its OpenAI-compatible endpoint takes as they are."""
        self._upstream = upstream
        self._mock = mock
        self._headers: list[tuple[bytes, bytes]] = []
        self._openai_headers = self._headers
        if mock is None:
            self._prepare()
        self._lines = header_lines(self._headers)
        self._openai_lines = header_lines(self._openai_headers)
        self.usable = self.is_mock or (spec.usable and not self.problem)

    def _prepare(self) -> None:
        spec = self.spec
        if spec.key_lost and not spec.api_key:
            self.problem = "its stored key was sealed under another secret key; store it again"
            return
        if spec.type not in DIALECTS:
            self.problem = f"type {spec.type!r} is not served; known are {', '.join(DIALECTS)}"
            return
        try:
            if spec.base_url:
                self.url = UpstreamUrl.parse(native_base_url(spec.type, spec.base_url))
                openai = spec.openai_base_url or openai_base_url(spec.type, spec.base_url)
                self.openai_url = UpstreamUrl.parse(openai) if openai else None
            if spec.api_key:
                check_key(spec.api_key)
            check_headers(dict(spec.headers))
        except BadProvider as error:
            self.problem = error.message
            return
        except ValueError as error:
            self.problem = f"base_url: {error}"
            return
        self._headers = self.headers(None, JSON_TYPE)
        self._openai_headers = self._headers
        if self.openai_url is None or self.url is None:
            return
        if self.openai_url.text == self.url.text:
            self.openai_url = self.url
        elif spec.auth == "shim" and not spec.api_key:
            self.openai_url = None
        else:
            self._openai_headers = self.headers(None, JSON_TYPE, openai=True)

    @property
    def status(self) -> str:
        """`active`, `suspect`, `down`, `bad_key`, `no_key` or `disabled`."""
        if not self.spec.enabled:
            return "disabled"
        if self.is_mock:
            return "active"
        if self.problem:
            return "down"
        return self.health.status if self.usable else "no_key"

    def send(
        self,
        path: bytes,
        body: bytes,
        obj: dict[str, Any],
        *,
        stream: bool,
        headers: list[tuple[bytes, bytes]],
        connect_timeout_s: float,
        key: ProviderKey | None = None,
        url: UpstreamUrl | None = None,
        method: bytes = b"POST",
        content_type: bytes = JSON_TYPE,
    ) -> Awaitable[UpstreamResponse | MockResponse]:
        """Sends a body; `obj` is the same decoded. `key` and `url` are used in place of its own; with its `openai_url` the key
        is sent as it is wanted there.

        Awaited, it gives the answer's head; raises UpstreamError."""
        if self._mock is not None:
            return self._mock.answer(obj, stream, path)
        if url is None:
            url = self.url
            if url is None:
                raise StockyardError("no_provider", f"The provider {self.name!r} has no usable base URL.")
        openai = url is self.openai_url
        lines = b""
        if key is None and content_type is JSON_TYPE:
            lines = self._openai_lines if openai else self._lines
        else:
            headers = self.headers(key, content_type, openai=openai) + headers
        return self._upstream.send(
            url, method, path, headers, body, connect_timeout_s=connect_timeout_s, ready_lines=lines
        )

    def headers(
        self, key: ProviderKey | None, content_type: bytes, *, openai: bool = False
    ) -> list[tuple[bytes, bytes]]:
        """What each request to it (or with `openai` to its OpenAI-compatible part) carries, with another key or content type."""
        spec = self.spec
        auth = spec.auth
        if openai and self.openai_url is not self.url:
            auth = (PROVIDER_DIALECTS[spec.type].openai_auth if auth != "none" else "") or auth
        return _ready_headers(spec, auth, spec.api_key if key is None else key.secret, content_type)

    async def get(self, path: bytes, *, connect_timeout_s: float, openai: bool = False) -> UpstreamResponse:
        """GETs a path below the base URL, or with `openai` below that of its OpenAI-compatible part; raises UpstreamError."""
        url = self.openai_url if openai else self.url
        if url is None:
            raise StockyardError("no_provider", f"The provider {self.name!r} has no usable base URL.")
        own = self._openai_headers if openai else self._headers
        more = [] if openai else [(n.encode(), v.encode()) for n, v in PROVIDER_DIALECTS[self.dialect].headers]
        return await self._upstream.send(url, b"GET", path, own + more, b"", connect_timeout_s=connect_timeout_s)


def _ready_headers(spec: ProviderSpec, auth: str, api_key: str, content_type: bytes) -> list[tuple[bytes, bytes]]:
    headers = [(b"content-type", content_type), (b"user-agent", USER_AGENT)]
    key = api_key.encode()
    if key and auth == "bearer":
        headers.append((b"authorization", b"Bearer " + key))
    elif key and auth == "header":
        headers.append((spec.auth_header.encode(), key))
    own = {name.lower() for name, _ in spec.headers}
    ready = [(name, value) for name, value in headers if name.decode() not in own]
    return ready + [(name.encode(), value.encode()) for name, value in spec.headers]
