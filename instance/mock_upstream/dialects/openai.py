"""OpenAI's API: every endpoint that Stockyard proxies, under `/v1`."""

from __future__ import annotations

from typing import Any

import orjson

from instance.mock_upstream.checking import Problem, bracketed, refused
from instance.mock_upstream.conversation import CREATED, answer
from instance.mock_upstream.dialect import Answer, Dialect, bearer, json_type, value_at, whole_seconds
from instance.mock_upstream.dialects import openai_schemas as schemas
from instance.mock_upstream.dialects.openai_chat import ChatForm, read_chat
from instance.mock_upstream.exchange import SSE, Call, Request, Response, json_response
from instance.mock_upstream.replies import Failure
from instance.mock_upstream.shapes import Schema, opened

MODELS = ("mock-small", "mock-large")

_KINDS: dict[int, tuple[str, str | None]] = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("request_forbidden", "unsupported_country_region_territory"),
    404: ("invalid_request_error", None),
    405: ("invalid_request_error", "method_not_supported"),
    422: ("invalid_request_error", None),
    429: ("requests", "rate_limit_exceeded"),
}
_CODES = {"missing": "missing_required_parameter", "unknown": "unknown_parameter", "type": "invalid_type"}


class OpenAiErrors(Dialect):
    """OpenAI's form of errors."""

    def invalid(self, problem: Problem, request: Request) -> Failure:
        param = bracketed(problem.path)
        if problem.kind == "missing":
            message = f"Missing required parameter: '{param}'."
        elif problem.kind == "unknown":
            message = f"Unknown parameter: '{param}'."
        elif problem.kind == "type":
            found = json_type(value_at(request.body, problem.path))
            message = f"Invalid type for '{param}': {problem.message}, got {found} instead."
        else:
            message = f"Invalid value for '{param}': {problem.message}."
        return Failure(
            400, message, _CODES.get(problem.kind, "invalid_value"), "invalid_request_error", param, problem.path
        )

    def error(self, failure: Failure) -> dict[str, Any]:
        """The body of an error."""
        kind, code = _KINDS.get(failure.status, ("server_error", None))
        return {
            "error": {
                "message": failure.message,
                "type": failure.kind or kind,
                "param": failure.param,
                "code": failure.code or code,
                **(failure.details or {}),
            }
        }

    def failure(self, failure: Failure, request: Request) -> Response:
        headers = self.headers(request) | self.wait_headers(failure)
        return json_response(self.error(failure), failure.status, headers)

    def stream_failure(self, failure: Failure, request: Request) -> bytes:
        return b"data: " + orjson.dumps(self.error(failure)) + b"\n\n"

    def headers(self, request: Request) -> dict[str, str]:
        return {"x-request-id": f"req_mock_{request.number}"}

    def wait_headers(self, failure: Failure) -> dict[str, str]:
        """When to come again."""
        if failure.retry_after_s is None:
            return {}
        return {
            "retry-after": whole_seconds(failure.retry_after_s),
            "retry-after-ms": str(int(failure.retry_after_s * 1000)),
        }


class OpenAiLike(OpenAiErrors):
    """Chat and the list of models in OpenAI's form; the base of all who resemble it."""

    form = ChatForm()
    chat_schema: Schema = schemas.CHAT
    chat_path = "/chat/completions"
    models_path = "/models"
    models: tuple[str, ...] = MODELS

    def __init__(self) -> None:
        super().__init__()
        self.serve("POST", self.chat_path, self.chat, self.chat_schema)
        self.serve("GET", self.models_path, self.list_models)
        self.serve("GET", self.models_path + "/(?P<model>.+)", self.one_model)

    def check_chat(self, body: dict[str, Any], request: Request) -> None:
        """Raises Refused for what a schema cannot say."""
        open_calls: set[str] = set()
        for place, message in enumerate(body.get("messages") or []):
            role = message.get("role")
            if role == "tool":
                if message["tool_call_id"] not in open_calls:
                    raise refused(
                        400,
                        "Invalid parameter: messages with role 'tool' must be a response to a preceding message "
                        "with 'tool_calls'.",
                        param=f"messages[{place}].role",
                        kind="invalid_request_error",
                    )
                open_calls.discard(message["tool_call_id"])
                continue
            if open_calls:
                break
            open_calls = {call["id"] for call in message.get("tool_calls") or [] if "id" in call}
            said = ("content", "function_call", "audio", "refusal")
            if role == "assistant" and not open_calls and all(message.get(name) is None for name in said):
                raise refused(
                    400,
                    "Invalid value for 'content': expected a string, got null.",
                    param=f"messages[{place}].content",
                )
        if open_calls:
            raise refused(
                400,
                "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
                f"'tool_call_id'. The following tool_call_ids did not have response messages: {', '.join(sorted(open_calls))}",
                param="messages",
            )
        if body.get("tool_choice") not in (None, "none") and not body.get("tools"):
            raise refused(400, "'tool_choice' is only allowed when 'tools' are specified.", param="tool_choice")
        if body.get("stream_options") and not body.get("stream"):
            raise refused(
                400, "The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options"
            )
        if body.get("top_logprobs") and not body.get("logprobs"):
            raise refused(400, "'top_logprobs' is only allowed when 'logprobs' is true.", param="top_logprobs")

    def chat(self, request: Request) -> Response:
        body = request.body
        if request.reply.blocked is not None:
            message = "Invalid prompt: your prompt was flagged as potentially violating our usage policy."
            raise refused(400, message, code="content_policy_violation", kind="invalid_request_error")
        if request.upstream.strict:
            self.check_chat(body, request)
        asked = read_chat(body)
        said = answer(asked, request.reply)
        headers = self.headers(request)
        if asked.stream:
            return Response(headers=headers, content_type=SSE, events=self.form_of(request).events(body, said))
        return json_response(self.form_of(request).whole(body, said), headers=headers)

    def form_of(self, request: Request) -> ChatForm:
        """The form of this call's answer."""
        return self.form

    def list_models(self, request: Request) -> Response:
        return json_response({"object": "list", "data": [self.model(name) for name in self.models]})

    def one_model(self, request: Request) -> Response:
        name = request.parts["model"]
        if name not in self.models:
            raise refused(404, f"The model '{name}' does not exist", code="model_not_found", param="model")
        return json_response(self.model(name))

    def model(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": CREATED, "owned_by": "mock"}


class OpenAi(OpenAiLike):
    """OpenAI itself: a key is needed, unknown fields are refused."""

    name = "openai"
    prefix = base_url_tail = "/openai/v1"
    key_env = "OPENAI_API_KEY"

    def __init__(self) -> None:
        super().__init__()
        from instance.mock_upstream.dialects import (
            openai_audio,
            openai_completions,
            openai_images,
            openai_responses,
            openai_vectors,
        )

        for part in (openai_completions, openai_responses, openai_vectors, openai_images, openai_audio):
            part.serve(self)

    def authorize(self, call: Call, request: Request) -> None:
        bearer(call, "You didn't provide an API key. You need to provide it in an Authorization header.")


class Compatible(OpenAi):
    """Any server that resembles OpenAI's, as people run at home: no key needed, unknown fields are passed over."""

    name = "compatible"
    prefix = base_url_tail = "/v1"

    def serve(
        self,
        method: str,
        pattern: str,
        answer: Answer,
        schema: Schema | None = None,
        *,
        form: bool = False,
        raw: bool = False,
    ) -> None:
        super().serve(method, pattern, answer, None if schema is None else opened(schema), form=form, raw=raw)

    def authorize(self, call: Call, request: Request) -> None:
        pass


class Twin(Compatible):
    """The OpenAI-compatible part that a provider has beside its own API."""

    def __init__(self, owner: str, prefix: str) -> None:
        self.name = f"{owner}-openai"
        self.prefix = self.base_url_tail = prefix
        super().__init__()

    def authorize(self, call: Call, request: Request) -> None:
        bearer(call)


class AnthropicTwin(Twin):
    """Anthropic's, whose only path lies beside those of its own API."""

    chat_path = "/completions"
    models_path = "/-"


def twins() -> list[Dialect]:
    return [
        AnthropicTwin("anthropic", "/anthropic/v1/chat"),
        Twin("gemini", "/gemini/v1beta/openai"),
        Twin("cohere", "/cohere/compatibility/v1"),
        HomeTwin("ollama", "/ollama/v1"),
        Twin("bedrock", "/bedrock/openai/v1"),
    ]


class HomeTwin(Twin):
    """A server at home, without keys."""

    def authorize(self, call: Call, request: Request) -> None:
        pass
