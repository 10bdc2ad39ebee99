"""fireworksshim: evens out where Fireworks' chat differs from OpenAI's, and writes its models' names in full."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from instance.chute.answer import JSON
from instance.chute.dialects.fireworks.answer import FireworksEdit, edit_whole
from instance.chute.dialects.fireworks.request import fit, full_name
from instance.chute.dialects.openai_like.chunks import ChunkEdit
from instance.chute.dialects.openai_like.draft import Draft
from instance.chute.dialects.openai_like.errors import bad_request, restated
from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed
from instance.chute.module import Module
from instance.chute.openai_like import OpenAILikeShim
from instance.chute.shim import ShimSettings
from instance.chute.tokens import count_prompt_tokens

if TYPE_CHECKING:
    from instance.chute.targets import Target
    from instance.core.core import Core

NEAR_MAX = 5
SUSPENDED = 412


class FireworksShim(OpenAILikeShim):
    """Chat at Fireworks. A prompt that is too long is refused instead of cut, and an answer has room: see the settings."""

    name = "fireworksshim"
    summary = "Speaks Fireworks' kind of OpenAI's chat"
    dialect = "fireworks"

    class Settings(ShimSettings):
        account: str = Field(
            default="fireworks",
            min_length=1,
            max_length=100,
            description="Account of models that are named without one.",
        )
        default_max_tokens: int = Field(
            default=4096,
            ge=1,
            le=1_000_000,
            description="Limit of an answer whose caller set none, as far as the window goes.",
        )
        context_overflow: Literal["error", "truncate"] = Field(
            default="error", description="What Fireworks does with a prompt that does not fit: refuse it or cut it."
        )

    settings: Settings
    _core: Core | None = None

    async def start(self, core: Core, previous: Module | None) -> None:
        self._core = core

    def fit(self, x: Exchange, target: Target, draft: Draft) -> None:
        draft.model = full_name(target.model, self.settings.account)
        fit(draft, max_tokens=self._room(x, target), context_overflow=self.settings.context_overflow)

    def fit_other(self, x: Exchange, target: Target, draft: Draft) -> None:
        if x.kind in ("embeddings", "other"):
            return
        draft.model = full_name(target.model, self.settings.account)

    def _room(self, x: Exchange, target: Target) -> int:
        """What an answer may take when the caller did not say: the setting, or what the prompt leaves of the window."""
        room = self.settings.default_max_tokens
        prices = self._core.services.get("prices") if self._core is not None else None
        model = prices.catalogue.of(target) if prices is not None else None
        if model is None or not model.context_tokens or x.req.get("max_tokens") or x.req.get("max_completion_tokens"):
            return room
        left: int = model.context_tokens - count_prompt_tokens(x.req)
        return max(1, min(room, left))

    def edit_whole(self, x: Exchange, answer: JSON, headers: dict[bytes, bytes]) -> bool:
        return edit_whole(answer, headers)

    def edit(self, x: Exchange, headers: dict[bytes, bytes]) -> ChunkEdit:
        return FireworksEdit(x.req.get("n") or 1, headers, hide_reasoning=self.settings.reasoning == "hide")

    def failed(self, x: Exchange, failure: CallFailed) -> CallFailed:
        if failure.status == SUSPENDED:
            return restated(failure, status=402, code="insufficient_credit")
        if failure.status == 404 and failure.target is not None:
            return restated(failure, code="model_not_found", message=self._not_found(failure.target))
        return bad_request(failure)

    def _not_found(self, target: Target) -> str:
        asked = full_name(target.model, self.settings.account)
        near = get_close_matches(asked, target.provider.listed, NEAR_MAX, cutoff=0.5)
        said = f"Fireworks does not serve {asked!r}."
        return f"{said} Near it are: {', '.join(near)}." if near else said
