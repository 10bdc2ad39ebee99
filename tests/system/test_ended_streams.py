"""A key that is revoked or expires ends its running streams, in the dialect of who reads them; nobody else's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import orjson
import pytest

from instance.chute.mock_options import MockOptions
from tests.mock_upstream import until
from tests.opened import Opened, opened
from tests.system.test_control import KEY, OTHER_KEY, ask, pushed_key, state

ASKED = {"model": "mock/gpt", "messages": [{"role": "user", "content": "hi"}]}
CHAT = {**ASKED, "mock": {"tokens": 2000, "tokens_per_s": 100}}
DIALECTS = [
    ("/v1/chat/completions", ASKED),
    ("/v1/completions", {"model": "mock/gpt", "prompt": "hi"}),
    ("/v1/messages", {**ASKED, "max_tokens": 4000}),
    ("/v1/responses", {"model": "mock/gpt", "input": "hi"}),
]


@pytest.fixture
async def one() -> AsyncIterator[Opened]:
    async with opened(hosted=True) as instance:
        await ask(instance, "PUT", "state", state(1, pushed_key(KEY, 1), pushed_key(OTHER_KEY, 2)))
        yield instance


async def streamed(one: Opened, key: str, path: str, body: dict[str, Any]) -> httpx2.Response:
    async with one.client(key) as client:
        return await client.post(path, json={**body, "stream": True}, timeout=30)


async def cut_by(
    one: Opened, path: str, body: dict[str, Any], end: Callable[[], Awaitable[object]], key: str = KEY
) -> str:
    """The whole text of a stream during which `end` is called."""
    running = asyncio.create_task(streamed(one, key, path, body))
    await until(lambda: one.instance.chute.streams == 1)
    await end()
    async with asyncio.timeout(10):
        answer = await running
    assert answer.status_code == 200
    assert one.instance.in_flight == 0
    return answer.text


def events(text: str) -> list[tuple[str, Any]]:
    """The stream's events: name and decoded data."""
    found = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
        data = fields.get("data", "")
        found.append((fields.get("event", ""), orjson.loads(data) if data.startswith("{") else data))
    return found


async def the_trace(one: Opened) -> tuple[str, str, int]:
    await one.folded()
    query = "SELECT status, error_code, http_status FROM traces ORDER BY n DESC LIMIT 1"
    row = await one.core.database.read(lambda connection: connection.execute(query).fetchone())
    return row[0], row[1], row[2]


@pytest.mark.parametrize(("path", "body"), DIALECTS)
async def test_a_stream_ends_with_an_error_event_when_its_key_is_revoked(
    one: Opened, path: str, body: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = MockOptions(tokens=2000, tokens_per_s=100)
    monkeypatch.setattr("instance.chute.mock_model.read_options", lambda asked: slow)
    text = await cut_by(one, path, body, lambda: ask(one, "PUT", "state", state(2, pushed_key(OTHER_KEY, 2))))
    name, last = events(text)[-1]
    if path == "/v1/messages":
        assert (name, last["type"], last["error"]["type"]) == ("error", "error", "authentication_error")
    elif path == "/v1/responses":
        assert (name, last["type"], last["code"]) == ("error", "error", "key_revoked")
    else:
        assert (name, last["error"]["code"]) == ("", "key_revoked")
    assert "revoked" in text
    assert "[DONE]" not in text
    assert len(events(text)) < 1000
    assert await the_trace(one) == ("error", "key_revoked", 401)


async def test_a_stream_of_another_key_goes_on(one: Opened) -> None:
    body = {**CHAT, "mock": {"tokens": 60, "tokens_per_s": 100}}
    revoke = lambda: ask(one, "PUT", "state", state(2, pushed_key(OTHER_KEY, 2)))  # noqa: E731
    text = await cut_by(one, "/v1/chat/completions", body, revoke, key=OTHER_KEY)
    assert text.endswith("data: [DONE]\n\n")


async def test_a_whole_call_in_flight_is_finished(one: Opened) -> None:
    async with one.client(KEY) as client:
        body = {**CHAT, "mock": {"delay_ms": 300}}
        running = asyncio.create_task(client.post("/v1/chat/completions", json=body, timeout=30))
        await until(lambda: one.instance.in_flight == 1)
        await ask(one, "PUT", "state", state(2))
        assert (await running).status_code == 200


async def test_a_stream_that_was_waiting_for_its_provider_does_not_begin_under_a_dead_key(one: Opened) -> None:
    body = {**CHAT, "mock": {"delay_ms": 300, "tokens": 2000, "tokens_per_s": 100}}
    running = asyncio.create_task(streamed(one, KEY, "/v1/chat/completions", body))
    await until(lambda: one.instance.in_flight == 1)
    await ask(one, "PUT", "state", state(2))
    ((_, only),) = events((await running).text)
    assert only["error"]["code"] == "key_revoked"


async def test_a_stream_ends_when_its_key_expires(one: Opened) -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    later = pushed_key(OTHER_KEY, 2, expires_at="2200-01-01T00:00:00Z")
    await ask(one, "PUT", "state", state(2, pushed_key(KEY, 1, expires_at=soon), later))
    text = await cut_by(one, "/v1/chat/completions", CHAT, lambda: asyncio.sleep(0))
    assert events(text)[-1][1]["error"]["code"] == "key_expired"
    assert await the_trace(one) == ("error", "key_expired", 401)


async def test_a_key_whose_end_was_moved_to_now_ends_its_streams(one: Opened) -> None:
    past = pushed_key(KEY, 1, expires_at="2020-01-01T00:00:00Z")
    text = await cut_by(one, "/v1/chat/completions", CHAT, lambda: ask(one, "PUT", "state", state(2, past)))
    assert events(text)[-1][1]["error"]["code"] == "key_expired"


async def test_a_suspended_tenants_streams_end_when_it_is_drained(one: Opened) -> None:
    drain = {"deadline_s": 5, "suspended": True}
    text = await cut_by(one, "/v1/chat/completions", CHAT, lambda: ask(one, "POST", "drain", drain))
    assert events(text)[-1][1]["error"]["code"] == "tenant_suspended"


async def test_revoking_a_key_of_a_self_hosted_instance_ends_its_streams() -> None:
    async with opened() as one, one.client() as admin:
        made = (await admin.post("/api/auth/me/keys", json={"name": "short-lived"})).json()
        text = await cut_by(
            one,
            "/v1/chat/completions",
            CHAT,
            lambda: admin.delete(f"/api/keys/{made['id']}"),
            key=made["key"],
        )
        assert events(text)[-1][1]["error"]["code"] == "key_revoked"


async def test_nothing_is_kept_of_streams_that_ended(one: Opened) -> None:
    body = {**CHAT, "mock": {"tokens": 3}}
    assert (await streamed(one, KEY, "/v1/chat/completions", body)).text.endswith("[DONE]\n\n")
    await cut_by(one, "/v1/chat/completions", CHAT, lambda: ask(one, "PUT", "state", state(2)))
    assert not one.instance.chute.endpoint.streams.running._by_digest
