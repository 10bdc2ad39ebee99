"""Together's API under `/together/v1`: full model names, usage in the last content chunk, images by width and height."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from instance.mock_upstream.checking import Problem, dotted, refused
from instance.mock_upstream.conversation import CREATED, Said
from instance.mock_upstream.dialect import bearer
from instance.mock_upstream.dialects.like_schemas import COMPLETIONS_MORE, EMBEDDINGS
from instance.mock_upstream.dialects.openai import OpenAiLike
from instance.mock_upstream.dialects.openai_audio import speak, transcribe
from instance.mock_upstream.dialects.openai_chat import ChatForm
from instance.mock_upstream.dialects.openai_completions import complete
from instance.mock_upstream.dialects.openai_schemas import RERANK, TRANSCRIPTIONS, TRANSLATIONS
from instance.mock_upstream.dialects.openai_vectors import embed, rerank
from instance.mock_upstream.dialects.together_schema import TOGETHER, TOGETHER_IMAGES, TOGETHER_SPEECH
from instance.mock_upstream.exchange import Call, Event, Request, Response, json_response, sse
from instance.mock_upstream.media import PNG, PNG_BASE64
from instance.mock_upstream.replies import Failure

MODELS = (
    "meta-llama/Llama-3.3-70B-Instruct",
    "meta-llama/Llama-3.3-70B-Instruct-Turbo",
    "meta-llama/Llama-3.2-3B-Instruct-Turbo",
    "mistralai/Mixtral-8x7B-Instruct-v0.1",
    "black-forest-labs/FLUX.1-schnell",
    "BAAI/bge-base-en-v1.5",
)


class TogetherForm(ChatForm):
    answer_id = "mock-together"
    fingerprint = None
    usage_always = True
    reasoning_field = "reasoning"

    def events(self, body: dict[str, Any], said: Said) -> Iterator[Event]:
        """The last content chunk has the finish and the usage; each chunk repeats its text beside the delta."""
        deltas = list(self.deltas(said)) or [{"content": ""}]
        for place, delta in enumerate(deltas):
            last = place == len(deltas) - 1
            for index in range(body.get("n") or 1):
                choice = self.choice(index, {"role": "assistant", "content": "", **delta})
                choice["text"] = delta.get("content") or ""
                if last:
                    choice["finish_reason"] = self.finish(said)
                made = self.chunk(body, said, [choice])
                made["usage"] = self.told_usage(said) if last and index == (body.get("n") or 1) - 1 else None
                yield sse(made, piece=index == 0)
        yield Event(b"data: [DONE]\n\n")


class Together(OpenAiLike):
    name = "together"
    prefix = base_url_tail = "/together/v1"
    key_env = "TOGETHER_API_KEY"
    form = TogetherForm()
    chat_schema = TOGETHER
    models = MODELS

    def __init__(self) -> None:
        super().__init__()
        self.serve("POST", "/embeddings", embed, EMBEDDINGS)
        self.serve("POST", "/completions", complete, COMPLETIONS_MORE)
        self.serve("POST", "/rerank", rerank, RERANK)
        self.serve("POST", "/audio/speech", speak, TOGETHER_SPEECH)
        self.serve("POST", "/audio/transcriptions", transcribe, TRANSCRIPTIONS, form=True)
        self.serve("POST", "/audio/translations", transcribe, TRANSLATIONS, form=True)
        self.serve("POST", "/images/generations", self.images, TOGETHER_IMAGES)
        self.serve("GET", r"/files/image-[0-9]+\.png", lambda request: Response(PNG, content_type="image/png"))

    def authorize(self, call: Call, request: Request) -> None:
        bearer(call, "Invalid API key provided. You can find your API key at the settings page.")

    def invalid(self, problem: Problem, request: Request) -> Failure:
        return Failure(
            422, f"Input validation error: {dotted(problem.path)}: {problem.message}", param=dotted(problem.path)
        )

    def error(self, failure: Failure) -> dict[str, Any]:
        made = super().error(failure)
        kinds = {429: "rate_limit", 503: "service_unavailable", 529: "overloaded"}
        made["error"]["type"] = failure.kind or kinds.get(failure.status, made["error"]["type"])
        return {"id": "mock-error", **made}

    def wait_headers(self, failure: Failure) -> dict[str, str]:
        if failure.retry_after_s is None:
            return {}
        return {
            "retry-after": str(-int(-failure.retry_after_s // 1)),
            "x-ratelimit-reset": f"{failure.retry_after_s:g}",
        }

    def check_chat(self, body: dict[str, Any], request: Request) -> None:
        if "/" not in body["model"]:
            message = f"Unable to access model {body['model']}. Please visit the list of models for one that is there."
            raise refused(404, message, code="model_not_available", kind="invalid_request_error")
        super().check_chat({**body, "stream_options": None}, request)

    def list_models(self, request: Request) -> Response:
        return json_response([{**self.model(name), "type": "chat", "context_length": 131_072} for name in MODELS])

    def images(self, request: Request) -> Response:
        body = request.body
        data: list[dict[str, Any]] = []
        for index in range(body.get("n") or 1):
            url = f"{request.root}{self.prefix}/files/image-{request.number}{index}.png"
            picture = {"b64_json": PNG_BASE64} if body.get("response_format") == "base64" else {"url": url}
            data.append({"index": index, "type": "b64_json" if "b64_json" in picture else "url", **picture})
        return json_response({"id": "mock", "model": body["model"], "object": "list", "created": CREATED, "data": data})
