"""Chat messages that modules changed, as input items: what no module touched keeps the items that it was made of."""

from __future__ import annotations

from typing import Any

from instance.chute.answer import JSON
from instance.chute.dialects.openai_responses.input_items import kind_of
from instance.chute.dialects.openai_responses.tools import custom_input
from instance.chute.dialects.openai_responses.translation import INSTRUCTIONS, Translation


def rewritten_items(context: list[JSON], before: Translation, after: list[JSON]) -> tuple[str | None, list[JSON]]:
    """`instructions` and `input` that say what `after` says. `before` is the translation of `context` as it came."""
    return _Rewriting(context, before).take(after)


class _Rewriting:
    def __init__(self, context: list[JSON], before: Translation) -> None:
        self._context = context
        self._before = before
        self._custom_calls = {item.get("call_id") for item in context if kind_of(item) == "custom_tool_call"}
        self._used: set[int] = set()

    def take(self, after: list[JSON]) -> tuple[str | None, list[JSON]]:
        pairs = _aligned(self._before.messages, after)
        same = {place for place, message in pairs if place is not None and self._before.messages[place] == message}
        # An item that a changed message was made of says what must not be said any more, wherever else it is used.
        changed = {
            index for place, sources in enumerate(self._before.sources) if place not in same for index in sources
        }
        instructions: str | None = None
        items: list[JSON] = []
        for place, message in pairs:
            sources = [] if place is None else self._before.sources[place]
            if sources == [INSTRUCTIONS]:
                instructions = joined_text(message.get("content"))
            elif place in same and not changed.intersection(sources):
                for index in sources:
                    if index not in self._used:
                        self._used.add(index)
                        items.append(self._context[index])
            else:
                items += self._thoughts(place, sources, message)
                items += self._items(message)
        return instructions, items

    def _thoughts(self, place: int | None, sources: list[int], message: JSON) -> list[JSON]:
        """The reasoning items of a message of which something else was changed."""
        if place is None:
            return []
        before = self._before.messages[place]
        if any(before.get(name) != message.get(name) for name in ("reasoning_content", "reasoning_details")):
            return []
        return [self._context[index] for index in sources if kind_of(self._context[index]) == "reasoning"]

    def _items(self, message: JSON) -> list[JSON]:
        role = message.get("role")
        if role == "tool":
            call_id = message.get("tool_call_id")
            kind = "custom_tool_call_output" if call_id in self._custom_calls else "function_call_output"
            return [{"type": kind, "call_id": call_id, "output": joined_text(message.get("content"))}]
        items: list[JSON] = []
        content = message.get("content")
        if content:
            items.append({"type": "message", "role": role, "content": _content(content, said=role == "assistant")})
        for call in message.get("tool_calls") or ():
            items.append(self._call(call))
        return items

    def _call(self, call: JSON) -> JSON:
        function = call["function"]
        made: JSON = {"call_id": call.get("id"), "name": function.get("name")}
        arguments = function.get("arguments") or ""
        if call.get("id") in self._custom_calls:
            return {"type": "custom_tool_call", **made, "input": custom_input(arguments)}
        return {"type": "function_call", **made, "arguments": arguments}


def _aligned(before: list[JSON], after: list[JSON]) -> list[tuple[int | None, JSON]]:
    """Each message of `after` with the place in `before` that it came from: an equal one, else the one in its place between
    two equal ones; `None` for a message that was put in."""
    pairs: list[tuple[int | None, JSON]] = []
    gap: list[JSON] = []
    at = 0
    for message in after:
        place = next((index for index in range(at, len(before)) if before[index] == message), None)
        if place is None:
            gap.append(message)
            continue
        pairs += _filled(gap, at, place)
        pairs.append((place, message))
        gap = []
        at = place + 1
    return pairs + _filled(gap, at, len(before))


def _filled(gap: list[JSON], start: int, end: int) -> list[tuple[int | None, JSON]]:
    if len(gap) == end - start:
        return list(zip(range(start, end), gap, strict=True))
    return [(None, message) for message in gap]


def _content(content: Any, *, said: bool) -> Any:
    if isinstance(content, str):
        return content
    return [_part(part, said=said) for part in content]


def _part(part: JSON, *, said: bool) -> JSON:
    kind = part.get("type")
    if kind == "text":
        return {"type": "output_text" if said else "input_text", "text": part["text"]}
    if kind == "image_url":
        image = part["image_url"]
        return {"type": "input_image", "image_url": image.get("url"), "detail": image.get("detail", "auto")}
    if kind == "file":
        return {"type": "input_file", **part["file"]}
    return part


def joined_text(content: Any) -> str:
    """The texts of a chat message's content."""
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text") or "") for part in content or () if isinstance(part, dict))
