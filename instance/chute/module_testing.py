"""Trying a module without an instance: one call through its hooks. For the tests of packages that bring modules of their own.

tried = await try_module(WordLimit(WordLimit.Settings(max_words=3)), "one two three four")
assert tried.error.code == "wordlimit_exceeded"
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from time import perf_counter_ns, time_ns
from types import SimpleNamespace
from typing import Any

import orjson

from instance.chute.answer import DONE, JSON, Answer, Delta
from instance.chute.chain import Plan
from instance.chute.containment import Link
from instance.chute.exchange import Exchange
from instance.chute.meter import Meter
from instance.chute.module import Module
from instance.chute.operations import CHAT
from instance.chute.outgoing import Outgoing
from instance.chute.stream import encode_event
from instance.chute.targets import Target
from instance.core.errors import StockyardError
from instance.core.ids import new_id


@dataclass
class Tried:
    """What became of a call: what reached the provider (`None`: nothing did), the text that reached the caller, the trail, and
    the error with which the module refused."""

    sent: JSON | None
    text: str
    error: StockyardError | None
    decisions: list[JSON] = field(default_factory=list)
    x: Exchange | None = None


async def try_module(
    module: Module, content: Any = "hi", *, answer: str = "hello there", stream: bool = False, **body: Any
) -> Tried:
    """Take one chat call of a user's message through the module; the provider answers with `answer`, word by word when
    `stream`. `body` is laid over the request."""
    x = _exchange(content, stream, body)
    sent: list[JSON] = []

    async def provider(x: Exchange) -> Answer:
        sent.append(orjson.loads(orjson.dumps(x.req)))
        return _answer(answer, x)

    plan = x.plan = Plan(1, "chat", [Link(module, Meter(), 0)], provider)
    error: StockyardError | None = None
    text = ""
    try:
        made = await plan.run(x)
        if made.events is not None:
            await _drained(x, made)
            text = "".join(x.text_out)
        elif made.obj is not None:
            plan.respond(x, made)
            text = str(made.obj["choices"][0]["message"].get("content") or "")
    except StockyardError as refusal:
        error = refusal
        text = "".join(x.text_out)
        x.status, x.error_code, x.http_status = "blocked", refusal.code, refusal.status
    plan.finish(x)
    return Tried(sent[-1] if sent else None, text, error, x.decisions, x)


def _exchange(content: Any, stream: bool, body: JSON) -> Exchange:
    x = Exchange(new_id("tr_"), perf_counter_ns(), time_ns(), "/v1/chat/completions", {}, CHAT)
    x.req = {"model": "test/model", "messages": [{"role": "user", "content": content}], "stream": stream, **body}
    x.raw = orjson.dumps(x.req)
    x.stream = stream
    x.model_requested = str(x.req["model"])
    provider: Any = SimpleNamespace(name="test", region="", key_name="", dialect="openai", url=None, timeout_s=None)
    x.targets = [Target(provider, "model")]
    return x


def _answer(text: str, x: Exchange) -> Answer:
    message = {"role": "assistant", "content": text}
    if not x.stream:
        obj = {"object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
        return Answer(body=orjson.dumps(obj), obj=obj, target=x.targets[0])

    async def events() -> AsyncIterator[list[Delta]]:
        words = text.split(" ")
        for number, word in enumerate(words):
            yield [_event({"content": word if number == 0 else f" {word}"})]
        yield [_event({}, "stop"), Delta(DONE, None)]

    return Answer(events=events(), target=x.targets[0])


def _event(delta: JSON, finish_reason: str | None = None) -> Delta:
    obj = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}
    return Delta(encode_event(obj), obj)


async def _drained(x: Exchange, answer: Answer) -> None:
    outgoing = Outgoing(x, answer)
    assert answer.events is not None
    async for batch in answer.events:
        outgoing.take(batch)
        if outgoing.done:
            break
    outgoing.end()
