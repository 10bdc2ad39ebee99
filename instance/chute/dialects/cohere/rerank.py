"""Rerank: from the form that `/v1/rerank` takes here to Cohere's `/v2/rerank`, whose documents are texts only."""

from __future__ import annotations

from typing import Any

import orjson

from instance.chute.answer import JSON
from instance.chute.dialects.request_fields import RequestFields, provider_object
from instance.core.errors import StockyardError


def write_rerank(req: JSON, model: str) -> tuple[JSON, list[str]]:
    """The body, and the fields without a counterpart. Raises `StockyardError` 400."""
    fields = RequestFields(req)
    documents = fields.take("documents")
    if not isinstance(documents, list) or not documents:
        raise StockyardError("bad_request", "`documents` is a list of texts.", param="documents")
    body: JSON = {
        "model": model,
        "query": fields.take("query"),
        "documents": [_text(document, fields.req.get("rank_fields")) for document in documents],
    }
    for name in ("top_n", "max_tokens_per_doc", "priority"):
        value = fields.take(name)
        if value is not None:
            body[name] = value
    fields.take("return_documents", "rank_fields")
    body.update(provider_object(fields, "cohere"))
    return body, fields.dropped


def read_rerank(obj: JSON, req: JSON, model: str) -> JSON:
    """The answer, with the documents in it when they were asked for. Raises what indexing raises for what is none."""
    documents = req["documents"]
    results = []
    for result in obj["results"]:
        made = {"index": result["index"], "relevance_score": result["relevance_score"]}
        if req.get("return_documents"):
            document = documents[result["index"]]
            made["document"] = {"text": document} if isinstance(document, str) else document
        results.append(made)
    meta = obj.get("meta") or {}
    answer: JSON = {"id": obj.get("id") or "", "model": model, "results": results, "meta": meta}
    units = (meta.get("billed_units") or {}).get("search_units")
    if units is not None:
        answer["usage"] = {"search_units": units}
    return answer


def _text(document: Any, rank_fields: Any) -> str:
    """A document as the text to be ranked: the named fields of an object, its `text`, else all of it as JSON."""
    if isinstance(document, str):
        return document
    if not isinstance(document, dict):
        raise StockyardError("bad_request", "A document is a text or an object with `text`.", param="documents")
    if isinstance(rank_fields, list) and rank_fields:
        return "\n".join(f"{name}: {document[name]}" for name in rank_fields if name in document)
    text = document.get("text")
    return text if isinstance(text, str) else orjson.dumps(document).decode()
