"""All texts of one streamed answer under secretscan: its choices' contents, tool calls' arguments and the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from instance.chute.answer import Delta
from instance.chute.delta_text import delta_texts
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
        if first is None or delta.final:
            return False
        choices = delta.obj["choices"]  # type: ignore[index]
        choice = choices[0]
        part = choice.get("delta")
        if (
            len(choices) > 1
            or not part
            or len(part) > 1
            or choice.get("index")
            or choice.get("finish_reason") is not None
        ):
            return False
        text = part.get("content")
        if type(text) is not str or len(text) > PLAIN_MAX_CHARS:
            return False
        watch, guard = first
        if guard is not None and not guard.passes(text):
            return False
        watch.feed(text)
        return True

    def take(self, delta: Delta) -> None:
        texts = self._texts
        seen: set[str] | None = None
        for place, holder, field, choice in delta_texts(delta):
            text: str = holder[field]
            entry = texts.get(place)
            if entry is None:
                if len(texts) >= TEXTS_MAX:
                    raise StockyardError(
                        "bad_upstream_response", "The provider's stream has too many texts to be checked."
                    )
                module = self._module
                entry = texts[place] = (module.watch(place, self._report), module.hold(place, self._report))
                if self.anchors is not None and place == "choices[0].content" and entry[0] is not None:
                    guard = entry[1]
                    self._first = (entry[0], guard if isinstance(guard, OwnKeyGuard) else None)
            watch, hold = entry
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

    def end(self) -> None:
        """Look at what was not looked at when the stream ended early."""
        for watch, _ in self._texts.values():
            if watch is not None:
                watch.end()
