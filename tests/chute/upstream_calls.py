"""How the upstream's tests call it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson

from instance.chute.upstream import Limits, Upstream, UpstreamResponse, UpstreamUrl
from tests.mock_upstream import MockUpstream

BODY = orjson.dumps({"model": "mock-small", "messages": [{"role": "user", "content": "hello there"}]})
STREAM = orjson.dumps(
    {"model": "mock-small", "stream": True, "messages": [{"role": "user", "content": "one two three four"}]}
)
HEADERS = [(b"content-type", b"application/json"), (b"authorization", b"Bearer sk-test")]


async def post(
    client: Upstream, base_url: str, body: bytes = BODY, headers: list[tuple[bytes, bytes]] = HEADERS
) -> UpstreamResponse:
    return await client.send(
        UpstreamUrl.parse(base_url), b"POST", b"/chat/completions", headers, body, connect_timeout_s=5.0
    )


@asynccontextmanager
async def client_and_server(limits: Limits | None = None) -> AsyncIterator[tuple[Upstream, MockUpstream]]:
    async with MockUpstream(strict=False) as server:
        client = Upstream(limits=limits)
        try:
            yield client, server
        finally:
            await client.close()
