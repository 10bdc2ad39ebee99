"""devproxy: shows a developer what happens to a call, module by module and attempt by attempt."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from instance.chute.answer import Answer, Delta
from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed, to_error
from instance.chute.held_texts import HeldTexts
from instance.chute.module import ALL_KINDS, Call, Module, ModuleSettings
from instance.chute.modules.exchange.debug_desk import DebugDesk
from instance.chute.modules.exchange.lens import Lens
from instance.chute.modules.safety.secret_scanner import Scanner
from instance.chute.modules.safety.secret_stream import HoldBack, Openings
from instance.core.clock import Clock

if TYPE_CHECKING:
    from instance.core.core import Core

NS = 1_000_000_000
HEADER = b"x-stockyard-debug"
YES = (b"1", b"true")
NO = (b"0", b"false")
AGAIN = "devproxy_again"
ERROR_BODY_MAX_CHARS = 4096


class DevProxy(Module):
    """Keeps the latest watched calls in memory: the request as it came, what each module changed in it, each attempt in the
    provider's dialect, the time of each module, and the answer as it went.

    Watched are all calls of the `keys`, calls with `X-Stockyard-Debug: 1`, and those of keys that were switched on. All of it
    ends by itself after `on_for_s`. Credentials are masked in whatever is shown.
    """

    name: ClassVar[str] = "devproxy"
    category: ClassVar[str] = "exchange"
    group: ClassVar[int] = 1
    summary: ClassVar[str] = "Shows a developer what happens to a call, step by step"
    rejects: ClassVar[tuple[str, ...]] = ("breakpoint_timeout",)
    kinds: ClassVar[frozenset[str]] = ALL_KINDS

    class Settings(ModuleSettings):
        ring: int = Field(default=200, ge=1, le=10_000, description="Calls that are kept, the latest.")
        max_body_kb: int = Field(
            default=256, ge=1, le=10_240, description="Kilobytes that are kept of each body; larger ones are cut."
        )
        keys: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field(
            default=[],
            max_length=1000,
            description="Keys, by id or name, whose calls are all watched (`X-Stockyard-Debug: 0` leaves one out). "
            "Empty: any key's calls with `X-Stockyard-Debug: 1`.",
        )
        on_for_s: int = Field(
            default=3600,
            ge=1,
            le=604_800,
            description="Seconds after the settings were saved, or a key was switched on, that calls are watched.",
        )
        breakpoints: bool = Field(default=False, description="Let calls be held until they are released or edited.")
        break_wait_s: float = Field(
            default=60.0, gt=0, le=3600, description="Seconds that a held call waits before it is refused."
        )
        server_timing: bool = Field(
            default=True, description="Answer watched calls with Server-Timing: milliseconds by module."
        )
        upstream_errors: bool = Field(
            default=True, description="Put a provider's own error body into `error.details` of watched calls."
        )

    settings: Settings
    desk: DebugDesk

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._clock = Clock()
        self._keys = frozenset(settings.keys)
        self._until_ns = 0
        self._max_bytes = settings.max_body_kb << 10
        self._scanner = Scanner()
        self._openings = Openings(self._scanner)
        self._core: Core | None = None

    async def start(self, core: Core, previous: Module | None) -> None:
        self._core = core
        self._clock = core.clock
        now = core.clock.wall_ns()
        registry = core.services.get("registry")
        saved_ns = 0
        if registry is not None and not registry.version:  # at the start of the instance: on since it was saved
            saved_ns = registry.slots[self.name].updated_at_ns
        self._until_ns = (saved_ns or now) + self.settings.on_for_s * NS
        if isinstance(previous, DevProxy):
            self.desk = previous.desk
        else:
            self.desk = DebugDesk(core.clock)
        core.services["devproxy"] = self

    async def stop(self) -> None:
        if self._core is not None and self._core.services.get("devproxy") is self:
            del self._core.services["devproxy"]
            self.desk.close()

    def hooks(self) -> tuple[str, ...]:
        held = ("prepare",) if self.settings.breakpoints else ()
        return ("on_request", *held, "around", "on_delta", "on_finish")

    def report(self) -> dict[str, Any]:
        """How many calls are kept, watched live and held."""
        return self.desk.report()

    def passes(self, x: Exchange) -> bool:
        return x.lens is None

    def on_request(self, x: Exchange) -> None:
        if not self._keys and HEADER not in x.headers and not self.desk.switches and AGAIN not in x.state:
            return  # nothing asks for it
        if x.dry or not self._is_watched(x):
            return
        lens = Lens(x, self.name, self._max_bytes, self._new_texts, self.desk.told)
        self.desk.keep(lens, self.settings.ring)
        self.desk.told("start", lens, lens.summary())

    async def prepare(self, x: Exchange) -> None:
        lens: Lens | None = x.lens
        if lens is None or lens.key_id not in self.desk.breakpoints:
            return
        began = self._clock.mono_ns()
        try:
            with x.elsewhere():
                edited = await self.desk.hold(lens, self.settings.break_wait_s)
        finally:
            x.waited_ns += self._clock.mono_ns() - began
        if edited is not None:
            x.req = {**edited, "model": edited.get("model", x.req.get("model")), "stream": x.stream}
            x.change()
            lens.edited = True
            x.note("edited", {})

    async def around(self, x: Exchange, call: Call) -> Answer:
        try:
            answer = await call(x)
        except CallFailed as failure:
            self._explain(x, failure)
            raise
        if answer.streamed and self.settings.server_timing:
            x.response_headers.append((b"server-timing", x.lens.server_timing()))
        return answer

    def _explain(self, x: Exchange, failure: CallFailed) -> None:
        """Raise the caller's error with what the provider said, unless its own form is asked for (errornorm's `raw`)."""
        plan = x.plan
        if not self.settings.upstream_errors or not failure.body or plan is None:
            return
        if plan.shaper is not None and plan.shaper[0].module.hooks():
            return
        error = plan.shape(x, failure) or to_error(failure)
        said = self.redact(failure.body.decode("utf-8", "replace"))[:ERROR_BODY_MAX_CHARS]
        details = error.details if isinstance(error.details, dict) else {}
        error.details = {**details, "upstream_status": failure.status, "upstream_body": said}
        raise error from failure

    def on_delta(self, x: Exchange, delta: Delta) -> None:
        if x.lens is None:
            x.skipped = (x.skipped or set()) | {self.name}
            return
        x.lens.delta(delta)

    def on_finish(self, x: Exchange) -> None:
        lens: Lens | None = x.lens
        if lens is None:
            return
        lens.ended_ms = lens.since_ms()
        if self.settings.server_timing and not (x.answer is not None and x.answer.streamed):
            x.response_headers.append((b"server-timing", lens.server_timing()))
        lens.finish()
        self.desk.keep(lens, self.settings.ring)

    def redact(self, text: str) -> str:
        """The text with a marker in the place of whatever is a credential, the instance's own keys among them."""
        providers = self._core.services.get("providers") if self._core is not None else None
        self._scanner.own = providers.key_texts if providers is not None else frozenset()
        return self._scanner.redact(text)

    def _new_texts(self) -> HeldTexts:
        providers = self._core.services.get("providers") if self._core is not None else None
        self._scanner.own = providers.key_texts if providers is not None else frozenset()
        return HeldTexts(lambda place: HoldBack(self._scanner, self._openings, place, lambda finding, where: None))

    def watch_for(self, client_ip: str) -> Callable[[Exchange], None]:
        """What makes a call that is sent again watched, from the address of the first."""

        def begin(x: Exchange) -> None:
            x.client_ip = client_ip
            x.state[AGAIN] = True

        return begin

    def _is_watched(self, x: Exchange) -> bool:
        principal = x.principal
        if principal is None:
            return False
        if AGAIN in x.state:
            return True
        key = principal.key_text
        if self.desk.switches and self.desk.is_on(key):
            return True
        asked = x.headers.get(HEADER, b"")
        if self._keys:
            watched = (key in self._keys or principal.name in self._keys) and asked not in NO
        else:
            watched = asked in YES
        return watched and self._clock.wall_ns() < self._until_ns
