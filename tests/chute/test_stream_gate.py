"""Holding streamed texts: what is held comes back, in its place, and an answer can be ended early."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from instance.chute.answer import DONE, Answer, Delta
from instance.chute.held_texts import TEXTS_MAX, HeldTexts
from instance.chute.sentences import SentenceHold
from instance.chute.stream import encode_event
from instance.chute.stream_gate import EndAnswer, gated
from instance.core.errors import StockyardError


def _event(text: str | None, finish: str | None = None, index: int = 0) -> Delta:
    delta = {} if text is None else {"content": text}
    obj = {"id": "c1", "choices": [{"index": index, "delta": delta, "finish_reason": finish}]}
    return Delta(encode_event(obj), obj)


def _content(deltas: list[Delta], index: int = 0) -> str:
    return "".join(
        choice.get("delta", {}).get("content") or ""
        for delta in deltas
        if delta.obj
        for choice in delta.obj["choices"]
        if choice["index"] == index
    )


class Shouting:
    """Sends whole sentences, in capitals."""

    def __init__(self) -> None:
        self._sentences = SentenceHold()

    def feed(self, text: str, last: bool) -> str:
        return "".join(self._sentences.feed(text, last)).upper()


def test_what_is_held_leaves_with_the_event_that_ends_its_choice() -> None:
    held = HeldTexts(lambda place: Shouting() if place.endswith(".content") else None)
    deltas = [_event("One. Tw"), _event("zwei ", index=1), _event("o."), _event(None, "stop"), _event(None, "stop", 1)]
    for delta in deltas[:-1]:
        held.take(delta)
    assert _content(deltas[:4]) == "ONE. TWO."
    deltas[-1].final = True
    held.take(deltas[-1])
    assert _content(deltas, 1) == "ZWEI "


def test_a_stream_with_too_many_texts_is_ended() -> None:
    held = HeldTexts(lambda place: None)
    with pytest.raises(StockyardError):
        for index in range(TEXTS_MAX + 1):
            held.take(_event("x", index=index))


class Checked:
    """Awaits a verdict on each sentence; one with `bad` ends the answer."""

    def __init__(self) -> None:
        self._sentences = SentenceHold()

    async def feed(self, text: str, last: bool) -> str:
        passed = ""
        for sentence in self._sentences.feed(text, last):
            if "bad" in sentence:
                raise EndAnswer(passed + "[ended]")
            passed += sentence
        return passed


async def _through(*batches: list[Delta]) -> tuple[list[Delta], list[Any]]:
    released: list[Any] = []

    async def events() -> AsyncIterator[list[Delta]]:
        try:
            for batch in batches:
                yield batch
        finally:
            released.append("source")

    answer = gated(Answer(events=events(), release=lambda: released.append("connection")), lambda place: Checked())
    assert answer.events is not None
    return [delta async for batch in answer.events for delta in batch], released


async def test_sentences_pass_after_their_check_and_the_rest_with_the_last_event() -> None:
    deltas, _ = await _through([_event("Good. Fi"), _event("ne")], [_event(None, "stop"), Delta(DONE, None)])
    assert _content(deltas[:1]) == "Good. "
    assert _content(deltas) == "Good. Fine"
    assert deltas[-1].raw == DONE


async def test_what_is_held_of_a_choice_that_never_finishes_leaves_before_the_end() -> None:
    deltas, _ = await _through([_event("Good. Fi"), _event("Zw", index=1)], [_event("ne")], [Delta(DONE, None)])
    assert (_content(deltas), _content(deltas, 1)) == ("Good. Fine", "Zw")
    assert deltas[-1].raw == DONE
    assert deltas[-2].obj is not None
    assert deltas[-2].obj["id"] == "c1"


async def test_an_answer_that_is_ended_by_what_was_held_at_the_end_ends_well() -> None:
    deltas, released = await _through([_event("Good. A bad")], [Delta(DONE, None)])
    assert _content(deltas) == "Good. [ended]"
    assert deltas[-1].raw == DONE
    assert released == ["connection", "source"]


async def test_an_answer_that_is_ended_closes_its_connection_and_sends_nothing_more() -> None:
    deltas, released = await _through([_event("Good. ")], [_event("A bad one. "), _event("More")], [_event("never")])
    assert _content(deltas) == "Good. [ended]"
    assert deltas[-1].raw == DONE
    last = deltas[-2].obj
    assert last is not None
    assert (last["id"], last["choices"][0]["finish_reason"]) == ("c1", "content_filter")
    assert released == ["connection", "source"]


class CheckedLater(Checked):
    """The same, asked without a coroutine whether it has to await anything."""

    def __init__(self) -> None:
        super().__init__()
        self._kept = ""

    def keeps(self, text: str) -> bool:
        if "." in self._kept + text:
            return False
        self._kept += text
        return True

    async def feed(self, text: str, last: bool) -> str:
        whole, self._kept = self._kept + text, ""
        return await super().feed(whole, last)


def _shown(deltas: list[Delta]) -> str:
    return "".join(c.get("delta", {}).get("content") or "" for d in deltas if d.obj for c in d.obj["choices"])


@pytest.mark.parametrize("said", ["One. Two three. Four", "One. A bad one. Three.", "None at all", "A.B.C. bad. D"])
@pytest.mark.parametrize("size", [1, 3, 7])
@pytest.mark.parametrize("more", [{}, {"role": "assistant"}], ids=["plain", "full"])
async def test_the_short_way_of_plain_events_says_what_the_full_way_says(
    said: str, size: int, more: dict[str, str]
) -> None:
    def cut() -> list[Delta]:
        deltas = [_event(said[at : at + size]) for at in range(0, len(said), size)]
        for delta in deltas:
            assert delta.obj is not None
            delta.obj["choices"][0]["delta"].update(more)
        return [*deltas, _event(None, "stop")]

    async def through(hold: type[Checked]) -> str:
        async def events() -> AsyncIterator[list[Delta]]:
            for delta in cut():
                yield [delta]

        answer = gated(Answer(events=events()), lambda place: hold())
        assert answer.events is not None
        return _shown([delta async for batch in answer.events for delta in batch])

    whole = SentenceHold().feed(said, True)
    bad = next((at for at, sentence in enumerate(whole) if "bad" in sentence), None)
    expected = said if bad is None else "".join(whole[:bad]) + "[ended]"
    assert await through(Checked) == await through(CheckedLater) == expected
    held = HeldTexts(lambda place: Shouting())
    deltas = cut()
    for delta in deltas:
        held.take(delta)
    assert _shown(deltas) == said.upper()
