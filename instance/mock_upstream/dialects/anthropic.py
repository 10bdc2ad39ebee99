"""Anthropic's Messages API under `/anthropic/v1`."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from typing import Any

import orjson

from instance.mock_upstream.checking import Problem, dotted, refused
from instance.mock_upstream.conversation import Asked, Said, Usage, answer, described
from instance.mock_upstream.dialect import Dialect, whole_seconds
from instance.mock_upstream.dialects.anthropic_schema import COUNT_TOKENS, MESSAGES
from instance.mock_upstream.exchange import SSE, Call, Event, Request, Response, json_response, sse
from instance.mock_upstream.replies import Failure

MODELS = ("claude-mock-large", "claude-mock-small")
CACHE_MARKS_MAX = 4
STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class Anthropic(Dialect):
    name = "anthropic"
    prefix = base_url_tail = "/anthropic"
    key_env = "ANTHROPIC_API_KEY"

    def __init__(self) -> None:
        super().__init__()
        self.serve("POST", "/v1/messages", self.message, MESSAGES)
        self.serve("POST", "/v1/messages/count_tokens", self.count, COUNT_TOKENS)
        self.serve("GET", "/v1/models", self.models)
        self.serve("GET", "/v1/models/(?P<model>[^/]+)", self.model)

    def authorize(self, call: Call, request: Request) -> None:
        if not call.key:
            raise refused(401, "x-api-key header is required")
        if "anthropic-version" not in call.headers:
            raise refused(400, "anthropic-version: header is required")

    def invalid(self, problem: Problem, request: Request) -> Failure:
        told = {"missing": "Field required", "unknown": "Extra inputs are not permitted"}
        message = told.get(problem.kind, f"Input should be valid: {problem.message}")
        return Failure(400, f"{dotted(problem.path)}: {message}", path=problem.path)

    def error(self, failure: Failure, request: Request) -> dict[str, Any]:
        kind = failure.kind or _KINDS.get(failure.status, "api_error")
        inner = {"type": kind, "message": failure.message, **(failure.details or {})}
        return {"type": "error", "error": inner, "request_id": self._id(request)}

    def failure(self, failure: Failure, request: Request) -> Response:
        headers = self.headers(request)
        if failure.retry_after_s is not None:
            headers["retry-after"] = whole_seconds(failure.retry_after_s)
        if failure.status == 529:
            headers["x-should-retry"] = "true"
        return json_response(self.error(failure, request), failure.status, headers)

    def stream_failure(self, failure: Failure, request: Request) -> bytes:
        return sse(self.error(failure, request), "error").data

    def headers(self, request: Request) -> dict[str, str]:
        return {"request-id": self._id(request), "anthropic-organization-id": "org-mock"}

    def _id(self, request: Request) -> str:
        return f"req_mock{request.number}"

    def models(self, request: Request) -> Response:
        data = [_model(name) for name in MODELS]
        return json_response({"data": data, "has_more": False, "first_id": MODELS[0], "last_id": MODELS[-1]})

    def model(self, request: Request) -> Response:
        if request.parts["model"] not in MODELS:
            raise refused(404, f"model: {request.parts['model']}")
        return json_response(_model(request.parts["model"]))

    def count(self, request: Request) -> Response:
        tokens = (request.reply.usage or {}).get("prompt_tokens", read_messages(request.body).words)
        return json_response({"input_tokens": tokens}, headers=self.headers(request))

    def message(self, request: Request) -> Response:
        body = request.body
        if request.upstream.strict:
            check_messages(body)
        asked = read_messages(body)
        said = answer(asked, request.reply)
        made = message_of(body, said, f"msg_mock{request.number}")
        headers = self.headers(request)
        if asked.stream:
            return Response(headers=headers, content_type=SSE, events=events_of(made, said))
        return json_response(made | request.reply.more, headers=headers)


def _model(name: str) -> dict[str, Any]:
    shown = name.replace("-", " ").title()
    return {"type": "model", "id": name, "display_name": shown, "created_at": "2026-01-01T00:00:00Z"}


def signature_of(thinking: str) -> str:
    """The mock's own: it knows whether the thinking that comes back is what it said."""
    return base64.b64encode(hashlib.sha256(b"mock thinking signature:" + thinking.encode()).digest()).decode()


def blocks_of(content: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def check_messages(body: dict[str, Any]) -> None:
    """Raises Refused for what Anthropic's schema cannot say."""
    messages = body["messages"]
    if messages[0]["role"] != "user":
        raise refused(400, 'messages: first message must use the "user" role')
    open_calls: set[str] = set()
    for place, message in enumerate(messages):
        blocks = blocks_of(message["content"])
        if not blocks and not (message["role"] == "assistant" and place == len(messages) - 1):
            raise refused(400, f"messages.{place}: all messages must have non-empty content")
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        if open_calls - set(results):
            raise refused(
                400,
                f"messages.{place - 1}: `tool_use` ids were found without `tool_result` blocks immediately after: "
                f"{', '.join(sorted(open_calls - set(results)))}. Each `tool_use` block must have a corresponding "
                "`tool_result` block in the next message.",
            )
        if set(results) - open_calls or len(results) != len(set(results)):
            raise refused(
                400,
                f"messages.{place}.content: unexpected `tool_use_id` found in `tool_result` blocks: "
                f"{', '.join(results)}. Each `tool_result` block must have a corresponding `tool_use` block in the "
                "previous message.",
            )
        if results and [block["type"] for block in blocks[: len(results)]] != ["tool_result"] * len(results):
            raise refused(400, f"messages.{place}.content: tool_result blocks must come before other content")
        _check_role(message["role"], blocks, place)
        open_calls = {block["id"] for block in blocks if block["type"] == "tool_use"}
    if open_calls:
        raise refused(400, "messages: `tool_use` ids were found without `tool_result` blocks immediately after")
    last = messages[-1]
    text = blocks_of(last["content"])[-1:] if last["role"] == "assistant" else []
    if text and text[0].get("text", "x") != text[0].get("text", "x").rstrip():
        raise refused(400, "messages: final assistant content cannot end with trailing whitespace")
    _check_thinking(body)
    if _cache_marks(body) > CACHE_MARKS_MAX:
        raise refused(400, f"A maximum of {CACHE_MARKS_MAX} blocks with cache_control may be provided.")


def _check_role(role: str, blocks: list[dict[str, Any]], place: int) -> None:
    own = {"user": ("tool_result", "image", "document"), "assistant": ("tool_use", "thinking", "redacted_thinking")}
    other = own["assistant" if role == "user" else "user"]
    for number, block in enumerate(blocks):
        if block["type"] in other:
            raise refused(400, f"messages.{place}.content.{number}: `{block['type']}` blocks are not allowed here")
        if block["type"] == "thinking" and block["signature"] != signature_of(block["thinking"]):
            raise refused(400, f"messages.{place}.content.{number}: Invalid `signature` in `thinking` block")


def _check_thinking(body: dict[str, Any]) -> None:
    thinking = body.get("thinking") or {}
    if body.get("tool_choice") and body["tool_choice"]["type"] != "none" and not body.get("tools"):
        raise refused(400, "tool_choice: tool_choice may only be specified while providing tools")
    if thinking.get("type") != "enabled":
        return
    if thinking["budget_tokens"] >= body.get("max_tokens", 1 << 60):
        raise refused(400, "`max_tokens` must be greater than `thinking.budget_tokens`.")
    if body.get("temperature") not in (None, 1):
        raise refused(400, "`temperature` may only be set to 1 when thinking is enabled.")
    if "top_k" in body:
        raise refused(400, "`top_k` must be unset when thinking is enabled.")
    if (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
        raise refused(400, "Thinking may not be enabled when tool_choice forces tool use.")


def _cache_marks(node: Any) -> int:
    if isinstance(node, list):
        return sum(map(_cache_marks, node))
    if isinstance(node, dict):
        inner = sum(_cache_marks(value) for name, value in node.items() if name not in ("input", "input_schema"))
        return inner + bool(node.get("cache_control"))
    return 0


def read_messages(body: dict[str, Any]) -> Asked:
    """A request in Anthropic's form."""
    asked = Asked(model=body["model"], stream=body.get("stream") is True)
    for block in blocks_of(body.get("system") or []):
        asked.words += len(block["text"].split())
    for message in body["messages"]:
        blocks = blocks_of(message["content"])
        results = [block for block in blocks if block["type"] == "tool_result"]
        asked.new_turn("tool" if results and len(results) == len(blocks) else message["role"])
        asked.results += [_result_text(block) for block in results]
        asked.earlier_calls += sum(block["type"] == "tool_use" for block in blocks)
        for block in blocks:
            if block["type"] == "text":
                if message["role"] == "user":
                    asked.hear(block["text"])
                else:
                    asked.words += len(block["text"].split())
            elif block["type"] in ("image", "document"):
                asked.media.append(_shown(block))
    for tool in body.get("tools") or []:
        if "input_schema" in tool:
            asked.tools[tool["name"]] = tool["input_schema"]
    choice = body.get("tool_choice") or {"type": "auto"}
    asked.choice = choice["name"] if choice["type"] == "tool" else choice["type"]
    asked.parallel = not choice.get("disable_parallel_tool_use")
    wanted = (body.get("output_config") or {}).get("format")
    asked.schema = wanted["schema"] if wanted else None
    asked.think = (body.get("thinking") or {}).get("type") == "enabled"
    return asked


def _result_text(block: dict[str, Any]) -> str:
    parts = blocks_of(block.get("content") or [])
    return " ".join(part["text"] if part["type"] == "text" else _shown(part) for part in parts)


def _shown(block: dict[str, Any]) -> str:
    source = block.get("source", {})
    if not isinstance(source, dict):
        return str(block["type"])
    if source.get("type") == "base64":
        return described(source["media_type"], source["data"])
    if source.get("type") == "text":
        return f"text/plain {len(source['data'].encode())} bytes"
    return described(block["type"], url=source.get("url") or source.get("file_id") or "content")


def usage_of(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.fresh,
        "cache_creation_input_tokens": usage.cache_creation,
        "cache_read_input_tokens": usage.cached,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_creation,
            "ephemeral_1h_input_tokens": 0,
        },
        "output_tokens": usage.completion,
        "service_tier": "standard",
    }


def message_of(body: dict[str, Any], said: Said, message_id: str) -> dict[str, Any]:
    """The whole answer."""
    content: list[dict[str, Any]] = []
    if said.reasoning:
        content.append({"type": "thinking", "thinking": said.reasoning, "signature": signature_of(said.reasoning)})
    if said.text or not said.tool_calls:
        block: dict[str, Any] = {"type": "text", "text": said.text}
        if said.reply.citations:
            block["citations"] = [_citation(source) for source in said.reply.citations]
        content.append(block)
    for call in said.tool_calls:
        content.append({"type": "tool_use", "id": f"toolu_mock{call.number}", "name": call.name, "input": call.object})
    reason = STOP_REASONS.get(said.finish, said.finish)
    refused_by = said.reply.blocked
    if refused_by is not None:
        content, reason = [], "refusal"
    stopped = (body.get("stop_sequences") or [None])[0] if reason == "stop_sequence" else None
    return {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": content,
        "stop_reason": reason,
        "stop_sequence": stopped,
        "usage": usage_of(said.usage),
    }


def _citation(source: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "web_search_result_location",
        "url": source.get("url", ""),
        "title": source.get("title", ""),
        "encrypted_index": "bW9jaw==",
        "cited_text": source.get("text", ""),
    }


def events_of(made: dict[str, Any], said: Said) -> Iterator[Event]:
    """The whole answer as a stream."""
    for event, piece in _told(made, said):
        yield sse(event, event["type"], piece)


def _told(made: dict[str, Any], said: Said) -> Iterator[tuple[dict[str, Any], bool]]:
    usage = made["usage"]
    begun = {**made, "content": [], "stop_reason": None, "stop_sequence": None, "usage": {**usage, "output_tokens": 1}}
    yield {"type": "message_start", "message": begun}, False
    for index, block in enumerate(made["content"]):
        at = {"index": index}
        yield {"type": "content_block_start", **at, "content_block": _begun(block)}, False
        if index == 0:
            yield {"type": "ping"}, False
        for delta in _deltas(block, said):
            piece = delta["type"] in ("text_delta", "thinking_delta", "input_json_delta")
            yield {"type": "content_block_delta", **at, "delta": delta}, piece
        yield {"type": "content_block_stop", **at}, False
    delta = {"stop_reason": made["stop_reason"], "stop_sequence": made["stop_sequence"]}
    told = {name: usage[name] for name in usage if name.endswith("_tokens")}
    yield {"type": "message_delta", "delta": delta, "usage": told}, False
    yield {"type": "message_stop"}, False


def _begun(block: dict[str, Any]) -> dict[str, Any]:
    empty: dict[str, dict[str, Any]] = {
        "text": {"text": ""},
        "thinking": {"thinking": "", "signature": ""},
        "tool_use": {"input": {}},
    }
    made = {**block, **empty[block["type"]]}
    made.pop("citations", None)
    return made


def _deltas(block: dict[str, Any], said: Said) -> Iterator[dict[str, Any]]:
    if block["type"] == "text":
        for piece in said.pieces:
            yield {"type": "text_delta", "text": piece}
        for citation in block.get("citations", ()):
            yield {"type": "citations_delta", "citation": citation}
    elif block["type"] == "thinking":
        for piece in said.reasoning_pieces:
            yield {"type": "thinking_delta", "thinking": piece}
        yield {"type": "signature_delta", "signature": block["signature"]}
    else:
        arguments = orjson.dumps(block["input"]).decode() if block["input"] else ""
        middle = len(arguments) // 2
        for part in ("", arguments[:middle], arguments[middle:]):
            yield {"type": "input_json_delta", "partial_json": part}
