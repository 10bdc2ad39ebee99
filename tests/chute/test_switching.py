"""When a module that was switched off is stopped, and what one gets that is switched on again while calls still use the first."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from instance.chute.chain import Plan
from tests.modules.conftest import Running, running


class Call:
    """A call that runs from here to `end()`, as the endpoint counts it."""

    def __init__(self, s: Running) -> None:
        self._plan: Plan = s.instance.chute.registry.plan("chat")
        self._plan.in_flight += 1

    def end(self) -> None:
        self._plan.in_flight -= 1
        if self._plan.retired is not None and not self._plan.in_flight:
            self._plan.retired()


def stops_of(module: Any, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Gets an entry when the module is stopped."""
    stopped: list[bool] = []
    own = module.stop

    async def stop() -> None:
        await own()
        stopped.append(True)

    monkeypatch.setattr(module, "stop", stop)
    return stopped


async def all_stopped(s: Running) -> None:
    await s.instance.chute.registry.leaving.all_stopped()


@pytest.mark.asyncio
async def test_a_module_is_stopped_after_the_last_call_of_any_plan_that_had_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as s:
        stopped = stops_of(s.module("circuitbreaker"), monkeypatch)
        first = Call(s)
        await s.configure({"retry": False})
        second = Call(s)
        await s.configure({"circuitbreaker": False})
        second.end()
        await all_stopped(s)
        assert stopped == []
        first.end()
        await all_stopped(s)
        assert stopped == [True]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("name", "service", "state"),
    [("circuitbreaker", "breakers", "breakers"), ("loadbalancer", "load", "loads"), ("healthcheck", "health", "table")],
)
async def test_switched_off_and_on_in_one_call_it_goes_on_where_it_was(name: str, service: str, state: str) -> None:
    async with running({name: True}) as s:
        kept = getattr(s.module(name), state)
        call = Call(s)
        await s.configure({name: False})
        await s.configure({name: True})
        call.end()
        await all_stopped(s)
        assert getattr(s.module(name), state) is kept
        assert s.instance.core.services[service] is kept


@pytest.mark.asyncio
async def test_what_is_just_stopping_has_stopped_before_it_starts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running({"stickysession": True}) as s:
        may_end = asyncio.Event()
        first = s.module("stickysession")
        order: list[str] = []

        async def stop() -> None:
            await may_end.wait()
            order.append("stopped")

        own = type(first).start

        async def start(self: Any, core: Any, previous: Any) -> None:
            order.append("starts")
            await own(self, core, previous)

        monkeypatch.setattr(first, "stop", stop)
        monkeypatch.setattr(type(first), "start", start)
        await s.configure({"stickysession": False})
        again = asyncio.create_task(s.configure({"stickysession": True}))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(may_end.set)
        await again
        assert order == ["stopped", "starts"]


@pytest.mark.asyncio
async def test_a_module_does_not_wait_for_the_end_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running({"stickysession": True, "cachelayer": True}) as s:
        may_end = asyncio.Event()
        monkeypatch.setattr(s.module("cachelayer"), "stop", may_end.wait)
        await s.configure({"cachelayer": False, "stickysession": False})
        await asyncio.wait_for(s.configure({"stickysession": True}), 5)
        assert not may_end.is_set()
        may_end.set()
