"""Embeddings: `/v2/embed`."""

from __future__ import annotations

from instance.chute.answer import JSON
from instance.chute.dialects.embedding_vectors import texts_to_embed
from instance.chute.dialects.request_fields import RequestFields, provider_object

TEXTS_MAX = 96
"""Texts that one request may hold."""


def write_embeddings(req: JSON, model: str, input_type: str) -> tuple[list[JSON], list[str]]:
    """The bodies to send, in order, and the fields without a counterpart. Raises `StockyardError` 400."""
    fields = RequestFields(req)
    texts = texts_to_embed(req)
    fields.take("encoding_format", "embedding_types")
    shared: JSON = {"model": model, "input_type": fields.take("input_type") or input_type, "embedding_types": ["float"]}
    for name, names in (("output_dimension", ("dimensions", "output_dimension")), ("truncate", ("truncate",))):
        value = fields.take(*names)
        if value is not None:
            shared[name] = value
    shared.update(provider_object(fields, "cohere"))
    shared["embedding_types"] = ["float"]
    batches = [texts[start : start + TEXTS_MAX] for start in range(0, len(texts), TEXTS_MAX)]
    return [{**shared, "texts": batch} for batch in batches], fields.dropped


def read_embeddings(obj: JSON) -> tuple[list[list[float]], int | None]:
    """The vectors of one answer, and its prompt tokens where they were counted. Raises what indexing raises."""
    vectors: list[list[float]] = obj["embeddings"]["float"]
    billed = (obj.get("meta") or {}).get("billed_units") or {}
    tokens = billed.get("input_tokens")
    return vectors, int(tokens) if isinstance(tokens, (int, float)) else None
