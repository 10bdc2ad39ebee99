"""cachelayer's rules about what is kept, found and merged; on a real database where the disk matters."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from instance.chute.answer import DONE, Answer, Delta
from instance.chute.exchange import Exchange
from instance.chute.modules.caching.answer_store import AnswerStore, Entry
from instance.chute.modules.caching.cachelayer import CacheLayer
from instance.chute.modules.caching.stream_replay import Assembly, chunks
from instance.chute.stream import encode_event
from instance.core.clock import FakeClock
from instance.core.errors import StockyardError
from instance.core.principals import Principal
from tests.modules.exchanges import Script, core, exchange, http_failure, target, trail, whole


class NoDisk:
    """A writer and database that hold nothing."""

    async def read(self, query: Any) -> list[Any]:
        return []

    async def write(self, run: Any, events: Any = ()) -> list[Any]:
        return []


async def cache(clock: FakeClock | None = None, **settings: Any) -> CacheLayer:
    base = core(clock or FakeClock())
    base.database = base.writer = NoDisk()
    module = CacheLayer(CacheLayer.Settings.model_validate(settings))
    await module.start(base, None)
    return module


def chat(text: str = "hi", *, stream: bool = False, headers: dict[bytes, bytes] | None = None, **more: Any) -> Exchange:
    fields = {name: more.pop(name) for name in ("team", "user", "principal") if name in more}
    x = exchange(stream=stream, headers=headers, **fields)
    x.req = {"model": "gpt-4o", "messages": [{"role": "user", "content": text}], "stream": stream, **more}
    x.current_module = "cachelayer"
    return x


async def ask(module: CacheLayer, x: Exchange, *outcomes: Exception | Answer, calls: Script | None = None) -> Answer:
    """The call through the module and to its end; a provider that is asked more often than it answers is an error."""
    script = calls or Script(*outcomes)
    try:
        answer = await module.around(x, script)
        x.answer = answer
        if answer.events is not None:
            async for batch in answer.events:
                for delta in batch:
                    if delta.obj is not None:
                        for choice in delta.obj["choices"]:
                            x.text_out.append(choice["delta"].get("content") or "")
        return answer
    except BaseException:
        x.error_code, x.http_status = "provider_error", 502
        raise
    finally:
        module.on_finish(x)


def text_of(answer: Answer) -> str:
    assert answer.obj is not None
    content: str = answer.obj["choices"][0]["message"]["content"]
    return content


def streaming(*pieces: str, finish: str | None = "stop", done: bool = True) -> Answer:
    async def events() -> AsyncIterator[list[Delta]]:
        parts: list[dict[str, Any]] = [{"role": "assistant", "content": ""}, *({"content": piece} for piece in pieces)]
        for part in parts:
            obj = {"id": "c1", "model": "m", "choices": [{"index": 0, "delta": part, "finish_reason": None}]}
            yield [Delta(encode_event(obj), obj)]
        last = {"id": "c1", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}
        usage = {"id": "c1", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}
        yield [Delta(encode_event(last), last), Delta(encode_event(usage), usage)]
        if done:
            yield [Delta(DONE, None)]

    return Answer(events=events(), target=target())


async def test_an_equal_request_is_answered_from_the_cache() -> None:
    clock = FakeClock()
    module = await cache(clock)
    first = chat()
    first.cost_lines.append(("input", 1234))
    await ask(module, first, whole("hello"))
    clock.advance(7)
    x = chat()
    answer = await ask(module, x)
    assert text_of(answer) == "hello"
    assert (first.cache, x.cache, x.saved_nano, x.cost_nano) == ("miss", "hit", 1234, 0)
    assert (b"age", b"7") in x.response_headers
    assert trail(x, "cachelayer") == [("hit", {"age_s": 7})]
    assert answer.target is None


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0.5},
        {"max_tokens": 5},
        {"seed": 1},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"n": 2},
        {"response_format": {"type": "json_object"}},
        {"text": "hi "},
        {"model": "gpt-4o-mini"},
    ],
)
async def test_what_can_change_the_answer_is_another_request(change: dict[str, Any]) -> None:
    module = await cache()
    await ask(module, chat(), whole("one"))
    assert text_of(await ask(module, chat(**change), whole("two"))) == "two"


@pytest.mark.parametrize(
    "same", [{"user": "someone"}, {"metadata": {"a": "b"}}, {"stream_options": {"include_usage": True}}]
)
async def test_what_cannot_change_the_answer_is_the_same_request(same: dict[str, Any]) -> None:
    module = await cache()
    await ask(module, chat(), whole("one"))
    x = chat()
    x.req.update(same)
    assert text_of(await ask(module, x)) == "one"


async def test_composed_and_decomposed_letters_are_the_same_text() -> None:
    module = await cache()
    await ask(module, chat("caf\u00e9"), whole("one"))
    assert text_of(await ask(module, chat("cafe\u0301"))) == "one"


@pytest.mark.parametrize(
    ("scope", "shared", "apart"),
    [
        ("global", {"team": "b", "user": "b"}, None),
        ("team", {"user": "b"}, {"team": "b"}),
        ("user", {"team": "b"}, {"user": "b"}),
        ("key", {"team": "b", "user": "b"}, {"principal": Principal(2, "proxy", ("proxy:call",))}),
    ],
)
async def test_answers_are_shared_within_the_scope_only(
    scope: str, shared: dict[str, Any], apart: dict[str, Any] | None
) -> None:
    module = await cache(scope=scope)
    await ask(module, chat(team="a", user="a"), whole("one"))
    assert text_of(await ask(module, chat(**{"team": "a", "user": "a", **shared}))) == "one"
    if apart is not None:
        assert text_of(await ask(module, chat(**{"team": "a", "user": "a", **apart}), whole("two"))) == "two"


def unkept(**message: Any) -> Answer:
    finish = message.pop("finish", "stop")
    obj = {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "x", **message}, "finish_reason": finish}]
    }
    return Answer(body=orjson.dumps(obj), obj=obj, target=target())


@pytest.mark.parametrize(
    "answer",
    [
        unkept(finish="length"),
        unkept(finish="content_filter"),
        unkept(content=""),
        unkept(
            tool_calls=[{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            finish="tool_calls",
        ),
        streaming("cut", finish="length"),
        streaming("never finished", finish=None),
    ],
)
async def test_answers_that_are_not_complete_and_good_are_not_kept(answer: Answer) -> None:
    module = await cache()
    await ask(module, chat(), answer)
    assert text_of(await ask(module, chat(), whole("fresh"))) == "fresh"


async def test_tool_calls_are_kept_when_asked_for() -> None:
    module = await cache(cache_tools=True)
    calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    await ask(module, chat(), unkept(content=None, tool_calls=calls, finish="tool_calls"))
    answer = await ask(module, chat())
    assert answer.obj is not None
    assert answer.obj["choices"][0]["message"]["tool_calls"] == calls


async def test_errors_are_not_kept() -> None:
    module = await cache()
    with pytest.raises(Exception, match="500"):
        await ask(module, chat(), http_failure(500))
    assert text_of(await ask(module, chat(), whole("fresh"))) == "fresh"


async def test_an_answer_is_over_after_its_time() -> None:
    clock = FakeClock()
    module = await cache(clock, ttl_s=60)
    await ask(module, chat(), whole("old"))
    await ask(module, chat("long", headers={b"x-stockyard-cache-ttl-s": b"600"}), whole("long"))
    clock.advance(61)
    await module.tick()
    assert text_of(await ask(module, chat(), whole("new"))) == "new"
    assert text_of(await ask(module, chat("long"))) == "long"


async def test_headers_skip_refresh_and_only() -> None:
    module = await cache()
    with pytest.raises(StockyardError) as caught:
        await ask(module, chat(headers={b"x-stockyard-cache": b"only"}))
    assert (caught.value.code, caught.value.status) == ("cache_miss", 504)
    for headers in ({b"x-stockyard-cache": b"skip"}, {b"cache-control": b"private, no-store"}):
        x = chat(headers=headers)
        await ask(module, x, whole("unkept"))
        assert x.cache == "bypass"
    await ask(module, chat(), whole("one"))
    assert text_of(await ask(module, chat(headers={b"x-stockyard-cache": b"refresh"}), whole("two"))) == "two"
    assert text_of(await ask(module, chat(headers={b"x-stockyard-cache": b"only"}))) == "two"


@pytest.mark.parametrize(
    "headers",
    [
        {b"x-stockyard-cache": b"maybe"},
        {b"x-stockyard-cache-ttl-s": b"0"},
        {b"x-stockyard-cache-ttl-s": b"9" * 5000},
        {b"x-stockyard-cache-ttl-s": b"x"},
    ],
)
async def test_bad_headers_are_refused_before_the_call(headers: dict[bytes, bytes]) -> None:
    module = await cache()
    with pytest.raises(StockyardError) as caught:
        await ask(module, chat(headers=headers))
    assert caught.value.code == "bad_request"


async def test_only_deterministic_requests_when_asked_for() -> None:
    module = await cache(only_deterministic=True)
    x = chat()
    await ask(module, x, whole("one"))
    assert x.cache == "bypass"
    await ask(module, chat(temperature=0), whole("two"))
    assert text_of(await ask(module, chat(temperature=0))) == "two"


async def test_a_stream_is_kept_and_serves_streams_and_whole_calls() -> None:
    module = await cache()
    await ask(module, chat(stream=True), streaming("Hello ", "wor", "ld"))
    again = chat(stream=True)
    answer = await ask(module, again)
    assert answer.streamed
    assert "".join(again.text_out) == "Hello world"
    assert text_of(await ask(module, chat())) == "Hello world"
    x = chat()
    answer = await ask(module, x)
    assert answer.obj is not None
    assert answer.obj["usage"]["completion_tokens"] == 2
    assert x.usage.output == 2


async def test_a_stream_without_its_done_is_kept_when_it_finished() -> None:
    module = await cache()
    await ask(module, chat(stream=True), streaming("all ", "of it", done=False))
    assert text_of(await ask(module, chat())) == "all of it"


async def test_a_stream_that_the_client_left_is_not_kept() -> None:
    module = await cache()
    x = chat(stream=True)
    answer = await module.around(x, Script(streaming("one ", "two")))
    assert answer.events is not None
    events: Any = answer.events
    await anext(events)
    await events.aclose()
    x.client_gone = True
    module.on_finish(x)
    assert module._flights == {}
    assert text_of(await ask(module, chat(), whole("fresh"))) == "fresh"


async def test_a_replayed_stream_is_paced_when_asked_for() -> None:
    clock = FakeClock()
    module = await cache(clock, stream_tokens_per_s=10)
    await ask(module, chat(), whole("a piece of text that is long enough for more than one piece"))
    x = chat(stream=True)
    answer = await module.around(x, Script())
    events: Any = answer.events
    await anext(events)
    waiting = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not waiting.done()
    clock.advance(10)
    await waiting
    await events.aclose()


class Slow(Script):
    """Answers when it is let go."""

    def __init__(self, *outcomes: Exception | Answer) -> None:
        super().__init__(*outcomes)
        self.go = asyncio.Event()

    async def __call__(self, x: Exchange) -> Answer:
        answering = super().__call__
        self.calls += 1
        await self.go.wait()
        self.calls -= 1
        return await answering(x)


async def test_equal_requests_at_once_are_one_call() -> None:
    module = await cache()
    script = Slow(whole("once"))
    tasks = [asyncio.create_task(ask(module, chat(), calls=script)) for _ in range(20)]
    while script.calls == 0:
        await asyncio.sleep(0)
    script.go.set()
    answers = await asyncio.gather(*tasks)
    assert [text_of(answer) for answer in answers] == ["once"] * 20
    assert script.calls == 1
    assert module._flights == {}


async def test_who_waits_for_a_call_that_fails_calls_itself() -> None:
    module = await cache()
    script = Slow(http_failure(500), whole("second"), whole("third"))
    tasks = [asyncio.create_task(ask(module, chat(), calls=script)) for _ in range(3)]
    while script.calls == 0:
        await asyncio.sleep(0)
    script.go.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(result, Answer) for result in results) == 2
    assert script.calls == 3


async def test_who_gives_up_waiting_does_not_disturb_the_others() -> None:
    module = await cache()
    script = Slow(whole("once"))
    tasks = [asyncio.create_task(ask(module, chat(), calls=script)) for _ in range(3)]
    while script.calls == 0:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    tasks[1].cancel()
    script.go.set()
    assert text_of(await tasks[0]) == text_of(await tasks[2]) == "once"


async def test_memory_holds_no_more_than_its_entries_and_bytes() -> None:
    store = AnswerStore(SimpleNamespace(clock=FakeClock()), max_entries=3, max_bytes=10_000)  # type: ignore[arg-type]
    for number in range(5):
        store.put(bytes([number]), Entry(b"x", 0, 10**18, 0, "m", ""))
    assert [store.in_memory(bytes([number]), 1) is not None for number in range(5)] == [False, False, True, True, True]
    store.put(b"big", Entry(b"x" * 9_500, 0, 10**18, 0, "m", ""))
    assert store.in_memory(b"big", 1) is not None
    assert store.in_memory(bytes([4]), 1) is None
    assert store.size_bytes <= 10_000
    store.put(b"huge", Entry(b"x" * 20_000, 0, 10**18, 0, "m", ""))
    assert store.in_memory(b"huge", 1) is None


def test_an_answer_taken_apart_and_put_together_is_the_same() -> None:
    answer = {
        "id": "c1",
        "object": "chat.completion",
        "created": 5,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello wörld, " * 9},
                "finish_reason": "stop",
                "logprobs": None,
            },
            {
                "index": 1,
                "message": {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}],
                },
                "finish_reason": "tool_calls",
                "logprobs": None,
            },
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }
    assembly = Assembly()
    for obj, _ in chunks(answer):
        assembly.add(Delta(b"", obj))
    assert assembly.whole() == answer


def test_a_replay_has_all_that_the_answer_has_reasoning_first() -> None:
    signature = [{"type": "reasoning.text", "text": "hm", "signature": "c2ln"}]
    cited = [{"type": "url_citation", "url_citation": {"url": "https://example.org", "title": "t"}}]
    tokens = [{"token": token, "logprob": -0.5, "bytes": None, "top_logprobs": []} for token in ("So", " be", " it")]
    message = {"role": "assistant", "content": "So be it", "annotations": cited, "reasoning_details": signature}
    call = {"name": "f", "arguments": "{}"}
    choices = [
        {"index": 0, "message": message, "finish_reason": "stop", "logprobs": {"content": tokens, "refusal": None}},
        {"index": 1, "message": {"role": "assistant", "content": None, "function_call": call}, "finish_reason": "stop"},
        {
            "index": 2,
            "message": {"role": "assistant", "content": "So be it!"},
            "finish_reason": "stop",
            "logprobs": {"content": tokens},
        },
    ]
    of_choice: dict[int, list[Any]] = {0: [], 1: [], 2: []}
    logprobs: dict[int, list[Any]] = {0: [], 1: [], 2: []}
    for obj, _ in chunks({"id": "a", "choices": choices}):
        (choice,) = obj["choices"]
        of_choice[choice["index"]].append(choice["delta"])
        if choice["logprobs"]:
            assert set(choice["logprobs"]) <= {"content", "refusal"}
            logprobs[choice["index"]] += choice["logprobs"]["content"]
    role = {"role": "assistant", "content": ""}
    said = [{"content": token["token"]} for token in tokens]
    assert of_choice[0] == [role, {"reasoning_details": signature}, *said, {"annotations": cited}, {}]
    assert of_choice[1] == [role, {"function_call": call}, {}]
    assert "".join(delta.get("content", "") for delta in of_choice[2]) == "So be it!"
    assert logprobs == {0: tokens, 1: [], 2: tokens}
