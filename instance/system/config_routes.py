"""`/api/config`: the effective settings with their sources, and changes of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Body, Depends, Header

from instance.chute.module_secrets import holds_secret
from instance.core.errors import StockyardError
from instance.core.principals import Principal
from instance.core.settings import Settings
from instance.system.audit import changed
from instance.system.auth import require
from instance.system.json_response import Json
from instance.system.settings_view import LIVE, MASKED, etag, paths_of, shown

if TYPE_CHECKING:
    from instance.server import Instance

ConfigRead = Annotated[Principal, Depends(require("config:read"))]
ConfigWrite = Annotated[Principal, Depends(require("config:write"))]
Document = Annotated[dict[str, Any], Body(description="Partial settings, nested by section; null resets one.")]
IfMatch = Annotated[str | None, Header(description="The `ETag` that the change was made from.")]


def router(instance: Instance) -> APIRouter:
    """The routes of one instance."""
    routes = APIRouter(prefix="/api/config", tags=["config"])
    core = instance.core

    def current() -> dict[str, Any]:
        return shown(core.settings, core.sources, module_secrets())

    def module_secrets() -> dict[str, frozenset[str]]:
        slots = core.services["registry"].slots
        return {name: slot.cls.secret_settings for name, slot in slots.items() if slot.cls.secret_settings}

    @routes.get("", summary="The effective settings, each with where it comes from")
    async def get_config(principal: ConfigRead) -> Json:
        document = current()
        return Json(document, headers={"etag": etag(document)})

    @routes.get("/schema", summary="JSON Schema of all settings")
    async def get_schema(principal: ConfigRead) -> Json:
        return Json(Settings.model_json_schema())

    @routes.post("", summary="Change settings: merged over the ones that the API set before")
    async def merge_config(document: Document, principal: ConfigWrite, if_match: IfMatch = None) -> Json:
        return await change(dict(paths_of(document)), principal, if_match)

    @routes.put("", summary="Change settings: replaces all that the API set before")
    async def replace_config(document: Document, principal: ConfigWrite, if_match: IfMatch = None) -> Json:
        stored = await core.database.read(_stored_paths)
        return await change(dict.fromkeys(stored) | dict(paths_of(document)), principal, if_match)

    async def change(changes: Mapping[str, Any], principal: Principal, if_match: str | None) -> Json:
        if if_match is not None and if_match != etag(current()):
            raise StockyardError("precondition_failed", "The settings were changed meanwhile; read them again.")
        masked = next((path for path, value in changes.items() if value == MASKED), None)
        if masked is not None:
            message = "This is the mask that is shown for a secret; give the secret, or leave the field out."
            raise StockyardError("invalid_value", f"{masked}: {message}", param=masked)
        for name, fields in module_secrets().items():
            for path, value in changes.items():
                if path.startswith(f"modules.{name}.") and holds_secret({path.rpartition(".")[2]: value}, fields):
                    message = f"secrets of modules are stored, sealed, with PUT /api/proxy/modules/{name}."
                    raise StockyardError("invalid_value", f"{path}: {message}", param=path)
        event = changed(principal, "config", "update", changes, event_type="config_change")
        await core.change_settings(changes, [event])
        paths = sorted(changes)
        return Json(
            {"status": "updated", "changed": paths, "restart_needed": [path for path in paths if path not in LIVE]},
            headers={"etag": etag(current())},
        )

    return routes


def _stored_paths(connection: sqlite3.Connection) -> list[str]:
    return [path for (path,) in connection.execute("SELECT path FROM settings")]
