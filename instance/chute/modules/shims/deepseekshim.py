"""deepseekshim: evens out where DeepSeek's chat differs from OpenAI's."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from pydantic import Field

from instance.chute.answer import JSON
from instance.chute.dialects.deepseek.answer import OVERLOADED_TEXT, DeepSeekEdit, broke_off, edit_whole
from instance.chute.dialects.deepseek.request import fit, in_tool_round, needs_beta
from instance.chute.dialects.openai_like.chunks import ChunkEdit
from instance.chute.dialects.openai_like.draft import Draft
from instance.chute.dialects.openai_like.errors import bad_request, enveloped, restated
from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed
from instance.chute.openai_like import OpenAILikeShim
from instance.chute.shim import ShimSettings
from instance.chute.upstream import UpstreamUrl

if TYPE_CHECKING:
    from instance.chute.targets import Target

THINKING_MODELS = ("deepseek-reasoner*", "*deepseek-r1*")
OUT_OF_CREDIT = 402


class DeepSeekShim(OpenAILikeShim):
    """Chat at DeepSeek.

    Thinking text of earlier answers is taken out of the history, but for messages with tool calls and the tool round that is not
    finished: DeepSeek's thinking mode refuses those without it (`keep_reasoning_models`).
    """

    name = "deepseekshim"
    summary = "Speaks DeepSeek's kind of OpenAI's chat"
    dialect = "deepseek"

    class Settings(ShimSettings):
        keep_reasoning_models: list[str] = Field(
            default=["deepseek-v*", "deepseek-chat*", "deepseek-reasoner*"],
            max_length=100,
            description="Globs of models that must get their thinking back with the tool calls it led to.",
        )
        off_peak_prices: bool = Field(
            default=True,
            description="Price by the hour (UTC) where the price table has off-peak prices; the bundled one has none.",
        )

    settings: Settings

    def fit(self, x: Exchange, target: Target, draft: Draft) -> None:
        model = target.model.lower()
        thinking = x.req.get("thinking")
        asked = isinstance(thinking, dict) and thinking.get("type") == "enabled"
        fit(draft, thinks=asked or any(fnmatchcase(model, glob) for glob in THINKING_MODELS))

    def request(self, x: Exchange) -> JSON:
        """As its base's, with the thinking text of callers of other dialects: which of it goes out is for `keeps_reasoning`."""
        plain = super().request(x)
        if plain is x.req or not self.settings.keep_reasoning_models:
            return plain
        said = iter([one.get("reasoning_content") for one in x.req["messages"] if one.get("role") == "assistant"])
        plain["messages"] = [
            {**one, "reasoning_content": thinking}
            if one.get("role") == "assistant" and (thinking := next(said, None))
            else one
            for one in plain["messages"]
        ]
        return plain

    def keeps_reasoning(self, target: Target, messages: list[JSON], message: JSON) -> bool:
        globs = self.settings.keep_reasoning_models
        if not any(fnmatchcase(target.model, glob) for glob in globs):
            return False
        return bool(message.get("tool_calls")) or in_tool_round(messages, message)

    def url(self, x: Exchange, target: Target) -> UpstreamUrl | None:
        if x.kind != "chat" or not needs_beta(x.req):
            return None
        usual = target.url or self.base_url or target.provider.openai_url
        return UpstreamUrl.parse(usual.text.removesuffix("/v1").removesuffix("/beta") + "/beta") if usual else None

    def edit_whole(self, x: Exchange, answer: JSON, headers: dict[bytes, bytes]) -> bool:
        if broke_off(answer):
            body = enveloped(OVERLOADED_TEXT, "insufficient_system_resource", kind="server_error")
            raise CallFailed("http", x.targets[0], status=503, headers=headers, body=body, code="overloaded")
        return edit_whole(answer)

    def edit(self, x: Exchange, headers: dict[bytes, bytes]) -> ChunkEdit:
        return DeepSeekEdit(1, hide_reasoning=self.settings.reasoning == "hide")

    def failed(self, x: Exchange, failure: CallFailed) -> CallFailed:
        if failure.status == OUT_OF_CREDIT:
            return restated(failure, code="insufficient_credit")
        return bad_request(failure)
