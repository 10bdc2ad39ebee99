"""Every endpoint with every scope: a key without the one it asks for gets 403, which names it; one that holds it gets further."""

from __future__ import annotations

from fastapi.routing import APIRoute

from control_plane.app import ROUTERS
from tests.control_plane.conftest import Api, error_code

SCOPES = ("tenants:read", "tenants:write", "keys:read", "keys:write", "billing:read")
OPEN = [("GET", "/health"), ("GET", "/ready"), ("GET", "/api/plans"), ("POST", "/api/signup")]
ANY_KEY = [
    ("GET", "/api/account"),
    ("GET", "/api/account/tokens"),
    ("POST", "/api/account/tokens"),
    ("DELETE", "/api/account/tokens/{token_id}"),
]
CHANGES_ACCOUNT = ("PUT", "/api/account")
# what reads secrets too: needs both, and a key with one of them is told of the other
BOTH = ("tenants:read", "keys:read")
NEEDS_BOTH = [(method, "/api/tenants/{slug}/export") for method in ("GET", "POST")]


def _routes() -> list[tuple[str, str]]:
    found = [route for part in ROUTERS for route in part.router.routes if isinstance(route, APIRoute)]
    return [(method, route.path) for route in found for method in sorted(route.methods)]


def _scope_of(method: str, path: str) -> str:
    """The scope that an account's key needs; empty for the operator's endpoints."""
    right = "read" if method == "GET" else "write"
    if path.endswith("/usage"):
        return "billing:read"
    if path.startswith("/api/tenants/{slug}/keys"):
        return f"keys:{right}"
    if path.startswith("/api/tenants") or (method, path) == CHANGES_ACCOUNT:
        return f"tenants:{right}"
    return ""


def _holds(scope: str, asked: str) -> bool:
    return scope == asked or (asked.endswith(":read") and scope == asked[:-4] + "write")


async def test_every_endpoint_asks_for_its_scope_and_for_no_other(api: Api) -> None:
    owner = (await api.sign_up("acme"))["account_key"]
    tokens = {}
    for scope in SCOPES:
        made = await api("POST", "/api/account/tokens", {"name": scope, "scopes": [scope]}, key=owner)
        tokens[scope] = made.json()["token"]
    asked = [each for each in _routes() if each not in OPEN and each not in ANY_KEY and each not in NEEDS_BOTH]
    assert len(asked) > 25
    for method, path in asked:
        # a tenant that does not exist: what is let through is told so, and nothing is changed
        where = path.format(slug="nobody", key_id=1, node_id=1, token_id=0)
        needed = _scope_of(method, path)
        for scope, token in tokens.items():
            answer = await api(method, where, key=token)
            case = (method, path, scope)
            if not needed:
                assert (answer.status_code, error_code(answer)) == (403, "forbidden"), case
            elif _holds(scope, needed):
                assert answer.status_code in (200, 404, 422) or error_code(answer) == "forbidden", case
            else:
                assert (answer.status_code, error_code(answer)) == (403, "scope_missing"), case
                assert f"`{needed}`" in answer.json()["error"]["message"], case


async def test_an_export_needs_the_scopes_of_all_it_hands_out(api: Api) -> None:
    owner = (await api.sign_up("acme"))["account_key"]
    made = {"name": "both", "scopes": list(BOTH)}
    both = (await api("POST", "/api/account/tokens", made, key=owner)).json()["token"]
    for method, path in NEEDS_BOTH:
        assert (await api(method, path.format(slug="nobody"), key=both)).status_code in (404, 422)
        for scope in SCOPES:
            token = (await api("POST", "/api/account/tokens", {"name": scope, "scopes": [scope]}, key=owner)).json()[
                "token"
            ]
            refused = await api(method, path.format(slug="nobody"), key=token)
            assert (refused.status_code, error_code(refused)) == (403, "scope_missing"), scope
            missing = [each for each in BOTH if not _holds(scope, each)]
            assert any(f"`{each}`" in refused.json()["error"]["message"] for each in missing), scope


async def test_every_endpoint_but_the_open_ones_asks_for_a_key(api: Api) -> None:
    for method, path in _routes():
        if (method, path) not in OPEN:
            answer = await api(method, path.format(slug="nobody", key_id=1, node_id=1, token_id=0), key="")
            assert (answer.status_code, error_code(answer)) == (401, "unauthorized"), (method, path)


async def test_a_key_ends_itself_and_no_other_that_holds_more(api: Api) -> None:
    owner = (await api.sign_up("acme"))["account_key"]
    made = [
        (await api("POST", "/api/account/tokens", {"name": name, "scopes": scopes}, key=owner)).json()
        for name, scopes in (("small", ["tenants:read"]), ("other", ["keys:write"]), ("same", ["tenants:read"]))
    ]
    small = made[0]["token"]
    listed = (await api("GET", "/api/account/tokens", key=owner)).json()["tokens"]
    owners = min(each["id"] for each in listed)
    for stronger in (owners, made[1]["id"]):
        refused = await api("DELETE", f"/api/account/tokens/{stronger}", key=small)
        assert (refused.status_code, error_code(refused)) == (403, "scope_missing")
    for its in (made[2]["id"], made[0]["id"]):
        assert (await api("DELETE", f"/api/account/tokens/{its}", key=small)).status_code == 200
    assert error_code(await api("GET", "/api/account", key=small)) == "key_revoked"
    assert (await api("GET", "/api/account", key=owner)).status_code == 200


async def test_a_key_of_one_account_neither_sees_nor_ends_a_key_of_another(api: Api) -> None:
    owner = (await api.sign_up("acme"))["account_key"]
    other = (await api.sign_up("beta"))["account_key"]
    theirs = (await api("GET", "/api/account/tokens", key=owner)).json()["tokens"][0]["id"]
    assert theirs not in [each["id"] for each in (await api("GET", "/api/account/tokens", key=other)).json()["tokens"]]
    refused = await api("DELETE", f"/api/account/tokens/{theirs}", key=other)
    assert (refused.status_code, error_code(refused)) == (404, "not_found")
    assert (await api("GET", "/api/account/usage", key=other)).json()["usage"] == []
