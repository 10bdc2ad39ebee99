"""A streamed `/v2/chat` answer as canonical chunks."""

from __future__ import annotations

from collections.abc import Callable

from instance.chute.answer import JSON, Delta
from instance.chute.dialects.chat_chunks import ChunkWriter, reported_error
from instance.chute.dialects.cohere.answer import FAILED, billed_units, finish_reason, logprobs, url_citations, usage
from instance.chute.dialects.translating_reader import TranslatingReader


class CohereReader(TranslatingReader):
    """Reads the events; `done` with `message-end`. `first_id` is told Cohere's id of the answer."""

    def __init__(
        self,
        model: str,
        created: int,
        answer_id: str,
        *,
        reasoning: bool = True,
        citations: bool = True,
        first_id: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__()
        self._chunks = ChunkWriter(model, created, answer_id)
        self._reasoning = reasoning
        self._citations = citations
        self._first_id = first_id
        self._offsets: list[int] = []
        self._length = 0
        self._found: list[JSON] = []
        self._argued = True

    def take(self, obj: JSON, events: list[Delta]) -> None:
        kind = obj.get("type")
        delta = obj.get("delta") or {}
        message = delta.get("message") or {}
        chunks = self._chunks
        if kind == "message-start":
            if self._first_id is not None and obj.get("id"):
                self._first_id(obj["id"])
        elif kind == "content-start":
            self._offsets.append(self._length)
            self._content(message.get("content") or {}, None, events)
        elif kind == "content-delta":
            self._content(message["content"], delta.get("logprobs") or obj.get("logprobs"), events)
        elif kind == "tool-plan-delta":
            self._thought(message["tool_plan"], events)
        elif kind == "tool-call-start":
            call = message["tool_calls"]
            arguments = call["function"].get("arguments") or ""
            self._argued = bool(arguments)
            events.append(chunks.begin_tool(call["id"], call["function"]["name"], arguments))
        elif kind == "tool-call-delta":
            piece = message["tool_calls"]["function"]["arguments"]
            if piece:
                self._argued = True
                events.append(chunks.tool_arguments(piece))
        elif kind == "tool-call-end":
            if not self._argued:
                events.append(chunks.tool_arguments("{}"))
        elif kind == "citation-start":
            self._citation(message["citations"], events)
        elif kind == "message-end":
            self._end(delta, events)
        elif kind is None and obj.get("message"):
            events.append(reported_error(str(obj["message"]), 502))

    def _content(self, content: JSON, probabilities: object, events: list[Delta]) -> None:
        self._thought(content.get("thinking") or "", events)
        text = content.get("text") or ""
        if text:
            self._length += len(text)
            given = [probabilities] if isinstance(probabilities, dict) else probabilities
            read = logprobs(given)
            more: JSON = {"logprobs": read} if read else {}
            events.append(self._chunks.text(text, **more))

    def _thought(self, text: str, events: list[Delta]) -> None:
        if text and self._reasoning:
            events.append(self._chunks.reasoning(text))

    def _citation(self, citation: JSON, events: list[Delta]) -> None:
        if not self._citations:
            return
        self._found.append(citation)
        shown = url_citations(citation, self._offsets)
        if shown:
            events.append(self._chunks.delta({"annotations": shown}))

    def _end(self, delta: JSON, events: list[Delta]) -> None:
        reason = delta.get("finish_reason")
        if reason in FAILED:
            message = delta.get("error") or f"Cohere ended its answer with {reason}."
            events.append(reported_error(str(message), FAILED[reason]))
            return
        chunks = self._chunks
        own: JSON = {"cohere": {"citations": self._found}} if self._found else {}
        events.append(chunks.finish(finish_reason(reason, has_calls=chunks.has_tools()), delta=own))
        billed = billed_units(delta.get("usage"))
        more = {"cohere": billed} if billed else {}
        events += chunks.end(usage(delta.get("usage")), **more)
        self.done = True
