"""Responses kept for 30 days: written behind, sealed, found again by their owner only."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from instance.chute.answer import JSON
from instance.chute.dialects.openai_responses.stored_form import stored_form
from instance.core.errors import StockyardError
from instance.core.secrets import SecretError

if TYPE_CHECKING:
    from instance.chute.dialects.openai_responses.call import ResponseCall
    from instance.core.core import Core
    from instance.core.principals import Principal

MIGRATIONS = Path(__file__).parent / "migrations"
DAY_NS = 86_400 * 1_000_000_000
RETENTION_NS = 30 * DAY_NS
"""Counted from the newest response of a conversation: what it continues is kept as long."""
RESPONSES_MAX = 200_000
STORED_MAX_BYTES = 1 << 30
"""Of all bodies together; beyond it and beyond `RESPONSES_MAX` those that would expire first go."""
RESPONSE_MAX_BYTES = 16 << 20
WAITING_MAX = 1000
WAITING_MAX_BYTES = 64 << 20
"""Responses waiting to be written; of more, the newest are not kept."""
CONVERSATION_MAX = 1000
CONVERSATION_MAX_BYTES = 32 << 20
EXPIRE_EVERY_S = 3600.0

log = logging.getLogger("stockyard.responses")


class StoredResponse(NamedTuple):
    """One row, its body opened. `provider` is empty for our own; a provider's has neither items nor response here."""

    id: str
    owner: str
    provider: str
    previous_id: str
    input: list[JSON]
    response: JSON


class _Waiting:
    """A response that is not written yet. `body` is made off the event loop, when it is first needed."""

    __slots__ = ("_made", "_make", "ancestors", "created_ns", "id", "owner", "previous_id", "provider", "size_bytes")

    def __init__(
        self,
        response_id: str,
        owner: str,
        provider: str,
        created_ns: int,
        ancestors: Sequence[str],
        size_bytes: int,
        make: Callable[[], bytes],
    ) -> None:
        self.id = response_id
        self.owner = owner
        self.provider = provider
        self.created_ns = created_ns
        self.ancestors = tuple(ancestors)
        self.previous_id = ancestors[-1] if ancestors else ""
        self.size_bytes = size_bytes
        self._make = make
        self._made: bytes | None = None

    def body(self) -> bytes:
        if self._made is None:
            self._made = self._make()
        return self._made


class ResponseStore:
    """Keeps responses and finds them. `await start()` before the first call, `await stop()` after the last."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._waiting: OrderedDict[str, _Waiting] = OrderedDict()
        self._waiting_bytes = 0
        self._writer: asyncio.Task[None] | None = None
        self._expirer: asyncio.Task[None] | None = None
        self._count = 0
        self._bytes = 0

    async def start(self) -> None:
        query = "SELECT count(*), coalesce(sum(size_bytes), 0) FROM responses"
        self._count, self._bytes = await self._core.database.read(lambda c: c.execute(query).fetchone())
        self._expirer = asyncio.get_running_loop().create_task(self._expire_forever())

    async def stop(self) -> None:
        """Write what waits."""
        if self._expirer is not None:
            self._expirer.cancel()
        await self.flush()

    async def flush(self) -> None:
        """Return when every response waiting is written."""
        while self._writer is not None:
            await self._writer

    def put(self, call: ResponseCall, response: JSON, redact: Callable[[str], str]) -> None:
        """Have a response of ours written soon; neither it nor the call's items may change any more."""
        size = len(call.native.get("input") or "") + 1024
        make = partial(stored_form, call.id, call.items, response, redact)
        self._put(call.id, call.owner, "", call.ancestors, size, make)

    def put_foreign(self, owner: str, response_id: str, provider: str) -> None:
        """Remember who made a response that a provider keeps."""
        self._put(response_id, owner, provider, (), 0, bytes)

    def _put(
        self,
        response_id: str,
        owner: str,
        provider: str,
        ancestors: Sequence[str],
        size: int,
        make: Callable[[], bytes],
    ) -> None:
        if len(self._waiting) >= WAITING_MAX or self._waiting_bytes + size > WAITING_MAX_BYTES:
            log.warning("too many responses wait to be written; %s is not kept", response_id)
            return
        now_ns = self._core.clock.wall_ns()
        self._waiting[response_id] = _Waiting(response_id, owner, provider, now_ns, ancestors, size, make)
        self._waiting_bytes += size
        if self._writer is None:
            self._writer = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        try:
            while self._waiting:
                batch = list(self._waiting.values())
                rows = await asyncio.to_thread(self._rows, batch)
                over = max(0, self._count + len(rows) - RESPONSES_MAX)
                over_bytes = max(0, self._bytes + sum(row[6] for row in rows) - STORED_MAX_BYTES)
                extended = [(response.created_ns + RETENTION_NS, id) for response in batch for id in response.ancestors]
                save = partial(_save, rows=rows, extended=extended, over=over, over_bytes=over_bytes)
                removed, removed_bytes = await self._core.writer.write(save)
                self._count += len(rows) - removed
                self._bytes += sum(row[6] for row in rows) - removed_bytes
                self._written(batch)
        except Exception as error:  # a full disk costs the conversations their memory, not the call that was answered
            log.warning("responses were not written to the database: %s", error)
            self._waiting.clear()
            self._waiting_bytes = 0
        finally:
            self._writer = None

    def _written(self, batch: list[_Waiting]) -> None:
        for response in batch:
            if self._waiting.get(response.id) is response:
                del self._waiting[response.id]
                self._waiting_bytes -= response.size_bytes

    def _rows(self, batch: list[_Waiting]) -> list[tuple[str, str, str, str, int, int, int, bytes]]:
        rows = []
        for one in batch:
            body = one.body()
            if len(body) > RESPONSE_MAX_BYTES:
                continue
            sealed = self._core.secrets.seal(body, one.id.encode()) if body else b""
            expires_ns = one.created_ns + RETENTION_NS
            rows.append(
                (one.id, one.owner, one.provider, one.previous_id, one.created_ns, expires_ns, len(sealed), sealed)
            )
        return rows

    async def conversation(self, response_id: str, owner: str) -> list[StoredResponse]:
        """The response and all of ours that it continues, oldest first; empty when the owner has none of this id.

        Raises `previous_response_not_found` when an earlier one is gone, `bad_request` when it is all too long.
        """
        found: list[StoredResponse] = []
        wanted = response_id
        while wanted in self._waiting and len(found) < CONVERSATION_MAX:
            waiting = self._waiting[wanted]
            body = await asyncio.to_thread(waiting.body)
            found.append(_opened(waiting.id, waiting.owner, waiting.provider, waiting.previous_id, body))
            wanted = waiting.previous_id
        if wanted:
            found += await self._core.database.read(partial(self._read_conversation, wanted))
        if not found or any(one.owner != owner for one in found):
            return []
        if len(found) >= CONVERSATION_MAX:
            raise _too_long()
        if found[-1].previous_id:
            raise gone(response_id)
        found.reverse()
        return found

    def _read_conversation(self, response_id: str, connection: sqlite3.Connection) -> list[StoredResponse]:
        now_ns = self._core.clock.wall_ns()
        query = (
            "SELECT owner, provider, previous_id, size_bytes, body FROM responses WHERE id = ? AND expires_at_ns > ?"
        )
        found: list[StoredResponse] = []
        size = 0
        wanted = response_id
        while wanted and len(found) < CONVERSATION_MAX:
            row = connection.execute(query, (wanted, now_ns)).fetchone()
            if row is None:
                break
            owner, provider, previous_id, size_bytes, sealed = row
            size += size_bytes
            if size > CONVERSATION_MAX_BYTES:
                raise _too_long()
            try:
                body = self._core.secrets.open(sealed, wanted.encode()) if sealed else b""
            except SecretError:
                log.warning("the stored response %s cannot be opened: its secret key is another one", wanted)
                break
            found.append(_opened(wanted, owner, provider, previous_id, body))
            wanted = previous_id
        return found

    async def known(self, response_id: str) -> bool:
        """Whether anybody's response of this id is stored."""
        if response_id in self._waiting:
            return True
        query = "SELECT 1 FROM responses WHERE id = ?"
        row = await self._core.database.read(lambda c: c.execute(query, (response_id,)).fetchone())
        return row is not None

    async def one(self, response_id: str, owner: str) -> StoredResponse | None:
        """The owner's response of this id, alone."""
        waiting = self._waiting.get(response_id)
        if waiting is not None:
            body = await asyncio.to_thread(waiting.body)
            found = _opened(waiting.id, waiting.owner, waiting.provider, waiting.previous_id, body)
        else:
            rows = await self._core.database.read(partial(self._read_one, response_id))
            if rows is None:
                return None
            found = rows
        return found if found.owner == owner else None

    def _read_one(self, response_id: str, connection: sqlite3.Connection) -> StoredResponse | None:
        query = "SELECT owner, provider, previous_id, body FROM responses WHERE id = ? AND expires_at_ns > ?"
        row = connection.execute(query, (response_id, self._core.clock.wall_ns())).fetchone()
        if row is None:
            return None
        try:
            body = self._core.secrets.open(row[3], response_id.encode()) if row[3] else b""
        except SecretError:
            return None
        return _opened(response_id, row[0], row[1], row[2], body)

    async def delete(self, response_id: str) -> None:
        """Forget a response; conversations that went through it cannot be continued any more."""
        await self.flush()
        query = "DELETE FROM responses WHERE id = ?"
        await self._core.writer.write(lambda connection: connection.execute(query, (response_id,)).rowcount)

    async def expire(self) -> None:
        """Drop what is over its time."""
        now_ns = self._core.clock.wall_ns()
        self._count, self._bytes = await self._core.writer.write(partial(_expire, now_ns=now_ns))

    async def _expire_forever(self) -> None:
        while True:
            await self._core.clock.sleep(EXPIRE_EVERY_S)
            try:
                await self.expire()
            except Exception as error:  # tried again in an hour
                log.warning("stored responses over their time were not removed: %s", error)


def owner_of(principal: Principal) -> str:
    """Whose responses a key sees: its team's, else its own."""
    return f"team:{principal.team}" if principal.team else f"key:{principal.key_id}"


def gone(response_id: str) -> StockyardError:
    """The refusal for a response that is not here, or not the caller's: nobody learns which."""
    return StockyardError(
        "previous_response_not_found",
        f"There is no stored response {response_id!r}, or a part of its conversation is gone; send the whole input.",
        param="previous_response_id",
        retryable=False,
    )


def _too_long() -> StockyardError:
    return StockyardError(
        "bad_request",
        "The stored conversation is too long to be continued; send what matters of it as `input`.",
        param="previous_response_id",
    )


def _opened(response_id: str, owner: str, provider: str, previous_id: str, body: bytes) -> StoredResponse:
    read: Any = orjson.loads(body) if body else {"input": [], "response": {}}
    return StoredResponse(response_id, owner, provider, previous_id, read["input"], read["response"])


def _save(
    connection: sqlite3.Connection,
    rows: list[tuple[str, str, str, str, int, int, int, bytes]],
    extended: list[tuple[int, str]],
    over: int,
    over_bytes: int,
) -> tuple[int, int]:
    """How many rows, and bytes of them, made room."""
    connection.executemany(
        "INSERT OR REPLACE INTO responses "
        "(id, owner, provider, previous_id, created_at_ns, expires_at_ns, size_bytes, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        rows,
    )
    connection.executemany(
        "UPDATE responses SET expires_at_ns = ? WHERE id = ? AND expires_at_ns < ?",
        [(expires_ns, response_id, expires_ns - DAY_NS) for expires_ns, response_id in extended],
    )
    removed = removed_bytes = 0
    while removed < over or removed_bytes < over_bytes:
        query = "SELECT id, size_bytes FROM responses ORDER BY expires_at_ns LIMIT 100"
        oldest = connection.execute(query).fetchall()
        if not oldest:
            break
        for response_id, size_bytes in oldest:
            connection.execute("DELETE FROM responses WHERE id = ?", (response_id,))
            removed += 1
            removed_bytes += size_bytes
            if removed >= over and removed_bytes >= over_bytes:
                break
    return removed, removed_bytes


def _totals(connection: sqlite3.Connection) -> tuple[int, int]:
    count, size = connection.execute("SELECT count(*), coalesce(sum(size_bytes), 0) FROM responses").fetchone()
    return count, size


def _expire(connection: sqlite3.Connection, now_ns: int) -> tuple[int, int]:
    connection.execute("DELETE FROM responses WHERE expires_at_ns <= ?", (now_ns,))
    return _totals(connection)
