"""The chain alone: the hooks of a call without server, sockets and provider, in this process."""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import orjson

from instance.chute.answer import Answer
from instance.chute.app import Chute
from instance.chute.exchange import Exchange
from instance.chute.operations import CHAT
from instance.chute.record import estimate_usage
from instance.core.ids import new_id
from instance.core.principals import Principal
from instance.server import Instance, ServeOptions

REQUEST = {
    "model": "gpt-4o-mini",
    "messages": [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "Summarise for a newcomer what a stockyard is and how it is run. " * 5},
    ],
    "temperature": 0.7,
    "max_tokens": 200,
}
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-mini",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "A stockyard keeps livestock. " * 15},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 90, "completion_tokens": 100, "total_tokens": 190},
}


async def _one(chute: Chute, principal: Principal, raw: bytes, answered: bytes) -> int:
    """Nanoseconds of one call's hooks; building the exchange and the record are left out."""
    now = time.perf_counter_ns()
    x = Exchange(new_id("tr_"), now, time.time_ns(), "/v1/chat/completions", {}, CHAT)
    x.raw = raw
    x.req = orjson.loads(raw)
    x.principal = principal
    x.client_ip = "127.0.0.1"
    x.model_requested = REQUEST["model"]  # type: ignore[assignment]
    x.targets = chute.providers.resolve("openai/gpt-4o-mini")
    plan = chute.registry.plan("chat")
    x.plan = plan
    started = time.perf_counter_ns()
    answer = await plan.run(x)
    plan.respond(x, answer)
    took = time.perf_counter_ns() - started
    estimate_usage(x)
    chute.price(x)
    started = time.perf_counter_ns()
    plan.finish(x)
    return took + time.perf_counter_ns() - started


async def measure(changes: dict[str, Any] | None = None, calls: int = 3000) -> dict[str, float]:
    """Median and p99 of the chain in microseconds with the modules' defaults, or after `changes`."""
    raw, answered = orjson.dumps(REQUEST), orjson.dumps(ANSWER)
    with tempfile.TemporaryDirectory(prefix="sybench") as data:
        env = {"STOCKYARD_ADMIN_KEY": "sy_admin_" + "b" * 43, "OPENAI_API_KEY": "sk-bench-0123456789"}
        opened = await Instance.open(ServeOptions(data=Path(data), env=env))
        chute = opened.chute
        try:
            if changes:
                await chute.registry.change(changes, "system")
            plan = chute.registry.plan("chat")

            async def reach(x: Exchange) -> Answer:
                x.attempts.append({})
                obj = orjson.loads(answered)
                x.usage.take(obj["usage"])
                return Answer(body=answered, obj=obj, target=x.targets[0])

            plan.target = reach
            principal = next(iter(opened.core.keys.principals()))
            for _ in range(300):
                await _one(chute, principal, raw, answered)
            times = []
            for index in range(calls):
                times.append(await _one(chute, principal, raw, answered))
                if index % 100 == 99:
                    await asyncio.sleep(0)
            times.sort()
            return {
                "modules": len(plan.links),
                "p50_us": statistics.median(times) / 1000,
                "p99_us": times[len(times) * 99 // 100] / 1000,
            }
        finally:
            await opened.close()


ALL_ON: dict[str, Any] = {
    "ipfence": {"enabled": True, "config": {"deny": ["203.0.113.0/24"]}},
    "rateshield": {
        "enabled": True,
        "config": {"limits": [{"by": "key", "requests": 10_000_000, "per": "minute", "burst": 1_000_000}]},
    },
    "promptslim": {"enabled": True},
    "cachelayer": {"enabled": True, "config": {"only_deterministic": True}},
    "costcap": {"enabled": True, "config": {"daily_limit_usd": 1000}},
}
"""Every module on, with settings under which a normal chat passes."""


def main() -> None:
    print(json.dumps({"defaults": asyncio.run(measure()), "all_on": asyncio.run(measure(ALL_ON))}, indent=2))


if __name__ == "__main__":
    main()
