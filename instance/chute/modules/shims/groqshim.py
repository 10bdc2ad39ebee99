"""groqshim: evens out where Groq's chat differs from OpenAI's, and rescues tool calls that Groq could not read."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from instance.chute.answer import JSON, Answer
from instance.chute.attempt import Attempt
from instance.chute.branched_choices import joined_choices
from instance.chute.dialects.groq.answer import GroqEdit, edit_whole
from instance.chute.dialects.groq.errors import failed, failed_generation
from instance.chute.dialects.groq.failed_tool_call import rescued_calls
from instance.chute.dialects.groq.request import MESSAGE_FIELDS, fit
from instance.chute.dialects.openai_like.chunks import ChunkEdit
from instance.chute.dialects.openai_like.draft import Draft
from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed
from instance.chute.modules.caching.stream_replay import replay
from instance.chute.openai_like import OpenAILikeShim
from instance.chute.shim import ShimSettings, answer_head
from instance.core.clock import Clock

if TYPE_CHECKING:
    from instance.chute.targets import Target

COLDER = 0.5
"""The second try after a tool call that nobody can read is made at this part of the temperature."""
USUAL_TEMPERATURE = 1.0


class GroqShim(OpenAILikeShim):
    """Chat at Groq, which has no log probabilities, no logit bias, one choice an answer and strict messages."""

    name = "groqshim"
    summary = "Speaks Groq's kind of OpenAI's chat and rescues failed tool calls"
    dialect = "groq"
    message_fields: ClassVar[frozenset[str] | None] = MESSAGE_FIELDS

    class Settings(ShimSettings):
        emulate_n: bool = Field(default=False, description="Serve n > 1 by as many calls at the same time.")
        rescue_tool_calls: bool = Field(
            default=True, description="Read tool calls out of what Groq gave up on; else ask once more, colder."
        )
        service_tier: Literal["", "auto", "flex", "on_demand"] = Field(
            default="", description="Tier of calls that name none; empty: the account's own."
        )

    settings: Settings

    def fit(self, x: Exchange, target: Target, draft: Draft) -> None:
        own = self.settings
        if draft.get("n") == 1 or own.emulate_n:
            draft.remove("n")
        draft.drop("n")
        fit(draft, target.model, show_reasoning=own.reasoning == "show", service_tier=own.service_tier)

    async def exchanged(self, x: Exchange, attempt: Attempt, draft: Draft) -> Answer:
        wanted = x.req.get("n") or 1
        if wanted > 1 and self.settings.emulate_n:
            return await joined_choices(x, attempt, wanted, lambda one, its: self._rescued(one, its, draft))
        return await self._rescued(x, attempt, draft)

    async def _rescued(self, x: Exchange, attempt: Attempt, draft: Draft) -> Answer:
        """The answer; when it failed on a tool call, that call read here, or else a second, colder answer."""
        try:
            return await super().exchanged(x, attempt, draft)
        except CallFailed as failure:
            text = failed_generation(failure) if self.settings.rescue_tool_calls else ""
            if not text:
                raise
            calls = rescued_calls(text, x.req.get("tools"))
            if calls:
                x.note("rescued_tool_call", {"calls": len(calls)}, module=self.name, hook="around")
                return _answer(x, attempt, failure, calls)
        temperature = draft.get("temperature")
        usual = temperature if type(temperature) in (int, float) else USUAL_TEMPERATURE
        colder = Draft(draft.req)
        colder.model = draft.model
        colder.set("temperature", usual * COLDER)
        x.note("repeated_colder", {"temperature": usual * COLDER}, module=self.name, hook="around")
        return await super().exchanged(x, attempt, colder)

    def edit_whole(self, x: Exchange, answer: JSON, headers: dict[bytes, bytes]) -> bool:
        return edit_whole(answer)

    def edit(self, x: Exchange, headers: dict[bytes, bytes]) -> ChunkEdit:
        return GroqEdit(1, hide_reasoning=self.settings.reasoning == "hide")

    def failed(self, x: Exchange, failure: CallFailed) -> CallFailed:
        return failed(failure)


def _answer(x: Exchange, attempt: Attempt, failure: CallFailed, calls: list[JSON]) -> Answer:
    """An answer that consists of the tool calls."""
    created, answer_id = answer_head(x)
    answer: JSON = {
        "id": answer_id,
        "object": "chat.completion",
        "created": created,
        "model": attempt.target.model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": None, "tool_calls": calls},
                "logprobs": None,
                "finish_reason": "tool_calls",
            }
        ],
    }
    whole = attempt.whole(answer, None, failure.headers, native="")
    if not x.stream:
        return whole
    return Answer(headers=failure.headers, events=replay(answer, Clock(), 0), target=attempt.target)
