"""DeepSeek's answers and chunks in OpenAI's form."""

from __future__ import annotations

from instance.chute.answer import JSON
from instance.chute.dialects.openai_like.chunks import ChunkEdit

OVERLOADED = "insufficient_system_resource"
OVERLOADED_TEXT = "DeepSeek broke the answer off for lack of resources."


def edit_whole(answer: JSON) -> bool:
    """Change an answer in place; whether anything had to be."""
    usage = answer.get("usage")
    return edit_usage(usage) if isinstance(usage, dict) else False


def broke_off(answer: JSON) -> bool:
    """Whether the provider gave up in the middle."""
    return any(choice.get("finish_reason") == OVERLOADED for choice in answer["choices"])


def edit_usage(usage: JSON) -> bool:
    """Say in OpenAI's way what was read from the cache; whether it was not said so already."""
    hit = usage.get("prompt_cache_hit_tokens")
    details = usage.get("prompt_tokens_details")
    if type(hit) is not int or (isinstance(details, dict) and details.get("cached_tokens") is not None):
        return False
    usage["prompt_tokens_details"] = {**(details or {}), "cached_tokens": hit}
    return True


class DeepSeekEdit(ChunkEdit):
    """The chunks of one stream."""

    def edit(self, chunk: JSON) -> list[JSON] | bool:
        if any(choice.get("finish_reason") == OVERLOADED for choice in chunk.get("choices") or ()):
            return [{"error": {"message": OVERLOADED_TEXT, "status": 503, "code": "overloaded"}}]
        return False

    def usage(self, usage: JSON) -> bool:
        return edit_usage(usage)
