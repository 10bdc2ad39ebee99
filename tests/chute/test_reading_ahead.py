"""Long requests are read beside the event loop, before the modules that look into texts."""

from threading import current_thread, main_thread
from typing import Any
from weakref import WeakValueDictionary

import orjson
import pytest

from instance.chute import matcher as matching
from instance.chute.answer import Answer
from instance.chute.chain import Plan
from instance.chute.containment import Link
from instance.chute.exchange import Exchange
from instance.chute.matcher import LONG_CHARS, Matcher
from instance.chute.meter import Meter
from instance.chute.module import Module, ModuleSettings
from instance.core.errors import StockyardError
from tests.modules.exchanges import exchange, whole

WORDS = "The ferry leaves the harbour at nine and comes back in the evening, when the market is closed. "
LONG = WORDS * (LONG_CHARS // len(WORDS) + 1)


async def answering(x: Exchange) -> Answer:
    return whole()


class Looking(Module):
    """Has a pattern and says what its hooks saw."""

    name = "looking"
    category = "test"
    group = 5
    summary = "looks for a word"

    def __init__(self, settings: ModuleSettings) -> None:
        super().__init__(settings)
        self.ahead: list[tuple[bool, frozenset[int]]] = []
        self.hits: list[frozenset[int]] = []

    def patterns(self) -> tuple[str, ...]:
        return "needle", "thread"

    def read_ahead(self, x: Exchange, hits: frozenset[int]) -> None:
        self.ahead.append((current_thread() is main_thread(), hits))

    def on_request(self, x: Exchange) -> Answer | None:
        self.hits.append(x.hits(self))
        return None


class Deferring(Looking):
    name = "deferring"
    defers_look = True

    def on_request(self, x: Exchange) -> Answer | None:
        return None


class Refusing(Module):
    name = "refusing"
    category = "test"
    group = 1
    summary = "refuses"

    def on_request(self, x: Exchange) -> Answer | None:
        raise StockyardError("rate_limited", "No.")


class Changing(Module):
    """Changes the texts after the first module has looked."""

    name = "changing"
    category = "test"
    group = 5
    summary = "adds a word"

    def on_request(self, x: Exchange) -> Answer | None:
        x.req = {**x.req, "messages": [{"role": "user", "content": x.req["messages"][-1]["content"] + " thread"}]}
        x.change()
        return None


class Later(Looking):
    name = "later"


class Failing(Looking):
    name = "failing"

    def read_ahead(self, x: Exchange, hits: frozenset[int]) -> None:
        raise RuntimeError("a bug")


def plan_of(*kinds: type[Module]) -> tuple[Plan, list[Any]]:
    modules: list[Any] = [kind(ModuleSettings()) for kind in kinds]
    links = [Link(module, Meter(), place) for place, module in enumerate(modules)]
    return Plan(1, "chat", links, answering), modules


def asking(*texts: str, stream: bool = False) -> Exchange:
    req = {"model": "gpt-4o", "messages": [{"role": "user", "content": text} for text in texts]}
    return exchange(req=req, raw=orjson.dumps(req), stream=stream)


async def run(plan: Plan, x: Exchange) -> Answer:
    x.plan = plan
    return await plan.run(x)


@pytest.fixture(autouse=True)
def nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans that look for the same share a matcher, which remembers texts."""
    monkeypatch.setattr(matching, "_living", WeakValueDictionary())


@pytest.fixture
def scanned(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, int]]:
    """Of each scan whether it kept the loop waiting, and how long the text was."""
    seen: list[tuple[bool, int]] = []
    scan = Matcher.scan

    def noted(matcher: Matcher, text: str) -> frozenset[int]:
        seen.append((current_thread() is main_thread(), len(text)))
        return scan(matcher, text)

    monkeypatch.setattr(Matcher, "scan", noted)
    return seen


@pytest.mark.parametrize(
    "texts", [(LONG + "needle",), ("Be brief.", LONG + "needle"), ("a", LONG + "needle", "b", "c")]
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_long_text_is_scanned_beside_the_loop_once(
    texts: tuple[str, ...], stream: bool, scanned: list[tuple[bool, int]]
) -> None:
    plan, (module,) = plan_of(Looking)
    await run(plan, asking(*texts, stream=stream))
    assert module.ahead == [(False, {0})]
    assert module.hits == [{0}]
    assert [on_loop for on_loop, size in scanned if size >= LONG_CHARS] == [False]


async def test_a_text_that_was_read_before_is_not_read_again(scanned: list[tuple[bool, int]]) -> None:
    plan, (module,) = plan_of(Looking)
    await run(plan, asking(LONG + "needle"))
    await run(plan, asking(LONG + "needle", "And then?"))
    assert module.hits == [{0}, {0}]
    assert len(module.ahead) == 1
    assert [on_loop for on_loop, size in scanned if size >= LONG_CHARS] == [False]


async def test_a_short_request_waits_for_no_thread() -> None:
    plan, (module,) = plan_of(Looking)
    await run(plan, asking("a needle"))
    assert module.ahead == []
    assert module.hits == [{0}]


async def test_what_was_refused_before_is_not_read(scanned: list[tuple[bool, int]]) -> None:
    plan, (_, module) = plan_of(Refusing, Looking)
    with pytest.raises(StockyardError):
        await run(plan, asking(LONG))
    assert module.ahead == []
    assert scanned == []


async def test_what_a_module_made_of_a_text_is_read_ahead_too(scanned: list[tuple[bool, int]]) -> None:
    plan, (first, _, later) = plan_of(Looking, Changing, Later)
    await run(plan, asking(LONG))
    assert first.hits == [frozenset()]
    assert later.hits == [{1}]
    assert first.ahead == [(False, frozenset())]
    assert later.ahead == [(False, frozenset()), (False, {1})]
    assert [on_loop for on_loop, size in scanned if size >= LONG_CHARS] == [False, False]


async def test_a_module_that_fails_ahead_is_asked_all_the_same() -> None:
    plan, (failing, after) = plan_of(Failing, Later)
    x = asking(LONG + "needle")
    await run(plan, x)
    assert failing.hits == [{0}]
    assert after.ahead == [(False, {0})]
    assert not [each for each in x.decisions if each["action"] == "module_error"]


async def test_a_module_that_leaves_the_call_alone_does_not_read_it() -> None:
    module = Looking(ModuleSettings(models=["claude-*"]))
    plan = Plan(1, "chat", [Link(module, Meter(), 0)], answering)
    await run(plan, asking(LONG + "needle"))
    assert module.ahead == []
    assert module.hits == []


async def test_nothing_is_read_before_the_call_for_one_that_looks_after_it(scanned: list[tuple[bool, int]]) -> None:
    plan, (module,) = plan_of(Deferring)
    await run(plan, asking(LONG))
    assert module.ahead == []
    assert scanned == []
    plan, (module, asking_too) = plan_of(Deferring, Looking)
    await run(plan, asking(LONG + "needle"))
    assert module.ahead == []
    assert asking_too.ahead == [(False, {0})]
