"""Azure OpenAI under `/azure`: deployments with `api-version`, and version 1; content filter annotations.

A deployment whose name has `missing` in it does not exist; one with `async` filters asynchronously.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

from instance.mock_upstream.checking import refused
from instance.mock_upstream.conversation import Said
from instance.mock_upstream.dialects import (
    openai_audio,
    openai_completions,
    openai_images,
    openai_responses,
    openai_schemas,
    openai_vectors,
)
from instance.mock_upstream.dialects.openai import OpenAiLike
from instance.mock_upstream.dialects.openai_chat import ChatForm
from instance.mock_upstream.exchange import Call, Event, Request, Response, json_response, sse
from instance.mock_upstream.replies import Failure
from instance.mock_upstream.shapes import Schema

STREAM_OPTIONS_SINCE = "2024-09-01"
COMPLETION_TOKENS_SINCE = "2024-09-01"
_DEPLOYMENT = "/openai/deployments/(?P<deployment>[^/]+)"
_SAFE = {name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")}
_BLOCKED = {
    **_SAFE,
    "violence": {"filtered": True, "severity": "high"},
    "jailbreak": {"filtered": False, "detected": False},
}


class AzureForm(ChatForm):
    def whole(self, body: dict[str, Any], said: Said) -> dict[str, Any]:
        made = super().whole(body, said)
        for choice in made["choices"]:
            choice["content_filter_results"] = _SAFE
        return {**made, "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": _SAFE}]}

    def events(self, body: dict[str, Any], said: Said) -> Iterator[Event]:
        first = {"choices": [], "created": 0, "id": "", "model": "", "object": ""}
        yield sse({**first, "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": _SAFE}]})
        yield from super().events(body, said)

    def choice(self, index: int, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {**super().choice(index, delta, finish), "content_filter_results": _SAFE if delta else {}}


class AsyncFilterForm(AzureForm):
    """The annotations come later, in chunks without a delta's content."""

    def choice(self, index: int, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return ChatForm.choice(self, index, delta, finish)

    def events(self, body: dict[str, Any], said: Said) -> Iterator[Event]:
        for event in super().events(body, said):
            if event.data.startswith(b"data: [DONE]"):
                offsets = {"check_offset": 0, "start_offset": 0, "end_offset": len(said.text)}
                choice = {"index": 0, "finish_reason": None, "content_filter_results": _SAFE}
                late = {**choice, "content_filter_offsets": offsets, "delta": {}}
                yield sse({**self.chunk(body, said, [late]), "id": "", "created": 0})
            yield event


LATE_FILTER = AsyncFilterForm()


class Azure(OpenAiLike):
    name = "azure"
    prefix = base_url_tail = "/azure"
    key_env = "AZURE_OPENAI_API_KEY"
    form = AzureForm()
    chat_path = "/openai/v1/chat/completions"
    models_path = "/openai/v1/models"
    models = ("gpt-4o", "text-embedding-3-small")

    def __init__(self) -> None:
        super().__init__()
        # in the classic paths the deployment stands for the model
        schema: Schema = {**openai_schemas.CHAT, "required": ["messages"]}
        self.serve("POST", f"{_DEPLOYMENT}/chat/completions", self.chat, schema)
        self.serve("GET", "/openai/models", self.list_models)
        self.serve("POST", "/(?P<tenant>[^/]+)/oauth2/v2.0/token", self.token, raw=True)
        for base in ("/openai/v1", _DEPLOYMENT):
            part = _Under(self, base)
            for module in (openai_completions, openai_vectors, openai_images, openai_audio):
                module.serve(part)
        openai_responses.serve(_Under(self, "/openai/v1"))  # type: ignore[arg-type]

    def authorize(self, call: Call, request: Request) -> None:
        if request.path.endswith("/oauth2/v2.0/token"):
            return
        if not call.headers.get("api-key") and not call.headers.get("authorization", "").startswith("Bearer "):
            raise refused(401, "Access denied due to invalid subscription key or wrong API endpoint. Make sure to "
                               "provide a valid key for an active subscription.", code="401")  # fmt: skip
        if "/openai/v1/" in request.path or request.path == "/openai/v1/models":
            return
        if not request.query.get("api-version"):
            raise refused(404, "Resource not found", code="404")
        if "missing" in request.path:
            raise refused(
                404,
                "The API deployment for this resource does not exist. If you created the deployment within the last 5 "
                "minutes, please wait a moment and try again.",
                code="DeploymentNotFound",
            )

    def error(self, failure: Failure) -> dict[str, Any]:
        if failure.status in (401, 404, 429) and failure.kind is None and failure.param is None:
            code = failure.code or {404: "DeploymentNotFound"}.get(failure.status, str(failure.status))
            return {"error": {"code": code, "message": failure.message, **(failure.details or {})}}
        return super().error(failure)

    def headers(self, request: Request) -> dict[str, str]:
        name = f"00000000-0000-4000-8000-{request.number:012d}"
        return {"apim-request-id": name, "x-request-id": name, "x-ms-region": "Mock East"}

    def check_chat(self, body: dict[str, Any], request: Request) -> None:
        super().check_chat(body, request)
        version = request.query.get("api-version", "")
        if "deployment" not in request.parts:
            return
        late = (("stream_options", STREAM_OPTIONS_SINCE), ("max_completion_tokens", COMPLETION_TOKENS_SINCE))
        for name, since in late:
            if name in body and version[:10] < since:
                raise refused(400, f"Unrecognized request argument supplied: {name}", kind="invalid_request_error")

    def chat(self, request: Request) -> Response:
        body = request.body
        deployment = request.parts.get("deployment", "")
        if request.reply.blocked is not None:
            raise refused(
                400,
                "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. "
                "Please modify your prompt and retry.",
                code="content_filter",
                param="prompt",
                details={
                    "type": None,
                    "status": 400,
                    "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": _BLOCKED},
                },
            )
        if deployment:
            body.setdefault("model", deployment)
        return super().chat(request)

    def form_of(self, request: Request) -> ChatForm:
        return LATE_FILTER if "async" in request.parts.get("deployment", "") else self.form

    def token(self, request: Request) -> Response:
        """Microsoft Entra's client credentials flow, as if its login host were here as well."""
        form = dict(parse_qsl(request.call.body.decode("utf-8", "replace")))
        wanted = {"grant_type", "client_id", "client_secret", "scope"}
        missing = sorted(wanted - form.keys())
        if missing or form["grant_type"] != "client_credentials":
            told = f"AADSTS900144: The request body must contain the following parameter: '{(missing or ['grant_type'])[0]}'."
            return json_response({"error": "invalid_request", "error_description": told, "error_codes": [900144]}, 400)
        token = {"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599}
        return json_response({**token, "access_token": f"entra-mock-{request.number}"} | request.reply.more)


class _Under:
    """Endpoints of OpenAI's under another path; what comes in a path's place of the model need not be in the body."""

    def __init__(self, dialect: Azure, base: str) -> None:
        self._dialect = dialect
        self._base = base

    def serve(
        self, method: str, pattern: str, answer: Any, schema: Schema | None = None, *, form: bool = False
    ) -> None:
        classic = self._base == _DEPLOYMENT
        if schema is not None and classic and "model" in schema.get("required", ()):
            schema = {**schema, "required": [name for name in schema["required"] if name != "model"]}

        def named(request: Request) -> Response:
            if classic and isinstance(request.body, dict):
                request.body.setdefault("model", request.parts["deployment"])
            response: Response = answer(request)
            return response

        self._dialect.serve(method, self._base + pattern, named, schema, form=form)
