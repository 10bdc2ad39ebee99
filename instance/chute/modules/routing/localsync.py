"""localsync: a local model first, the cloud second."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator

from instance.chute.answer import Answer, Delta
from instance.chute.by_model import ByModel
from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed
from instance.chute.module import ALL_KINDS, Call, Module, ModuleSettings
from instance.chute.modules.routing.hop_reasons import hop_reason, short
from instance.chute.modules.routing.local_server import LocalServer
from instance.chute.modules.routing.switch_conditions import has_images
from instance.chute.targets import Target
from instance.chute.upstream import UpstreamUrl
from instance.core.clock import Clock
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.router import Router
    from instance.core.core import Core

LOCAL_TAG = "local"
FALLS_BACK = frozenset(("connect", "timeout", "5xx", "breaker_open", "model_missing"))
UNREACHABLE = frozenset(("connect", "timeout"))
Ability = Literal["images", "tools", "json", "audio"]


class LocalSync(Module):
    """Sends calls for models of `map` to the local server when it has the model and room for the call.

    When it fails before the first token, or is too slow to give it (of a whole answer: to give the answer), the call goes to
    the cloud. The server is asked for its models every `refresh_s`.
    """

    name: ClassVar[str] = "localsync"
    category: ClassVar[str] = "routing"
    group: ClassVar[int] = 7
    summary: ClassVar[str] = "A local model first, the cloud second"
    rejects: ClassVar[tuple[str, ...]] = ("local_unavailable",)
    kinds: ClassVar[frozenset[str]] = ALL_KINDS
    tick_s: ClassVar[float] = 1.0

    class Settings(ModuleSettings):
        endpoint: str = Field(
            default="http://127.0.0.1:11434", max_length=2000, description="Address of the local server."
        )
        map: dict[str, str] = Field(
            default={}, max_length=1000, description="Asked model (may be a glob) -> model of the local server."
        )
        prefer: Literal["local", "cloud"] = Field(default="local", description="Who is asked first.")
        fallback_to_cloud: bool = Field(default=True, description="Ask the cloud when the local server cannot answer.")
        first_token_s: float = Field(
            default=10.0, gt=0, le=3600, description="Seconds in which the local server has to begin its answer."
        )
        max_prompt_tokens: int = Field(
            default=8000, ge=1, le=10_000_000, description="Longest prompt for the local server."
        )
        max_inflight: int = Field(default=2, ge=1, le=10_000, description="Calls that it gets at a time.")
        cloud_only: list[Ability] = Field(
            default=["images", "tools"], max_length=4, description="What a request may need that only the cloud has."
        )
        refresh_s: float = Field(default=30.0, ge=1, le=86_400, description="Seconds between two looks at its models.")
        region: str = Field(default="", max_length=100, description="Where it computes, for regionroute.")

        @field_validator("endpoint")
        @classmethod
        def _url(cls, endpoint: str) -> str:
            UpstreamUrl.parse(endpoint)
            return endpoint

    settings: Settings

    def __init__(self, settings: ModuleSettings) -> None:
        super().__init__(settings)
        own = self.settings
        self._exact = {asked: local for asked, local in own.map.items() if not set("*?[") & set(asked)}
        self._globs = [(asked, local) for asked, local in own.map.items() if asked not in self._exact]
        self._local = ByModel(self._local_model)
        self._clock = Clock()
        self._router: Router | None = None
        self._probed_ns = 0
        self.server: LocalServer

    async def start(self, core: Core, previous: Module | None) -> None:
        self._clock = core.clock
        self._router = core.services.get("router")
        if isinstance(previous, LocalSync) and previous.server.endpoint == self.settings.endpoint:
            self.server = previous.server
        else:
            self.server = LocalServer(self.settings.endpoint, core.services["upstream"])
        if self.settings.map:
            await self._probe()

    async def tick(self) -> None:
        if self.settings.map and self._clock.mono_ns() - self._probed_ns >= self.settings.refresh_s * 1e9:
            await self._probe()

    async def _probe(self) -> None:
        self._probed_ns = self._clock.mono_ns()
        await self.server.probe()

    def hooks(self) -> tuple[str, ...]:
        return ("on_request", "around") if self.settings.map else ()

    def on_request(self, x: Exchange) -> None:
        model = self._local.of(x)
        router = self._router
        if not model or router is None:
            return
        why = self._why_not(x, model)
        target = Target(self.server.provider, model, self.settings.region)
        if not why and not router.permitted(x, router.at_pinned(x, [target])):
            why = "the local server is not permitted for this call"
        if why:
            x.note("cloud", {"why": why})
            if not self.settings.fallback_to_cloud:
                raise self._unavailable(why)
            return
        if not self.settings.fallback_to_cloud:
            x.targets = [target]
        elif self.settings.prefer == "local":
            x.targets = [target, *x.targets]
        else:
            x.targets = [*x.targets, target]
        x.state.pop("no_target", None)
        if x.targets[0] is target:
            x.note("local", {"model": model})
        else:
            x.note("cloud", {"why": "preferred"})

    def passes(self, x: Exchange) -> bool:
        """When none of the targets is the local server."""
        owns = self.server.owns
        for target in x.targets:  # noqa: SIM110 - a generator costs more than the question
            if owns(target.provider):
                return False
        return True

    async def around(self, x: Exchange, call: Call) -> Answer:
        own = self.server.owns
        if self.passes(x):
            return await call(x)
        local = next(target for target in x.targets if own(target.provider))
        others = [target for target in x.targets if target is not local]
        if x.targets[0] is local:
            return await self._local_first(x, call, local, others)
        x.targets = others
        try:
            return await call(x)
        except (CallFailed, StockyardError) as failure:
            if hop_reason(failure) not in FALLS_BACK:
                raise
            x.note("local", {"model": local.model, "why": f"cloud: {short(failure)}"}, module=self.name, hook="around")
        x.targets = [local]
        x.provider_key = None
        return await self._at_local(x, call)

    async def _local_first(self, x: Exchange, call: Call, local: Target, cloud: list[Target]) -> Answer:
        x.targets = [local]
        try:
            return await self._at_local(x, call)
        except (CallFailed, StockyardError) as failure:
            reason = hop_reason(failure)
            if reason not in FALLS_BACK:
                raise
            why = short(failure)
            if reason in UNREACHABLE:
                self.server.failed(why)
            if not self.settings.fallback_to_cloud or not cloud:
                raise self._unavailable(why) from failure
        x.note("cloud", {"why": why}, module=self.name, hook="around")
        x.targets = cloud
        x.provider_key = None
        return await call(x)

    async def _at_local(self, x: Exchange, call: Call) -> Answer:
        """The local server's answer, counted as in flight to its last byte. Raises as `call`, also when it comes too late."""
        server = self.server
        server.inflight += 1
        x.state["no_retry"] = True
        try:
            async with asyncio.timeout(self.settings.first_token_s):
                answer = await call(x)
        except TimeoutError:
            server.inflight -= 1
            if x.attempts:
                x.attempts[-1]["error"] = "timeout_first_token"
            raise CallFailed("timeout_first_token", x.targets[0] if x.targets else None) from None
        except BaseException:
            server.inflight -= 1
            raise
        finally:
            del x.state["no_retry"]
        if answer.target is not None and server.owns(answer.target.provider):
            x.tags = {**x.tags, LOCAL_TAG: "true"}
        if answer.events is None:
            server.inflight -= 1
        else:
            answer.events = self._to_its_end(answer.events)
        return answer

    async def _to_its_end(self, events: AsyncIterator[list[Delta]]) -> AsyncIterator[list[Delta]]:
        try:
            async for batch in events:
                yield batch
        finally:
            self.server.inflight -= 1
            close = getattr(events, "aclose", None)
            if close is not None:
                await close()

    def report(self) -> dict[str, Any]:
        """What the server last said of itself."""
        server = self.server
        return {
            "answers": server.answers,
            "models": sorted(server.models)[:200],
            "inflight": server.inflight,
            "last_error": server.last_error or None,
        }

    def _local_model(self, names: list[str]) -> str:
        for name in names:
            local = self._exact.get(name) or next((local for glob, local in self._globs if fnmatchcase(name, glob)), "")
            if local:
                return local
        return ""

    def _why_not(self, x: Exchange, model: str) -> str:
        """Why the local server does not get the call; empty when it does."""
        own = self.settings
        server = self.server
        if not server.answers:
            return f"the local server does not answer: {server.last_error}"
        if not server.has(model):
            return f"the local server has no {model}"
        if server.inflight >= own.max_inflight:
            return f"{server.inflight} local calls are running"
        needed = next((ability for ability in own.cloud_only if _needs(x, ability)), "")
        if needed:
            return f"the request needs {needed}"
        tokens = x.prompt_tokens()
        return f"a prompt of {tokens} tokens is too long" if tokens > own.max_prompt_tokens else ""

    def _unavailable(self, why: str) -> StockyardError:
        return StockyardError(
            "local_unavailable",
            f"The local model server cannot take the call ({why}), and the cloud is not to be asked.",
            module=self.name,
            headers={"Retry-After": str(max(1, round(self.settings.refresh_s)))},
        )


def _needs(x: Exchange, ability: Ability) -> bool:
    req = x.req
    if ability == "tools":
        return bool(req.get("tools") or req.get("functions"))
    if ability == "json":
        wanted = req.get("response_format")
        return isinstance(wanted, dict) and wanted.get("type") not in (None, "text")
    if ability == "images":
        return has_images(req)
    return "audio" in (req.get("modalities") or ())
