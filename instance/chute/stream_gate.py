"""Checks a streamed answer that need to await: in an `around`, sentences are held until their check has spoken.

The other way round of `HeldTexts`, which is for checks that answer at once: what a check waits for (an embedding, a judge, a
fetch) may not stand in `on_delta`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol, cast

from instance.chute.answer import DONE, JSON, Answer, Delta
from instance.chute.delta_text import FIRST_CONTENT, delta_texts, last_event, plain_part, release
from instance.chute.held_texts import TEXTS_MAX, ends_a_choice
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class AsyncHold(Protocol):
    """One text on its way. One that also has `keeps(text) -> bool` is asked by it first, which costs no coroutine: whether all of
    the text was put to what is held; else it is given to `feed`."""

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
            for place, delta in enumerate(batch):
                part = plain_part(delta)
                if part is not None and (not part["content"] or texts.keeps(delta, part)):
                    shaped = delta
                    continue
                try:
                    if delta.obj is None and delta.raw == DONE:
                        rest = await texts.rest(shaped)
                        if rest is not None:
                            batch = [*batch[:place], rest, *batch[place:]]
                            break
                    await texts.take(delta)
                except EndAnswer as end:
                    answer.close()
                    yield [*batch[:place], _ending(delta, shaped, end), Delta(DONE, None)]
                    return
                if delta.obj is not None and delta.obj.get("choices"):
                    shaped = delta
            yield batch


def _ending(delta: Delta, shaped: Delta | None, end: EndAnswer) -> Delta:
    """The event with which the answer ends: the one in which that was found, as it has its place in the provider's stream."""
    made = last_event(shaped or delta, end.finish_reason, end.text)
    if delta.obj is None or not delta.obj.get("choices"):
        return made
    delta.obj, delta.changed = made.obj, True
    return delta


class _Texts:
    def __init__(self, hold: Callable[[str], AsyncHold | None]) -> None:
        self._hold = hold
        self._texts: dict[str, AsyncHold | None] = {}
        self._ended: set[str] = set()
        """Places of texts that gave back all they held."""
        self._keeps: Callable[[str], bool] | None = None

    def keeps(self, delta: Delta, part: JSON) -> bool:
        """Take an event that is some content of the first choice and nothing else, unless its hold has to await something for it;
        whether it was taken."""
        keeps = self._keeps
        if keeps is None:
            hold = self._texts[FIRST_CONTENT] if FIRST_CONTENT in self._texts else self._made(FIRST_CONTENT)
            if hold is None:
                return True
            keeps = self._keeps
        if keeps is None or not keeps(part["content"]):
            return False
        part["content"] = ""
        delta.changed = True
        return True

    def _made(self, place: str) -> AsyncHold | None:
        if len(self._texts) >= TEXTS_MAX:
            raise StockyardError("bad_upstream_response", "The provider's stream has too many texts to be checked.")
        hold = self._texts[place] = self._hold(place)
        if place == FIRST_CONTENT:
            self._keeps = getattr(hold, "keeps", None)
        return hold

    async def take(self, delta: Delta) -> None:
        ended: set[str] = set()
        for place, holder, field, choice in tuple(delta_texts(delta)):
            hold = self._texts[place] if place in self._texts else self._made(place)
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

    async def rest(self, before: Delta | None) -> Delta | None:
        """What is held of choices that the provider never finished, as an event like the ones `before` it; `None`: nothing is."""
        choices: dict[int, JSON] = {}
        held, self._texts = self._texts, {}
        for place, hold in held.items():
            rest = await hold.feed("", True) if hold is not None and place not in self._ended else ""
            if rest:
                index = int(place[8 : place.index("]")])
                choice = choices.setdefault(index, {"index": index, "delta": {}, "finish_reason": None})
                release(choice, place, rest)
        if not choices:
            return None
        obj = {name: value for name, value in ((before.obj if before else None) or {}).items() if name != "usage"}
        made = Delta(b"", {**obj, "choices": list(choices.values())})
        made.changed = True
        return made

    async def _give_back(self, delta: Delta, seen: set[str]) -> None:
        self._ended |= seen
        assert delta.obj is not None
        for choice in delta.obj["choices"]:
            if choice.get("finish_reason") is None:
                continue
            mine = f"choices[{choice.get('index', 0)}]."
            for place, hold in self._texts.items():
                if hold is None or place in seen or not place.startswith(mine):
                    continue
                self._ended.add(place)
                rest = await hold.feed("", True)
                if rest:
                    release(choice, place, rest)
                    delta.changed = True
