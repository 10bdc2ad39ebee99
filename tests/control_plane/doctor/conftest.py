"""A control plane's data folder with its database, and the check-up of it while no plane runs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Connection, Executable, insert, update

from control_plane.config import Config, load_config
from control_plane.doctor.alone import examine_alone
from control_plane.doctor.finding import WEIGHT, Finding
from control_plane.domain.tenants import Status
from control_plane.store import accounts, tenants
from control_plane.store.database import Database
from control_plane.store.schema import epochs
from control_plane.store.schema import tenants as table
from control_plane.store.tenants import NewTenant


@pytest.fixture
def config() -> Iterator[Config]:
    """Defaults, in a folder with a short path: sockets are made in it. Nobody listens at its addresses."""
    folder = Path(tempfile.mkdtemp(prefix="sy"))
    made = load_config({"data": folder / "cloud", "listen": "127.0.0.1:1", "edge_listen": "127.0.0.1:2"}, {})
    made.prepare()
    made.replicas_dir.mkdir()
    made.master_key_file.write_text("ab" * 32)
    made.master_key_file.chmod(0o600)
    yield made
    shutil.rmtree(folder)


@dataclass
class Patient:
    """The folder, its database, and its check-ups."""

    config: Config
    database: Database

    async def examined(self) -> dict[str, Finding]:
        """The worst finding of each name."""
        found: dict[str, Finding] = {}
        for each in await examine_alone(self.config):
            if each.name not in found or WEIGHT[each.level] > WEIGHT[found[each.name].level]:
                found[each.name] = each
        return found

    async def create(self, slug: str, status: Status = Status.RUNNING, failure: str = "") -> None:
        """A tenant as the loop left it."""

        def work(connection: Connection) -> None:
            owner = accounts.operator_account(connection)
            new = NewTenant(slug, owner.id, self.config.plan("free"), "local", "image:1", b"sealed")
            tenants.create(connection, new, actor="operator")
            connection.execute(update(table).where(table.c.slug == slug).values(status=status, failure=failure))

        await self.database.write(work)

    async def epoch(self, slug: str, **values: float) -> None:
        """An open epoch of the tenant with these times."""
        row = {"tenant": slug, "n": 1, "restored": False, "bytes": 0, "ledger_seq": 0, "ledger_hash": ""}
        await self.execute(insert(epochs).values(**row, **values))

    async def execute(self, statement: Executable) -> None:
        """A statement on the plane's database, as nobody should."""
        await self.database.write(lambda connection: connection.execute(statement) and None)


@pytest.fixture
async def patient(config: Config, migrated: Path) -> AsyncIterator[Patient]:
    shutil.copy(migrated, config.database_file)
    config.database_file.chmod(0o600)
    database = Database(config.sqlalchemy_url)
    await database.open()
    await database.write(tenants.incarnation)
    yield Patient(config, database)
    await database.close()
