"""Google's Gemini API under `/gemini/v1beta`."""

from __future__ import annotations

from typing import Any

import orjson

from instance.mock_upstream.checking import Problem, bracketed, refused
from instance.mock_upstream.conversation import answer
from instance.mock_upstream.dialect import Dialect
from instance.mock_upstream.dialects.gemini_answer import as_list, fragments, joined
from instance.mock_upstream.dialects.gemini_schema import BATCH_EMBED, COUNT_TOKENS, EMBED, GENERATE
from instance.mock_upstream.dialects.gemini_talk import camel_cased, check_contents, read_gemini
from instance.mock_upstream.exchange import JSON, SSE, Call, Event, Request, Response, json_response, sse
from instance.mock_upstream.replies import Failure
from instance.mock_upstream.vectors import DIMENSIONS, embedding

MODELS = ("gemini-mock-flash", "gemini-mock-embedding")

_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
    529: "UNAVAILABLE",
}

_MODEL = "/v1(?:beta|alpha)?/models/(?P<model>[^/:]+)"


class Gemini(Dialect):
    name = "gemini"
    prefix = "/gemini"
    base_url_tail = "/gemini/v1beta"
    key_env = "GEMINI_API_KEY"

    def __init__(self) -> None:
        super().__init__()
        self.serve("POST", f"{_MODEL}:generateContent", self.generate, GENERATE)
        self.serve("POST", f"{_MODEL}:streamGenerateContent", self.generate, GENERATE)
        self.serve("POST", f"{_MODEL}:countTokens", self.count, COUNT_TOKENS)
        self.serve("POST", f"{_MODEL}:embedContent", self.embed, EMBED)
        self.serve("POST", f"{_MODEL}:batchEmbedContents", self.embed_batch, BATCH_EMBED)
        self.serve("GET", "/v1(?:beta)?/models", self.models)
        self.serve("GET", _MODEL, self.one_model)

    def normal(self, body: Any) -> Any:
        return camel_cased(body)

    def authorize(self, call: Call, request: Request) -> None:
        if not call.headers.get("x-goog-api-key") and not request.query.get("key"):
            raise refused(403, "Method doesn't allow unregistered callers (callers without established identity).")

    def invalid(self, problem: Problem, request: Request) -> Failure:
        where = bracketed(problem.path)
        parent = bracketed(problem.path[:-1])
        if problem.kind == "unknown":
            message = (
                f"Invalid JSON payload received. Unknown name \"{problem.path[-1]}\" at '{parent}': Cannot find field."
            )
        elif problem.kind == "missing":
            message = f"* {where}: {where} is not specified"
        elif problem.kind in ("type", "enum"):
            message = f"Invalid value at '{where}': {problem.message}"
        else:
            message = f"Unable to submit request because {where} is out of what is supported: {problem.message}"
        return Failure(400, message, path=problem.path)

    def error(self, failure: Failure) -> dict[str, Any]:
        details: list[dict[str, Any]] = []
        if failure.path:
            violation = {"field": bracketed(failure.path), "description": failure.message}
            details.append({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]})
        if failure.code is not None:
            info = {"reason": failure.code, "domain": "googleapis.com"}
            details.append({"@type": "type.googleapis.com/google.rpc.ErrorInfo", **info})
        if failure.retry_after_s is not None:
            wait = f"{failure.retry_after_s:g}s"
            details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": wait})
        code = 503 if failure.status == 529 else failure.status
        status = failure.kind or _STATUSES.get(failure.status, "INTERNAL")
        made = {"code": code, "message": failure.message, "status": status, **(failure.details or {})}
        return {"error": made | ({"details": details} if details else {})}

    def failure(self, failure: Failure, request: Request) -> Response:
        made = self.error(failure)
        whole_list = request.path.endswith(":streamGenerateContent") and request.query.get("alt") != "sse"
        return json_response([made] if whole_list else made, made["error"]["code"])

    def stream_failure(self, failure: Failure, request: Request) -> bytes:
        return sse(self.error(failure)).data

    def models(self, request: Request) -> Response:
        return json_response({"models": [_described(name) for name in MODELS]})

    def one_model(self, request: Request) -> Response:
        if request.parts["model"] not in MODELS:
            raise refused(404, f"models/{request.parts['model']} is not found for API version v1beta.")
        return json_response(_described(request.parts["model"]))

    def count(self, request: Request) -> Response:
        body = request.body.get("generateContentRequest") or request.body
        words = read_gemini(body, "", False).words
        return json_response({"totalTokens": words})

    def embed(self, request: Request) -> Response:
        values = _vector(request.body)
        return json_response({"embedding": {"values": values}} | request.reply.more)

    def embed_batch(self, request: Request) -> Response:
        model = f"models/{request.parts['model']}"
        for place, one in enumerate(request.body["requests"]):
            if one["model"] != model:
                raise refused(400, f"* requests[{place}].model: must be {model}")
        made = {"embeddings": [{"values": _vector(one)} for one in request.body["requests"]]}
        return json_response(made | request.reply.more)

    def generate(self, request: Request) -> Response:
        body = request.body
        model = request.parts["model"]
        stream = request.path.endswith(":streamGenerateContent")
        if request.upstream.strict:
            check_contents(body, model)
        asked = read_gemini(body, model, stream)
        said = answer(asked, request.reply)
        events = list(fragments(body, said, model, f"mock-{request.number}"))
        headers = {"server-timing": "gfet4t7; dur=1"}
        if not stream:
            return json_response(joined(events) | request.reply.more, headers=headers)
        if request.query.get("alt") == "sse":
            made = (Event(b"data: " + orjson.dumps(event) + b"\r\n\r\n", piece) for event, piece in events)
            return Response(headers=headers, content_type=SSE, events=made)
        return Response(headers=headers, content_type=JSON, events=as_list(events))


def _described(name: str) -> dict[str, Any]:
    embeds = "embedding" in name
    return {
        "name": f"models/{name}",
        "version": "001",
        "displayName": name,
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": ["embedContent"] if embeds else ["generateContent", "countTokens"],
    }


def _vector(one: dict[str, Any]) -> list[float]:
    text = "".join(part.get("text", "") for part in one["content"]["parts"])
    return embedding(text, one.get("outputDimensionality") or DIMENSIONS)
