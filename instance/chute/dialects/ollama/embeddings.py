"""Embeddings: `/api/embed`."""

from __future__ import annotations

from instance.chute.answer import JSON
from instance.chute.dialects.embedding_vectors import texts_to_embed
from instance.chute.dialects.request_fields import RequestFields, provider_object


def write_embeddings(req: JSON, model: str, keep_alive: str) -> tuple[JSON, list[str]]:
    """The body, and the fields without a counterpart. Raises `StockyardError` 400."""
    fields = RequestFields(req)
    body: JSON = {"model": model, "input": texts_to_embed(req)}
    fields.take("encoding_format")
    if keep_alive:
        body["keep_alive"] = keep_alive
    for name in ("dimensions", "truncate", "options", "keep_alive"):
        value = fields.take(name)
        if value is not None:
            body[name] = value
    body.update(provider_object(fields, "ollama"))
    return body, fields.dropped


def read_embeddings(obj: JSON) -> tuple[list[list[float]], int | None]:
    """The vectors, and the prompt's tokens where they were counted. Raises what indexing raises."""
    tokens = obj.get("prompt_eval_count")
    return obj["embeddings"], tokens if type(tokens) is int else None
