"""Counting tokens without a provider's tokenizer: an estimate that is rather too high than too low."""

from __future__ import annotations

from typing import Any

import orjson

from instance.chute.answer import JSON
from instance.chute.text import request_texts

BYTES_PER_TOKEN = 3
"""English prose has about four bytes of UTF-8 a token, code and most other scripts about three."""
MESSAGE_TOKENS = 4
IMAGE_TOKENS = 1105
"""What a large image costs with the providers that count it in tiles; audio and files count as one too."""


def count_tokens(text: str) -> int:
    """About how many tokens the text has."""
    size = len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
    return -(-size // BYTES_PER_TOKEN)


def count_prompt_tokens(req: JSON) -> int:
    """About how many tokens a provider will count for the request: texts, tool schemas, images, overhead of messages."""
    count = 0
    for text in request_texts(req):
        count += -(-(len(text) if text.isascii() else len(text.encode("utf-8", "replace"))) // BYTES_PER_TOKEN)
    messages = req.get("messages")
    if type(messages) is list:
        count += MESSAGE_TOKENS * len(messages) + 3
        for message in messages:
            if type(message) is dict and type(message.get("content")) is list:
                count += IMAGE_TOKENS * sum(map(_is_media, message["content"]))
    for name in ("tools", "functions", "response_format"):
        if req.get(name):
            count += len(orjson.dumps(req[name])) // BYTES_PER_TOKEN
    return count


def _is_media(part: Any) -> bool:
    return type(part) is dict and part.get("type") in ("image_url", "input_image", "input_audio", "file", "input_file")


def max_output_tokens(req: JSON, otherwise: int, model_limit: int | None = None) -> int:
    """The most tokens that may be answered: what the request allows, else `otherwise`, at most what the model can give; for
    all of its `n` answers."""
    limit = req.get("max_completion_tokens")
    if type(limit) is not int:
        limit = req.get("max_tokens")
    most = limit if type(limit) is int and limit >= 0 else otherwise
    if model_limit is not None and most > model_limit:
        most = model_limit
    count = req.get("n")
    return most * (count if type(count) is int and count > 0 else 1)
