"""The master key can be exchanged, and wherever that ends, every tenant's secrets still open."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection
from typer.testing import CliRunner

from control_plane import cli, ledger, master_key
from control_plane.config import Config, load_config
from control_plane.domain.plans import FREE
from control_plane.errors import CloudError
from control_plane.master_key import MasterKey, load_master_key, old_files
from control_plane.store import accounts, sealed, tenants
from control_plane.store.database import Database
from control_plane.store.store import Store
from control_plane.store.tenants import NewTenant
from tests.control_plane.conftest import Api, error_code


class Crash(BaseException):
    """The process ended here."""


@pytest.fixture
def plane(config: Config, migrated: Path) -> Config:
    """A stopped control plane without tenants."""
    config.prepare()
    load_master_key(config, {})
    shutil.copy(migrated, config.database_file)
    return config


class Stopped:
    """A control plane that does not run: each piece of work reads the key from its files anew, as a process that starts."""

    def __init__(self, config: Config, env: dict[str, str] | None = None) -> None:
        self._database = Database(config.sqlalchemy_url)
        self._config = config
        self._env = env or {}

    async def __aenter__(self) -> Stopped:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._database.close()

    @property
    def key(self) -> MasterKey:
        return load_master_key(self._config, self._env)

    async def create(self, slug: str) -> None:
        secret = orjson.dumps({"instance_key": f"sy_inst_{slug}", "secret_key": slug})
        sealed_secrets = self.key.seal(secret, slug.encode())

        def work(connection: Connection) -> None:
            owner = accounts.operator_account(connection)
            tenants.create(connection, NewTenant(slug, owner.id, FREE, "local", "image", sealed_secrets), actor="me")

        await self._database.write(work)

    async def rotate(self, *, dry_run: bool = False) -> dict[str, Any]:
        return await sealed.rotate(self._database, self.key, actor="operator", dry_run=dry_run)

    async def opened(self, slugs: list[str]) -> list[str]:
        """The secret key of each tenant, as the reconciler reads it."""
        store = Store(self._database, lambda name: FREE, self.key.open)
        return [(await store.secrets(slug)).secret_key for slug in slugs]

    async def entries(self) -> list[dict[str, Any]]:
        """What the ledger says of the master key."""
        return await self._database.read(lambda c: ledger.page(c, limit=9, offset=0, resource="master_key")[0])


async def _create(config: Config, slug: str, env: dict[str, str] | None = None) -> None:
    async with Stopped(config, env) as plane:
        await plane.create(slug)


async def _rotate(config: Config, env: dict[str, str] | None = None, *, dry_run: bool = False) -> dict[str, Any]:
    async with Stopped(config, env) as plane:
        return await plane.rotate(dry_run=dry_run)


async def _opened(config: Config, slugs: list[str], env: dict[str, str] | None = None) -> list[str]:
    async with Stopped(config, env) as plane:
        return await plane.opened(slugs)


async def test_after_a_rotation_the_new_key_alone_opens_every_secret_and_the_ledger_says_so(plane: Config) -> None:
    for slug in ("acme", "bravo"):
        await _create(plane, slug)
    before = plane.master_key_file.read_text()
    done = await _rotate(plane)
    assert done["tenants"] == 2
    assert plane.master_key_file.read_text() != before
    assert Path(done["old_key_kept_in"]).read_text() == before
    for path in (plane.master_key_file, *old_files(plane.master_key_file)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    Path(done["old_key_kept_in"]).unlink()
    assert await _opened(plane, ["acme", "bravo"]) == ["acme", "bravo"]

    async with Stopped(plane) as stopped:
        (entry,) = await stopped.entries()
    assert (entry["action"], entry["detail"]["tenants"], entry["detail"]["key"]) == ("rotate", 2, done["key"])


async def test_a_dry_run_changes_nothing(plane: Config) -> None:
    await _create(plane, "acme")
    before = plane.master_key_file.read_text()
    assert (await _rotate(plane, dry_run=True))["tenants"] == 1
    assert plane.master_key_file.read_text() == before
    assert sorted(path.name for path in plane.data.glob("master.key*")) == ["master.key"]


async def test_a_copy_of_the_database_from_before_a_rotation_opens_with_the_key_that_was_kept(plane: Config) -> None:
    await _create(plane, "acme")
    shutil.copy(plane.database_file, plane.data / "copy.db")
    await _rotate(plane)
    await _rotate(plane)
    shutil.copy(plane.data / "copy.db", plane.database_file)
    assert await _opened(plane, ["acme"]) == ["acme"]
    assert (await _rotate(plane))["tenants"] == 1
    assert await _opened(plane, ["acme"]) == ["acme"]


async def test_a_secret_that_no_key_opens_keeps_the_rotation_from_beginning(plane: Config) -> None:
    await _create(plane, "acme")
    await _create(plane, "other", {"STOCKYARD_CLOUD_MASTER_KEY": "cd" * 32})
    with pytest.raises(CloudError, match=r"1 tenants open under no key known here: other; put their master key back"):
        await _rotate(plane)
    assert sorted(path.name for path in plane.data.glob("master.key*")) == ["master.key"]
    assert await _opened(plane, ["acme"]) == ["acme"]


async def test_a_key_from_the_environment_is_exchanged_there_and_the_secrets_follow(plane: Config) -> None:
    old = {"STOCKYARD_CLOUD_MASTER_KEY": "ab" * 32}
    await _create(plane, "acme", old)
    with pytest.raises(CloudError, match="STOCKYARD_CLOUD_MASTER_KEY_OLD to the present one"):
        await _rotate(plane, old)
    both = {"STOCKYARD_CLOUD_MASTER_KEY": "cd" * 32, "STOCKYARD_CLOUD_MASTER_KEY_OLD": "ab" * 32}
    assert await _opened(plane, ["acme"], both) == ["acme"]
    assert (await _rotate(plane, both))["tenants"] == 1
    assert await _opened(plane, ["acme"], {"STOCKYARD_CLOUD_MASTER_KEY": "cd" * 32}) == ["acme"]


class Effects:
    """Counts what a rotation does to disk and database, and ends the process before or after one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = -1
        monkeypatch.setattr(master_key.os, "fsync", self._counted(lambda _: None))  # a process ends here, not the power
        for name in ("open", "replace"):
            monkeypatch.setattr(master_key.os, name, self._counted(getattr(os, name)))
        write = Database.write

        async def counted(database: Database, work: Any, **more: Any) -> Any:
            self._step()
            result = await write(database, work, **more)
            self._step()
            return result

        monkeypatch.setattr(Database, "write", counted)

    def _counted(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def effect(*given: Any, **more: Any) -> Any:
            self._step()
            result = real(*given, **more)
            self._step()
            return result

        return effect

    def _step(self) -> None:
        if self.left >= 0:
            self.left -= 1
            if self.left < 0:
                raise Crash


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(crashes=st.lists(st.integers(0, 40), min_size=1, max_size=4))
def test_wherever_a_rotation_ends_every_secret_opens_and_the_next_one_finishes_it(
    tmp_path_factory: pytest.TempPathFactory, migrated: Path, crashes: list[int]
) -> None:
    config = load_config({"data": tmp_path_factory.mktemp("plane")}, {})
    config.prepare()
    load_master_key(config, {})
    shutil.copy(migrated, config.database_file)
    slugs: list[str] = []

    async def history() -> None:
        async with Stopped(config) as plane:
            for number, left in enumerate(crashes):
                slugs.append(f"tenant-{number}")
                await plane.create(slugs[-1])
                with pytest.MonkeyPatch.context() as patch, suppress(Crash):
                    Effects(patch).left = left
                    await plane.rotate()
                assert await plane.opened(slugs) == slugs
            await plane.rotate()
            for path in config.data.glob("master.key.*"):
                path.unlink()
            assert await plane.opened(slugs) == slugs

    asyncio.run(history())


async def test_the_api_rotates_while_the_plane_runs_and_new_tenants_are_sealed_under_the_new_key(
    config: Config, migrated: Path
) -> None:
    """The fixture's plane takes its key from the environment; this one has a file."""
    from httpx2 import ASGITransport, AsyncClient

    from control_plane.api.frame import Frame
    from control_plane.app import api_app
    from control_plane.running import running_plane

    config.prepare()
    load_master_key(config, {})
    shutil.copy(migrated, config.database_file)
    env = {"STOCKYARD_CLOUD_OPERATOR_KEY": "sy_op_for-these-tests-only"}
    async with running_plane(config, reconcile=False, env=env) as running:
        api = Api(AsyncClient(transport=ASGITransport(Frame(api_app(running))), base_url="http://plane"), running)
        first = await api.sign_up("acme")
        assert (await api("POST", "/api/master-key/rotate", key=first["account_key"])).status_code == 403
        done = (await api("POST", "/api/master-key/rotate")).json()
        assert done["tenants"] == 1
        await api.sign_up("bravo")
        assert (await running.store.secrets("acme")).instance_key.startswith("sy_inst_")
        checks = {each["name"]: each for each in (await api("GET", "/api/doctor")).json()["checks"]}
        assert checks["sealed_secrets"]["level"] == "ok", checks["sealed_secrets"]
        assert "master.key.old-1" in checks["sealed_secrets"]["seen"]
    for path in old_files(config.master_key_file):
        path.unlink()
    for slug in ("acme", "bravo"):
        assert len((await _opened(config, [slug]))[0]) == 64


async def test_with_a_key_from_the_environment_the_api_says_how(api: Api) -> None:
    await api.sign_up("acme")
    refused = await api("POST", "/api/master-key/rotate")
    assert (refused.status_code, error_code(refused)) == (409, "conflict")


def test_the_command_rotates_a_stopped_plane_and_says_where_the_old_key_lies(plane: Config) -> None:
    asyncio.run(_create(plane, "acme"))
    found = CliRunner().invoke(cli.app, ["master-key", "rotate", "--data", str(plane.data), "--json"])
    assert found.exit_code == 0, found.output
    assert orjson.loads(found.stdout)["old_key_kept_in"] == str(plane.data / "master.key.old-1")
    assert asyncio.run(_opened(plane, ["acme"])) == ["acme"]


def test_the_command_names_a_folder_without_a_control_plane(tmp_path: Path) -> None:
    found = CliRunner().invoke(cli.app, ["master-key", "rotate", "--data", str(tmp_path / "none")])
    assert found.exit_code == 1
