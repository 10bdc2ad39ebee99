"""A streamed `/api/chat` answer as canonical chunks."""

from __future__ import annotations

from collections.abc import Callable

from instance.chute.answer import JSON, Delta
from instance.chute.dialects.chat_chunks import ChunkWriter, reported_error
from instance.chute.dialects.ollama.answer import finish_reason, logprobs, new_call_id, times, tool_call, usage
from instance.chute.dialects.ollama.lines import LineSplitter
from instance.chute.dialects.translating_reader import TranslatingReader


class OllamaReader(TranslatingReader):
    """Reads the lines; `done` with the one that says so."""

    def __init__(
        self,
        model: str,
        created: int,
        answer_id: str,
        *,
        reasoning: bool = True,
        made: Callable[[], str] = new_call_id,
    ) -> None:
        super().__init__()
        self._lines = LineSplitter()
        self._chunks = ChunkWriter(model, created, answer_id)
        self._reasoning = reasoning
        self._made = made
        self._begun = False

    def split(self, block: bytes) -> list[JSON]:
        return self._lines.feed(block)

    def split_rest(self) -> list[JSON]:
        return self._lines.close()

    def take(self, obj: JSON, events: list[Delta]) -> None:
        error = obj.get("error")
        if error:
            status = obj.get("status_code")
            events.append(reported_error(str(error), status if type(status) is int else 502))
            return
        chunks = self._chunks
        if not self._begun:
            self._begun = True
            chunks.model = obj.get("model") or chunks.model
        message = obj.get("message") or {}
        if message.get("thinking") and self._reasoning:
            events.append(chunks.reasoning(message["thinking"]))
        probabilities = logprobs(obj.get("logprobs"))
        if message.get("content") or probabilities:
            more: JSON = {"logprobs": probabilities} if probabilities else {}
            events.append(chunks.text(message.get("content") or "", **more))
        for call in message.get("tool_calls") or ():
            events.append(chunks.begin_tool(*tool_call(call, self._made)))
        if obj.get("done"):
            events.append(chunks.finish(finish_reason(obj.get("done_reason"), has_calls=chunks.has_tools())))
            events += chunks.end(usage(obj), ollama=times(obj))
            self.done = True
