"""Modules switched at random while 64 connections call: each call goes through one plan from its beginning to its end."""

from __future__ import annotations

import asyncio
import itertools
import random
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import httpx2
import pytest

from bench.stand_in_embedder import StandInEmbedder
from instance.chute.answer import Answer
from instance.chute.embedding import embedder
from instance.chute.exchange import Exchange
from instance.chute.module import Module
from instance.chute.slot import Slot
from tests.mock_replies import chunks, delay
from tests.mock_upstream import MockUpstream
from tests.modules.conftest import UPSTREAM_KEY, Running, running
from tests.waiting import until

SWITCHES = 1_000
CONNECTIONS = 64
MODEL = "gpt-4o-mini"
PIECES = ["Pen one holds ", "lambs today. ", "The gate ", "opens at six."]
ANSWER = "".join(PIECES)
PIECE_S = 0.4
ALL_ON = Path(__file__).parents[1] / "bench" / "all-on.toml"


class Probe(Module):
    """Notes on the call that it ran, and that it did so while it was stopped."""

    category: ClassVar[str] = "test"
    summary: ClassVar[str] = "test"
    wrong: ClassVar[list[str]] = []
    stopped = False

    def _ran(self, x: Exchange, hook: str) -> None:
        if self.stopped:
            self.wrong.append(f"{self.name}.{hook} ran after it was stopped")
        x.state.setdefault(f"probes.{hook}", []).append(self)

    def on_request(self, x: Exchange) -> None:
        self._ran(x, "on_request")

    async def around(self, x: Exchange, call: Any) -> Answer:
        self._ran(x, "around")
        answer: Answer = await call(x)
        return answer

    async def stop(self) -> None:
        self.stopped = True


class Outer(Probe):
    """Outermost: it sees the end of a call before the inner one."""

    name: ClassVar[str] = "outerprobe"
    group: ClassVar[int] = 1

    def on_finish(self, x: Exchange) -> None:
        self._ran(x, "on_finish")


class Inner(Probe):
    """Last to finish: it compares what ran."""

    name: ClassVar[str] = "innerprobe"
    group: ClassVar[int] = 12

    def on_finish(self, x: Exchange) -> None:
        self._ran(x, "on_finish")
        seen = {hook: x.state.get(f"probes.{hook}", []) for hook in ("on_request", "around", "on_finish")}
        if any([probe.name for probe in probes] != ["outerprobe", "innerprobe"] for probes in seen.values()):
            self.wrong.append(f"a torn plan: {seen}")
        if len({probe for probes in seen.values() for probe in probes}) != 2:
            self.wrong.append(f"a call saw two objects of one module: {seen}")


def at(mock: MockUpstream) -> str:
    provider = "[providers.openai]\n"
    return ALL_ON.read_text().replace(provider, f'{provider}base_url = "{mock.url}"\napi_key = "{UPSTREAM_KEY}"\n')


class Load:
    """64 connections that call one after the other until `end()`, every third a stream. Answers take their time, so that a call
    lives through many switches, and nearly all connections have one in flight."""

    def __init__(self, s: Running) -> None:
        self._s = s
        self._numbers = itertools.count(1)
        self._over = False
        self.answered = 0
        self.failed: list[str] = []

    def end(self) -> None:
        self._over = True

    async def run(self) -> None:
        limits = httpx2.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
        headers = {"authorization": f"Bearer {self._s.key}"}
        async with httpx2.AsyncClient(base_url=self._s.root, headers=headers, limits=limits, timeout=60.0) as client:
            await asyncio.gather(*(self._calls(client) for _ in range(CONNECTIONS)))

    async def _calls(self, client: httpx2.AsyncClient) -> None:
        while not self._over:
            number = next(self._numbers)
            stream = number % 3 == 0
            body = {
                "model": MODEL,
                "stream": stream,
                "messages": [{"role": "user", "content": f"What is in pen {number} of the yard today?"}],
            }
            self._s.mock.script(
                chunks(PIECES, piece_delay_s=PIECE_S) if stream else delay(PIECE_S * len(PIECES), ANSWER)
            )
            session = {"X-Stockyard-Session": f"s{number % 50}"} if number % 2 else {}
            answer = await client.post("/v1/chat/completions", json=body, headers=session)
            whole = answer.text
            if answer.status_code != 200 or (stream and not whole.endswith("data: [DONE]\n\n")) or '"error"' in whole:
                self.failed.append(f"{number}: {answer.status_code} {whole[-500:]}")
            self.answered += 1


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.asyncio
async def test_a_thousand_switches_fail_no_call_and_tear_no_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedder, "Embedder", StandInEmbedder)
    Probe.wrong.clear()
    chance = random.Random(20_260)
    async with running(providers=at, config="[embedder]\nwait_s = 60.0\n") as s:  # a slow machine fails no call either
        registry = s.instance.chute.registry
        for probe in (Outer, Inner):
            registry.slots[probe.name] = Slot(probe.name, partial(lambda cls: cls, probe), {}, False, "test")
        probes = [probe.name for probe in (Outer, Inner)]
        names = [name for name in registry.slots if name not in probes]
        load = Load(s)
        running_load = asyncio.create_task(load.run())
        for number in range(SWITCHES):
            if number % 4 == 0:
                # Both in one change: no call may see one of them alone. Priorities and settings change what is built, too.
                on = chance.random() < 0.7
                await registry.change({name: {"enabled": on} for name in probes}, "test")
            else:
                chosen = chance.sample(names, chance.choice((1, 1, 1, 3)))
                await registry.change({name: {"enabled": chance.random() < 0.6} for name in chosen}, "test")
            if number % 50 == 0:
                seen = load.answered
                await until(lambda seen=seen: _more(load, seen))
        load.end()
        await running_load
        await registry.change({name: {"enabled": True} for name in (*names, *probes)}, "test")

        assert load.failed == []
        assert Probe.wrong == []
        assert load.answered > 2 * CONNECTIONS
        assert {name: slot.meter.last_error for name, slot in registry.slots.items() if slot.meter.errors} == {}
        assert [name for name, slot in registry.slots.items() if not slot.in_chain] == []
        answer = await s.chat("Is everything as it was?", model=MODEL)
        assert answer.status_code == 200
        await until(lambda: _stopped(registry))
        await s.settled()


async def _more(load: Load, seen: int) -> bool:
    return load.answered > seen


async def _stopped(registry: Any) -> bool:
    return not registry.leaving
