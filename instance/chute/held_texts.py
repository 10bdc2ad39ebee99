"""The texts of one streamed answer, each passed through a hold that may keep some of it back until more has come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from instance.chute.answer import Delta
from instance.chute.delta_text import FIRST_CONTENT, delta_texts, plain_part, release
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.exchange import Exchange

TEXTS_MAX = 256
"""Texts of one stream that are followed; a stream with more of them is ended."""


class Hold(Protocol):
    """One text on its way: a choice's content, a tool call's arguments. One that has a `Feed` of its own, `waits`, for plain events
    is called by that."""

    def feed(self, text: str, last: bool) -> str:
        """What may be sent now; with `last` everything that is left. May raise `StockyardError` to end the stream. It need not be
        called with an empty text that is not the last."""


class HeldTexts:
    """What an `on_delta` hook keeps for a call. `hold(place)` makes the hold of a text when it first comes (`None`: it passes).

    With `x` and the module's name, the hold of the first choice's content takes plain events by itself once it is there.
    Places are those of `delta_texts`: `choices[0].content`, `choices[0].tool_calls[1].arguments`, `choices[0].text` …
    """

    __slots__ = ("_hold", "_module", "_texts", "_x")

    def __init__(self, hold: Callable[[str], Hold | None], x: Exchange | None = None, module: str = "") -> None:
        self._hold = hold
        self._texts: dict[str, Hold | None] = {}
        self._x = x
        self._module = module

    def take(self, delta: Delta) -> None:
        """Replace the event's texts by what may be sent of them, and give back what is held when a choice ends."""
        part = plain_part(delta)
        if part is not None:
            text: str = part["content"]
            if text:
                hold = self._texts[FIRST_CONTENT] if FIRST_CONTENT in self._texts else self._made(FIRST_CONTENT)
                if hold is not None:
                    sent = hold.feed(text, False)
                    if sent != text:
                        part["content"] = sent
                        delta.changed = True
            return
        final = delta.final
        ended: set[str] = set()
        for place, holder, field, choice in delta_texts(delta):
            hold = self._texts[place] if place in self._texts else self._made(place)
            if hold is None:
                continue
            last = final or choice.get("finish_reason") is not None
            text = holder[field]
            sent = hold.feed(text, last)
            if sent != text:
                holder[field] = sent
                delta.changed = True
            if last:
                ended.add(place)
        if ends_a_choice(delta):
            give_back(delta, self._texts, ended)

    def _made(self, place: str) -> Hold | None:
        if len(self._texts) >= TEXTS_MAX:
            raise StockyardError("bad_upstream_response", "The provider's stream has too many texts to be checked.")
        hold = self._texts[place] = self._hold(place)
        if place == FIRST_CONTENT and self._x is not None:
            self._x.take_texts(self._module, None if hold is None else getattr(hold, "waits", hold.feed))
            self._x = None
        return hold


def ends_a_choice(delta: Delta) -> bool:
    """Whether nothing follows of some choice: what is held of its texts must leave with this event."""
    if delta.final:
        return True
    obj = delta.obj
    for choice in (obj.get("choices") or ()) if obj is not None else ():
        if choice.get("finish_reason") is not None:
            return True
    return False


def give_back(delta: Delta, holds: Mapping[str, Hold | None], seen: set[str]) -> None:
    """Put what is held of texts that end with this event, without being `seen` in it, into it."""
    assert delta.obj is not None
    choices = delta.obj["choices"]
    for place, hold in holds.items():
        if hold is None or place in seen:
            continue
        index = place[8 : place.index("]")]
        choice = next((c for c in choices if str(c.get("index", 0)) == index), None)
        if choice is None and delta.final:
            choice = {"index": int(index), "delta": {}, "finish_reason": None}
        if choice is None or not (delta.final or choice.get("finish_reason") is not None):
            continue
        rest = hold.feed("", True)
        if rest:
            if choice not in choices:
                choices.append(choice)
            release(choice, place, rest)
            delta.changed = True
