"""Short answers that a module gives in the provider's place, and texts put into answers of the provider."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, cast

import orjson

from instance.chute.answer import JSON, Answer, Delta
from instance.chute.exchange import Exchange
from instance.chute.modules.caching.stream_replay import replay
from instance.chute.stream import encode_event

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from instance.core.clock import Clock

NO_USAGE = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


def made_answer(x: Exchange, clock: Clock, text: str, finish_reason: str = "stop") -> Answer:
    """A chat answer of this text, whole or as a stream as the call asks; it cost nothing and nobody served it."""
    obj: JSON = {
        "id": "chatcmpl-" + x.id[3:],
        "object": "chat.completion",
        "created": clock.wall_ns() // 10**9,
        "model": x.model_requested,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": finish_reason,
                "logprobs": None,
            }
        ],
        "usage": dict(NO_USAGE),
    }
    x.usage.take(NO_USAGE)
    if x.stream:
        return Answer(events=replay(obj, clock, 0))
    return Answer(body=orjson.dumps(obj), obj=obj)


def with_content(obj: JSON, text: str, finish_reason: str) -> JSON:
    """The whole answer with this text as the only content of each of its choices."""
    choices = []
    for choice in obj.get("choices") or ():
        if "message" in choice:
            message = {"role": "assistant", "content": text}
            choices.append({**choice, "message": message, "finish_reason": finish_reason, "logprobs": None})
        else:
            choices.append({**choice, "text": text, "finish_reason": finish_reason, "logprobs": None})
    return {**obj, "choices": choices}


def put_before(answer: Answer, text: str) -> None:
    """Have a text stand before the answer's content; answers that are tool calls have none and stay as they are."""
    if answer.events is not None:
        answer.events = _led(answer.events, text)
        return
    obj = answer.obj
    if obj is None:
        return
    choices = []
    for choice in obj.get("choices") or ():
        message = choice.get("message")
        content = message.get("content") if type(message) is dict else None
        if type(content) is str and content:
            choice = {**choice, "message": {**message, "content": text + content}}
        choices.append(choice)
    answer.obj = {**obj, "choices": choices}
    answer.changed = True


async def _led(source: AsyncIterator[list[Delta]], text: str) -> AsyncIterator[list[Delta]]:
    led: set[int] = set()
    async with aclosing(cast("AsyncGenerator[list[Delta], None]", source)) as events:
        async for batch in events:
            for delta in batch:
                for choice in delta.choices():
                    if choice.index not in led and choice.text:
                        led.add(choice.index)
                        choice.text = text + choice.text
            yield batch


def text_event(before: Delta | None, text: str) -> Delta:
    """A made event of some more content, shaped like the ones before it."""
    obj = {
        name: value for name, value in ((before.obj if before is not None else None) or {}).items() if name != "usage"
    }
    obj["choices"] = [{"index": 0, "delta": {"content": text}, "finish_reason": None}]
    return Delta(encode_event(obj), obj)
