"""What every path of the instance has in common: methods, bodies, errors, headers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.opened import Opened, opened

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def one() -> AsyncIterator[Opened]:
    async with opened(config='[server]\ncors_origins = ["https://console.example"]\n') as instance:
        yield instance


@pytest.mark.parametrize("path", ["/health", "/api/health", "/ready", "/api/version", "/api/apps", "/api/openapi.json"])
async def test_public_paths_need_no_key(one: Opened, path: str) -> None:
    async with one.client("") as client:
        answer = await client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")


async def test_health_and_readiness_say_what_they_promise(one: Opened) -> None:
    async with one.client("") as client:
        health, ready = (await client.get("/health")).json(), (await client.get("/ready")).json()
    assert health.keys() == {"status", "product", "version", "uptime_s"}
    assert ready == {"ready": True, "draining": False, "checks": {"database": True, "journal": True, "plan": True}}


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/api/trust/ledger", "GET, HEAD, POST"),
        ("PUT", "/api/keys/1", "DELETE, GET, HEAD"),
        ("POST", "/health", "GET, HEAD"),
        ("PATCH", "/api/config", "GET, HEAD, POST, PUT"),
        ("GET", "/v1/chat/completions", "POST"),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(one: Opened, method: str, path: str, allowed: str) -> None:
    async with one.client() as client:
        answer = await client.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    assert answer.json()["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize(
    "path", ["/api/nothing", "/nothing", "/v1/nothing", "/api/trust/nothing", "/api/instance/state"]
)
async def test_an_unknown_path_is_404_in_the_error_shape(one: Opened, path: str) -> None:
    async with one.client() as client:
        answer = await client.get(path)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["status"]) == (404, "not_found", 404)
    assert error["request_id"].startswith("req_")


async def test_paths_that_moved_to_the_control_plane_say_so(one: Opened) -> None:
    async with one.client() as client:
        answer = await client.get("/api/cloud/tenants")
    assert answer.json()["error"]["details"] == {"moved_to": "control plane"}


@pytest.mark.parametrize("path", ["/health", "/ready", "/api/apps", "/api/trust/ledger"])
async def test_head_answers_as_get_does(one: Opened, path: str) -> None:
    async with one.client() as client:
        answer = await client.head(path)
    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/keys", "/health"])
async def test_options_answers_204_without_a_key(one: Opened, path: str) -> None:
    async with one.client("") as client:
        answer = await client.options(path)
    assert (answer.status_code, answer.content) == (204, b"")


async def test_only_a_listed_origin_may_read_answers(one: Opened) -> None:
    async with (
        one.client("", origin="https://console.example") as listed,
        one.client("", origin="https://evil") as other,
    ):
        allowed, refused = await listed.get("/health"), await other.get("/health")
        preflight = await listed.options("/v1/models", headers={"access-control-request-headers": "authorization"})
    assert allowed.headers["access-control-allow-origin"] == "https://console.example"
    assert "access-control-allow-origin" not in refused.headers
    assert preflight.headers["access-control-allow-headers"] == "authorization"


async def test_an_oversized_body_is_refused_by_its_length_alone(one: Opened) -> None:
    async with one.client() as client:
        headers = {"content-length": str(50 << 20), "content-type": "application/json"}
        answer = await client.post("/api/trust/ledger", content=b"{}", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")
    assert answer.headers["connection"] == "close"


async def test_an_oversized_body_without_a_length_is_refused_as_it_comes(one: Opened) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * (1 << 20)

    async with one.client() as client:
        answer = await client.post("/api/trust/ledger", content=endless(), headers={"content-type": "application/json"})
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("content", "content_type", "status", "code"),
    [
        (b"{", "application/json", 400, "invalid_json"),
        (b"[1]", "application/json", 422, "invalid_value"),
        (b"a=1", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
        (b"{}", "text/plain", 415, "unsupported_media_type"),
        (b"", "application/json", 422, "missing_field"),
    ],
)
async def test_a_bad_body_gets_the_documented_error(
    one: Opened, content: bytes, content_type: str, status: int, code: str
) -> None:
    async with one.client() as client:
        answer = await client.post("/api/trust/ledger", content=content, headers={"content-type": content_type})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


async def test_every_bad_field_is_listed_and_the_nearest_name_given(one: Opened) -> None:
    async with one.client() as client:
        answer = await client.post("/api/trust/ledger", json={"actoin": "x", "detail": 5})
    error = answer.json()["error"]
    assert {(row["param"], row["code"]) for row in error["details"]} == {
        ("actoin", "unknown_field"),
        ("action", "missing_field"),
        ("detail", "invalid_value"),
    }
    assert any("did you mean 'action'" in row["message"] for row in error["details"])


async def test_answers_are_not_cached_and_carry_their_request_id(one: Opened) -> None:
    async with one.client() as client:
        fine, refused = await client.get("/api/keys"), await client.get("/api/keys/99")
    assert fine.headers["cache-control"] == refused.headers["cache-control"] == "no-store"
    assert fine.headers["x-request-id"].startswith("req_")
    assert refused.headers["x-request-id"] == refused.json()["error"]["request_id"]


async def test_a_fault_of_ours_is_a_500_that_shows_nothing_of_it(one: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("SELECT secret")

    monkeypatch.setattr("instance.lookout.routes.store.extent", fail)
    async with one.client() as client:
        answer = await client.get("/api/observe/status")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert "secret" not in answer.text


async def test_the_description_names_every_route_and_its_prefix_behind_an_edge(one: Opened) -> None:
    async with one.client("") as client:
        plain = (await client.get("/api/openapi.json")).json()
        prefixed = (await client.get("/api/openapi.json", headers={"x-forwarded-prefix": "/t/acme"})).json()
        forged = (await client.get("/api/openapi.json", headers={"x-forwarded-prefix": "//evil/<x>"})).json()
    assert {
        "/v1/chat/completions",
        "/ready",
        "/api/instance/state",
        "/api/trust/ledger",
        "/api/proxy/modules",
    } <= plain["paths"].keys()
    assert prefixed["servers"] == [{"url": "/t/acme"}]
    assert "servers" not in forged


async def test_management_is_limited_by_key(one: Opened) -> None:
    async with one.client() as admin:
        key = (await admin.post("/api/auth/me/keys", json={"name": "busy", "kind": "app"})).json()["key"]
    async with one.client(key) as busy:
        answers = [await busy.get("/api/auth/me") for _ in range(601)]
        remaining = [int(answer.headers["x-ratelimit-remaining"]) for answer in answers[:3]]
    assert remaining == [599, 598, 597]
    refused = [answer for answer in answers if answer.status_code == 429]
    if refused:
        assert refused[0].json()["error"]["code"] == "rate_limited"
        assert int(refused[0].headers["retry-after"]) >= 1
    async with one.client() as admin:
        assert (await admin.get("/api/auth/me")).status_code == 200
