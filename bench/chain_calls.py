"""The calls that the chain is measured with: requests that are all different, and what the provider answers to them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import orjson

from bench.prose import Prose
from instance.chute.answer import DONE, Delta
from instance.chute.exact_bytes import exact
from instance.chute.stream import encode_event

JSON = dict[str, Any]

SYSTEM = "You are a helpful assistant. Answer in plain words."
QUESTION = "Summarise this for a newcomer who starts next week, and say what matters most."
ANSWER_CHARS = 560
TOKEN_CHARS = 5


@dataclass(frozen=True)
class Case:
    """A kind of call: characters of the question, how it is answered, and whether it belongs to a session."""

    name: str
    prompt_chars: int = 330
    streamed: bool = False
    in_session: bool = False
    marked: bool = False


CASES = (
    Case("whole"),
    Case("in a session", in_session=True),
    Case("answer in Markdown", marked=True),
    Case("stream", streamed=True),
    Case("stream in Markdown", streamed=True, marked=True),
    Case("2 KB prompt", prompt_chars=2_000),
    Case("8 KB prompt", prompt_chars=8_000),
    Case("32 KB prompt", prompt_chars=32_000),
)
"""The first is the one that the bar is about: a request of about 400 bytes, an answer of about 600."""

_prose = Prose(20260401)


def prompt(chars: int) -> str:
    """Text of that many characters or a little more, which no other call has."""
    return f"{_prose.text(chars - len(QUESTION))} {QUESTION}"


def answer_text(case: Case) -> str:
    """About 600 bytes, which no other call has: prose, or Markdown as models write it for a screen."""
    if not case.marked:
        return _prose.text(ANSWER_CHARS)
    prose = _prose
    return (
        f"## The {prose.thing()}\n\nThere are **three parts** to it:\n\n1. *First* - the {prose.thing()}.\n"
        f"2. *Then* - the {prose.thing()}; see [the list](https://example.com/list).\n3. *Last* - by `lot` number.\n\n"
        f"| what | how many |\n| --- | --- |\n| {prose.thing()} | 6 |\n| {prose.thing()} | 8 |\n\n"
        f"### What matters\n\n- {prose.sentence()}\n- The {prose.thing()}.\n\n> {prose.sentence()}\n\n{prose.sentence()}"
    )


def request(case: Case) -> bytes:
    """A request of the case; no two are equal."""
    body: JSON = {
        "model": "gpt-4o-mini",
        "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": prompt(case.prompt_chars)}],
        "temperature": 0.7,
        "max_tokens": 400,
    }
    if case.streamed:
        body["stream"] = True
    return orjson.dumps(body)


def answer(text: str, number: int) -> bytes:
    """A provider's whole answer."""
    message = {"role": "assistant", "content": text}
    made = orjson.dumps(
        {
            "id": f"chatcmpl-{number}",
            "object": "chat.completion",
            "created": 1,
            "model": "gpt-4o-mini",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 90, "completion_tokens": 120, "total_tokens": 210},
        }
    )
    return exact(made)  # as what comes from a socket is


def events(text: str, number: int) -> list[Delta]:
    """A provider's streamed answer: a role, the text a token an event, the end, the usage, `[DONE]`."""
    pieces = [text[start : start + TOKEN_CHARS] for start in range(0, len(text), TOKEN_CHARS)]
    made = [_event(number, {"role": "assistant", "content": ""})]
    made += [_event(number, {"content": piece}) for piece in pieces]
    made.append(_event(number, {}, "stop"))
    usage = {"prompt_tokens": 90, "completion_tokens": len(pieces), "total_tokens": 90 + len(pieces)}
    obj = {**_chunk(number), "choices": [], "usage": usage}
    return [*made, Delta(encode_event(obj), obj), Delta(DONE, None)]


async def arriving(deltas: list[Delta]) -> AsyncIterator[list[Delta]]:
    """Each event in a block of its own: the dearest way in which they can come."""
    for delta in deltas:
        yield [delta]


def _chunk(number: int) -> JSON:
    return {"id": f"chatcmpl-{number}", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini"}


def _event(number: int, delta: JSON, finish_reason: str | None = None) -> Delta:
    obj = {**_chunk(number), "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}
    return Delta(encode_event(obj), obj)
