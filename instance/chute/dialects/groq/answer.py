"""Groq's answers and chunks in OpenAI's form."""

from __future__ import annotations

from instance.chute.answer import JSON
from instance.chute.dialects.openai_like.chunks import ChunkEdit, rename_reasoning


def edit_whole(answer: JSON) -> bool:
    """Change an answer in place; whether anything had to be."""
    return rename_reasoning(answer["choices"], "message")


class GroqEdit(ChunkEdit):
    """The chunks of one stream: usage and errors stand under `x_groq`."""

    def edit(self, chunk: JSON) -> list[JSON] | bool:
        own = chunk.get("x_groq")
        if isinstance(own, dict):
            error = own.get("error")
            if error:
                said = error if isinstance(error, dict) else {"message": str(error)}
                return [{"error": {"status": 502, **said}}]
            usage = own.get("usage")
            if isinstance(usage, dict) and not chunk.get("usage"):
                self._usage = usage
                self._head = chunk
        return rename_reasoning(chunk.get("choices") or [], "delta")
