"""Anthropic's Messages API under `/anthropic/v1`."""

from __future__ import annotations

from typing import Any

from instance.mock_upstream.checking import Problem, dotted, refused
from instance.mock_upstream.conversation import answer
from instance.mock_upstream.dialect import Dialect, whole_seconds
from instance.mock_upstream.dialects.anthropic_answer import events_of, message_of
from instance.mock_upstream.dialects.anthropic_schema import COUNT_TOKENS, MESSAGES
from instance.mock_upstream.dialects.anthropic_talk import check_messages, read_messages
from instance.mock_upstream.exchange import SSE, Call, Request, Response, json_response, sse
from instance.mock_upstream.replies import Failure

MODELS = ("claude-mock-large", "claude-mock-small")

_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class Anthropic(Dialect):
    name = "anthropic"
    prefix = base_url_tail = "/anthropic"
    key_env = "ANTHROPIC_API_KEY"

    def __init__(self) -> None:
        super().__init__()
        self.serve("POST", "/v1/messages", self.message, MESSAGES)
        self.serve("POST", "/v1/messages/count_tokens", self.count, COUNT_TOKENS)
        self.serve("GET", "/v1/models", self.models)
        self.serve("GET", "/v1/models/(?P<model>[^/]+)", self.model)

    def authorize(self, call: Call, request: Request) -> None:
        if not call.key:
            raise refused(401, "x-api-key header is required")
        if "anthropic-version" not in call.headers:
            raise refused(400, "anthropic-version: header is required")

    def invalid(self, problem: Problem, request: Request) -> Failure:
        told = {"missing": "Field required", "unknown": "Extra inputs are not permitted"}
        message = told.get(problem.kind, f"Input should be valid: {problem.message}")
        return Failure(400, f"{dotted(problem.path)}: {message}", path=problem.path)

    def error(self, failure: Failure, request: Request) -> dict[str, Any]:
        kind = failure.kind or _KINDS.get(failure.status, "api_error")
        inner = {"type": kind, "message": failure.message, **(failure.details or {})}
        return {"type": "error", "error": inner, "request_id": self._id(request)}

    def failure(self, failure: Failure, request: Request) -> Response:
        headers = self.headers(request)
        if failure.retry_after_s is not None:
            headers["retry-after"] = whole_seconds(failure.retry_after_s)
        if failure.status == 529:
            headers["x-should-retry"] = "true"
        return json_response(self.error(failure, request), failure.status, headers)

    def stream_failure(self, failure: Failure, request: Request) -> bytes:
        return sse(self.error(failure, request), "error").data

    def headers(self, request: Request) -> dict[str, str]:
        return {"request-id": self._id(request), "anthropic-organization-id": "org-mock"}

    def _id(self, request: Request) -> str:
        return f"req_mock{request.number}"

    def models(self, request: Request) -> Response:
        data = [_model(name) for name in MODELS]
        return json_response({"data": data, "has_more": False, "first_id": MODELS[0], "last_id": MODELS[-1]})

    def model(self, request: Request) -> Response:
        if request.parts["model"] not in MODELS:
            raise refused(404, f"model: {request.parts['model']}")
        return json_response(_model(request.parts["model"]))

    def count(self, request: Request) -> Response:
        tokens = (request.reply.usage or {}).get("prompt_tokens", read_messages(request.body).words)
        return json_response({"input_tokens": tokens}, headers=self.headers(request))

    def message(self, request: Request) -> Response:
        body = request.body
        if request.upstream.strict:
            check_messages(body)
        asked = read_messages(body)
        said = answer(asked, request.reply)
        made = message_of(body, said, f"msg_mock{request.number}")
        headers = self.headers(request)
        if asked.stream:
            return Response(headers=headers, content_type=SSE, events=events_of(made, said))
        return json_response(made | request.reply.more, headers=headers)


def _model(name: str) -> dict[str, Any]:
    shown = name.replace("-", " ").title()
    return {"type": "model", "id": name, "display_name": shown, "created_at": "2026-01-01T00:00:00Z"}
