"""A tenant opened from a file: whole and sound it comes to be, else nothing of it is left."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest

from control_plane.config import Config
from control_plane.errors import CloudError
from control_plane.moving.room import AT_ONCE
from control_plane.store import tenants
from instance.core.keys import hash_key
from instance.core.portable import pack, unpack
from tests.control_plane.conftest import OPERATOR_KEY, Api, error_code
from tests.moved import PASSPHRASE, Moved, fields, form, moved

arrives = pytest.mark.slow  # a process of its own checks the database


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Moved:
    return asyncio.run(moved(tmp_path_factory.mktemp("home")))


async def send(api: Api, content: bytes, key: str = OPERATOR_KEY, **given: Any) -> httpx2.Response:
    """POST the form."""
    body, headers = form(fields(**given), content)
    return await post(api, body, headers, key)


async def post(api: Api, body: Any, headers: dict[str, str], key: str = OPERATOR_KEY) -> httpx2.Response:
    named = headers | {"Authorization": f"Bearer {key}"}
    return await api.client.post("/api/tenants", content=body, headers=named)


def changed(home: Moved, folder: Path, *statements: str, **contents: Any) -> bytes:
    """The file with another database or other contents, packed as its owner could."""
    database = folder / "changed.db"
    with home.file.open("rb") as file:
        found = unpack(file, PASSPHRASE, database)
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)
    return b"".join(pack(replace(found, **contents), database, PASSPHRASE).chunks())


async def nothing_is_left(api: Api, slug: str = "movers") -> None:
    config = api.plane.config
    assert (await api("GET", f"/api/tenants/{slug}")).status_code == 404
    assert list(config.tenants_dir.iterdir()) == []
    assert list((config.data / "moving").glob("*")) == []


@arrives
async def test_a_tenant_is_opened_from_a_file(api: Api, home: Moved) -> None:
    answer = await send(api, home.file.read_bytes())
    assert answer.status_code == 201, answer.text
    assert (await api("GET", "/api/tenants/movers")).json()["status"] == "provisioning"
    keys = (await api("GET", "/api/tenants/movers/keys")).json()["keys"]
    assert sorted(key["kind"] for key in keys) == ["admin", "admin", "proxy", "proxy"]  # its own and two new ones
    tenant = await api.plane.store.tenant("movers")
    assert tenant is not None
    digests = {key.sha256 for key in tenant.keys}
    assert {hash_key(home.api_key).hex(), hash_key(home.admin_key).hex()} <= digests
    secrets = await api.plane.store.secrets("movers")
    assert secrets.secret_key == (home.data / "secret.key").read_text().strip()
    state = await api.plane.room.volumes.state("movers")
    assert tenant.restore is not None
    assert state.staged == tenant.restore.requested_at
    assert list((api.plane.config.data / "moving").glob("*")) == []


@arrives
async def test_what_numbers_mean_elsewhere_they_do_not_mean_here(api: Api, home: Moved, config: Config) -> None:
    assert (await send(api, home.file.read_bytes())).status_code == 201
    staged = config.tenants_dir / "movers.staged" / "stockyard.db"
    with closing(sqlite3.connect(staged)) as connection:
        (spender,) = connection.execute("SELECT key_id FROM spend WHERE model = 'mock/gpt'").fetchone()
        (scope,) = connection.execute("SELECT scope FROM budgets WHERE name = 'of a key'").fetchone()
        assert connection.execute("SELECT key_id, requests FROM usage_totals").fetchall() == [("0", 2)]
        assert connection.execute("SELECT * FROM quota_months").fetchall() == []
        settings = dict(connection.execute("SELECT path, value FROM settings"))
    tenant = await api.plane.store.tenant("movers")
    assert tenant is not None
    (key,) = [key for key in tenant.keys if key.sha256 == hash_key(home.api_key).hex()]
    assert (spender, orjson.loads(scope)) == (str(key.id), {"key": str(key.id)})  # its budget goes on
    assert settings["limits.messages"] == "77"
    assert "providers.own.api_key" not in settings
    assert not [path for path in settings if path.startswith("server")]


@arrives
async def test_a_file_cannot_loosen_what_the_operator_holds(
    api: Api, home: Moved, config: Config, tmp_path: Path
) -> None:
    row = "INSERT INTO settings VALUES ('allow_private_networks', 'true', 1)"
    content = changed(home, tmp_path, row, settings={"settings": {"allow_private_networks": True}})
    assert (await send(api, content)).status_code == 201
    with closing(sqlite3.connect(config.tenants_dir / "movers.staged" / "stockyard.db")) as connection:
        assert not connection.execute("SELECT 1 FROM settings WHERE path = 'allow_private_networks'").fetchall()
    assert (await api("GET", "/api/tenants/movers")).json()["settings"] == {}


@arrives
async def test_its_calls_of_before_are_no_usage(api: Api, home: Moved) -> None:
    await send(api, home.file.read_bytes())
    await api.plane.store.new_epoch("movers", None)
    reading = {"requests": 2, "errors": 1, "tokens_in": 9, "tokens_out": 9, "cost_usd": 1.5, "bytes_out": 9}
    await api.plane.store.record_usage("movers", 1, reading | {"by_key": {"0": reading}})
    assert (await api("GET", "/api/tenants/movers/usage")).json()["usage"] == []


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda content: content[:-5000], "cut off"),
        (lambda content: content[:40_000] + b"x" + content[40_001:], "damaged"),
        (lambda content: b"nonsense" * 1000, "no file of Stockyard"),
    ],
)
async def test_a_damaged_file_is_refused_and_nothing_is_left(api: Api, home: Moved, spoil: Any, why: str) -> None:
    answer = await send(api, spoil(home.file.read_bytes()))
    assert (answer.status_code, error_code(answer)) == (422, "invalid_value")
    assert why in answer.text
    await nothing_is_left(api)


async def test_a_wrong_passphrase_is_refused(api: Api, home: Moved) -> None:
    answer = await send(api, home.file.read_bytes(), passphrase="another passphrase")
    assert (answer.status_code, "passphrase" in answer.text) == (422, True)
    assert (await send(api, home.file.read_bytes(), passphrase="short")).status_code == 422
    await nothing_is_left(api)


@arrives
@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("UPDATE ledger SET actor = 'somebody else' WHERE seq = 1", "ledger entry 1"),
        ("UPDATE meta SET value = '00' WHERE name = 'secret_check'", "sealed under the key"),
        ("DELETE FROM meta WHERE name = 'epoch'", "ever ran"),
        ("DROP TABLE ledger", "ledger"),
    ],
)
async def test_a_database_that_is_not_sound_never_becomes_a_tenants(
    api: Api, home: Moved, tmp_path: Path, statement: str, why: str
) -> None:
    answer = await send(api, changed(home, tmp_path, statement))
    assert (answer.status_code, why in answer.text) == (422, True), answer.text
    await nothing_is_left(api)


@arrives
async def test_a_key_that_another_tenant_has_is_refused(api: Api, home: Moved) -> None:
    assert (await send(api, home.file.read_bytes(), slug="first")).status_code == 201
    answer = await send(api, home.file.read_bytes(), slug="second")
    assert (answer.status_code, error_code(answer)) == (409, "conflict")
    assert home.api_key not in answer.text
    assert (await api("GET", "/api/tenants/second")).status_code == 404


@pytest.mark.parametrize(
    "key", [{"kind": "proxy", "scopes": ["admin"]}, {"kind": "root"}, {"sha256": "x"}, {"team": "client:acme"}]
)
async def test_a_key_that_cannot_be_is_refused(api: Api, home: Moved, tmp_path: Path, key: dict[str, Any]) -> None:
    row = {"id": 1, "sha256": "ab" * 32, "name": "forged", "kind": "proxy", "scopes": []} | key
    answer = await send(api, changed(home, tmp_path, keys=[row]))
    assert (answer.status_code, "keys.json" in answer.text) == (422, True)
    await nothing_is_left(api)


async def test_a_slug_that_is_taken_or_bad_is_refused_before_the_file_is_read(api: Api) -> None:
    await api("POST", "/api/tenants", {"slug": "taken"})
    for slug, code in (("taken", "slug_taken"), ("www", "bad_slug")):
        body, headers = form(fields(slug), b"")
        read: list[int] = []

        async def chunks(body: bytes = body, read: list[int] = read) -> AsyncIterator[bytes]:
            yield body
            for number in range(1000):
                read.append(number)
                yield b"x" * 65536

        answer = await post(api, chunks(), headers)
        assert error_code(answer) == code
        assert len(read) < 1000


async def test_a_body_too_large_for_any_plan_is_refused_before_it_is_read_whole(api: Api, config: Config) -> None:
    body, headers = form(fields("large"), b"")
    sent = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal sent
        yield body.partition(b"\r\n--cut--")[0]
        while sent < 400 << 20:
            sent += 1 << 20
            yield b"x" * (1 << 20)

    small = {name: plan.model_copy(update={"max_database_bytes": 1 << 20}) for name, plan in config.plans.items()}
    api.plane.config = config.model_copy(update={"plans": small})
    answer = await post(api, chunks(), headers)
    assert (answer.status_code, error_code(answer)) == (413, "body_too_large")
    assert sent < 100 << 20
    await nothing_is_left(api, "large")


async def test_a_database_too_large_for_the_plan_is_413(api: Api, home: Moved, config: Config) -> None:
    small = config.plans["free"].model_copy(update={"max_database_bytes": 4096})
    api.plane.config = config.model_copy(update={"plans": config.plans | {"free": small}})
    assert (await send(api, home.file.read_bytes(), plan="free")).status_code == 413
    await nothing_is_left(api)


async def test_a_form_that_is_none_is_refused(api: Api, home: Moved) -> None:
    whole, headers = form(fields(), home.file.read_bytes())
    no_file = whole[: whole.index(b'--cut\r\nContent-Disposition: form-data; name="file"')] + b"--cut--\r\n"
    unknown, _ = form(fields(nonsense="1"), b"")
    slugless, _ = form({"passphrase": PASSPHRASE}, b"")
    for body, status, why in (
        (whole[: len(whole) // 2], 400, "cut off"),
        (no_file, 422, "file"),
        (unknown, 422, "nonsense"),
        (slugless, 422, "slug"),
        (b"--cut", 400, "cut off"),
    ):
        answer = await post(api, body, headers)
        assert (answer.status_code, why in answer.text) == (status, True), answer.text
    assert (await post(api, whole, {"Content-Type": "multipart/form-data"})).status_code == 400
    await nothing_is_left(api)


@arrives
async def test_a_boundary_that_is_cut_by_the_network_is_found(api: Api, home: Moved) -> None:
    body, headers = form(fields(), home.file.read_bytes())

    async def pieces() -> AsyncIterator[bytes]:
        for place in range(0, len(body), 997):
            yield body[place : place + 997]

    assert (await post(api, pieces(), headers)).status_code == 201


@arrives
async def test_a_customer_brings_a_file_to_their_own_account_and_plan_only(api: Api, home: Moved) -> None:
    key = (await api.sign_up("acme"))["account_key"]
    assert (await send(api, home.file.read_bytes(), key=key, plan="pro")).status_code == 403
    assert (await send(api, home.file.read_bytes(), key="sy_acct_nobody")).status_code == 401
    answer = await send(api, home.file.read_bytes(), key=key)
    assert answer.status_code == 201
    assert "movers" in [each["slug"] for each in (await api("GET", "/api/tenants", key=key)).json()["tenants"]]


@arrives
async def test_a_staged_database_whose_tenant_was_never_opened_is_swept(config: Config, home: Moved, api: Api) -> None:
    await send(api, home.file.read_bytes())
    orphan = config.tenants_dir / "nobody.staged"
    orphan.mkdir()
    (config.data / "moving" / "left").mkdir(parents=True)
    api.plane.room.sweep(await api.plane.database.read(tenants.slugs))
    assert not orphan.exists()
    assert not (config.data / "moving").exists()
    assert (config.tenants_dir / "movers.staged" / "stockyard.db").exists()


async def test_one_tenant_is_moved_once_at_a_time_and_few_in_all(api: Api) -> None:
    room = api.plane.room
    async with AsyncExitStack() as stack:
        folders = [await stack.enter_async_context(room.work(f"tenant-{number}")) for number in range(AT_ONCE)]
        assert len(set(folders)) == AT_ONCE
        for slug, code in (("tenant-0", "conflict"), ("another", "rate_limited")):
            with pytest.raises(CloudError) as problem:
                await stack.enter_async_context(room.work(slug))
            assert (problem.value.code, "Retry-After" in problem.value.headers) == (code, True)
    assert not [folder for folder in folders if folder.exists()]
    async with room.work("tenant-0") as folder:
        assert list(folder.iterdir()) == []


async def test_without_backups_an_export_is_answered_503(api: Api) -> None:
    await api("POST", "/api/tenants", {"slug": "acme"})
    answer = await api("POST", "/api/tenants/acme/export", {"passphrase": PASSPHRASE})
    assert (answer.status_code, error_code(answer)) == (503, "backup_unavailable")


async def test_an_export_needs_the_tenant_a_passphrase_and_the_scopes(api: Api) -> None:
    first, second = await api.sign_up("acme"), await api.sign_up("other")
    body = {"passphrase": PASSPHRASE}
    assert (await api("POST", "/api/tenants/acme/export", body, key=second["account_key"])).status_code == 404
    assert (await api("POST", "/api/tenants/acme/export", {"passphrase": "short"})).status_code == 422
    assert error_code(await api("GET", "/api/tenants/acme/export")) == "missing_field"
    headers = {"X_Stockyard_Passphrase": PASSPHRASE}
    assert (await api("GET", "/api/tenants/acme/export", **headers)).status_code == 503  # no backups in this test
    token = {"name": "reader", "scopes": ["tenants:read"]}
    reader = (await api("POST", "/api/account/tokens", token, key=first["account_key"])).json()["token"]
    assert error_code(await api("POST", "/api/tenants/acme/export", body, key=reader)) == "scope_missing"
