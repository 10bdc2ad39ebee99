"""A plan's lease on keys: without a word from the control plane for so long, an instance refuses them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from instance.core.clock import NS_PER_S, FakeClock
from instance.server import Instance, ServeOptions
from instance.system.key_lease import KeyLease
from tests.mock_upstream import until
from tests.opened import INSTANCE_KEY, Opened, instance_file, opened
from tests.system.test_control import CALL, KEY, ask, calls, pushed_key, state
from tests.system.test_ended_streams import CHAT, events, streamed

APP_KEY = "sy_" + "c" * 43


@pytest.fixture
async def one() -> AsyncIterator[Opened]:
    async with opened(hosted=True) as instance:
        yield instance


async def leased(one: Opened, number: int = 1, lease_s: int = 60) -> None:
    keys = (pushed_key(KEY, 1), pushed_key(APP_KEY, 2, kind="app", scopes=["observe:read"]))
    assert (await ask(one, "PUT", "state", state(number, *keys, key_lease_s=lease_s))).status_code == 200


async def renew(one: Opened, lease_s: float) -> None:
    assert (await ask(one, "POST", "lease", {"lease_s": lease_s})).status_code == 200


async def test_keys_are_refused_until_the_control_plane_grants_a_lease_and_again_when_it_has_run_out(
    one: Opened,
) -> None:
    await leased(one)
    async with one.client(KEY) as client:
        refused = await client.post("/v1/chat/completions", json=CALL)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "key_lease_expired")
    assert int(refused.headers["retry-after"]) > 0
    await renew(one, 60)
    assert await calls(one, KEY) == 200
    await leased(one, 2, lease_s=0)
    assert await calls(one, KEY) == 200
    await leased(one, 3, lease_s=1)
    deadline = asyncio.get_running_loop().time() + 10
    while (status := await calls(one, KEY)) == 200 and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.05)
    assert status == 503
    await renew(one, 60)
    assert await calls(one, KEY) == 200


async def test_the_apps_refuse_too_and_the_control_planes_own_key_goes_on(one: Opened) -> None:
    await leased(one)
    async with one.client(APP_KEY) as client:
        refused = await client.get("/api/observe/traces")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "key_lease_expired")
    assert (await ask(one, "GET", "state", key=INSTANCE_KEY)).json()["key_lease_left_s"] == 0
    assert (await ask(one, "GET", "usage")).status_code == 200
    await renew(one, 60)
    async with one.client(APP_KEY) as client:
        assert (await client.get("/api/observe/traces")).status_code == 200


async def test_an_unknown_key_is_told_so_whatever_became_of_the_lease(one: Opened) -> None:
    await leased(one)
    assert await calls(one, "sk-sy-" + "z" * 43) == 401


async def test_streams_end_with_the_lease(one: Opened) -> None:
    await leased(one)
    await renew(one, 60)
    running = asyncio.create_task(streamed(one, KEY, "/v1/chat/completions", CHAT))
    await until(lambda: one.instance.chute.streams == 1)
    await leased(one, 2, lease_s=1)
    async with asyncio.timeout(10):
        text = (await running).text
    assert events(text)[-1][1]["error"]["code"] == "key_lease_expired"


@pytest.mark.parametrize("body", [{}, {"lease_s": 0}, {"lease_s": "60"}, {"lease_s": True}, {"lease_s": 1, "more": 1}])
async def test_a_renewal_that_is_none_is_refused(one: Opened, body: dict[str, object]) -> None:
    assert (await ask(one, "POST", "lease", body)).status_code == 422


@pytest.mark.parametrize(("granted_s", "status"), [(600.0, 200), (0.001, 503)])
async def test_a_restart_without_the_control_plane_goes_by_what_was_written_down(
    tmp_path: Path, granted_s: float, status: int
) -> None:
    options = ServeOptions(tmp_path / "data", env={"STOCKYARD_INSTANCE_FILE": str(instance_file(tmp_path))})
    first = await Instance.open(options)
    try:
        await leased(Opened(first), lease_s=600)
        await renew(Opened(first), granted_s)
    finally:
        await first.close()
    second = await Instance.open(options)
    try:
        assert await calls(Opened(second), KEY) == status
        await renew(Opened(second), 600)
        assert await calls(Opened(second), KEY) == 200
    finally:
        await second.close()


class Lease:
    """A lease under a clock that the test turns."""

    def __init__(self, one: Opened, clock: FakeClock) -> None:
        self.one, self.clock = one, clock
        one.core.clock = clock
        self.lease = KeyLease(one.core, lambda: None)

    def holds(self) -> bool:
        left = self.lease.left_s()
        return left is None or left > 0


async def test_a_clock_that_is_set_back_extends_nothing_and_one_set_forward_ends_it(one: Opened) -> None:
    lease = Lease(one, FakeClock())
    lease.lease.demand(60)
    await lease.lease.renew(60)
    lease.clock.advance(59)
    lease.clock.set_wall(lease.clock.wall_ns() - 3600 * NS_PER_S)
    assert lease.holds()
    lease.clock.advance(2)
    assert not lease.holds()
    await lease.lease.renew(60)
    assert lease.holds()
    lease.clock.set_wall(lease.clock.wall_ns() + 61 * NS_PER_S)
    assert not lease.holds()
    await lease.lease.close()


async def test_after_a_restart_with_the_clock_set_back_nothing_written_down_counts(one: Opened) -> None:
    lease = Lease(one, FakeClock())
    lease.lease.demand(60)
    await lease.lease.renew(60)
    await lease.lease.close()
    again = Lease(one, lease.clock)
    await again.lease.load()
    again.lease.demand(60)
    assert again.holds()
    lease.clock.set_wall(lease.clock.wall_ns() - NS_PER_S)
    third = Lease(one, lease.clock)
    await third.lease.load()
    third.lease.demand(60)
    assert not third.holds()
    await again.lease.close()


async def test_renewals_are_written_down_at_most_twice_a_lease(one: Opened) -> None:
    lease = Lease(one, FakeClock())
    lease.lease.demand(100)
    written = []
    for _ in range(100):
        await lease.lease.renew(100)
        written.append(one.core._connection.execute("SELECT ends_at_ns FROM key_lease").fetchone()[0])
        lease.clock.advance(5)
    assert 5 <= len(set(written)) <= 11
    assert lease.holds()
    await lease.lease.close()


async def test_a_shorter_renewal_takes_nothing_away(one: Opened) -> None:
    lease = Lease(one, FakeClock())
    lease.lease.demand(60)
    await lease.lease.renew(60)
    await lease.lease.renew(5)
    lease.clock.advance(30)
    assert lease.holds()
    await lease.lease.close()
