"""Cached answers: an LRU in memory, bounded by entries and bytes, with the database behind it."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from instance.core.core import Core

ENTRY_OVERHEAD_BYTES = 400
ID_WITHIN_BYTES = 2048
WRITES_WAITING_MAX = 1000
"""Answers waiting to be written to disk; of more, the newest stay in memory only."""
WRITTEN_AFTER_S = 0.05
"""Answers are written together with those that come so soon after them."""

log = logging.getLogger("stockyard.cachelayer")


class Entry:
    """One whole answer as bytes of JSON, never changed. `cost_nano` is what it cost when a provider gave it."""

    __slots__ = ("body", "cost_nano", "created_ns", "expires_ns", "model", "size_bytes", "team")

    def __init__(self, body: bytes, created_ns: int, expires_ns: int, cost_nano: int, model: str, team: str) -> None:
        self.body = body
        self.created_ns = created_ns
        self.expires_ns = expires_ns
        self.cost_nano = cost_nano
        self.model = model
        self.team = team
        self.size_bytes = len(body) + ENTRY_OVERHEAD_BYTES

    def is_of(self, answer_id: str) -> bool:
        """Whether the answer has this id."""
        return bool(_with_id(self.body, answer_id))


class AnswerStore:
    """Finds and keeps answers by key; `max_entries` holds for memory and disk each, `max_bytes` for memory."""

    def __init__(self, core: Core, max_entries: int, max_bytes: int) -> None:
        self._core = core
        self.max_entries = max_entries
        self.max_bytes = max_bytes
        self._memory: OrderedDict[bytes, Entry] = OrderedDict()
        self._on_disk: dict[bytes, int] = {}
        """Key -> expiry of what the database holds, so that a miss costs no read."""
        self._writes: list[tuple[bytes, Entry]] = []
        self._writer: asyncio.Task[None] | None = None
        self._writes_later: asyncio.TimerHandle | None = None
        self.size_bytes = 0
        self.hits = 0
        self.misses = 0
        self.saved_nano = 0

    async def open(self) -> None:
        """Learn what the database holds."""
        now_ns = self._core.clock.wall_ns()

        def keys(connection: sqlite3.Connection) -> list[tuple[bytes, int]]:
            query = "SELECT key, expires_at_ns FROM cached_answers WHERE expires_at_ns > ? ORDER BY expires_at_ns DESC LIMIT ?"
            return connection.execute(query, (now_ns, self.max_entries)).fetchall()

        self._on_disk = dict(await self._core.database.read(keys))

    def __len__(self) -> int:
        return len(self._memory.keys() | self._on_disk.keys())

    def may_have(self, key: bytes) -> bool:
        """Whether there is anything under the key, expired or not."""
        return key in self._memory or key in self._on_disk

    def in_memory(self, key: bytes, now_ns: int) -> Entry | None:
        """The answer when it is in memory and not expired."""
        entry = self._memory.get(key)
        if entry is None:
            return None
        if entry.expires_ns <= now_ns:
            self._forget(key)
            return None
        self._memory.move_to_end(key)
        return entry

    def may_be_on_disk(self, key: bytes, now_ns: int) -> bool:
        return self._on_disk.get(key, 0) > now_ns

    async def from_disk(self, key: bytes, now_ns: int) -> Entry | None:
        """The answer read from the database, now in memory too."""

        def read(connection: sqlite3.Connection) -> Entry | None:
            query = (
                "SELECT body, created_at_ns, expires_at_ns, cost_nano, model, team FROM cached_answers WHERE key = ?"
            )
            row = connection.execute(query, (key,)).fetchone()
            return Entry(*row) if row is not None else None

        entry: Entry | None = await self._core.database.read(read)
        if entry is None or entry.expires_ns <= now_ns:
            self._on_disk.pop(key, None)
            return None
        self._remember(key, entry)
        return entry

    def put(self, key: bytes, entry: Entry) -> None:
        """Keep the answer in memory; the ones used longest ago make room. One larger than all of it is not kept."""
        if entry.size_bytes <= self.max_bytes:
            self._remember(key, entry)

    def _remember(self, key: bytes, entry: Entry) -> None:
        memory = self._memory
        if key in memory:
            self._forget(key)
        memory[key] = entry
        self.size_bytes += entry.size_bytes
        while self.size_bytes > self.max_bytes or len(memory) > self.max_entries:
            _, old = memory.popitem(last=False)
            self.size_bytes -= old.size_bytes

    def _forget(self, key: bytes) -> None:
        entry = self._memory.pop(key, None)
        if entry is not None:
            self.size_bytes -= entry.size_bytes

    def write_behind(self, key: bytes, entry: Entry) -> None:
        """Have the answer written to the database soon."""
        if len(self._writes) < WRITES_WAITING_MAX:
            self._writes.append((key, entry))
            if self._writer is None and self._writes_later is None:
                self._writes_later = asyncio.get_running_loop().call_later(WRITTEN_AFTER_S, self._begin_writing)

    def _begin_writing(self) -> None:
        self._writes_later = None
        self._writer = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        try:
            while self._writes:
                batch, self._writes = self._writes, []
                rows = [(k, e.body, e.created_ns, e.expires_ns, e.cost_nano, e.model, e.team) for k, e in batch]
                new = sum(key not in self._on_disk for key, _ in batch)
                over = max(0, len(self._on_disk) + new - self.max_entries)
                dropped = await self._core.writer.write(partial(_save, rows=rows, over=over))
                for key, entry in batch:
                    self._on_disk[key] = entry.expires_ns
                for key in dropped:
                    self._on_disk.pop(key, None)
        except Exception as error:  # a full disk costs the cache its second level, not the call that was answered
            log.warning("cached answers were not written to the database: %s", error)
        finally:
            self._writer = None

    async def flush(self) -> None:
        """Return when every answer waiting is written."""
        if self._writes_later is not None:
            self._writes_later.cancel()
            self._begin_writing()
        if self._writer is not None:
            await self._writer

    async def expire(self, now_ns: int) -> None:
        """Drop what is over its time, in memory and on disk."""
        for key in [key for key, entry in self._memory.items() if entry.expires_ns <= now_ns]:
            self._forget(key)
        if any(expires <= now_ns for expires in self._on_disk.values()):
            self._on_disk = {key: expires for key, expires in self._on_disk.items() if expires > now_ns}
            await self._core.writer.write(
                lambda connection: connection.execute("DELETE FROM cached_answers WHERE expires_at_ns <= ?", (now_ns,))
            )

    async def forget(self, answer_id: str) -> int:
        """Drop the answer with this id, in memory and on disk; how many entries held it."""
        await self.flush()
        gone = {key for key, entry in self._memory.items() if entry.is_of(answer_id)}

        def on_disk(connection: sqlite3.Connection) -> list[bytes]:
            rows = connection.execute("SELECT key, substr(body, 1, ?) FROM cached_answers", (ID_WITHIN_BYTES,))
            return [key for key, begin in rows if _with_id(begin, answer_id)]

        stored = await self._core.database.read(on_disk)
        if stored:
            await self._core.writer.write(
                lambda c: c.executemany("DELETE FROM cached_answers WHERE key = ?", [(key,) for key in stored])
            )
        gone.update(stored)
        for key in gone:
            self._forget(key)
            self._on_disk.pop(key, None)
        return len(gone)

    async def clear(
        self, *, model: str | None = None, team: str | None = None, created_before_ns: int | None = None
    ) -> int:
        """Drop the answers that fit all that is given; how many there were."""
        await self.flush()
        where: list[str] = []
        values: list[str | int] = []
        fits: list[Callable[[Entry], bool]] = []
        if model is not None:
            where.append("model = ?")
            values.append(model)
            fits.append(lambda entry: entry.model == model)
        if team is not None:
            where.append("team = ?")
            values.append(team)
            fits.append(lambda entry: entry.team == team)
        if created_before_ns is not None:
            where.append("created_at_ns < ?")
            values.append(created_before_ns)
            fits.append(lambda entry: entry.created_ns < created_before_ns)
        query = f"DELETE FROM cached_answers WHERE {' AND '.join(where) or '1'} RETURNING key"
        gone = {row[0] for row in await self._core.writer.write(lambda c: c.execute(query, values).fetchall())}
        gone |= {key for key, entry in self._memory.items() if all(fit(entry) for fit in fits)}
        for key in gone:
            self._forget(key)
            self._on_disk.pop(key, None)
        return len(gone)


def _with_id(body: bytes, answer_id: str) -> bool:
    """Whether an answer's JSON holds this id where ids stand: near its beginning."""
    begin = body[:ID_WITHIN_BYTES]
    quoted = orjson.dumps(answer_id)
    return b'"id":' + quoted in begin or b'"id": ' + quoted in begin


def _save(
    connection: sqlite3.Connection, rows: list[tuple[bytes, bytes, int, int, int, str, str]], over: int
) -> list[bytes]:
    connection.executemany(
        "INSERT OR REPLACE INTO cached_answers (key, body, created_at_ns, expires_at_ns, cost_nano, model, team) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        rows,
    )
    if not over:
        return []
    query = "DELETE FROM cached_answers WHERE key IN (SELECT key FROM cached_answers ORDER BY expires_at_ns LIMIT ?) RETURNING key"
    return [row[0] for row in connection.execute(query, (over,)).fetchall()]
