"""stickysession: keeps one conversation at one target."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from instance.chute.call_identity import body_user, holder, metadata_session
from instance.chute.exchange import Exchange
from instance.chute.module import ALL_KINDS, Module, ModuleSettings
from instance.chute.modules.routing.pins import Pins
from instance.chute.modules.routing.weightedrouter import DRAINED
from instance.chute.router import permits

if TYPE_CHECKING:
    from instance.chute.targets import Target
    from instance.core.core import Core

SESSION_BYTES = 16
_SOURCES: dict[str, Callable[[Exchange], str]] = {
    "header": lambda x: x.session,
    "metadata": metadata_session,
    "user": body_user,
}
_OPENING_ROLES = frozenset(("system", "developer", "user"))
EXPIRE_EVERY = 60
"""Ticks between two clearings of what is over."""


class StickySession(Module):
    """Moves the target that served a session before to the front, so that provider prompt caches stay warm.

    The pin yields when its target is not among those of the call, not permitted, or left alone by its breaker; then, and
    after a failure, the session is pinned to the target that answered. New sessions go where the other modules send them.
    """

    name: ClassVar[str] = "stickysession"
    category: ClassVar[str] = "routing"
    group: ClassVar[int] = 7
    summary: ClassVar[str] = "Keeps one conversation at one target"
    kinds: ClassVar[frozenset[str]] = ALL_KINDS
    tick_s: ClassVar[float] = 1.0
    migrations: ClassVar[Path | None] = Path(__file__).parent / "stickysession_migrations"

    class Settings(ModuleSettings):
        source: list[Literal["header", "metadata", "user"]] = Field(
            default=["header", "metadata", "user"],
            description="Where a session's id is looked for: X-Stockyard-Session, metadata.session_id, user.",
        )
        derive: bool = Field(
            default=True,
            description="Without an id, tell a conversation by its key, system message and first question.",
        )
        ttl_s: float = Field(
            default=1800.0, ge=1, le=2_592_000, description="Seconds after its last use that a pin holds."
        )
        max_sessions: int = Field(default=100_000, ge=1, le=1_000_000, description="Sessions that are remembered.")
        pin_key: bool = Field(default=False, description="Stay with the provider's key too, by keypool.")
        persist: bool = Field(default=True, description="Keep pins over a restart.")
        only_routes: bool = Field(default=False, description="Only calls whose route says `sticky`.")

    settings: Settings

    def __init__(self, settings: ModuleSettings) -> None:
        super().__init__(settings)
        own = self.settings
        self._sources = [(source, _SOURCES[source]) for source in own.source]
        self._derives = own.derive
        self._only_routes = own.only_routes
        self._pins_key = own.pin_key
        self._services: dict[str, Any] = {}
        self._ticks = 0
        self.pins: Pins

    async def start(self, core: Core, previous: Module | None) -> None:
        own = self.settings
        self._clock = core.clock
        self._services = core.services
        ttl_ns = round(own.ttl_s * 1e9)
        if isinstance(previous, StickySession):
            self.pins = previous.pins
            self.pins.limit(own.max_sessions, ttl_ns, persist=own.persist)
        else:
            self.pins = Pins(core, own.max_sessions, ttl_ns, persist=own.persist)
            await self.pins.open()

    async def stop(self) -> None:
        await self.pins.flush()

    async def tick(self) -> None:
        await self.pins.flush()
        self._ticks += 1
        if self._ticks % EXPIRE_EVERY == 0:
            await self.pins.expire()

    def on_request(self, x: Exchange) -> None:
        if self._only_routes and (x.route is None or not x.route.sticky):
            return
        session = self._session(x)
        if not session:
            return
        pin = self.pins.by_session.get(session)
        if pin is None or self.pins.is_over(pin, self._clock.wall_ns()):
            x.state["sticky"] = (session, "")
            return
        x.state["sticky"] = (session, pin.target)
        target = self._pinned(x, pin.target)
        if target is None:
            return
        if not x.targets or target is not x.targets[0]:
            x.targets = [target, *(other for other in x.targets if other is not target)]
        if self._pins_key and pin.key_name:
            x.state["pinned_key"] = pin.key_name
        if x.dry:
            x.note("pin", {"session_hash": session.hex(), "target": target.label, "state": "kept"})

    def on_finish(self, x: Exchange) -> None:
        known = x.state.get("sticky")
        answer = x.answer
        if known is None or answer is None or answer.target is None or x.status != "ok" or x.dry:
            return
        session, before = known
        label = answer.target.label
        self.pins.put(
            session, label, str(x.attempts[-1].get("key_name") or "") if x.attempts else "", self._clock.wall_ns()
        )
        state = "new" if not before else "kept" if before == label else "moved"
        x.note("pin", {"session_hash": session.hex(), "target": label, "state": state})

    def report(self) -> dict[str, Any]:
        """How many sessions are pinned."""
        return {"sessions": len(self.pins)}

    def _pinned(self, x: Exchange, label: str) -> Target | None:
        """The session's target when the call may go there now."""
        drained = x.state.get(DRAINED)
        for target in [*x.targets, *drained] if drained else x.targets:
            if target.label == label:
                breakers = self._services.get("breakers")
                if breakers is not None and breakers.state(target) == "open":
                    return None
                return target if permits(x, target) else None
        return None

    def _session(self, x: Exchange) -> bytes:
        """The session's digest, of its id, its key and the asked model; empty when the call belongs to none."""
        req = x.req
        if x.session or "metadata" in req or "user" in req:
            for source, read in self._sources:
                found = read(x)
                if found:
                    if source == "metadata" and not x.session:
                        x.session = found[:128]
                    return _digest(source, holder(x), x.model_requested, found)
        if not self._derives:
            return b""
        messages = req.get("messages")
        if not isinstance(messages, list):
            return b""
        # What stays the same while a conversation grows: its instructions and the first question.
        opening = ""
        for message in messages:
            role = message.get("role")
            if role in _OPENING_ROLES:
                content = message.get("content")
                if type(content) is not str:
                    content = f"\1{content!r}"
                opening = f"{opening}\0{role}\0{content}"
                if role == "user":
                    text = f"derived\0{holder(x)}\0{x.model_requested}\0{opening}"
                    session = blake2b(text.encode("utf-8", "replace"), digest_size=SESSION_BYTES).digest()
                    if not x.session:
                        x.session = "auto_" + session.hex()
                    return session
        return b""


def _digest(source: str, holder: str, model: str, found: str) -> bytes:
    text = f"{source}\0{holder}\0{model}\0{found}"
    return blake2b(text.encode("utf-8", "replace"), digest_size=SESSION_BYTES).digest()
