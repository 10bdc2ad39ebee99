"""`/api/cache`: what the caches hold and saved, and emptying them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query

from instance.chute.modules.caching.cachelayer import CacheLayer
from instance.core.money import nano_to_usd
from instance.core.principals import Principal
from instance.core.writer import LedgerEvent
from instance.system.auth import require

if TYPE_CHECKING:
    from instance.chute.app import Chute

Reader = Annotated[Principal, Depends(require("proxy:read"))]
Writer = Annotated[Principal, Depends(require("proxy:write"))]

SECOND_NS = 1_000_000_000


def cache_router(chute: Chute) -> APIRouter:
    """The routes of this page."""
    router = APIRouter(prefix="/api/cache", tags=["proxy"])

    def exact() -> CacheLayer | None:
        running = chute.registry.slots["cachelayer"].running
        return running if isinstance(running, CacheLayer) else None

    @router.get("/stats")
    async def stats(_: Reader) -> dict[str, Any]:
        """Entries, hits and savings of each cache that is on, since it was switched on."""
        module = exact()
        by_cache = {"exact": _shown(module)} if module is not None else {}
        totals = by_cache.values()
        hits, misses = sum(row["hits"] for row in totals), sum(row["misses"] for row in totals)
        return {
            "entries": sum(row["entries"] for row in totals),
            "hit_rate": _rate(hits, misses),
            "size_bytes": sum(row["size_bytes"] for row in totals),
            "savings_usd": sum(row["saved_usd"] for row in totals),
            "by_cache": by_cache,
        }

    @router.delete("")
    async def clear(
        principal: Writer,
        cache: Annotated[Literal["exact", "semantic", "embed"] | None, Query(description="Only this cache.")] = None,
        model: Annotated[str | None, Query(max_length=256, description="Only answers of this asked model.")] = None,
        team: Annotated[str | None, Query(max_length=256, description="Only answers to this team.")] = None,
        older_than_s: Annotated[int | None, Query(ge=0, description="Only answers of at least this age.")] = None,
    ) -> dict[str, Any]:
        """Remove answers that fit all that is given, in memory and on disk."""
        module = exact()
        removed = 0
        if module is not None and cache in (None, "exact"):
            before_ns = None if older_than_s is None else chute.core.clock.wall_ns() - older_than_s * SECOND_NS
            removed = await module.store.clear(model=model, team=team, created_before_ns=before_ns)
        event = LedgerEvent(
            "admin_action", f"key:{principal.key_id}", f"cache:{cache or 'all'}", "clear", {"removed": removed}
        )
        await chute.core.writer.write(lambda connection: None, [event])
        return {"status": "cleared", "removed": removed}

    return router


def _shown(module: CacheLayer) -> dict[str, Any]:
    store = module.store
    return {
        "entries": len(store),
        "hits": store.hits,
        "misses": store.misses,
        "hit_rate": _rate(store.hits, store.misses),
        "size_bytes": store.size_bytes,
        "saved_usd": nano_to_usd(store.saved_nano),
    }


def _rate(hits: int, misses: int) -> float:
    return round(hits / (hits + misses), 4) if hits + misses else 0.0
