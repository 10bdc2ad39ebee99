"""Groq's API under `/groq/openai/v1`: OpenAI's with gaps, usage of a stream in `x_groq`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from instance.mock_upstream.checking import Problem, bracketed, refused
from instance.mock_upstream.conversation import Said, Usage
from instance.mock_upstream.dialect import bearer
from instance.mock_upstream.dialects import openai_audio
from instance.mock_upstream.dialects.groq_schema import GROQ
from instance.mock_upstream.dialects.openai import OpenAiLike
from instance.mock_upstream.dialects.openai_chat import ChatForm
from instance.mock_upstream.exchange import Call, Event, Request, sse
from instance.mock_upstream.replies import Failure

_KINDS: dict[int, tuple[str, str | None]] = {
    401: ("invalid_request_error", "invalid_api_key"),
    404: ("invalid_request_error", "model_not_found"),
    413: ("tokens", "rate_limit_exceeded"),
    429: ("requests", "rate_limit_exceeded"),
    498: ("capacity_exceeded", "flex_tier_capacity_exceeded"),
    500: ("internal_server_error", None),
    503: ("internal_server_error", None),
}


class GroqForm(ChatForm):
    answer_id = "chatcmpl-mock-groq"
    fingerprint = "fp_mock_groq"
    reasoning_field = "reasoning"

    def usage(self, usage: Usage) -> dict[str, Any]:
        return {
            **super().usage(usage),
            "queue_time": 0.001,
            "prompt_time": 0.002,
            "completion_time": 0.003,
            "total_time": 0.005,
        }

    def told_usage(self, said: Said) -> dict[str, Any]:
        return self.usage(said.usage)

    def whole(self, body: dict[str, Any], said: Said) -> dict[str, Any]:
        return {**super().whole(body, said), "x_groq": {"id": "req_mock"}} | said.reply.more

    def events(self, body: dict[str, Any], said: Said) -> Iterator[Event]:
        first = True
        for event in super().events(body, said):
            if first:
                chunk = orjson.loads(event.data[6:])
                event, first = sse({**chunk, "x_groq": {"id": "req_mock"}}), False
            yield event

    def last_chunk(self, body: dict[str, Any], said: Said, choice: dict[str, Any], last: bool) -> dict[str, Any]:
        made = super().last_chunk(body, said, choice, last)
        made["x_groq"] = {"id": "req_mock", "usage": self.told_usage(said)}
        return made


class Groq(OpenAiLike):
    name = "groq"
    prefix = base_url_tail = "/groq/openai/v1"
    key_env = "GROQ_API_KEY"
    form = GroqForm()
    chat_schema = GROQ
    models = ("llama-3.3-70b-versatile", "openai/gpt-oss-20b")

    def __init__(self) -> None:
        super().__init__()
        openai_audio.serve(self)

    def authorize(self, call: Call, request: Request) -> None:
        bearer(call, "Invalid API Key")

    def invalid(self, problem: Problem, request: Request) -> Failure:
        where = bracketed(problem.path)
        if problem.kind == "unknown":
            message = f"property '{where}' is unsupported"
        elif problem.kind == "missing":
            message = f"property '{where}' is missing"
        else:
            message = f"'{where}' : {problem.message}"
        return Failure(400, message, kind="invalid_request_error", path=problem.path)

    def error(self, failure: Failure) -> dict[str, Any]:
        kind, code = _KINDS.get(failure.status, ("invalid_request_error", None))
        made: dict[str, Any] = {"message": failure.message, "type": failure.kind or kind}
        if failure.code or code:
            made["code"] = failure.code or code
        return {"error": made | dict(failure.details or {})}

    def stream_failure(self, failure: Failure, request: Request) -> bytes:
        chunk = self.form.chunk({"model": request.body.get("model")}, _nothing(request), [])
        return sse({**chunk, "x_groq": {"id": "req_mock", "error": failure.message}}).data

    def wait_headers(self, failure: Failure) -> dict[str, str]:
        if failure.retry_after_s is None:
            return {}
        minutes, seconds = divmod(failure.retry_after_s, 60)
        reset = f"{int(minutes)}m{seconds:g}s" if minutes else f"{seconds:g}s"
        return {
            "retry-after": str(-int(-failure.retry_after_s // 1)),
            "x-ratelimit-limit-requests": "1000",
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": reset,
        }

    def headers(self, request: Request) -> dict[str, str]:
        return {
            "x-request-id": f"req_mock_{request.number}",
            "x-ratelimit-limit-requests": "1000",
            "x-ratelimit-limit-tokens": "6000",
            "x-ratelimit-remaining-requests": "999",
            "x-ratelimit-remaining-tokens": "5900",
            "x-ratelimit-reset-requests": "86.4s",
            "x-ratelimit-reset-tokens": "1s",
        }

    def check_chat(self, body: dict[str, Any], request: Request) -> None:
        if body.get("n") not in (None, 1):
            raise refused(400, "'n' : number must be at most 1", param="n")
        super().check_chat(body, request)
        wanted = (body.get("response_format") or {}).get("type")
        knows = any(name in body["model"] for name in ("gpt-oss", "kimi", "llama-4", "maverick", "scout"))
        if wanted == "json_schema" and not knows:
            message = f"This model does not support response format `json_schema`: {body['model']}"
            raise refused(400, message, param="response_format")
        if wanted and wanted != "text" and body.get("tools"):
            raise refused(400, "json mode cannot be combined with tool/function calling", param="response_format")
        if wanted == "json_object" and "json" not in orjson.dumps(body["messages"]).decode().lower():
            raise refused(400, "'messages' must contain the word 'json' in some form, to use 'response_format' of type "
                               "'json_object'.", param="messages")  # fmt: skip


def _nothing(request: Request) -> Said:
    return Said("", [], "", [], "stop", Usage(0, 0), request.reply)
