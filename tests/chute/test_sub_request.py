"""A module's own calls: where they go, what they cost and who sees them."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from pydantic import Field

from instance.chute.answer import Answer
from instance.chute.exchange import Exchange
from instance.chute.module import Module, ModuleSettings
from instance.chute.sub_request import SERVICE, SubRequestFailed
from tests.mock_replies import status, text
from tests.modules.conftest import Running, running

PRICES = '[prices."up/small"]\nin_usd_per_mtok = 1\nout_usd_per_mtok = 2\n[prices."up/large"]\nin_usd_per_mtok = 10\nout_usd_per_mtok = 20\n'


class Asker(Module):
    """Asks a second model before the call, and puts what it said into the prompt."""

    name: ClassVar[str] = "asker"
    category: ClassVar[str] = "transform"
    group: ClassVar[int] = 4
    summary: ClassVar[str] = "Asks another model first"

    class Settings(ModuleSettings):
        model: str = Field(default="up/large", description="Whom it asks.")

    settings: Settings

    async def start(self, core: Any, previous: Module | None) -> None:
        self._ask = core.services[SERVICE]

    async def prepare(self, x: Exchange) -> Answer | None:
        try:
            said = await self._ask.ask(
                x, self.name, "hint", [{"role": "user", "content": "a hint?"}], model=self.settings.model
            )
        except SubRequestFailed:
            return None
        x.req = {**x.req, "messages": [{"role": "system", "content": said.text}, *x.req["messages"]]}
        x.change()
        return None


@pytest.fixture(autouse=True)
def asker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("instance.chute.module_slots.custom_modules", lambda: [("tests", Asker)])


async def _traced(s: Running, **more: Any) -> dict[str, Any]:
    answer = await s.chat("hi", **more)
    assert answer.status_code == 200, answer.text
    return await s.trace(answer.headers["x-stockyard-trace-id"])


async def test_it_is_priced_and_part_of_the_calls_cost() -> None:
    async with running({"asker": {}, "cachelayer": True}, config=PRICES) as s:
        s.mock.script(text("be kind"), text("hello"))
        trace = await _traced(s)
        asked = s.mock.calls
        assert [call.json()["model"] for call in asked] == ["large", "small"]
        assert asked[1].json()["messages"][0] == {"role": "system", "content": "be kind"}
        costs = {line["what"]: line["usd"] for line in trace["costs"]}
        assert sum(usd for what, usd in costs.items() if what.startswith("asker:hint:")) > 0
        assert sum(usd for what, usd in costs.items() if ":" not in what) > 0
        assert trace["cost_usd"] == pytest.approx(sum(costs.values()))
        assert len(trace["attempts"]) == 2


async def test_one_that_fails_leaves_the_call_as_it_was_and_says_so() -> None:
    async with running({"asker": {}, "retry": False}) as s:
        s.mock.script(status(500), text("hello"))
        trace = await _traced(s)
        assert [call.json()["messages"][0]["role"] for call in s.mock.calls] == ["user", "user"]
        assert ("sub_request_failed", "hint") in [
            (entry["action"], entry["detail"].get("what")) for entry in trace["decisions"] if entry["module"] == "asker"
        ]


async def test_it_is_repeated_like_any_call_to_a_provider() -> None:
    async with running({"asker": {}, "retry": {"base_delay_s": 0.001}}) as s:
        s.mock.script(status(503), text("be kind"), text("hello"))
        await _traced(s)
        assert [call.json()["model"] for call in s.mock.calls] == ["large", "large", "small"]


async def test_it_goes_where_the_call_may_go() -> None:
    async with running({"asker": {}}) as s:
        chosen = s.instance.chute.registry.slots["asker"].running
        assert chosen is not None
        real = chosen.prepare

        async def forbidding(x: Exchange) -> Answer | None:
            x.allow.append(lambda target: target.model != "large")
            return await real(x)

        chosen.prepare = forbidding  # type: ignore[method-assign]
        s.instance.chute.registry.recompile()
        s.mock.script(text("hello"))
        await _traced(s)
        assert [call.json()["model"] for call in s.mock.calls] == ["small"]
