"""Events of a provider that speaks Responses on their way to the caller: as they came, until a module changes a text.

A text is sent more than once: in pieces, whole when its part and its item end, and in the last event. So what was sent of
each text is remembered, and the events that repeat it say the same. While a module holds back the end of a text, the
events that end it wait until the last one, before which the rest is released.
"""

from __future__ import annotations

from typing import Any

import orjson

from instance.chute.answer import JSON, Delta
from instance.chute.dialects.openai_responses.begun_response import BegunResponse, Key
from instance.chute.dialects.openai_responses.native_stream import NativeDelta
from instance.chute.dialects.openai_responses.stream_encoder import event_bytes

_NAMES = {
    "response.output_text.delta": "content",
    "response.refusal.delta": "refusal",
    "response.reasoning_summary_text.delta": "reasoning_content",
    "response.reasoning_text.delta": "reasoning_text",
    "response.function_call_arguments.delta": "arguments",
    "response.custom_tool_call_input.delta": "input",
}
_CHAT_NAMES = {"reasoning_text": "reasoning_content"}
_LAST = frozenset(("response.completed", "response.incomplete"))


class _Text:
    """One text: what arrived of it and what was sent, and the last event's place to send more of it."""

    __slots__ = ("arrived", "place", "sent", "tool")

    def __init__(self, event: JSON, tool: int | None) -> None:
        self.arrived = ""
        self.sent = ""
        self.place = event
        self.tool = tool

    @property
    def same(self) -> bool:
        return self.arrived == self.sent


class NativeRewriter:
    """One stream's events. `take` gives what may leave now, `end` the last event."""

    def __init__(self) -> None:
        self._texts: dict[Key, _Text] = {}
        self._waiting: list[tuple[bytes, JSON]] | None = None
        self._number = -1
        self._renumber = False
        self._last = b""
        self._begun = BegunResponse()
        self._finish: Any = None
        """Why a module ended the answer before the provider did; `None`: none has."""

    def take(self, delta: Delta) -> bytes:
        """The bytes for one event, whose chunk holds what the modules left of it."""
        out: list[bytes] = []
        finish = delta.obj["choices"][0].get("finish_reason") if delta.obj and delta.obj.get("choices") else None
        if not isinstance(delta, NativeDelta):
            self._finish = finish
            self._release(delta.obj, out)
            self._flush(out)
            return b"".join(out)
        event = delta.event
        kind: str = event["type"]
        self._begun.see(kind, event)
        if finish is not None and kind not in _LAST:
            self._finish = finish
        name = _NAMES.get(kind)
        if name is not None:
            self._piece(name, delta, out)
        elif kind in _LAST:
            self._release(delta.obj, out)
            self._flush(out)
            last: list[bytes] = []
            self._send(delta.raw, event, last)
            self._last = b"".join(last)
        elif self._waiting is not None or not self._repeats_the_same(event):
            self._wait(delta.raw, event)
        else:
            self._send(delta.raw, event, out)
        return b"".join(out)

    def end(self) -> bytes:
        """The last event; of an answer that a module ended, also the ends of what was begun."""
        if self._last or self._finish is None:
            return self._last
        out: list[bytes] = []
        self._flush(out)
        self._renumber = True
        for event in self._begun.ends(self._sent_texts(), self._finish):
            self._send(b"", event, out)
        return b"".join(out)

    def _sent_texts(self) -> list[tuple[Key, str]]:
        return [(key, text.sent) for key, text in self._texts.items()]

    @property
    def next_number(self) -> int:
        return self._number + 1

    def _piece(self, name: str, delta: NativeDelta, out: list[bytes]) -> None:
        event = delta.event
        index = _part_of(event)
        key = (name, event["output_index"], index)
        chat = delta.obj["choices"][0].get("delta") or {} if delta.obj else {}
        calls = chat.get("tool_calls")
        tool = calls[0].get("index") if calls else None
        text = self._texts.get(key)
        if text is None:
            text = self._texts[key] = _Text(event, tool)
        came = event["delta"]
        if name in ("arguments", "input"):
            left = calls[0]["function"].get("arguments") if calls else ""
        else:
            left = chat.get(_CHAT_NAMES.get(name, name))
        left = left if isinstance(left, str) else ""
        text.arrived += came
        text.sent += left
        if left == came:
            self._queue_or_send(delta.raw, event, out)
            return
        self._renumber = True
        if left:
            self._queue_or_send(b"", _piece_of(event, left), out)

    def _queue_or_send(self, raw: bytes, event: JSON, out: list[bytes]) -> None:
        if self._waiting is not None:
            self._waiting.append((raw, event))
        else:
            self._send(raw, event, out)

    def _wait(self, raw: bytes, event: JSON) -> None:
        if self._waiting is None:
            self._waiting = []
        self._waiting.append((raw, event))

    def _release(self, obj: JSON | None, out: list[bytes]) -> None:
        """Send what the modules still held back, each text before the events that end it."""
        for choice in (obj or {}).get("choices") or ():
            chat = choice.get("delta") or {}
            for name in ("content", "refusal", "reasoning_content"):
                if chat.get(name):
                    self._release_text(
                        (name, "reasoning_text") if name == "reasoning_content" else (name,), None, chat[name], out
                    )
            for call in chat.get("tool_calls") or ():
                piece = (call.get("function") or {}).get("arguments")
                if piece:
                    self._release_text(("arguments", "input"), call.get("index"), piece, out)

    def _release_text(self, names: tuple[str, ...], tool: int | None, left: str, out: list[bytes]) -> None:
        keys = [key for key, text in self._texts.items() if key[0] in names and text.tool == tool]
        if not keys:
            return
        key = keys[-1]
        text = self._texts[key]
        text.sent += left
        self._renumber = True
        event = _piece_of(text.place, left)
        if self._waiting is None:
            self._send(b"", event, out)
            return
        ends = (at for at, (_, waiting) in enumerate(self._waiting) if _ends(waiting, key))
        index = next(ends, len(self._waiting))
        self._waiting.insert(index, (b"", event))

    def _flush(self, out: list[bytes]) -> None:
        waiting, self._waiting = self._waiting or [], None
        for raw, event in waiting:
            self._send(raw, event, out)

    def _send(self, raw: bytes, event: JSON, out: list[bytes]) -> None:
        if not self._renumber and raw:
            number = event.get("sequence_number")
            self._number = number if type(number) is int else self._number + 1
            out.append(raw)
            return
        self._number += 1
        fields = self._with_sent_texts(event)
        kind = fields.pop("type")
        fields.pop("sequence_number", None)
        out.append(event_bytes(kind, self._number, fields))

    def _repeats_the_same(self, event: JSON) -> bool:
        """Whether every text of the item that the event speaks of was sent as it arrived."""
        place = _place_of(event)
        return place is None or all(text.same for key, text in self._texts.items() if key[1] == place)

    def _with_sent_texts(self, event: JSON) -> JSON:
        if all(text.same for text in self._texts.values()) or "delta" in event:
            return dict(event)
        made: JSON = orjson.loads(orjson.dumps(event))
        response = made.get("response")
        if isinstance(response, dict):
            for index, item in enumerate(response.get("output") or ()):
                self._item(item, index)
            return made
        place = _place_of(made)
        if place is None:
            return made
        if isinstance(made.get("item"), dict):
            self._item(made["item"], place)
        part = _part_of(made)
        for name, field in (
            ("content", "text"),
            ("refusal", "refusal"),
            ("arguments", "arguments"),
            ("input", "input"),
        ):
            self._put(made, field, (name, place, part))
        for name in ("reasoning_content", "reasoning_text"):
            self._put(made, "text", (name, place, part))
        if isinstance(made.get("part"), dict):
            self._part(made["part"], place, part)
        return made

    def _item(self, item: JSON, place: int) -> None:
        for index, part in enumerate(item.get("content") or ()):
            self._part(part, place, index)
        for index, part in enumerate(item.get("summary") or ()):
            self._put(part, "text", ("reasoning_content", place, index))
        self._put(item, "arguments", ("arguments", place, 0))
        self._put(item, "input", ("input", place, 0))

    def _part(self, part: JSON, place: int, index: int) -> None:
        name = {"refusal": "refusal", "summary_text": "reasoning_content", "reasoning_text": "reasoning_text"}
        kind = str(part.get("type"))
        self._put(part, "refusal" if kind == "refusal" else "text", (name.get(kind, "content"), place, index))

    def _put(self, holder: JSON, field: str, key: Key) -> None:
        text = self._texts.get(key)
        if text is None or text.same or field not in holder:
            return
        holder[field] = text.sent
        if "logprobs" in holder:
            holder["logprobs"] = []
        if "annotations" in holder:
            holder["annotations"] = []


def _place_of(event: JSON) -> int | None:
    place: Any = event.get("output_index")
    return place if type(place) is int else None


def _ends(event: JSON, key: Key) -> bool:
    """Whether the event ends the text, or the item that the text is in."""
    if _place_of(event) != key[1] or not event["type"].endswith(".done"):
        return False
    return "item" in event or _part_of(event) == key[2]


def _part_of(event: JSON) -> int:
    index: Any = event.get("content_index", event.get("summary_index"))
    return index if type(index) is int else 0


def _piece_of(event: JSON, text: str) -> JSON:
    made = {**event, "delta": text}
    made.pop("obfuscation", None)
    if "logprobs" in made:
        made["logprobs"] = []
    return made
