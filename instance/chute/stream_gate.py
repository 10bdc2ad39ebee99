"""Checks a streamed answer that need to await: in an `around`, sentences are held until their check has spoken.

The other way round of `HeldTexts`, which is for checks that answer at once: what a check waits for (an embedding, a judge, a
fetch) may not stand in `on_delta`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol, cast

from instance.chute.answer import DONE, Answer, Delta
from instance.chute.delta_text import delta_texts, last_event, release
from instance.chute.held_texts import TEXTS_MAX, ends_a_choice
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class AsyncHold(Protocol):
    """One text on its way."""

    async def feed(self, text: str, last: bool) -> str:
        """What may be sent now; with `last` everything that is left. Raises `EndAnswer`, or `StockyardError` for an error event."""


class EndAnswer(Exception):
    """The answer ends here: `text` is the last of it, nothing of the provider's follows and its connection is given up."""

    def __init__(self, text: str = "", finish_reason: str = "content_filter") -> None:
        super().__init__(finish_reason)
        self.text = text
        self.finish_reason = finish_reason


def gated(answer: Answer, hold: Callable[[str], AsyncHold | None]) -> Answer:
    """The streamed answer with each text passed through its hold (`None`: it passes); `hold(place)` makes it, see `HeldTexts`."""
    source = answer.events
    assert source is not None
    answer.events = _gated(answer, source, hold)
    return answer


async def _gated(
    answer: Answer, source: AsyncIterator[list[Delta]], hold: Callable[[str], AsyncHold | None]
) -> AsyncIterator[list[Delta]]:
    texts = _Texts(hold)
    shaped: Delta | None = None
    async with aclosing(cast("AsyncGenerator[list[Delta], None]", source)) as events:
        async for batch in events:
            passed: list[Delta] = []
            for delta in batch:
                try:
                    await texts.take(delta)
                except EndAnswer as end:
                    answer.close()
                    yield [*passed, last_event(shaped or delta, end.finish_reason, end.text), Delta(DONE, None)]
                    return
                if delta.obj is not None and delta.obj.get("choices"):
                    shaped = delta
                passed.append(delta)
            yield passed


class _Texts:
    def __init__(self, hold: Callable[[str], AsyncHold | None]) -> None:
        self._hold = hold
        self._texts: dict[str, AsyncHold | None] = {}

    async def take(self, delta: Delta) -> None:
        ended: set[str] = set()
        for place, holder, field, choice in tuple(delta_texts(delta)):
            if place not in self._texts:
                if len(self._texts) >= TEXTS_MAX:
                    raise StockyardError(
                        "bad_upstream_response", "The provider's stream has too many texts to be checked."
                    )
                self._texts[place] = self._hold(place)
            hold = self._texts[place]
            if hold is None:
                continue
            last = choice.get("finish_reason") is not None
            sent = await hold.feed(holder[field], last)
            if sent != holder[field]:
                holder[field] = sent
                delta.changed = True
            if last:
                ended.add(place)
        if ends_a_choice(delta):
            await self._give_back(delta, ended)

    async def _give_back(self, delta: Delta, seen: set[str]) -> None:
        assert delta.obj is not None
        for choice in delta.obj["choices"]:
            if choice.get("finish_reason") is None:
                continue
            mine = f"choices[{choice.get('index', 0)}]."
            for place, hold in self._texts.items():
                if hold is None or place in seen or not place.startswith(mine):
                    continue
                rest = await hold.feed("", True)
                if rest:
                    release(choice, place, rest)
                    delta.changed = True
