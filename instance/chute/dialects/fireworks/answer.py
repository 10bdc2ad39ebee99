"""Fireworks' answers and chunks in OpenAI's form; what only it has stands under `fireworks`."""

from __future__ import annotations

from instance.chute.answer import JSON
from instance.chute.dialects.openai_like.chunks import ChunkEdit

CACHED_HEADER = b"fireworks-cached-prompt-tokens"


def cached_tokens(headers: dict[bytes, bytes]) -> int | None:
    """How much of the prompt was read from the cache, as a header says."""
    value = headers.get(CACHED_HEADER, b"")
    return int(value) if value.isdigit() else None


def edit_whole(answer: JSON, headers: dict[bytes, bytes]) -> bool:
    """Change an answer in place; whether anything had to be."""
    changed = _own_fields(answer, "message")
    usage = answer.get("usage")
    return (edit_usage(usage, cached_tokens(headers)) if isinstance(usage, dict) else False) | changed


def edit_usage(usage: JSON, cached: int | None) -> bool:
    """Add what was read from the cache where only the header says it."""
    details = usage.get("prompt_tokens_details")
    if cached is None or (isinstance(details, dict) and details.get("cached_tokens") is not None):
        return False
    usage["prompt_tokens_details"] = {**(details or {}), "cached_tokens": cached}
    return True


def _own_fields(obj: JSON, part: str) -> bool:
    found = False
    if "perf_metrics" in obj:
        obj["fireworks"] = {"perf_metrics": obj.pop("perf_metrics")}
        found = True
    for choice in obj.get("choices") or ():
        if "raw_output" in choice:
            raw = choice.pop("raw_output")
            if raw is not None:
                choice.setdefault(part, {})["fireworks"] = {"raw_output": raw}
            found = True
    return found


class FireworksEdit(ChunkEdit):
    """The chunks of one stream."""

    def __init__(self, choices: int, headers: dict[bytes, bytes], *, hide_reasoning: bool) -> None:
        super().__init__(choices, hide_reasoning=hide_reasoning)
        self._cached = cached_tokens(headers)

    def edit(self, chunk: JSON) -> list[JSON] | bool:
        return _own_fields(chunk, "delta")

    def usage(self, usage: JSON) -> bool:
        return edit_usage(usage, self._cached)
