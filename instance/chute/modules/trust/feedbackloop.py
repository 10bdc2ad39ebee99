"""feedbackloop: judgement on answers, given by callers or told by a question that is asked again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from instance.chute.call_identity import session_of
from instance.chute.embedding.embedder import embedder_of
from instance.chute.exchange import Exchange
from instance.chute.module import TEXT_KINDS, Module, ModuleSettings
from instance.chute.modules.trust.repeated_question import RepeatedQuestions
from instance.core.timestamps import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Mapping

    from instance.brand.feedback import Feedback
    from instance.brand.recent_feedback import RecentFeedback
    from instance.core.core import Core

NS_PER_DAY = 86_400 * NS_PER_S
GAUGE = "thumbs_down_rate"
ASKED = b"x-stockyard-feedback"
TOKEN = b"x-stockyard-feedback-token"


class FeedbackLoop(Module):
    """Takes judgement at `/api/trust/feedback`, which finds a call by its trace, request or answer id without this module's help.

    So a call goes past it, unless tokens or implicit signals are asked for.
    """

    name: ClassVar[str] = "feedbackloop"
    category: ClassVar[str] = "trust"
    group: ClassVar[int] = 1
    summary: ClassVar[str] = "Takes judgement on answers and ties it to their traces"
    default_enabled: ClassVar[bool] = True
    kinds: ClassVar[frozenset[str]] = TEXT_KINDS
    tick_s: ClassVar[float] = 3600.0

    class Settings(ModuleSettings):
        tokens: bool = Field(
            default=False,
            description="Give a token for one judgement without a key to calls with the header `X-Stockyard-Feedback: token`.",
        )
        token_ttl_s: int = Field(default=86_400, ge=1, le=31_536_000, description="Seconds that a token holds.")
        implicit: bool = Field(
            default=False,
            description="Count it against an answer when its session asks nearly the same question next; needs the embedding model.",
        )
        comment_max_chars: int = Field(default=2000, ge=0, le=100_000, description="Longest comment, in characters.")
        keep_days: int = Field(default=365, ge=1, le=36_500, description="Days that judgements are kept.")
        one_per_user: bool = Field(
            default=True, description="A later judgement replaces the same person's earlier one; off: it is refused."
        )

    settings: Settings

    def __init__(self, settings: ModuleSettings) -> None:
        super().__init__(settings)
        self._core: Core
        self._feedback: Feedback
        self._questions: RepeatedQuestions | None = None
        self._recent: RecentFeedback

    def hooks(self) -> tuple[str, ...]:
        asks = ("on_request",) if self.settings.tokens else ()
        return (*asks, "on_finish") if self.settings.implicit else asks

    async def start(self, core: Core, previous: Module | None) -> None:
        self._core = core
        self._feedback = core.services["brand"].feedback
        self._recent = await self._feedback.recent()
        if self.settings.implicit:
            embedder = embedder_of(core)
            await embedder.load()
            before = previous._questions if isinstance(previous, FeedbackLoop) else None
            self._questions = RepeatedQuestions(embedder, self._feedback, before)
        core.services["lookout"].alerts.gauges[GAUGE] = self._bad_pct

    async def stop(self) -> None:
        gauges = self._core.services["lookout"].alerts.gauges
        if gauges.get(GAUGE) == self._bad_pct:  # not that of the module that took this one's place
            del gauges[GAUGE]
        if self._questions is not None:
            await self._questions.close()

    async def tick(self) -> None:
        await self._feedback.prune(self._core.clock.wall_ns() - self.settings.keep_days * NS_PER_DAY)

    def report(self) -> dict[str, Any]:
        questions = self._questions
        if questions is None:
            return {}
        return {"repeated_questions": questions.found, "questions_not_compared": questions.dropped}

    def _bad_pct(self, narrowed: Mapping[str, str], window_s: int) -> float | None:
        return self._recent.bad_pct(narrowed, self._core.clock.wall_ns() - window_s * NS_PER_S)

    def on_request(self, x: Exchange) -> None:
        if ASKED in x.headers and x.headers[ASKED].strip().lower() == b"token":
            x.response_headers.append((TOKEN, self._feedback.token(x.id, self.settings.token_ttl_s).encode()))

    def on_finish(self, x: Exchange) -> None:
        if (x.session or "metadata" in x.req) and x.http_status == 200 and self._questions is not None:
            session = session_of(x)
            if session:
                self._questions.asked(x, session)
