"""Litestream's control socket."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

from control_plane.backups.shared_look import SharedLook
from control_plane.reconcile.ports import Unavailable
from control_plane.reconcile.unix_http import request_json

CALL_TIMEOUT_S = 10
SYNC_TIMEOUT_S = 30


class NotRegistered(Exception):
    """Litestream does not know this database (any more)."""


class ControlSocket:
    """Registers and syncs databases. All methods raise `Unavailable` when Litestream or the store does not go along."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._listing = SharedLook(self._list)

    async def databases(self) -> frozenset[Path]:
        """Every database being copied now."""
        return await self._listing.fresh()

    async def copies(self, database: Path) -> bool:
        """True if this database is being copied now; costs the same however many are."""
        try:
            await self._call("GET", f"/txid?path={quote(str(database))}")
        except NotRegistered:
            return False
        except Unavailable:  # as it is for one that is registered and whose file is gone
            return database in await self.databases()
        return True

    async def _list(self) -> frozenset[Path]:
        return frozenset(Path(each["path"]) for each in (await self._call("GET", "/list"))["databases"])

    async def register(self, database: Path, replica_url: str) -> None:
        """Begin to copy the database; it must not be registered yet."""
        answer = await self._call("POST", "/register", {"path": str(database), "replica_url": replica_url})
        if answer["status"] != "registered":
            raise Unavailable(f"litestream says {answer['status']} of {database}")

    async def unregister(self, database: Path, timeout_s: int = SYNC_TIMEOUT_S) -> None:
        """End the copying after a last sync; no error if it had ended."""
        await self._call("POST", "/unregister", {"path": str(database), "timeout": timeout_s}, timeout_s)

    async def sync(self, database: Path, timeout_s: int = SYNC_TIMEOUT_S) -> int:
        """Copy all that is committed; the transaction id up to which the replica then is durable.

        Raises `NotRegistered` if the database is not known.
        """
        body = {"path": str(database), "wait": True, "timeout": timeout_s}
        return int((await self._call("POST", "/sync", body, timeout_s))["replicated_txid"])

    async def _call(
        self, method: str, path: str, body: dict[str, Any] | None = None, timeout_s: int = CALL_TIMEOUT_S
    ) -> dict[str, Any]:
        timeout_s += CALL_TIMEOUT_S
        try:
            status, found = await request_json(self._path, method, path, body=body, timeout_s=timeout_s)
        except Unavailable as error:
            raise Unavailable(f"litestream does not answer: {error}") from None
        if status == HTTPStatus.NOT_FOUND:
            raise NotRegistered(str(found.get("error")))
        if status != HTTPStatus.OK:
            raise Unavailable(f"litestream: {found.get('error')}")
        return found
