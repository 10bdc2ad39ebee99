"""`/api/proxy/mockllm/fixtures`: the fixtures and recordings of mockllm as one file."""

from __future__ import annotations

import base64
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from instance.chute.modules.forge import recordings
from instance.chute.modules.forge.mockllm import SERVICE, MockLLM
from instance.chute.modules.forge.recordings import Recording
from instance.core.errors import StockyardError
from instance.core.principals import Principal
from instance.core.writer import LedgerEvent
from instance.system.auth import require
from instance.system.credentials import demand
from instance.system.json_response import Json

if TYPE_CHECKING:
    from instance.chute.app import Chute

Reader = Annotated[Principal, Depends(require("proxy:read"))]
Writer = Annotated[Principal, Depends(require("proxy:write"))]

_TEXTS = ("key", "kind", "model", "native")


def mockllm_router(chute: Chute) -> APIRouter:
    """The routes of this page."""
    router = APIRouter(prefix="/api/proxy/mockllm/fixtures", tags=["proxy"])
    core, registry = chute.core, chute.registry

    @router.get("", summary="Fixtures and recordings as one file")
    async def export(
        principal: Reader, format: Annotated[Literal["json", "yaml"], Query(description="Form of the file.")] = "json"
    ) -> Response:
        """Everything that mockllm answers from."""
        demand(principal, "content:read")
        running: MockLLM | None = core.services.get(SERVICE)
        if running is not None:
            await running.flush()
        fixtures = registry.slot("mockllm").settings.model_dump(mode="json", exclude_defaults=True).get("fixtures", [])
        rows = await core.database.read(recordings.all_of)
        whole = {"version": 1, "fixtures": fixtures, "recordings": [_shown(row) for row in rows]}
        if format == "json":
            return Json(whole)
        return Response(yaml.safe_dump(whole, sort_keys=False, allow_unicode=True), media_type="application/yaml")

    @router.put("", summary="Take fixtures and recordings from a file")
    async def take(request: Request, principal: Writer) -> dict[str, Any]:
        """The file's fixtures replace those there are; its recordings are added."""
        data = await request.body()
        whole = _read(data)
        taken = [_recording(row, core.clock.wall_ns()) for row in whole.get("recordings") or ()]
        fixtures = whole.get("fixtures") or []
        await registry.change({"mockllm": {"config": {"fixtures": fixtures}}}, f"key:{principal.key_id}")
        event = LedgerEvent("admin_action", f"key:{principal.key_id}", "mockllm", "import", {"recordings": len(taken)})
        await core.writer.write(partial(recordings.put, recordings=taken), [event])
        return {"status": "updated", "fixtures": len(fixtures), "recordings": len(taken)}

    @router.delete("/recordings", summary="Remove every recording")
    async def clear(principal: Writer) -> dict[str, Any]:
        """Remove what was recorded; fixtures stay."""
        event = LedgerEvent("admin_action", f"key:{principal.key_id}", "mockllm", "clear", {})
        return {"status": "cleared", "removed": await core.writer.write(recordings.clear, [event])}

    return router


def _shown(row: Recording) -> dict[str, Any]:
    shown: dict[str, Any] = {name: getattr(row, name) for name in _TEXTS}
    for name in ("body", "events"):
        data: bytes = getattr(row, name)
        try:
            shown[name] = data.decode()
        except UnicodeDecodeError:
            shown[f"{name}_base64"] = base64.b64encode(data).decode()
    return shown


def _read(data: bytes) -> dict[str, Any]:
    try:
        whole = yaml.safe_load(data)  # JSON is YAML too
    except (yaml.YAMLError, ValueError, RecursionError):
        whole = None
    if not isinstance(whole, dict) or whole.get("version") != 1:
        raise StockyardError("invalid_value", "This is no file of fixtures (version 1, JSON or YAML).")
    if not all(whole.get(name) is None or isinstance(whole[name], list) for name in ("fixtures", "recordings")):
        raise StockyardError("invalid_value", "`fixtures` and `recordings` are lists.")
    return whole


def _recording(row: Any, now_ns: int) -> Recording:
    problem = StockyardError("invalid_value", "A recording of the file is not whole.", param="recordings")
    if not isinstance(row, dict) or not all(isinstance(row.get(name), str) for name in _TEXTS):
        raise problem
    data = {}
    for name in ("body", "events"):
        try:
            text = row.get(name, "")
            data[name] = base64.b64decode(row[f"{name}_base64"]) if f"{name}_base64" in row else text.encode()
        except (ValueError, AttributeError, TypeError):
            raise problem from None
    return Recording(row["key"], row["kind"], row["model"], data["body"], data["events"], row["native"], now_ns)
