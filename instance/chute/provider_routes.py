"""`/api/proxy/providers` and `/api/proxy/prices`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Query, status
from pydantic import BaseModel, ConfigDict, Field

from instance.chute.price_rows import price_row
from instance.chute.provider_admin import ProviderAdmin
from instance.chute.provider_spec import DIALECTS
from instance.core.errors import StockyardError
from instance.core.instance_file import may_call_private_networks
from instance.core.principals import Principal
from instance.system.auth import require

if TYPE_CHECKING:
    from instance.chute.app import Chute

Reader = Annotated[Principal, Depends(require("proxy:read"))]
Writer = Annotated[Principal, Depends(require("proxy:write"))]
Text = Annotated[str, Field(max_length=2000)]


class ProviderFields(BaseModel):
    """What can be set of a provider; `null` gives a field back to the configuration."""

    model_config = ConfigDict(extra="forbid")

    type: Text | None = Field(default=None, description=f"The dialect it speaks: {', '.join(DIALECTS)}.")
    base_url: Text | None = Field(default=None, description="Like https://api.openai.com/v1.")
    api_key: str | None = Field(default=None, max_length=4096, description="Write-only; kept sealed.")
    auth: Text | None = Field(
        default=None,
        description="How the key is sent: bearer, header (the type's own, like `x-api-key`), none, or shim.",
    )
    headers: dict[str, str] | None = Field(default=None, max_length=32, description="Sent with every call.")
    models: list[Text] | None = Field(default=None, max_length=5000, description="Bare names that belong to it.")
    region: Text | None = Field(default=None, description="Where it runs, for routing by region.")
    priority: int | None = Field(default=None, ge=0, le=10_000, description="Lower is preferred; 100 by default.")
    timeout_s: float | None = Field(default=None, gt=0, le=86_400, description="Seconds a whole call to it may take.")
    enabled: bool | None = Field(default=None, description="Off: no call goes to it.")


class NewProvider(ProviderFields):
    """What `POST /api/proxy/providers` takes."""

    name: str = Field(max_length=63, description="1 to 63 of a-z, 0-9 and -.")


class Check(BaseModel):
    """What a check does: asks for the list of models, or with `chat` and `model` for one token."""

    model_config = ConfigDict(extra="forbid")

    chat: bool = False
    model: str = Field(default="", max_length=200)


def router(chute: Chute) -> APIRouter:
    """The routes of this page."""
    core = chute.core
    admin = ProviderAdmin(core, chute.providers, allow_private_networks=may_call_private_networks(core.hosted))
    routes = APIRouter(prefix="/api/proxy", tags=["proxy"])

    @routes.get("/providers")
    async def list_providers(_: Reader) -> dict[str, Any]:
        """Every provider, the bundled ones without a key too."""
        rows = admin.list()
        return {"providers": rows, "count": len(rows), "total": len(rows), "has_more": False, "next_cursor": None}

    @routes.post("/providers", status_code=status.HTTP_201_CREATED)
    async def create_provider(principal: Writer, body: NewProvider) -> dict[str, Any]:
        """Add a provider, or give a bundled one its key."""
        fields = body.model_dump(exclude_unset=True, exclude={"name"})
        return {"status": "created", "id": body.name, **_renamed(await admin.create(body.name, fields, principal))}

    @routes.get("/providers/{name}")
    async def one_provider(name: str, _: Reader) -> dict[str, Any]:
        """One provider; its key is never shown."""
        return admin.get(name)

    @routes.put("/providers/{name}")
    async def change_provider(name: str, principal: Writer, body: ProviderFields) -> dict[str, Any]:
        """Change a provider; takes effect with the next call."""
        fields = body.model_dump(exclude_unset=True)
        return {"status": "updated", **_renamed(await admin.update(name, fields, principal))}

    @routes.delete("/providers/{name}")
    async def delete_provider(
        name: str,
        principal: Writer,
        force: Annotated[bool, Query(description="Also when routes name it.")] = False,
    ) -> dict[str, Any]:
        """Remove what was stored of a provider."""
        await admin.delete(name, principal, force=force)
        return {"status": "deleted", "name": name}

    @routes.post("/providers/{name}/check")
    async def check_provider(name: str, _: Writer, body: Check | None = None) -> dict[str, Any]:
        """Ask the provider now."""
        asked = body or Check()
        if asked.chat and not asked.model:
            raise StockyardError("missing_field", "A chat check names the model to ask.", param="model")
        return await admin.check(name, chat=asked.chat, model=asked.model)

    @routes.get("/providers/{name}/models")
    async def provider_models(
        name: str, _: Reader, refresh: Annotated[bool, Query(description="Ask the provider now.")] = False
    ) -> dict[str, Any]:
        """Its models as it listed them when last asked."""
        return await admin.models(name, refresh=refresh)

    @routes.get("/prices")
    async def prices(_: Reader) -> dict[str, Any]:
        """The prices in use, in dollars: per million tokens (or characters), per image, minute of audio, request and search."""
        rows = [price_row(provider, model, price) for provider, model, price in chute.prices.rows()]
        return {"prices": rows, "count": len(rows), "total": len(rows), "has_more": False, "next_cursor": None}

    return routes


def _renamed(shown: dict[str, Any]) -> dict[str, Any]:
    """`status` of the envelope is what was done; the provider's own goes by `provider_status`."""
    return {("provider_status" if name == "status" else name): value for name, value in shown.items()}
