"""`Instances` over the instances' own sockets: `/ready` and `/api/instance/*`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from control_plane.config import Config
from control_plane.domain.tenants import Generation
from control_plane.reconcile.ports import Activity, Drained, Probe, Unavailable, Verified
from control_plane.reconcile.unix_http import listens, request_json

ASK_S = 2.0
PUSH_S = 10.0
VERIFY_S = 600.0


class SocketInstances:
    """Each instance is asked with the key of its own instance.json: another one at its socket does not accept it."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._keys: dict[str, tuple[tuple[int, int], str]] = {}

    async def probe(self, slug: str) -> Probe | None:
        """What it says of itself; None when nobody answers or the key is not accepted."""
        if not listens(self._socket(slug)):
            return None
        try:
            (_, ready), (status, state) = await asyncio.gather(
                request_json(self._socket(slug), "GET", "/ready", timeout_s=ASK_S), self._call(slug, "GET", "state")
            )
        except Unavailable:
            return None
        if status != 200:
            return None
        return Probe(
            ready=_can_be_routed_to(ready) and ready.get("draining") is not True,
            draining=ready.get("draining") is True,
            generation=_generation(state.get("generation")),
            epoch=_integer(state.get("epoch")),
        )

    async def activity(self, slug: str) -> Activity:
        """How busy it is. One with an unfolded journal counts as busy."""
        found = await self._ask(slug, "GET", "activity")
        idle = found.get("idle_s")
        if not isinstance(idle, (int, float)) or idle < 0:
            raise Unavailable(f"{slug} does not say for how long it has been idle")
        return Activity(
            in_flight=_integer(found.get("in_flight")) + _integer(found.get("streams")),
            idle_s=float(idle),
            last_request_at=_seconds(found.get("last_request_at")),
            scheduled_next_at=_seconds(found.get("scheduled_next_at")),
        )

    async def push_state(self, slug: str, state: Mapping[str, Any]) -> Generation:
        """Apply the whole desired state; the generation it then has. Raises `Unavailable` with its refusal."""
        found = await self._ask(slug, "PUT", "state", dict(state), timeout_s=PUSH_S)
        applied = _generation(found.get("generation"))
        if applied is None:
            raise Unavailable(f"{slug} does not say which state it has now")
        return applied

    async def renew_lease(self, slug: str, lease_s: float) -> None:
        """Its keys are good for so long from now."""
        await self._ask(slug, "POST", "lease", {"lease_s": lease_s})

    async def drain(self, slug: str, deadline_s: float, *, suspended: bool = False) -> Drained:
        """Close idle connections, finish calls, fold the journal; of a suspended tenant, end the streams."""
        body: dict[str, Any] = {"deadline_s": deadline_s} | ({"suspended": True} if suspended else {})
        found = await self._ask(slug, "POST", "drain", body, timeout_s=deadline_s + PUSH_S)
        seq, own_hash = _head(found.get("ledger"))
        return Drained(found.get("drained") is True, _integer(found.get("in_flight")), seq, own_hash)

    async def resume(self, slug: str) -> None:
        """Undo a drain."""
        await self._ask(slug, "POST", "resume")

    async def verify(self, slug: str) -> Verified:
        """Have it check its database and its ledger."""
        found = await self._ask(slug, "POST", "verify", timeout_s=VERIFY_S)
        seq, own_hash = _head(found.get("ledger"))
        return Verified(found.get("ok") is True, seq, own_hash, str(found.get("integrity", ""))[:500])

    async def usage(self, slug: str) -> Mapping[str, Any]:
        """Its cumulative counters."""
        return await self._ask(slug, "GET", "usage")

    # --- one call -----------------------------------------------------------------------------------------------------

    async def _ask(
        self, slug: str, method: str, name: str, body: dict[str, Any] | None = None, *, timeout_s: float = ASK_S
    ) -> dict[str, Any]:
        status, found = await self._call(slug, method, name, body, timeout_s)
        if status == 200:
            return found
        error = found.get("error")
        said = str(error.get("message", ""))[:300] if isinstance(error, dict) else ""
        raise Unavailable(f"{slug} answered {method} {name} with {status}: {said}")

    async def _call(
        self, slug: str, method: str, name: str, body: dict[str, Any] | None = None, timeout_s: float = ASK_S
    ) -> tuple[int, dict[str, Any]]:
        path = f"/api/instance/{name}"
        return await request_json(self._socket(slug), method, path, key=self._key(slug), body=body, timeout_s=timeout_s)

    def _socket(self, slug: str) -> Path:
        return self._config.own_socket(slug)

    def _key(self, slug: str) -> str:
        """The key in the instance file as it lies there now; read again only when the file is another."""
        path = self._config.instance_file(slug)
        try:
            found = path.stat()
            same, key = self._keys.get(slug, ((0, 0), ""))
            if same != (found.st_ino, found.st_mtime_ns):
                key = str(orjson.loads(path.read_bytes())["instance_key"])
                self._keys[slug] = ((found.st_ino, found.st_mtime_ns), key)
        except (OSError, ValueError, KeyError):
            self._keys.pop(slug, None)
            raise Unavailable(f"{slug} has no readable instance file") from None
        return key


def _can_be_routed_to(ready: Mapping[str, Any]) -> bool:
    """True also for one whose journal takes nothing: its size limit is reached, or its disk is full.

    It refuses calls itself, with a code that says why. No restart would cure it, and a larger limit must reach it.
    """
    checks = ready.get("checks")
    if not isinstance(checks, dict):
        return ready.get("ready") is True
    return all(usable is True for part, usable in checks.items() if part != "journal")


def _generation(found: object) -> Generation | None:
    if not isinstance(found, dict):
        return None
    return Generation(_integer(found.get("incarnation")), _integer(found.get("number")))


def _head(found: object) -> tuple[int, str]:
    if not isinstance(found, dict):
        return 0, ""
    return _integer(found.get("seq")), str(found.get("hash", ""))[:64]


def _integer(found: object) -> int:
    if isinstance(found, str) and found.isascii() and found.isdigit():
        return int(found)
    return found if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else 0


def _seconds(found: object) -> float | None:
    if not isinstance(found, str):
        return None
    try:
        return datetime.fromisoformat(found).timestamp()
    except ValueError:
        return None
