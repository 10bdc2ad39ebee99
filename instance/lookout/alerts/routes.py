"""`/api/observe/alerts`: the rules, whether they fire, and what they fired for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Query

from instance.core.principals import Principal
from instance.core.timestamps import rfc3339, rfc3339_or_none
from instance.core.writer import LedgerEvent
from instance.lookout.alerts import delivery_store, store
from instance.lookout.alerts.rule import Rule
from instance.lookout.alerts.rule_body import AlertChange, NewAlert, channel_settings, require_sense, shown
from instance.system.audit import changed
from instance.system.auth import require

if TYPE_CHECKING:
    from instance.core.core import Core
    from instance.lookout.alerts.alerts import Alerts

Reader = Annotated[Principal, Depends(require("observe:read"))]
Writer = Annotated[Principal, Depends(require("observe:write"))]
Limit = Annotated[int, Query(ge=1, le=500)]
Offset = Annotated[int, Query(ge=0, le=10**9)]


def alert_router(alerts: Alerts, core: Core) -> APIRouter:
    """The routes of this page."""
    router = APIRouter(prefix="/api/observe/alerts", tags=["observe"])

    def event(principal: Principal, action: str, rule: Rule, body: AlertChange | None = None) -> list[LedgerEvent]:
        fields = body.model_fields_set if body is not None else ()
        return [changed(principal, f"alert:{rule.name}", action, fields)]

    @router.get("", summary="List alerts")
    async def list_alerts(_: Reader, limit: Limit = 50, offset: Offset = 0) -> dict[str, Any]:
        """Every alert with how it stands, by id."""
        await alerts.load()
        rows = [shown(alerts, kept) for kept in alerts.kept.values()]
        return _listed("alerts", rows[offset : offset + limit], len(rows), offset)

    @router.post("", status_code=201, summary="Make an alert")
    async def create_alert(principal: Writer, body: NewAlert) -> dict[str, Any]:
        """Make an alert. The secret that signs a webhook's notices is shown this once when it is made here."""
        await alerts.load()
        given = {"for_s": alerts.for_s, "cooldown_seconds": alerts.cooldown_s, **body.fields()}
        rule = Rule(id=0, created_at_ns=core.clock.wall_ns(), **given)
        require_sense(rule)
        config, secrets, made = channel_settings(alerts, rule, body, None)
        rule = await alerts.save(replace(rule, channel_config=config), secrets, event(principal, "create", rule, body))
        answer = {"status": "created", **shown(alerts, alerts.one(rule.id))}
        return {**answer, "secret": made} if made else answer

    @router.get("/history", summary="What alerts fired for")
    async def history(
        _: Reader,
        limit: Limit = 50,
        offset: Offset = 0,
        rule_id: Annotated[int | None, Query(description="Only this alert's.")] = None,
    ) -> dict[str, Any]:
        """Each time that an alert fired, the latest first."""
        rows, total = await core.database.read(lambda connection: store.history(connection, limit, offset, rule_id))
        return _listed("history", [_of_history(row) for row in rows], total, offset)

    @router.get("/{alert_id}", summary="One alert")
    async def read_alert(alert_id: int, _: Reader) -> dict[str, Any]:
        """One alert with how it stands."""
        await alerts.load()
        return shown(alerts, alerts.one(alert_id))

    @router.put("/{alert_id}", summary="Change an alert")
    async def change_alert(alert_id: int, principal: Writer, body: AlertChange) -> dict[str, Any]:
        """Change an alert; holds from the next look on."""
        await alerts.load()
        before = alerts.one(alert_id)
        rule = replace(before.rule, **body.fields())
        if body.threshold is not None and body.times_usual is None:
            rule = replace(rule, times_usual=0.0)
        require_sense(rule)
        config, secrets, made = channel_settings(alerts, rule, body, before)
        await alerts.save(replace(rule, channel_config=config), secrets, event(principal, "update", rule, body))
        answer = {"status": "updated", **shown(alerts, alerts.one(alert_id))}
        return {**answer, "secret": made} if made else answer

    @router.delete("/{alert_id}", summary="Delete an alert")
    async def delete_alert(alert_id: int, principal: Writer) -> dict[str, Any]:
        """Remove an alert. Its history stays."""
        await alerts.load()
        await alerts.delete(alert_id, event(principal, "delete", alerts.one(alert_id).rule))
        return {"status": "deleted", "id": alert_id}

    @router.post("/{alert_id}/test", summary="Look now, and deliver a test notice")
    async def test_alert(alert_id: int, _: Writer) -> dict[str, Any]:
        """The value now, whether the alert would fire, and whether a notice reached its channel."""
        await alerts.load()
        return await alerts.test(alert_id)

    @router.get("/{alert_id}/deliveries", summary="Notices of an alert and what became of them")
    async def deliveries(alert_id: int, _: Reader) -> dict[str, Any]:
        """The latest notices of an alert, the newest first."""
        await alerts.load()
        alerts.one(alert_id)
        rows = await core.database.read(lambda connection: delivery_store.of_rule(connection, alert_id))
        names = ("id", "event", "status", "attempts", "http_status", "error")
        listed = [{**dict(zip(names, row, strict=False)), "at": rfc3339(row[6])} for row in rows]
        return _listed("deliveries", listed, len(listed), 0)

    return router


def _listed(name: str, rows: list[dict[str, Any]], total: int, offset: int) -> dict[str, Any]:
    return {
        name: rows,
        "count": len(rows),
        "total": total,
        "has_more": offset + len(rows) < total,
        "next_cursor": None,
    }


def _of_history(row: tuple[Any, ...]) -> dict[str, Any]:
    return {
        "id": row[0],
        "rule_id": row[1],
        "rule_name": row[2],
        "metric": row[3],
        "metric_value": row[4],
        "threshold": row[5],
        "peak": row[6],
        "state": "resolved" if row[12] is not None else "fired",
        "message": row[7],
        "trace_ids": orjson.loads(row[8]),
        "delivered": bool(row[9]),
        "error": row[10] or None,
        "fired_at": rfc3339(row[11]),
        "resolved_at": rfc3339_or_none(row[12]),
    }
