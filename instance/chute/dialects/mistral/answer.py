"""Mistral's answers and chunks in OpenAI's form."""

from __future__ import annotations

from typing import Any

import orjson

from instance.chute.answer import JSON
from instance.chute.dialects.openai_like.chunks import ChunkEdit, map_finish
from instance.chute.dialects.openai_like.errors import body_of, enveloped
from instance.chute.failures import CallFailed

FINISH = {"model_length": "length"}
FAILED = "error"
FAILED_TEXT = "Mistral broke the answer off with an error."


def edit_whole(answer: JSON) -> bool:
    """Change an answer in place; whether anything had to be. Raises `ValueError` for one that ended in an error."""
    choices = answer["choices"]
    if any(choice.get("finish_reason") == FAILED for choice in choices):
        raise ValueError(FAILED_TEXT)
    changed = map_finish(choices, FINISH)
    for choice in choices:
        message = choice.get("message")
        if isinstance(message, dict):
            changed |= _split_content(message)
            changed |= _typed_calls(message)
    return changed


class MistralEdit(ChunkEdit):
    """The chunks of one stream."""

    def edit(self, chunk: JSON) -> list[JSON] | bool:
        choices = chunk.get("choices") or []
        if any(choice.get("finish_reason") == FAILED for choice in choices):
            return [{"error": {"message": FAILED_TEXT, "status": 502, "code": "provider_error"}}]
        changed = map_finish(choices, FINISH)
        for choice in choices:
            delta = choice.get("delta")
            if isinstance(delta, dict):
                changed |= _split_content(delta)
                changed |= _typed_calls(delta)
        return changed


def _split_content(message: JSON) -> bool:
    """Content that is a list of parts becomes text, and its thinking `reasoning_content`."""
    content = message.get("content")
    if not isinstance(content, list):
        return False
    texts: list[str] = []
    thinking: list[str] = []
    references: list[Any] = []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif part.get("type") == "text":
            texts.append(part.get("text") or "")
        elif part.get("type") == "thinking":
            thinking.append(_text_of(part.get("thinking")))
        elif part.get("type") == "reference":
            references += part.get("reference_ids") or ()
    message["content"] = "".join(texts)
    if thinking:
        message["reasoning_content"] = "".join(thinking)
    if references:
        message["mistral"] = {"reference_ids": references}
    return True


def _text_of(thinking: Any) -> str:
    if isinstance(thinking, str):
        return thinking
    return "".join(part.get("text") or "" for part in thinking or () if isinstance(part, dict))


def _typed_calls(message: JSON) -> bool:
    """Every tool call says `type: function`, and its arguments are text."""
    changed = False
    for call in message.get("tool_calls") or ():
        if call.get("type") != "function":
            call["type"] = "function"
            changed = True
        function = call.get("function")
        if isinstance(function, dict) and isinstance(function.get("arguments"), dict):
            function["arguments"] = orjson.dumps(function["arguments"]).decode()
            changed = True
    return changed


def envelope_of_422(failure: CallFailed) -> bytes:
    """The body of a 422, whose `detail` lists places and messages, in OpenAI's shape; empty when it is another."""
    body = body_of(failure)
    holder = body.get("message") if isinstance(body, dict) and isinstance(body.get("message"), dict) else body
    detail = holder.get("detail") if isinstance(holder, dict) else None
    if isinstance(detail, str):
        return enveloped(detail)
    problems = [row for row in detail if isinstance(row, dict)] if isinstance(detail, list) else []
    if not problems:
        return b""
    places = [_place(row.get("loc")) for row in problems]
    said = "; ".join(
        f"{place}: {row.get('msg', '')}" if place else str(row.get("msg", ""))
        for place, row in zip(places, problems, strict=True)
    )
    return enveloped(said, str(problems[0].get("type") or ""), places[0])


def _place(loc: Any) -> str:
    return ".".join(str(part) for part in loc if part != "body") if isinstance(loc, list) else str(loc or "")
