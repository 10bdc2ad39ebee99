"""azureshim: speaks to Azure OpenAI's resources: deployments, API versions, Entra tokens and content filters."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from instance.chute.answer import JSON, Answer
from instance.chute.attempt import Attempt, Outbound
from instance.chute.dialects.azure.answer import AzureEdit, edit_whole
from instance.chute.dialects.azure.errors import failed
from instance.chute.dialects.azure.request import call_path, fit, takes_stream_options
from instance.chute.dialects.openai_like.chunks import ChunkEdit
from instance.chute.dialects.openai_like.draft import Draft
from instance.chute.direct import CHAT_PATH, TALKS, openai_compatible
from instance.chute.entra import EntraToken
from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed
from instance.chute.module import Module
from instance.chute.module_secrets import SecretText
from instance.chute.openai_like import OpenAILikeShim
from instance.chute.provider_dialects import native_base_url
from instance.chute.provider_key import ProviderKey
from instance.chute.shim import ShimSettings
from instance.chute.targets import Target
from instance.chute.upstream import UpstreamUrl
from instance.core.clock import Clock

if TYPE_CHECKING:
    from instance.chute.module import ModuleSettings
    from instance.chute.provider import Provider
    from instance.core.core import Core

NO_KEY = ProviderKey("", "")


class Entra(BaseModel):
    """An application of Microsoft Entra that may use the resource."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tenant: str = Field(min_length=1, max_length=200, description="Tenant id or domain.")
    client_id: str = Field(min_length=1, max_length=200, description="Application (client) id.")
    secret: SecretText = Field(description="Client secret.")
    authority: str = Field(
        default="", max_length=300, description="Where tokens come from; empty: Entra's public cloud."
    )


class Resource(BaseModel):
    """One Azure OpenAI resource."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,62}$", description="What it is called here, in traces.")
    endpoint: str = Field(max_length=300, description="Its address, like https://NAME.openai.azure.com.")
    api_key: SecretText | None = Field(default=None, description="Its key; absent: the provider's, or `entra`.")
    entra: Entra | None = Field(default=None, description="Client credentials in place of a key.")
    deployments: dict[str, str] = Field(
        default={}, max_length=500, description="Model -> deployment; empty: every model, under its own name."
    )
    region: str = Field(default="", max_length=100, description="Where it runs, for routing by region.")

    @field_validator("endpoint")
    @classmethod
    def _an_address(cls, endpoint: str) -> str:
        UpstreamUrl.parse(endpoint)
        return endpoint

    @property
    def url(self) -> UpstreamUrl:
        return UpstreamUrl.parse(native_base_url("azure", self.endpoint))

    def serves(self, model: str) -> bool:
        return not self.deployments or model in self.deployments


class AzureShim(OpenAILikeShim):
    """Every API of Azure OpenAI, by deployment.

    Each resource that has a model's deployment is a target of its own, so that routing, load balancing and circuit breakers see
    them one by one. Without resources the provider's own address and key are used, and a model is a deployment's name.
    """

    name = "azureshim"
    summary = "Speaks to Azure OpenAI: deployments, API versions, Entra tokens, content filters"
    dialect = "azure"
    secret_settings: ClassVar[frozenset[str]] = frozenset(("api_key", "secret"))

    class Settings(ShimSettings):
        resources: list[Resource] = Field(
            default=[], max_length=100, description="The resources and their deployments."
        )
        api_version: str = Field(
            default="2024-10-21",
            pattern=r"^[A-Za-z0-9-]{1,40}$",
            description="Version of the API; with style v1 only `preview` or `latest` is sent.",
        )
        style: Literal["classic", "v1"] = Field(
            default="classic", description="classic: /openai/deployments/NAME/…; v1: /openai/v1/…."
        )

    settings: Settings

    def __init__(self, settings: ModuleSettings) -> None:
        super().__init__(settings)
        self._resources = {resource.name: resource for resource in self.settings.resources}
        self._tokens: dict[str, EntraToken] = {}
        self._core: Core | None = None
        self._clock = Clock()

    async def start(self, core: Core, previous: Module | None) -> None:
        self._core = core
        self._clock = core.clock
        if isinstance(previous, AzureShim):
            for name, token in previous._tokens.items():
                known = previous._resources.get(name)
                if known is None or (name in self._resources and self._resources[name].entra == known.entra):
                    self._tokens[name] = token
        table = core.services.get("providers")
        if table is not None:
            named = frozenset(model for resource in self._resources.values() for model in resource.deployments)
            table.spread("azure", self._targets if self._resources else None, named, self._secrets())

    async def stop(self) -> None:
        table = self._core.services.get("providers") if self._core is not None else None
        if table is not None:
            table.end_spread("azure", self._targets)

    def _secrets(self) -> frozenset[str]:
        keys = [one.api_key for one in self._resources.values()] + [
            one.entra.secret if one.entra else None for one in self._resources.values()
        ]
        return frozenset(key.get_secret_value() for key in keys if key is not None)

    def _targets(self, provider: Provider, model: str) -> list[Target]:
        """One target for each resource that has the model."""
        found = []
        for resource in self._resources.values():
            if resource.serves(model):
                found.append(Target(provider, model, resource.region, resource.url))
        return found

    def _resource(self, target: Target) -> Resource | None:
        """The resource that a target stands for; for one without an address (of a route, a check) the first that has its model,
        one in its region before others."""
        fitting = [one for one in self._resources.values() if one.serves(target.model)]
        if target.url is not None:
            return next((one for one in fitting if one.url == target.url), None)
        near = [one for one in fitting if target.region and one.region == target.region]
        return next(iter(near or fitting), None)

    def _deployment(self, target: Target) -> str:
        resource = self._resource(target)
        return resource.deployments.get(target.model, target.model) if resource is not None else target.model

    async def call(self, x: Exchange, attempt: Attempt) -> Answer:
        """As its base's, with the resource's key or token in place of the provider's."""
        of_client = x.take_own_key(attempt.provider.name)
        own = x.provider_key
        resource = self._resource(attempt.target)
        token = "" if of_client else await self._token(resource, attempt.target)
        headers: tuple[tuple[bytes, bytes], ...] = ()
        if token:
            x.provider_key = NO_KEY
            headers = ((b"authorization", b"Bearer " + token.encode()),)
        elif resource is not None and resource.api_key is not None and not of_client:
            x.provider_key = ProviderKey(resource.name, resource.api_key.get_secret_value())
            attempt.row["key_name"] = resource.name
        try:
            return await self._called(x, attempt, headers)
        finally:
            x.provider_key = own

    def goes_as_it_came(self, x: Exchange, target: Target) -> bool:
        """The classic style has no path for Responses."""
        classic = x.operation.dialect == "openai.responses" and self.settings.style == "classic"
        return not classic and super().goes_as_it_came(x, target)

    def takes_as_it_is(self, x: Exchange, target: Target) -> bool:
        return x.operation.dialect == self.wire_dialect or self.goes_as_it_came(x, target)

    async def _called(self, x: Exchange, attempt: Attempt, headers: tuple[tuple[bytes, bytes], ...]) -> Answer:
        attempt.base_url = self.base_url
        target = attempt.target
        if x.kind not in TALKS or self.goes_as_it_came(x, target):
            try:
                return await openai_compatible(
                    x,
                    attempt,
                    url=self.url(x, target),
                    path=lambda path: self._path(path, target),
                    headers=headers,
                    obj=self._renamed(x, target),
                )
            except CallFailed as failure:
                raise self.failed(x, failure) from failure
        draft = self.drafted(x, target)
        self.dropped(x, draft.dropped)
        draft.headers = headers
        return await self.exchanged(x, attempt, draft)

    def _renamed(self, x: Exchange, target: Target) -> JSON | None:
        """A JSON body of no chat with the deployment's name, where that is another than the model's."""
        deployment = self._deployment(target)
        if deployment == target.model or x.operation.multipart:
            return None
        return {**(x.req if x.native is None else x.native), "model": deployment}

    async def _token(self, resource: Resource | None, target: Target) -> str:
        """The Entra token for the call; empty where a key is used."""
        if resource is not None:
            if resource.entra is None:
                return ""
            name, entra = resource.name, resource.entra
            if name not in self._tokens:
                secret = entra.secret.get_secret_value()
                self._tokens[name] = EntraToken(entra.tenant, entra.client_id, secret, self._clock, entra.authority)
            return await self._tokens[name].get()
        spec = target.provider.spec
        tenant, client, secret = (spec.environ(f"AZURE_{part}") for part in ("TENANT_ID", "CLIENT_ID", "CLIENT_SECRET"))
        if spec.api_key or not (tenant and client and secret):
            return ""
        name = f"provider:{target.provider.name}"
        if name not in self._tokens:
            self._tokens[name] = EntraToken(tenant, client, secret, self._clock)
        return await self._tokens[name].get()

    def _path(self, path: bytes, target: Target) -> bytes:
        return call_path(path, self._deployment(target), self.settings.api_version, self.settings.style)

    def url(self, x: Exchange, target: Target) -> UpstreamUrl | None:
        resource = self._resource(target)
        return target.url or (resource.url if resource is not None else None) or self.base_url or target.provider.url

    def fit(self, x: Exchange, target: Target, draft: Draft) -> None:
        draft.model = self._deployment(target)
        if self.settings.style == "classic":
            fit(draft, self.settings.api_version)

    def outbound(self, x: Exchange, target: Target, draft: Draft) -> Outbound:
        if self.settings.style == "classic" and not takes_stream_options(self.settings.api_version):
            draft.asks_usage = False
        out = super().outbound(x, target, draft)
        return out._replace(path=self._path(CHAT_PATH, target), headers=draft.headers)

    def edit_whole(self, x: Exchange, answer: JSON, headers: dict[bytes, bytes]) -> bool:
        return edit_whole(answer)

    def edit(self, x: Exchange, headers: dict[bytes, bytes]) -> ChunkEdit:
        return AzureEdit(x.req.get("n") or 1, hide_reasoning=self.settings.reasoning == "hide")

    def failed(self, x: Exchange, failure: CallFailed) -> CallFailed:
        names = [name for resource in self._resources.values() for name in resource.deployments.values()]
        return failed(failure, names)
