"""Vectors in the form of OpenAI's embeddings endpoint."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from struct import pack
from typing import Any

from instance.chute.answer import JSON
from instance.core.errors import StockyardError


def texts_to_embed(req: JSON) -> list[str]:
    """`input` as a list of texts; raises 400 for token numbers, which mean nothing to another provider's tokenizer."""
    given = req.get("input")
    texts: list[Any] = [given] if isinstance(given, str) else given if isinstance(given, list) else []
    if not texts or not all(isinstance(text, str) for text in texts):
        raise StockyardError(
            "unsupported_parameter",
            "This provider embeds texts: a string or a list of strings.",
            param="input",
            retryable=False,
        )
    return texts


def embeddings_answer(
    vectors: Sequence[Sequence[float]], model: str, *, as_base64: bool, prompt_tokens: int | None
) -> JSON:
    """The canonical answer. Base64 is of little-endian 32-bit floats, as the official SDKs read it."""
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": b64encode(pack(f"<{len(vector)}f", *vector)).decode() if as_base64 else list(vector),
        }
        for index, vector in enumerate(vectors)
    ]
    answer: JSON = {"object": "list", "data": data, "model": model}
    if prompt_tokens is not None:
        answer["usage"] = {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens}
    return answer
