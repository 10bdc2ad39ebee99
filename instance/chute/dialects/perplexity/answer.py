"""Perplexity's answers and chunks in OpenAI's form; what only it has stands under `perplexity`."""

from __future__ import annotations

from instance.chute.answer import JSON
from instance.chute.dialects.openai_like.chunks import ChunkEdit
from instance.chute.dialects.openai_like.think import ThinkSplitter
from instance.chute.dialects.perplexity.sources import Marks, source_annotations

OWN_FIELDS = ("citations", "search_results", "images", "related_questions", "videos")
CHUNK = "chat.completion.chunk"


def edit_whole(answer: JSON, *, strip_marks: bool) -> bool:
    """Change an answer in place; whether anything had to be."""
    own = {name: answer.pop(name) for name in OWN_FIELDS if name in answer}
    changed = bool(own)
    for choice in answer["choices"]:
        changed |= choice.pop("delta", None) is not None
        message = choice.get("message")
        if not isinstance(message, dict) or not isinstance(message.get("content"), str):
            continue
        came = message["content"]
        thinking, content = _split(came)
        marks = Marks(strip=strip_marks)
        message["content"] = marks.feed(content) + marks.flush()
        if thinking:
            message["reasoning_content"] = thinking
        found = source_annotations(marks.found, own)
        if found:
            message["annotations"] = found
        changed |= message["content"] != came
    if own:
        answer["perplexity"] = own
    usage = answer.get("usage")
    return (edit_usage(usage) if isinstance(usage, dict) else False) | changed


def _split(text: str) -> tuple[str, str]:
    splitter = ThinkSplitter()
    thinking, content = splitter.feed(text)
    more_thinking, more = splitter.flush()
    return thinking + more_thinking, content + more


def edit_usage(usage: JSON) -> bool:
    """Put reasoning tokens where OpenAI has them; whether there were any."""
    reasoning = usage.get("reasoning_tokens")
    if type(reasoning) is not int or usage.get("completion_tokens_details"):
        return False
    usage["completion_tokens_details"] = {"reasoning_tokens": reasoning}
    return True


class PerplexityEdit(ChunkEdit):
    """The chunks of one stream."""

    def __init__(self, *, strip_marks: bool = False, hide_reasoning: bool = False) -> None:
        super().__init__(1, hide_reasoning=hide_reasoning)
        self._think = ThinkSplitter()
        self._marks = Marks(strip=strip_marks)
        self._own: JSON = {}

    def edit(self, chunk: JSON) -> list[JSON] | bool:
        self._own.update({name: chunk.pop(name) for name in OWN_FIELDS if name in chunk})
        chunk["object"] = CHUNK
        for choice in chunk.get("choices") or ():
            choice.pop("message", None)
            delta = choice.get("delta")
            if delta is None:
                delta = choice["delta"] = {}
            finished = choice.get("finish_reason") is not None
            text = delta.get("content")
            if isinstance(text, str) or finished:
                self._edit_text(delta, text if isinstance(text, str) else "", finished)
            if finished:
                found = source_annotations(self._marks.found, self._own)
                if found:
                    delta["annotations"] = found
                if self._own:
                    chunk["perplexity"] = self._own
        return True

    def _edit_text(self, delta: JSON, text: str, finished: bool) -> None:
        thinking, content = self._think.feed(text)
        if finished:
            more_thinking, more = self._think.flush()
            thinking += more_thinking
            content += more
        content = self._marks.feed(content) + (self._marks.flush() if finished else "")
        delta.pop("content", None)
        if thinking:
            delta["reasoning_content"] = thinking
        if content or not thinking:
            delta["content"] = content

    def usage(self, usage: JSON) -> bool:
        return edit_usage(usage)
