"""`/api/proxy/modules`, `chain` and `status`: the modules listed, switched and configured while the proxy runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from instance.chute.client_address import client_address
from instance.chute.module_trial import try_module_on
from instance.chute.order import GROUPS
from instance.chute.slot import Slot, describe, reported
from instance.core.errors import REGISTRY, StockyardError
from instance.core.principals import Principal
from instance.core.timestamps import rfc3339
from instance.system.auth import require

if TYPE_CHECKING:
    from instance.chute.app import Chute

GROUP_NAMES = (
    "observe",
    "admission",
    "answer shape",
    "prompt",
    "policy and safety",
    "smaller prompt",
    "targets",
    "fit and afford",
    "answer",
    "check",
    "reach",
    "dialect",
)

Reader = Annotated[Principal, Depends(require("proxy:read"))]
Writer = Annotated[Principal, Depends(require("proxy:write"))]


class Change(BaseModel):
    """What `PUT /api/proxy/modules/{name}` takes."""

    model_config = ConfigDict(extra="forbid")

    enabled: bool | None = Field(default=None, description="Switch the module on or off.")
    config: dict[str, Any] | None = Field(
        default=None, description="Settings, merged over the current; null resets a field."
    )
    replace: bool = Field(default=False, description="Replace the settings instead of merging.")
    priority: int | None = Field(default=None, ge=0, description="Position in the chain, within the module's group.")
    confirm: bool = Field(default=False, description="Save also what may shut out whoever saves it.")


class Bulk(BaseModel):
    """What `POST /api/proxy/modules/bulk` takes: `enabled` with `modules` or `category`, or `changes`."""

    model_config = ConfigDict(extra="forbid")

    enabled: bool | None = None
    modules: list[str] | None = None
    category: str | None = None
    changes: dict[str, Change] | None = None


class Trial(BaseModel):
    """What `POST /api/proxy/modules/{name}/test` takes."""

    model_config = ConfigDict(extra="forbid")

    request: dict[str, Any] = Field(description="A chat request; without a model it asks for the built-in one.")
    response: dict[str, Any] | None = Field(
        default=None,
        description="A chat completion, as if a provider had answered with it; absent: only the request counts.",
    )
    headers: dict[str, str] = Field(default={}, max_length=100, description="Headers of the request, without its key.")


def _shown(slot: Slot, position: int) -> dict[str, Any]:
    shown = describe(slot, position, GROUP_NAMES[slot.order()[0] - 1])
    updated = shown.pop("updated_at_ns")
    shown["updated_at"] = rfc3339(updated) if updated else None
    return shown


def _status(code: str) -> int | None:
    """Of a code that is not in the registry only the module that makes it knows the status."""
    return REGISTRY[code].status if code in REGISTRY else None


def routers(chute: Chute) -> APIRouter:
    """Every router of the proxy, for the FastAPI application."""
    from instance.chute import keypool_routes, provider_routes
    from instance.chute.agent_routes import agent_router
    from instance.chute.alias_routes import alias_router
    from instance.chute.cache_routes import cache_router
    from instance.chute.debug_routes import debug_router
    from instance.chute.drift_routes import drift_router
    from instance.chute.explain_routes import explain_router
    from instance.chute.fence_routes import fence_router
    from instance.chute.image_routes import image_router
    from instance.chute.mockllm_routes import mockllm_router
    from instance.chute.route_routes import route_router
    from instance.chute.stream_routes import stream_router
    from instance.chute.usage_routes import usage_router

    whole = APIRouter()
    whole.include_router(module_router(chute))
    whole.include_router(provider_routes.router(chute))
    whole.include_router(keypool_routes.router(chute))
    whole.include_router(fence_router(chute))
    whole.include_router(agent_router(chute))
    whole.include_router(debug_router(chute))
    whole.include_router(image_router(chute))
    whole.include_router(route_router(chute))
    whole.include_router(alias_router(chute))
    whole.include_router(explain_router(chute))
    whole.include_router(cache_router(chute))
    whole.include_router(stream_router(chute))
    whole.include_router(drift_router(chute))
    whole.include_router(mockllm_router(chute))
    whole.include_router(usage_router(chute))
    whole.include_router(chute.billing.router())
    return whole


def module_router(chute: Chute) -> APIRouter:
    """The routes of this page."""
    registry = chute.registry
    router = APIRouter(prefix="/api/proxy", tags=["proxy"])

    def saver(request: Request) -> tuple[str, dict[bytes, bytes]]:
        headers = dict(request.scope["headers"])
        return client_address(request.scope.get("client"), headers, chute.trusted_proxies), headers

    def position(slot: Slot) -> int:
        return registry.ordered().index(slot)

    @router.get("/modules")
    async def list_modules(
        _: Reader,
        category: Annotated[str | None, Query(description="Only this category.")] = None,
        enabled: Annotated[bool | None, Query(description="Only those that are on, or off.")] = None,
        q: Annotated[str | None, Query(description="Words in name or summary.", max_length=200)] = None,
    ) -> dict[str, Any]:
        """Every module with its state, settings and counters, in the chain's order."""
        rows = [
            _shown(slot, place)
            for place, slot in enumerate(registry.ordered())
            if (category is None or slot.cls.category == category)
            and (enabled is None or slot.enabled == enabled)
            and (q is None or q.lower() in f"{slot.name} {slot.cls.summary}".lower())
        ]
        return {"modules": rows, "count": len(rows), "enabled_count": sum(row["enabled"] for row in rows)}

    @router.post("/modules/bulk")
    async def bulk(principal: Writer, body: Bulk, request: Request) -> dict[str, Any]:
        """Switch many modules at once, all or none."""
        if body.changes is not None:
            changes = {name: change.model_dump(exclude_unset=True) for name, change in body.changes.items()}
        else:
            if body.enabled is None or (body.modules is None) == (body.category is None):
                raise StockyardError("missing_field", "Give `changes`, or `enabled` with `modules` or `category`.")
            names = body.modules
            if names is None:
                names = [slot.name for slot in registry.ordered() if slot.cls.category == body.category]
                if not names:
                    raise StockyardError("invalid_value", f"There is no category {body.category!r}.", param="category")
            changes = {name: {"enabled": body.enabled} for name in names}
        unknown = [name for name in changes if name not in registry.slots]
        if unknown:
            raise StockyardError("invalid_value", f"There are no modules {', '.join(unknown)}.", param="modules")
        before = {name: (registry.slots[name].enabled, registry.slots[name].config) for name in changes}
        slots = await registry.change(changes, f"key:{principal.key_id}", saver(request))
        modules = [{"name": slot.name, "changed": before[slot.name] != (slot.enabled, slot.config)} for slot in slots]
        return {"status": "updated", "affected": len(modules), "enabled": body.enabled, "modules": modules}

    @router.get("/modules/{name}")
    async def one_module(name: str, _: Reader) -> dict[str, Any]:
        """One module, with the JSON Schema of its settings and their defaults."""
        slot = registry.slot(name)
        return {
            **_shown(slot, position(slot)),
            "schema": slot.cls.Settings.model_json_schema(),
            "defaults": slot.cls.Settings().model_dump(mode="json"),
            "rejects": [{"code": code, "status": _status(code)} for code in slot.cls.rejects],
            "docs": (slot.cls.__doc__ or "").strip(),
            "report": reported(slot),
        }

    @router.put("/modules/{name}")
    async def change_module(name: str, principal: Writer, body: Change, request: Request) -> dict[str, Any]:
        """Switch or configure a module; takes effect with the next call."""
        slot = registry.slot(name)
        change = {name: body.model_dump(exclude_unset=True)}
        await registry.change(change, f"key:{principal.key_id}", saver(request))
        return {
            "status": "updated",
            "module": name,
            "enabled": slot.enabled,
            "config": slot.settings.model_dump(mode="json"),
            "priority": position(slot),
            "warnings": [],
        }

    @router.post("/modules/{name}/reset")
    async def reset_module(name: str, principal: Writer) -> dict[str, Any]:
        """Back to the defaults and the configuration file."""
        slot = await registry.reset(name, f"key:{principal.key_id}")
        return {
            "status": "updated",
            "module": name,
            "enabled": slot.enabled,
            "config": slot.settings.model_dump(mode="json"),
        }

    @router.post("/modules/{name}/test")
    async def test_module(name: str, principal: Reader, body: Trial) -> dict[str, Any]:
        """What this module alone does with a sample; no provider is called, and nothing is counted or stored."""
        return await try_module_on(chute, principal, name, body.request, body.response, body.headers)

    @router.get("/chain")
    async def chain(_: Reader) -> dict[str, Any]:
        """The compiled plan in order."""
        ordered = registry.ordered()
        rows = []
        for place, slot in enumerate(ordered):
            shown = _shown(slot, place)
            keys = ("name", "category", "group", "enabled", "in_chain", "hooks", "on_error")
            rows.append({"position": place, **{key: shown[key] for key in keys}})
        length = sum(slot.in_chain for slot in ordered)
        return {"chain": rows, "chain_length": length, "total_modules": len(ordered), "plan_version": registry.version}

    @router.get("/status")
    async def status(_: Reader) -> dict[str, Any]:
        """The proxy at a glance."""
        slots = registry.slots.values()
        return {
            "app": "proxy",
            "status": "ok" if chute.core.journal.available else "degraded",
            "total_modules": len(slots),
            "groups": len(GROUPS),
            "enabled_modules": sum(slot.enabled for slot in slots),
            "live_chain": [slot.name for slot in registry.ordered() if slot.in_chain],
            "routes": len(chute.routes.routes),
            "in_flight": chute.in_flight,
            "requests": chute.requests,
            "errors": chute.errors,
            "overhead_p50_us": chute.overhead.quantile_us(0.5),
            "overhead_p99_us": chute.overhead.quantile_us(0.99),
        }

    return router
