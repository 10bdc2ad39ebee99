"""Keys over HTTP: made, narrowed, rotated, revoked; never giving more than the maker holds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.opened import Opened, opened

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def one() -> AsyncIterator[Opened]:
    async with opened() as instance:
        yield instance


async def made(one: Opened, by: str | None = None, **wanted: Any) -> dict[str, Any]:
    async with one.client(by) as client:
        answer = await client.post("/api/auth/me/keys", json=wanted)
    assert answer.status_code == 201, answer.text
    key: dict[str, Any] = answer.json()
    return key


async def works(one: Opened, key: str) -> str:
    async with one.client(key) as client:
        answer = await client.get("/api/auth/me")
    return "yes" if answer.status_code == 200 else str(answer.json()["error"]["code"])


async def test_a_new_key_works_at_once_and_is_shown_only_then(one: Opened) -> None:
    key = await made(one, name="fresh", kind="app", scopes=["observe:read"], limits={"rpm": 60, "models": ["gpt-*"]})
    assert key["key"].startswith("sy_")
    assert await works(one, key["key"]) == "yes"
    async with one.client() as client:
        shown = (await client.get(f"/api/keys/{key['id']}")).json()
        every = (await client.get("/api/keys")).text
    assert "key" not in shown
    assert (shown["scopes"], shown["limits"]["rpm"], shown["limits"]["models"]) == (["observe:read"], 60, ["gpt-*"])
    assert key["key"] not in every


async def test_me_names_the_key_and_its_scopes(one: Opened) -> None:
    key = await made(one, name="who", kind="app", scopes=["observe:read", "self"])
    async with one.client(key["key"]) as client:
        me = (await client.get("/api/auth/me")).json()
    assert (me["key"]["id"], me["scopes"], me["user"]) == (key["id"], ["observe:read", "self"], None)


async def test_a_revoked_key_stops_at_once(one: Opened) -> None:
    key = await made(one, name="short", kind="app")
    async with one.client() as client:
        assert (await client.delete(f"/api/keys/{key['id']}")).json()["status"] == "revoked"
        again = await client.delete(f"/api/keys/{key['id']}")
        assert (await client.delete(f"/api/keys/{10**30}")).status_code == 404
    assert await works(one, key["key"]) == "key_revoked"
    assert again.status_code == 404


async def test_a_rotation_with_overlap_lets_both_work(one: Opened) -> None:
    key = await made(one, name="turning", kind="app", limits={"rpm": 50})
    async with one.client() as client:
        answer = (await client.post(f"/api/auth/me/keys/{key['id']}/rotate", json={"overlap_s": 600})).json()
    assert (answer["status"], answer["old_key"], answer["new_key"]["name"]) == ("rotated", key["id"], "turning")
    assert answer["new_key"]["limits"]["rpm"] == 50
    assert [await works(one, key["key"]), await works(one, answer["new_key"]["key"])] == ["yes", "yes"]
    async with one.client() as client:
        assert (await client.get(f"/api/keys/{key['id']}")).json()["rotated_to"] == answer["new_key"]["id"]


async def test_a_rotation_without_overlap_ends_the_old_key(one: Opened) -> None:
    key = await made(one, name="turned", kind="app")
    async with one.client() as client:
        answer = (await client.post(f"/api/auth/me/keys/{key['id']}/rotate")).json()
    assert [await works(one, key["key"]), await works(one, answer["new_key"]["key"])] == ["key_revoked", "yes"]


async def test_a_key_cannot_give_a_scope_that_it_lacks(one: Opened) -> None:
    limited = await made(one, name="limited", kind="app", scopes=["observe:read", "teams:write"])
    async with one.client(limited["key"]) as client:
        for wanted in ({"kind": "admin"}, {"kind": "app", "scopes": ["trust:read"]}, {"kind": "proxy"}):
            answer = await client.post("/api/auth/me/keys", json={"name": "more", **wanted})
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "scope_missing")
        fine = await client.post("/api/auth/me/keys", json={"name": "same", "kind": "app", "scopes": ["observe:read"]})
    assert fine.status_code == 201


async def test_a_narrowed_key_gives_no_wider_one(one: Opened) -> None:
    narrow = await made(
        one,
        name="narrow",
        kind="app",
        scopes=["observe:read"],
        limits={"models": ["gpt-*"], "ip_allow": ["10.0.0.0/8"]},
        expires_at="2200-01-01",
    )
    principal = next(known for known in one.core.keys.principals() if known.key_id == narrow["id"])
    principal.ip_allow = ()
    wider = {"name": "wider", "kind": "app", "scopes": ["observe:read"], "limits": {"models": ["*"]}}
    async with one.client(narrow["key"]) as client:
        refused = await client.post("/api/auth/me/keys", json=wider)
        child = (await client.post("/api/auth/me/keys", json={**wider, "name": "child", "limits": {}})).json()
    assert (refused.status_code, refused.json()["error"]["param"]) == (403, "limits.models")
    assert (child["limits"]["models"], child["expires_at"]) == (["gpt-*"], "2200-01-01T00:00:00.000000Z")


@pytest.mark.parametrize(
    ("wanted", "status", "code"),
    [
        ({"name": "x", "scopes": ["observe:reed"]}, 422, "invalid_value"),
        ({"name": "x", "kind": "app", "scopes": ["admin"]}, 422, "invalid_value"),
        ({"name": "x", "kind": "root"}, 422, "invalid_value"),
        ({"name": "x", "limits": {"rmp": 5}}, 422, "unknown_field"),
        ({"name": "x", "limits": {"ip_allow": ["here"]}}, 422, "invalid_value"),
        ({"name": "x", "expires_at": "soon"}, 422, "invalid_value"),
        ({"name": "first proxy key"}, 409, "already_exists"),
    ],
)
async def test_an_impossible_key_is_refused(one: Opened, wanted: dict[str, Any], status: int, code: str) -> None:
    async with one.client() as client:
        answer = await client.post("/api/auth/me/keys", json=wanted)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


async def test_the_last_admin_key_cannot_be_revoked(one: Opened) -> None:
    async with one.client() as client:
        admins = (await client.get("/api/keys?kind=admin")).json()["keys"]
        own = (await client.get("/api/auth/me")).json()["key"]["id"]
        answer = await client.delete(f"/api/keys/{own}")
    assert len(admins) == 1
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "last_admin_key")
    assert await works(one, one.admin_key) == "yes"


async def test_a_proxy_key_manages_nothing_but_itself(one: Opened) -> None:
    async with one.client() as admin:
        others = (await admin.get("/api/keys?kind=admin")).json()["keys"]
    async with one.client(one.proxy_key) as client:
        assert (await client.get("/api/keys")).status_code == 403
        assert (await client.get("/api/config")).status_code == 403
        assert [key["kind"] for key in (await client.get("/api/auth/me/keys")).json()["keys"]] == ["proxy"]
        assert (await client.delete(f"/api/auth/me/keys/{others[0]['id']}")).status_code == 404


async def test_a_user_gets_keys_of_their_own(one: Opened) -> None:
    async with one.client() as client:
        user = (await client.post("/api/auth/users", json={"email": "Ann@example.org", "name": "Ann"})).json()
        again = await client.post("/api/auth/users", json={"email": "ann@example.org"})
        path = f"/api/auth/users/{user['id']}/keys"
        second = (await client.post(path, json={"name": "second"})).json()
        keys = (await client.get(path)).json()["keys"]
        assert (await client.delete(f"{path}/{second['id']}")).status_code == 200
        assert (await client.get("/api/auth/users/999")).status_code == 404
        listed = (await client.get("/api/auth/users")).json()["users"]
    async with one.client(user["api_key"]["key"]) as ann:
        me = (await ann.get("/api/auth/me")).json()
    assert (again.status_code, again.json()["error"]["code"]) == (409, "already_exists")
    assert [key["name"] for key in keys] == ["default", "second"]
    assert (me["user"]["email"], listed[0]["keys_count"]) == ("ann@example.org", 1)


async def test_every_change_of_keys_is_in_the_ledger_without_a_secret(one: Opened) -> None:
    key = await made(one, name="noted", kind="app")
    async with one.client() as client:
        await client.delete(f"/api/keys/{key['id']}")
        events = (await client.get("/api/trust/ledger?event_type=key_event&limit=2")).json()["events"]
        whole = (await client.get("/api/trust/export")).text
    assert [event["action"] for event in events] == ["revoke", "create"]
    assert events[0]["actor"].startswith("key:")
    assert key["key"] not in whole
    assert one.admin_key not in whole


async def test_verify_says_whether_a_key_works(one: Opened) -> None:
    key = await made(one, name="checked", kind="app")
    async with one.client() as client:
        active = (await client.post("/api/keys/verify", json={"key": key["key"]})).json()
        unknown = (await client.post("/api/keys/verify", json={"key": "sy_nothing"})).json()
    assert (active["active"], active["key"]["id"]) == (True, key["id"])
    assert (unknown["active"], unknown["key"]) == (False, None)


async def test_a_post_with_an_idempotency_key_happens_once(one: Opened) -> None:
    headers = {"idempotency-key": "deploy-1"}
    async with one.client() as client:
        first = await client.post("/api/trust/ledger", json={"action": "deploy"}, headers=headers)
        again = await client.post("/api/trust/ledger", json={"action": "deploy"}, headers=headers)
        other = await client.post("/api/trust/ledger", json={"action": "else"}, headers=headers)
    assert (again.status_code, again.json()) == (201, first.json())
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_conflict")


async def test_the_repeat_of_a_post_that_made_a_secret_does_not_show_it(one: Opened) -> None:
    headers = {"idempotency-key": "key-1"}
    async with one.client() as client:
        first = (await client.post("/api/auth/me/keys", json={"name": "once"}, headers=headers)).json()
        again = await client.post("/api/auth/me/keys", json={"name": "once"}, headers=headers)
    assert (again.status_code, again.json()["error"]["code"]) == (409, "already_created")
    assert again.json()["error"]["details"] == {"id": first["id"]}
    stored = await one.core.database.read(
        lambda connection: connection.execute("SELECT answer FROM idempotent_answers").fetchall()
    )
    assert not any(first["key"].encode() in answer for (answer,) in stored)


async def test_a_repeat_needs_a_key_that_still_works(one: Opened) -> None:
    key = await made(one, name="writer", kind="app", scopes=["trust:write"])
    headers = {"idempotency-key": "w-1"}
    async with one.client(key["key"]) as client:
        assert (await client.post("/api/trust/ledger", json={"action": "a"}, headers=headers)).status_code == 201
        async with one.client() as admin:
            await admin.delete(f"/api/keys/{key['id']}")
        assert (await client.post("/api/trust/ledger", json={"action": "a"}, headers=headers)).status_code == 401
