"""Plain events of a stream: a module that gave a feed is called with their text alone, and sees whole events where it must."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from instance.chute.answer import Delta
from instance.chute.delta_hooks import Feed
from instance.chute.exchange import Exchange
from instance.chute.held_texts import HeldTexts
from instance.chute.module import Module
from instance.chute.stream import encode_event
from instance.core.errors import StockyardError
from tests.chute.test_chain import exchange, plan_of


class Given(Module):
    """Does with each event what it was given, and writes down what it was called with."""

    name: ClassVar[str] = "given"
    category: ClassVar[str] = "test"
    group: ClassVar[int] = 1
    summary: ClassVar[str] = "test"

    def __init__(self, name: str, act: Callable[[Exchange, Delta], None] | None = None, **settings: Any) -> None:
        super().__init__(self.Settings(**settings))
        self.name = name  # type: ignore[misc]
        self.act = act
        self.seen: list[str | None] = []

    def hooks(self) -> tuple[str, ...]:
        return ("on_delta",)

    def on_delta(self, x: Exchange, delta: Delta) -> None:
        self.seen.append(None)
        if self.act is not None:
            self.act(x, delta)


class Feeding(Given):
    """Gives a feed with its first event."""

    def __init__(self, name: str, feed: Feed | None, **more: Any) -> None:
        super().__init__(name, **more)
        self.feed = feed

    def on_delta(self, x: Exchange, delta: Delta) -> None:
        super().on_delta(x, delta)
        x.take_texts(self.name, self._fed if self.feed is not None else None)

    def _fed(self, text: str, last: bool) -> str | None:
        assert self.feed is not None
        assert text
        assert not last
        self.seen.append(text)
        return self.feed(text, last)


def event(text: str, finish: str | None = None, **more: Any) -> Delta:
    obj = {"choices": [{"index": 0, "delta": {"content": text, **more}, "finish_reason": finish}]}
    return Delta(encode_event(obj), obj)


def through(x: Exchange, *modules: Module, deltas: list[Delta]) -> list[str]:
    """What is in each event once it was through the modules' hooks, the last module's first."""
    plan = plan_of(*modules)
    for delta in deltas:
        plan.delta(x, delta)
    return [delta.obj["choices"][0]["delta"]["content"] for delta in deltas]  # type: ignore[index]


def test_a_feed_gets_the_text_alone_and_none_that_another_holds() -> None:
    outer = Feeding("outer", lambda text, last: text.upper())
    inner = Feeding("inner", lambda text, last: "" if "." not in text else text)
    deltas = [event("one"), event("two"), event("three."), event("")]
    assert through(exchange(), outer, inner, deltas=deltas) == ["one", "", "THREE.", ""]
    assert inner.seen == [None, "two", "three."]
    assert outer.seen == [None, "three."]
    assert [delta.changed for delta in deltas] == [False, True, True, False]


@pytest.mark.parametrize(
    "other", [event("end", "stop"), event("said", role="assistant"), event("x", tool_calls=[]), event("last")]
)
def test_an_event_that_is_more_than_text_comes_whole(other: Delta) -> None:
    other.final = other.obj["choices"][0]["delta"]["content"] == "last"  # type: ignore[index]
    module = Feeding("given", lambda text, last: text)
    through(exchange(), module, deltas=[event("one"), event("two"), other])
    assert module.seen == [None, "two", None]


def test_an_event_of_which_a_feed_takes_nothing_comes_whole_and_the_next_one_sees_what_became_of_it() -> None:
    def leave(x: Exchange, delta: Delta) -> None:
        delta.obj["choices"][0]["delta"]["content"] += "!"  # type: ignore[index]

    outer, inner = Feeding("outer", lambda text, last: text), Feeding("inner", lambda text, last: None, act=leave)
    assert through(exchange(), outer, inner, deltas=[event("one"), event("two")]) == ["one!", "two!"]
    assert inner.seen == [None, "two", None]
    assert outer.seen == [None, "two!"]


def test_a_hook_without_a_feed_sees_what_those_further_in_made_and_those_further_out_what_it_made() -> None:
    said: list[str] = []

    def end(x: Exchange, delta: Delta) -> None:
        text = delta.obj["choices"][0]["delta"]["content"]  # type: ignore[index]
        said.append(text)
        if text == "TWO":
            delta.end("length")

    outer, hook = Feeding("outer", lambda text, last: text), Given("hook", end)
    inner = Feeding("inner", lambda text, last: text.upper())
    through(exchange(), outer, hook, inner, deltas=[event("one"), event("two")])
    assert said == ["one", "TWO"]
    assert outer.seen == [None, None], "an event that was made the last one is not plain any more"


def test_a_module_to_which_plain_events_are_nothing_is_called_with_others_only() -> None:
    module = Feeding("given", None)
    through(exchange(), module, deltas=[event("one"), event("two"), event("three", "stop")])
    assert module.seen == [None, None]


def test_a_module_that_wants_no_more_events_is_fed_no_more() -> None:
    x = exchange()

    def leave(text: str, last: bool) -> str:
        x.skipped = {"given"}
        return text

    module = Feeding("given", leave)
    through(x, module, deltas=[event("one"), event("two"), event("three"), event("four", "stop")])
    assert module.seen == [None, "two"]


def fails(text: str, last: bool) -> str:
    raise ValueError("no")


def test_a_feed_that_fails_lets_the_text_pass_and_is_called_no_more() -> None:
    x = exchange()
    outer, inner = Feeding("outer", lambda text, last: text), Feeding("inner", fails)
    assert through(x, outer, inner, deltas=[event("one"), event("two"), event("three")]) == ["one", "two", "three"]
    assert inner.seen == [None, "two"]
    assert outer.seen == [None, None, "three"]
    assert [(entry["module"], entry["action"]) for entry in x.decisions] == [("inner", "module_error")]


def test_a_feed_that_fails_closed_or_refuses_ends_the_stream() -> None:
    def refuses(text: str, last: bool) -> str:
        raise StockyardError("content_blocked", "no")

    for feed, settings, code in ((fails, {"on_error": "closed"}, "module_failed"), (refuses, {}, "content_blocked")):
        x = exchange()
        with pytest.raises(StockyardError) as caught:
            through(x, Feeding("given", feed, **settings), deltas=[event("one"), event("two")])
        assert (caught.value.code, caught.value.module) == (code, "given")
        assert x.decisions[-1]["module"] == "given"


def test_what_a_feed_notes_is_its_modules_and_timed() -> None:
    x = exchange()

    def note(text: str, last: bool) -> str:
        x.note("heard", {"text": text})
        return text

    through(x, Feeding("given", note), deltas=[event("one"), event("two")])
    (entry,) = x.decisions
    assert (entry["module"], entry["hook"], entry["detail"]) == ("given", "on_delta", {"text": "two"})
    assert entry["took_ns"] > 0


class Late:
    """Sends every text with the next one."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str, last: bool) -> str:
        sent, self._held = self._held + (text if last else ""), "" if last else text
        return sent


def test_what_a_hold_was_fed_leaves_with_the_event_that_ends_its_choice() -> None:
    class Holding(Given):
        def on_delta(self, x: Exchange, delta: Delta) -> None:
            self.seen.append(None)
            texts = x.state.setdefault("texts", HeldTexts(lambda place: Late(), x, self.name))
            texts.take(delta)

    module = Holding("given")
    deltas = [event("one"), event("two"), event("three"), event("", "stop")]
    assert through(exchange(), module, deltas=deltas) == ["", "one", "two", "three"]
    assert len(module.seen) == 2, "the first event and the last one"
