"""Cohere's API under `/cohere`: chat, embed and rerank of version 2, rerank of version 1, models."""

from __future__ import annotations

from typing import Any

from instance.mock_upstream.checking import Problem, dotted, refused
from instance.mock_upstream.conversation import answer, described_url
from instance.mock_upstream.dialect import Dialect, bearer
from instance.mock_upstream.dialects.cohere_answer import FINISH_REASONS, events_of, message_of, usage_of
from instance.mock_upstream.dialects.cohere_schema import CHAT, EMBED, RERANK, RERANK_V1
from instance.mock_upstream.dialects.cohere_talk import check_talk, read_cohere
from instance.mock_upstream.dialects.openai_chat import text_of
from instance.mock_upstream.exchange import SSE, Call, Request, Response, json_response, sse
from instance.mock_upstream.replies import Failure
from instance.mock_upstream.vectors import DIMENSIONS, embedding, packed, ranked

MODELS = ("command-mock", "embed-mock", "rerank-mock")


class Cohere(Dialect):
    name = "cohere"
    prefix = base_url_tail = "/cohere"
    key_env = "COHERE_API_KEY"

    def __init__(self) -> None:
        super().__init__()
        self.serve("POST", "/v2/chat", self.chat, CHAT)
        self.serve("POST", "/v2/embed", self.embed, EMBED)
        self.serve("POST", "/v2/rerank", self.rerank, RERANK)
        self.serve("POST", "/v1/rerank", self.rerank, RERANK_V1)
        self.serve("GET", "/v1/models", self.models)
        self.serve("GET", "/v1/models/(?P<model>[^/]+)", self.model)

    def authorize(self, call: Call, request: Request) -> None:
        bearer(call, "no api key supplied")

    def invalid(self, problem: Problem, request: Request) -> Failure:
        where = dotted(problem.path)
        if problem.kind == "missing":
            return Failure(400, f"invalid request: {where} is required", path=problem.path)
        if problem.kind == "unknown":
            return Failure(422, f"unknown field: parameter '{where}' is not a valid field", path=problem.path)
        return Failure(400, f"invalid request: {where}: {problem.message}", path=problem.path)

    def failure(self, failure: Failure, request: Request) -> Response:
        made = {"id": f"err-mock-{request.number}", "message": failure.message, **(failure.details or {})}
        return json_response(made, failure.status, self.headers(request))

    def stream_failure(self, failure: Failure, request: Request) -> bytes:
        delta = {"finish_reason": "ERROR", "error": failure.message}
        return sse({"type": "message-end", "id": f"mock-{request.number}", "delta": delta}, "message-end").data

    def headers(self, request: Request) -> dict[str, str]:
        return {"x-debug-trace-id": f"mock{request.number}"}

    def models(self, request: Request) -> Response:
        return json_response({"models": [_model(name) for name in MODELS], "next_page_token": ""})

    def model(self, request: Request) -> Response:
        if request.parts["model"] not in MODELS:
            raise refused(404, f"model '{request.parts['model']}' not found")
        return json_response(_model(request.parts["model"]))

    def embed(self, request: Request) -> Response:
        body = request.body
        texts = list(body.get("texts") or ())
        shown = [described_url("image", url) for url in body.get("images") or ()]
        for one in body.get("inputs") or ():
            texts.append(text_of(one["content"]))
        if bool(texts) == bool(shown):
            raise refused(400, "invalid request: exactly one of texts, images or inputs must be given")
        size = body.get("output_dimension") or DIMENSIONS
        vectors = [embedding(text, size) for text in texts or shown]
        kinds = body.get("embedding_types") or ["float"]
        made = {
            "id": f"mock-{request.number}",
            "texts": texts,
            "embeddings": {kind: [_of_kind(vector, kind) for vector in vectors] for kind in kinds},
            "meta": _meta({"input_tokens": sum(len(text.split()) for text in texts)}),
            "response_type": "embeddings_by_type",
        }
        return json_response(made | request.reply.more, headers=self.headers(request))

    def rerank(self, request: Request) -> Response:
        body = request.body
        texts = [one if isinstance(one, str) else str(one.get("text", one)) for one in body["documents"]]
        results: list[dict[str, Any]] = []
        for index, score in ranked(body["query"], texts, body.get("top_n")):
            results.append({"index": index, "relevance_score": score})
            if body.get("return_documents"):
                results[-1]["document"] = {"text": texts[index]}
        meta = _meta({"search_units": -(-len(texts) // 100)})
        made = {"id": f"mock-{request.number}", "results": results, "meta": meta}
        return json_response(made | request.reply.more, headers=self.headers(request))

    def chat(self, request: Request) -> Response:
        body = request.body
        if request.upstream.strict:
            check_talk(body)
        asked = read_cohere(body)
        said = answer(asked, request.reply)
        answer_id = f"mock-{request.number}"
        headers = self.headers(request)
        if asked.stream:
            return Response(headers=headers, content_type=SSE, events=events_of(said, answer_id))
        made = {
            "id": answer_id,
            "finish_reason": FINISH_REASONS.get(said.finish, said.finish),
            "message": message_of(said),
            "usage": usage_of(said),
        }
        return json_response(made | request.reply.more, headers=headers)


def _model(name: str) -> dict[str, Any]:
    endpoints = {"command-mock": ["chat"], "embed-mock": ["embed"], "rerank-mock": ["rerank"]}[name]
    return {"name": name, "endpoints": endpoints, "finetuned": False, "context_length": 128_000}


def _meta(units: dict[str, int]) -> dict[str, Any]:
    return {"api_version": {"version": "2"}, "billed_units": units}


def _of_kind(vector: list[float], kind: str) -> Any:
    if kind == "float":
        return vector
    if kind == "base64":
        return packed(vector)
    if kind in ("int8", "uint8"):
        return [round(value * 127) + (128 if kind == "uint8" else 0) for value in vector]
    bits = [value > 0 for value in vector]
    octets = [sum(bit << (7 - place) for place, bit in enumerate(bits[at : at + 8])) for at in range(0, len(bits), 8)]
    return [octet - (128 if kind == "binary" else 0) for octet in octets]
