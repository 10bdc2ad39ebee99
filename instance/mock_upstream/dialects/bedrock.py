"""Amazon Bedrock's Converse under `/bedrock`: whole and as binary event stream, signed or with a bearer key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import orjson

from instance.core.clock import NS_PER_S
from instance.mock_upstream import event_stream
from instance.mock_upstream.checking import Problem, dotted, refused
from instance.mock_upstream.conversation import Asked, Said, answer, described
from instance.mock_upstream.dialect import Dialect
from instance.mock_upstream.dialects.anthropic import signature_of
from instance.mock_upstream.dialects.bedrock_schema import CONVERSE
from instance.mock_upstream.exchange import Call, Event, Request, Response, json_response
from instance.mock_upstream.replies import Failure
from instance.mock_upstream.sigv4 import verify

EVENT_STREAM = "application/vnd.amazon.eventstream"
MODELS = ("anthropic.claude-mock-v1:0", "amazon.nova-mock-v1:0")
STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "content_filtered",
}
_KINDS = {
    400: "ValidationException",
    401: "UnrecognizedClientException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    405: "UnknownOperationException",
    408: "ModelTimeoutException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
    529: "ServiceUnavailableException",
}
_IN_STREAMS = {
    400: "validationException",
    424: "modelStreamErrorException",
    429: "throttlingException",
    503: "serviceUnavailableException",
    529: "serviceUnavailableException",
}


class Bedrock(Dialect):
    name = "bedrock"
    prefix = base_url_tail = "/bedrock"
    key_env = "AWS_BEARER_TOKEN_BEDROCK"

    def __init__(self) -> None:
        super().__init__()
        self.serve("POST", "/model/(?P<model>[^/]+)/converse", self.converse, CONVERSE)
        self.serve("POST", "/model/(?P<model>[^/]+)/converse-stream", self.converse, CONVERSE)
        self.serve("GET", "/foundation-models", self.models)

    def authorize(self, call: Call, request: Request) -> None:
        given = call.headers.get("authorization", "")
        if given.startswith("Bearer "):
            if not call.key:
                raise refused(403, "Authentication failed: the bearer token is empty", kind="AccessDeniedException")
            return
        upstream = request.upstream
        verify(call, upstream.aws_keys, "bedrock", upstream.clock.wall_ns() / NS_PER_S)

    def invalid(self, problem: Problem, request: Request) -> Failure:
        where = dotted(problem.path)
        if problem.kind == "missing":
            said = f"Value null at '{where}' failed to satisfy constraint: Member must not be null"
        elif problem.kind == "unknown":
            said = f"extraneous key [{problem.path[-1]}] is not permitted at '{dotted(problem.path[:-1])}'"
        else:
            said = f"Value at '{where}' failed to satisfy constraint: {problem.message}"
        return Failure(400, f"1 validation error detected: {said}", path=problem.path)

    def failure(self, failure: Failure, request: Request) -> Response:
        kind = failure.kind or _KINDS.get(failure.status, "InternalServerException")
        headers = {**self.headers(request), "x-amzn-errortype": f"{kind}:http://internal.amazon.com/coral/"}
        status = 503 if failure.status == 529 else failure.status
        return json_response({"message": failure.message, **(failure.details or {})}, status, headers)

    def stream_failure(self, failure: Failure, request: Request) -> bytes:
        kind = failure.kind or _IN_STREAMS.get(failure.status, "internalServerException")
        return event_stream.exception(kind, orjson.dumps({"message": failure.message, **(failure.details or {})}))

    def headers(self, request: Request) -> dict[str, str]:
        return {"x-amzn-requestid": f"00000000-0000-4000-8000-{request.number:012d}"}

    def models(self, request: Request) -> Response:
        summaries = [
            {
                "modelId": name,
                "modelArn": f"arn:aws:bedrock:us-east-1::foundation-model/{name}",
                "modelName": name,
                "providerName": name.partition(".")[0],
                "inputModalities": ["TEXT", "IMAGE"],
                "outputModalities": ["TEXT"],
                "responseStreamingSupported": True,
                "inferenceTypesSupported": ["ON_DEMAND"],
                "modelLifecycle": {"status": "ACTIVE"},
            }
            for name in MODELS
        ]
        return json_response({"modelSummaries": summaries}, headers=self.headers(request))

    def converse(self, request: Request) -> Response:
        body = request.body
        if request.upstream.strict:
            check_conversation(body)
        stream = request.path.endswith("/converse-stream")
        asked = read_converse(body, unquote(request.parts["model"]), stream)
        said = answer(asked, request.reply)
        headers = self.headers(request)
        if stream:
            return Response(headers=headers, content_type=EVENT_STREAM, events=_events(body, said))
        made = {
            "output": {"message": {"role": "assistant", "content": _content(said)}},
            "stopReason": _stop_reason(said),
            "usage": _usage(said),
            "metrics": {"latencyMs": 12},
        }
        made |= _trace(body, said)
        return json_response(made | request.reply.more, headers=headers)


def check_conversation(body: dict[str, Any]) -> None:
    """Raises Refused for what the service's model cannot say."""
    expected = "user"
    open_calls: set[str] = set()
    uses_tools = False
    for place, message in enumerate(body["messages"]):
        if message["role"] != expected:
            if place == 0:
                raise refused(400, "A conversation must start with a user message. Try again with a conversation that "
                                   "starts with a user message.")  # fmt: skip
            raise refused(400, "A conversation must alternate between user and assistant roles. Make sure the "
                               "conversation alternates between user and assistant roles and try again.")  # fmt: skip
        expected = "assistant" if expected == "user" else "user"
        results = {block["toolResult"]["toolUseId"] for block in message["content"] if "toolResult" in block}
        calls = {block["toolUse"]["toolUseId"] for block in message["content"] if "toolUse" in block}
        uses_tools = uses_tools or bool(results or calls)
        if open_calls - results:
            raise refused(400, f"Expected toolResult blocks at messages.{place}.content for the following Ids: "
                               f"{', '.join(sorted(open_calls - results))}")  # fmt: skip
        if results - open_calls:
            raise refused(400, f"The number of toolResult blocks at messages.{place}.content exceeds the number of "
                               "toolUse blocks of previous turn.")  # fmt: skip
        open_calls = calls
        _check_blocks(message, place)
    if open_calls:
        raise refused(400, "Expected toolResult blocks after the last toolUse blocks.")
    if uses_tools and "toolConfig" not in body:
        raise refused(400, "The toolConfig field must be defined when using toolUse and toolResult content blocks.")
    for tool in (body.get("toolConfig") or {}).get("tools", ()):
        if "toolSpec" in tool and tool["toolSpec"]["inputSchema"]["json"].get("type") != "object":
            name = tool["toolSpec"]["name"]
            raise refused(
                400, f"The value at toolConfig.tools.toolSpec.inputSchema.json.type of {name} must be object."
            )


def _check_blocks(message: dict[str, Any], place: int) -> None:
    has_text = any("text" in block for block in message["content"])
    for number, block in enumerate(message["content"]):
        where = f"messages.{place}.content.{number}"
        if "text" in block and not block["text"].strip():
            raise refused(400, f"The text field in the ContentBlock object at {where} is blank. Add text to the text "
                               "field, and try again.")  # fmt: skip
        if "document" in block and not has_text:
            raise refused(400, f"A text block must be included beside the document at {where}.")
        mine = {"user": ("toolUse", "reasoningContent"), "assistant": ("toolResult", "image", "document", "video")}
        for name in mine[message["role"]]:
            if name in block:
                raise refused(400, f"The {name} block at {where} is not allowed in a {message['role']} message.")
        thought = block.get("reasoningContent", {}).get("reasoningText")
        if thought and thought.get("signature") != signature_of(thought["text"]):
            raise refused(400, f"The signature of the reasoning at {where} is missing or not valid.")


def read_converse(body: dict[str, Any], model: str, stream: bool) -> Asked:
    """A request in Converse's form."""
    asked = Asked(model=model, stream=stream)
    for block in body.get("system") or ():
        asked.words += len(block.get("text", "").split())
    for message in body["messages"]:
        role, blocks = message["role"], message["content"]
        results = [block["toolResult"] for block in blocks if "toolResult" in block]
        only_results = len(results) == sum("cachePoint" not in block for block in blocks)
        asked.new_turn("tool" if results and only_results else role)
        asked.results += [_result(result) for result in results]
        for block in blocks:
            asked.earlier_calls += "toolUse" in block
            if "text" in block and role == "user":
                asked.hear(block["text"])
            elif "text" in block:
                asked.words += len(block["text"].split())
            elif "image" in block or "document" in block:
                asked.media.append(_shown(block))
    config = body.get("toolConfig") or {}
    for tool in config.get("tools") or ():
        if "toolSpec" in tool:
            asked.tools[tool["toolSpec"]["name"]] = tool["toolSpec"]["inputSchema"]["json"]
    choice = config.get("toolChoice") or {}
    asked.choice = choice["tool"]["name"] if "tool" in choice else "any" if "any" in choice else "auto"
    wanted = (body.get("outputConfig") or {}).get("textFormat")
    if wanted:
        asked.schema = orjson.loads(wanted["structure"]["jsonSchema"]["schema"])
    extra = body.get("additionalModelRequestFields") or {}
    thinking = extra.get("thinking") or extra.get("reasoning_config") or {}
    asked.think = isinstance(thinking, dict) and thinking.get("type") == "enabled"
    return asked


def _result(result: dict[str, Any]) -> str:
    said = []
    for part in result["content"]:
        if "text" in part:
            said.append(part["text"])
        elif "json" in part:
            only = next(iter(part["json"].values())) if len(part["json"]) == 1 else part["json"]
            said.append(only if isinstance(only, str) else orjson.dumps(only).decode())
        else:
            said.append(_shown(part))
    return " ".join(said)


def _shown(block: dict[str, Any]) -> str:
    kind = "image" if "image" in block else "document"
    part = block.get(kind)
    if part is None:
        return next(iter(block))
    source = part["source"]
    name = f"image/{part['format']}" if kind == "image" else f"application/{part.get('format', 'txt')}"
    if "bytes" in source:
        return described(name, source["bytes"])
    return described(name, url=source.get("s3Location", {}).get("uri", "text"))


def _stop_reason(said: Said) -> str:
    return "guardrail_intervened" if said.reply.blocked is not None else STOP_REASONS.get(said.finish, said.finish)


def _content(said: Said) -> list[dict[str, Any]]:
    if said.reply.blocked is not None:
        return [{"text": "Sorry, the model cannot answer this question."}]
    content: list[dict[str, Any]] = []
    if said.reasoning:
        thought = {"text": said.reasoning, "signature": signature_of(said.reasoning)}
        content.append({"reasoningContent": {"reasoningText": thought}})
    if said.text or not said.tool_calls:
        content.append({"text": said.text})
    for call in said.tool_calls:
        content.append(
            {"toolUse": {"toolUseId": f"tooluse_mock{call.number}", "name": call.name, "input": call.object}}
        )
    return content


def _usage(said: Said) -> dict[str, Any]:
    usage = said.usage
    made = {"inputTokens": usage.fresh, "outputTokens": usage.completion, "totalTokens": usage.total}
    if usage.cached or usage.cache_creation:
        made |= {"cacheReadInputTokens": usage.cached, "cacheWriteInputTokens": usage.cache_creation}
    return made


def _trace(body: dict[str, Any], said: Said) -> dict[str, Any]:
    if said.reply.blocked is None or not body.get("guardrailConfig"):
        return {}
    topic = {"name": said.reply.blocked, "type": "DENY", "action": "BLOCKED"}
    guard = body["guardrailConfig"]["guardrailIdentifier"]
    return {"trace": {"guardrail": {"inputAssessment": {guard: {"topicPolicy": {"topics": [topic]}}}}}}


def _events(body: dict[str, Any], said: Said) -> Iterator[Event]:
    for kind, content, piece in _told(body, said):
        # Bedrock pads its payloads so that their length tells nothing
        yield Event(event_stream.event(kind, orjson.dumps({**content, "p": "abcdefgh"[: len(kind) % 8]})), piece)


def _told(body: dict[str, Any], said: Said) -> Iterator[tuple[str, dict[str, Any], bool]]:
    yield "messageStart", {"role": "assistant"}, False
    calls = iter(said.tool_calls)
    for index, block in enumerate(_content(said)):
        at = {"contentBlockIndex": index}
        if "toolUse" in block:
            use = block["toolUse"]
            begun = {"toolUseId": use["toolUseId"], "name": use["name"]}
            yield "contentBlockStart", {**at, "start": {"toolUse": begun}}, False
            for part in next(calls).halves:
                yield "contentBlockDelta", {**at, "delta": {"toolUse": {"input": part}}}, True
        elif "reasoningContent" in block:
            for piece in said.reasoning_pieces:
                yield "contentBlockDelta", {**at, "delta": {"reasoningContent": {"text": piece}}}, True
            signature = block["reasoningContent"]["reasoningText"]["signature"]
            yield "contentBlockDelta", {**at, "delta": {"reasoningContent": {"signature": signature}}}, False
        else:
            for piece in said.pieces if said.reply.blocked is None else [block["text"]]:
                yield "contentBlockDelta", {**at, "delta": {"text": piece}}, True
        yield "contentBlockStop", at, False
    yield "messageStop", {"stopReason": _stop_reason(said)}, False
    yield "metadata", {"usage": _usage(said), "metrics": {"latencyMs": 12}, **_trace(body, said)}, False
