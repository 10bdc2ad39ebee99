"""Ollama's own API under `/ollama/api`. A model whose name has `missing` in it is there once it was pulled."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from instance.mock_upstream.checking import Problem, bracketed, refused
from instance.mock_upstream.conversation import Asked, Said, answer, described_bytes
from instance.mock_upstream.dialect import Dialect
from instance.mock_upstream.dialects.ollama_schema import CHAT, EMBED, EMBEDDINGS, GENERATE, NAMED
from instance.mock_upstream.exchange import Event, Request, Response, json_response
from instance.mock_upstream.replies import Failure
from instance.mock_upstream.vectors import DIMENSIONS, embedding

MODELS = ("mock-small:latest", "mock-embed:latest")
PULLED_MAX = 1000
NDJSON = "application/x-ndjson"
CREATED_AT = "2025-10-09T08:53:20.000000Z"


class Ollama(Dialect):
    name = "ollama"
    prefix = base_url_tail = "/ollama"

    def __init__(self) -> None:
        super().__init__()
        self.serve("POST", "/api/chat", self.chat, CHAT)
        self.serve("POST", "/api/generate", self.generate, GENERATE)
        self.serve("POST", "/api/embed", self.embed, EMBED)
        self.serve("POST", "/api/embeddings", self.embed_one, EMBEDDINGS)
        self.serve("POST", "/api/show", self.show, NAMED)
        self.serve("POST", "/api/pull", self.pull, NAMED)
        self.serve("GET", "/api/tags", self.tags)
        self.serve("GET", "/api/ps", self.tags)
        self.serve("GET", "/api/version", lambda request: json_response({"version": "0.12.6"}))

    def invalid(self, problem: Problem, request: Request) -> Failure:
        where = bracketed(problem.path)
        if problem.kind == "type":
            return Failure(400, f"json: cannot unmarshal into Go struct field {where}: {problem.message}")
        return Failure(400, f"invalid request: {where}: {problem.message}")

    def failure(self, failure: Failure, request: Request) -> Response:
        return json_response({"error": failure.message, **(failure.details or {})}, failure.status)

    def stream_failure(self, failure: Failure, request: Request) -> bytes:
        return _line({"error": failure.message}).data

    def _there(self, request: Request) -> str:
        name = str(request.body.get("model") or request.body.get("name") or "")
        if not name:
            raise refused(400, "model is required")
        if "missing" in name and request.upstream.store("ollama", PULLED_MAX).get(name) is None:
            raise refused(404, f"model '{name}' not found")
        return name

    def tags(self, request: Request) -> Response:
        names = [*MODELS, *request.upstream.store("ollama", PULLED_MAX).values()]
        return json_response({"models": [_tag(name) for name in names]})

    def show(self, request: Request) -> Response:
        self._there(request)
        made = {"details": _DETAILS, "model_info": {"mock.context_length": 32768}, "capabilities": ["completion"]}
        return json_response(made)

    def pull(self, request: Request) -> Response:
        name = str(request.body.get("model") or request.body.get("name") or "")
        request.upstream.store("ollama", PULLED_MAX).put(name, name)
        if request.body.get("stream") is False:
            return json_response({"status": "success"})
        layer = {"status": "pulling 0123456789ab", "digest": "sha256:0123456789ab", "total": 1000}
        steps = [
            {"status": "pulling manifest"},
            *({**layer, "completed": done} for done in (0, 500, 1000)),
            {"status": "verifying sha256 digest"},
            {"status": "success"},
        ]
        return Response(content_type=NDJSON, events=(_line(step, piece=True) for step in steps))

    def embed(self, request: Request) -> Response:
        model = self._there(request)
        given = request.body.get("input", "")
        texts = [given] if isinstance(given, str) else given
        size = request.body.get("dimensions") or DIMENSIONS
        words = sum(len(text.split()) for text in texts)
        made = {
            "model": model,
            "embeddings": [embedding(text, size) for text in texts],
            "total_duration": 1_000_000,
            "load_duration": 100_000,
            "prompt_eval_count": (request.reply.usage or {}).get("prompt_tokens", words),
        }
        return json_response(made | request.reply.more)

    def embed_one(self, request: Request) -> Response:
        self._there(request)
        return json_response({"embedding": embedding(request.body.get("prompt") or "")})

    def chat(self, request: Request) -> Response:
        self._there(request)
        asked = read_ollama(request.body)
        said = answer(asked, request.reply)
        return _told(request, asked, said, "message")

    def generate(self, request: Request) -> Response:
        self._there(request)
        body = request.body
        asked = Asked(model=body["model"], stream=body.get("stream") is not False)
        asked.hear(body.get("prompt") or "")
        asked.media += [described_bytes(image) for image in body.get("images") or ()]
        said = answer(asked, request.reply)
        return _told(request, asked, said, "response")


_DETAILS = {
    "parent_model": "",
    "format": "gguf",
    "family": "mock",
    "families": ["mock"],
    "parameter_size": "1B",
    "quantization_level": "Q4_0",
}


def _tag(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "model": name,
        "modified_at": CREATED_AT,
        "size": 1000,
        "digest": "0123456789ab",
        "details": _DETAILS,
    }


def _line(content: Any, piece: bool = False) -> Event:
    return Event(orjson.dumps(content) + b"\n", piece)


def read_ollama(body: dict[str, Any]) -> Asked:
    """A chat request in Ollama's form; without `stream` it is streamed."""
    asked = Asked(model=body["model"], stream=body.get("stream") is not False)
    for message in body.get("messages") or ():
        asked.new_turn(message["role"])
        content = message.get("content") or ""
        if message["role"] == "user":
            asked.hear(content)
            asked.media += [described_bytes(image) for image in message.get("images") or ()]
        else:
            asked.words += len(content.split())
        if message["role"] == "tool":
            asked.results.append(content)
        asked.earlier_calls += len(message.get("tool_calls") or ())
    for tool in body.get("tools") or ():
        asked.tools[tool["function"]["name"]] = tool["function"].get("parameters") or {"type": "object"}
    wanted = body.get("format")
    if wanted:
        asked.schema = {} if wanted == "json" else wanted
    asked.think = bool(body.get("think"))
    return asked


def _told(request: Request, asked: Asked, said: Said, field: str) -> Response:
    beside = {"model": asked.model, "created_at": CREATED_AT}
    end = {
        "done_reason": "length" if said.finish == "length" else "stop",
        "done": True,
        "total_duration": 5_000_000,
        "load_duration": 1_000_000,
        "prompt_eval_count": said.usage.prompt,
        "prompt_eval_duration": 1_000_000,
        "eval_count": said.usage.completion,
        "eval_duration": 3_000_000,
    } | request.reply.more
    if asked.stream:
        return Response(content_type=NDJSON, events=_lines(beside, end, said, field))
    return json_response({**beside, **_part(field, said.text, said.reasoning, said), **end})


def _part(field: str, text: str, thinking: str = "", said: Said | None = None) -> dict[str, Any]:
    if field == "response":
        return {"response": text} | ({"thinking": thinking} if thinking else {})
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if thinking:
        message["thinking"] = thinking
    if said is not None and said.tool_calls:
        message["tool_calls"] = [
            {"function": {"index": place, "name": call.name, "arguments": call.object}}
            for place, call in enumerate(said.tool_calls)
        ]
    return {"message": message}


def _lines(beside: dict[str, Any], end: dict[str, Any], said: Said, field: str) -> Iterator[Event]:
    for piece in said.reasoning_pieces:
        yield _line({**beside, **_part(field, "", piece), "done": False}, piece=True)
    for piece in said.pieces:
        yield _line({**beside, **_part(field, piece), "done": False}, piece=True)
    if said.tool_calls:
        yield _line({**beside, **_part(field, "", said=said), "done": False}, piece=True)
    yield _line({**beside, **_part(field, ""), **end})
