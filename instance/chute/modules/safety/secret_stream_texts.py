"""All texts of one streamed answer under secretscan: its choices' contents, tool calls' arguments and the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from instance.chute.answer import Delta
from instance.chute.delta_text import FIRST_CONTENT, delta_texts
from instance.chute.exchange import Exchange
from instance.chute.held_texts import TEXTS_MAX, ends_a_choice, give_back
from instance.chute.modules.safety.secret_stream import HoldBack, OwnKeyGuard, Watch
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.modules.safety.secretscan import SecretScan


class StreamTexts:
    """The texts of one streamed answer, each with what watches it and what holds it back."""

    __slots__ = ("_module", "_report", "_texts", "_x")

    def __init__(self, module: SecretScan, x: Exchange) -> None:
        self._module = module
        self._report = module.reporter(x)
        self._texts: dict[str, tuple[Watch | None, HoldBack | OwnKeyGuard | None]] = {}
        self._x = x

    def take(self, delta: Delta) -> None:
        texts = self._texts
        seen: set[str] | None = None
        for place, holder, field, choice in delta_texts(delta):
            text: str = holder[field]
            watch, hold = texts.get(place) or self._made(place)
            if watch is not None and text:
                watch.feed(text)
            if hold is not None:
                last = delta.final or choice.get("finish_reason") is not None
                sent = hold.feed(text, last)
                if sent != text:
                    holder[field] = sent
                    delta.changed = True
                if last:
                    seen = seen or set()
                    seen.add(place)
        if ends_a_choice(delta):
            if delta.final:
                for watch, _ in texts.values():
                    if watch is not None:
                        watch.end()
            give_back(delta, {place: hold for place, (_, hold) in texts.items()}, seen or set())

    def _made(self, place: str) -> tuple[Watch | None, HoldBack | OwnKeyGuard | None]:
        if len(self._texts) >= TEXTS_MAX:
            raise StockyardError("bad_upstream_response", "The provider's stream has too many texts to be checked.")
        watch, hold = self._module.watch(place, self._report), self._module.hold(place, self._report)
        self._texts[place] = watch, hold
        if place == FIRST_CONTENT:
            feed = hold.feed if hold is not None else None
            self._x.take_texts(self._module.name, feed if watch is None else watch.before(feed))
        return watch, hold

    def end(self) -> None:
        """Look at what was not looked at when the stream ended early."""
        for watch, _ in self._texts.values():
            if watch is not None:
                watch.end()
