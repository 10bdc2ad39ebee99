"""A `streamGenerateContent?alt=sse` answer as canonical chunks."""

from __future__ import annotations

from collections.abc import Callable

from instance.chute.answer import JSON, Delta
from instance.chute.dialects.chat_chunks import ChunkWriter, reported_error
from instance.chute.dialects.gemini.answer import blocked_prompt, signature_detail
from instance.chute.dialects.gemini.parts import (
    FILTERED,
    PartsRead,
    finish_reason,
    logprobs,
    provider_fields,
    url_citations,
    usage,
    web_searches,
)
from instance.chute.dialects.gemini.tool_ids import new_call_id
from instance.chute.dialects.translating_reader import TranslatingReader


class GeminiReader(TranslatingReader):
    """Reads the stream; `done` at the end of the body, when every candidate that spoke has finished.

    `stop_at_filter`: a candidate that was filtered before it said anything is given as an error, so that it can be tried again.
    `first_id` is told Google's id of the answer.
    """

    def __init__(
        self,
        model: str,
        created: int,
        answer_id: str,
        *,
        reasoning: bool = True,
        stop_at_filter: bool = False,
        made: Callable[[], str] = new_call_id,
        first_id: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__()
        self._chunks = ChunkWriter(model, created, answer_id)
        self._reasoning = reasoning
        self._stop_at_filter = stop_at_filter
        self._made = made
        self._first_id = first_id
        self._asked = model
        self._searches: dict[int, int] = {}
        self._usage: JSON | None = None
        self._texts: dict[int, str] = {}
        self._spoke = False

    def ended(self, events: list[Delta]) -> None:
        if self._chunks.finished and self._chunks.finished >= set(self._texts):
            self.done = True
            events += self._chunks.end(self._usage)

    def take(self, obj: JSON, events: list[Delta]) -> None:
        error = obj.get("error")
        if error:
            events.append(_reported(error))
            return
        if not self._spoke and obj.get("modelVersion"):
            self._chunks.model = obj["modelVersion"]
        if self._first_id is not None and obj.get("responseId"):
            self._first_id(obj["responseId"])
            self._first_id = None
        candidates = obj.get("candidates") or []
        for place, candidate in enumerate(candidates):  # what was searched may be told again with each piece
            index = candidate.get("index", place)
            self._searches[index] = max(self._searches.get(index, 0), web_searches(candidate, self._asked))
        counts = usage(obj.get("usageMetadata"), sum(self._searches.values()))
        if counts is not None:
            self._usage = counts
        if not candidates and not self._spoke:
            reason = blocked_prompt(obj)
            if reason:
                events.append(reported_error(f"Gemini refused the prompt ({reason}).", 400, "content_filter"))
                return
        for place, candidate in enumerate(candidates):
            self._candidate(candidate, candidate.get("index", place), events)

    def _candidate(self, candidate: JSON, index: int, events: list[Delta]) -> None:
        chunks = self._chunks
        content = candidate.get("content") or {}
        read = PartsRead(content.get("parts") or [], self._made)
        reason = candidate.get("finishReason")
        if self._stop_at_filter and not self._spoke and reason in FILTERED and not read.text:
            events.append(reported_error(f"Gemini filtered its answer ({reason}).", 400, "content_filter"))
            return
        self._spoke = True
        self._texts[index] = self._texts.get(index, "") + read.text
        if read.thinking and self._reasoning:
            events.append(chunks.reasoning(read.thinking, choice=index))
        probabilities = logprobs(candidate.get("logprobsResult"))
        more = {"logprobs": probabilities} if probabilities else {}
        if read.text or more:
            events.append(chunks.text(read.text, choice=index, **more))
        for call_id, name, arguments in read.calls:
            events.append(chunks.begin_tool(call_id, name, arguments, choice=index))
        if read.images:
            events.append(chunks.delta({"images": read.images}, choice=index))
        if read.signature:
            events.append(chunks.delta({"reasoning_details": [signature_detail(read.signature)]}, choice=index))
        if read.other and not reason:
            events.append(chunks.delta({"gemini": {"parts": read.other}}, choice=index))
        if reason and index not in chunks.finished:
            last: JSON = {}
            cited = url_citations(candidate.get("groundingMetadata"), self._texts[index])
            if cited:
                last["annotations"] = cited
            own = provider_fields(candidate, read.other)
            if own:
                last["gemini"] = own
            events.append(
                chunks.finish(finish_reason(reason, has_calls=chunks.has_tools(index)), choice=index, delta=last)
            )


def _reported(error: object) -> Delta:
    if not isinstance(error, dict):
        return reported_error(str(error), 502)
    status = error.get("code")
    return reported_error(
        str(error.get("message") or "Gemini reported an error."),
        status if type(status) is int else 502,
        str(error.get("status") or "").lower(),
    )
