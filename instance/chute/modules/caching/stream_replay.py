"""A stream put together into the whole answer that it is, and a whole answer taken apart into a stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from instance.chute.answer import DONE, JSON, Delta
from instance.chute.stream import encode_event
from instance.core.clock import Clock

PIECE_CHARS = 24
"""Length of the pieces in which content is replayed; about six tokens."""
CHARS_PER_TOKEN = 4
ASSEMBLED_MAX_BYTES = 4 << 20
_ENVELOPE = ("id", "created", "model", "system_fingerprint", "service_tier", "provider")


class Assembly:
    """Collects a chat stream's events; `whole()` is the answer that a call without `stream` would have got."""

    __slots__ = ("_choices", "_envelope", "_size", "_usage")

    def __init__(self) -> None:
        self._envelope: JSON = {}
        self._choices: dict[int, JSON] = {}
        self._usage: JSON | None = None
        self._size = 0

    def add(self, delta: Delta) -> None:
        """Take one event; nothing of it is kept by reference, as later hooks change it."""
        obj = delta.obj
        if obj is None:
            return
        envelope = self._envelope
        if not envelope:
            envelope.update((name, obj[name]) for name in _ENVELOPE if name in obj)
        usage = obj.get("usage")
        if usage:
            self._usage = dict(usage)
        for choice in obj.get("choices") or ():
            index = choice.get("index", 0)
            kept = self._choices.get(index)
            if kept is None:
                kept = self._choices[index] = {"texts": {}, "calls": {}, "finish_reason": None, "logprobs": None}
            part = choice.get("delta")
            if part:
                content = part.get("content")
                if len(part) == 1 and type(content) is str:  # as nearly every event is
                    if content:
                        pieces = kept["texts"].get("content")
                        if pieces is None:
                            pieces = kept["texts"]["content"] = []
                        pieces.append(content)
                        self._size += len(content)
                else:
                    self._add_part(kept, part)
            if choice.get("logprobs") is not None:
                kept["other"] = True
            reason = choice.get("finish_reason")
            if reason is not None:
                kept["finish_reason"] = reason

    def _add_part(self, kept: JSON, part: JSON) -> None:
        for name, value in part.items():
            if name == "tool_calls":
                self._add_calls(kept["calls"], value)
            elif name != "role" and type(value) is str:
                self._add_text(kept["texts"], name, value)
            elif name != "role" and value is not None:
                kept["other"] = True

    def _add_text(self, texts: dict[str, list[str]], name: str, text: str) -> None:
        if text:
            pieces = texts.get(name)
            if pieces is None:
                texts[name] = [text]
            else:
                pieces.append(text)
            self._size += len(text)

    def _add_calls(self, kept: dict[int, JSON], calls: Any) -> None:
        for call in calls or ():
            index = call.get("index", 0)
            function = call.get("function") or {}
            known = kept.setdefault(index, {"id": "", "type": "function", "name": "", "arguments": []})
            known["id"] = call.get("id") or known["id"]
            known["name"] = function.get("name") or known["name"]
            arguments = function.get("arguments")
            if arguments:
                known["arguments"].append(arguments)
                self._size += len(arguments)

    def whole(self) -> JSON | None:
        """The whole answer; `None` when a choice did not finish, or holds what cannot be put together."""
        choices = []
        if not self._choices or self._size > ASSEMBLED_MAX_BYTES:
            return None
        for index in sorted(self._choices):
            kept = self._choices[index]
            if kept["finish_reason"] is None or "other" in kept:
                return None
            message: JSON = {"role": "assistant", "content": None}
            for name, pieces in kept["texts"].items():
                message[name] = "".join(pieces)
            if kept["calls"]:
                message["tool_calls"] = [
                    {
                        "id": call["id"],
                        "type": call["type"],
                        "function": {"name": call["name"], "arguments": "".join(call["arguments"])},
                    }
                    for _, call in sorted(kept["calls"].items())
                ]
            choices.append(
                {"index": index, "message": message, "finish_reason": kept["finish_reason"], "logprobs": None}
            )
        answer = {**self._envelope, "object": "chat.completion", "choices": choices}
        if self._usage is not None:
            answer["usage"] = self._usage
        return answer


def _pieces(text: str) -> Iterator[str]:
    """The text in pieces that end after blanks where they can."""
    start, length = 0, len(text)
    while start < length:
        end = min(length, start + PIECE_CHARS)
        if end < length:
            blank = max(text.rfind(" ", start, end), text.rfind("\n", start, end))
            end = blank + 1 if blank > start else end
        yield text[start:end]
        start = end


def _pieces_with_logprobs(text: str, logprobs: Any) -> Iterator[tuple[str, list[JSON] | None]]:
    """The text in pieces, each with its tokens' log probabilities: token by token where the tokens are the text."""
    if type(logprobs) is not list or not all(type(entry) is dict for entry in logprobs):
        yield from ((piece, None) for piece in _pieces(text))
    elif "".join([str(entry.get("token")) for entry in logprobs]) == text:
        yield from ((entry["token"], [entry]) for entry in logprobs)
    else:
        for piece in _pieces(text):
            yield piece, logprobs
            logprobs = None


def _fields(message: JSON) -> list[tuple[str, Any]]:
    """What a message says beside its role and tool calls, in the order of a stream: reasoning comes first."""
    fields = [(name, value) for name, value in message.items() if value and name not in ("role", "tool_calls")]
    return sorted(fields, key=lambda field: not field[0].startswith("reasoning"))


def chunks(answer: JSON) -> Iterator[tuple[JSON, int]]:
    """The answer as chat chunks, each with about how many tokens it carries: role, content, tool calls, finish, usage."""
    envelope = {name: value for name, value in answer.items() if name not in ("choices", "usage", "object")}
    envelope["object"] = "chat.completion.chunk"

    def chunk(index: int, delta: JSON, finish: str | None = None, logprobs: JSON | None = None) -> JSON:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return {**envelope, "choices": [choice]}

    for choice in answer["choices"]:
        index = choice.get("index", 0)
        message = choice["message"]
        yield chunk(index, {"role": message.get("role", "assistant"), "content": ""}), 0
        given = choice.get("logprobs")
        logprobs: JSON = given if type(given) is dict else {}
        for name, value in _fields(message):
            if type(value) is not str:
                yield chunk(index, {name: value}), 0
                continue
            for piece, said in _pieces_with_logprobs(value, logprobs.get(name)):
                of_piece = {**dict.fromkeys(logprobs), name: said} if said else None
                yield chunk(index, {name: piece}, logprobs=of_piece), -(-len(piece) // CHARS_PER_TOKEN)
        for number, call in enumerate(message.get("tool_calls") or ()):
            yield chunk(index, {"tool_calls": [{"index": number, **call}]}), 0
        yield chunk(index, {}, choice.get("finish_reason") or "stop"), 0
    if answer.get("usage"):
        yield {**envelope, "choices": [], "usage": answer["usage"]}, 0


async def replay(answer: JSON, clock: Clock, tokens_per_s: int) -> AsyncIterator[list[Delta]]:
    """The whole answer as the events of a stream: at once, or paced."""
    events: list[Delta] = []
    for obj, tokens in chunks(answer):
        if tokens_per_s and tokens:
            if events:
                yield events
                events = []
            await clock.sleep(tokens / tokens_per_s)
        events.append(Delta(encode_event(obj), obj))
    events.append(Delta(DONE, None))
    yield events
