"""`/api/trust/policies`: policies over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends
from fastapi import Query as QueryParameters
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from instance.brand import policy_store
from instance.brand.policy import Policy, compiled
from instance.brand.policy_input import NewPolicy, PolicyChange, changed, made
from instance.core.errors import StockyardError
from instance.core.ids import new_id
from instance.core.principals import Principal
from instance.core.timestamps import NS_PER_S
from instance.core.writer import LedgerEvent
from instance.system.audit import actor_of
from instance.system.auth import require
from instance.system.credentials import demand
from instance.system.json_response import Json
from instance.system.listing import Query, envelope

if TYPE_CHECKING:
    from instance.brand.app import Brand

TrustRead = Annotated[Principal, Depends(require("trust:read"))]
TrustWrite = Annotated[Principal, Depends(require("trust:write"))]

NS_PER_DAY = 86_400 * NS_PER_S
MATCHES_MAX = 1000


class PageQuery(Query):
    limit: Annotated[int, Field(ge=1, le=500)] = 50
    offset: Annotated[int, Field(ge=0, le=10**9)] = 0


class Trial(BaseModel):
    """A policy and the text that it is tried on."""

    model_config = ConfigDict(extra="forbid")

    policy: NewPolicy | None = None
    id: Annotated[str, Field(max_length=200)] = ""
    text: Annotated[str | None, Field(max_length=1_000_000)] = None
    trace_id: Annotated[str, Field(max_length=64)] = ""


def router(brand: Brand) -> APIRouter:
    """The routes of this page."""
    routes = APIRouter(prefix="/api/trust/policies", tags=["trust"])
    core, policies = brand.core, brand.policies

    def event(principal: Principal, policy: Policy, action: str) -> LedgerEvent:
        detail = {
            "version": policy.version,
            "type": policy.action,
            "enabled": policy.enabled,
            "dry_run": policy.dry_run,
        }
        return LedgerEvent("config_change", actor_of(principal), f"policy:{policy.name}", action, detail)

    async def shown(policy: Policy) -> dict[str, Any]:
        return (await listed([policy]))[0]

    async def listed(chosen: list[Policy]) -> list[dict[str, Any]]:
        since_ns = core.clock.wall_ns() - NS_PER_DAY
        await core.writer.drain()
        hits = await core.database.read(lambda connection: policy_store.hits(connection, since_ns))
        rows = []
        for policy in chosen:
            count, last = hits.get(policy.id, (0, None))
            rows.append({**policy.shown(), "hits_24h": count, "last_hit": last})
        return rows

    @routes.get("", summary="List policies")
    async def list_policies(query: Annotated[PageQuery, QueryParameters()], principal: TrustRead) -> Response:
        await policies.load()
        some = list(policies.current[query.offset : query.offset + query.limit])
        total = len(policies.current)
        answer = envelope("policies", await listed(some), total=total, capped=False, next_cursor=None)
        return Json({**answer, "has_more": query.offset + len(some) < total})

    @routes.post("", status_code=201, summary="Make a policy; it holds from the next call on")
    async def create_policy(body: NewPolicy, principal: TrustWrite) -> Response:
        await policies.load()
        policy = made(body, new_id("pol_"), core.clock.wall_ns())
        await policies.save(policy, event(principal, policy, "create"))
        return Json({"status": "created", **await shown(policy)}, 201)

    @routes.post("/test", summary="Try a policy's patterns on a text")
    async def try_policy(body: Trial, principal: TrustRead) -> Response:
        await policies.load()
        if body.policy is not None:
            policy = made(body.policy, "trial", core.clock.wall_ns())
        else:
            policy = policies.one(body.id)
        text = body.text
        if text is None:
            demand(principal, "content:read")
            text = await stored_text(body.trace_id)
        return Json(tried(policy, text))

    async def stored_text(trace_id: str) -> str:
        await core.writer.drain()
        texts = await core.database.read(lambda c: core.services["lookout"].texts_of(c, trace_id))
        if texts is None:
            raise StockyardError(
                "body_not_captured", "Give a text, or the id of a trace whose texts were kept.", param="text"
            )
        return "\n".join(text.decode("utf-8", "replace") for text in texts)

    @routes.get("/{policy_id}", summary="One policy")
    async def one_policy(policy_id: str, principal: TrustRead) -> Response:
        await policies.load()
        return Json(await shown(policies.one(policy_id)))

    @routes.get("/{policy_id}/violations", summary="What calls met of a policy")
    async def list_violations(
        policy_id: str, query: Annotated[PageQuery, QueryParameters()], principal: TrustRead
    ) -> Response:
        await policies.load()
        policy = policies.one(policy_id)
        await core.writer.drain()
        rows = await core.database.read(
            lambda connection: policy_store.violations(connection, policy.id, query.limit, query.offset)
        )
        return Json(envelope("violations", rows, total=len(rows), capped=False, next_cursor=None))

    @routes.put("/{policy_id}", summary="Change a policy; what is left out stays")
    async def change_policy(policy_id: str, body: PolicyChange, principal: TrustWrite) -> Response:
        await policies.load()
        policy = changed(policies.one(policy_id), body, core.clock.wall_ns())
        await policies.save(policy, event(principal, policy, "update"))
        return Json({"status": "updated", **await shown(policy)})

    @routes.delete("/{policy_id}", summary="Remove a policy")
    async def delete_policy(policy_id: str, principal: TrustWrite) -> Response:
        await policies.load()
        policy = policies.one(policy_id)
        await policies.delete(policy.id, event(principal, policy, "delete"))
        return Json({"status": "deleted", "id": policy.id})

    return routes


def tried(policy: Policy, text: str) -> dict[str, Any]:
    """What the policy's patterns find in a text, and what the text would become."""
    spans = sorted(
        (match.start(), match.end())
        for pattern in policy.conditions.patterns
        for match in compiled(pattern.pattern).finditer(text)
    )[:MATCHES_MAX]
    result, at = [], 0
    for start, end in spans:
        if start >= at:
            result += [text[at:start], policy.replacement or "[redacted]"]
            at = end
    redacts = policy.action == "redact"
    return {
        "matched": bool(spans),
        "matches": [{"start": start, "end": end} for start, end in spans],
        "action": policy.action if spans else None,
        "result": "".join((*result, text[at:])) if redacts else text if policy.action != "block" or not spans else None,
    }
