"""What destroys or stops something can be tried first: it says what would be, and nothing is changed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.control_plane.conftest import Api, error_code


async def made(api: Api) -> str:
    """A tenant with two epochs, both confirmed; its owner's key."""
    owner: str = (await api.sign_up("acme"))["account_key"]
    store = api.plane.store
    first = await store.new_epoch("acme", None)
    await store.confirm("acme", first.n, 7)
    second = await store.new_epoch("acme", first.n)
    await store.confirm("acme", second.n, 9)
    return owner


async def state(api: Api) -> tuple[Any, ...]:
    tenant = (await api("GET", "/api/tenants/acme")).json()
    events = (await api("GET", "/api/tenants/acme/events")).json()["total"]
    ledger = (await api("GET", "/api/ledger")).json()["total"]
    return tenant["generation"], tenant["desired"], tenant["restore"], events, ledger


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/tenants/acme/restore?dry_run=true", {}),
        ("POST", "/api/tenants/acme/restore?dry_run=true", {"into": "copy"}),
        ("POST", "/api/tenants/acme/suspend?dry_run=true", {"reason": "unpaid"}),
        ("DELETE", "/api/tenants/acme?dry_run=true", None),
    ],
)
async def test_a_dry_run_changes_nothing(api: Api, method: str, path: str, body: Any) -> None:
    await made(api)
    before = await state(api)
    answer = await api(method, path, body)
    assert answer.status_code == 202 and answer.json()["dry_run"] is True
    assert await state(api) == before
    assert (await api("GET", "/api/tenants")).json()["total"] == 1


async def test_a_restore_that_is_tried_names_the_epochs_it_would_read_and_what_it_would_set_aside(api: Api) -> None:
    owner = await made(api)
    answer = (await api("POST", "/api/tenants/acme/restore?dry_run=true", {}, key=owner)).json()
    assert [each["n"] for each in answer["would_restore"]["epochs"]] == [2, 1]
    assert answer["would_set_aside"]["epoch"] == 2
    only = (await api("POST", "/api/tenants/acme/restore?dry_run=true", {"epoch": 1})).json()
    assert [each["n"] for each in only["would_restore"]["epochs"]] == [1]
    clone = (await api("POST", "/api/tenants/acme/restore?dry_run=true", {"into": "copy"})).json()
    assert (clone["would_restore"]["into"], clone["would_set_aside"]) == ("copy", None)


async def test_a_restore_that_cannot_be_is_refused_when_it_is_tried(api: Api) -> None:
    await made(api)
    answer = await api("POST", "/api/tenants/acme/restore?dry_run=true", {"epoch": 9})
    assert error_code(answer) == "invalid_value"
    taken = await api("POST", "/api/tenants/acme/restore?dry_run=true", {"into": "www"})
    assert error_code(taken) == "bad_slug"


async def test_a_suspension_that_is_tried_says_whom_it_would_stop(api: Api) -> None:
    owner = await made(api)
    told = (await api("POST", "/api/tenants/acme/suspend?dry_run=true", {"reason": "unpaid"})).json()["would_suspend"]
    assert told["keys_refused"] == 2
    assert told["callers_are_told"] == "403 tenant_suspended: unpaid"
    refused = await api("POST", "/api/tenants/acme/suspend?dry_run=true", {}, key=owner)
    assert error_code(refused) == "forbidden"
