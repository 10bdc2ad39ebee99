"""Embeddings: `batchEmbedContents`."""

from __future__ import annotations

from typing import Any

from instance.chute.answer import JSON
from instance.chute.dialects.embedding_vectors import texts_to_embed
from instance.chute.dialects.request_fields import RequestFields, provider_object

TEXTS_MAX = 100
"""Texts that one request may hold."""


def write_embeddings(req: JSON, model: str) -> tuple[list[JSON], list[str]]:
    """The bodies to send, in order, and the fields without a counterpart. Raises `StockyardError` 400."""
    fields = RequestFields(req)
    texts = texts_to_embed(req)
    fields.take("encoding_format")
    own: JSON = {}
    for name, names in (
        ("outputDimensionality", ("dimensions",)),
        ("taskType", ("task_type", "taskType")),
        ("title", ("title",)),
    ):
        value = fields.take(*names)
        if value is not None:
            own[name] = value
    own.update(provider_object(fields, "google", "gemini"))
    if "task_type" in own:
        own["taskType"] = own.pop("task_type")
    name = model if "/" in model else f"models/{model}"
    requests = [{"model": name, "content": {"parts": [{"text": text}]}, **own} for text in texts]
    batches = [{"requests": requests[start : start + TEXTS_MAX]} for start in range(0, len(requests), TEXTS_MAX)]
    return batches, fields.dropped


def read_embeddings(obj: JSON) -> tuple[list[list[float]], int | None]:
    """The vectors of one answer, and its prompt tokens where they were counted. Raises what indexing raises."""
    counts: Any = obj.get("usageMetadata")
    tokens = counts.get("promptTokenCount") if isinstance(counts, dict) else None
    return [entry["values"] for entry in obj["embeddings"]], tokens if type(tokens) is int else None
