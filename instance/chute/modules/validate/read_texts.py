"""What a streamed answer says, read as it passes and changed nowhere, to be checked when it is whole."""

from __future__ import annotations

from instance.chute.answer import JSON, Delta
from instance.chute.exchange import Exchange
from instance.chute.held_texts import HeldTexts

READ_MAX_CHARS = 4 << 20
"""Of all texts of one stream; of a longer one the rest is not read."""


class _ReadText:
    """One text: everything of it passes at once."""

    __slots__ = ("_all", "pieces")

    def __init__(self, of_all: ReadTexts) -> None:
        self._all = of_all
        self.pieces: list[str] = []

    def feed(self, text: str, last: bool) -> str:
        if text and self._all.take_size(len(text)):
            self.pieces.append(text)
        return text


class ReadTexts:
    """`take` is told each event of the stream; with `x` and a module's name, plain ones come to it by themselves once the first
    came. What it reads is what its module sees, whatever others further out hold back or change."""

    __slots__ = ("_names", "_pieces", "_size", "_texts")

    def __init__(self, x: Exchange | None = None, module: str = "") -> None:
        self._texts = HeldTexts(self._made, x, module)
        self._pieces: dict[str, _ReadText] = {}
        self._names: dict[tuple[int, int], str] = {}
        self._size = 0

    @property
    def is_whole(self) -> bool:
        """Whether all was read."""
        return self._size <= READ_MAX_CHARS

    def take(self, delta: Delta) -> None:
        obj = delta.obj
        for choice in (obj.get("choices") or ()) if obj is not None else ():
            part = choice.get("delta")
            for call in (part.get("tool_calls") or ()) if part else ():
                name = (call.get("function") or {}).get("name")
                place = choice.get("index", 0), call.get("index", 0)
                if name or place not in self._names:
                    self._names[place] = name or ""
        self._texts.take(delta)

    def take_size(self, size: int) -> bool:
        self._size += size
        return self._size <= READ_MAX_CHARS

    def contents(self) -> list[str]:
        """The content of each choice that has one, in the order in which they began."""
        return ["".join(text.pieces) for place, text in self._pieces.items() if place.endswith("].content")]

    def choices(self) -> list[JSON]:
        """The choices as a whole answer has them, as far as they were read: contents and calls of tools."""
        messages: dict[int, JSON] = {}
        for place, text in self._pieces.items():
            if place.endswith("].content"):
                index = int(place[8 : place.index("]")])
                messages.setdefault(index, {"content": None})["content"] = "".join(text.pieces)
        for (index, number), name in sorted(self._names.items()):
            text_of_call = self._pieces.get(f"choices[{index}].tool_calls[{number}].arguments")
            arguments = "".join(text_of_call.pieces) if text_of_call is not None else ""
            calls = messages.setdefault(index, {"content": None}).setdefault("tool_calls", [])
            calls.append({"function": {"name": name, "arguments": arguments}})
        return [{"index": index, "message": messages[index]} for index in sorted(messages)]

    def _made(self, place: str) -> _ReadText | None:
        if not place.endswith(("].content", "].arguments")):
            return None
        text = self._pieces[place] = _ReadText(self)
        return text
