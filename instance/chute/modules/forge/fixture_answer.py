"""The answer of a fixture: its text filled in, made a whole answer or a paced stream, with the faults that it asks for."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from random import Random
from typing import TYPE_CHECKING

import orjson

from instance.chute.answer import DONE, JSON, Delta
from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed
from instance.chute.modules.forge.fixture import PLACEHOLDER, Fixture
from instance.chute.modules.forge.schema_value import value_for
from instance.chute.stream import encode_event
from instance.chute.text import request_texts

if TYPE_CHECKING:
    from instance.core.clock import Clock

TOKEN = re.compile(r"\s*\w{1,6}|\s*[^\w\s]|\s+")
"""About what a tokenizer makes a token: some letters with the blank before them, or a sign."""
NS_PER_S = 10**9


def tokens_of(text: str) -> list[str]:
    """The text in pieces like tokens; they join to the text."""
    return TOKEN.findall(text)


def filled(template: str, groups: Mapping[str, str], x: Exchange, echo: str, n: int, random: Random) -> str:
    """The template with its placeholders filled in."""

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name in groups:
            return groups[name]
        if name == "echo":
            return echo
        if name == "model":
            return x.model_requested
        if name == "n":
            return str(n)
        if name.startswith("random "):
            chosen: str = random.choice(name.removeprefix("random ").split("|"))
            return chosen.strip()
        low, high = name.split()[1:]
        return str(random.randint(int(low), int(high)))

    return PLACEHOLDER.sub(value, template)


def made(
    fixture: Fixture, groups: Mapping[str, str], x: Exchange, echo: str, n: int, seed: str, created_s: int
) -> JSON:
    """The fixture's answer as a whole chat answer. Raises `BadSchema`."""
    random = Random(seed)
    message: JSON = {"role": "assistant", "content": None}
    finish = "stop"
    if fixture.refusal:
        message["refusal"] = filled(fixture.refusal, groups, x, echo, n, random)
    elif fixture.from_schema:
        message["content"] = orjson.dumps(value_for(_schema_of(x.req), seed)).decode()
    elif fixture.text or not fixture.tool_calls:
        message["content"] = filled(fixture.text, groups, x, echo, n, random)
    if fixture.tool_calls:
        finish = "tool_calls"
        message["tool_calls"] = [
            {
                "id": f"call_mock_{n}_{number}",
                "type": "function",
                "function": {"name": call.name, "arguments": orjson.dumps(call.arguments).decode()},
            }
            for number, call in enumerate(fixture.tool_calls)
        ]
    said = (message["content"] or "") + message.get("refusal", "")
    said += "".join(call["function"]["arguments"] for call in message.get("tool_calls", ()))
    if fixture.usage is not None:
        prompt, completion = fixture.usage.prompt_tokens, fixture.usage.completion_tokens
    else:
        prompt = sum(len(tokens_of(text)) for text in request_texts(x.req))
        completion = len(tokens_of(said))
    return {
        "id": f"chatcmpl-mock-{x.id[3:]}",
        "object": "chat.completion",
        "created": created_s,
        "model": x.model_requested,
        "choices": [
            {"index": 0, "message": message, "logprobs": None, "finish_reason": fixture.finish_reason or finish}
        ],
        "usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion},
    }


def _schema_of(req: JSON) -> object:
    form = req.get("response_format")
    if isinstance(form, dict) and isinstance(form.get("json_schema"), dict):
        return form["json_schema"].get("schema", {})
    return {"type": "object"}


def pieces_of(answer: JSON) -> list[JSON]:
    """The deltas of the stream, one a token."""
    message = answer["choices"][0]["message"]
    pieces: list[JSON] = []
    for name in ("content", "refusal"):
        pieces += [{name: token} for token in tokens_of(message.get(name) or "")]
    for number, call in enumerate(message.get("tool_calls") or ()):
        function = {"name": call["function"]["name"], "arguments": ""}
        pieces.append({"tool_calls": [{**call, "index": number, "function": function}]})
        for token in tokens_of(call["function"]["arguments"]):
            pieces.append({"tool_calls": [{"index": number, "function": {"arguments": token}}]})
    return pieces


async def streamed(
    answer: JSON,
    x: Exchange,
    clock: Clock,
    tokens_per_s: float,
    break_after: int | None = None,
    malformed_after: int | None = None,
) -> AsyncIterator[list[Delta]]:
    """The answer as a stream, a token an event, at its pace; with the faults asked for."""
    envelope = {name: answer[name] for name in ("id", "created", "model")} | {"object": "chat.completion.chunk"}

    def event(delta: JSON, finish: str | None = None) -> Delta:
        obj = {**envelope, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]}
        return Delta(encode_event(obj), obj)

    began_ns = clock.mono_ns()
    batch = [event({"role": "assistant", "content": ""})]
    for number, piece in enumerate(pieces_of(answer)):
        if break_after == number:
            yield batch
            raise CallFailed("truncated", x.targets[0] if x.targets else None, status=200, reason="as the fixture says")
        if malformed_after == number:
            batch.append(Delta(b'data: {"choices": [{"delta"\n\n', None))
        if tokens_per_s:
            yield batch
            batch = []
            # By the time since the beginning, so that late wakings do not add up.
            await clock.sleep(max(0.0, (number + 1) / tokens_per_s - (clock.mono_ns() - began_ns) / NS_PER_S))
        batch.append(event(piece))
    batch.append(event({}, answer["choices"][0]["finish_reason"]))
    usage = {**envelope, "choices": [], "usage": answer["usage"]}
    batch += [Delta(encode_event(usage), usage), Delta(DONE, None)]
    yield batch
