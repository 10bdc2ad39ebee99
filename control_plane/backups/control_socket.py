"""Litestream's control socket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2

from control_plane.reconcile.ports import Unavailable

CALL_TIMEOUT_S = 10
SYNC_TIMEOUT_S = 30


class NotRegistered(Exception):
    """Litestream does not know this database (any more)."""


class ControlSocket:
    """Registers and syncs databases. All methods raise `Unavailable` when Litestream or the store does not go along."""

    def __init__(self, path: Path) -> None:
        # Connections that rest are closed: a Litestream that was started again listens on another socket file.
        self._client = httpx2.AsyncClient(
            transport=httpx2.AsyncHTTPTransport(uds=str(path), verify=False, limits=httpx2.Limits(keepalive_expiry=5)),
            base_url="http://litestream",
        )

    async def close(self) -> None:
        """Close what connections are open."""
        await self._client.aclose()

    async def databases(self) -> set[Path]:
        """Every database being copied now."""
        return {Path(each["path"]) for each in (await self._call("GET", "/list"))["databases"]}

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
        try:
            answer = await self._client.request(method, path, json=body, timeout=timeout_s + CALL_TIMEOUT_S)
        except httpx2.TransportError as error:
            raise Unavailable(f"litestream does not answer: {error!r}") from None
        found: dict[str, Any] = answer.json()
        if answer.status_code == httpx2.codes.NOT_FOUND:
            raise NotRegistered(str(found.get("error")))
        if answer.status_code != httpx2.codes.OK:
            raise Unavailable(f"litestream: {found.get('error')}")
        return found
