"""Mistral's API under `/mistral/v1`: ids of nine characters, usage in a stream's last chunk, 422 with a list of details."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from instance.mock_upstream.checking import Problem, refused
from instance.mock_upstream.conversation import Said, ToolCall, Usage
from instance.mock_upstream.dialect import bearer, value_at
from instance.mock_upstream.dialects.mistral_schema import (
    MISTRAL,
    MISTRAL_EMBEDDINGS,
    MISTRAL_MODERATIONS,
    MISTRAL_TRANSCRIPTIONS,
)
from instance.mock_upstream.dialects.openai import OpenAiLike
from instance.mock_upstream.dialects.openai_audio import transcribe
from instance.mock_upstream.dialects.openai_chat import ChatForm
from instance.mock_upstream.dialects.openai_vectors import embed, moderate
from instance.mock_upstream.exchange import Call, Request, Response, json_response
from instance.mock_upstream.replies import Failure

_ID = re.compile("[a-zA-Z0-9]{9}")


class MistralForm(ChatForm):
    answer_id = "mock0000000000000000000000000001"
    fingerprint = None
    usage_always = True

    def tool_id(self, call: ToolCall) -> str:
        return f"mock{call.number:05d}"

    def usage(self, usage: Usage) -> dict[str, Any]:
        made = super().usage(usage)
        made.pop("completion_tokens_details", None)
        return made

    def told_usage(self, said: Said) -> dict[str, Any]:
        return self.usage(said.usage)

    def message(self, said: Said) -> dict[str, Any]:
        made: dict[str, Any] = {"role": "assistant", "content": self._content(said.text, said.reasoning)}
        made["tool_calls"] = None
        if said.tool_calls:
            made["tool_calls"] = [self._call(place, call) for place, call in enumerate(said.tool_calls)]
        return made

    def _content(self, text: str, reasoning: str) -> Any:
        if not reasoning:
            return text
        thought = {"type": "thinking", "thinking": [{"type": "text", "text": reasoning}], "closed": True}
        return [thought, {"type": "text", "text": text}]

    def _call(self, place: int, call: ToolCall) -> dict[str, Any]:
        function = {"name": call.name, "arguments": call.arguments}
        return {"id": self.tool_id(call), "type": "function", "function": function, "index": place}

    def deltas(self, said: Said) -> Iterator[dict[str, Any]]:
        for piece in said.reasoning_pieces:
            yield {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": piece}]}]}
        for piece in said.pieces:
            yield {"content": [{"type": "text", "text": piece}] if said.reasoning else piece}
        if said.tool_calls:
            yield {"tool_calls": [self._call(place, call) for place, call in enumerate(said.tool_calls)]}


class Mistral(OpenAiLike):
    name = "mistral"
    prefix = base_url_tail = "/mistral/v1"
    key_env = "MISTRAL_API_KEY"
    form = MistralForm()
    chat_schema = MISTRAL
    models = ("mistral-mock", "mistral-mock-embed")

    def __init__(self) -> None:
        super().__init__()
        self.serve("POST", "/embeddings", self.embed, MISTRAL_EMBEDDINGS)
        self.serve("POST", "/moderations", moderate, MISTRAL_MODERATIONS)
        self.serve("POST", "/audio/transcriptions", transcribe, MISTRAL_TRANSCRIPTIONS, form=True)

    def authorize(self, call: Call, request: Request) -> None:
        bearer(call, "Unauthorized")

    def invalid(self, problem: Problem, request: Request) -> Failure:
        kinds = {"missing": "missing", "unknown": "extra_forbidden", "enum": "literal_error"}
        told = {"missing": "Field required", "unknown": "Extra inputs are not permitted"}
        detail = {
            "type": kinds.get(problem.kind, "value_error"),
            "loc": ["body", *problem.path],
            "msg": told.get(problem.kind, problem.message),
            "input": value_at(request.body, problem.path),
        }
        return Failure(422, detail["msg"], path=problem.path, details={"detail": [detail]})

    def failure(self, failure: Failure, request: Request) -> Response:
        if failure.details and "detail" in failure.details:
            return json_response({"detail": failure.details["detail"]}, failure.status, self.headers(request))
        kinds = {401: "unauthorized", 429: "rate_limited", 404: "invalid_model"}
        made = {
            "object": "error",
            "message": failure.message,
            "type": failure.kind or kinds.get(failure.status, "invalid_request_error"),
            "param": failure.param,
            "code": failure.code,
            **(failure.details or {}),
        }
        if failure.status >= 500:
            made["type"] = failure.kind or "internal_server_error"
        return json_response(made, failure.status, self.headers(request) | self.wait_headers(failure))

    def wait_headers(self, failure: Failure) -> dict[str, str]:
        if failure.retry_after_s is None:
            return {}
        left = {"x-ratelimit-limit-req-minute": "60", "x-ratelimit-remaining-req-minute": "0"}
        return {"retry-after": str(-int(-failure.retry_after_s // 1)), **left}

    def headers(self, request: Request) -> dict[str, str]:
        return {"mistral-correlation-id": f"mock-{request.number}"}

    def embed(self, request: Request) -> Response:
        if "output_dimension" in request.body:
            request.body["dimensions"] = request.body["output_dimension"]
        return embed(request)

    def check_chat(self, body: dict[str, Any], request: Request) -> None:
        order = {"kind": "invalid_request_message_order", "code": "3230"}
        open_calls: list[str] = []
        for message in body["messages"]:
            calls = [call["id"] for call in message.get("tool_calls") or ()]
            for name in [*calls, *([message.get("tool_call_id")] if message["role"] == "tool" else ())]:
                if not _ID.fullmatch(name or ""):
                    raise refused(
                        400,
                        f"Tool call id was {name} but must be a-z, A-Z, 0-9, with a length of 9.",
                        kind="invalid_function_call",
                        code="3280",
                    )
            if message["role"] == "tool":
                if message["tool_call_id"] not in open_calls:
                    raise refused(400, "Unexpected tool call id in tool results", **order)
                open_calls.remove(message["tool_call_id"])
                continue
            if open_calls:
                raise refused(400, "Not the same number of function calls and responses", **order)
            open_calls = calls
            if message["role"] == "assistant" and not calls and not message.get("content"):
                raise refused(400, "Assistant message must have either content or tool_calls, but not none.", **order)
        last = body["messages"][-1]
        if last["role"] not in ("user", "tool") and not last.get("prefix"):
            raise refused(
                400,
                "Expected last role User or Tool (or Assistant with prefix True) for serving but got " + last["role"],
                **order,
            )
        if open_calls:
            raise refused(400, "Not the same number of function calls and responses", **order)
