"""Output items while they are streamed: the events that open them, fill them and close them."""

from __future__ import annotations

from typing import Any

from instance.chute.answer import JSON
from instance.chute.dialects.openai_responses.item_ids import (
    CUSTOM_CALL,
    FUNCTION_CALL,
    MESSAGE,
    REASONING,
    output_item_id,
)
from instance.chute.dialects.openai_responses.output_items import message_item, reasoning_item, text_part
from instance.chute.dialects.openai_responses.reasoning import merged
from instance.chute.dialects.openai_responses.tools import custom_input

Event = tuple[str, JSON]
"""An event's type without `response.`, and its fields without type and number."""


class OpenReasoning:
    """A reasoning item with one part of summary, and the opaque content that arrives beside it."""

    def __init__(self, response_id: str, index: int) -> None:
        self._response_id = response_id
        self._at: JSON = {"item_id": output_item_id(response_id, REASONING, index), "output_index": index}
        self._texts: list[str] = []
        self._details: list[JSON] = []

    def open(self) -> list[Event]:
        index = self._at["output_index"]
        return [
            ("output_item.added", {"output_index": index, "item": reasoning_item(self._response_id, index, "", [])})
        ]

    def text(self, text: str) -> list[Event]:
        events: list[Event] = []
        if not self._texts:
            part = {"type": "summary_text", "text": ""}
            events.append(("reasoning_summary_part.added", {**self._at, "summary_index": 0, "part": part}))
        self._texts.append(text)
        events.append(("reasoning_summary_text.delta", {**self._at, "summary_index": 0, "delta": text}))
        return events

    def details(self, more: Any) -> None:
        merged(self._details, more)

    def item(self, status: str) -> JSON:
        return reasoning_item(self._response_id, self._at["output_index"], "".join(self._texts), self._details)

    def close(self, status: str) -> list[Event]:
        events: list[Event] = []
        if self._texts:
            text = "".join(self._texts)
            at = {**self._at, "summary_index": 0}
            events.append(("reasoning_summary_text.done", {**at, "text": text}))
            events.append(("reasoning_summary_part.done", {**at, "part": {"type": "summary_text", "text": text}}))
        events.append(("output_item.done", {"output_index": self._at["output_index"], "item": self.item(status)}))
        return events


class OpenMessage:
    """The assistant's message: a part of text and a part of refusal, each opened with its first piece."""

    def __init__(self, response_id: str, index: int) -> None:
        self._response_id = response_id
        self._index = index
        self._at: JSON = {"item_id": output_item_id(response_id, MESSAGE, index), "output_index": index}
        self._kinds: list[str] = []
        """The parts in their order."""
        self._texts: dict[str, list[str]] = {"text": [], "refusal": []}
        self._annotations: list[JSON] = []
        self._logprobs: list[JSON] = []

    def open(self) -> list[Event]:
        item = message_item(self._response_id, self._index, [], "in_progress")
        return [("output_item.added", {"output_index": self._index, "item": item})]

    def _part(self, kind: str) -> JSON:
        text = "".join(self._texts[kind])
        if kind == "refusal":
            return {"type": "refusal", "refusal": text}
        return text_part(text, self._annotations, self._logprobs)

    def _place(self, kind: str, events: list[Event]) -> JSON:
        """Where a part is; opens it if it is new."""
        if kind not in self._kinds:
            self._kinds.append(kind)
            at = {**self._at, "content_index": len(self._kinds) - 1}
            part = {"type": "refusal", "refusal": ""} if kind == "refusal" else text_part("", [], [])
            events.append(("content_part.added", {**at, "part": part}))
            return at
        return {**self._at, "content_index": self._kinds.index(kind)}

    def text(self, text: str, logprobs: list[JSON]) -> list[Event]:
        events: list[Event] = []
        at = self._place("text", events)
        self._texts["text"].append(text)
        self._logprobs += logprobs
        events.append(("output_text.delta", {**at, "delta": text, "logprobs": logprobs}))
        return events

    def refusal(self, text: str) -> list[Event]:
        events: list[Event] = []
        at = self._place("refusal", events)
        self._texts["refusal"].append(text)
        events.append(("refusal.delta", {**at, "delta": text}))
        return events

    def annotate(self, annotations: list[JSON]) -> list[Event]:
        events: list[Event] = []
        at = self._place("text", events)
        for annotation in annotations:
            place = {**at, "annotation_index": len(self._annotations)}
            self._annotations.append(annotation)
            events.append(("output_text.annotation.added", {**place, "annotation": annotation}))
        return events

    def item(self, status: str) -> JSON:
        return message_item(self._response_id, self._index, [self._part(kind) for kind in self._kinds], status)

    def close(self, status: str) -> list[Event]:
        events: list[Event] = []
        for index, kind in enumerate(self._kinds):
            at = {**self._at, "content_index": index}
            part = self._part(kind)
            if kind == "refusal":
                events.append(("refusal.done", {**at, "refusal": part["refusal"]}))
            else:
                events.append(("output_text.done", {**at, "text": part["text"], "logprobs": self._logprobs}))
            events.append(("content_part.done", {**at, "part": part}))
        events.append(("output_item.done", {"output_index": self._index, "item": self.item(status)}))
        return events


class OpenCall:
    """A call of a function, or of a custom tool, whose one text is known only when its arguments are whole."""

    def __init__(self, response_id: str, index: int, call_id: str, name: str, custom: bool) -> None:
        self._custom = custom
        prefix = CUSTOM_CALL if custom else FUNCTION_CALL
        self._at: JSON = {"item_id": output_item_id(response_id, prefix, index), "output_index": index}
        self._call_id = call_id or f"call_{response_id[5:]}_{index}"
        self._name = name
        self._arguments: list[str] = []

    def item(self, status: str) -> JSON:
        arguments = "".join(self._arguments)
        made: JSON = {"id": self._at["item_id"], "status": status, "call_id": self._call_id, "name": self._name}
        if self._custom:
            return {**made, "type": "custom_tool_call", "input": custom_input(arguments) if arguments else ""}
        return {**made, "type": "function_call", "arguments": arguments}

    def open(self) -> list[Event]:
        item = self.item("in_progress")
        return [("output_item.added", {"output_index": self._at["output_index"], "item": item})]

    def arguments(self, piece: str) -> list[Event]:
        self._arguments.append(piece)
        if self._custom:
            return []
        return [("function_call_arguments.delta", {**self._at, "delta": piece})]

    def close(self, status: str) -> list[Event]:
        item = self.item(status)
        done: Event = ("output_item.done", {"output_index": self._at["output_index"], "item": item})
        if self._custom:
            given = item["input"]
            delta: Event = ("custom_tool_call_input.delta", {**self._at, "delta": given})
            return [delta, ("custom_tool_call_input.done", {**self._at, "input": given}), done]
        arguments = item["arguments"]
        return [("function_call_arguments.done", {**self._at, "arguments": arguments, "name": self._name}), done]


OpenItem = OpenReasoning | OpenMessage | OpenCall
