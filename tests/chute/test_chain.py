"""The chain: order, containment, short-circuits, who is told at the end."""

from typing import Any, ClassVar, Literal

import pytest

from instance.chute.answer import Answer, Delta
from instance.chute.chain import Plan
from instance.chute.containment import Link
from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed
from instance.chute.meter import Histogram, Meter
from instance.chute.module import Call, Module
from instance.chute.operations import CHAT
from instance.core.errors import StockyardError

CHUNK = {"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": None}]}


class Recorder(Module):
    """Writes down each hook that runs; what `fails` names raises."""

    name: ClassVar[str] = "recorder"
    category: ClassVar[str] = "test"
    group: ClassVar[int] = 1
    summary: ClassVar[str] = "test"

    def __init__(self, name: str, log: list[str], fails: dict[str, Exception] | None = None, **settings: Any) -> None:
        super().__init__(self.Settings(**settings))
        self.name = name  # type: ignore[misc]
        self.log = log
        self.fails = fails or {}

    def _run(self, hook: str) -> None:
        self.log.append(f"{self.name}.{hook}")
        if hook in self.fails:
            raise self.fails[hook]

    def on_request(self, x: Exchange) -> Answer | None:
        self._run("on_request")
        return None

    async def prepare(self, x: Exchange) -> Answer | None:
        self._run("prepare")
        return None

    async def around(self, x: Exchange, call: Call) -> Answer:
        self._run("around")
        answer = await call(x)
        self._run("after")
        return answer

    def on_response(self, x: Exchange, answer: Answer) -> None:
        self._run("on_response")

    def on_delta(self, x: Exchange, delta: Delta) -> None:
        self._run("on_delta")

    def on_finish(self, x: Exchange) -> None:
        self._run("on_finish")


def exchange() -> Exchange:
    x = Exchange("tr_1", 0, 0, "/v1/chat/completions", {}, CHAT)
    x.model_requested = "gpt-4o"
    return x


def plan_of(*modules: Module, target: Call | None = None) -> Plan:
    async def reach(x: Exchange) -> Answer:
        return Answer(obj={"choices": []}, body=b"{}")

    return Plan(1, "chat", [Link(module, Meter(), place) for place, module in enumerate(modules)], target or reach)


async def call(plan: Plan, x: Exchange) -> Answer:
    x.plan = plan
    try:
        answer = await plan.run(x)
        plan.respond(x, answer)
        return answer
    finally:
        plan.finish(x)


async def test_requests_go_in_by_the_order_and_answers_come_back_against_it() -> None:
    log: list[str] = []
    await call(plan_of(Recorder("a", log), Recorder("b", log)), exchange())
    assert log == [
        "a.on_request",
        "a.prepare",
        "b.on_request",
        "b.prepare",
        "a.around",
        "b.around",
        "b.after",
        "a.after",
        "b.on_response",
        "a.on_response",
        "a.on_finish",
        "b.on_finish",
    ]


async def test_a_refusal_stops_the_call_there_and_tells_only_those_who_saw_it() -> None:
    log: list[str] = []
    refusal = StockyardError("rate_limited", "no")
    x = exchange()
    with pytest.raises(StockyardError) as caught:
        await call(plan_of(Recorder("a", log), Recorder("b", log, {"on_request": refusal}), Recorder("c", log)), x)
    assert caught.value.module == "b"
    assert log == ["a.on_request", "a.prepare", "b.on_request", "a.on_finish", "b.on_finish"]
    assert [(entry["module"], entry["action"]) for entry in x.decisions] == [("b", "reject")]


class Shortcut(Recorder):
    async def prepare(self, x: Exchange) -> Answer | None:
        return Answer(obj={"choices": []}, body=b"{}")


async def test_an_answer_given_at_once_skips_what_is_further_in_but_passes_the_response_hooks() -> None:
    log: list[str] = []
    await call(plan_of(Recorder("a", log), Shortcut("s", log), Recorder("c", log)), exchange())
    assert "c.on_request" not in log
    assert "a.around" not in log
    assert [entry for entry in log if entry.endswith("on_response")] == [
        "c.on_response",
        "s.on_response",
        "a.on_response",
    ]


@pytest.mark.parametrize("hook", ["on_request", "prepare", "around", "after", "on_response", "on_finish"])
async def test_a_module_that_raises_is_skipped_and_the_trail_says_so(hook: str) -> None:
    log: list[str] = []
    x = exchange()
    plan = plan_of(Recorder("a", log), Recorder("b", log, {hook: RuntimeError("bug")}), Recorder("c", log))
    assert (await call(plan, x)).obj == {"choices": []}
    errors = [entry for entry in x.decisions if entry["action"] == "module_error"]
    assert [(entry["module"], entry["detail"]) for entry in errors] == [
        ("b", {"error": "RuntimeError", "on_error": "open"})
    ]
    assert plan.links[1].meter.errors == 1
    assert log.count("c.around") == 1


@pytest.mark.parametrize("hook", ["on_request", "prepare", "around", "on_response"])
async def test_a_module_set_to_fail_closed_refuses_the_call(hook: str) -> None:
    closed: Literal["closed"] = "closed"
    plan = plan_of(Recorder("b", [], {hook: RuntimeError("bug")}, on_error=closed))
    with pytest.raises(StockyardError) as caught:
        await call(plan, exchange())
    assert (caught.value.code, caught.value.status, caught.value.module) == ("module_failed", 503, "b")


async def test_a_delta_hook_that_raises_is_left_out_for_the_rest_of_the_stream() -> None:
    log: list[str] = []
    x = exchange()
    plan = plan_of(Recorder("a", log), Recorder("b", log, {"on_delta": RuntimeError("bug")}))
    x.plan = plan
    for _ in range(3):
        plan.delta(x, Delta(b"", dict(CHUNK)))
    assert log.count("b.on_delta") == 1
    assert log.count("a.on_delta") == 3


async def test_a_failed_attempt_goes_through_modules_as_what_it_is() -> None:
    failure = CallFailed("http", None, status=503)

    async def fails(x: Exchange) -> Answer:
        raise failure

    x = exchange()
    with pytest.raises(CallFailed):
        await call(plan_of(Recorder("a", []), target=fails), x)
    assert x.decisions == []


async def test_settings_say_for_which_models_and_teams_a_module_acts() -> None:
    log: list[str] = []
    plan = plan_of(Recorder("a", log, models=["claude*"]), Recorder("b", log, models=["gpt-*"], teams=["blue", "red*"]))
    x = exchange()
    x.team = "redwood"
    await call(plan, x)
    assert {entry.split(".")[0] for entry in log} == {"b"}
    log.clear()
    x = exchange()
    x.team = "green"
    await call(plan, x)
    assert log == []


async def test_decisions_carry_the_hook_and_nanoseconds() -> None:
    class Noter(Recorder):
        def on_request(self, x: Exchange) -> Answer | None:
            x.note("seen", {"n": 1})
            return None

    x = exchange()
    await call(plan_of(Noter("a", [])), x)
    (entry,) = x.decisions
    assert (entry["module"], entry["hook"], entry["action"], entry["detail"]) == ("a", "on_request", "seen", {"n": 1})
    assert entry["took_ns"] > 0
    assert entry["at_ns"] > 0


async def test_the_trail_of_one_call_is_bounded() -> None:
    class Chatty(Recorder):
        def on_request(self, x: Exchange) -> Answer | None:
            for _ in range(10_000):
                x.note("again")
            return None

    x = exchange()
    await call(plan_of(Chatty("a", [])), x)
    assert len(x.decisions) == 256


def test_a_histogram_gives_quantiles_within_a_fifth() -> None:
    histogram = Histogram()
    for us in range(1, 101):
        histogram.add(us * 1000)
    assert 50 <= (histogram.quantile_us(0.5) or 0) <= 63
    assert 99 <= (histogram.quantile_us(0.99) or 0) <= 124
    assert Histogram().quantile_us(0.5) is None
