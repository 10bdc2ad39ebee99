"""Base of the shims whose provider speaks OpenAI's chat with differences: what has none goes out and comes back byte for byte."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import orjson

from instance.chute.answer import JSON, Answer
from instance.chute.attempt import MALFORMED, Attempt, Outbound
from instance.chute.body import body_for
from instance.chute.dialects.openai_like.chunks import ChunkEdit, ChunkReader, hide_reasoning
from instance.chute.dialects.openai_like.draft import Draft, plain_message, plain_tools
from instance.chute.direct import CHAT_PATH, TALKS, openai_compatible
from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed
from instance.chute.module import ALL_KINDS
from instance.chute.shim import Shim

if TYPE_CHECKING:
    from instance.chute.targets import Target
    from instance.chute.upstream import UpstreamUrl


class OpenAILikeShim(Shim):
    """Override `fit` (the request), `edit_whole` (an answer), `edit` (a stream) and `failed`; each is called once per attempt."""

    wire_dialect: ClassVar[str] = "openai.chat"
    serves: ClassVar[frozenset[str]] = ALL_KINDS
    message_fields: ClassVar[frozenset[str] | None] = None
    """All fields of a message that the provider takes; `None`: any."""

    def fit(self, x: Exchange, target: Target, draft: Draft) -> None:
        """Change the request to what the provider takes. Raises `StockyardError` 400 for what it cannot take at all."""

    def fit_other(self, x: Exchange, target: Target, draft: Draft) -> None:
        """The same for what is no chat (embeddings, images …)."""

    def edit_whole(self, x: Exchange, answer: JSON, headers: dict[bytes, bytes]) -> bool:
        """Change a whole answer in place to OpenAI's form; whether anything had to be."""
        return False

    def edit(self, x: Exchange, headers: dict[bytes, bytes]) -> ChunkEdit:
        """What is done to a stream's chunks."""
        return ChunkEdit(x.req.get("n") or 1, hide_reasoning=self.settings.reasoning == "hide")

    def keeps_reasoning(self, target: Target, messages: list[JSON], message: JSON) -> bool:
        """Whether the provider takes thinking text back in a message of the history (`messages`)."""
        return False

    def url(self, x: Exchange, target: Target) -> UpstreamUrl | None:
        """Where the call goes; `None`: to the target's or the provider's own address."""
        return None

    def drafted(self, x: Exchange, target: Target) -> Draft:
        """The request as the provider takes it, and which of its fields have no counterpart there."""
        plain = self.request(x)
        draft = Draft(plain)
        draft.changed = plain is not x.req
        draft.own_parameters(self.dialect)
        messages = plain["messages"]
        lost: set[str] = set()
        draft.each_message(
            lambda message: plain_message(
                message,
                lost,
                allowed=self.message_fields,
                reasoning="reasoning_content" in message and self.keeps_reasoning(target, messages, message),
            )
        )
        draft.dropped += sorted(f"messages[].{name}" for name in lost)
        plain_tools(draft)
        self.fit(x, target, draft)
        return draft

    async def call(self, x: Exchange, attempt: Attempt) -> Answer:
        attempt.base_url = self.base_url
        target = attempt.target
        if x.kind not in TALKS or self.goes_as_it_came(x, target):
            return await self.other(x, attempt)
        draft = self.drafted(x, target)
        self.dropped(x, draft.dropped)
        return await self.exchanged(x, attempt, draft)

    def goes_as_it_came(self, x: Exchange, target: Target) -> bool:
        """Whether a call that is no plain chat goes out in the caller's dialect: the provider speaks it, and no module changed
        what only the canonical form says."""
        operation = x.operation
        return (
            bool(operation.path)
            and operation.dialect != self.wire_dialect
            and operation.dialect in target.provider.speaks
            and not (x.changed and operation.translated)
        )

    def takes_as_it_is(self, x: Exchange, target: Target) -> bool:
        return super().takes_as_it_is(x, target) or x.operation.dialect in target.provider.speaks

    async def other(self, x: Exchange, attempt: Attempt) -> Answer:
        """A call that is no chat, or one that the provider takes in the caller's dialect: as it came, but for `fit_other`."""
        target = attempt.target
        obj = None
        if x.kind not in TALKS and x.native is None and not x.operation.multipart:
            draft = Draft(x.req)
            draft.own_parameters(self.dialect)
            self.fit_other(x, target, draft)
            self.dropped(x, draft.dropped)
            obj = {**draft.req, "model": target.model} if draft.changed else None
        try:
            return await openai_compatible(x, attempt, url=self.url(x, target) or target.url or self.base_url, obj=obj)
        except CallFailed as failure:
            raise self.failed(x, failure) from failure

    async def exchanged(self, x: Exchange, attempt: Attempt, draft: Draft) -> Answer:
        """Send the request and read the answer."""
        target = attempt.target
        response = await attempt.send(self.outbound(x, target, draft), url=self.url(x, target))
        if response.status != 200:
            raise self.failed(x, await attempt.refused(response))
        if x.stream:
            return await attempt.streamed(response, ChunkReader(self.edit(x, response.headers)))
        raw = (await attempt.read(response)).lstrip()
        try:
            answer = _whole(raw)
            changed = self.edit_whole(x, answer, response.headers)
        except MALFORMED as error:
            raise attempt.broken(error, response.headers, raw) from error
        if self.settings.reasoning == "hide":
            changed |= hide_reasoning(answer["choices"], "message")
        return attempt.whole(answer, raw, response.headers, native="" if changed else self.wire_dialect)

    def outbound(self, x: Exchange, target: Target, draft: Draft) -> Outbound:
        """The HTTP request: the bytes that came when the draft left them as they are."""
        if draft.model and draft.model != target.model:
            draft.set("model", draft.model)
        if not draft.changed and draft.asks_usage:
            body, obj = body_for(x, target, plain=False)
        else:
            sent = {**draft.req, "model": draft.model or target.model}
            if x.stream and not x.usage_asked and target.provider.stream_usage and draft.asks_usage:
                options = sent.get("stream_options")
                sent["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
            body, obj = orjson.dumps(sent), sent
        return Outbound(CHAT_PATH, body, obj, draft.headers)


def _whole(raw: bytes) -> JSON:
    answer = orjson.loads(raw)
    choices = answer.get("choices")
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        raise ValueError("the answer has no choices")
    return answer  # type: ignore[no-any-return]
