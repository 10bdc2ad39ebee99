"""What a module is: one class with a name, settings and any of six hooks.

A module is built for each set of settings and is never changed afterwards: a change of settings builds a new one, which
receives the old in `start()` so that counters survive. A call keeps the modules it started with.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from instance.chute.answer import Answer, Delta
from instance.chute.exchange import Exchange

if TYPE_CHECKING:
    from instance.core.core import Core

API_VERSION = 1
"""Version of what this page and docs/writing-a-module.md promise; it grows when a module may have to be changed."""
API_VERSIONS_RUN = frozenset((1,))
"""Versions whose modules run here; a package's module of another one is left out, and the log says so."""

Call = Callable[[Exchange], Awaitable[Answer]]

ALL_KINDS: frozenset[str] = frozenset(("chat", "completions", "embeddings", "images", "audio", "moderations", "other"))
TEXT_KINDS: frozenset[str] = frozenset(("chat", "completions"))


class ModuleSettings(BaseModel):
    """Settings that every module has; a module's own `Settings` adds to them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: list[str] = Field(default=["*"], description="Globs of the asked model: where the module applies.")
    teams: list[str] = Field(default=["*"], description="Globs of the caller's team: where the module applies.")
    on_error: Literal["open", "closed"] | None = Field(
        default=None,
        description="What happens when the module itself fails: open skips it, closed refuses the call with 503. Unset: as the module declares.",
    )


class Module:
    """Base of every module. Override the hooks you need; a hook that is not overridden costs nothing.

    Raise `StockyardError` in a hook to refuse the call (the code must be in the registry of error codes or begin with
    the module's name); any other exception is the module's own failure and is contained as `on_error` says.
    """

    api_version: ClassVar[int] = 1
    """The `API_VERSION` that the module was written for. Not raised here when that grows: who wrote no version wrote for the first."""
    name: ClassVar[str]
    category: ClassVar[str]
    group: ClassVar[int]
    """Place in the chain, 1 (outermost) to 12 (nearest to the provider): MODULES.md, Chain order."""
    summary: ClassVar[str]
    rejects: ClassVar[tuple[str, ...]] = ()
    """Codes of the errors with which the module itself refuses calls: shown in the API and the docs."""
    default_enabled: ClassVar[bool] = False
    on_error: ClassVar[Literal["open", "closed"]] = "open"
    kinds: ClassVar[frozenset[str]] = TEXT_KINDS
    tick_s: ClassVar[float] = 0.0
    """Seconds between two calls of `tick()`; 0: never."""
    hang_s: ClassVar[float] = 120.0
    """Longest that its own `prepare` or `around` may wait in one go, in seconds; after that it counts as failed. What it waits for
    inside of `call` or `Exchange.elsewhere()` is not its own."""
    migrations: ClassVar[Path | None] = None
    """Folder of numbered SQL migrations for the module's own tables."""
    streams_only: ClassVar[frozenset[str]] = frozenset()
    """Of `on_request` and `on_finish`, what has nothing to do on a call that is answered whole."""
    safety: ClassVar[bool] = False
    """Its decisions count as safety events in Lookout."""
    per_client: ClassVar[bool] = False
    """Whether it may run with settings of a client's own beside everybody's (tenantwall): it keeps no tables and is no service."""
    admitted_too: ClassVar[bool] = False
    """Of a module of admission: it sees a call too that came through admission before, as a queued job."""
    fills_model: bool = False
    """A call that names no model is let through to it; it chooses one, or refuses the call."""
    fills_template: bool = False
    """A call that names a stored prompt needs no model and no messages of its own: it has them, or refuses the call."""

    defers_look: bool = False
    """It asks before the call what is in the texts only where another module has asked already."""

    secret_settings: ClassVar[frozenset[str]] = frozenset()
    """Names of settings, at any depth, that are secrets (`module_secrets.SecretText`): sealed at rest, never shown whole."""

    class Settings(ModuleSettings):
        pass

    @classmethod
    def objection(cls, settings: ModuleSettings, address: str, headers: dict[bytes, bytes]) -> str:
        """Why whoever switches it on with these settings should think twice, who is at this address: they must confirm it. Empty:
        nothing."""
        return ""

    settings: ModuleSettings

    def __init__(self, settings: ModuleSettings) -> None:
        self.settings = settings

    async def start(self, core: Core, previous: Module | None) -> None:
        """Called before the module goes into a plan; `previous` is the module it replaces, to take its state over; also
        one that was switched off a moment ago and still has calls.

        Raise `StockyardError` to refuse the settings; the old module then stays."""

    async def stop(self) -> None:
        """Called when the module left the plan and the last call that used it has finished."""

    async def tick(self) -> None:
        """Background work, every `tick_s` seconds while the module is on; a failure is contained and counted."""

    def report(self) -> dict[str, Any]:
        """What the module found out so far, as JSON values: shown with it while it is on. Bounded."""
        return {}

    def hooks(self) -> tuple[str, ...]:
        """The hooks that these settings need, of those that the class overrides. One that is left out costs nothing: a module
        without a rule, a key or a map leaves out all of them."""
        return hooks_of(type(self))

    def passes(self, x: Exchange) -> bool:
        """Whether this call goes past the module's `around`; asked before it, so that a call that needs nothing of the module
        costs no more than the question. It must change nothing."""
        return False

    def patterns(self) -> Sequence[str]:
        """RE2 expressions for the shared matcher; `Exchange.hits(self)` gives the indexes of those that occur."""
        return ()

    def answer_patterns(self) -> Sequence[str]:
        """Of `patterns()`, the first ones, which `Exchange.answer_hits(self, obj)` is asked about: it knows of no others."""
        return self.patterns()

    def read_ahead(self, x: Exchange, hits: frozenset[int]) -> None:
        """Find out and remember what the hooks before the call will ask of long texts. Called on a thread of its own, only for a
        request with new texts of 8,000 characters and more, before each module up to its own that has patterns; `hits` are those of the
        module's that occur in these. It must change nothing of the call: `x.req` may be another when the hooks run."""
        raise NotImplementedError

    def on_request(self, x: Exchange) -> Answer | None:
        """Before the call, synchronous: change `x.req` (and say `x.change()`), note, refuse, or answer at once."""
        raise NotImplementedError

    def prepare(self, x: Exchange) -> Coroutine[Any, Any, Answer | None] | None:
        """As `on_request`, in the same place of the order, for work that awaits: `async def prepare(self, x) -> Answer | None`. One
        that is no coroutine function may return `None` at once where there is nothing to wait for."""
        raise NotImplementedError

    async def around(self, x: Exchange, call: Call) -> Answer:
        """Around everything further in: may call `call(x)` never, once or more often. `call` raises `CallFailed` when an
        attempt gave no answer. A streamed answer is returned when its first content is there; wrap `answer.events` to
        watch the rest."""
        raise NotImplementedError

    def on_response(self, x: Exchange, answer: Answer) -> None:
        """A whole answer on its way out, innermost module first; change `answer.obj` and set `answer.changed`."""
        raise NotImplementedError

    def on_delta(self, x: Exchange, delta: Delta) -> None:
        """Each event of a streamed answer on its way out; see `Delta`."""
        raise NotImplementedError

    def on_finish(self, x: Exchange) -> None:
        """After the end of the call, however it ended (`x.status`, `x.http_status`, `x.usage`, `x.cost_lines`), for
        every module that was reached; before the record is written."""
        raise NotImplementedError


HOOKS = ("on_request", "prepare", "around", "on_response", "on_delta", "on_finish")


def hooks_of(module: type[Module]) -> tuple[str, ...]:
    """The hooks that the class overrides, in the order of `HOOKS`."""
    return tuple(hook for hook in HOOKS if getattr(module, hook) is not getattr(Module, hook))
