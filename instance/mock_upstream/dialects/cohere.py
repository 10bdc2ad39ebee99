"""Cohere's API under `/cohere`: chat, embed and rerank of version 2, rerank of version 1, models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from instance.mock_upstream.checking import Problem, dotted, refused
from instance.mock_upstream.conversation import Asked, Said, answer, described_url
from instance.mock_upstream.dialect import Dialect, bearer
from instance.mock_upstream.dialects.cohere_schema import CHAT, EMBED, RERANK, RERANK_V1
from instance.mock_upstream.dialects.openai_chat import text_of
from instance.mock_upstream.exchange import SSE, Call, Event, Request, Response, json_response, sse
from instance.mock_upstream.replies import Failure
from instance.mock_upstream.vectors import DIMENSIONS, embedding, packed, ranked

MODELS = ("command-mock", "embed-mock", "rerank-mock")
FINISH_REASONS = {"stop": "COMPLETE", "length": "MAX_TOKENS", "tool_calls": "TOOL_CALL", "content_filter": "ERROR"}


class Cohere(Dialect):
    name = "cohere"
    prefix = base_url_tail = "/cohere"
    key_env = "COHERE_API_KEY"

    def __init__(self) -> None:
        super().__init__()
        self.serve("POST", "/v2/chat", self.chat, CHAT)
        self.serve("POST", "/v2/embed", self.embed, EMBED)
        self.serve("POST", "/v2/rerank", self.rerank, RERANK)
        self.serve("POST", "/v1/rerank", self.rerank, RERANK_V1)
        self.serve("GET", "/v1/models", self.models)
        self.serve("GET", "/v1/models/(?P<model>[^/]+)", self.model)

    def authorize(self, call: Call, request: Request) -> None:
        bearer(call, "no api key supplied")

    def invalid(self, problem: Problem, request: Request) -> Failure:
        where = dotted(problem.path)
        if problem.kind == "missing":
            return Failure(400, f"invalid request: {where} is required", path=problem.path)
        if problem.kind == "unknown":
            return Failure(422, f"unknown field: parameter '{where}' is not a valid field", path=problem.path)
        return Failure(400, f"invalid request: {where}: {problem.message}", path=problem.path)

    def failure(self, failure: Failure, request: Request) -> Response:
        made = {"id": f"err-mock-{request.number}", "message": failure.message, **(failure.details or {})}
        return json_response(made, failure.status, self.headers(request))

    def stream_failure(self, failure: Failure, request: Request) -> bytes:
        delta = {"finish_reason": "ERROR", "error": failure.message}
        return sse({"type": "message-end", "id": f"mock-{request.number}", "delta": delta}, "message-end").data

    def headers(self, request: Request) -> dict[str, str]:
        return {"x-debug-trace-id": f"mock{request.number}"}

    def models(self, request: Request) -> Response:
        return json_response({"models": [_model(name) for name in MODELS], "next_page_token": ""})

    def model(self, request: Request) -> Response:
        if request.parts["model"] not in MODELS:
            raise refused(404, f"model '{request.parts['model']}' not found")
        return json_response(_model(request.parts["model"]))

    def embed(self, request: Request) -> Response:
        body = request.body
        texts = list(body.get("texts") or ())
        shown = [described_url("image", url) for url in body.get("images") or ()]
        for one in body.get("inputs") or ():
            texts.append(text_of(one["content"]))
        if bool(texts) == bool(shown):
            raise refused(400, "invalid request: exactly one of texts, images or inputs must be given")
        size = body.get("output_dimension") or DIMENSIONS
        vectors = [embedding(text, size) for text in texts or shown]
        kinds = body.get("embedding_types") or ["float"]
        made = {
            "id": f"mock-{request.number}",
            "texts": texts,
            "embeddings": {kind: [_of_kind(vector, kind) for vector in vectors] for kind in kinds},
            "meta": _meta({"input_tokens": sum(len(text.split()) for text in texts)}),
            "response_type": "embeddings_by_type",
        }
        return json_response(made | request.reply.more, headers=self.headers(request))

    def rerank(self, request: Request) -> Response:
        body = request.body
        texts = [one if isinstance(one, str) else str(one.get("text", one)) for one in body["documents"]]
        results: list[dict[str, Any]] = []
        for index, score in ranked(body["query"], texts, body.get("top_n")):
            results.append({"index": index, "relevance_score": score})
            if body.get("return_documents"):
                results[-1]["document"] = {"text": texts[index]}
        meta = _meta({"search_units": -(-len(texts) // 100)})
        made = {"id": f"mock-{request.number}", "results": results, "meta": meta}
        return json_response(made | request.reply.more, headers=self.headers(request))

    def chat(self, request: Request) -> Response:
        body = request.body
        if request.upstream.strict:
            check_talk(body)
        asked = read_cohere(body)
        said = answer(asked, request.reply)
        answer_id = f"mock-{request.number}"
        headers = self.headers(request)
        if asked.stream:
            return Response(headers=headers, content_type=SSE, events=_events(said, answer_id))
        made = {
            "id": answer_id,
            "finish_reason": FINISH_REASONS.get(said.finish, said.finish),
            "message": _message(said),
            "usage": _usage(said),
        }
        return json_response(made | request.reply.more, headers=headers)


def _model(name: str) -> dict[str, Any]:
    endpoints = {"command-mock": ["chat"], "embed-mock": ["embed"], "rerank-mock": ["rerank"]}[name]
    return {"name": name, "endpoints": endpoints, "finetuned": False, "context_length": 128_000}


def _meta(units: dict[str, int]) -> dict[str, Any]:
    return {"api_version": {"version": "2"}, "billed_units": units}


def _of_kind(vector: list[float], kind: str) -> Any:
    if kind == "float":
        return vector
    if kind == "base64":
        return packed(vector)
    if kind in ("int8", "uint8"):
        return [round(value * 127) + (128 if kind == "uint8" else 0) for value in vector]
    bits = [value > 0 for value in vector]
    octets = [sum(bit << (7 - place) for place, bit in enumerate(bits[at : at + 8])) for at in range(0, len(bits), 8)]
    return [octet - (128 if kind == "binary" else 0) for octet in octets]


def check_talk(body: dict[str, Any]) -> None:
    """Raises Refused for what the schema cannot say."""
    open_calls: set[str] = set()
    for place, message in enumerate(body["messages"]):
        if message["role"] == "tool":
            if message["tool_call_id"] not in open_calls:
                raise refused(
                    400, f"invalid request: tool message at messages.{place} answers no tool call of the turn before"
                )
            open_calls.discard(message["tool_call_id"])
            continue
        if open_calls:
            raise refused(400, f"invalid request: missing tool results for {', '.join(sorted(open_calls))}")
        open_calls = {call["id"] for call in message.get("tool_calls") or ()}
        if message["role"] == "assistant" and not open_calls and not message.get("content"):
            raise refused(400, f"invalid request: messages.{place} must have content or tool_calls")
    if open_calls:
        raise refused(400, f"invalid request: missing tool results for {', '.join(sorted(open_calls))}")
    wants_json = (body.get("response_format") or {}).get("type") == "json_object"
    if wants_json and (body.get("tools") or body.get("documents")):
        raise refused(400, "invalid request: response_format json_object is not supported with tools or documents")
    if body.get("tool_choice") and not body.get("tools"):
        raise refused(400, "invalid request: tool_choice is only valid with tools")


def read_cohere(body: dict[str, Any]) -> Asked:
    """A chat request in Cohere's form."""
    asked = Asked(model=body["model"], stream=body.get("stream") is True)
    for message in body["messages"]:
        role, content = message["role"], message.get("content")
        asked.new_turn(role)
        if role == "user":
            asked.hear(text_of(content))
            for part in content if isinstance(content, list) else ():
                if part["type"] == "image_url":
                    asked.media.append(described_url("image", part["image_url"]["url"]))
        else:
            asked.words += len(text_of(content).split())
        if role == "tool":
            asked.results.append(_result(content))
        asked.earlier_calls += len(message.get("tool_calls") or ())
    for tool in body.get("tools") or ():
        asked.tools[tool["function"]["name"]] = tool["function"]["parameters"]
    asked.choice = {"REQUIRED": "any", "NONE": "none"}.get(body.get("tool_choice") or "", "auto")
    wanted = body.get("response_format") or {}
    if wanted.get("type") == "json_object":
        asked.schema = wanted.get("json_schema") or wanted.get("schema") or {}
    asked.think = (body.get("thinking") or {}).get("type") == "enabled"
    return asked


def _result(content: Any) -> str:
    if isinstance(content, str):
        return content
    said = []
    for part in content:
        data = part["document"]["data"] if part["type"] == "document" else part["text"]
        only = next(iter(data.values())) if isinstance(data, dict) and len(data) == 1 else data
        said.append(str(only))
    return " ".join(said)


def _usage(said: Said) -> dict[str, Any]:
    tokens = {"input_tokens": said.usage.prompt, "output_tokens": said.usage.completion}
    made: dict[str, Any] = {"billed_units": dict(tokens), "tokens": tokens}
    if said.usage.cached:
        made["cached_tokens"] = said.usage.cached
    return made


def _calls(said: Said) -> list[dict[str, Any]]:
    return [
        {
            "id": f"{call.name}_mock{call.number}",
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for call in said.tool_calls
    ]


def _citations(said: Said) -> list[dict[str, Any]]:
    return [
        {
            "start": source.get("start", 0),
            "end": source.get("end", 0),
            "text": source.get("text", ""),
            "sources": [
                {
                    "type": "document",
                    "id": source.get("id", f"doc:{place}"),
                    "document": {"title": source.get("title", ""), "url": source.get("url", "")},
                }
            ],
            "type": "TEXT_CONTENT",
        }
        for place, source in enumerate(said.reply.citations)
    ]


def _message(said: Said) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant"}
    content: list[dict[str, Any]] = []
    if said.tool_calls:
        message["tool_calls"] = _calls(said)
        message["tool_plan"] = said.reasoning or "I will use a tool."
    elif said.reasoning:
        content.append({"type": "thinking", "thinking": said.reasoning})
    if said.text or not said.tool_calls:
        content.append({"type": "text", "text": said.text})
    if content:
        message["content"] = content
    if said.reply.citations:
        message["citations"] = _citations(said)
    return message


def _events(said: Said, answer_id: str) -> Iterator[Event]:
    for event, piece in _told(said, answer_id):
        yield sse(event, event["type"], piece)


def _told(said: Said, answer_id: str) -> Iterator[tuple[dict[str, Any], bool]]:
    start = {"message": {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}}
    yield {"type": "message-start", "id": answer_id, "delta": start}, False
    message = _message(said)
    if "tool_plan" in message:
        for piece in said.reasoning_pieces or [message["tool_plan"]]:
            yield {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": piece}}}, True
    index = 0
    if said.reasoning and not said.tool_calls:
        yield from _block(index, "thinking", said.reasoning_pieces)
        index += 1
    if said.text or not said.tool_calls:
        yield from _block(index, "text", said.pieces)
    for number, citation in enumerate(message.get("citations", ())):
        yield {"type": "citation-start", "index": number, "delta": {"message": {"citations": citation}}}, False
        yield {"type": "citation-end", "index": number}, False
    for number, (call, made) in enumerate(zip(said.tool_calls, message.get("tool_calls", ()), strict=True)):
        begun = {**made, "function": {"name": call.name, "arguments": ""}}
        yield {"type": "tool-call-start", "index": number, "delta": {"message": {"tool_calls": begun}}}, True
        for part in call.halves:
            delta = {"message": {"tool_calls": {"function": {"arguments": part}}}}
            yield {"type": "tool-call-delta", "index": number, "delta": delta}, True
        yield {"type": "tool-call-end", "index": number}, False
    end = {"finish_reason": FINISH_REASONS.get(said.finish, said.finish), "usage": _usage(said)}
    yield {"type": "message-end", "id": answer_id, "delta": end}, False


def _block(index: int, kind: str, pieces: list[str]) -> Iterator[tuple[dict[str, Any], bool]]:
    begun = {"message": {"content": {"type": kind, kind: ""}}}
    yield {"type": "content-start", "index": index, "delta": begun}, False
    for piece in pieces:
        yield {"type": "content-delta", "index": index, "delta": {"message": {"content": {kind: piece}}}}, True
    yield {"type": "content-end", "index": index}, False
