"""secretscan: finds credentials in prompts, tool calls, tool results and answers; flags, redacts or refuses them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import orjson
import re2
from pydantic import BaseModel, ConfigDict, Field

from instance.chute.answer import JSON, Answer, Delta
from instance.chute.delta_text import delta_texts, release
from instance.chute.exchange import Exchange
from instance.chute.matcher import BadPattern
from instance.chute.module import ALL_KINDS, Module, ModuleSettings
from instance.chute.modules.safety.secret_scanner import PROVIDER_KEY, Finding, Scanner, replace
from instance.chute.modules.safety.secret_stream import ANCHOR_CHARS, HoldBack, Openings, OwnKeyGuard, Report, Watch
from instance.chute.text import answer_texts, rewrite_answer, rewrite_request
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.core.core import Core

FINDINGS_NOTED_MAX = 20
PLAIN_MAX_CHARS = 1024
TEXTS_OF_STREAM_MAX = 256
"""Texts of one stream (choices, tool calls) that are followed; a stream with more of them is ended."""

Pattern = Annotated[str, Field(min_length=1, max_length=1000)]


class CustomDetector(BaseModel):
    """A detector of the user's own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9_]{1,64}$", description="Its name in the trail and in the marker.")
    re2: Pattern = Field(description="RE2 expression of the whole credential.")
    severity: Literal["low", "medium", "high"] = "high"


class SecretScan(Module):
    name: ClassVar[str] = "secretscan"
    category: ClassVar[str] = "safety"
    group: ClassVar[int] = 5
    summary: ClassVar[str] = "Finds credentials in prompts and answers; flags, redacts or refuses them."
    default_enabled: ClassVar[bool] = True
    on_error: ClassVar[Literal["open", "closed"]] = "closed"
    kinds: ClassVar[frozenset[str]] = ALL_KINDS
    safety: ClassVar[bool] = True

    class Settings(ModuleSettings):
        action: Literal["flag", "redact", "block"] = Field(
            default="flag",
            description="flag notes them, redact puts [SECRET:name] in their place, block refuses the call (secret_blocked).",
        )
        scan_input: bool = Field(default=True, description="Look at requests.")
        scan_output: bool = Field(
            default=True, description="Look at answers. The instance's own provider keys are always redacted there."
        )
        detectors: list[str] = Field(
            default=["*"], max_length=100, description="Globs of the built-in detectors to use."
        )
        min_entropy: float = Field(
            default=3.8,
            ge=0,
            le=8,
            description="Bits per character from which a value behind `key =` counts as secret.",
        )
        custom: list[CustomDetector] = Field(default=[], max_length=100, description="Detectors of your own.")
        allow: list[Pattern] = Field(
            default=[], max_length=100, description="RE2 expressions of values that are no secrets."
        )

    settings: Settings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        try:
            self._scanner = Scanner(
                detectors=settings.detectors,
                min_entropy=settings.min_entropy,
                custom=[(custom.name, custom.re2, custom.severity) for custom in settings.custom],
                allow=settings.allow,
            )
        except (re2.error, BadPattern) as error:
            raise StockyardError(
                "bad_pattern", f"An expression is not one of RE2: {error}.", param="config.custom"
            ) from None
        if settings.on_error is None and settings.action == "flag":
            self.on_error = "open"  # type: ignore[misc]  # a module that only flags never refuses a call
        self._openings = Openings(self._scanner)
        self._redact = self._scanner.redact
        self._holds = settings.action != "flag" and settings.scan_output
        self._watches = settings.action == "flag" and settings.scan_output
        self._core: Core | None = None
        self._own: frozenset[str] = frozenset()
        self._anchors: tuple[str, ...] = ()

    async def start(self, core: Core, previous: Module | None) -> None:
        self._core = core
        self._refresh_own()

    def patterns(self) -> Sequence[str]:
        return self._scanner.triggers

    def _refresh_own(self) -> frozenset[str]:
        """The instance's own provider keys as they are now."""
        providers = self._core.services.get("providers") if self._core is not None else None
        keys: frozenset[str] = providers.key_texts if providers is not None else frozenset()
        if keys is not self._own:
            self._own = self._scanner.own = keys
            self._anchors = tuple(sorted({key[:ANCHOR_CHARS] for key in keys}))
        return keys

    def on_request(self, x: Exchange) -> Answer | None:
        x.state["redact"] = self._redact
        if not self.settings.scan_input:
            return None
        hits = x.hits(self)
        if not hits:
            return None
        found: list[tuple[Finding, str]] = []

        def rewrite(text: str, place: str) -> str:
            findings = self._scanner.find(text)
            found.extend((finding, place) for finding in findings)
            return replace(text, findings)

        redacted = rewrite_request(x.req, rewrite)
        if not found:
            return None
        x.stored_request = orjson.dumps(redacted)
        self._note(x, found, "in")
        if self.settings.action == "block":
            raise _blocked(found, "in")
        if self.settings.action == "redact":
            x.req = redacted
            x.change()
        return None

    def on_response(self, x: Exchange, answer: Answer) -> None:
        obj = answer.obj
        if obj is None:
            return
        own = self._refresh_own()
        if not own and not self.settings.scan_output:
            return
        texts = answer_texts(obj)
        if not texts:
            return
        text = texts[0] if len(texts) == 1 else "\n\0\n".join(texts)
        suspicious = self.settings.scan_output and self._scanner.suspects(text)
        if not suspicious and not any(key in text for key in own):
            return
        self._rewrite_answer(x, answer, obj)

    def _rewrite_answer(self, x: Exchange, answer: Answer, obj: JSON) -> None:
        found: list[tuple[Finding, str]] = []
        find = self._scanner.find_all if self.settings.scan_output else self._scanner.find_own

        def rewrite(text: str, place: str) -> str:
            findings = find(text)
            found.extend((finding, place) for finding in findings)
            return replace(text, findings)

        redacted = rewrite_answer(obj, rewrite)
        if not found:
            return
        x.stored_response = orjson.dumps(redacted)
        self._note(x, found, "out")
        if self.settings.action == "block" and self.settings.scan_output:
            raise _blocked(found, "out")
        if not self._holds:
            redacted = rewrite_answer(obj, lambda text, place: replace(text, self._scanner.find_own(text)))
        if redacted is not obj:
            answer.obj = redacted
            answer.changed = True

    def on_delta(self, x: Exchange, delta: Delta) -> None:
        stream: _Stream | None = x.state.get("secretscan")
        if stream is None:
            own = self._refresh_own()
            if not own and not self.settings.scan_output:
                return
            stream = x.state["secretscan"] = _Stream(self, x, self._anchors if self._watches else None)
        if stream.anchors is None or not stream.passes(delta):
            stream.take(delta)

    def on_finish(self, x: Exchange) -> None:
        stream: _Stream | None = x.state.get("secretscan")
        if stream is not None:
            stream.end()
        if x.error_code:
            x.error_message = self._redact(x.error_message)
            if x.raw_error:
                x.raw_error = self._redact(x.raw_error.decode("utf-8", "replace")).encode()

    def reporter(self, x: Exchange) -> Report:
        """What a stream's texts call with each finding: notes it, and in block mode ends the stream."""

        def report(finding: Finding, place: str) -> None:
            self._note(x, [(finding, place)], "out")
            if self._holds and self.settings.action == "block":
                raise _blocked([(finding, place)], "out")

        return report

    def watch(self, place: str, report: Report) -> Watch | None:
        return Watch(self._scanner, place, report) if self._watches else None

    def hold(self, place: str, report: Report) -> HoldBack | OwnKeyGuard | None:
        if self._holds:
            return HoldBack(self._scanner, self._openings, place, report)
        return OwnKeyGuard(self._scanner, self._anchors, place, report) if self._anchors else None

    def _note(self, x: Exchange, found: list[tuple[Finding, str]], direction: str) -> None:
        action = self.settings.action
        if direction == "out":
            x.state["redacted"] = True
        for finding, place in found[:FINDINGS_NOTED_MAX]:
            did = "redact" if finding.detector == PROVIDER_KEY and action == "flag" else action
            x.note(
                "secret",
                {
                    "detector": finding.detector,
                    "severity": finding.severity,
                    "direction": direction,
                    "place": place,
                    "action": did,
                    "preview": finding.preview,
                },
            )


class _Stream:
    """The texts of one streamed answer, each with what watches it and what holds it back."""

    __slots__ = ("_first", "_module", "_report", "_texts", "anchors")

    def __init__(self, module: SecretScan, x: Exchange, anchors: tuple[str, ...] | None) -> None:
        self._module = module
        self._report = module.reporter(x)
        self._texts: dict[str, tuple[Watch | None, HoldBack | OwnKeyGuard | None]] = {}
        self._first: tuple[Watch, OwnKeyGuard | None] | None = None
        self.anchors = anchors
        """Beginnings of own keys, where nothing else is held back; `None` where texts are."""

    def passes(self, delta: Delta) -> bool:
        """Take the plainest event, some content of the first choice with nothing held of it; whether it was one."""
        first = self._first
        if first is None or delta.final:
            return False
        choices = delta.obj["choices"]  # type: ignore[index]
        choice = choices[0]
        part = choice.get("delta")
        if len(choices) > 1 or not part or len(part) > 1 or choice.get("index") or choice.get("finish_reason") is not None:
            return False
        text = part.get("content")
        if type(text) is not str or len(text) > PLAIN_MAX_CHARS:
            return False
        watch, guard = first
        if guard is not None and not guard.passes(text):
            return False
        watch.feed(text)
        return True

    def take(self, delta: Delta) -> None:
        texts = self._texts
        seen: set[str] | None = None
        for place, holder, field, choice in delta_texts(delta):
            text: str = holder[field]
            entry = texts.get(place)
            if entry is None:
                if len(texts) >= TEXTS_OF_STREAM_MAX:
                    raise StockyardError(
                        "bad_upstream_response", "The provider's stream has too many texts to be checked."
                    )
                module = self._module
                entry = texts[place] = (module.watch(place, self._report), module.hold(place, self._report))
                if self.anchors is not None and place == "choices[0].content" and entry[0] is not None:
                    guard = entry[1]
                    self._first = (entry[0], guard if isinstance(guard, OwnKeyGuard) else None)
            watch, hold = entry
            if watch is not None and text:
                watch.feed(text)
            if hold is not None:
                last = delta.final or choice.get("finish_reason") is not None
                sent = hold.feed(text, last)
                if sent != text:
                    holder[field] = sent
                    delta.changed = True
                if last:
                    seen = seen or set()
                    seen.add(place)
        if delta.final or (
            delta.obj is not None and any(c.get("finish_reason") is not None for c in delta.obj["choices"])
        ):
            self._finish(delta, seen or set())

    def _finish(self, delta: Delta, seen: set[str]) -> None:
        """Give back what is held of the texts that end with this event without being in it."""
        assert delta.obj is not None
        choices = delta.obj["choices"]
        for place, (watch, hold) in self._texts.items():
            if delta.final and watch is not None:
                watch.end()
            if hold is None or place in seen:
                continue
            index = place[8 : place.index("]")]
            choice = next((c for c in choices if str(c.get("index", 0)) == index), None)
            if choice is None and delta.final:
                choice = {"index": int(index), "delta": {}, "finish_reason": None}
            if choice is None or not (delta.final or choice.get("finish_reason") is not None):
                continue
            rest = hold.feed("", True)
            if rest:
                if choice not in choices:
                    choices.append(choice)
                release(choice, place, rest)
                delta.changed = True

    def end(self) -> None:
        """Look at what was not looked at when the stream ended early."""
        for watch, _ in self._texts.values():
            if watch is not None:
                watch.end()


def _blocked(found: list[tuple[Finding, str]], direction: str) -> StockyardError:
    names = ", ".join(sorted({finding.detector for finding, _ in found}))
    where = "request" if direction == "in" else "answer"
    hint = " Take it out of the text, or have an operator allow the value." if direction == "in" else ""
    return StockyardError(
        "secret_blocked",
        f"The {where} holds what looks like a credential ({names}).{hint}",
        param=found[0][1] if direction == "in" else None,
        details=[{"detector": finding.detector, "place": place} for finding, place in found[:FINDINGS_NOTED_MAX]],
        retryable=False,
    )
