"""Delays, stalls and breaks: on the mock's clock, and after as many pieces as were asked for."""

from __future__ import annotations

import asyncio

import httpx2
import pytest

from instance.core.clock import FakeClock
from instance.mock_upstream.event_stream import corrupted
from tests.mock_replies import Reply, chunks, delay, drop, hang_up, stall, text
from tests.mock_upstream import MockUpstream, until
from tests.mock_upstream.talk import DIALECTS, frames

ALL = pytest.mark.parametrize("name", DIALECTS)


async def pieces_of(http: httpx2.AsyncClient, name: str) -> bytes:
    """What a stream gave until it broke off or was done."""
    dialect = DIALECTS[name]
    path, body = dialect.streamed("hi")
    raw = b""
    try:
        async with http.stream("POST", path, json=body, headers=dialect.headers) as answer:
            async for block in answer.aiter_raw():
                raw += block
    except httpx2.RemoteProtocolError:
        return raw + b"<cut>"
    return raw


@ALL
@pytest.mark.parametrize("after", [0, 1, 3])
async def test_a_dropped_stream_has_so_many_pieces(
    name: str, after: int, http: httpx2.AsyncClient, upstream: MockUpstream
) -> None:
    upstream.script(Reply(pieces=["p-one", "p-two", "p-three"], drop_after=after))
    raw = await pieces_of(http, name)
    assert raw.endswith(b"<cut>")
    assert [raw.count(piece) > 0 for piece in (b"p-one", b"p-two", b"p-three")] == [after > place for place in range(3)]


async def test_a_stalled_stream_says_nothing_more_until_the_caller_leaves(
    http: httpx2.AsyncClient, upstream: MockUpstream
) -> None:
    upstream.script(stall(1, "one two three"))
    dialect = DIALECTS["anthropic"]
    path, body = dialect.streamed("hi")
    raw = b""
    async with http.stream("POST", path, json=body, headers=dialect.headers) as answer:
        async for block in answer.aiter_raw():
            raw += block
            if b"one" in raw:
                break
        assert b"two" not in raw
        assert not upstream.calls[-1].answered
    await until(lambda: upstream.calls[-1].hung_up)


async def test_delays_are_on_the_mock_s_clock() -> None:
    clock = FakeClock()
    async with MockUpstream(clock=clock) as upstream, httpx2.AsyncClient(base_url=upstream.root) as http:
        upstream.script(delay(3600, "late"))
        dialect = DIALECTS["openai"]
        body = dialect.body("hi", False)
        call = asyncio.create_task(http.post(dialect.path, json=body, headers=dialect.headers))
        await until(lambda: bool(upstream.calls))
        clock.advance(3599)
        await asyncio.sleep(0.05)
        assert not call.done()
        clock.advance(1)
        assert dialect.read((await call).json()).text == "late"


async def test_pieces_come_one_a_time_on_the_mock_s_clock() -> None:
    clock = FakeClock()
    async with MockUpstream(clock=clock) as upstream, httpx2.AsyncClient(base_url=upstream.root) as http:
        upstream.script(chunks(["one", "two"], piece_delay_s=60))
        dialect = DIALECTS["openai"]
        path, body = dialect.streamed("hi")
        async with http.stream("POST", path, json=body, headers=dialect.headers) as answer:
            blocks = answer.aiter_raw()
            assert b'"role"' in await anext(blocks)
            following = asyncio.create_task(anext(blocks))
            await asyncio.sleep(0.05)
            assert not following.done()
            clock.advance(60)
            assert b"one" in await following


async def test_a_connection_may_close_without_a_byte(http: httpx2.AsyncClient, upstream: MockUpstream) -> None:
    upstream.script(hang_up())
    with pytest.raises(httpx2.RemoteProtocolError):
        await http.post("/v1/chat/completions", json=DIALECTS["compatible"].body("hi", False))


async def test_a_whole_answer_may_be_cut(http: httpx2.AsyncClient, upstream: MockUpstream) -> None:
    upstream.script(drop(10))
    with pytest.raises(httpx2.RemoteProtocolError):
        await http.post("/v1/chat/completions", json=DIALECTS["compatible"].body("hi", False))


async def test_a_frame_of_an_event_stream_may_be_corrupted(http: httpx2.AsyncClient, upstream: MockUpstream) -> None:
    upstream.script(Reply(text="one two", mangle=lambda number, data: corrupted(data) if number == 2 else data))
    dialect = DIALECTS["bedrock"]
    path, body = dialect.streamed("hi")
    raw = (await http.post(path, json=body, headers=dialect.headers)).content
    with pytest.raises(AssertionError):
        frames(raw)


async def test_scripts_may_be_for_a_path_and_can_be_forgotten(http: httpx2.AsyncClient, upstream: MockUpstream) -> None:
    upstream.script(text("general"))
    upstream.script(text("for groq"), path="/groq/")
    said = []
    for name in ("groq", "openai", "openai"):
        dialect = DIALECTS[name]
        answer = await http.post(dialect.path, json=dialect.body("hi", False), headers=dialect.headers)
        said.append(dialect.read(answer.json()).text)
    assert said == ["for groq", "general", "echo: hi"]
    upstream.script(text("never"))
    upstream.forget_script()
    dialect = DIALECTS["openai"]
    answer = await http.post(dialect.path, json=dialect.body("hi", False), headers=dialect.headers)
    assert dialect.read(answer.json()).text == "echo: hi"


async def test_calls_are_recorded_and_bounded() -> None:
    async with MockUpstream() as upstream, httpx2.AsyncClient(base_url=upstream.root) as http:
        await http.post("/v1/embeddings?x=1", json={"model": "e", "input": "a"}, headers={"authorization": "Bearer k"})
        call = upstream.calls[-1]
        assert (call.method, call.path, call.key, call.json()) == (
            "POST",
            "/v1/embeddings?x=1",
            "k",
            {"model": "e", "input": "a"},
        )
        assert upstream.calls.maxlen is not None
        with pytest.raises(ValueError, match="at most"):
            upstream.script(*[Reply()] * 100_001)


async def test_the_benchmarks_answer_is_fixed_and_nothing_is_recorded() -> None:
    async with MockUpstream(plain=True) as upstream, httpx2.AsyncClient(base_url=upstream.root) as http:
        dialect = DIALECTS["compatible"]
        whole = dialect.read((await http.post(dialect.path, json=dialect.body("hi", False))).json())
        streamed = await http.post(dialect.path, content=b'{"stream":true}')
        assert dialect.read_stream(streamed.content) == whole
        assert whole.text.startswith("A stockyard is")
        assert not upstream.calls
