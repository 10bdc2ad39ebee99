"""Streams of text completions: read as chat chunks, and made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from instance.chute.answer import DONE, JSON, Delta
from instance.chute.dialects.openai_completions_text import completion_id, finish_reason, legacy_logprobs
from instance.chute.stream import EventSplitter, encode_event
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.operation import Operation


class CompletionReader:
    """A provider's stream of text completions, with canonical chunks beside the events as they came."""

    def __init__(self, *, usage_asked: bool) -> None:
        self._splitter = EventSplitter()
        self._usage_asked = usage_asked

    @property
    def done(self) -> bool:
        return self._splitter.done

    @done.setter
    def done(self, done: bool) -> None:
        self._splitter.done = done

    def feed(self, block: bytes) -> list[Delta]:
        return [self._canonical(event) for event in self._splitter.feed(block)]

    def close(self) -> list[Delta]:
        return [self._canonical(event) for event in self._splitter.close()]

    def _canonical(self, event: Delta) -> Delta:
        obj = event.obj
        if obj is None or obj.get("error"):
            return event
        choices = obj.get("choices") or ()
        made: JSON = {**obj, "object": "chat.completion.chunk", "choices": [_chat_choice(choice) for choice in choices]}
        # A chunk of usage that only we asked for is read, and not passed on.
        return Delta(event.raw if choices or self._usage_asked else b"", made)


def _chat_choice(choice: JSON) -> JSON:
    text = choice.get("text")
    return {
        "index": choice.get("index", 0),
        "delta": {"content": text} if text else {},
        "logprobs": None,
        "finish_reason": choice.get("finish_reason"),
    }


class CompletionEncoder:
    """Canonical chunks as text completions; a chunk that says nothing (a role) becomes no event."""

    def __init__(self, operation: Operation, *, usage_asked: bool) -> None:
        self._operation = operation
        self._usage_asked = usage_asked
        self._lengths: dict[int, int] = {}

    def event(self, delta: Delta) -> bytes:
        obj = delta.obj
        if obj is None:
            return b""
        choices = [one for choice in obj.get("choices") or () if (one := self._choice(choice)) is not None]
        usage = obj.get("usage") if self._usage_asked else None
        if not choices and not usage:
            return b""
        made: JSON = {
            "id": completion_id(obj.get("id")),
            "object": "text_completion",
            "created": obj.get("created"),
            "model": obj.get("model"),
            "choices": choices,
        }
        if self._usage_asked:
            made["usage"] = usage
        return encode_event(made)

    def _choice(self, choice: JSON) -> JSON | None:
        delta = choice.get("delta") or {}
        text = delta.get("content") or delta.get("refusal") or ""
        reason = finish_reason(choice.get("finish_reason"))
        if not text and reason is None:
            return None
        index = choice.get("index", 0)
        offset = self._lengths.get(index, 0)
        self._lengths[index] = offset + len(text)
        logprobs = legacy_logprobs(choice.get("logprobs"), offset)
        return {"text": text, "index": index, "logprobs": logprobs, "finish_reason": reason}

    def rewritten(self, delta: Delta) -> bytes:
        """An event of the provider with the texts that the modules left; made anew where it has none (held text)."""
        obj = delta.obj or {}
        if not delta.raw:
            return self.event(delta)
        event = orjson.loads(delta.raw[6:])
        changed = {choice.get("index", 0): choice for choice in obj.get("choices") or ()}
        for choice in event["choices"]:
            left = changed.pop(choice.get("index", 0), {})
            text = (left.get("delta") or {}).get("content") or ""
            if text != choice.get("text"):
                choice["text"] = text
                choice["logprobs"] = None
        # Text that was held of a choice that this event says nothing of.
        event["choices"] += [made for choice in changed.values() if (made := self._choice(choice)) is not None]
        return encode_event(event)

    def end(self) -> bytes:
        return DONE

    def error(self, error: StockyardError, request_id: str, trace_id: str) -> bytes:
        return encode_event(self._operation.error(error, request_id, trace_id))
