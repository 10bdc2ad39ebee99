"""What is said, before it takes a provider's form: what was asked, read from any dialect, and what is answered."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from instance.mock_upstream.instances import instance_of
from instance.mock_upstream.replies import Reply

CREATED = 1_760_000_000
THOUGHT = "mock thinking"
"""What is thought when thinking is asked for and nothing is scripted."""


@dataclass(slots=True)
class Asked:
    """A talk as its dialect's reader found it."""

    model: str = ""
    user_text: str = ""
    """The last user turn."""
    media: list[str] = field(default_factory=list)
    """What the last user turn showed, described: `image/png 68 bytes`."""
    results: list[str] = field(default_factory=list)
    """Texts of the tool results at the end of the talk."""
    words: int = 0
    earlier_calls: int = 0
    """Tool calls in the history."""
    tools: dict[str, Any] = field(default_factory=dict)
    """Schema of the arguments by name of the tool."""
    choice: str = "auto"
    """`auto`, `none`, `any`, or the name of the tool that must be called."""
    parallel: bool = True
    schema: Any = None
    """Of the answer, when structured output is wanted; `{}` for any JSON."""
    stream: bool = False
    think: bool = False
    """Thinking text is wanted."""

    def hear(self, text: str) -> None:
        """A user's text: the last one counts, with the parts that follow it."""
        self.user_text += text
        self.words += len(text.split())

    def new_turn(self, role: str) -> None:
        """A turn begins: what the turn before said is history."""
        if role == "user":
            self.user_text = ""
            self.media.clear()
        if role != "tool":
            self.results.clear()


@dataclass(frozen=True, slots=True)
class ToolCall:
    number: int
    """From 1, counted over the whole talk: ids are made of it."""
    name: str
    arguments: str
    """JSON text, or what the script said."""

    @property
    def object(self) -> Any:
        """The arguments as an object, for dialects that send one; what is no object goes under `raw`."""
        try:
            found = orjson.loads(self.arguments)
        except orjson.JSONDecodeError:
            return {"raw": self.arguments}
        return found if isinstance(found, dict) else {"raw": found}

    @property
    def halves(self) -> tuple[str, str]:
        """The arguments in two pieces, as a stream sends them."""
        middle = len(self.arguments) // 2
        return self.arguments[:middle], self.arguments[middle:]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens. `prompt` includes what was cached and what was written to a cache, `completion` the reasoning."""

    prompt: int
    completion: int
    cached: int = 0
    cache_creation: int = 0
    reasoning: int = 0

    @property
    def total(self) -> int:
        return self.prompt + self.completion

    @property
    def fresh(self) -> int:
        """Prompt tokens that neither came from a cache nor were written to one."""
        return self.prompt - self.cached - self.cache_creation


@dataclass(frozen=True, slots=True)
class Said:
    """The answer. `finish` is OpenAI's name, unless the script gave another."""

    text: str
    pieces: list[str]
    reasoning: str
    tool_calls: list[ToolCall]
    finish: str
    usage: Usage
    reply: Reply

    @property
    def reasoning_pieces(self) -> list[str]:
        return in_words(self.reasoning)


def answer(asked: Asked, reply: Reply) -> Said:
    """What the script says, or else an echo, a tool call that was asked for, or an instance of the wanted schema."""
    calls = list(reply.tool_calls) + ([reply.tool_call] if reply.tool_call is not None else [])
    scripted = reply.text is not None or reply.pieces is not None or bool(calls)
    if not scripted:
        calls = [(name, instance_of(asked.tools[name])) for name in _wanted_tools(asked)]
    made = [
        ToolCall(asked.earlier_calls + place, name, given if isinstance(given, str) else orjson.dumps(given).decode())
        for place, (name, given) in enumerate(calls, 1)
    ]
    text = _text(asked, reply) if reply.text is not None or reply.pieces is not None or not made else ""
    pieces = list(reply.pieces) if reply.pieces is not None else in_words(text)
    finish = reply.finish or ("tool_calls" if made else "stop")
    reasoning = reply.reasoning if reply.reasoning is not None else THOUGHT if asked.think else ""
    return Said(text, pieces, reasoning, made, finish, _usage(asked, text, reasoning, reply), reply)


def _wanted_tools(asked: Asked) -> list[str]:
    if not asked.tools or asked.choice == "none":
        return []
    if asked.choice in asked.tools:
        return [asked.choice]
    words = asked.user_text
    named = [] if asked.results else [name for name in asked.tools if f"call {name}" in words]
    if not named and asked.choice == "any":
        named = list(asked.tools)
    named.sort(key=words.find)
    return named if asked.parallel else named[:1]


def _text(asked: Asked, reply: Reply) -> str:
    if reply.pieces is not None:
        return "".join(reply.pieces)
    if reply.text is not None:
        return reply.text
    said = " ".join(
        [
            asked.user_text,
            *(f"[{shown}]" for shown in asked.media),
            *(f"[result {result}]" for result in asked.results),
        ]
    )
    if asked.schema is not None:
        schema = asked.schema or {"type": "object", "properties": {"echo": {"type": "string"}}}
        return orjson.dumps(instance_of(schema, said.strip() or "mock")).decode()
    return f"echo: {said}"


def _usage(asked: Asked, text: str, reasoning: str, reply: Reply) -> Usage:
    if reply.usage is not None:
        return read_usage(reply.usage)
    thought = len(reasoning.split())
    return Usage(asked.words, len(text.split()) + thought, reasoning=thought)


def read_usage(usage: Mapping[str, Any]) -> Usage:
    """From OpenAI's form."""
    prompt = usage.get("prompt_tokens_details") or {}
    completion = usage.get("completion_tokens_details") or {}
    return Usage(
        usage.get("prompt_tokens", 0),
        usage.get("completion_tokens", 0),
        prompt.get("cached_tokens", 0) or 0,
        prompt.get("cache_creation_tokens", 0) or 0,
        completion.get("reasoning_tokens", 0) or 0,
    )


def in_words(text: str) -> list[str]:
    """The text as a stream sends it: a word and the space after it at a time."""
    if not text:
        return []
    pieces = [word + " " for word in text.split(" ")]
    pieces[-1] = pieces[-1][:-1]
    return pieces


def described(kind: str, data: str | None = None, url: str | None = None) -> str:
    """What a part shows: `image/png 68 bytes` for base64 data, `image https://…` for a link."""
    if data is None:
        return f"{kind} {url}"
    try:
        size = len(base64.b64decode(data, validate=True))
    except ValueError:
        return f"{kind} not base64"
    return f"{kind} {size} bytes"


def described_url(kind: str, url: str) -> str:
    """The same for a URL that may hold its data."""
    if not url.startswith("data:"):
        return described(kind, url=url)
    head, _, data = url[5:].partition(",")
    return described(head.split(";")[0], data)


def described_bytes(data: str) -> str:
    """The same for an image in base64 whose type only its first bytes tell."""
    head = base64.b64decode(data[:24] + "=" * (-len(data[:24]) % 4))
    kinds = ((b"\x89PNG", "png"), (b"\xff\xd8", "jpeg"), (b"GIF8", "gif"), (b"RIFF", "webp"))
    kind = next((name for start, name in kinds if head.startswith(start)), None)
    return described(f"image/{kind}" if kind else "image", data)
