"""A module that is switched off and on again goes on from what it had, however fast that is."""

import asyncio
from importlib.metadata import EntryPoint
from typing import Any, ClassVar

import pytest

from instance.chute.exchange import Exchange
from instance.chute.module import Module, ModuleSettings
from instance.core.core import Core
from tests.mock_replies import stall
from tests.mock_upstream import until
from tests.modules.conftest import running


class Diary(Module):
    """A custom module that counts calls, stores the count when it stops, slowly, and reads it when it starts."""

    name: ClassVar[str] = "diary"
    category: ClassVar[str] = "custom"
    group: ClassVar[int] = 5
    summary: ClassVar[str] = "Counts calls."

    class Settings(ModuleSettings):
        pass

    settings: Settings
    stored: ClassVar[list[str]] = []
    may_stop: ClassVar[asyncio.Event]

    async def start(self, core: Core, previous: Module | None) -> None:
        self.calls = previous.calls if isinstance(previous, Diary) else list(self.stored)

    async def stop(self) -> None:
        await self.may_stop.wait()
        self.stored[:] = self.calls

    def on_finish(self, x: Exchange) -> None:
        self.calls.append(x.id)


@pytest.fixture
async def may_stop(monkeypatch: pytest.MonkeyPatch, other_packages: None) -> asyncio.Event:
    """Until this is set, what is switched off is not done with stopping."""
    point = EntryPoint("diary", "tests.chute.test_module_switched_back:Diary", "stockyard.modules")
    monkeypatch.setattr("instance.chute.discovery.entry_points", lambda group: [point])
    found: Any = point.load()
    monkeypatch.setattr(found, "stored", [])
    event = asyncio.Event()
    monkeypatch.setattr(found, "may_stop", event, raising=False)
    return event


async def test_what_it_stores_while_it_stops_is_there_when_it_starts_again(may_stop: asyncio.Event) -> None:
    async with running({"diary": True}) as s:
        await s.chat()
        await s.configure({"diary": False})
        switching_on = asyncio.create_task(s.configure({"diary": True}))
        await s.settled()
        may_stop.set()
        await switching_on
        assert len(s.module("diary").calls) == 1


async def test_a_call_from_before_is_counted_where_it_is_on_again(may_stop: asyncio.Event) -> None:
    may_stop.set()
    async with running({"diary": True}) as s:
        s.mock.script(stall(1))
        stream = await s.sdk().chat.completions.create(**s.body(), stream=True)
        await s.configure({"diary": False})
        await s.configure({"diary": True})
        registry = s.instance.chute.registry
        assert registry.leaving
        await stream.close()
        await until(lambda: not registry.leaving)
        assert len(s.module("diary").calls) == 1


async def test_a_stop_that_hangs_keeps_it_off_only_so_long(
    may_stop: asyncio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("instance.chute.leaving.STOP_WAIT_S", 0.05)
    async with running({"diary": True}) as s:
        await s.chat()
        await s.configure({"diary": False})
        await s.configure({"diary": True})
        assert (await s.chat()).status_code == 200
        assert len(s.module("diary").calls) == 2
        may_stop.set()
