"""The chain alone: the hooks of a call without server, sockets and provider, in this process.

`python -m bench.chain` prints what it takes with the modules' defaults and with every module on (tests/bench/all-on.toml), by
kind of call and by module, and writes bench/results-chain.json. Waiting for embeddings is left out; `stand_in_embedder.py`.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import orjson

from bench.chain_calls import CASES, Case, answer, answer_text, arriving, events, request
from bench.chain_times import Times
from bench.stand_in_embedder import StandInEmbedder, meaningless
from instance.chute import reading_ahead
from instance.chute.answer import Answer
from instance.chute.app import Chute
from instance.chute.caller import take_labels
from instance.chute.chain import Plan
from instance.chute.embedding import embedder as embedding
from instance.chute.exchange import Exchange
from instance.chute.modules.safety.all_learned import AllLearned
from instance.chute.operations import CHAT
from instance.chute.outgoing import Outgoing
from instance.chute.record import estimate_usage
from instance.core.ids import new_id
from instance.core.large_blocks import return_large_blocks
from instance.core.principals import Principal
from instance.server import Instance, ServeOptions, collect_seldom

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results-chain.json"
ALL_ON, ALL_PLAIN = (ROOT / "tests" / "bench" / name for name in ("all-on.toml", "all-plain.toml"))
"""Every module on, with settings under which a normal chat passes: each with work to do, or as they are at first."""
CALLS = 1_000
WARM_UP = 300
BAR_US, MODULE_BAR_US = 120, 15
SESSION_CALLS = 20
"""Calls of one session, of which each remembers those before it."""


class Chain:
    """An instance's chain without a server: `await call(case)` takes one call through it. Made by `opened`."""

    def __init__(self, instance: Instance, embedder: StandInEmbedder) -> None:
        self.chute: Chute = instance.chute
        self.embedder = embedder
        self.clock = embedder.clock
        self.principal: Principal = next(iter(instance.core.keys.principals()))
        self.limits = instance.core.settings.limits
        self.number = 0
        self.deltas: list[Any] = []
        self.answered = b""
        self.plan: Plan
        self.renew()

    def renew(self) -> None:
        """Take the plan as it is now, with a provider that answers at once."""
        self.plan = self.chute.registry.plan("chat")
        self.plan.target = self._provider

    async def _provider(self, x: Exchange) -> Answer:
        """What it takes is not the chain's."""
        started = self.clock.read()
        target = x.targets[0]
        attempt = {
            "n": len(x.attempts) + 1,
            "provider": target.provider.name,
            "model": target.model,
            "key_name": "",
            "started_ms": 0.0,
            "duration_ms": 0.1,
            "status": 200,
            "error": None,
        }
        x.attempts.append(attempt)
        if x.stream:
            made = Answer(events=arriving(self.deltas), target=target)
        else:
            obj = orjson.loads(self.answered)
            x.usage.take(obj["usage"])
            made = Answer(body=self.answered, obj=obj, target=target)
        x.first_token_ns = time.perf_counter_ns()
        self.clock.away_ns += self.clock.read() - started
        x.mark_ns = self.clock.now_ns()
        return made

    def exchange(self, case: Case, raw: bytes) -> Exchange:
        """A call as the endpoint hands it to the chain."""
        headers = {b"x-stockyard-session": b"s%d" % (self.number // SESSION_CALLS)} if case.in_session else {}
        x = Exchange(new_id("tr_"), time.perf_counter_ns(), time.time_ns(), "/v1/chat/completions", headers, CHAT)
        x.raw = raw
        x.principal = self.principal
        x.client_ip = "127.0.0.1"
        x.task = asyncio.current_task()
        take_labels(x)
        CHAT.take(x, self.limits)
        self.chute.targets.resolve(x)
        x.plan = self.plan
        return x

    async def call(self, case: Case) -> tuple[int, int, int]:
        """Nanoseconds of the event loop that one call's hooks took, of those until its answer could begin, and of the threads beside
        it: the embedder's for what they do with vectors, and the one that reads long texts ahead. What they wait for, the provider and the
        record are left out."""
        self.number += 1
        plan = self.plan
        x = self.exchange(case, request(case))
        text = answer_text(case)
        if case.streamed:
            self.deltas = events(text, self.number)
        self.answered = answer(text, self.number)
        clock = self.clock
        beside = self.embedder.beside_ns
        started = clock.now_ns()
        made = await clock.running(plan.run(x))
        begun = clock.now_ns() - started
        if made.events is None:
            plan.respond(x, made)
        else:
            await clock.running(_drained(x, made))
        left = clock.read()
        estimate_usage(x)
        self.chute.price(x)
        clock.away_ns += clock.read() - left
        plan.finish(x)
        took = clock.now_ns() - started
        assert made.status == 200 and x.status == "ok" and made.target is not None, x.decisions
        self.over(x)
        return took, begun, self.embedder.beside_ns - beside

    def over(self, x: Exchange) -> None:
        """What follows a call's hooks, and is not measured."""

    async def calls(self, case: Case, count: int, times: Times | None = None) -> list[tuple[int, int, int]]:
        """That many calls one after the other; what they leave to be done runs between them."""
        taken = []
        for _ in range(count):
            taken.append(await self.call(case))
            if times is not None:
                times.next_call()
            await self.embedder.settled()
        return taken


C = TypeVar("C", bound=Chain)


async def _drained(x: Exchange, made: Answer) -> None:
    outgoing = Outgoing(x, made)
    assert made.events is not None
    async for batch in made.events:
        outgoing.take(batch)
    outgoing.end()


@asynccontextmanager
async def opened(
    config: Path | None = None,
    chain: Callable[[Instance, StandInEmbedder], C] = Chain,  # type: ignore[assignment]
) -> AsyncIterator[tuple[Instance, C]]:
    """An instance in a fresh folder, with the modules' defaults or as `config` says, and its chain."""
    own, embedding.Embedder = embedding.Embedder, StandInEmbedder  # type: ignore[misc]
    read = reading_ahead._read
    by_meaning, AllLearned.by_meaning = AllLearned.by_meaning, meaningless(AllLearned.by_meaning)  # type: ignore[method-assign]
    try:
        with tempfile.TemporaryDirectory(prefix="sybench") as data:
            env = {"STOCKYARD_ADMIN_KEY": "sy_admin_" + "b" * 43, "OPENAI_API_KEY": "sk-bench-0123456789"}
            return_large_blocks()
            instance = await Instance.open(ServeOptions(data=Path(data), config=config, env=env))
            try:
                embedder = embedding.embedder_of(instance.core)
                assert isinstance(embedder, StandInEmbedder)
                reading_ahead._read = embedder.counting(read)
                collect_seldom()
                yield instance, chain(instance, embedder)
            finally:
                await instance.close()
    finally:
        embedding.Embedder = own  # type: ignore[misc]
        reading_ahead._read = read
        AllLearned.by_meaning = by_meaning  # type: ignore[method-assign]


def _count(case: Case, calls: int) -> int:
    """How many calls of a case are measured: fewer of those that take long."""
    if case.prompt_chars >= 8_000:
        return calls // 10
    return calls // 4 if case.streamed else calls


def _figures(taken: list[tuple[int, int, int]]) -> dict[str, float]:
    whole = sorted(took for took, _, _ in taken)
    return {
        "p50_us": round(statistics.median(whole) / 1000, 1),
        "p99_us": round(whole[len(whole) * 99 // 100] / 1000, 1),
        "begun_p50_us": round(statistics.median(begun for _, begun, _ in taken) / 1000, 1),
        "beside_p50_us": round(statistics.median(beside for _, _, beside in taken) / 1000, 1),
    }


async def measure(config: Path | None = None, calls: int = CALLS) -> dict[str, Any]:
    """Microseconds of the chain by kind of call, and of each module in the median of each kind.

    `modules` counts those that are on, shims included. The modules' own times are taken in calls of their own, as taking them
    costs time itself."""
    async with opened(config) as (instance, chain):
        registry = instance.chute.registry
        result: dict[str, Any] = {
            "modules": sum(slot.in_chain for slot in registry.slots.values()),
            "cases": {},
            "by_module": defaultdict(dict),
        }
        for case in CASES:
            count = _count(case, calls)
            await chain.calls(case, min(WARM_UP, count))
            thread = chain.embedder.thread
            handed, handed_ns = thread.handed, thread.handed_ns
            figures = _figures(await chain.calls(case, count))
            figures["handed"] = round((thread.handed - handed) / count, 1)
            figures["handed_us"] = round((thread.handed_ns - handed_ns) / count / 1000, 1)
            result["cases"][case.name] = figures
        times = Times(registry, chain.clock)
        chain.renew()
        times.watch_deltas(chain.plan)
        for case in CASES:
            count = min(calls // 4, _count(case, calls))
            times.begin()
            await chain.calls(case, count, times)
            for name, us in times.medians_us().items():
                result["by_module"][name][case.name] = round(us, 1)
        return result


def print_table(result: dict[str, Any]) -> None:
    """What a person reads: cases first, then the modules, the dearest first."""
    defaults, plain, every = result["defaults"], result["all_plain"], result["all_on"]
    head = f"{defaults['modules']} on (defaults)", f"all {plain['modules']} plain", f"all {every['modules']} at work"
    print(
        f"{'chain, median us':<24}"
        + "".join(f"{each:>18}" for each in (*head, "p99", "begins", "handing over", "beside the loop"))
    )
    for name, row in every["cases"].items():
        figures = (
            defaults["cases"][name]["p50_us"],
            plain["cases"][name]["p50_us"],
            *(row[figure] for figure in ("p50_us", "p99_us", "begun_p50_us", "handed_us", "beside_p50_us")),
        )
        print(f"{name:<24}" + "".join(f"{figure:>18.1f}" for figure in figures))
    print(f"\n{'module, median us':<24}" + "".join(f"{case.name[:13]:>14}" for case in CASES))
    for name, row in sorted(every["by_module"].items(), key=lambda item: -item[1].get("whole", 0.0)):
        print(f"{name:<24}" + "".join(f"{row.get(case.name, 0.0):>14.1f}" for case in CASES))


async def both(calls: int = CALLS) -> dict[str, Any]:
    """The chain with what is on at first, with every module on as it is at first, and with every module on and at work."""
    return {
        "defaults": await measure(calls=calls),
        "all_plain": await measure(ALL_PLAIN, calls),
        "all_on": await measure(ALL_ON, calls),
    }


def main() -> None:
    from bench.__main__ import machine

    result = {"machine": machine(), **asyncio.run(both())}
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    print_table(result)


if __name__ == "__main__":
    main()
