"""The control plane's door of a hosted instance."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from instance.core.money import usd_to_nano
from instance.core.timestamps import parse_time
from instance.server import Instance, ServeOptions
from tests.mock_upstream import until
from tests.opened import INSTANCE_KEY, Opened, instance_file, opened

KEY = "sk-sy-" + "a" * 43
OTHER_KEY = "sk-sy-" + "b" * 43
CALL = {"model": "mock/gpt", "messages": [{"role": "user", "content": "hi"}]}


def pushed_key(text: str, key_id: int, **more: Any) -> dict[str, Any]:
    return {
        "id": key_id,
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "prefix": text[:12],
        "name": f"key {key_id}",
        "kind": "proxy",
        "scopes": [],
        "limits": {"models": [], "ip_allow": [], "rpm": None, "budget_usd_month": None},
        "expires_at": None,
        "user": None,
        "team": None,
        **more,
    }


def state(number: int, *keys: dict[str, Any], incarnation: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "generation": {"incarnation": incarnation, "number": number},
        "keys": list(keys),
        "quotas": {"rpm": None, "requests_month": None, "max_database_bytes": 10**9},
        "plan": "free",
        "settings": {},
        "provider_secrets": [],
        **more,
    }


@pytest.fixture
async def one() -> AsyncIterator[Opened]:
    async with opened(hosted=True) as instance:
        yield instance


async def ask(one: Opened, method: str, what: str, body: Any = None, key: str = INSTANCE_KEY) -> httpx2.Response:
    async with one.client(key) as client:
        return await client.request(method, f"/api/instance/{what}", json=body)


async def calls(one: Opened, key: str) -> int:
    async with one.client(key) as client:
        return (await client.post("/v1/chat/completions", json=CALL)).status_code


async def test_no_key_is_made_at_the_first_boot_and_none_works_before_a_push(one: Opened) -> None:
    assert one.core.first_keys is None
    assert await calls(one, KEY) == 401
    seen = (await ask(one, "GET", "state")).json()
    assert (seen["generation"], seen["keys_count"], seen["epoch"]) == (None, 0, 1)


async def test_pushed_keys_work_at_once_and_a_key_that_is_left_out_is_dead_at_once(one: Opened) -> None:
    answer = await ask(one, "PUT", "state", state(1, pushed_key(KEY, 1), pushed_key(OTHER_KEY, 2)))
    assert (answer.status_code, answer.json()["generation"]) == (200, {"incarnation": 1, "number": 1})
    assert [await calls(one, KEY), await calls(one, OTHER_KEY)] == [200, 200]
    await ask(one, "PUT", "state", state(2, pushed_key(KEY, 1)))
    assert [await calls(one, KEY), await calls(one, OTHER_KEY)] == [200, 401]


async def test_limits_of_a_pushed_key_hold(one: Opened) -> None:
    limits = {"models": ["gpt-*"], "ip_allow": ["10.0.0.0/8"], "rpm": 5, "budget_usd_month": 1.5}
    await ask(one, "PUT", "state", state(1, pushed_key(KEY, 1, limits=limits, expires_at="2200-01-01T00:00:00Z")))
    (principal,) = one.core.keys.principals()
    assert (principal.models, principal.ip_allow, principal.rpm) == (("gpt-*",), ("10.0.0.0/8",), 5)
    assert (principal.budget_month_nano, principal.origin) == (usd_to_nano(1.5), "control_plane")
    assert principal.expires_at_ns > 0


async def test_an_expired_pushed_key_is_refused(one: Opened) -> None:
    await ask(one, "PUT", "state", state(1, pushed_key(KEY, 1, expires_at="2020-01-01T00:00:00Z")))
    async with one.client(KEY) as client:
        answer = await client.post("/v1/chat/completions", json=CALL)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "key_expired")


@pytest.mark.parametrize(("incarnation", "number"), [(1, 4), (0, 99)])
async def test_an_older_generation_is_refused_and_changes_nothing(one: Opened, incarnation: int, number: int) -> None:
    await ask(one, "PUT", "state", state(5, pushed_key(KEY, 1)))
    answer = await ask(one, "PUT", "state", state(number, pushed_key(OTHER_KEY, 2), incarnation=incarnation))
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "stale_generation")
    assert [await calls(one, KEY), await calls(one, OTHER_KEY)] == [200, 401]


async def test_a_newer_incarnation_wins_whatever_its_number(one: Opened) -> None:
    await ask(one, "PUT", "state", state(50, pushed_key(KEY, 1)))
    answer = await ask(one, "PUT", "state", state(1, pushed_key(OTHER_KEY, 2), incarnation=2))
    assert answer.status_code == 200
    assert [await calls(one, KEY), await calls(one, OTHER_KEY)] == [401, 200]


async def test_the_same_state_again_is_no_change(one: Opened) -> None:
    await ask(one, "PUT", "state", state(1, pushed_key(KEY, 1)))
    before = (await ask(one, "GET", "state")).json()
    assert (await ask(one, "PUT", "state", state(1, pushed_key(KEY, 1)))).status_code == 200
    assert (await ask(one, "GET", "state")).json() == before


@pytest.mark.parametrize(
    "bad",
    [
        {"keys": []},
        state(1, pushed_key(KEY, 1), {"id": 2}),
        state(1, pushed_key(KEY, 1), pushed_key(OTHER_KEY, 2, sha256="xyz")),
        state(1, pushed_key(KEY, 1), pushed_key(OTHER_KEY, 2, kind="instance")),
        state(1, pushed_key(KEY, 1), pushed_key(OTHER_KEY, 2, scopes=["instance"])),
        state(1, pushed_key(KEY, 1), pushed_key(OTHER_KEY, 2, expires_at="soon")),
        state(1, pushed_key(KEY, 1), generation=3),
    ],
)
async def test_a_state_that_cannot_be_is_refused_whole(one: Opened, bad: dict[str, Any]) -> None:
    answer = await ask(one, "PUT", "state", bad)
    assert answer.status_code == 422
    assert await calls(one, KEY) == 401
    assert (await ask(one, "GET", "state")).json()["generation"] is None


async def test_parts_that_are_not_acted_on_are_named_and_do_not_keep_keys_from_holding(one: Opened) -> None:
    answer = await ask(one, "PUT", "state", state(1, pushed_key(KEY, 1, colour="red"), future={"a": 1}))
    assert (answer.status_code, answer.json()["rejected"]) == (200, ["future"])
    assert await calls(one, KEY) == 200


async def test_pushed_settings_are_used_and_those_left_out_are_reset(one: Opened) -> None:
    await ask(one, "PUT", "state", state(1, settings={"metrics_public": True, "limits": {"messages": 5}}))
    assert (one.core.settings.metrics_public, one.core.settings.limits.messages) == (True, 5)
    await ask(one, "PUT", "state", state(2, settings={"limits": {"messages": 6}}))
    assert (one.core.settings.metrics_public, one.core.settings.limits.messages) == (False, 6)


async def test_settings_that_are_refused_do_not_keep_a_revocation_from_holding(one: Opened) -> None:
    await ask(one, "PUT", "state", state(1, pushed_key(KEY, 1)))
    answer = await ask(one, "PUT", "state", state(2, settings={"colour": "red"}))
    assert (answer.status_code, answer.json()["rejected"]) == (200, ["settings"])
    assert await calls(one, KEY) == 401


async def test_a_restarted_instance_knows_the_state_before_the_next_push(tmp_path: Path) -> None:
    env = {"STOCKYARD_INSTANCE_FILE": str(instance_file(tmp_path))}
    data = tmp_path / "data"
    first = await Instance.open(ServeOptions(data, env=env))
    await ask(Opened(first), "PUT", "state", state(7, pushed_key(KEY, 1)))
    seen = (await ask(Opened(first), "GET", "state")).json()
    await first.close()
    second = await Instance.open(ServeOptions(data, env=env))
    try:
        one = Opened(second)
        assert (await ask(one, "GET", "state")).json() == seen
        assert [await calls(one, KEY), await calls(one, OTHER_KEY)] == [200, 401]
        assert (await ask(one, "PUT", "state", state(6))).status_code == 409
    finally:
        await second.close()


@pytest.mark.parametrize(("key", "status"), [("", 401), ("sy_inst_" + "x" * 43, 401), (KEY, 403), ("nonsense", 401)])
@pytest.mark.parametrize("what", ["state", "usage", "activity", "nothing"])
async def test_only_the_instances_own_key_opens_the_door(one: Opened, key: str, status: int, what: str) -> None:
    await ask(one, "PUT", "state", state(1, pushed_key(KEY, 1, kind="admin")))
    assert (await ask(one, "GET", what, key=key)).status_code == status


async def test_the_instance_key_opens_no_other_door(one: Opened) -> None:
    async with one.client(INSTANCE_KEY) as client:
        for path in ("/api/config", "/api/trust/ledger", "/api/keys", "/api/auth/me"):
            assert (await client.get(path)).status_code == 403, path
        assert (await client.post("/v1/chat/completions", json=CALL)).status_code == 403


async def test_keys_of_a_hosted_instance_are_made_at_its_control_plane(one: Opened) -> None:
    admin = "sy_admin_" + "c" * 43
    await ask(one, "PUT", "state", state(1, pushed_key(admin, 3, kind="admin")))
    async with one.client(admin) as client:
        refused = [
            await client.post("/api/auth/me/keys", json={"name": "x"}),
            await client.delete("/api/keys/3"),
            await client.post("/api/auth/users", json={"email": "a@b"}),
            await client.post("/api/auth/me/keys/3/rotate"),
        ]
        listed = (await client.get("/api/keys")).json()["keys"]
    assert [(answer.status_code, answer.json()["error"]["code"]) for answer in refused] == [
        (409, "managed_by_control_plane")
    ] * 4
    assert [(key["id"], key["origin"]) for key in listed] == [(3, "control_plane")]


async def test_usage_adds_up_by_key_and_never_falls(one: Opened) -> None:
    await ask(one, "PUT", "state", state(1, pushed_key(KEY, 1), pushed_key(OTHER_KEY, 2)))
    assert [await calls(one, KEY), await calls(one, KEY), await calls(one, OTHER_KEY)] == [200, 200, 200]
    first = (await ask(one, "GET", "usage")).json()
    await calls(one, KEY)
    second = (await ask(one, "GET", "usage")).json()
    assert (first["requests"], second["requests"], second["by_key"]["1"]["requests"]) == (3, 4, 3)
    assert (first["epoch"], first["by_key"]["2"]["tokens_in"] > 0) == (1, True)
    for counter in ("seq", "requests", "errors", "tokens_in", "tokens_out", "cost_usd", "bytes_out", "ledger_seq"):
        assert second[counter] >= first[counter], counter


async def test_activity_counts_calls_and_not_the_control_planes_questions(one: Opened) -> None:
    await ask(one, "PUT", "state", state(1, pushed_key(KEY, 1)))
    before = (await ask(one, "GET", "activity")).json()
    assert (before["last_request_at"], before["in_flight"]) == (None, 0)
    await calls(one, KEY)
    after = (await ask(one, "GET", "activity")).json()
    assert after["last_request_at"] is not None
    async with one.client(KEY) as client:
        slow = asyncio.create_task(
            client.post("/v1/chat/completions", json={**CALL, "mock": {"delay_ms": 2000}}, timeout=30)
        )
        await until(lambda: one.instance.in_flight > 0)
        busy = (await ask(one, "GET", "activity")).json()
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)
    assert busy["idle_s"] == 0


async def test_activity_tells_what_is_due_first_of_all_that_is_scheduled(one: Opened) -> None:
    async def scheduled() -> str | None:
        at: str | None = (await ask(one, "GET", "activity")).json()["scheduled_next_at"]
        return at

    schedule = one.instance.core.schedule
    assert await scheduled() is None
    schedule.set("report", parse_time("2030-01-02T00:00:00Z"))
    schedule.set("cleaning", parse_time("2030-01-01T00:00:00Z"))
    assert parse_time(await scheduled() or "") == parse_time("2030-01-01")
    schedule.set("cleaning", None)
    assert parse_time(await scheduled() or "") == parse_time("2030-01-02")


async def test_what_an_open_page_of_the_console_asks_for_is_no_activity(one: Opened) -> None:
    await ask(one, "PUT", "state", state(1, pushed_key(KEY, 1)))
    async with one.client("") as client:
        for path in ("/ui", "/ui/app.js", "/ui/events"):
            await client.get(path)
        assert (await ask(one, "GET", "activity")).json()["last_request_at"] is None
        await client.get("/api/status")
        assert (await ask(one, "GET", "activity")).json()["last_request_at"] is not None


async def test_a_drained_instance_is_not_ready_and_folded_and_still_answers_the_plane(one: Opened) -> None:
    await ask(one, "PUT", "state", state(1, pushed_key(KEY, 1)))
    await calls(one, KEY)
    drained = (await ask(one, "POST", "drain", {"deadline_s": 2})).json()
    assert (drained["drained"], drained["in_flight"], drained["journal_bytes"]) == (True, 0, 0)
    assert drained["ledger"]["seq"] >= 2
    async with one.client("") as client:
        ready = await client.get("/ready")
    assert (ready.status_code, ready.json()["draining"], ready.headers["connection"]) == (503, True, "close")
    assert (await ask(one, "GET", "state")).status_code == 200
    assert (await ask(one, "POST", "resume")).json() == {"resumed": True}
    async with one.client("") as client:
        assert (await client.get("/ready")).status_code == 200


async def test_a_call_that_comes_while_draining_is_answered_and_its_connection_closed(one: Opened) -> None:
    await ask(one, "PUT", "state", state(1, pushed_key(KEY, 1)))
    await ask(one, "POST", "drain", {"deadline_s": 1})
    async with one.client(KEY) as client:
        answer = await client.post("/v1/chat/completions", json=CALL)
    assert (answer.status_code, answer.headers["connection"]) == (200, "close")


async def test_past_the_deadline_new_calls_are_refused_and_the_running_ones_go_on(one: Opened) -> None:
    await ask(one, "PUT", "state", state(1, pushed_key(KEY, 1)))
    async with one.client(KEY) as client:
        running = asyncio.create_task(
            client.post("/v1/chat/completions", json={**CALL, "mock": {"delay_ms": 800}}, timeout=30)
        )
        await until(lambda: one.instance.in_flight > 0)
        drained = (await ask(one, "POST", "drain", {"deadline_s": 0.05})).json()
        refused = await client.post("/v1/chat/completions", json=CALL)
        finished = await running
    assert (drained["drained"], drained["in_flight"]) == (False, 1)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
    assert finished.status_code == 200
    await ask(one, "POST", "resume")
    assert await calls(one, KEY) == 200


@pytest.mark.parametrize(
    ("body", "code"),
    [({"deadline": 1}, "unknown_field"), ({"deadline_s": "1"}, "invalid_value"), ({"deadline_s": -1}, "invalid_value")],
)
async def test_a_bad_drain_is_refused(one: Opened, body: dict[str, Any], code: str) -> None:
    answer = await ask(one, "POST", "drain", body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, code)
    assert one.instance.draining is False


async def test_verify_checks_database_and_ledger(one: Opened) -> None:
    await ask(one, "PUT", "state", state(1, pushed_key(KEY, 1)))
    await calls(one, KEY)
    good = (await ask(one, "POST", "verify")).json()
    assert (good["ok"], good["integrity"], good["ledger"]["valid"], good["rows"]["traces"]) == (True, "ok", True, 1)
    await one.core.writer.write(lambda connection: connection.execute("UPDATE ledger SET actor = 'x' WHERE seq = 1"))
    bad = (await ask(one, "POST", "verify")).json()
    assert (bad["ok"], bad["ledger"]["valid"]) == (False, False)


async def test_what_was_pushed_is_in_the_ledger_without_digests(one: Opened) -> None:
    pushed = pushed_key(KEY, 1)
    await ask(one, "PUT", "state", state(1, pushed))
    rows = await one.core.database.read(
        lambda connection: connection.execute("SELECT actor, action, detail FROM ledger").fetchall()
    )
    assert [(actor, action) for actor, action, _ in rows] == [("control_plane", "apply")]
    assert pushed["sha256"] not in rows[0][2]


async def test_a_self_hosted_instance_has_no_such_door() -> None:
    async with opened() as one:
        assert (await ask(one, "GET", "state", key=one.admin_key)).status_code == 404
        assert (await ask(one, "PUT", "state", state(1))).status_code == 404


def quota(number: int, **quotas: int | None) -> dict[str, Any]:
    return state(number, pushed_key(KEY, 1), quotas={"rpm": None, "requests_month": None, **quotas})


async def test_the_plans_calls_of_a_month_end_with_402_until_a_larger_plan_is_pushed(one: Opened) -> None:
    await ask(one, "PUT", "state", quota(1, requests_month=2))
    assert [await calls(one, KEY) for _ in range(3)] == [200, 200, 402]
    async with one.client(KEY) as client:
        refused = await client.post("/v1/chat/completions", json=CALL)
    error = refused.json()["error"]
    assert (error["code"], error["details"]["limit"], error["details"]["used"]) == ("quota_exceeded", 2, 2)
    assert refused.headers["x-should-retry"] == "false"
    await ask(one, "PUT", "state", quota(2, requests_month=3))
    assert [await calls(one, KEY) for _ in range(2)] == [200, 402]


async def test_within_its_grace_a_plan_that_is_used_up_goes_on_and_says_so(one: Opened) -> None:
    await ask(one, "PUT", "state", quota(1, requests_month=2, quota_grace_percent=50))
    async with one.client(KEY) as client:
        answers = [await client.post("/v1/chat/completions", json=CALL) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 402]
    assert ["used up" in answer.headers.get("x-stockyard-warnings", "") for answer in answers[:3]] == [
        False,
        False,
        True,
    ]
    said = (await ask(one, "GET", "usage")).json()["quota"]
    assert (said["calls"], said["limit"], said["served_most"]) == (3, 2, 3)
    query = "SELECT detail FROM traces ORDER BY n"
    trails = await one.core.database.read(lambda connection: connection.execute(query).fetchall())
    assert ["quota_passed" in row[0] for row in trails] == [False, False, True, False]


async def test_a_refused_call_costs_nothing_of_the_quota(one: Opened) -> None:
    await ask(one, "PUT", "state", quota(1, requests_month=1))
    async with one.client(KEY) as client:
        bad = await client.post("/v1/chat/completions", json={"model": "nobody/none", "messages": CALL["messages"]})
    assert bad.status_code in (404, 503)
    assert [await calls(one, KEY), await calls(one, KEY)] == [200, 402]


async def test_the_plans_requests_a_minute_end_with_429_and_when_to_come_again(one: Opened) -> None:
    await ask(one, "PUT", "state", quota(1, rpm=2))
    async with one.client(KEY) as client:
        answers = [await client.post("/v1/chat/completions", json=CALL) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert 1 <= int(answers[2].headers["retry-after"]) <= 30


async def test_what_was_used_of_the_quota_survives_a_restart_without_the_control_plane(tmp_path: Path) -> None:
    options = ServeOptions(tmp_path / "data", env={"STOCKYARD_INSTANCE_FILE": str(instance_file(tmp_path))})
    first = await Instance.open(options)
    try:
        await ask(Opened(first), "PUT", "state", quota(1, requests_month=3))
        assert [await calls(Opened(first), KEY) for _ in range(2)] == [200, 200]
    finally:
        await first.close()
    second = await Instance.open(options)
    try:
        assert [await calls(Opened(second), KEY) for _ in range(2)] == [200, 402]
    finally:
        await second.close()
