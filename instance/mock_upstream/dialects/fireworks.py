"""Fireworks' API under `/fireworks/inference/v1`: full model names, a context that is cut unless told otherwise."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from instance.mock_upstream.checking import refused
from instance.mock_upstream.conversation import Said
from instance.mock_upstream.dialect import bearer
from instance.mock_upstream.dialects.fireworks_schema import FIREWORKS
from instance.mock_upstream.dialects.like_schemas import COMPLETIONS_MORE, EMBEDDINGS
from instance.mock_upstream.dialects.openai import OpenAiLike
from instance.mock_upstream.dialects.openai_chat import ChatForm, read_chat
from instance.mock_upstream.dialects.openai_completions import complete
from instance.mock_upstream.dialects.openai_schemas import RERANK
from instance.mock_upstream.dialects.openai_vectors import embed, rerank
from instance.mock_upstream.exchange import Call, Request, Response
from instance.mock_upstream.replies import Failure

CONTEXT_TOKENS = 8192
_MODEL = re.compile(
    r"accounts/[^/]+/(models|deployedModels|deployments|routers)/[^/]+(#.+)?|[^#]+#accounts/.+|[^#]+#[^/]+/.+"
)


class FireworksForm(ChatForm):
    answer_id = "mock-fireworks"
    fingerprint = None
    usage_always = True

    def told_usage(self, said: Said) -> dict[str, Any]:
        return self.usage(replace(said.usage, reasoning=0))


class Fireworks(OpenAiLike):
    name = "fireworks"
    prefix = base_url_tail = "/fireworks/inference/v1"
    key_env = "FIREWORKS_API_KEY"
    form = FireworksForm()
    chat_schema = FIREWORKS
    models = ("accounts/fireworks/models/llama-v3p1-8b-instruct", "accounts/fireworks/models/llama-v3p3-70b-instruct")

    def __init__(self) -> None:
        super().__init__()
        self.serve("POST", "/embeddings", embed, EMBEDDINGS)
        self.serve("POST", "/completions", complete, COMPLETIONS_MORE)
        self.serve("POST", "/rerank", rerank, RERANK)

    def authorize(self, call: Call, request: Request) -> None:
        bearer(call, "The API key you provided is invalid.")

    def error(self, failure: Failure) -> dict[str, Any]:
        codes = {404: "NOT_FOUND", 412: "FAILED_PRECONDITION", 429: "RATE_LIMITED"}
        made = super().error(failure)["error"]
        made["code"] = failure.code or codes.get(failure.status, made["code"])
        return {"error": {"object": "error", **made}}

    def check_chat(self, body: dict[str, Any], request: Request) -> None:
        if not _MODEL.fullmatch(body["model"]):
            raise refused(404, "Model not found, inaccessible, and/or not deployed", kind="invalid_request_error")
        super().check_chat({**body, "stream_options": None, "top_logprobs": None}, request)
        words = read_chat(body).words
        if words > CONTEXT_TOKENS and body.get("context_length_exceeded_behavior") == "error":
            raise refused(
                400,
                f"The prompt is too long: {words}, model maximum context length: {CONTEXT_TOKENS - 1}",
                kind="invalid_request_error",
                code="context_length_exceeded",
            )

    def chat(self, request: Request) -> Response:
        body, reply = request.body, request.reply
        words = read_chat(body).words
        if words > CONTEXT_TOKENS and reply.text is None and reply.pieces is None:
            # what is left of the window is nothing: the answer is cut without a word about it
            request.reply = replace(reply, text="", finish=reply.finish or "length")
        response = super().chat(request)
        usage = reply.usage or {}
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
        response.headers |= {
            "fireworks-prompt-tokens": str(usage.get("prompt_tokens", words)),
            "fireworks-cached-prompt-tokens": str(cached),
        }
        return response
