"""tierdrop over HTTP: who is moved to a cheaper model, when, and when not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.mock_replies import Reply
from tests.modules.conftest import Running, running

PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PRICES = """
[prices."up/small"]
in_usd_per_mtok = 1
out_usd_per_mtok = 1
[prices."up/large"]
in_usd_per_mtok = 10000
out_usd_per_mtok = 10000
[prices."up/dear"]
in_usd_per_mtok = 90000
out_usd_per_mtok = 90000
"""
TIER = {"at_pct": 80, "match": "*large", "model": "up/small"}


def _modules(*tiers: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "costcap": {"monthly_limit_usd": 1, "default_action": "warn"},
        "tierdrop": {"tiers": list(tiers or (TIER,)), **more},
    }


async def _spend(s: Running, cents: int) -> None:
    """A call of the large model that costs so much: a cent a token."""
    s.mock.script(Reply(text="ok", usage={"prompt_tokens": cents, "completion_tokens": 0, "total_tokens": cents}))
    answer = await _ask(s)
    assert answer.status_code == 200


async def _ask(s: Running, content: Any = "hi", headers: dict[str, str] | None = None, **more: Any) -> Any:
    return await s.chat(content, headers=headers, **{"model": "up/large", "max_tokens": 1, **more})


def _served(s: Running) -> str:
    model: str = s.mock.calls[-1].json()["model"]
    return model


@pytest.mark.parametrize("stream", [False, True])
async def test_from_its_share_on_the_cheaper_model_serves_and_says_so(stream: bool) -> None:
    async with running(_modules(), config=PRICES) as s:
        await _spend(s, 78)
        assert _served(s) == "large"
        await _ask(s, stream=stream)
        assert _served(s) == "large"
        await _spend(s, 10)
        answer = await _ask(s, stream=stream)
        assert _served(s) == "small"
        assert answer.headers["x-stockyard-model-dropped"] == "up/large"
        trace = await s.trace(answer.headers["x-stockyard-trace-id"])
        assert (trace["model_requested"], trace["model"]) == ("up/large", "small")
        assert trace["saved_usd"] > 0
        ((action, detail),) = await s.trail(trace["id"], "tierdrop")
        assert (action, detail["from"], detail["to"], detail["tier"]) == ("drop", "up/large", "up/small", 80)
        assert detail["used_pct"] >= 80


async def test_a_call_that_needs_what_the_cheaper_model_lacks_stays() -> None:
    async with running(_modules(), config=PRICES) as s:
        await _spend(s, 90)
        parts = [{"type": "text", "text": "what is it"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
        await _ask(s, parts)
        assert _served(s) == "large"
        await _ask(s, tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}])
        assert _served(s) == "small"


async def test_the_price_is_never_raised_and_a_lower_tier_is_taken_instead() -> None:
    dear = {"at_pct": 85, "match": "*large", "model": "up/dear"}
    async with running(_modules(dear, TIER), config=PRICES) as s:
        await _spend(s, 90)
        await _ask(s)
        assert _served(s) == "small"


async def test_calls_of_high_priority_are_spared_for_named_keys_only() -> None:
    high = {"x-stockyard-priority": "high"}
    async with running(_modules(spare_keys=["nobody"]), config=PRICES) as s:
        await _spend(s, 90)
        await _ask(s, headers=high)
        assert _served(s) == "small"
        key = next(each for each in s.instance.core.keys.principals() if each.kind == "proxy")
        await s.configure(_modules(spare_keys=[str(key.key_id)]))
        await _ask(s, headers=high)
        assert _served(s) == "large"
        await _ask(s)
        assert _served(s) == "small"


async def test_a_tier_ends_only_well_below_its_share() -> None:
    async with running(_modules(hysteresis_pct=5), config=PRICES) as s:
        await _spend(s, 82)
        await _ask(s)
        assert _served(s) == "small"
        account = s.instance.chute.billing.accounts.get("costcap:month")
        assert account is not None
        for left_usd, model in ((0.77, "small"), (0.70, "large"), (0.77, "large")):
            account.spent_nano = round(left_usd * 1e9)
            await _ask(s)
            assert _served(s) == model


async def test_a_budget_of_its_own_counts_what_was_spent_before_it_was_set() -> None:
    async with running(config=PRICES) as s:
        await _spend(s, 90)
        await s.configure({"tierdrop": {"tiers": [TIER], "budget": "own", "budget_usd": 1}})
        await _ask(s)
        assert _served(s) == "small"
        await s.configure({"tierdrop": {"tiers": [TIER], "budget": "own", "budget_usd": 100}})
        await _ask(s)
        assert _served(s) == "large"
        await _spend(s, 9000)
        await _ask(s)
        assert _served(s) == "small"


async def test_a_restart_forgets_nothing_that_was_spent() -> None:
    async with running(_modules(), config=PRICES) as s:
        await _spend(s, 90)
        await s.configure({"tierdrop": False, "costcap": False})
        await s.configure(_modules())
        await _ask(s)
        assert _served(s) == "small"


async def test_a_dropped_call_that_a_cache_answers_saves_what_the_dearer_model_costs_once() -> None:
    settings = {"tiers": [{**TIER, "at_pct": 0.001}], "budget": "own", "budget_usd": 1}
    async with running({"tierdrop": settings, "cachelayer": {}}, config=PRICES) as s:
        await s.chat("spend", model="up/large")
        dropped, kept = [await s.chat("again and again", model="up/large") for _ in range(2)]
        assert (dropped.headers["x-stockyard-cache"], kept.headers["x-stockyard-cache"]) == ("miss", "hit")
        first = await s.trace(dropped.headers["x-stockyard-trace-id"])
        second = await s.trace(kept.headers["x-stockyard-trace-id"])
        assert second["saved_usd"] == pytest.approx(first["saved_usd"] + first["cost_usd"])
