"""Together's answers and chunks in OpenAI's form."""

from __future__ import annotations

from instance.chute.answer import JSON
from instance.chute.dialects.openai_like.chunks import ChunkEdit, map_finish, rename_reasoning

FINISH = {"eos": "stop"}


def edit_whole(answer: JSON) -> bool:
    """Change an answer in place; whether anything had to be."""
    changed = map_finish(answer["choices"], FINISH)
    return rename_reasoning(answer["choices"], "message") | changed


class TogetherEdit(ChunkEdit):
    """The chunks of one stream."""

    def edit(self, chunk: JSON) -> list[JSON] | bool:
        choices = chunk.get("choices") or []
        changed = map_finish(choices, FINISH)
        return rename_reasoning(choices, "delta") | changed
