"""Responses kept for a while (`responses.retention_days`): written behind, sealed, found again by their owner only."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from instance.chute.answer import JSON
from instance.chute.dialects.openai_responses import rows
from instance.chute.dialects.openai_responses.rows import DAY_NS, Row
from instance.chute.dialects.openai_responses.stored_form import stored_form
from instance.chute.dialects.openai_responses.stored_response import StoredResponse, gone, opened, too_long
from instance.core.secrets import SecretError

if TYPE_CHECKING:
    from instance.chute.dialects.openai_responses.call import ResponseCall
    from instance.core.core import Core

MIGRATIONS = Path(__file__).parent / "migrations"
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


class _Waiting:
    """A response that is not written yet. Its body is made off the event loop, when it is first needed."""

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

    def opened(self) -> StoredResponse:
        return opened(self.id, self.owner, self.provider, self.previous_id, self.body())


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

    @property
    def retention_ns(self) -> int:
        """How long a response is kept, counted from the newest of its conversation; 0: none is."""
        return self._core.settings.responses.retention_days * DAY_NS

    async def start(self) -> None:
        self._count, self._bytes = await self._core.database.read(rows.totals)
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

    def put(self, call: ResponseCall, response: JSON, redact: Callable[[str], str], size_bytes: int) -> None:
        """Have a response of ours written soon; neither it nor the call's items may change any more. `size_bytes` is about
        what both take in memory."""
        make = partial(stored_form, call.id, call.items, response, redact)
        self._put(call.id, call.owner, "", call.ancestors, size_bytes, make)

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
        if not self.retention_ns:
            return
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
                made = await asyncio.to_thread(self._rows, batch)
                size = sum(row.size_bytes for row in made)
                over = max(0, self._count + len(made) - RESPONSES_MAX)
                over_bytes = max(0, self._bytes + size - STORED_MAX_BYTES)
                kept_ns = self.retention_ns
                extended = [(one.created_ns + kept_ns, earlier) for one in batch for earlier in one.ancestors]
                save = partial(rows.save, rows=made, extended=extended, over=over, over_bytes=over_bytes)
                removed, removed_bytes = await self._core.writer.write(save)
                self._count += len(made) - removed
                self._bytes += size - removed_bytes
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

    def _rows(self, batch: list[_Waiting]) -> list[Row]:
        made: list[Row] = []
        for one in batch:
            body = one.body()
            if len(body) > RESPONSE_MAX_BYTES:
                continue
            sealed = self._core.secrets.seal(body, one.id.encode()) if body else b""
            expires_ns = one.created_ns + self.retention_ns
            made.append(
                Row(one.id, one.owner, one.provider, one.previous_id, one.created_ns, expires_ns, len(sealed), sealed)
            )
        return made

    async def conversation(self, response_id: str, owner: str) -> list[StoredResponse]:
        """The response and all of ours that it continues, oldest first; empty when the owner has none of this id.

        Raises `previous_response_not_found` when an earlier one is gone, `bad_request` when it is all too long.
        """
        found: list[StoredResponse] = []
        wanted = response_id
        while wanted in self._waiting and len(found) < CONVERSATION_MAX:
            found.append(await asyncio.to_thread(self._waiting[wanted].opened))
            wanted = found[-1].previous_id
        if wanted:
            found += await self._core.database.read(partial(self._read_conversation, wanted))
        if not found or any(one.owner != owner for one in found):
            return []
        if len(found) >= CONVERSATION_MAX:
            raise too_long()
        if found[-1].previous_id:
            raise gone(response_id)
        found.reverse()
        return found

    def _read_conversation(self, response_id: str, connection: sqlite3.Connection) -> list[StoredResponse]:
        found: list[StoredResponse] = []
        size = 0
        wanted = response_id
        while wanted and len(found) < CONVERSATION_MAX:
            row = rows.find(connection, wanted, self._core.clock.wall_ns())
            one = self._open(row)
            if row is None or one is None:
                break
            size += row.size_bytes
            if size > CONVERSATION_MAX_BYTES:
                raise too_long()
            found.append(one)
            wanted = one.previous_id
        return found

    async def one(self, response_id: str, owner: str) -> StoredResponse | None:
        """The owner's response of this id, alone."""
        waiting = self._waiting.get(response_id)
        if waiting is not None:
            found: StoredResponse | None = await asyncio.to_thread(waiting.opened)
        else:
            now_ns = self._core.clock.wall_ns()
            found = await self._core.database.read(lambda c: self._open(rows.find(c, response_id, now_ns)))
        return found if found is not None and found.owner == owner else None

    def _open(self, row: Row | None) -> StoredResponse | None:
        if row is None:
            return None
        try:
            body = self._core.secrets.open(row.body, row.id.encode()) if row.body else b""
        except SecretError:
            log.warning("the stored response %s cannot be opened: its secret key is another one", row.id)
            return None
        return opened(row.id, row.owner, row.provider, row.previous_id, body)

    async def known(self, response_id: str) -> bool:
        """Whether anybody's response of this id is stored."""
        if response_id in self._waiting:
            return True
        return await self._core.database.read(partial(_exists, response_id))

    async def delete(self, response_id: str) -> None:
        """Forget a response; conversations that went through it cannot be continued any more."""
        await self.flush()
        await self._core.writer.write(partial(_delete, response_id))

    async def expire(self) -> None:
        """Drop what is over its time."""
        now_ns = self._core.clock.wall_ns()
        self._count, self._bytes = await self._core.writer.write(lambda connection: rows.expire(connection, now_ns))

    async def _expire_forever(self) -> None:
        while True:
            await self._core.clock.sleep(EXPIRE_EVERY_S)
            try:
                await self.expire()
            except Exception as error:  # tried again in an hour
                log.warning("stored responses over their time were not removed: %s", error)


def _exists(response_id: str, connection: sqlite3.Connection) -> bool:
    return rows.exists(connection, response_id)


def _delete(response_id: str, connection: sqlite3.Connection) -> None:
    rows.delete(connection, response_id)
