"""`/api/cache`: what the caches hold and saved, and emptying them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query

from instance.chute.modules.caching.answer_store import AnswerStore
from instance.chute.modules.caching.vector_store import VectorStore
from instance.core.money import nano_to_usd
from instance.core.principals import Principal
from instance.core.writer import LedgerEvent
from instance.system.auth import require

if TYPE_CHECKING:
    from instance.chute.app import Chute

Reader = Annotated[Principal, Depends(require("proxy:read"))]
Writer = Annotated[Principal, Depends(require("proxy:write"))]

SECOND_NS = 1_000_000_000
CACHES = {"exact": "cachelayer", "semantic": "semanticcache", "embed": "embedcache"}
"""Name in this API -> module."""


def cache_router(chute: Chute) -> APIRouter:
    """The routes of this page."""
    router = APIRouter(prefix="/api/cache", tags=["proxy"])

    def stores() -> dict[str, AnswerStore | VectorStore]:
        """The store of each cache that is on, by the name that this API gives it."""
        found: dict[str, AnswerStore | VectorStore] = {}
        for name, module in CACHES.items():
            running = chute.registry.slots[module].running if module in chute.registry.slots else None
            if running is not None:
                found[name] = running.store  # type: ignore[attr-defined]
        return found

    @router.get("/stats")
    async def stats(_: Reader) -> dict[str, Any]:
        """Entries, hits and savings of each cache that is on, since it was switched on."""
        by_cache = {name: _shown(store) for name, store in stores().items()}
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
        removed = 0
        before_ns = None if older_than_s is None else chute.core.clock.wall_ns() - older_than_s * SECOND_NS
        for name, store in stores().items():
            if cache in (None, name):
                removed += await store.clear(model=model, team=team, created_before_ns=before_ns)
        event = LedgerEvent(
            "admin_action", f"key:{principal.key_id}", f"cache:{cache or 'all'}", "clear", {"removed": removed}
        )
        await chute.core.writer.write(lambda connection: None, [event])
        return {"status": "cleared", "removed": removed}

    return router


def _shown(store: AnswerStore | VectorStore) -> dict[str, Any]:
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
