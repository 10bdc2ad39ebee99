"""tenantwall: keeps the clients of one instance apart, each with its own models, keys, limits and settings."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from instance.chute.exchange import Exchange
from instance.chute.module import ALL_KINDS, Module, ModuleSettings
from instance.chute.modules.other.client_terms import Client, Limits, Terms, Used
from instance.core.clock import NS_PER_S, Clock
from instance.core.errors import StockyardError
from instance.core.principals import CLIENT_HEADER, CLIENT_TEAM

if TYPE_CHECKING:
    from instance.chute.targets import Target
    from instance.core.core import Core
    from instance.core.principals import Principal

SERVICE = "tenantwall"
USED_MAX = 10_000
"""Clients whose use is counted; of more, the one that called longest ago is forgotten."""
SHOWN_MAX = 1000
PRUNED_EVERY_S = 3600.0
NS_PER_DAY = 86_400 * NS_PER_S


class TenantWall(Module):
    """A key belongs to a client, or names one of `clients` with each request. What is kept by team (answers, sessions, memory,
    responses, batches, traces) is kept apart for each client by the core, whether or not the module is on; this adds who may
    come in, what serves whom, and how much each may use in a window of `window_s`.

    What was used is counted in memory, from the window in which the instance was started.
    """

    name: ClassVar[str] = "tenantwall"
    category: ClassVar[str] = "other"
    group: ClassVar[int] = 2
    rejects = ("client_limit", "client_required", "client_unknown", "model_not_allowed")
    summary: ClassVar[str] = "Keeps clients apart, each with its models, keys and limits"
    on_error: ClassVar[Literal["open", "closed"]] = "closed"
    kinds: ClassVar[frozenset[str]] = ALL_KINDS
    admitted_too: ClassVar[bool] = True
    tick_s: ClassVar[float] = PRUNED_EVERY_S
    secret_settings: ClassVar[frozenset[str]] = frozenset(("api_key",))

    class Settings(ModuleSettings):
        require: bool = Field(default=False, description="Refuse calls that belong to no client.")
        header: str = Field(
            default="X-Stockyard-Client",
            pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,63}$",
            description="Header by which a key that is `multi_client` names its client.",
        )
        window_s: int = Field(
            default=3600,
            ge=1,
            le=2_678_400,
            description="Seconds after which use is counted anew, by the clock in UTC.",
        )
        default: Limits = Field(default=Limits(), description="What a client may use that has no terms of its own.")
        clients: list[Client] = Field(
            default=[], max_length=10_000, description="The clients that requests may name, and terms of their own."
        )

        @model_validator(mode="after")
        def _named_once(self) -> TenantWall.Settings:
            names = [client.id for client in self.clients]
            if len(set(names)) < len(names):
                raise ValueError("two clients have the same id")
            return self

    settings: Settings

    def __init__(self, settings: ModuleSettings) -> None:
        super().__init__(settings)
        own = self.settings
        self._header = own.header.lower().encode()
        self._require = own.require
        self._window_ns = own.window_s * NS_PER_S
        self._default = Terms(own.default)
        self._terms = {row.id: Terms(row.limits(own.default), row.provider_keys) for row in own.clients}
        self._used: OrderedDict[str, Used] = OrderedDict()
        self._clock = Clock()
        self._core: Core | None = None

    async def start(self, core: Core, previous: Module | None) -> None:
        self._core = core
        self._clock = core.clock
        if isinstance(previous, TenantWall):
            self._used = previous._used
        self._stand(core)

    async def stop(self) -> None:
        core = self._core
        if core is None or core.services.get(SERVICE) is not self:
            return
        registry = core.services.get("registry")
        running = registry.slots[self.name].running if registry is not None else None
        if isinstance(running, TenantWall) and running is not self:
            running._stand(core)  # the settings of this one were refused after all
        else:
            del core.services[SERVICE]
            _tell(core, CLIENT_HEADER, {})

    def _stand(self, core: Core) -> None:
        """Be the wall that the core asks."""
        core.services[SERVICE] = self
        keys: dict[str, list[str]] = {}
        for terms in self._terms.values():
            for provider, key in (terms.keys or {}).items():
                keys.setdefault(provider, []).append(key.secret)
        _tell(core, self._header, keys)

    async def tick(self) -> None:
        """Remove traces that are older than their client wants."""
        core = self._core
        lookout = core.services.get("lookout") if core is not None else None
        if core is None or lookout is None:
            return
        now_ns = self._clock.wall_ns()
        for client in self._terms.keys() | {principal.client for principal in core.keys.principals()} - {""}:
            days = self._terms.get(client, self._default).limits.retention_days
            if days:
                await lookout.prune_team(CLIENT_TEAM + client, now_ns - days * NS_PER_DAY)

    def report(self) -> dict[str, Any]:
        """What each client has used in this window, those that called last first."""
        now_ns = self._clock.wall_ns()
        latest = list(islice(reversed(self._used.items()), SHOWN_MAX))
        for _, used in latest:
            self._begin_anew(used, now_ns)
        rows = [
            {
                "id": client,
                "requests": used.requests,
                "tokens": used.tokens,
                "spend_usd": used.spend_nano / 1e9,
                "running": used.running,
            }
            for client, used in latest
        ]
        return {"clients": rows, "window_ends_s": self._left_s(now_ns)}

    def admitted(self, principal: Principal | None, headers: Mapping[bytes, bytes]) -> Terms | None:
        """What holds for who asks; `None` for who belongs to no client. Raises `client_unknown`, `client_required`."""
        client = principal.client if principal is not None else ""
        named = headers.get(self._header)
        if named is not None and named.strip().decode("latin-1") != client:
            raise self._unknown()
        if not client:
            if self.settings.require:
                raise StockyardError(
                    "client_required",
                    f"Calls here belong to a client: use a client's key, or name it in the header {self.settings.header}.",
                    param=self.settings.header,
                )
            return None
        terms = self._terms.get(client)
        if terms is None:
            if principal is not None and principal.multi_client:
                raise self._unknown()
            return self._default
        return terms

    def permits(self, principal: Principal, headers: Mapping[bytes, bytes]) -> Callable[[Target], bool] | None:
        """Which targets may serve who asks; `None`: all. Raises as `admitted`."""
        terms = self.admitted(principal, headers)
        return terms.allows if terms is not None and terms.bounded else None

    def on_request(self, x: Exchange) -> None:
        principal = x.principal
        if not self._require and (principal is None or not principal.client) and self._header not in x.headers:
            return
        try:
            terms = self.admitted(x.principal, x.headers)
        except StockyardError as error:
            x.note("client", {"id": x.client or None, "check": error.code.removeprefix("client_")})
            raise
        if terms is None:
            return
        client = x.client
        if terms.bounded:
            self._bound(x, terms)
        if terms.keys is not None:
            x.own_keys = terms.keys
        now_ns = self._clock.wall_ns()
        used = self._used_by(client, now_ns)
        queued = x.source == "batch"
        check = terms.over_budget(used) if queued else terms.over(used)
        if check:
            raise self._limited(x, check, self._left_s(now_ns))
        if not queued:
            most = terms.limits.concurrency
            if most and used.running >= most:
                raise self._limited(x, "concurrency", 1)
        x.note("client", {"id": client, "check": "passed"})
        if x.dry:
            return
        if not queued:
            used.requests += 1
        used.running += 1
        x.state[SERVICE] = used

    def on_finish(self, x: Exchange) -> None:
        if SERVICE not in x.state:
            return
        used: Used = x.state.pop(SERVICE)
        used.running -= 1
        self._begin_anew(used, self._clock.wall_ns())
        used.spend_nano += x.cost_nano
        used.tokens += x.usage.input + x.usage.output

    def _bound(self, x: Exchange, terms: Terms) -> None:
        """Leave only targets that may serve the client, now and whatever is added later. Raises `model_not_allowed`."""
        allows = terms.allows
        x.allow.append(allows)
        kept = [target for target in x.targets if allows(target)]
        if len(kept) == len(x.targets):
            return
        x.targets = kept
        if not kept:
            x.note("client", {"id": x.client, "check": "model"})
            raise StockyardError(
                "model_not_allowed",
                f"This client may not use {x.model_requested!r}; GET /v1/models lists what it may.",
                param="model",
            )

    def _used_by(self, client: str, now_ns: int) -> Used:
        used = self._used.get(client)
        if used is None:
            used = self._used[client] = Used(now_ns - now_ns % self._window_ns)
            if len(self._used) > USED_MAX:
                self._used.popitem(last=False)
        else:
            self._used.move_to_end(client)
            self._begin_anew(used, now_ns)
        return used

    def _begin_anew(self, used: Used, now_ns: int) -> None:
        """Count from nothing when another window runs than the one that was counted in."""
        if not 0 <= now_ns - used.start_ns < self._window_ns:
            used.begin(now_ns - now_ns % self._window_ns)

    def _left_s(self, now_ns: int) -> int:
        """Whole seconds until the window ends, at least 1."""
        return -(-(self._window_ns - now_ns % self._window_ns) // NS_PER_S)

    def _limited(self, x: Exchange, check: str, retry_after_s: int) -> StockyardError:
        x.note("client", {"id": x.client, "check": check})
        what = "calls at once" if check == "concurrency" else f"{check} in {self.settings.window_s} s"
        return StockyardError(
            "client_limit",
            f"This client is over its limit of {what}. Repeat the call in {retry_after_s} s.",
            headers={"Retry-After": str(retry_after_s)},
            details={"limit": check},
        )

    def _unknown(self) -> StockyardError:
        return StockyardError(
            "client_unknown",
            "This key may not speak for the named client, or there is none.",
            param=self.settings.header,
        )


def _tell(core: Core, header: bytes, keys: Mapping[str, Collection[str]]) -> None:
    """Let the core know by which header clients are named, and which of their keys are never to be shown."""
    core.keys.client_header = header
    table = core.services.get("providers")
    if table is not None:
        table.take_client_keys(keys)
