"""Providers stored, changed and removed through the API, on a real core."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import instance.chute
from instance.chute.mock_model import MockModel
from instance.chute.provider_admin import ProviderAdmin
from instance.chute.providers import ProviderTable
from instance.chute.upstream import Upstream
from instance.core.core import Core, CoreOptions
from instance.core.errors import StockyardError
from instance.core.principals import Principal
from instance.core.writer import LedgerEvent
from tests.mock_replies import status
from tests.mock_upstream import MockUpstream

MIGRATIONS = Path(instance.chute.__file__).parent / "migrations"
ADMIN = Principal(1, "admin", frozenset({"admin"}))


class Opened:
    """One life of an instance's provider table; `entries` is what its ledger was given."""

    def __init__(self, core: Core, table: ProviderTable, allow_private_networks: bool) -> None:
        self.core = core
        self.table = table
        self.admin = ProviderAdmin(core, table, allow_private_networks=allow_private_networks)
        self.entries: list[LedgerEvent] = []

    async def create(self, name: str, **fields: Any) -> dict[str, Any]:
        return await self.admin.create(name, fields, ADMIN)

    async def update(self, name: str, **fields: Any) -> dict[str, Any]:
        return await self.admin.update(name, fields, ADMIN)

    def database_bytes(self) -> bytes:
        files = self.core.data_dir.rglob("*")
        return b"".join(file.read_bytes() for file in files if file.is_file() and file.name != "secret.key")


class Instances:
    """Opens instances on one data folder, one after another."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._opened: list[Opened] = []

    async def open(self, *, env: dict[str, str] | None = None, allow_private_networks: bool = True) -> Opened:
        await self.close()
        options = CoreOptions(data_dir=self._folder, env=env or {}, components=[("chute", MIGRATIONS)])
        core = await Core.open(options)
        entries: list[LedgerEvent] = []

        def append(conn: sqlite3.Connection, events: Any) -> None:
            entries.extend(events)

        core.writer.append_ledger = append
        await core.start()
        table = await ProviderTable.open(core, Upstream(), MockModel(core.clock))
        opened = Opened(core, table, allow_private_networks)
        opened.entries = entries
        self._opened.append(opened)
        return opened

    async def close(self) -> None:
        while self._opened:
            await self._opened.pop().core.close()


@pytest.fixture
async def instances(tmp_path: Path) -> AsyncIterator[Instances]:
    made = Instances(tmp_path / "data")
    yield made
    await made.close()


async def refused(call: Any) -> StockyardError:
    with pytest.raises(StockyardError) as caught:
        await call
    return caught.value


async def test_a_stored_provider_serves_at_once_and_after_a_restart(instances):
    opened = await instances.open()
    shown = await opened.create("own", base_url="http://127.0.0.1:9/v1", api_key="stored-key-1234", models=["m"])
    assert (shown["status"], shown["key_source"], shown["api_key_set"]) == ("active", "stored", True)
    assert [target.label for target in opened.table.resolve("m")] == ["own/m"]
    again = await instances.open()
    assert again.table.get("own").spec.api_key == "stored-key-1234"
    assert [target.label for target in again.table.resolve("m")] == ["own/m"]


async def test_a_key_lies_in_no_file_and_in_no_answer_and_in_no_entry(instances):
    opened = await instances.open()
    shown = await opened.create("own", base_url="http://127.0.0.1:9/v1", api_key="very-secret-key")
    listed = opened.admin.list()
    assert "very-secret-key" not in repr(shown) + repr(listed) + repr(opened.entries)
    await opened.core.writer.drain()
    assert b"very-secret-key" not in opened.database_bytes()


async def test_every_change_leaves_an_entry_with_the_names_of_its_fields(instances):
    opened = await instances.open()
    before = len(opened.entries)
    await opened.create("own", base_url="http://127.0.0.1:9/v1", auth="none")
    await opened.update("own", priority=3)
    await opened.admin.delete("own", ADMIN)
    entries = opened.entries[before:]
    assert [(entry.resource, entry.action, entry.detail["fields"]) for entry in entries] == [
        ("provider:own", "create", ["auth", "base_url"]),
        ("provider:own", "update", ["priority"]),
        ("provider:own", "delete", []),
    ]


async def test_a_bundled_provider_gets_its_key_by_create_or_update(instances):
    opened = await instances.open()
    assert opened.admin.get("openai")["status"] == "no_key"
    assert (await opened.update("openai", api_key="sk-one-123456"))["status"] == "active"
    assert (await opened.create("groq", api_key="gsk-one-12345"))["base_url"] == "https://api.groq.com/openai/v1"
    assert opened.table.key_texts == {"sk-one-123456", "gsk-one-12345"}


async def test_what_is_not_named_stays_and_null_gives_a_field_back(instances):
    opened = await instances.open()
    await opened.create("mistral", api_key="key-123456", base_url="https://eu.example/v1", region="eu")
    await opened.update("mistral", base_url=None)
    shown = opened.admin.get("mistral")
    assert (shown["base_url"], shown["region"], shown["api_key_set"]) == ("https://api.mistral.ai/v1", "eu", True)
    await opened.update("mistral", api_key=None)
    assert opened.admin.get("mistral")["status"] == "no_key"


async def test_a_deleted_provider_is_gone_or_what_it_was_before(instances):
    opened = await instances.open()
    await opened.create("own", base_url="http://127.0.0.1:9/v1")
    await opened.admin.delete("own", ADMIN)
    assert (await refused(opened.update("own", region="eu"))).code == "not_found"
    await opened.update("openai", api_key="sk-one-123456")
    await opened.admin.delete("openai", ADMIN)
    assert opened.admin.get("openai")["status"] == "no_key"


async def test_the_environments_key_wins_over_the_stored_one(instances):
    opened = await instances.open(env={"OPENAI_API_KEY": "sk-env-123456"})
    shown = await opened.update("openai", api_key="sk-stored-1234")
    assert shown["key_source"] == "env"
    assert opened.table.get("openai").spec.api_key == "sk-env-123456"


@pytest.mark.parametrize(
    ("name", "fields", "code", "param"),
    [
        ("mock", {"base_url": "http://127.0.0.1:9"}, "already_exists", "name"),
        ("Bad Name", {"base_url": "http://127.0.0.1:9"}, "invalid_value", "name"),
        ("own", {}, "missing_field", "base_url"),
        ("own", {"base_url": "ftp://x"}, "invalid_value", "base_url"),
        ("own", {"base_url": "http://127.0.0.1:9", "api_key": "with space"}, "invalid_value", "api_key"),
        ("own", {"base_url": "http://127.0.0.1:9", "headers": {"Host": "x"}}, "invalid_value", "headers"),
        ("own", {"base_url": "http://127.0.0.1:9", "headers": {"a": "b\r\nc"}}, "invalid_value", "headers"),
        ("own", {"base_url": "http://127.0.0.1:9", "type": "smoke-signals"}, "invalid_value", "type"),
        ("own", {"base_url": "http://127.0.0.1:9", "auth": "basic"}, "invalid_value", "auth"),
    ],
)
async def test_what_cannot_be_is_refused_by_its_field(instances, name, fields, code, param):
    opened = await instances.open()
    error = await refused(opened.create(name, **fields))
    assert (error.code, error.param) == (code, param)
    assert opened.table.stored == {}


async def test_a_name_is_taken_once(instances):
    opened = await instances.open()
    await opened.create("own", base_url="http://127.0.0.1:9/v1")
    assert (await refused(opened.create("own", base_url="http://127.0.0.1:9/v1"))).code == "already_exists"


async def test_what_only_the_program_knows_cannot_be_deleted(instances):
    opened = await instances.open()
    assert (await refused(opened.admin.delete("openai", ADMIN))).code == "conflict"
    assert (await refused(opened.admin.delete("mock", ADMIN))).code == "conflict"
    assert (await refused(opened.admin.delete("nobody", ADMIN))).code == "not_found"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9", "http://localhost/v1", "http://169.254.169.254/", "http://[::1]/"]
)
async def test_a_hosted_instance_refuses_private_addresses_when_they_are_set(instances, url):
    opened = await instances.open(allow_private_networks=False)
    error = await refused(opened.create("own", base_url=url))
    assert (error.code, error.status, error.param) == ("blocked_address", 400, "base_url")


async def test_a_check_shows_in_the_providers_status(instances):
    opened = await instances.open()
    async with MockUpstream() as server:
        server.script(status(401, "no such key"))
        await opened.create("own", base_url=server.url, api_key="wrong-key-1")
        checked = await opened.admin.check("own")
        assert (checked["ok"], checked["http_status"], checked["error"]) == (False, 401, "status 401: no such key")
        assert opened.admin.get("own")["status"] == "bad_key"
        checked = await opened.admin.check("own")
        assert (checked["ok"], checked["models_count"]) == (True, 2)
        shown = opened.admin.get("own")
        assert (shown["status"], shown["models_count"]) == ("active", 2)
        assert shown["last_check"] is not None
        assert (await opened.admin.models("own", refresh=False))["models"] == ["mock-large", "mock-small"]


async def test_the_mock_model_checks_out_without_a_network(instances):
    opened = await instances.open()
    assert (await opened.admin.check("mock"))["ok"] is True


async def test_a_key_sealed_under_another_secret_key_is_kept_and_said(instances):
    opened = await instances.open()
    await opened.create("own", base_url="http://127.0.0.1:9/v1", api_key="stored-key-1234")

    def spoil(conn: sqlite3.Connection) -> None:
        conn.execute("UPDATE providers SET api_key_sealed = zeroblob(60) WHERE name = 'own'")

    await opened.core.writer.write(spoil)
    again = await instances.open()
    assert "store it again" in again.admin.get("own")["last_error"]
    await again.update("own", region="eu")
    kept = await again.core.database.read(
        lambda conn: conn.execute("SELECT length(api_key_sealed) FROM providers").fetchone()[0]
    )
    assert kept == 60
    assert (await again.update("own", api_key="stored-key-5678"))["status"] == "active"
