"""What callers of a tenant that is not awake get."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from unittest.mock import patch

import httpx2
import pytest

from control_plane.config import Config
from control_plane.routing.activator import STATS_PATH
from control_plane.routing.edge import FolderEdge
from control_plane.routing.pace import Pace
from tests.edge.activator_parts import KEY, PlayedPlane, running_activator, stats, write_snapshot
from tests.edge.scripted_instance import Call, ScriptedInstance

pytestmark = pytest.mark.slow

GOOD = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture
async def plane(config: Config) -> AsyncIterator[PlayedPlane]:
    async with PlayedPlane(config).running() as plane:
        yield plane


@pytest.fixture
async def client(config: Config) -> AsyncIterator[httpx2.AsyncClient]:
    async with running_activator(config) as client:
        yield client


@pytest.fixture
async def sleeper(config: Config, plane: PlayedPlane) -> AsyncIterator[ScriptedInstance]:
    """The tenant `acme`, asleep: its instance starts and is linked when the control plane is asked to wake it."""
    write_snapshot(config, "asleep")
    instance = ScriptedInstance(config.own_socket("acme"))
    async with AsyncExitStack() as stack:

        async def start() -> None:
            if not instance.path.exists():
                await stack.enter_async_context(instance)
                await FolderEdge(config).link("acme")

        plane.wake = start
        yield instance
    instance.path.unlink(missing_ok=True)
    await FolderEdge(config).unlink("acme")


async def test_a_call_with_a_good_key_is_answered_by_the_woken_instance(
    client: httpx2.AsyncClient, sleeper: ScriptedInstance, plane: PlayedPlane
) -> None:
    answer = await client.post(
        "/v1/chat/completions?a=b", content=b"{}", headers=GOOD | {"X-Forwarded-Prefix": "/t/acme"}
    )
    assert answer.text == "hello"
    call = sleeper.calls[0]
    assert (call.method, call.target, call.body) == ("POST", "/v1/chat/completions?a=b", b"{}")
    assert call.headers["x-forwarded-prefix"] == "/t/acme"
    assert "Authorization: Bearer sy_op_x" in plane.questions[0]
    assert plane.questions[0].startswith("POST /internal/tenants/acme/wake?wait_s=")


@pytest.mark.parametrize("name", ["x-api-key", "api-key", "X-Admin-Key", "X-Stockyard-Key"])
async def test_a_good_key_wakes_wherever_an_sdk_puts_it(
    client: httpx2.AsyncClient, sleeper: ScriptedInstance, name: str
) -> None:
    assert (await client.get("/v1/models", headers={name: KEY})).text == "hello"


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"x-api-key": "old"}])
async def test_without_a_good_key_it_stays_asleep(
    client: httpx2.AsyncClient, sleeper: ScriptedInstance, plane: PlayedPlane, headers: dict[str, str]
) -> None:
    answer = await client.post("/v1/chat/completions", content=b"{}", headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "unauthorized"
    assert not plane.questions


async def test_many_callers_make_one_wake(
    client: httpx2.AsyncClient, sleeper: ScriptedInstance, plane: PlayedPlane
) -> None:
    answers = await asyncio.gather(*(client.get("/v1/models", headers=GOOD) for _ in range(20)))
    assert {answer.text for answer in answers} == {"hello"}
    assert len(plane.questions) == 1


async def test_a_stream_comes_through_event_by_event(client: httpx2.AsyncClient, sleeper: ScriptedInstance) -> None:
    seen = asyncio.Event()

    async def stream(call: Call) -> None:
        await call.start_stream()
        await call.event(b"data: one\n\n")
        await asyncio.wait_for(seen.wait(), 10)
        await call.event(b"data: two\n\n")
        await call.end_stream()

    sleeper.script = stream
    async with client.stream("POST", "/v1/chat/completions", content=b"{}", headers=GOOD) as answer:
        blocks = answer.aiter_raw()
        assert await anext(blocks) == b"data: one\n\n"
        seen.set()
        assert await anext(blocks) == b"data: two\n\n"


async def test_a_large_body_is_passed_on_whole(client: httpx2.AsyncClient, sleeper: ScriptedInstance) -> None:
    body = bytes(range(256)) * 20_000
    await client.post("/v1/chat/completions", content=body, headers=GOOD)
    assert sleeper.calls[0].body == body


async def test_a_caller_that_hangs_up_ends_the_call(client: httpx2.AsyncClient, sleeper: ScriptedInstance) -> None:
    left = asyncio.Event()

    async def stream(call: Call) -> None:
        await call.start_stream()
        await call.event(b"data: one\n\n")
        assert await call.reader.read(1) == b""
        left.set()

    sleeper.script = stream
    async with client.stream("POST", "/v1/chat/completions", content=b"{}", headers=GOOD) as answer:
        await anext(answer.aiter_raw())
    await asyncio.wait_for(left.wait(), 10)


async def test_an_instance_that_dies_in_mid_call_is_a_502_and_no_second_call(
    client: httpx2.AsyncClient, sleeper: ScriptedInstance
) -> None:
    async def die(call: Call) -> None:
        await sleeper.die()

    sleeper.script = die
    answer = await client.post("/v1/messages", content=b"{}", headers=GOOD)
    assert answer.status_code == 502
    assert answer.json()["type"] == "error"
    assert answer.json()["error"]["code"] == "instance_lost"
    assert len(sleeper.calls) == 1


async def test_a_wake_that_takes_too_long_is_503_with_retry_after(config: Config, plane: PlayedPlane) -> None:
    write_snapshot(config, "provisioning")
    plane.status = "provisioning"
    async with running_activator(config, deadline_s=0.3) as client:
        answer = await client.get("/v1/models", headers=GOOD)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "waking")
    assert int(answer.headers["retry-after"]) >= 1


class Stuck:
    """A control plane that leaves every tenant on its way until `free` is set, and then says that it is suspended."""

    def __init__(self, plane: PlayedPlane) -> None:
        self.free = asyncio.Event()
        self.asked = asyncio.Event()
        plane.wake, plane.status = self._wait, "suspended"

    async def _wait(self) -> None:
        self.asked.set()
        await self.free.wait()


async def test_a_tenant_holds_only_so_many_calls(config: Config, plane: PlayedPlane) -> None:
    write_snapshot(config, "asleep")
    stuck = Stuck(plane)
    async with running_activator(config.model_copy(update={"held_calls_per_tenant": 1})) as client:
        held = asyncio.create_task(client.get("/v1/models", headers=GOOD))
        await asyncio.wait_for(stuck.asked.wait(), 10)
        answer = await client.get("/v1/models", headers=GOOD)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "waking")
        assert int(answer.headers["retry-after"]) >= 1
        stuck.free.set()
        assert (await held).json()["error"]["code"] == "tenant_suspended"
        assert (await stats(client))["shed"]["tenant"] == 1


async def test_a_tenants_many_calls_do_not_displace_anothers_first(config: Config, plane: PlayedPlane) -> None:
    write_snapshot(config, "asleep")
    write_snapshot(config, "asleep", slug="bob")
    stuck = Stuck(plane)
    async with running_activator(config.model_copy(update={"held_calls": 3})) as client:
        many = [asyncio.create_task(client.get("/v1/models", headers=GOOD)) for _ in range(3)]
        while (await stats(client))["held"]["calls"] < 3:
            await asyncio.sleep(0.01)
        as_bob = GOOD | {"X-Stockyard-Tenant": "bob"}
        first = asyncio.create_task(client.get("/v1/models", headers=as_bob))
        (displaced,), _ = await asyncio.wait(many, return_when=asyncio.FIRST_COMPLETED)
        assert (displaced.result().status_code, displaced.result().json()["error"]["code"]) == (503, "waking")
        assert (await stats(client))["held"] | {"body_bytes": 0} == {"calls": 3, "tenants": 2, "body_bytes": 0}
        again = await client.get("/v1/models", headers=GOOD)
        assert again.json()["error"]["code"] == "waking"
        stuck.free.set()
        assert (await first).json()["error"]["code"] == "tenant_suspended"
        assert {(await each).status_code for each in many} == {403, 503}
        assert {why: n for why, n in (await stats(client))["shed"].items() if n} == {"displaced": 1, "all": 1}


async def test_a_call_that_would_wait_too_long_is_told_when_to_come_and_its_tenant_wakes_meanwhile(
    config: Config, client: httpx2.AsyncClient, sleeper: ScriptedInstance, plane: PlayedPlane
) -> None:
    start, go_on = plane.wake, asyncio.Event()
    plane.wake, plane.status, plane.queue = plane.nothing, "asleep", {"position": 200, "estimated_s": 80.0}
    first = asyncio.create_task(client.get("/v1/models", headers=GOOD))  # is held, and learns of the queue
    while len(plane.questions) < 2:  # the plane is asked again when its first answer was heard
        await asyncio.sleep(0.01)
    first.cancel()
    with suppress(asyncio.CancelledError):
        await first
    answer = await client.get("/v1/models", headers=GOOD)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "waking")
    assert 80 <= int(answer.headers["retry-after"]) <= 100
    asked = len(plane.questions)

    async def wake() -> None:
        await go_on.wait()
        await start()

    plane.wake, plane.status = wake, "running"
    go_on.set()
    while (await stats(client))["wakes"]["awake"] == 0:
        await asyncio.sleep(0.01)
    assert len(plane.questions) > asked
    assert (await client.get("/v1/models", headers=GOOD)).text == "hello"


async def test_a_tenant_that_is_worked_on_is_waited_for_however_long_others_took(
    config: Config, client: httpx2.AsyncClient, sleeper: ScriptedInstance, plane: PlayedPlane
) -> None:
    start, go_on = plane.wake, asyncio.Event()
    plane.wake, plane.status, plane.queue = plane.nothing, "asleep", {"position": 0, "estimated_s": 80.0}
    first = asyncio.create_task(client.get("/v1/models", headers=GOOD))
    while not plane.questions:
        await asyncio.sleep(0.01)
    second = asyncio.create_task(client.get("/v1/models", headers=GOOD))
    while (await stats(client))["held"]["calls"] < 2:
        await asyncio.sleep(0.01)

    async def wake() -> None:
        await go_on.wait()
        await start()

    plane.wake, plane.status = wake, "running"
    go_on.set()
    assert [(await each).status_code for each in (first, second)] == [200, 200]


async def test_one_wake_that_was_stuck_says_nothing_of_the_pace_and_a_rest_between_two_neither() -> None:
    loop, now = asyncio.get_running_loop(), 100.0
    pace = Pace()
    with patch.object(loop, "time", lambda: now):
        for took_s in (0.1, 0.1, 45.0, 0.1, 0.1):
            begun = now
            now += took_s
            pace.ended(begun, others_wait=True)
            now += 10.0  # nobody was on the way but one that is stuck
        assert pace.wait_s(0) == pytest.approx(0.1)
        assert pace.wait_s(4) == pytest.approx(0.5)


async def test_what_is_held_answers_as_soon_as_the_tenant_is_routed_whatever_the_plane_says(
    config: Config, client: httpx2.AsyncClient, plane: PlayedPlane
) -> None:
    write_snapshot(config, "asleep")
    stuck = Stuck(plane)
    held = [asyncio.create_task(client.get("/v1/models", headers=GOOD)) for _ in range(5)]
    await asyncio.wait_for(stuck.asked.wait(), 10)
    async with ScriptedInstance(config.own_socket("acme")):
        await FolderEdge(config).link("acme")
        assert {(await each).text for each in held} == {"hello"}
    stuck.free.set()
    await FolderEdge(config).unlink("acme")


async def test_a_socket_behind_which_nobody_listens_is_no_route(config: Config, plane: PlayedPlane) -> None:
    write_snapshot(config, "asleep")
    plane.status = "failed"
    async with ScriptedInstance(config.own_socket("acme")) as instance:
        await FolderEdge(config).link("acme")
        await instance.die()
        async with running_activator(config) as client:
            answer = await client.get("/v1/models", headers=GOOD)
    assert answer.json()["error"]["code"] == "tenant_unavailable"
    await FolderEdge(config).unlink("acme")


async def test_bodies_of_held_calls_are_read_ahead_only_so_far(config: Config, plane: PlayedPlane) -> None:
    write_snapshot(config, "asleep")
    stuck = Stuck(plane)
    async with running_activator(config.model_copy(update={"held_body_bytes": 1 << 20})) as client:
        large = bytes(2 << 20)
        held = [asyncio.create_task(client.post("/v1/a", content=large, headers=GOOD)) for _ in range(20)]
        while (await stats(client))["held"]["calls"] < 20:
            await asyncio.sleep(0.01)
        assert 0 < (await stats(client))["held"]["body_bytes"] < 8 << 20  # of 40
        stuck.free.set()
        assert {(await each).status_code for each in held} == {403}
        assert (await stats(client))["held"] == {"calls": 0, "tenants": 0, "body_bytes": 0}


async def test_figures_are_shown_to_the_operator_alone(config: Config, client: httpx2.AsyncClient) -> None:
    config.operator_key_file.write_text("sy_op_x")
    write_snapshot(config, "asleep")
    found = await stats(client)
    assert found["wake_seconds"]["count"] == found["wakes"]["awake"] == 0
    assert found["snapshot_age_s"] < 60
    for headers in ({}, GOOD):
        answer = await client.get(STATS_PATH, headers={"X-Stockyard-Tenant": ""} | headers)
        assert answer.status_code in (401, 404)


async def test_with_a_snapshot_that_cannot_be_believed_nobody_is_let_in_or_told_that_it_is_gone(
    config: Config, plane: PlayedPlane, client: httpx2.AsyncClient
) -> None:
    write_snapshot(config, "asleep")
    (config.snapshot_dir / "acme.json").write_text("{")
    answer = await client.get("/v1/models", headers=GOOD)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "waking")
    assert not plane.questions


@pytest.mark.parametrize(
    ("status", "expected", "code"),
    [("suspended", 403, "tenant_suspended"), ("failed", 503, "tenant_unavailable"), ("deleted", 404, "no_such_tenant")],
)
async def test_who_cannot_be_woken_says_why(
    config: Config, client: httpx2.AsyncClient, status: str, expected: int, code: str
) -> None:
    write_snapshot(config, status, reason="unpaid", failure="backup_unreadable")
    answer = await client.get("/v1/models", headers=GOOD)
    assert (answer.status_code, answer.json()["error"]["code"]) == (expected, code)
    assert ("retry-after" in answer.headers) == (status == "failed")
    if status == "suspended":
        assert "unpaid" in answer.json()["error"]["message"]


async def test_an_unknown_tenant_is_404_with_and_without_a_key(config: Config, client: httpx2.AsyncClient) -> None:
    (config.snapshot_dir / "acme.json").unlink(missing_ok=True)
    write_snapshot(config, "asleep", slug="other")
    for headers in ({}, GOOD):
        answer = await client.get("/v1/models", headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_such_tenant")


@pytest.mark.parametrize(
    ("status", "expected", "word"),
    [
        ("asleep", 200, "asleep"),
        ("napping", 200, "asleep"),
        ("provisioning", 200, "provisioning"),
        ("suspended", 200, "suspended"),
        ("failed", 503, "failed"),
    ],
)
async def test_health_is_answered_without_waking(
    config: Config, plane: PlayedPlane, client: httpx2.AsyncClient, status: str, expected: int, word: str
) -> None:
    write_snapshot(config, status)
    answer = await client.get("/health")
    assert (answer.status_code, answer.json()) == (expected, {"status": word})
    assert not plane.questions


async def test_a_browser_at_the_console_is_told_that_it_sleeps(config: Config, client: httpx2.AsyncClient) -> None:
    write_snapshot(config, "asleep")
    answer = await client.get("/ui/", headers={"Accept": "text/html"})
    assert answer.status_code == 401
    assert "asleep" in answer.text


async def test_a_changed_snapshot_counts_from_the_next_call_on(config: Config, client: httpx2.AsyncClient) -> None:
    write_snapshot(config, "suspended", reason="unpaid")
    assert (await client.get("/v1/models", headers=GOOD)).status_code == 403
    write_snapshot(config, "suspended", keys=[])
    assert (await client.get("/v1/models", headers=GOOD)).status_code == 401


async def test_with_the_control_plane_down_a_nap_is_ended_from_here(config: Config) -> None:
    write_snapshot(config, "napping")
    async with ScriptedInstance(config.own_socket("acme")):

        async def resume(slug: str) -> bool:
            await FolderEdge(config).link(slug)
            return True

        async with running_activator(config, resume_nap=resume) as client:
            assert (await client.get("/v1/models", headers=GOOD)).text == "hello"
    await FolderEdge(config).unlink("acme")


async def test_with_the_control_plane_down_who_sleeps_must_wait(config: Config) -> None:
    write_snapshot(config, "asleep")
    async with running_activator(config) as client:
        answer = await client.get("/v1/models", headers=GOOD)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "waking")
    assert int(answer.headers["retry-after"]) >= 1
