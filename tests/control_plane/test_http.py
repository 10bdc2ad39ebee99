"""What is true of every endpoint: the error shape, methods, bodies, idempotency, the document."""

from __future__ import annotations

import asyncio

import pytest

from control_plane.api.events import live
from control_plane.api.frame import BODY_MAX_BYTES
from tests.control_plane.conftest import OPERATOR_KEY, Api, error_code


async def test_liveness_is_public(api: Api) -> None:
    assert (await api("GET", "/health", key="")).json()["status"] == "ok"
    assert (await api("GET", "/api/plans", key="")).json()["count"] == 2


async def test_it_is_not_ready_while_nothing_reconciles(api: Api) -> None:
    answer = await api("GET", "/ready", key="")
    assert (answer.status_code, answer.json()["waiting_for"]) == (503, ["reconciler"])


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PATCH", "/api/tenants", "GET, POST"),
        ("GET", "/api/signup", "POST"),
        ("POST", "/api/tenants/acme/keys/1", "DELETE, GET, PUT"),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(api: Api, method: str, path: str, allow: str) -> None:
    answer = await api(method, path)
    assert (answer.status_code, error_code(answer), answer.headers["allow"]) == (405, "method_not_allowed", allow)


async def test_an_unknown_path_is_a_404_in_the_error_shape(api: Api) -> None:
    answer = await api("GET", "/api/tenant")
    assert (answer.status_code, error_code(answer)) == (404, "not_found")
    assert answer.json()["error"]["request_id"] == answer.headers["x-request-id"]


async def test_an_unknown_parameter_is_refused_with_the_nearest_name(api: Api) -> None:
    answer = await api("GET", "/api/tenants?statu=running")
    assert error_code(answer) == "unknown_field"
    assert "did you mean `status`" in answer.json()["error"]["message"]


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "limit=x", "offset=-1", "status=awake"])
async def test_a_bad_parameter_is_refused(api: Api, query: str) -> None:
    answer = await api("GET", f"/api/tenants?{query}")
    assert (answer.status_code, error_code(answer)) == (422, "invalid_value")


async def test_a_body_that_cannot_be_read_is_a_400(api: Api) -> None:
    headers = {"Authorization": f"Bearer {OPERATOR_KEY}", "Content-Type": "application/json"}
    for content, code in ((b"{", "invalid_json"), (b"[1]", "bad_request"), (b"\xff", "bad_request")):
        answer = await api.client.post("/api/tenants", content=content, headers=headers)
        assert (answer.status_code, error_code(answer)) == (400, code), content


async def test_a_body_over_the_limit_is_refused_by_its_length_and_by_its_bytes(api: Api) -> None:
    declared = await api.client.post("/api/signup", content=b"x" * (BODY_MAX_BYTES + 1))
    assert (declared.status_code, error_code(declared)) == (413, "body_too_large")

    async def endless() -> object:
        while True:
            yield b"x" * 65_536

    streamed = await api.client.post("/api/signup", content=endless())
    assert (streamed.status_code, error_code(streamed)) == (413, "body_too_large")


async def test_head_is_get_without_a_body_and_options_is_204(api: Api) -> None:
    head = await api("HEAD", "/health")
    assert (head.status_code, head.content) == (200, b"")
    assert (await api("OPTIONS", "/api/tenants")).status_code == 204


async def test_the_same_post_again_is_not_carried_out_again(api: Api) -> None:
    await api("POST", "/api/tenants", {"slug": "acme"})
    first = await api("POST", "/api/tenants/acme/sleep", idempotency_key="a")
    await api("POST", "/api/tenants/acme/wake")
    again = await api("POST", "/api/tenants/acme/sleep", idempotency_key="a")
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert (await api("GET", "/api/tenants/acme")).json()["desired"] == "running"


async def test_an_answer_with_secrets_is_not_repeated_but_named(api: Api) -> None:
    body = {"slug": "acme"}
    assert (await api("POST", "/api/tenants", body, idempotency_key="a")).status_code == 201
    again = await api("POST", "/api/tenants", body, idempotency_key="a")
    assert (again.status_code, error_code(again)) == (409, "already_created")
    assert again.json()["error"]["details"] == {"id": "acme"}


async def test_the_same_key_with_another_request_is_a_conflict(api: Api) -> None:
    await api("POST", "/api/tenants", {"slug": "acme"}, idempotency_key="a")
    other = await api("POST", "/api/tenants", {"slug": "beta"}, idempotency_key="a")
    assert (other.status_code, error_code(other)) == (409, "idempotency_conflict")


async def test_a_refused_request_may_be_tried_again_under_its_key(api: Api) -> None:
    assert (await api("POST", "/api/tenants/acme/sleep", idempotency_key="a")).status_code == 404
    await api("POST", "/api/tenants", {"slug": "acme"})
    assert (await api("POST", "/api/tenants/acme/sleep", idempotency_key="a")).status_code == 202


async def test_two_callers_may_use_the_same_key(api: Api) -> None:
    owner = (await api.sign_up("acme"))["account_key"]
    await api("POST", "/api/tenants", {"slug": "beta"}, idempotency_key="a")
    mine = await api("POST", "/api/tenants", {"slug": "gamma"}, key=owner, idempotency_key="a")
    assert mine.status_code == 201


async def test_of_two_sign_ups_for_one_slug_at_once_one_wins(api: Api) -> None:
    async def sign_up(number: int) -> int:
        body = {"email": f"{number}@b.example", "tenant_slug": "acme"}
        return (await api("POST", "/api/signup", body, key="")).status_code

    assert sorted(await asyncio.gather(*(sign_up(number) for number in range(5)))) == [201, 409, 409, 409, 409]


async def test_events_come_live_after_the_last_one_seen(api: Api) -> None:
    await api("POST", "/api/tenants", {"slug": "acme"})
    app_events = [event["id"] for event in (await api("GET", "/api/tenants/acme/events")).json()["events"]]
    stream = live(api.plane, "acme", max(app_events), set())
    assert await anext(stream) == b": open\n\n"
    following = asyncio.ensure_future(anext(stream))
    await api("POST", "/api/tenants/acme/suspend", {"reason": "unpaid"})
    block = await following
    assert b"event: tenant.suspend\n" in block
    api.plane.end()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_the_document_names_every_public_operation(api: Api) -> None:
    paths = (await api("GET", "/api/openapi.json", key="")).json()["paths"]
    operations = [operation for item in paths.values() for operation in item.values()]
    assert all(operation.get("description") for operation in operations)
    assert not any(path.startswith("/internal") for path in paths)


async def test_the_check_up_says_what_is_missing(api: Api) -> None:
    checks = {check["name"]: check["ok"] for check in (await api("GET", "/api/doctor")).json()["checks"]}
    assert (checks["ledger"], checks["secrets"], checks["reconciler"]) == (True, True, False)


async def test_status_and_metrics_count_tenants(api: Api) -> None:
    await api("POST", "/api/tenants", {"slug": "acme"})
    assert (await api("GET", "/api/status")).json()["tenants"] == {"provisioning": 1}
    assert 'stockyard_cloud_tenants{status="provisioning"} 1' in (await api("GET", "/metrics")).text
