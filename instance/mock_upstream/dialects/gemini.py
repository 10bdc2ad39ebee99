"""Google's Gemini API under `/gemini/v1beta`."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import orjson

from instance.mock_upstream.checking import Problem, bracketed, refused
from instance.mock_upstream.conversation import Asked, Said, answer, described
from instance.mock_upstream.dialect import Dialect
from instance.mock_upstream.dialects.gemini_schema import BATCH_EMBED, COUNT_TOKENS, EMBED, GENERATE
from instance.mock_upstream.exchange import JSON, SSE, Call, Event, Request, Response, json_response, sse
from instance.mock_upstream.replies import Failure
from instance.mock_upstream.vectors import DIMENSIONS, embedding

MODELS = ("gemini-mock-flash", "gemini-mock-embedding")
SIGNING_FAMILY = "gemini-3"
"""Models of this family want their thought signatures back with function calls."""
UNCHECKED_SIGNATURE = "skip_thought_signature_validator"
"""What Google takes in place of a signature for a call that another model made."""
FINISH_REASONS = {"stop": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}
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
_FREE_FORM = frozenset(
    (
        "args",
        "response",
        "properties",
        "responseJsonSchema",
        "parametersJsonSchema",
        "labels",
        "partMetadata",
        "default",
    )
)


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
        return _camel(body)

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
        events = list(_fragments(body, said, model, f"mock-{request.number}"))
        headers = {"server-timing": "gfet4t7; dur=1"}
        if not stream:
            return json_response(_joined(events) | request.reply.more, headers=headers)
        if request.query.get("alt") == "sse":
            made = (Event(b"data: " + orjson.dumps(event) + b"\r\n\r\n", piece) for event, piece in events)
            return Response(headers=headers, content_type=SSE, events=made)
        return Response(headers=headers, content_type=JSON, events=_as_list(events))


def _as_list(events: list[tuple[dict[str, Any], bool]]) -> Iterator[Event]:
    """The stream as one JSON array, growing: what comes without `alt=sse`."""
    for number, (event, piece) in enumerate(events):
        yield Event((b"," if number else b"[") + orjson.dumps(event) + b"\r\n", piece)
    yield Event(b"]")


def _camel(node: Any) -> Any:
    """Google's JSON takes the names of fields in snake case as well."""
    if isinstance(node, list):
        return [_camel(item) for item in node]
    if not isinstance(node, dict):
        return node
    made: dict[str, Any] = {}
    for name, value in node.items():
        head, *rest = name.split("_") if not name.startswith("_") else (name,)
        spelled = head + "".join(part[:1].upper() + part[1:] for part in rest)
        made[spelled] = value if spelled in _FREE_FORM and spelled != "properties" else _camel(value)
        if spelled == "properties" and isinstance(value, dict):
            made[spelled] = {key: _camel(inner) for key, inner in value.items()}
    return made


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


def signature_of(number: int) -> str:
    """The thought signature that goes with the function call of this number."""
    return base64.b64encode(f"mock thought signature {number}".encode()).decode()


def check_contents(body: dict[str, Any], model: str) -> None:
    """Raises Refused for what Google's schema cannot say."""
    calls: list[str] = []
    names: list[str] = []
    last_user = max((i for i, one in enumerate(body["contents"]) if _is_said(one)), default=-1)
    for place, content in enumerate(body["contents"]):
        role = content.get("role", "user")
        results = [part["functionResponse"]["name"] for part in content["parts"] if "functionResponse" in part]
        if role != "model" and len(results) != len(calls):
            raise refused(
                400,
                "Please ensure that the number of function response parts is equal to the number of function call "
                "parts of the function call turn.",
            )
        if sorted(results) != sorted(calls):
            raise refused(400, f"contents[{place}]: function responses {results} do not answer the calls {calls}.")
        made = [part for part in content["parts"] if "functionCall" in part]
        if made and role != "model":
            raise refused(400, "Please ensure that function call turn comes from the model role.")
        if made and place == 0:
            raise refused(400, "Please ensure that function call turn comes immediately after a user turn.")
        calls = [part["functionCall"]["name"] for part in made]
        names += calls
        if made and model.startswith(SIGNING_FAMILY) and place > last_user and not made[0].get("thoughtSignature"):
            raise refused(400, f"Function call is missing a thought_signature in functionCall parts: {calls[0]}.")
        for part in content["parts"]:
            signature = part.get("thoughtSignature")
            if signature and signature != UNCHECKED_SIGNATURE and not _is_ours(signature):
                raise refused(400, "Thought signature is not valid.")
    if calls:
        raise refused(400, "Please ensure that every function call is followed by its function response.")
    _check_config(body)


def _is_ours(signature: str) -> bool:
    try:
        return base64.b64decode(signature).startswith(b"mock thought signature")
    except ValueError:
        return False


def _is_said(content: dict[str, Any]) -> bool:
    return content.get("role", "user") == "user" and any("functionResponse" not in part for part in content["parts"])


def _check_config(body: dict[str, Any]) -> None:
    config = body.get("generationConfig") or {}
    wants_schema = "responseSchema" in config or "responseJsonSchema" in config
    if wants_schema and config.get("responseMimeType") not in ("application/json", "text/x.enum"):
        raise refused(400, "response_schema is only supported with response_mime_type application/json or text/x.enum")
    if "responseSchema" in config and "responseJsonSchema" in config:
        raise refused(400, "Only one of response_schema and response_json_schema can be set.")
    if config.get("logprobs") is not None and not config.get("responseLogprobs"):
        raise refused(400, "logprobs is only supported with response_logprobs.")
    calling = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
    if calling.get("allowedFunctionNames") and calling.get("mode") not in ("ANY", "VALIDATED"):
        raise refused(400, "allowed_function_names should only be set when function calling mode is ANY.")
    for place, tool in enumerate(body.get("tools") or []):
        for number, function in enumerate(tool.get("functionDeclarations") or []):
            where = f"tools[{place}].function_declarations[{number}].parameters"
            if "parameters" in function:
                _check_schema(function["parameters"], where)
    if "responseSchema" in config:
        _check_schema(config["responseSchema"], "generation_config.response_schema")


def _check_schema(schema: dict[str, Any], where: str) -> None:
    kind = str(schema.get("type", "")).upper()
    if not kind and "anyOf" not in schema:
        raise refused(400, f"* GenerateContentRequest.{where}.type: must be specified")
    if kind == "ARRAY" and "items" not in schema:
        raise refused(400, f"* GenerateContentRequest.{where}.items: missing field.")
    if schema.get("enum") and kind != "STRING":
        raise refused(400, f"* GenerateContentRequest.{where}.enum: only allowed for STRING type")
    for name in schema.get("required") or ():
        if name not in (schema.get("properties") or {}):
            raise refused(400, f"* GenerateContentRequest.{where}.required: property is not defined: {name}")
    for name, inner in (schema.get("properties") or {}).items():
        _check_schema(inner, f"{where}.properties[{name}]")
    for inner in [schema["items"]] if "items" in schema else []:
        _check_schema(inner, f"{where}.items")
    for inner in schema.get("anyOf") or ():
        _check_schema(inner, f"{where}.any_of")


def read_gemini(body: dict[str, Any], model: str, stream: bool) -> Asked:
    """A request in Google's form."""
    asked = Asked(model=model, stream=stream)
    for part in (body.get("systemInstruction") or {}).get("parts", ()):
        asked.words += len(part.get("text", "").split())
    for content in body.get("contents") or ():
        _hear(asked, content)
    for tool in body.get("tools") or ():
        for function in tool.get("functionDeclarations") or ():
            schema = function.get("parametersJsonSchema") or function.get("parameters")
            asked.tools[function["name"]] = schema or {"type": "object"}
    calling = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
    mode = calling.get("mode", "AUTO")
    allowed = calling.get("allowedFunctionNames")
    if mode == "ANY":
        asked.choice = "any"
        if allowed:
            asked.tools = {name: schema for name, schema in asked.tools.items() if name in allowed}
            asked.choice = allowed[0] if len(allowed) == 1 else "any"
    elif mode == "NONE":
        asked.choice = "none"
    config = body.get("generationConfig") or {}
    if config.get("responseMimeType") == "application/json":
        asked.schema = config.get("responseJsonSchema") or config.get("responseSchema") or {}
    asked.think = bool((config.get("thinkingConfig") or {}).get("includeThoughts"))
    return asked


def _hear(asked: Asked, content: dict[str, Any]) -> None:
    role = content.get("role", "user")
    results = [part["functionResponse"] for part in content["parts"] if "functionResponse" in part]
    asked.new_turn("tool" if results else role)
    for result in results:
        response = result["response"]
        only = next(iter(response.values())) if len(response) == 1 else response
        asked.results.append(only if isinstance(only, str) else orjson.dumps(only).decode())
    for part in content["parts"]:
        if "functionCall" in part:
            asked.earlier_calls += 1
        elif "inlineData" in part:
            asked.media.append(described(part["inlineData"]["mimeType"], part["inlineData"]["data"]))
        elif "fileData" in part:
            asked.media.append(described("file", url=part["fileData"]["fileUri"]))
        elif "text" in part and role == "user":
            asked.hear(part["text"])
        elif "text" in part:
            asked.words += len(part["text"].split())


def _usage(said: Said) -> dict[str, Any]:
    usage = said.usage
    made: dict[str, Any] = {
        "promptTokenCount": usage.prompt,
        "candidatesTokenCount": usage.completion - usage.reasoning,
        "totalTokenCount": usage.total,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": usage.prompt}],
    }
    if usage.cached:
        made["cachedContentTokenCount"] = usage.cached
    if usage.reasoning:
        made["thoughtsTokenCount"] = usage.reasoning
    return made


def _fragments(body: dict[str, Any], said: Said, model: str, response_id: str) -> Iterator[tuple[dict[str, Any], bool]]:
    """The answer in the pieces of a stream: each a whole response object."""
    beside = {"usageMetadata": _usage(said), "modelVersion": model, "responseId": response_id}
    if said.reply.blocked is not None:
        feedback = {"blockReason": said.reply.blocked}
        usage = {"promptTokenCount": said.usage.prompt, "totalTokenCount": said.usage.prompt}
        yield {"promptFeedback": feedback, **beside, "usageMetadata": usage}, True
        return
    parts = _parts(said)
    indexes = range((body.get("generationConfig") or {}).get("candidateCount") or 1)
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        candidates = []
        for index in indexes:
            candidate: dict[str, Any] = {"content": {"parts": [part], "role": "model"}, "index": index}
            if last:
                candidate["finishReason"] = FINISH_REASONS.get(said.finish, said.finish)
                if said.reply.citations:
                    candidate["groundingMetadata"] = _grounding(said.reply.citations)
            candidates.append(candidate)
        yield {"candidates": candidates, **beside}, True


def _parts(said: Said) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [{"text": piece, "thought": True} for piece in said.reasoning_pieces]
    parts += [{"text": piece} for piece in said.pieces]
    for place, call in enumerate(said.tool_calls):
        part: dict[str, Any] = {"functionCall": {"name": call.name, "args": call.object}}
        if place == 0:
            part["thoughtSignature"] = signature_of(call.number)
        parts.append(part)
    return parts or [{"text": ""}]


def _grounding(citations: list[dict[str, Any]]) -> dict[str, Any]:
    chunks = [{"web": {"uri": one.get("url", ""), "title": one.get("title", "")}} for one in citations]
    supports = [
        {
            "segment": {"startIndex": one.get("start", 0), "endIndex": one.get("end", 0), "text": one.get("text", "")},
            "groundingChunkIndices": [place],
        }
        for place, one in enumerate(citations)
    ]
    return {"groundingChunks": chunks, "groundingSupports": supports, "webSearchQueries": []}


def _joined(events: list[tuple[dict[str, Any], bool]]) -> dict[str, Any]:
    """The fragments as one answer, neighbouring texts of a kind as one part."""
    whole: dict[str, Any] = dict(events[-1][0])
    if "candidates" not in whole:
        return whole
    made = []
    for index, candidate in enumerate(whole["candidates"]):
        parts: list[dict[str, Any]] = []
        for event, _ in events:
            for part in event["candidates"][index]["content"]["parts"]:
                mergeable = parts and "text" in part and "text" in parts[-1]
                if mergeable and part.get("thought") == parts[-1].get("thought"):
                    parts[-1] = {**parts[-1], "text": parts[-1]["text"] + part["text"]}
                else:
                    parts.append(dict(part))
        made.append({**candidate, "content": {"parts": parts, "role": "model"}})
    return {**whole, "candidates": made}
