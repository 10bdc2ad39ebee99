"""OpenAI's embeddings and moderations, and rerank in the form that Cohere and Jina share."""

from __future__ import annotations

from typing import Any

from instance.mock_upstream.conversation import described_url
from instance.mock_upstream.dialect import Dialect
from instance.mock_upstream.dialects import openai_schemas as schemas
from instance.mock_upstream.dialects.openai_completions import prompts
from instance.mock_upstream.exchange import Request, Response, json_response
from instance.mock_upstream.vectors import DIMENSIONS, embedding, packed, ranked

CATEGORIES = (
    "harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "self-harm",
    "self-harm/intent", "self-harm/instructions", "sexual", "sexual/minors", "violence", "violence/graphic",
)  # fmt: skip
"""A text that has a category's name among its words is flagged for it."""


def serve(dialect: Dialect) -> None:
    dialect.serve("POST", "/embeddings", embed, schemas.EMBEDDINGS)
    dialect.serve("POST", "/moderations", moderate, schemas.MODERATIONS)
    dialect.serve("POST", "/rerank", rerank, schemas.RERANK)


def embed(request: Request) -> Response:
    body = request.body
    texts = prompts(body["input"])
    size = body.get("dimensions") or DIMENSIONS
    data: list[dict[str, Any]] = []
    for index, text in enumerate(texts):
        vector = embedding(text, size)
        value = packed(vector) if body.get("encoding_format") == "base64" else vector
        data.append({"object": "embedding", "index": index, "embedding": value})
    tokens = sum(len(text.split()) for text in texts)
    usage = request.reply.usage or {"prompt_tokens": tokens, "total_tokens": tokens}
    made = {"id": f"embd-mock-{request.number}", "object": "list", "data": data, "model": body["model"], "usage": usage}
    return json_response(made | request.reply.more, headers={"x-request-id": f"req_mock_{request.number}"})


def moderate(request: Request) -> Response:
    given = request.body["input"]
    parts = given if isinstance(given, list) else [given]
    if parts and isinstance(parts[0], dict):
        # parts are one input together
        parts = [" ".join(part.get("text") or described_url("image", part["image_url"]["url"]) for part in parts)]
    made = {
        "id": "modr-mock",
        "model": request.body.get("model") or "omni-moderation-latest",
        "results": [_judged(text) for text in parts],
    }
    return json_response(made | request.reply.more)


def _judged(text: str) -> dict[str, Any]:
    words = set(text.lower().split())
    flags = {name: name in words for name in CATEGORIES}
    return {
        "flagged": any(flags.values()),
        "categories": flags,
        "category_scores": {name: 0.98 if flag else 0.001 for name, flag in flags.items()},
        "category_applied_input_types": {name: ["text"] for name in CATEGORIES},
    }


def rerank(request: Request) -> Response:
    body = request.body
    texts = [one if isinstance(one, str) else str(one.get("text", one)) for one in body["documents"]]
    results: list[dict[str, Any]] = []
    for index, score in ranked(body["query"], texts, body.get("top_n")):
        row: dict[str, Any] = {"index": index, "relevance_score": score}
        if body.get("return_documents"):
            row["document"] = {"text": texts[index]}
        results.append(row)
    made = {"id": f"rerank-mock-{request.number}", "results": results, "meta": _meta(body)}
    return json_response(made | request.reply.more)


def _meta(body: dict[str, Any]) -> dict[str, Any]:
    return {"api_version": {"version": "1"}, "billed_units": {"search_units": -(-len(body["documents"]) // 100)}}
