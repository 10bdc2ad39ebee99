"""What holds for every route of the instance, whoever wrote it: read from its own description."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.opened import Opened, opened

pytestmark = pytest.mark.asyncio(loop_scope="module")

PUBLIC = {
    "/health",
    "/api/health",
    "/ready",
    "/api/version",
    "/api/apps",
    "/api/products",
    "/api/products/{slug}",
    "/api/openapi.json",
    "/api/status",
    "/api/proxy/images/{link}",
}
SELF = re.compile(r"/api/auth/me\b|/api/proxy/modules/devproxy/|/api/forge/batch\b")
"""Where every key sees what is its own."""
HOSTED_ONLY = re.compile(r"/api/instance/")

Operation = tuple[str, str]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def one() -> AsyncIterator[Opened]:
    async with opened() as instance:
        yield instance


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def operations(one: Opened) -> list[Operation]:
    async with one.client("") as client:
        paths = (await client.get("/api/openapi.json")).json()["paths"]
    return [(method.upper(), path) for path, methods in paths.items() for method in methods]


def filled(path: str) -> str:
    return re.sub(r"\{[^}]+\}", "1", path)


async def test_without_a_key_only_public_paths_answer(one: Opened, operations: list[Operation]) -> None:
    wrong = []
    async with one.client("") as client:
        for method, path in operations:
            answer = await client.request(method, filled(path))
            expected = 404 if HOSTED_ONLY.match(path) else 401
            if path not in PUBLIC and answer.status_code != expected:
                wrong.append((method, path, answer.status_code))
    assert wrong == []


async def test_a_key_without_the_scope_is_refused_everywhere(one: Opened, operations: list[Operation]) -> None:
    async with one.client() as admin:
        body = {"name": "bare", "kind": "app", "scopes": ["self"]}
        bare = (await admin.post("/api/auth/me/keys", json=body)).json()["key"]
    wrong = []
    async with one.client(bare) as client:
        for method, path in operations:
            if path in PUBLIC or SELF.match(path) or HOSTED_ONLY.match(path):
                continue
            answer = await client.request(method, filled(path), json={} if method in ("POST", "PUT") else None)
            if (answer.status_code, answer.json()["error"]["code"]) != (403, "scope_missing"):
                wrong.append((method, path, answer.status_code, answer.text[:80]))
    assert wrong == []


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'"x"', b"{", b'{"nonsense": 1}', b"\xff"])
async def test_a_bad_body_is_never_a_fault_of_ours(one: Opened, operations: list[Operation], body: bytes) -> None:
    wrong = []
    async with one.client() as client:
        for method, path in operations:
            if method not in ("POST", "PUT") or path.startswith("/v1/"):
                continue
            headers = {"content-type": "application/json"}
            answer = await client.request(method, filled(path), content=body, headers=headers)
            if answer.status_code >= 500 or (answer.status_code >= 400 and "error" not in answer.json()):
                wrong.append((method, path, answer.status_code, answer.text[:80]))
    assert wrong == []


async def test_every_operation_has_a_summary_and_an_id_of_its_own(one: Opened) -> None:
    async with one.client("") as client:
        paths = (await client.get("/api/openapi.json")).json()["paths"]
    every = [operation for methods in paths.values() for operation in methods.values()]
    assert all(operation.get("summary") for operation in every)
    ids = [operation["operationId"] for operation in every]
    assert len(ids) == len(set(ids))
