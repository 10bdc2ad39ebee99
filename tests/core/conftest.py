"""A database with its journal and writer, and an opened core, each in a folder of its own."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from instance.core import meta
from instance.core.core import Core, CoreOptions
from instance.core.database import Database
from instance.core.journal import Journal
from instance.core.records import Record
from instance.core.writer import LedgerEvent, Writer

CALL = 1


class Stack:
    """What folds into the table `folded(sequence, text)`; `fail` may raise in the fold's place."""

    def __init__(self, folder: Path, **journal: object) -> None:
        self.folder = folder
        self.database = Database(folder / "test.db")
        self.connection = self.database.open()
        self.connection.execute("CREATE TABLE IF NOT EXISTS folded (sequence INTEGER, text TEXT)")
        self.connection.execute("CREATE TABLE IF NOT EXISTS entries (action TEXT)")
        position = meta.position(self.connection)
        if not position.epoch:
            position = meta.begin_epoch(self.connection, "e1")
        self.journal = Journal(folder / "journal", "e1", **journal)  # type: ignore[arg-type]
        self.journal.open(position.sequence, position.segment)
        self.writer = Writer(self.database, self.journal, self.connection, position.sequence)
        self.writer.append_ledger = self.append_ledger
        self.writer.register(CALL, self.fold)
        self.fail: Callable[[Record], None] | None = None
        self.groups: list[Sequence[Record]] = []

    def fold(self, connection: sqlite3.Connection, records: Sequence[Record]) -> None:
        self.groups.append(records)
        for record in records:
            if self.fail is not None:
                self.fail(record)
        connection.executemany(
            "INSERT INTO folded (sequence, text) VALUES (?, ?)",
            [(record.sequence, record.parts[0].decode()) for record in records],
        )

    @staticmethod
    def append_ledger(connection: sqlite3.Connection, events: Sequence[LedgerEvent]) -> None:
        connection.executemany("INSERT INTO entries (action) VALUES (?)", [(event.action,) for event in events])

    async def rows(self) -> list[tuple[int, str]]:
        query = "SELECT sequence, text FROM folded ORDER BY rowid"
        return await self.database.read(lambda connection: connection.execute(query).fetchall())

    async def close(self) -> None:
        await self.writer.close()
        self.database.close()


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    stack = Stack(tmp_path)
    stack.writer.start()
    yield stack
    await stack.close()


@pytest.fixture
def options(tmp_path: Path) -> CoreOptions:
    return CoreOptions(data_dir=tmp_path / "data", env={})


@pytest.fixture
async def core(options: CoreOptions) -> AsyncIterator[Core]:
    core = await Core.open(options)
    await core.start()
    yield core
    await core.close()


async def until(holds: Callable[[], bool], deadline_s: float = 10.0) -> None:
    """Return as soon as something holds; fail when that takes longer than the deadline."""
    async with asyncio.timeout(deadline_s):
        while not holds():
            await asyncio.sleep(0.005)
