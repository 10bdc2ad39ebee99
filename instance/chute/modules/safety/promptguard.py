"""promptguard: keeps personal data from leaving, and notices texts that try to give the model orders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import orjson
import re2
from pydantic import BaseModel, ConfigDict, Field, field_validator

from instance.chute.answer import Answer, Delta
from instance.chute.call_identity import holder
from instance.chute.embedding.embedder import embedder_where_possible
from instance.chute.embedding.late import EmbedderLate, note_late
from instance.chute.exchange import Exchange
from instance.chute.expressions import require_re2
from instance.chute.held_texts import HeldTexts
from instance.chute.module import Module, ModuleSettings
from instance.chute.modules.safety.injection import WIDE_TRIGGERS
from instance.chute.modules.safety.injection_guard import InjectionGuard, LearnedGuard, PlacedText
from instance.chute.modules.safety.personal_data import Kind, trigger_of
from instance.chute.modules.safety.personal_guard import PersonalGuard
from instance.chute.modules.safety.placeholders import Placeholders, Sessions
from instance.chute.modules.safety.seen_text import LearnedLooker
from instance.chute.modules.safety.texts_by_role import new_texts_by_role
from instance.chute.text import rewrite_answer

if TYPE_CHECKING:
    from instance.core.core import Core

SCORES = {"low": 8, "medium": 5, "high": 3}
"""Points from which a text counts as injection, by sensitivity."""

Pattern = Annotated[str, Field(min_length=1, max_length=1000)]
Role = Literal["system", "user", "assistant", "tool"]


class CustomKind(BaseModel):
    """A kind of personal data of the user's own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,63}$", description="Its name in the trail and in placeholders.")
    re2: Pattern = Field(description="RE2 expression of the whole value.")

    @field_validator("re2")
    @classmethod
    def _compiles(cls, expression: str) -> str:
        return require_re2(expression)


class PromptGuard(Module):
    """Personal data is noted, refused, or replaced by placeholders such as `[EMAIL_1]`, and with `restore` put back in the answer.

    The same value has the same placeholder in a whole call, and in a session of the same key. Placeholders are restored for
    the client only: what is stored keeps them. Injection is scored by weighted rules over each text, also over what it hides
    in an encoding; a text that came from a tool weighs more.
    """

    name: ClassVar[str] = "promptguard"
    category: ClassVar[str] = "safety"
    group: ClassVar[int] = 5
    summary: ClassVar[str] = "Keeps personal data from leaving, and notices prompt injection"
    rejects: ClassVar[tuple[str, ...]] = ("pii_blocked", "injection_blocked")
    on_error: ClassVar[Literal["open", "closed"]] = "closed"
    safety: ClassVar[bool] = True
    tick_s: ClassVar[float] = 60.0
    per_client: ClassVar[bool] = True

    class Settings(ModuleSettings):
        kinds: list[Kind] = Field(
            default=["email", "phone", "card", "iban", "ssn"], max_length=20, description="Kinds of personal data."
        )
        mode: Literal["flag", "redact", "restore", "block"] = Field(
            default="redact",
            description="flag notes it, redact puts placeholders in its place, restore also puts the values back into the answer, block refuses the call (pii_blocked).",
        )
        custom: list[CustomKind] = Field(default=[], max_length=100, description="Kinds of your own.")
        injection: Literal["off", "flag", "block"] = Field(
            default="flag", description="What happens with a text that tries to give orders (injection_blocked)."
        )
        learned: bool = Field(
            default=True,
            description="Where the bundled embedder is installed (extra `semantic`), also score new messages by what was learned from examples of injection: it finds what no rule foresees; a call waits some 5 ms for it, more with long tool results. Without the embedder, or the memory for it, the rules judge alone.",
        )
        sensitivity: Literal["low", "medium", "high"] = Field(
            default="medium", description="Score from which a text counts as injection: low 8, medium 5, high 3."
        )
        roles: list[Role] = Field(default=["user", "tool"], description="Whose messages are looked at.")
        scan_output: bool = Field(default=False, description="Look for personal data in answers too.")
        session_ttl_s: int = Field(
            default=3600,
            ge=0,
            le=7 * 86_400,
            description="Seconds without use after which a session's placeholders are forgotten; 0: each call has its own.",
        )
        phone_regions: list[Annotated[str, Field(pattern=r"^[A-Z]{2}$")]] = Field(
            default=["US", "GB", "DE", "FR", "ES", "IT", "NL", "IN", "AU", "BR"],
            max_length=250,
            description="Countries (ISO 3166) whose national telephone numbers are known; those with a country code always are.",
        )

    settings: Settings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        personal = [trigger_of(kind) for kind in settings.kinds] + [custom.re2 for custom in settings.custom]
        self._personal = len(personal)
        self._roles = frozenset(settings.roles)
        self._injection = (
            InjectionGuard(SCORES[settings.sensitivity], self._roles, settings.injection)
            if settings.injection != "off"
            else None
        )
        self._learned: LearnedGuard | None = None
        self.looker: LearnedLooker | None = None
        self._patterns = (*personal, *(WIDE_TRIGGERS if self._injection is not None else ()))
        self._values = PersonalGuard(
            settings.kinds,
            [(custom.name, re2.compile(custom.re2)) for custom in settings.custom],
            tuple(settings.phone_regions),
            self._roles,
            settings.mode,
        )
        self._rewrites = settings.mode in ("redact", "restore")
        self._restores, self._scans_output = settings.mode == "restore", settings.scan_output
        self._session_ttl_ns = settings.session_ttl_s * 10**9
        self._core: Core | None = None
        self.sessions = Sessions()
        if settings.on_error is None and settings.mode == "flag" and settings.injection != "block":
            self.on_error = "open"  # type: ignore[misc]  # what only flags never refuses a call

    async def start(self, core: Core, previous: Module | None) -> None:
        self._core = core
        if isinstance(previous, PromptGuard):
            self.sessions = previous.sessions
        guard = self._injection
        embedder = await embedder_where_possible(core) if guard is not None and self.settings.learned else None
        if guard is not None and embedder is not None:  # else the rules judge alone
            self._learned = guard.learned(core, embedder)
            self.looker = self._learned.looker

    async def tick(self) -> None:
        if self._core is not None:
            self.sessions.expire(self._core.clock.wall_ns() - self.settings.session_ttl_s * 10**9)

    def hooks(self) -> tuple[str, ...]:
        own = self.settings
        asks = (
            *(("on_request",) if self._patterns else ()),
            *(("prepare",) if self._learned is not None else ()),
        )
        if not self._personal:
            return asks
        if own.mode == "restore" or own.scan_output:
            return (
                *asks,
                "on_response",
                "on_delta",
                *(("on_finish",) if own.scan_output and not self._holds() else ()),
            )
        return asks

    def _holds(self) -> bool:
        return self.settings.scan_output and self.settings.mode != "flag"

    def patterns(self) -> Sequence[str]:
        return self._patterns

    def answer_patterns(self) -> Sequence[str]:
        return self._patterns[: self._personal] if self._scans_output else ()

    # --- requests ---------------------------------------------------------------------------------------------------

    def read_ahead(self, x: Exchange, hits: frozenset[int]) -> None:
        if hits and self._injection is not None and max(hits) >= self._personal:
            self._injection.read_ahead(x)
        if hits and min(hits) < self._personal:
            self._values.read_ahead(x)

    def on_request(self, x: Exchange) -> Answer | None:
        hits = x.hits(self)
        guard = self._injection
        if hits and guard is not None and max(hits) >= self._personal and guard.may_order(x):
            guard.judge(x)
        if self._personal:
            kept = self._kept(x) if x.session and self._rewrites else None
            new = bool(hits) and min(hits) < self._personal
            if new or (kept is not None and kept.known_values):
                self._values.guard(x, kept if kept is not None else Placeholders(), new=new)
        return None

    def _kept(self, x: Exchange) -> Placeholders | None:
        """The placeholders that the call's session has from before."""
        if x.dry or not self._session_ttl_ns or self._core is None:
            return None
        return self.sessions.of(holder(x), x.session, self._core.clock.wall_ns(), self._session_ttl_ns)

    def prepare(self, x: Exchange) -> Coroutine[Any, Any, Answer | None] | None:
        """What was learned, over the new messages and what the rules doubt; what they found is noted already."""
        if self._learned is None or x.state.pop("injection", False):
            return None
        texts = new_texts_by_role(x.req, self._roles, x.state.get("passages"))
        doubts = x.state.pop("injection_doubts", [])
        texts += [each for each in doubts if each not in texts]
        return self._judge(x, self._learned, texts, doubts) if texts else None

    async def _judge(
        self, x: Exchange, learned: LearnedGuard, texts: list[PlacedText], doubts: list[PlacedText]
    ) -> Answer | None:
        try:
            return await learned.judge(x, texts, doubts=bool(doubts))
        except EmbedderLate as late:
            note_late(x, self, late, "rules", hook="prepare")
            if doubts and self._injection is not None:
                self._injection.judge_doubts(x, doubts)
            return None

    # --- answers ----------------------------------------------------------------------------------------------------

    def on_response(self, x: Exchange, answer: Answer) -> None:
        obj = answer.obj
        placeholders: Placeholders | None = x.state.get("promptguard")
        if obj is None or (placeholders is None and not self._scans_output):
            return
        checked = obj
        if self._scans_output:
            hits = x.answer_hits(self, obj)
            if hits and min(hits) < self._personal:
                checked = self._values.checked(x, obj, placeholders)
        shown = checked
        if self._restores and placeholders is not None:
            held = placeholders
            shown = rewrite_answer(checked, lambda text, place: held.restore(text, in_json=place.endswith("arguments")))
        if shown is not obj:
            x.stored_response = orjson.dumps(checked)
            answer.obj = shown
            answer.changed = True

    def on_delta(self, x: Exchange, delta: Delta) -> None:
        texts: HeldTexts | None = x.state.get("promptguard_stream")
        if texts is None:
            placeholders: Placeholders | None = x.state.get("promptguard")
            if not self._holds() and (self.settings.mode != "restore" or placeholders is None):
                x.skipped = (x.skipped or set()) | {self.name}
                return
            texts = x.state["promptguard_stream"] = HeldTexts(
                self._values.holds(x, placeholders, scans=self._holds(), restores=self._restores), x, self.name
            )
        texts.take(delta)

    def on_finish(self, x: Exchange) -> None:
        """Note what a stream held that was only to be flagged."""
        if x.stream and x.text_out:
            self._values.note(x, Counter(each.kind for each in self._values.find("".join(x.text_out))), "out")
