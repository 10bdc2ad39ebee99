"""The ordinary examples of the official SDKs, each a row of the table. An example raises what a user would call a failure.

Every one of them runs against every provider. Where a provider has nothing of the kind, `LACKS` says which documented error its
user gets instead, and the test holds it to that.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import anthropic
import openai
import pytest
from pydantic import BaseModel

from tests.contract.sdk_providers import PlayedProvider
from tests.mock_replies import status, text, tool
from tests.modules.conftest import Running


def png(width: int = 2, height: int = 2) -> bytes:
    """A small real image."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + b"\x20\x60\xa0" * width for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


PNG = png()
WEATHER: dict[str, Any] = {
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
TIME: dict[str, Any] = {
    "name": "get_time",
    "description": "The time in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
OPENAI_TOOLS: list[Any] = [{"type": "function", "function": WEATHER}, {"type": "function", "function": TIME}]
ANTHROPIC_TOOLS: list[Any] = [
    {"name": each["name"], "description": each["description"], "input_schema": each["parameters"]}
    for each in (WEATHER, TIME)
]
RESPONSES_TOOLS: list[Any] = [{"type": "function", "strict": False, **each} for each in (WEATHER, TIME)]
HI: list[Any] = [{"role": "user", "content": "hi there"}]


class Person(BaseModel):
    """What the structured answers hold."""

    name: str
    age: int


@dataclass(slots=True)
class Lab:
    """One running instance with one provider behind it."""

    s: Running
    provider: PlayedProvider
    openai: openai.AsyncOpenAI
    anthropic: anthropic.AsyncAnthropic

    def model(self, kind: str = "chat") -> str:
        return f"{self.provider.name}/{getattr(self.provider, kind) or self.provider.chat}"


Example = Callable[[Lab], Awaitable[None]]
EXAMPLES: dict[str, Example] = {}


def example(name: str) -> Callable[[Example], Example]:
    def add(run: Example) -> Example:
        EXAMPLES[name] = run
        return run

    return add


@example("openai: chat")
async def chat(lab: Lab) -> None:
    answer = await lab.openai.chat.completions.create(
        model=lab.model(),
        messages=[{"role": "system", "content": "You are terse."}, {"role": "user", "content": "hi there"}],
        temperature=0.5,
        max_tokens=200,
    )
    choice = answer.choices[0]
    assert choice.message.role == "assistant"
    assert choice.message.content == "echo: hi there"
    assert choice.finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 0
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


@example("openai: chat, streamed")
async def chat_streamed(lab: Lab) -> None:
    stream = await lab.openai.chat.completions.create(
        model=lab.model(), messages=HI, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    with_choice = [chunk for chunk in chunks if chunk.choices]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in with_choice) == "echo: hi there"
    assert with_choice[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in with_choice if c.choices[0].finish_reason] == ["stop"]
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0
    without = await lab.openai.chat.completions.create(model=lab.model(), messages=HI, stream=True)
    assert all(chunk.choices for chunk in [chunk async for chunk in without])


@example("openai: tools, round trip")
async def tools_round_trip(lab: Lab) -> None:
    lab.s.mock.script(two_calls())
    messages: list[Any] = [{"role": "user", "content": "How is Rome?"}]
    asked = await lab.openai.chat.completions.create(model=lab.model(), messages=messages, tools=OPENAI_TOOLS)
    message = asked.choices[0].message
    assert asked.choices[0].finish_reason == "tool_calls"
    calls = message.tool_calls or []
    assert [(call.function.name, call.function.arguments.replace(" ", "")) for call in calls] == [  # type: ignore[union-attr]
        ("get_weather", '{"city":"Rome"}'),
        ("get_time", '{"city":"Rome"}'),
    ]
    assert len({call.id for call in calls}) == 2
    messages.append(message.model_dump(exclude_none=True))
    messages += [{"role": "tool", "tool_call_id": call.id, "content": f"fine {n}"} for n, call in enumerate(calls)]
    lab.s.mock.script(text("Rome is fine."))
    done = await lab.openai.chat.completions.create(model=lab.model(), messages=messages, tools=OPENAI_TOOLS)
    assert done.choices[0].message.content == "Rome is fine."


@example("openai: tools, streamed")
async def tools_streamed(lab: Lab) -> None:
    lab.s.mock.script(two_calls())
    stream = await lab.openai.chat.completions.create(
        model=lab.model(), messages=[{"role": "user", "content": "How is Rome?"}], tools=OPENAI_TOOLS, stream=True
    )
    names: dict[int, str] = {}
    arguments: dict[int, str] = {}
    ends = []
    async for chunk in stream:
        choice = chunk.choices[0]
        ends += [choice.finish_reason] if choice.finish_reason else []
        for call in choice.delta.tool_calls or []:
            assert call.function is not None
            if call.id:
                names[call.index] = call.function.name or ""
            arguments[call.index] = arguments.get(call.index, "") + (call.function.arguments or "")
    assert names == {0: "get_weather", 1: "get_time"}
    assert [value.replace(" ", "") for value in arguments.values()] == ['{"city":"Rome"}'] * 2
    assert ends == ["tool_calls"]


@example("openai: structured output")
async def structured(lab: Lab) -> None:
    lab.s.mock.script(text('{"name": "Ada", "age": 36}'))
    answer = await lab.openai.chat.completions.parse(
        model=lab.model(), messages=[{"role": "user", "content": "Who?"}], response_format=Person
    )
    assert answer.choices[0].message.parsed == Person(name="Ada", age=36)


@example("openai: vision")
async def vision(lab: Lab) -> None:
    url = "data:image/png;base64," + base64.b64encode(PNG).decode()
    answer = await lab.openai.chat.completions.create(
        model=lab.model("vision"),
        messages=[
            {
                "role": "user",
                "content": [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": url}}],
            }
        ],
    )
    assert f"image/png {len(PNG)} bytes" in (answer.choices[0].message.content or "")


@example("openai: errors")
async def errors(lab: Lab) -> None:
    async def call() -> None:
        await lab.openai.chat.completions.create(model=lab.model(), messages=HI)

    for code, kind in (
        (400, openai.BadRequestError),
        (401, openai.InternalServerError),
        (404, openai.NotFoundError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
    ):
        lab.s.mock.script(*[status(code)] * 3)
        with pytest.raises(kind) as caught:
            await call()
        body: Any = caught.value.body
        assert body["code"]
        assert body["trace_id"].startswith("tr_")
        lab.s.mock.forget_script()


@example("openai: retries")
async def retries(lab: Lab) -> None:
    lab.s.mock.script(status(503), status(503))
    raw = await lab.openai.chat.completions.with_raw_response.create(model=lab.model(), messages=HI)
    assert raw.parse().choices[0].message.content == "echo: hi there"
    assert raw.headers["x-stockyard-attempts"] == "3"


@example("openai: completions")
async def completions(lab: Lab) -> None:
    answer = await lab.openai.completions.create(model=lab.model(), prompt="hi there", max_tokens=50)
    assert answer.object == "text_completion"
    assert "hi there" in answer.choices[0].text
    stream = await lab.openai.completions.create(model=lab.model(), prompt="hi there", max_tokens=50, stream=True)
    joined = "".join([chunk.choices[0].text async for chunk in stream if chunk.choices])
    assert joined == answer.choices[0].text


@example("openai: responses")
async def responses(lab: Lab) -> None:
    answer = await lab.openai.responses.create(model=lab.model(), input="hi there", instructions="Be terse.")
    assert answer.status == "completed"
    assert answer.output_text == "echo: hi there"
    assert answer.usage is not None
    assert answer.usage.output_tokens > 0


@example("openai: responses, streamed")
async def responses_streamed(lab: Lab) -> None:
    stream = await lab.openai.responses.create(model=lab.model(), input="hi there", stream=True)
    events = [event async for event in stream]
    assert [events[0].type, events[-1].type] == ["response.created", "response.completed"]
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == "echo: hi there"
    assert [event.sequence_number for event in events] == list(range(len(events)))


@example("openai: responses, tools")
async def responses_tools(lab: Lab) -> None:
    lab.s.mock.script(tool("get_weather", {"city": "Rome"}))
    items: list[Any] = [{"role": "user", "content": "How is Rome?"}]
    asked = await lab.openai.responses.create(model=lab.model(), input=items, tools=RESPONSES_TOOLS)
    calls = [item for item in asked.output if item.type == "function_call"]
    assert [(call.name, call.arguments.replace(" ", "")) for call in calls] == [("get_weather", '{"city":"Rome"}')]
    items += [item.model_dump(exclude_none=True) for item in asked.output]
    items.append({"type": "function_call_output", "call_id": calls[0].call_id, "output": "fine"})
    lab.s.mock.script(text("Rome is fine."))
    done = await lab.openai.responses.create(model=lab.model(), input=items, tools=RESPONSES_TOOLS)
    assert done.output_text == "Rome is fine."


@example("openai: embeddings")
async def embeddings(lab: Lab) -> None:
    answer = await lab.openai.embeddings.create(model=lab.model("embeddings"), input=["one", "two"])
    assert [row.index for row in answer.data] == [0, 1]
    assert len(answer.data[0].embedding) == len(answer.data[1].embedding) > 0
    assert all(isinstance(number, float) for number in answer.data[0].embedding)


@example("openai: speech")
async def speech(lab: Lab) -> None:
    answer = await lab.openai.audio.speech.create(model=lab.model("speech"), voice="alloy", input="hello")
    assert len(answer.content) > 40


@example("openai: transcription")
async def transcription(lab: Lab) -> None:
    answer = await lab.openai.audio.transcriptions.create(
        model=lab.model("transcription"), file=("hello.wav", b"RIFF\x24\0\0\0WAVEfmt " + bytes(40))
    )
    assert answer.text


@example("openai: images")
async def images(lab: Lab) -> None:
    answer = await lab.openai.images.generate(model=lab.model("image"), prompt="a stockyard", size="1024x1024")
    assert answer.data
    assert answer.data[0].b64_json or answer.data[0].url


@example("openai: moderations")
async def moderations(lab: Lab) -> None:
    answer = await lab.openai.moderations.create(model=lab.model("moderation"), input="hello")
    assert answer.results[0].flagged in (True, False)


@example("anthropic: messages")
async def messages(lab: Lab) -> None:
    answer = await lab.anthropic.messages.create(
        model=lab.model(), max_tokens=200, system="You are terse.", messages=[{"role": "user", "content": "hi there"}]
    )
    assert answer.type == "message"
    assert [block.text for block in answer.content if block.type == "text"] == ["echo: hi there"]
    assert answer.stop_reason == "end_turn"
    assert answer.usage.input_tokens > 0


@example("anthropic: messages, streamed")
async def messages_streamed(lab: Lab) -> None:
    async with lab.anthropic.messages.stream(
        model=lab.model(), max_tokens=200, messages=[{"role": "user", "content": "hi there"}]
    ) as stream:
        joined = "".join([piece async for piece in stream.text_stream])
        final = await stream.get_final_message()
    assert joined == "echo: hi there"
    assert final.stop_reason == "end_turn"
    assert final.usage.output_tokens > 0


@example("anthropic: tools, round trip")
async def messages_tools(lab: Lab) -> None:
    lab.s.mock.script(two_calls())
    turns: list[Any] = [{"role": "user", "content": "How is Rome?"}]
    asked = await lab.anthropic.messages.create(
        model=lab.model(), max_tokens=200, messages=turns, tools=ANTHROPIC_TOOLS
    )
    calls = [block for block in asked.content if block.type == "tool_use"]
    assert asked.stop_reason == "tool_use"
    assert [(call.name, call.input) for call in calls] == [
        ("get_weather", {"city": "Rome"}),
        ("get_time", {"city": "Rome"}),
    ]
    turns.append({"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in asked.content]})
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "fine"} for call in calls]
    turns.append({"role": "user", "content": results})
    lab.s.mock.script(text("Rome is fine."))
    done = await lab.anthropic.messages.create(model=lab.model(), max_tokens=200, messages=turns, tools=ANTHROPIC_TOOLS)
    assert [block.text for block in done.content if block.type == "text"] == ["Rome is fine."]


@example("anthropic: vision")
async def messages_vision(lab: Lab) -> None:
    source: Any = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PNG).decode()}
    answer = await lab.anthropic.messages.create(
        model=lab.model("vision"),
        max_tokens=200,
        messages=[
            {"role": "user", "content": [{"type": "image", "source": source}, {"type": "text", "text": "what is it?"}]}
        ],
    )
    assert f"image/png {len(PNG)} bytes" in "".join(block.text for block in answer.content if block.type == "text")


@example("anthropic: errors")
async def messages_errors(lab: Lab) -> None:
    for code, kind in (
        (400, anthropic.BadRequestError),
        (401, anthropic.InternalServerError),
        (429, anthropic.RateLimitError),
        (500, anthropic.InternalServerError),
    ):
        lab.s.mock.script(*[status(code)] * 3)
        with pytest.raises(kind) as caught:
            await lab.anthropic.messages.create(model=lab.model(), max_tokens=20, messages=HI)
        body: Any = caught.value.body
        assert body["type"] == "error"
        assert body["error"]["code"]
        lab.s.mock.forget_script()


@example("anthropic: count_tokens")
async def count_tokens(lab: Lab) -> None:
    answer = await lab.anthropic.messages.count_tokens(model=lab.model(), messages=HI)
    assert answer.input_tokens > 0


def two_calls() -> Any:
    """A reply that calls both tools at once."""
    from tests.mock_replies import tools

    return tools(("get_weather", {"city": "Rome"}), ("get_time", {"city": "Rome"}))
