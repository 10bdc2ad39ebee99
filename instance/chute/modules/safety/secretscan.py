"""secretscan: finds credentials in prompts, tool calls, tool results and answers; flags, redacts or refuses them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import orjson
import re2
from pydantic import BaseModel, ConfigDict, Field, field_validator

from instance.chute.answer import JSON, Answer, Delta
from instance.chute.exchange import Exchange
from instance.chute.matcher import BadPattern
from instance.chute.module import ALL_KINDS, Module, ModuleSettings
from instance.chute.modules.safety.secret_reports import SecretReports, refusal
from instance.chute.modules.safety.secret_scanner import Finding, Scanner, replace
from instance.chute.modules.safety.secret_stream import ANCHOR_CHARS, HoldBack, Openings, OwnKeyGuard, Report, Watch
from instance.chute.modules.safety.secret_stream_texts import StreamTexts
from instance.chute.text import INPUTS, answer_text, rewrite_answer, rewrite_request
from instance.chute.text_memory import TextMemory
from instance.chute.tokens import PLAIN_FIELDS
from instance.chute.upstream import UpstreamUrl
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.chain import Plan
    from instance.chute.providers import ProviderTable
    from instance.core.core import Core

SUSPECTS_MAX = 3
"""So few detectors are asked at once; of more it is found out first which could find something in a text."""
_INPUTS = frozenset(INPUTS)

Pattern = Annotated[str, Field(min_length=1, max_length=1000)]


class CustomDetector(BaseModel):
    """A detector of the user's own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9_]{1,64}$", description="Its name in the trail and in the marker.")
    re2: Pattern = Field(description="RE2 expression of the whole credential.")
    severity: Literal["low", "medium", "high"] = Field(default="high", description="Severity of what it finds.")


class SecretScan(Module):
    name: ClassVar[str] = "secretscan"
    category: ClassVar[str] = "safety"
    group: ClassVar[int] = 5
    summary: ClassVar[str] = "Finds credentials in prompts and answers; flags, redacts or refuses them."
    rejects: ClassVar[tuple[str, ...]] = ("secret_blocked", "bad_upstream_response")
    default_enabled: ClassVar[bool] = True
    on_error: ClassVar[Literal["open", "closed"]] = "closed"
    kinds: ClassVar[frozenset[str]] = ALL_KINDS
    safety: ClassVar[bool] = True
    per_client: ClassVar[bool] = True

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
        webhook: str = Field(
            default="",
            max_length=2000,
            description="Address that is told of each call with a secret, never of its value.",
        )

        @field_validator("webhook")
        @classmethod
        def _an_address(cls, url: str) -> str:
            if url:
                UpstreamUrl.parse(url)
            return url

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
        self._scans_input, self._scans_output = settings.scan_input, settings.scan_output
        self._flags = settings.action == "flag"
        self._clean: TextMemory[bool] = TextMemory()
        """Texts of requests in which nothing was found."""
        self._holds = settings.action != "flag" and settings.scan_output
        self._watches = settings.action == "flag" and settings.scan_output
        self.defers_look = self._scans_input and self._flags
        """Nothing is rewritten or refused: the scan of a request can wait until its answer is scanned."""
        self._redacts = self._redact_known
        self._plan: Plan | None = None
        """The latest call's: what its matchers remember of texts."""
        self._core: Core | None = None
        self._reports = SecretReports(settings.action)
        self._providers: ProviderTable | None = None
        self._own: frozenset[str] = frozenset()
        self._anchors: tuple[str, ...] = ()

    async def start(self, core: Core, previous: Module | None) -> None:
        self._core = core
        self._refresh_own()
        if self.settings.webhook:
            self._reports.tell(self.settings.webhook, core, self.name)

    async def stop(self) -> None:
        await self._reports.close()

    def patterns(self) -> Sequence[str]:
        return self._scanner.triggers

    def answer_patterns(self) -> Sequence[str]:
        return self._scanner.triggers if self._scans_output else ()

    def _refresh_own(self) -> frozenset[str]:
        """The instance's own provider keys as they are now."""
        providers = self._providers
        if providers is None:
            providers = self._providers = self._core.services.get("providers") if self._core is not None else None
        keys = providers.key_texts if providers is not None else frozenset()
        if keys is not self._own:
            self._own = self._scanner.own = keys
            self._anchors = tuple(sorted({key[:ANCHOR_CHARS] for key in keys}))
        return keys

    def read_ahead(self, x: Exchange, hits: frozenset[int]) -> None:
        if hits and self._scans_input:
            self._is_clean(x.req, hits)

    def on_request(self, x: Exchange) -> Answer | None:
        x.state["redact"] = self._redacts
        self._plan = x.plan
        if self.defers_look and x.request_hits is None:
            x.state["unscanned"] = True  # it is scanned with the answer, when both cost one warm-up
        elif self._scans_input and (suspects := x.hits(self)):
            self._scan_request(x, suspects)
        return None

    def _redact_known(self, text: str) -> str:
        """The text with a marker in the place of each credential; one that was scanned with a session's is not searched again."""
        plan = self._plan
        for matcher in (plan.matcher, plan.answer_matcher) if plan is not None else ():
            hits = matcher.known(self.name, text) if matcher is not None else None
            if hits is not None and not hits:
                return replace(text, self._scanner.find_own(text)) if self._scanner.own else text
        return self._redact(text)

    def _scan_request(self, x: Exchange, suspects: frozenset[int]) -> None:
        """Look at each text of a request; `suspects` are the detectors of which the shared matcher says that they may find something."""
        if self._is_clean(x.req, suspects):
            return
        found: list[tuple[Finding, str]] = []
        clean = self._clean

        def rewrite(text: str, place: str) -> str:
            if clean.get(text):
                return text
            findings = self._scanner.find(text)
            if not findings:
                clean.keep(text, True)
            found.extend((finding, place) for finding in findings)
            return replace(text, findings)

        redacted = rewrite_request(x.req, rewrite)
        if not found:
            return
        x.stored_request = orjson.dumps(redacted)
        self._reports.note(x, found, "in")
        if self.settings.action == "block":
            raise refusal(found, "in")
        if self.settings.action == "redact":
            x.req = redacted
            x.change()

    def _is_clean(self, req: JSON, suspects: frozenset[int]) -> bool:
        """Whether it has messages of a role and a text alone, and nothing is found in any: as in most conversations, of which all
        but the newest text was looked at before."""
        messages = req.get("messages")
        if type(messages) is not list or not _INPUTS.isdisjoint(req):
            return False
        clean = self._clean
        for message in messages:
            text = message.get("content") if type(message) is dict and len(message) == PLAIN_FIELDS else None
            if type(text) is not str or "role" not in message:
                return False
            if not clean.get(text):
                if self._scanner.find(text, suspects if len(suspects) <= SUSPECTS_MAX else None):
                    return False
                clean.keep(text, True)
        return True

    def on_response(self, x: Exchange, answer: Answer) -> None:
        obj = answer.obj
        text = answer_text(obj) if obj is not None else ""
        clean = False
        if self.defers_look and x.state.pop("unscanned", False):
            # As a rule there is nothing in either, and one scan of both says so.
            clean = self._scans_output and x.clean_with(self, text)
            if not clean and (hits := x.hits(self)):
                self._scan_request(x, hits)
        own = self._refresh_own()
        if obj is None or not text:
            return
        suspects = self._suspects(x, obj, text) if not clean and self._scans_output else None
        if suspects:
            self._rewrite_answer(x, answer, obj, text, suspects)
            return
        for key in own:
            if key in text:
                self._rewrite_answer(x, answer, obj, text, suspects)
                return

    def _suspects(self, x: Exchange, obj: JSON, text: str) -> frozenset[int]:
        """Which detectors could find something in an answer."""
        if x.plan is None or x.plan.answer_matcher is None:
            return self._scanner.suspects(text)
        return x.answer_hits(self, obj)

    def _rewrite_answer(
        self, x: Exchange, answer: Answer, obj: JSON, scanned: str, suspects: frozenset[int] | None
    ) -> None:
        """Take out of the answer what is found; `suspects` are the detectors that could find something in the text `scanned`."""
        found: list[tuple[Finding, str]] = []
        scanner = self._scanner

        def rewrite(text: str, place: str) -> str:
            if self._scans_output:
                findings = scanner.find_all(text, suspects if text == scanned else None)
            else:
                findings = scanner.find_own(text)
            found.extend((finding, place) for finding in findings)
            return replace(text, findings)

        redacted = rewrite_answer(obj, rewrite)
        if not found:
            return
        # promptguard has said already what may be stored of an answer whose values it put back for the client.
        stored = (
            redacted if x.stored_response is None else rewrite_answer(orjson.loads(x.stored_response), self._replaced)
        )
        x.stored_response = orjson.dumps(stored)
        self._reports.note(x, found, "out")
        if self.settings.action == "block" and self.settings.scan_output:
            raise refusal(found, "out")
        if not self._holds:
            redacted = rewrite_answer(obj, lambda text, place: replace(text, self._scanner.find_own(text)))
        if redacted is not obj:
            answer.obj = redacted
            answer.changed = True

    def _replaced(self, text: str, place: str) -> str:
        return self._redact(text)

    def on_delta(self, x: Exchange, delta: Delta) -> None:
        stream: StreamTexts | None = x.state.get("secretscan")
        if stream is None:
            own = self._refresh_own()
            if not own and not self._scans_output:
                x.skipped = (x.skipped or set()) | {self.name}
                return
            stream = x.state["secretscan"] = StreamTexts(self, x)
        stream.take(delta)

    def on_finish(self, x: Exchange) -> None:
        if self.defers_look and x.state.pop("unscanned", False) and (suspects := x.hits(self)):
            self._scan_request(x, suspects)
        if "secretscan" in x.state:
            stream: StreamTexts = x.state["secretscan"]
            stream.end()
        if x.error_code:
            x.error_message = self._redact(x.error_message)
            if x.raw_error:
                x.raw_error = self._redact(x.raw_error.decode("utf-8", "replace")).encode()

    def reporter(self, x: Exchange) -> Report:
        """What a stream's texts call with each finding: notes it, and in block mode ends the stream."""

        def report(finding: Finding, place: str) -> None:
            self._reports.note(x, [(finding, place)], "out")
            if self._holds and self.settings.action == "block":
                raise refusal([(finding, place)], "out")

        return report

    def watch(self, place: str, report: Report) -> Watch | None:
        return Watch(self._scanner, place, report) if self._watches else None

    def hold(self, place: str, report: Report) -> HoldBack | OwnKeyGuard | None:
        if self._holds:
            return HoldBack(self._scanner, self._openings, place, report)
        return OwnKeyGuard(self._scanner, self._anchors, place, report) if self._anchors else None
