"""Input items as chat messages: an assistant's reasoning, words and calls that follow each other become one message."""

from __future__ import annotations

from typing import Any

import orjson

from instance.chute.answer import JSON
from instance.chute.dialects.openai_responses.content import chat_content, joined_text
from instance.chute.dialects.openai_responses.reasoning import opened, reasoning_text
from instance.chute.dialects.openai_responses.translation import Translation, bad

ROLES = frozenset(("user", "assistant", "system", "developer"))
LEFT_OUT = frozenset(
    (
        "web_search_call",
        "file_search_call",
        "code_interpreter_call",
        "image_generation_call",
        "mcp_list_tools",
        "mcp_call",
    )
)
"""What a hosted tool did in an earlier turn: the answer's text that followed says what came of it."""


def as_items(given: Any) -> list[JSON]:
    """`input` as a list of items. Raises `bad_request`."""
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": given}]
    if not isinstance(given, list):
        raise bad("input", "`input` is a string or a list of items.")
    for index, item in enumerate(given):
        if not isinstance(item, dict):
            raise bad(f"input[{index}]", "An item is an object with a `type`.")
    return given


def kind_of(item: JSON) -> str:
    """An item's type; a message may leave it away, and so may a reference."""
    kind = item.get("type")
    if isinstance(kind, str):
        return kind
    return "message" if "role" in item else "item_reference"


class MessageMaker:
    """Takes items in order and adds messages to a `Translation`; `end()` after the last."""

    __slots__ = ("_images", "_into", "_open")

    def __init__(self, into: Translation) -> None:
        self._into = into
        self._open: JSON | None = None
        """The assistant's message that further items of its turn still belong to."""
        self._images: list[tuple[JSON, int]] = []
        """What tools gave beside text; chat takes it from a user only, after all of the turn's tool messages."""

    def take(self, item: JSON, index: int, param: str) -> None:
        """One item; raises `bad_request` with the place of what is wrong."""
        kind = kind_of(item)
        if kind not in ("function_call_output", "custom_tool_call_output"):
            self._give_images()
        if kind == "message":
            self._message(item, index, param)
        elif kind == "function_call":
            self._call(item, index, param, _text(item, "arguments", param))
        elif kind == "custom_tool_call":
            self._call(item, index, param, orjson.dumps({"input": _text(item, "input", param)}).decode())
        elif kind in ("function_call_output", "custom_tool_call_output"):
            self._output(item, index, param)
        elif kind == "reasoning":
            self._reasoning(item, index)
        elif kind in LEFT_OUT:
            self._into.dropped.append(param)
        elif kind == "item_reference":
            self._into.only_native(f"{param}.id", "an item by reference that is not stored here")
        else:
            self._into.only_native(param, f"an item of type {kind!r}")

    def end(self) -> None:
        self._give_images()
        self._open = None

    def _message(self, item: JSON, index: int, param: str) -> None:
        role = item.get("role")
        if role not in ROLES:
            raise bad(f"{param}.role", "`role` is user, assistant, system or developer.")
        if role != "assistant":
            self._open = None
            content = chat_content(item.get("content"), f"{param}.content", self._into)
            # Both roles mean the same to OpenAI's models; the others know `system` only.
            self._into.add({"role": "user" if role == "user" else "system", "content": content}, index)
            return
        text, refusal, _ = joined_text(item.get("content"), f"{param}.content", self._into)
        turn = self._open
        if turn is None or (turn.get("content") is not None and "tool_calls" not in turn):
            turn = self._turn(index, fresh=True)
        elif turn.get("content"):
            text = f"{turn['content']}\n{text}"
            self._into.sources[-1].append(index)
        else:
            self._into.sources[-1].append(index)
        turn["content"] = text
        if refusal:
            turn["refusal"] = refusal

    def _turn(self, index: int, *, fresh: bool = False) -> JSON:
        """The assistant's open message, or a new one."""
        if self._open is None or fresh:
            self._open = self._into.add({"role": "assistant", "content": None}, index)
        else:
            self._into.sources[-1].append(index)
        return self._open

    def _call(self, item: JSON, index: int, param: str, arguments: str) -> None:
        name = item.get("name")
        if not isinstance(name, str) or not name:
            raise bad(f"{param}.name", "A call needs the `name` of its function.")
        call_id = item.get("call_id")
        if not isinstance(call_id, str) or not call_id:
            raise bad(f"{param}.call_id", "A call needs its `call_id`.")
        calls = self._turn(index).setdefault("tool_calls", [])
        calls.append({"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}})

    def _output(self, item: JSON, index: int, param: str) -> None:
        call_id = item.get("call_id")
        if not isinstance(call_id, str) or not call_id:
            raise bad(f"{param}.call_id", "An output needs the `call_id` of its call.")
        self._open = None
        text, _, others = joined_text(item.get("output"), f"{param}.output", self._into)
        if others and not text:
            text = "The output follows."
        self._into.add({"role": "tool", "tool_call_id": call_id, "content": text}, index)
        if others:
            parts = [{"type": "text", "text": f"Output of the tool call {call_id}:"}, *others]
            self._images.append(({"role": "user", "content": parts}, index))

    def _give_images(self) -> None:
        for message, index in self._images:
            self._into.add(message, index)
        self._images.clear()

    def _reasoning(self, item: JSON, index: int) -> None:
        text = reasoning_text(item)
        details = opened(item.get("encrypted_content"))
        if not text and not details:
            return
        turn = self._open
        if turn is None or turn.get("content") is not None or "tool_calls" in turn:
            turn = self._turn(index, fresh=True)
        else:
            self._into.sources[-1].append(index)
        if text:
            before = turn.get("reasoning_content")
            turn["reasoning_content"] = f"{before}\n\n{text}" if before else text
        if details:
            turn["reasoning_details"] = [*turn.get("reasoning_details", ()), *details]


def _text(item: JSON, name: str, param: str) -> str:
    value = item.get(name)
    if not isinstance(value, str):
        raise bad(f"{param}.{name}", f"`{name}` is a string.")
    return value
