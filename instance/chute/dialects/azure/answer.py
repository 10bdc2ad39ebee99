"""Azure's answers and chunks in OpenAI's form; what its content filter said stands under `azure`."""

from __future__ import annotations

from typing import Any

from instance.chute.answer import JSON
from instance.chute.dialects.openai_like.chunks import ChunkEdit

PROMPT = "prompt_filter_results"
CONTENT = "content_filter_results"
OFFSETS = "content_filter_offsets"


def edit_whole(answer: JSON) -> bool:
    """Change an answer in place; whether anything had to be."""
    changed = False
    if PROMPT in answer:
        answer["azure"] = {PROMPT: answer.pop(PROMPT)}
        changed = True
    for choice in answer["choices"]:
        if CONTENT in choice:
            found = choice.pop(CONTENT)
            changed = True
            if found and isinstance(choice.get("message"), dict):
                choice["message"]["azure"] = {CONTENT: found}
    return changed


class AzureEdit(ChunkEdit):
    """The chunks of one stream.

    A first chunk without choices, and chunks that only carry what the filter said later, do not go out: SDK code reads
    `choices[0].delta`. What they said goes out with the last chunk.
    """

    def __init__(self, choices: int = 1, *, hide_reasoning: bool = False) -> None:
        super().__init__(choices, hide_reasoning=hide_reasoning)
        self._prompt: Any = None
        self._content: dict[int, JSON] = {}
        self._waiting: JSON | None = None

    def edit(self, chunk: JSON) -> list[JSON] | bool:
        changed = False
        if PROMPT in chunk:
            self._prompt = chunk.pop(PROMPT) or self._prompt
            changed = True
        choices = chunk.get("choices")
        if not choices:
            return self._with_waiting(chunk) if chunk.get("usage") else []
        told = [choice for choice in choices if self._noted(choice)]
        changed |= len(told) > 0
        kept = [choice for choice in choices if not _only_filtered(choice) or choice not in told]
        if not kept:
            return []
        chunk["choices"] = kept
        if self._waiting is None and all(choice.get("finish_reason") is None for choice in kept):
            return changed
        # The finish waits for the chunk after it: what the filter says last comes behind it.
        out = self._with_waiting(None)
        self._waiting = chunk
        return out

    def _noted(self, choice: JSON) -> bool:
        """Note what the filter said of a choice; whether it did."""
        found = False
        for name in (CONTENT, OFFSETS):
            if name in choice:
                value = choice.pop(name)
                found = True
                if value and name == CONTENT:
                    self._content.setdefault(choice.get("index") or 0, {}).update(value)
        return found

    def _with_waiting(self, chunk: JSON | None) -> list[JSON]:
        """The chunk that waited, with all that the filter said, and one after it."""
        out: list[JSON] = []
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            for choice in waiting["choices"]:
                found = self._content.get(choice.get("index") or 0)
                if found:
                    choice.setdefault("delta", {})["azure"] = {CONTENT: found}
            if self._prompt:
                waiting["azure"] = {PROMPT: self._prompt}
            out.append(waiting)
        return out if chunk is None else [*out, chunk]

    def last(self) -> list[JSON]:
        return [part for chunk in self._with_waiting(None) for part in self._settled(chunk)[0]]


def _only_filtered(choice: JSON) -> bool:
    """Whether nothing of the answer is in the choice."""
    delta = choice.get("delta")
    said = isinstance(delta, dict) and any(value for name, value in delta.items() if name != "role")
    return not said and choice.get("finish_reason") is None and not (isinstance(delta, dict) and delta.get("role"))
