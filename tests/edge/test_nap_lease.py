"""Without the control plane a nap ends with as much of the lease on keys as the snapshot is young, and no more."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from control_plane.config import Config
from control_plane.domain.tenants import Generation
from control_plane.routing.nap import NapResumer
from control_plane.routing.snapshot import INDEX, Snapshot
from control_plane.runtimes.protocol import RunState
from tests.edge.activator_parts import write_snapshot


class Machine:
    """Engine, instance and edge of one napping tenant; `done` is what was done to them, in order."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.lease_s = 0.0

    async def observe(self, slug: str) -> list[Any]:
        return [SimpleNamespace(alive=True, state=RunState.PAUSED, run_id="1")]

    async def probe(self, slug: str) -> Any:
        return SimpleNamespace(draining=True)

    async def resume(self, slug: str) -> None:
        self.done.append("resume")

    async def push_state(self, slug: str, state: Mapping[str, Any]) -> Generation:
        self.done.append("push")
        return Generation(1, 1)

    async def renew_lease(self, slug: str, lease_s: float) -> None:
        self.done.append("lease")
        self.lease_s = lease_s

    async def link(self, slug: str) -> None:
        self.done.append("link")


async def _woken(config: Config, written_at: float, lease_s: int) -> Machine:
    write_snapshot(config, "napping", state={"generation": 1, "key_lease_s": lease_s})
    index = config.snapshot_dir / INDEX
    index.write_text(json.dumps(json.loads(index.read_text()) | {"written_at": written_at}))
    machine: Any = Machine()
    assert await NapResumer(machine, machine, machine, Snapshot(config.snapshot_dir))("acme")
    assert machine.done[-1] == "link"
    return machine  # type: ignore[no-any-return]


async def test_what_the_age_of_the_snapshot_leaves_of_the_lease_is_granted_before_the_tenant_is_routed_to(
    config: Config,
) -> None:
    machine = await _woken(config, time.time() - 100, 600)
    assert machine.done[-3:] == ["lease", "resume", "link"]
    assert machine.lease_s == pytest.approx(500, abs=20)


async def test_a_snapshot_older_than_the_lease_grants_nothing(config: Config) -> None:
    assert "lease" not in (await _woken(config, time.time() - 601, 600)).done


async def test_a_clock_that_was_set_back_does_not_make_the_lease_longer(config: Config) -> None:
    assert (await _woken(config, time.time() + 3_600, 600)).lease_s <= 600


async def test_a_plan_without_a_lease_is_granted_none(config: Config) -> None:
    assert "lease" not in (await _woken(config, time.time(), 0)).done
