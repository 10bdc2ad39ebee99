"""mistralshim: evens out where Mistral's chat differs from OpenAI's."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from instance.chute.answer import JSON
from instance.chute.dialects.mistral.answer import MistralEdit, edit_whole, envelope_of_422
from instance.chute.dialects.mistral.request import MESSAGE_FIELDS, fit, fit_embeddings
from instance.chute.dialects.openai_like.chunks import ChunkEdit
from instance.chute.dialects.openai_like.draft import Draft
from instance.chute.dialects.openai_like.errors import restated
from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed
from instance.chute.openai_like import OpenAILikeShim
from instance.chute.shim import ShimSettings

if TYPE_CHECKING:
    from instance.chute.targets import Target


class MistralShim(OpenAILikeShim):
    """Chat at Mistral: its names of parameters, tool-call ids of nine characters, thinking in parts of the content."""

    name = "mistralshim"
    summary = "Speaks Mistral's kind of OpenAI's chat"
    dialect = "mistral"
    message_fields: ClassVar[frozenset[str] | None] = MESSAGE_FIELDS

    class Settings(ShimSettings):
        safe_prompt: bool = Field(default=False, description="Let Mistral put its safety prompt before the messages.")
        prefix_continuation: bool = Field(
            default=True, description="A final message of the assistant is continued instead of answered."
        )

    settings: Settings

    def fit(self, x: Exchange, target: Target, draft: Draft) -> None:
        own = self.settings
        fit(draft, safe_prompt=own.safe_prompt, prefix_continuation=own.prefix_continuation)

    def fit_other(self, x: Exchange, target: Target, draft: Draft) -> None:
        if x.kind == "embeddings":
            fit_embeddings(draft)

    def edit_whole(self, x: Exchange, answer: JSON, headers: dict[bytes, bytes]) -> bool:
        return edit_whole(answer)

    def edit(self, x: Exchange, headers: dict[bytes, bytes]) -> ChunkEdit:
        return MistralEdit(x.req.get("n") or 1, hide_reasoning=self.settings.reasoning == "hide")

    def failed(self, x: Exchange, failure: CallFailed) -> CallFailed:
        if failure.status == 422:
            return restated(failure, status=400, body=envelope_of_422(failure))
        return failure
