"""The parts of an evidence pack beside the ledger, each as NDJSON or one JSON document."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from instance.brand import feedback_store
from instance.core.money import nano_to_usd
from instance.core.timestamps import parse_time, rfc3339_or_none
from instance.system.settings_view import shown

if TYPE_CHECKING:
    from instance.brand.app import Brand
    from instance.brand.evidence_store import Pack
    from instance.core.core import Core

PAGE = 500

Part = tuple[str, AsyncIterator[bytes]]


def parts(brand: Brand, pack: Pack, included: Sequence[str]) -> Iterator[Part]:
    """`(file, lines)` of each part that was asked for."""
    core = brand.core
    start_ns, end_ns = parse_time(pack["date_from"]), parse_time(pack["date_to"])
    lookout = core.services["lookout"]
    if "keys" in included:
        yield "keys.ndjson", _lines(_keys(core))
    if "config" in included:
        yield "config.json", _lines([_config(core)])
    if "policies" in included:
        yield "policies.ndjson", _lines([policy.shown() for policy in brand.policies.current])
    if "feedback" in included:
        yield "feedback.ndjson", _feedback(core, start_ns, end_ns)
    if "costs" in included:
        yield "costs.json", lookout.costs_document(start_ns, end_ns)
    if "traces" in included:
        yield "traces.ndjson", lookout.traces_of(start_ns, end_ns)


async def _lines(rows: Sequence[Any]) -> AsyncIterator[bytes]:
    for row in rows:
        yield orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)


async def _feedback(core: Core, start_ns: int, end_ns: int) -> AsyncIterator[bytes]:
    narrowed = feedback_store.FeedbackFilter()
    narrowed.add("created_at_ns >= ? AND created_at_ns < ?", start_ns, end_ns)
    offset = 0
    while True:
        read = partial(feedback_store.rows, narrowed=narrowed, limit=PAGE, offset=offset)
        rows = await core.database.read(read)
        for row in rows:
            yield orjson.dumps(feedback_store.shown(row), option=orjson.OPT_APPEND_NEWLINE)
        if len(rows) < PAGE:
            return
        offset += PAGE


def _keys(core: Core) -> list[dict[str, Any]]:
    """Who could do what: never a key's text or its digest."""
    return [
        {
            "id": principal.key_id,
            "name": principal.name,
            "prefix": principal.prefix,
            "scopes": sorted(principal.scopes),
            "team": principal.team,
            "user": principal.user,
            "models": list(principal.models),
            "ip_allow": list(principal.ip_allow),
            "expires_at": rfc3339_or_none(principal.expires_at_ns),
            "rpm": principal.rpm,
            "budget_month_usd": nano_to_usd(principal.budget_month_nano),
            "revoked": principal.revoked,
            "origin": principal.origin,
        }
        for principal in core.keys.principals()
    ]


def _config(core: Core) -> dict[str, Any]:
    slots = core.services["registry"].slots
    secrets = {name: slot.cls.secret_settings for name, slot in slots.items() if slot.cls.secret_settings}
    modules = {
        name: {"enabled": slot.enabled, "config": _masked(slot.settings.model_dump(mode="json"), secrets.get(name))}
        for name, slot in slots.items()
    }
    return {"settings": shown(core.settings, core.sources, secrets), "modules": modules}


def _masked(value: Any, secret: frozenset[str] | None) -> Any:
    if not secret:
        return value
    if isinstance(value, dict):
        return {name: "***" if name in secret and part else _masked(part, secret) for name, part in value.items()}
    return [_masked(part, secret) for part in value] if isinstance(value, list) else value
