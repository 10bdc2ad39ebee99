"""All texts of one streamed answer under secretscan: its choices' contents, tool calls' arguments and the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from instance.chute.answer import JSON, Delta
from instance.chute.delta_text import FIRST_CONTENT, delta_texts, plain_part
from instance.chute.exchange import Exchange
from instance.chute.held_texts import TEXTS_MAX, ends_a_choice, give_back
from instance.chute.modules.safety.secret_stream import HoldBack, OwnKeyGuard, Watch
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.modules.safety.secretscan import SecretScan

PLAIN_MAX_CHARS = 1024


class StreamTexts:
    """The texts of one streamed answer, each with what watches it and what holds it back."""

    __slots__ = ("_first", "_module", "_report", "_texts", "anchors")

    def __init__(self, module: SecretScan, x: Exchange, anchors: tuple[str, ...] | None) -> None:
        self._module = module
        self._report = module.reporter(x)
        self._texts: dict[str, tuple[Watch | None, HoldBack | OwnKeyGuard | None]] = {}
        self._first: tuple[Watch, OwnKeyGuard | None] | None = None
        self.anchors = anchors
        """Beginnings of own keys, where nothing else is held back; `None` where texts are."""

    def passes(self, delta: Delta) -> bool:
        """Take the plainest event, some content of the first choice with nothing held of it; whether it was one."""
        first = self._first
        if first is None:
            return False
        part = plain_part(delta)
        if part is None:
            return False
        text = part["content"]
        if len(text) > PLAIN_MAX_CHARS:
            return False
        watch, guard = first
        if guard is not None and not guard.passes(text):
            return False
        watch.feed(text)
        return True

    def take(self, delta: Delta) -> None:
        part = plain_part(delta)
        if part is not None:
            self._take_plain(delta, part)
            return
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

    def _take_plain(self, delta: Delta, part: JSON) -> None:
        """Take some content of the first choice, which goes on."""
        text: str = part["content"]
        if not text:
            return
        watch, hold = self._texts.get(FIRST_CONTENT) or self._made(FIRST_CONTENT)
        if watch is not None:
            watch.feed(text)
        if hold is not None:
            sent = hold.feed(text, False)
            if sent != text:
                part["content"] = sent
                delta.changed = True

    def _made(self, place: str) -> tuple[Watch | None, HoldBack | OwnKeyGuard | None]:
        if len(self._texts) >= TEXTS_MAX:
            raise StockyardError("bad_upstream_response", "The provider's stream has too many texts to be checked.")
        watch, hold = self._module.watch(place, self._report), self._module.hold(place, self._report)
        self._texts[place] = watch, hold
        if self.anchors is not None and place == FIRST_CONTENT and watch is not None:
            self._first = (watch, hold if isinstance(hold, OwnKeyGuard) else None)
        return watch, hold

    def end(self) -> None:
        """Look at what was not looked at when the stream ended early."""
        for watch, _ in self._texts.values():
            if watch is not None:
                watch.end()
