"""`/health`: the process lives. `/ready`: it can take calls. Neither needs a key, and `/health` touches no disk."""

from __future__ import annotations

import sqlite3
from time import monotonic
from typing import TYPE_CHECKING

from instance.system.raw_http import Scope, Send, method_not_allowed, send_json
from instance.version import VERSION

if TYPE_CHECKING:
    from instance.server import Instance

STARTED_AT = monotonic()


async def health(instance: Instance, scope: Scope, send: Send) -> None:
    """Answer `GET /health`."""
    _require_get(scope)
    uptime_s = round(monotonic() - STARTED_AT, 3)
    await send_json(
        scope, send, 200, {"status": "ok", "product": "stockyard", "version": VERSION, "uptime_s": uptime_s}
    )


async def ready(instance: Instance, scope: Scope, send: Send) -> None:
    """Answer `GET /ready`: 200 when database, journal and plan are usable and the instance is not draining, else 503."""
    _require_get(scope)
    checks = await readiness(instance)
    is_ready = all(checks.values()) and not instance.draining
    answer = {"ready": is_ready, "draining": instance.draining, "checks": checks}
    await send_json(scope, send, 200 if is_ready else 503, answer)


async def readiness(instance: Instance) -> dict[str, bool]:
    """Which parts are usable."""
    try:
        await instance.core.database.read(lambda connection: connection.execute("SELECT 1").fetchone())
        database = True
    except sqlite3.Error:
        database = False
    return {
        "database": database,
        "journal": instance.core.journal.available,
        "plan": instance.chute.registry.plan("chat") is not None,
    }


def _require_get(scope: Scope) -> None:
    if scope["method"] not in ("GET", "HEAD"):
        raise method_not_allowed("GET", "HEAD")
