"""Counting tokens without a provider's tokenizer: an estimate that is rather too high than too low."""

from __future__ import annotations

from typing import Any

import orjson

from instance.chute.answer import JSON
from instance.chute.text import INPUTS, request_texts

BYTES_PER_TOKEN = 3
"""English prose has about four bytes of UTF-8 a token, code and most other scripts about three."""
MESSAGE_TOKENS = 4
IMAGE_TOKENS = 1105
"""What a large image costs with the providers that count it in tiles; audio and files count as one too."""
PLAIN_FIELDS = 2
"""A message that has no more than these is a role and a content."""
_SCHEMAS = ("tools", "functions", "response_format")
_BESIDE = frozenset((*INPUTS, *_SCHEMAS))


def count_tokens(text: str) -> int:
    """About how many tokens the text has."""
    size = len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
    return -(-size // BYTES_PER_TOKEN)


def count_prompt_tokens(req: JSON) -> int:
    """About how many tokens a provider will count for the request: texts, tool schemas, images, overhead of messages."""
    count = 0
    messages = req.get("messages")
    if type(messages) is list:
        count = MESSAGE_TOKENS * len(messages) + 3
        for message in messages:
            if type(message) is not dict:
                continue
            content = message.get("content")
            if type(content) is str and len(message) == PLAIN_FIELDS:
                count -= (
                    -(len(content) if content.isascii() else len(content.encode("utf-8", "replace"))) // BYTES_PER_TOKEN
                )
            else:
                count += _of_texts({"messages": [message]})
                if type(content) is list:
                    count += IMAGE_TOKENS * sum(map(_is_media, content))
    if not _BESIDE.isdisjoint(req):
        count += _of_texts({name: value for name, value in req.items() if name != "messages"})
        for name in _SCHEMAS:
            if req.get(name):
                count += len(orjson.dumps(req[name])) // BYTES_PER_TOKEN
    return count


def _of_texts(req: JSON) -> int:
    return sum(map(count_tokens, request_texts(req)))


def _is_media(part: Any) -> bool:
    return type(part) is dict and part.get("type") in ("image_url", "input_image", "input_audio", "file", "input_file")


def max_output_tokens(req: JSON, otherwise: int, model_limit: int | None = None) -> int:
    """The most tokens that may be answered: what the request allows, else `otherwise`, at most what the model can give; for
    all of its `n` answers."""
    most, count = asked_output(req, otherwise)
    if model_limit is not None and most > model_limit:
        most = model_limit
    return most * count


def asked_output(req: JSON, otherwise: int) -> tuple[int, int]:
    """The most tokens that the request allows an answer, `otherwise` where it says nothing, and how many answers it asks for."""
    limit = req.get("max_completion_tokens")
    if type(limit) is not int:
        limit = req.get("max_tokens")
    most = limit if type(limit) is int and limit >= 0 else otherwise
    count = req.get("n")
    return most, count if type(count) is int and count > 0 else 1
