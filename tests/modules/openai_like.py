"""What the tests of the OpenAI-like shims share: a provider of a type behind the mock upstream, and answers in its form.

async with provider("mistral", "/mistral/v1", "mistral-small-latest") as s:
    s.mock.script(whole(completion("hi")))
    await s.sdk().chat.completions.create(model=s.model, messages=HI)
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import orjson
import pytest

from tests.mock_replies import Reply, status, tools
from tests.mock_upstream import MockUpstream
from tests.modules.conftest import Running, running

KEY = "provider-key-of-the-tests"
HI: list[Any] = [{"role": "user", "content": "hi"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
PNG = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="


@asynccontextmanager
async def provider(
    kind: str, tail: str, model: str, modules: dict[str, Any] | None = None, *, more: str = ""
) -> AsyncIterator[Running]:
    """An instance with one provider of that type at the mock's path `tail`; `model` is its `s.model`."""

    def toml(mock: MockUpstream) -> str:
        return f'[providers.{kind}]\ntype = "{kind}"\nbase_url = "{mock.root}{tail}"\napi_key = "{KEY}"\n{more}\n'

    async with running({"retry": False, "paramnorm": False, **(modules or {})}, providers=toml) as s:
        s.model = f"{kind}/{model}"
        yield s


def completion(content: str | None = "hello", **more: Any) -> dict[str, Any]:
    """A chat completion; `message` is laid over its message, `choice` over its choice, the rest over the whole."""
    message = {"role": "assistant", "content": content, **more.pop("message", {})}
    choice = {"index": 0, "message": message, "finish_reason": "stop", **more.pop("choice", {})}
    usage = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
    head = {"id": "c-1", "object": "chat.completion", "created": 1_750_000_000, "model": "m"}
    return {**head, "choices": [choice], "usage": usage, **more}


def chunk(delta: dict[str, Any] | None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """A chunk of a stream; without `delta` it has no choices."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish, **more.pop("choice", {})}]
    head = {"id": "c-1", "object": "chat.completion.chunk", "created": 1_750_000_000, "model": "m"}
    return {**head, "choices": choices, **more}


def whole(obj: Any, code: int = 200, **more: Any) -> Reply:
    return Reply(body=orjson.dumps(obj), status=code, **more)


def sse(*objs: Any, done: bool = True) -> bytes:
    """A stream's bytes; a string is sent as it is."""
    parts = [one.encode() if isinstance(one, str) else b"data: " + orjson.dumps(one) + b"\n\n" for one in objs]
    return b"".join(parts) + (b"data: [DONE]\n\n" if done else b"")


def stream(*objs: Any, done: bool = True) -> Reply:
    return Reply(body=sse(*objs, done=done), content_type="text/event-stream")


def sent(s: Running) -> dict[str, Any]:
    """The body of the last call that the provider got."""
    body: dict[str, Any] = s.mock.calls[-1].json()
    return body


async def streamed(s: Running, messages: list[Any] | None = None, **more: Any) -> list[Any]:
    """The chunks of a streamed call, by the official SDK."""
    made = await s.sdk().chat.completions.create(model=s.model, messages=messages or HI, stream=True, **more)
    return [part async for part in made]


def text_of(parts: list[Any]) -> str:
    return "".join(choice.delta.content or "" for part in parts for choice in part.choices)


async def check_common(s: Running) -> None:
    """What is asked of every shim: text, two tool calls at once, a stream equal to the whole, the SDK's error classes."""
    sdk = s.sdk()
    answer = await sdk.chat.completions.create(model=s.model, messages=HI)
    assert answer.choices[0].message.content == "echo: hi"
    assert answer.usage is not None and answer.usage.prompt_tokens > 0
    parts = await streamed(s, stream_options={"include_usage": True})
    assert text_of(parts) == "echo: hi"
    assert parts[-1].usage is not None and parts[-1].choices == []
    assert [choice.finish_reason for part in parts for choice in part.choices if choice.finish_reason] == ["stop"]
    assert len({(part.id, part.created) for part in parts}) == 1
    assert parts[0].choices[0].delta.role == "assistant"
    unasked = await streamed(s)
    assert all(part.usage is None and part.choices for part in unasked)
    await _check_tools(s)
    for code, expected in (
        (400, openai.BadRequestError),
        (401, openai.InternalServerError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
    ):
        s.mock.script(status(code, "said so"))
        with pytest.raises(expected) as caught:
            await sdk.chat.completions.create(model=s.model, messages=HI)
        assert "said so" in str(caught.value)


async def _check_tools(s: Running) -> None:
    calls = (("weather", {"city": "Rome"}), ("weather", {"city": "Oslo"}))
    s.mock.script(tools(*calls))
    answer = await s.sdk().chat.completions.create(model=s.model, messages=HI, tools=[WEATHER])
    found = answer.choices[0].message.tool_calls
    assert found is not None and answer.choices[0].finish_reason == "tool_calls"
    assert [(one.function.name, orjson.loads(one.function.arguments)) for one in found] == list(calls)  # type: ignore[union-attr]
    assert len({one.id for one in found}) == 2
    s.mock.script(tools(*calls))
    pieces: dict[int, dict[str, str]] = {}
    for part in await streamed(s, tools=[WEATHER]):
        for choice in part.choices:
            for call in choice.delta.tool_calls or ():
                kept = pieces.setdefault(call.index, {"id": "", "name": "", "arguments": ""})
                kept["id"] += call.id or ""
                kept["name"] += call.function.name or ""
                kept["arguments"] += call.function.arguments or ""
    assert [(one["name"], orjson.loads(one["arguments"])) for one in pieces.values()] == list(calls)
    history = [
        *HI,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [one.model_dump(exclude_none=True) for one in found],
        },
        *({"role": "tool", "tool_call_id": one.id, "content": "sunny"} for one in found),
    ]
    last = await s.sdk().chat.completions.create(model=s.model, messages=history, tools=[WEATHER])
    assert last.choices[0].finish_reason == "stop"


async def check_image(s: Running) -> None:
    """An image reaches the provider as it came."""
    content = [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": PNG}}]
    answer = await s.sdk().chat.completions.create(model=s.model, messages=[{"role": "user", "content": content}])  # type: ignore[list-item,misc]
    assert answer.choices[0].message.content
    assert PNG in orjson.dumps(sent(s)).decode()
