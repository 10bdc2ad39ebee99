"""Two accounts cannot see that the other exists, and every door asks for the right key."""

from __future__ import annotations

import pytest

from control_plane.config import Config
from tests.control_plane.conftest import OPERATOR_KEY, Api, error_code

PATHS = [
    ("GET", "/api/tenants/{slug}", None),
    ("PUT", "/api/tenants/{slug}", {"settings": {}}),
    ("DELETE", "/api/tenants/{slug}", None),
    ("DELETE", "/api/tenants/{slug}?dry_run=true", None),
    ("POST", "/api/tenants/{slug}/sleep", None),
    ("POST", "/api/tenants/{slug}/wake", None),
    ("POST", "/api/tenants/{slug}/resume", None),
    ("POST", "/api/tenants/{slug}/restart", None),
    ("GET", "/api/tenants/{slug}/events", None),
    ("GET", "/api/tenants/{slug}/logs", None),
    ("GET", "/api/tenants/{slug}/keys", None),
    ("POST", "/api/tenants/{slug}/keys", {"name": "k"}),
    ("GET", "/api/tenants/{slug}/keys/1", None),
    ("PUT", "/api/tenants/{slug}/keys/1", {"name": "k"}),
    ("DELETE", "/api/tenants/{slug}/keys/1", None),
    ("POST", "/api/tenants/{slug}/keys/1/rotate", None),
    ("GET", "/api/tenants/{slug}/backups", None),
    ("POST", "/api/tenants/{slug}/backups/verify", None),
    ("POST", "/api/tenants/{slug}/restore", {}),
    ("GET", "/api/tenants/{slug}/usage", None),
]
OPERATOR_ONLY = [
    ("GET", "/api/status"),
    ("GET", "/api/nodes"),
    ("GET", "/api/reconciler"),
    ("POST", "/api/reconciler/pause"),
    ("GET", "/api/ledger"),
    ("GET", "/api/ledger/verify"),
    ("GET", "/api/doctor"),
    ("GET", "/metrics"),
    ("POST", "/internal/tenants/acme/wake"),
]


async def test_another_accounts_tenant_answers_exactly_like_one_that_does_not_exist(api: Api) -> None:
    await api.sign_up("acme")
    other = (await api.sign_up("beta"))["account_key"]
    for method, path, body in PATHS:
        theirs = await api(method, path.format(slug="acme"), body, key=other)
        nobody = await api(method, path.format(slug="nobody"), body, key=other)
        assert (theirs.status_code, error_code(theirs)) == (404, "not_found"), (method, path)
        message = theirs.json()["error"]["message"]
        assert nobody.json()["error"]["message"] == message.replace("acme", "nobody"), (method, path)


async def test_a_list_holds_only_the_accounts_own(api: Api) -> None:
    await api.sign_up("acme")
    other = (await api.sign_up("beta"))["account_key"]
    listed = (await api("GET", "/api/tenants", key=other)).json()
    assert ([each["slug"] for each in listed["tenants"]], listed["total"]) == (["beta"], 1)


async def test_a_clone_or_backup_of_another_account_cannot_be_had(api: Api) -> None:
    await api.sign_up("acme")
    other = (await api.sign_up("beta"))["account_key"]
    body = {"slug": "stolen", "from_backup": {"tenant": "acme"}}
    assert (await api("POST", "/api/tenants", body, key=other)).status_code == 404
    body = {"slug": "gift", "account": 1}
    assert error_code(await api("POST", "/api/tenants", body, key=other)) == "forbidden"


async def test_a_customer_is_refused_where_only_the_operator_may_look(api: Api) -> None:
    customer = (await api.sign_up("acme"))["account_key"]
    for method, path in OPERATOR_ONLY:
        assert error_code(await api(method, path, key=customer)) == "forbidden", path


async def test_without_a_key_nothing_is_told(api: Api) -> None:
    for method, path, body in [*((method, path, None) for method, path in OPERATOR_ONLY), *PATHS]:
        answer = await api(method, path.format(slug="acme"), body, key="")
        assert (answer.status_code, error_code(answer)) == (401, "unauthorized"), path


@pytest.mark.parametrize("key", ["sk-sy-abcdefghijkl", "sy_admin_abcdefghijkl", "sy_inst_abcdefghijkl"])
async def test_a_key_of_an_instance_is_never_accepted(api: Api, key: str) -> None:
    answer = await api("GET", "/api/tenants", key=key)
    assert error_code(answer) == "unauthorized"
    assert "belongs to an instance" in answer.json()["error"]["message"]


async def test_a_token_has_the_scopes_it_was_given_and_can_give_no_others(api: Api) -> None:
    owner = (await api.sign_up("acme"))["account_key"]
    body = {"name": "reader", "scopes": ["tenants:read", "keys:write"]}
    token = (await api("POST", "/api/account/tokens", body, key=owner)).json()["token"]
    assert (await api("GET", "/api/tenants/acme", key=token)).status_code == 200
    assert (await api("GET", "/api/tenants/acme/keys", key=token)).status_code == 200
    refused = await api("POST", "/api/tenants/acme/sleep", key=token)
    assert error_code(refused) == "scope_missing"
    assert "tenants:write" in refused.json()["error"]["message"]
    more = {"name": "more", "scopes": ["billing:read"]}
    assert error_code(await api("POST", "/api/account/tokens", more, key=token)) == "scope_missing"


async def test_a_revoked_or_expired_token_is_refused(api: Api) -> None:
    owner = (await api.sign_up("acme"))["account_key"]
    made = (await api("POST", "/api/account/tokens", {"name": "t"}, key=owner)).json()
    assert (await api("DELETE", f"/api/account/tokens/{made['id']}", key=owner)).status_code == 200
    assert error_code(await api("GET", "/api/account", key=made["token"])) == "key_revoked"
    old = {"name": "old", "expires_at": "2001-01-01T00:00:00Z"}
    made = (await api("POST", "/api/account/tokens", old, key=owner)).json()
    assert error_code(await api("GET", "/api/account", key=made["token"])) == "key_expired"


async def test_a_customer_neither_suspends_nor_chooses_a_plan_or_image(api: Api) -> None:
    owner = (await api.sign_up("acme"))["account_key"]
    for method, path, body in (
        ("POST", "/api/tenants/acme/suspend", {}),
        ("PUT", "/api/tenants/acme", {"plan": "pro"}),
        ("PUT", "/api/tenants/acme", {"image": "mine"}),
        ("DELETE", "/api/tenants/acme?grace_s=0", None),
        ("POST", "/api/tenants", {"slug": "other", "plan": "pro"}),
    ):
        assert error_code(await api(method, path, body, key=owner)) == "forbidden", path
    await api("POST", "/api/tenants/acme/suspend", {"reason": "unpaid"})
    assert error_code(await api("POST", "/api/tenants/acme/resume", key=owner)) == "forbidden"
    beyond = await api("PUT", "/api/tenants/acme", {"idle_sleep_s": 999_999}, key=owner)
    assert error_code(beyond) == "invalid_value"


async def test_an_account_opens_a_bounded_number_of_tenants(api: Api, config: Config) -> None:
    owner = (await api.sign_up("first"))["account_key"]
    for number in range(config.tenants_per_account - 1):
        assert (await api("POST", "/api/tenants", {"slug": f"more-{number}"}, key=owner)).status_code == 201
    assert error_code(await api("POST", "/api/tenants", {"slug": "too-many"}, key=owner)) == "conflict"


async def test_no_key_is_stored_in_clear_anywhere(api: Api, config: Config) -> None:
    made = await api.sign_up("acme")
    further = (await api("POST", "/api/tenants/acme/keys", {"name": "k"})).json()["key"]
    instance_key = (await api.plane.store.secrets("acme")).instance_key
    stored = b"".join(path.read_bytes() for path in config.data.rglob("*") if path.is_file())
    for key in (made["api_key"], made["admin_key"], made["account_key"], further, instance_key, OPERATOR_KEY):
        assert key.encode() not in stored
    assert b"tenant.create" in stored  # the check looks where things are
