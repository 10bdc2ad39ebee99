"""togethershim: evens out where Together's chat and images differ from OpenAI's, and completes short names of models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from instance.chute.answer import JSON, Answer
from instance.chute.attempt import Attempt
from instance.chute.dialects.openai_like.chunks import ChunkEdit
from instance.chute.dialects.openai_like.draft import Draft
from instance.chute.dialects.openai_like.errors import bad_request, restated
from instance.chute.dialects.together.answer import TogetherEdit, edit_whole
from instance.chute.dialects.together.names import completed
from instance.chute.dialects.together.request import fit, fit_images
from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed
from instance.chute.module import Module
from instance.chute.openai_like import OpenAILikeShim
from instance.chute.shim import ShimSettings
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.targets import Target
    from instance.core.core import Core

OVERLOADED = frozenset((503, 529))


class TogetherShim(OpenAILikeShim):
    """Chat and images at Together.

    A short name is completed when exactly one model of Together's list fits it; Turbo, Lite and free variants only when named.
    """

    name = "togethershim"
    summary = "Speaks Together's kind of OpenAI's API and completes its models' names"
    rejects = ("bad_request",)
    dialect = "together"

    class Settings(ShimSettings):
        complete_names: bool = Field(default=True, description="Complete names without a slash from Together's list.")
        safety_model: str = Field(default="", max_length=200, description="Moderation model asked with each chat.")

    settings: Settings
    _core: Core | None = None

    async def start(self, core: Core, previous: Module | None) -> None:
        self._core = core

    async def call(self, x: Exchange, attempt: Attempt) -> Answer:
        target = attempt.target
        if self.settings.complete_names and "/" not in target.model:
            await self._listed(target)
        return await super().call(x, attempt)

    async def _listed(self, target: Target) -> None:
        """See that the provider's own list of models is known; without it names go out as they are."""
        if target.provider.listed or self._core is None:
            return
        table = self._core.services.get("providers")
        lists = table.model_lists if table is not None else None
        if lists is not None:
            await lists.fetched(target.provider)

    def _model(self, target: Target) -> str:
        name = target.model
        listed = target.provider.listed
        if not self.settings.complete_names or "/" in name or not listed or name in listed:
            return name
        found, candidates = completed(name, listed)
        if found:
            return found
        if not candidates:
            return name
        raise StockyardError(
            "bad_request",
            f"Together has no model {name!r}; name one of these: {', '.join(candidates)}.",
            param="model",
            details={"candidates": candidates},
            module=self.name,
            retryable=False,
        )

    def fit(self, x: Exchange, target: Target, draft: Draft) -> None:
        draft.model = self._model(target)
        fit(draft, safety_model=self.settings.safety_model)

    def fit_other(self, x: Exchange, target: Target, draft: Draft) -> None:
        draft.model = self._model(target)
        if x.kind == "images":
            fit_images(draft)

    def edit_whole(self, x: Exchange, answer: JSON, headers: dict[bytes, bytes]) -> bool:
        return edit_whole(answer)

    def edit(self, x: Exchange, headers: dict[bytes, bytes]) -> ChunkEdit:
        return TogetherEdit(x.req.get("n") or 1, hide_reasoning=self.settings.reasoning == "hide")

    def failed(self, x: Exchange, failure: CallFailed) -> CallFailed:
        if failure.status in OVERLOADED:
            return restated(failure, status=503, code="overloaded")
        return bad_request(failure)
