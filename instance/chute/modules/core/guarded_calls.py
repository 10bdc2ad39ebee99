"""A streamed answer whose tool calls are held until they are whole and judged; its text flows meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

from instance.chute.answer import JSON, Delta
from instance.chute.delta_text import plain_part
from instance.chute.stream import encode_event
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

HELD_MAX_CHARS = 4 << 20
"""Of all calls of one stream; a stream with more is ended."""

Judge = Callable[[JSON], Awaitable[tuple[JSON, str]]]
"""`(message with its calls) -> (message to deliver, finish reason; empty: as it was)`; raises `StockyardError` to end the stream."""


class _Held:
    """One choice's calls, as far as they have come, and its text."""

    __slots__ = ("calls", "old", "text")

    def __init__(self) -> None:
        self.calls: dict[int, JSON] = {}
        self.old: JSON | None = None
        self.text: list[str] = []

    def message(self) -> JSON:
        calls = [self.calls[index] for index in sorted(self.calls)]
        message: JSON = {"role": "assistant", "content": "".join(self.text) or None}
        if calls:
            message["tool_calls"] = calls
        if self.old is not None:
            message["function_call"] = self.old
        return message


async def guarded(events: AsyncIterator[list[Delta]], judge: Judge) -> AsyncIterator[list[Delta]]:
    """The same events; the calls of a choice come in one event before the one that ends it. A stream that breaks off shows none."""
    guard = _Guard(judge)
    async with aclosing(cast("AsyncGenerator[list[Delta], None]", events)) as source:
        async for batch in source:
            passed: list[Delta] = []
            for delta in batch:
                part = plain_part(delta)
                if part is not None:
                    guard.hear(part["content"])
                    passed.append(delta)
                else:
                    passed += await guard.take(delta)
            if passed:
                yield passed


class _Guard:
    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._choices: dict[int, _Held] = {}
        self._size = 0

    def hear(self, text: str) -> None:
        """Some text of the first choice."""
        held = self._choices.get(0)
        if held is None:
            held = self._choices[0] = _Held()
        held.text.append(text)

    async def take(self, delta: Delta) -> list[Delta]:
        obj = delta.obj
        choices = obj.get("choices") if obj is not None else None
        if not choices:
            return [delta]
        before: list[Delta] = []
        empty = True
        for choice in choices:
            index = choice.get("index", 0)
            held = self._choices.get(index)
            if held is None:
                held = self._choices[index] = _Held()
            if self._hold(held, choice):
                delta.changed = True
            if choice.get("finish_reason") is not None and (held.calls or held.old is not None):
                before += await self._decided(held, choice, delta)
            if choice.get("delta") or choice.get("finish_reason") is not None:
                empty = False
        if empty and delta.changed and not (obj or {}).get("usage"):
            return before
        return [*before, delta]

    def _hold(self, held: _Held, choice: JSON) -> bool:
        """Take the calls out of an event; whether there were any."""
        part = choice.get("delta")
        if not part:
            return False
        if isinstance(part.get("content"), str):
            held.text.append(part["content"])
        calls, old = part.pop("tool_calls", None), part.pop("function_call", None)
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, dict):
                self._add(held.calls.setdefault(call.get("index", len(held.calls)), {}), call)
        if isinstance(old, dict):
            held.old = held.old or {}
            self._join(held.old, old)
        if self._size > HELD_MAX_CHARS:
            raise StockyardError("bad_upstream_response", "The provider's tool calls are too long to be checked.")
        return calls is not None or old is not None

    def _add(self, kept: JSON, call: JSON) -> None:
        for name, value in call.items():
            if name in ("function", "custom") and isinstance(value, dict):
                self._join(kept.setdefault(name, {}), value)
            elif name != "index" and value is not None:
                kept[name] = value

    def _join(self, kept: JSON, part: JSON) -> None:
        for name, value in part.items():
            if isinstance(value, str):
                joins = name in ("arguments", "input")
                kept[name] = kept.get(name, "") + value if joins else value or kept.get(name, "")
                self._size += len(value)
            elif value is not None:
                kept[name] = value

    async def _decided(self, held: _Held, choice: JSON, delta: Delta) -> list[Delta]:
        message, reason = await self._judge(held.message())
        said = "".join(held.text)
        if reason:
            choice["finish_reason"] = reason
            delta.changed = True
        part: JSON = {}
        more = message.get("content")
        if isinstance(more, str) and more and more != said:
            part["content"] = more
        if message.get("tool_calls"):
            part["tool_calls"] = [{"index": index, **call} for index, call in enumerate(message["tool_calls"])]
        if message.get("function_call"):
            part["function_call"] = message["function_call"]
        return [_event(delta, choice, part)] if part else []


def _event(delta: Delta, choice: JSON, part: JSON) -> Delta:
    shape: dict[str, Any] = {name: value for name, value in (delta.obj or {}).items() if name != "usage"}
    shape["choices"] = [{"index": choice.get("index", 0), "delta": part, "finish_reason": None}]
    made = Delta(encode_event(shape), shape)
    made.changed = True
    return made
