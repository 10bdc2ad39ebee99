"""perplexityshim: evens out where Perplexity's chat differs from OpenAI's: its turns, its searches and their sources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from instance.chute.answer import JSON
from instance.chute.dialects.openai_like.chunks import ChunkEdit
from instance.chute.dialects.openai_like.draft import Draft
from instance.chute.dialects.openai_like.errors import bad_request
from instance.chute.dialects.perplexity.answer import PerplexityEdit, edit_whole
from instance.chute.dialects.perplexity.request import fit
from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed
from instance.chute.openai_like import OpenAILikeShim
from instance.chute.shim import ShimSettings

if TYPE_CHECKING:
    from instance.chute.targets import Target


class PerplexityShim(OpenAILikeShim):
    """Chat at Perplexity. Sources come as annotations of the message and, as they are, under `perplexity`."""

    name = "perplexityshim"
    summary = "Speaks Perplexity's kind of OpenAI's chat, with its sources as annotations"
    dialect = "perplexity"

    class Settings(ShimSettings):
        search_context: Literal["low", "medium", "high"] = Field(
            default="low", description="How much is searched when the request does not say."
        )
        strip_marks: bool = Field(default=False, description="Take the marks of sources, like [1], out of the text.")
        default_domains: list[str] = Field(
            default=[],
            max_length=20,
            description="Domains searched (or with a leading - left out) when the request names none.",
        )

    settings: Settings

    def fit(self, x: Exchange, target: Target, draft: Draft) -> None:
        own = self.settings
        fit(draft, search_context=own.search_context, default_domains=own.default_domains)

    def edit_whole(self, x: Exchange, answer: JSON, headers: dict[bytes, bytes]) -> bool:
        return edit_whole(answer, strip_marks=self.settings.strip_marks)

    def edit(self, x: Exchange, headers: dict[bytes, bytes]) -> ChunkEdit:
        own = self.settings
        return PerplexityEdit(strip_marks=own.strip_marks, hide_reasoning=own.reasoning == "hide")

    def failed(self, x: Exchange, failure: CallFailed) -> CallFailed:
        return bad_request(failure)
