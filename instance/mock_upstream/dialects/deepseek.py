"""DeepSeek's API under `/deepseek`: signs of life before an answer, thinking that must not come back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from instance.mock_upstream.checking import Problem, dotted, refused
from instance.mock_upstream.conversation import THOUGHT, Said, Usage
from instance.mock_upstream.dialect import bearer
from instance.mock_upstream.dialects.deepseek_schema import DEEPSEEK
from instance.mock_upstream.dialects.openai import OpenAiLike
from instance.mock_upstream.dialects.openai_chat import ChatForm, text_of
from instance.mock_upstream.dialects.openai_completions import complete
from instance.mock_upstream.dialects.openai_schemas import COMPLETIONS
from instance.mock_upstream.exchange import Call, Event, Request, Response, json_response
from instance.mock_upstream.replies import Failure

KEEP_ALIVE = b": keep-alive\n\n"
_KINDS = {401: "authentication_error", 402: "unknown_error", 429: "rate_limit_error", 503: "service_unavailable_error"}


class DeepSeekForm(ChatForm):
    answer_id = "mock-deepseek"
    usage_always = True

    def usage(self, usage: Usage) -> dict[str, Any]:
        return {
            **super().usage(usage),
            "prompt_tokens_details": {"cached_tokens": usage.cached},
            "prompt_cache_hit_tokens": usage.cached,
            "prompt_cache_miss_tokens": usage.prompt - usage.cached,
        }

    def told_usage(self, said: Said) -> dict[str, Any]:
        return self.usage(said.usage)

    def events(self, body: dict[str, Any], said: Said) -> Iterator[Event]:
        yield Event(KEEP_ALIVE)
        yield from super().events(body, said)


class DeepSeek(OpenAiLike):
    name = "deepseek"
    prefix = base_url_tail = "/deepseek"
    key_env = "DEEPSEEK_API_KEY"
    form = DeepSeekForm()
    chat_schema = DEEPSEEK
    chat_path = "(?P<base>/v1|/beta)?/chat/completions"
    models_path = "(?:/v1)?/models"
    models = ("deepseek-chat", "deepseek-reasoner")

    def __init__(self) -> None:
        super().__init__()
        self.serve("POST", "/beta/completions", complete, COMPLETIONS)
        self.serve("GET", "/user/balance", self.balance)

    def authorize(self, call: Call, request: Request) -> None:
        bearer(call, "Authentication Fails (no such user)")

    def invalid(self, problem: Problem, request: Request) -> Failure:
        message = f"Failed to deserialize the JSON body into the target type: {dotted(problem.path)}: {problem.message}"
        return Failure(422, message, kind="invalid_request_error", path=problem.path)

    def error(self, failure: Failure) -> dict[str, Any]:
        made = super().error(failure)
        made["error"]["type"] = failure.kind or _KINDS.get(failure.status, made["error"]["type"])
        made["error"]["code"] = failure.code or "invalid_request_error"
        return made

    def wait_headers(self, failure: Failure) -> dict[str, str]:
        """DeepSeek does not say when to come again."""
        return {}

    def headers(self, request: Request) -> dict[str, str]:
        return {"x-ds-trace-id": f"mock{request.number}"}

    def balance(self, request: Request) -> Response:
        info = {"currency": "USD", "total_balance": "10.00", "granted_balance": "0.00", "topped_up_balance": "10.00"}
        return json_response({"is_available": True, "balance_infos": [info]})

    def check_chat(self, body: dict[str, Any], request: Request) -> None:
        super().check_chat(body, request)
        messages = body["messages"]
        wants_json = (body.get("response_format") or {}).get("type") == "json_object"
        if wants_json and not any("json" in text_of(message.get("content")).lower() for message in messages):
            raise refused(400, "Prompt must contain the word 'json' in some form to use 'response_format' of type "
                               "'json_object'.")  # fmt: skip
        last_user = max((place for place, one in enumerate(messages) if one["role"] == "user"), default=-1)
        for place, message in enumerate(messages):
            if message.get("prefix") and request.parts.get("base") != "/beta":
                raise refused(400, "The prefix parameter is only available on the beta base URL.")
            if message.get("prefix") and place != len(messages) - 1:
                raise refused(400, "Only the last message can have prefix: true.")
            if message.get("reasoning_content") and place < last_user:
                raise refused(400, "The reasoning_content of an earlier turn is not accepted in the messages.")
        if self._thinks(body) and (body.get("logprobs") or body.get("top_logprobs")):
            raise refused(400, "deepseek-reasoner does not support logprobs")

    def _thinks(self, body: dict[str, Any]) -> bool:
        asked = (body.get("thinking") or {}).get("type")
        return asked == "enabled" or (asked is None and "reasoner" in body["model"])

    def chat(self, request: Request) -> Response:
        if request.reply.reasoning is None and self._thinks(request.body):
            request.reply = replace(request.reply, reasoning=THOUGHT)
        response = super().chat(request)
        if not response.body:
            return response
        response.body = b"\n\n" + response.body
        return response
