"""What a provider's stream of Responses has begun, and the events that end it when the answer ends before the provider's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from instance.chute.answer import JSON
from instance.chute.dialects.openai_responses.response_object import finished, item_status

Key = tuple[str, int, int]
"""(name of the text, output index, index of its part)."""
_BEGINS = frozenset(("response.created", "response.in_progress"))
_PARTS = {"content": "output_text", "refusal": "refusal", "reasoning_text": "reasoning_text"}
_FIELDS = {"output_text": "text", "refusal": "refusal", "reasoning_text": "text", "summary_text": "text"}


class BegunResponse:
    """`see` is told of each event, `ends` gives those that are missing."""

    def __init__(self) -> None:
        self._response: JSON = {}
        self._items: dict[int, JSON] = {}
        self._done: set[int] = set()
        self._done_texts: set[Key] = set()

    def see(self, kind: str, event: JSON) -> None:
        """Take an event in, as the provider sent it."""
        if kind in _BEGINS:
            self._response = event["response"]
        elif kind == "response.output_item.added":
            self._items[event["output_index"]] = event["item"]
        elif kind == "response.output_item.done":
            self._items[event["output_index"]] = event["item"]
            self._done.add(event["output_index"])

    def ends(self, texts: Sequence[tuple[Key, str]], finish_reason: Any) -> Iterator[JSON]:
        """The ends of items that are open, with the `texts` that were sent of them, and the response's own."""
        status = item_status(finish_reason)
        output: list[JSON] = []
        for index in sorted(self._items):
            item = dict(self._items[index])
            parts: list[JSON] = []
            for key, text in texts:
                if key[1] == index:
                    _put(item, parts, key, text)
            if parts:
                item["content"] = parts
            if index not in self._done:
                item["status"] = status
                place = {"item_id": item.get("id"), "output_index": index}
                for number, part in enumerate(parts):
                    yield from _part_ends({**place, "content_index": number}, part)
                yield {"type": "response.output_item.done", "output_index": index, "item": item}
            output.append(item)
        response = finished(self._response, output, None, finish_reason, self._response.get("created_at") or 0)
        yield {"type": f"response.{response['status']}", "response": response}


def _put(item: JSON, parts: list[JSON], key: Key, text: str) -> None:
    """Put a text that was sent into its item, or into the parts that the item then has."""
    name = key[0]
    if name in ("arguments", "input"):
        item[name] = text
    elif name == "reasoning_content":
        item["summary"] = [*(item.get("summary") or ()), {"type": "summary_text", "text": text}]
    else:
        kind = _PARTS[name]
        more: JSON = {"annotations": [], "logprobs": []} if kind == "output_text" else {}
        parts.append({"type": kind, _FIELDS[kind]: text, **more})


def _part_ends(place: JSON, part: JSON) -> Iterator[JSON]:
    kind = part["type"]
    more: JSON = {"logprobs": []} if kind == "output_text" else {}
    yield {"type": f"response.{kind}.done", **place, _FIELDS[kind]: part[_FIELDS[kind]], **more}
    yield {"type": "response.content_part.done", **place, "part": part}
