"""How each dialect is asked, and what its answers say: written for the tests, apart from the mock's own code."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@dataclass
class Heard:
    """What an answer said, whichever dialect it came in."""

    text: str = ""
    reasoning: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)
    """Names and arguments (JSON)."""
    prompt: int = -1
    completion: int = -1
    cached: int = 0
    finish: str = ""


@dataclass(frozen=True)
class Dialect:
    """`path` and `stream_path` are whole; `body(text, tools)` is a request; `read` and `read_stream` hear an answer."""

    path: str
    body: Callable[[str, bool], dict[str, Any]]
    read: Callable[[Any], Heard]
    read_stream: Callable[[bytes], Heard]
    stream_path: str = ""
    stream_field: bool = True
    headers: dict[str, str] = field(default_factory=lambda: {"authorization": "Bearer key-1"})
    message_of: Callable[[Any], str] = lambda body: body["error"]["message"]

    def streamed(self, text: str, tools: bool = False) -> tuple[str, dict[str, Any]]:
        body = self.body(text, tools)
        return self.stream_path or self.path, {**body, "stream": True} if self.stream_field else body


def sse_data(raw: bytes) -> list[Any]:
    """The JSON of every event but `[DONE]`."""
    found = []
    for block in raw.replace(b"\r\n", b"\n").split(b"\n\n"):
        data = b"\n".join(line[6:] for line in block.split(b"\n") if line.startswith(b"data: "))
        if data and data != b"[DONE]":
            found.append(orjson.loads(data))
    return found


def frames(raw: bytes) -> list[tuple[dict[str, str], Any]]:
    """The headers and payloads of a binary event stream; AssertionError where a checksum does not hold."""
    found = []
    while raw:
        total, head_length, head_crc = struct.unpack(">III", raw[:12])
        assert zlib.crc32(raw[:8]) == head_crc
        assert zlib.crc32(raw[: total - 4]) == struct.unpack(">I", raw[total - 4 : total])[0]
        block, headers = raw[12 : 12 + head_length], {}
        while block:
            name_length = block[0]
            name, kind = block[1 : 1 + name_length].decode(), block[1 + name_length]
            assert kind == 7
            (length,) = struct.unpack(">H", block[2 + name_length : 4 + name_length])
            headers[name] = block[4 + name_length : 4 + name_length + length].decode()
            block = block[4 + name_length + length :]
        found.append((headers, orjson.loads(raw[12 + head_length : total - 4])))
        raw = raw[total:]
    return found


def chat_body(model: str) -> Callable[[str, bool], dict[str, Any]]:
    def body(text: str, tools: bool) -> dict[str, Any]:
        made: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": text}]}
        if tools:
            made["tools"] = [
                {"type": "function", "function": {"name": name, "description": "it", "parameters": SCHEMA}}
                for name in ("weather", "time")
            ]
        return made

    return body


def _content(heard: Heard, content: Any) -> None:
    parts: list[Any] = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
    for part in parts:
        if part["type"] == "thinking":
            heard.reasoning += "".join(one["text"] for one in part["thinking"])
        else:
            heard.text += part["text"]


def _chat_usage(heard: Heard, usage: dict[str, Any]) -> None:
    heard.prompt, heard.completion = usage["prompt_tokens"], usage["completion_tokens"]
    heard.cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)


def read_chat(answer: Any) -> Heard:
    heard, choice = Heard(), answer["choices"][0]
    message = choice["message"]
    _content(heard, message["content"])
    heard.reasoning += message.get("reasoning_content") or message.get("reasoning") or ""
    heard.calls = [
        (call["function"]["name"], call["function"]["arguments"]) for call in message.get("tool_calls") or ()
    ]
    heard.finish = choice["finish_reason"]
    _chat_usage(heard, answer["usage"])
    return heard


def read_chat_stream(raw: bytes) -> Heard:
    heard = Heard()
    calls: dict[int, tuple[str, str]] = {}
    for chunk in sse_data(raw):
        usage = chunk.get("usage") or (chunk.get("x_groq") or {}).get("usage")
        if usage:
            _chat_usage(heard, usage)
        for choice in chunk["choices"]:
            delta = choice.get("delta") or {}
            _content(heard, delta.get("content"))
            heard.reasoning += delta.get("reasoning_content") or delta.get("reasoning") or ""
            for call in delta.get("tool_calls") or ():
                name, arguments = calls.get(call["index"], ("", ""))
                function = call["function"]
                calls[call["index"]] = (name or function.get("name", ""), arguments + function.get("arguments", ""))
            heard.finish = choice["finish_reason"] or heard.finish
    heard.calls = list(calls.values())
    return heard


def anthropic_body(text: str, tools: bool) -> dict[str, Any]:
    made: dict[str, Any] = {"model": "claude", "max_tokens": 4000, "messages": [{"role": "user", "content": text}]}
    if tools:
        made["tools"] = [{"name": name, "input_schema": SCHEMA} for name in ("weather", "time")]
    return made


def _anthropic_usage(heard: Heard, usage: dict[str, Any]) -> None:
    heard.cached = usage["cache_read_input_tokens"]
    heard.prompt = usage["input_tokens"] + heard.cached + usage["cache_creation_input_tokens"]
    heard.completion = usage["output_tokens"]


def read_anthropic(answer: Any) -> Heard:
    heard = Heard(finish=answer["stop_reason"])
    for block in answer["content"]:
        if block["type"] == "text":
            heard.text += block["text"]
        elif block["type"] == "thinking":
            heard.reasoning += block["thinking"]
        else:
            heard.calls.append((block["name"], orjson.dumps(block["input"]).decode()))
    _anthropic_usage(heard, answer["usage"])
    return heard


def read_anthropic_stream(raw: bytes) -> Heard:
    heard = Heard()
    for event in sse_data(raw):
        if event["type"] == "content_block_start" and event["content_block"]["type"] == "tool_use":
            heard.calls.append((event["content_block"]["name"], ""))
        elif event["type"] == "content_block_delta":
            delta = event["delta"]
            heard.text += delta.get("text", "")
            heard.reasoning += delta.get("thinking", "")
            if delta["type"] == "input_json_delta":
                name, arguments = heard.calls[-1]
                heard.calls[-1] = (name, arguments + delta["partial_json"])
        elif event["type"] == "message_delta":
            heard.finish = event["delta"]["stop_reason"]
            _anthropic_usage(heard, event["usage"])
    return heard


def gemini_body(text: str, tools: bool) -> dict[str, Any]:
    made: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": text}]}]}
    if tools:
        functions = [{"name": name, "description": "it", "parameters": SCHEMA} for name in ("weather", "time")]
        made["tools"] = [{"functionDeclarations": functions}]
    return made


def _hear_gemini(heard: Heard, answer: Any) -> None:
    candidate = answer["candidates"][0]
    for part in candidate["content"]["parts"]:
        if "functionCall" in part:
            heard.calls.append((part["functionCall"]["name"], orjson.dumps(part["functionCall"]["args"]).decode()))
        elif part.get("thought"):
            heard.reasoning += part["text"]
        else:
            heard.text += part["text"]
    heard.finish = candidate.get("finishReason", "")
    usage = answer["usageMetadata"]
    heard.prompt = usage["promptTokenCount"]
    heard.completion = usage["candidatesTokenCount"] + usage.get("thoughtsTokenCount", 0)
    heard.cached = usage.get("cachedContentTokenCount", 0)


def read_gemini(answer: Any) -> Heard:
    heard = Heard()
    _hear_gemini(heard, answer)
    return heard


def read_gemini_stream(raw: bytes) -> Heard:
    heard = Heard()
    for answer in sse_data(raw):
        _hear_gemini(heard, answer)
    return heard


def bedrock_body(text: str, tools: bool) -> dict[str, Any]:
    made: dict[str, Any] = {"messages": [{"role": "user", "content": [{"text": text}]}]}
    if tools:
        specs = [{"toolSpec": {"name": name, "inputSchema": {"json": SCHEMA}}} for name in ("weather", "time")]
        made["toolConfig"] = {"tools": specs}
    return made


def _bedrock_usage(heard: Heard, usage: dict[str, Any]) -> None:
    heard.cached = usage.get("cacheReadInputTokens", 0)
    heard.prompt = usage["inputTokens"] + heard.cached + usage.get("cacheWriteInputTokens", 0)
    heard.completion = usage["outputTokens"]


def read_bedrock(answer: Any) -> Heard:
    heard = Heard(finish=answer["stopReason"])
    for block in answer["output"]["message"]["content"]:
        heard.text += block.get("text", "")
        if "reasoningContent" in block:
            heard.reasoning += block["reasoningContent"]["reasoningText"]["text"]
        if "toolUse" in block:
            heard.calls.append((block["toolUse"]["name"], orjson.dumps(block["toolUse"]["input"]).decode()))
    _bedrock_usage(heard, answer["usage"])
    return heard


def read_bedrock_stream(raw: bytes) -> Heard:
    heard = Heard()
    for headers, event in frames(raw):
        kind = headers[":event-type"]
        if kind == "contentBlockStart":
            heard.calls.append((event["start"]["toolUse"]["name"], ""))
        elif kind == "contentBlockDelta":
            delta = event["delta"]
            heard.text += delta.get("text", "")
            heard.reasoning += delta.get("reasoningContent", {}).get("text", "")
            if "toolUse" in delta:
                name, arguments = heard.calls[-1]
                heard.calls[-1] = (name, arguments + delta["toolUse"]["input"])
        elif kind == "messageStop":
            heard.finish = event["stopReason"]
        elif kind == "metadata":
            _bedrock_usage(heard, event["usage"])
    return heard


def read_cohere(answer: Any) -> Heard:
    message, usage = answer["message"], answer["usage"]
    heard = Heard(finish=answer["finish_reason"], cached=usage.get("cached_tokens", 0))
    for block in message.get("content", ()):
        heard.text += block.get("text", "")
        heard.reasoning += block.get("thinking", "")
    if "tool_calls" in message:
        heard.reasoning += message["tool_plan"]
    heard.calls = [(call["function"]["name"], call["function"]["arguments"]) for call in message.get("tool_calls", ())]
    heard.prompt, heard.completion = usage["tokens"]["input_tokens"], usage["tokens"]["output_tokens"]
    return heard


def read_cohere_stream(raw: bytes) -> Heard:
    heard = Heard()
    for event in sse_data(raw):
        message = (event.get("delta") or {}).get("message") or {}
        if event["type"] in ("content-start", "content-delta"):
            heard.text += message["content"].get("text", "")
            heard.reasoning += message["content"].get("thinking", "")
        elif event["type"] == "tool-plan-delta":
            heard.reasoning += message["tool_plan"]
        elif event["type"] == "tool-call-start":
            heard.calls.append((message["tool_calls"]["function"]["name"], ""))
        elif event["type"] == "tool-call-delta":
            name, arguments = heard.calls[-1]
            heard.calls[-1] = (name, arguments + message["tool_calls"]["function"]["arguments"])
        elif event["type"] == "message-end":
            usage = event["delta"]["usage"]
            heard.finish, heard.cached = event["delta"]["finish_reason"], usage.get("cached_tokens", 0)
            heard.prompt, heard.completion = usage["tokens"]["input_tokens"], usage["tokens"]["output_tokens"]
    return heard


def ollama_body(text: str, tools: bool) -> dict[str, Any]:
    return {**chat_body("small")(text, tools), "stream": False}


def _hear_ollama(heard: Heard, answer: Any) -> None:
    message = answer["message"]
    heard.text += message["content"]
    heard.reasoning += message.get("thinking", "")
    for call in message.get("tool_calls", ()):
        heard.calls.append((call["function"]["name"], orjson.dumps(call["function"]["arguments"]).decode()))
    if answer["done"]:
        heard.finish = answer["done_reason"]
        heard.prompt, heard.completion = answer["prompt_eval_count"], answer["eval_count"]


def read_ollama(answer: Any) -> Heard:
    heard = Heard()
    _hear_ollama(heard, answer)
    return heard


def read_ollama_stream(raw: bytes) -> Heard:
    heard = Heard()
    for line in raw.splitlines():
        _hear_ollama(heard, orjson.loads(line))
    return heard


def _chat(path: str, model: str = "small") -> Dialect:
    return Dialect(path, chat_body(model), read_chat, read_chat_stream)


DIALECTS = {
    "compatible": _chat("/v1/chat/completions"),
    "openai": _chat("/openai/v1/chat/completions"),
    "anthropic": Dialect(
        "/anthropic/v1/messages",
        anthropic_body,
        read_anthropic,
        read_anthropic_stream,
        headers={"x-api-key": "key-1", "anthropic-version": "2023-06-01"},
    ),
    "gemini": Dialect(
        "/gemini/v1beta/models/flash:generateContent",
        gemini_body,
        read_gemini,
        read_gemini_stream,
        stream_path="/gemini/v1beta/models/flash:streamGenerateContent?alt=sse",
        stream_field=False,
        headers={"x-goog-api-key": "key-1"},
    ),
    "bedrock": Dialect(
        "/bedrock/model/a.claude-v1%3A0/converse",
        bedrock_body,
        read_bedrock,
        read_bedrock_stream,
        stream_path="/bedrock/model/a.claude-v1%3A0/converse-stream",
        stream_field=False,
        message_of=lambda body: body["message"],
    ),
    "cohere": Dialect(
        "/cohere/v2/chat",
        chat_body("command"),
        read_cohere,
        read_cohere_stream,
        message_of=lambda body: body["message"],
    ),
    "ollama": Dialect(
        "/ollama/api/chat", ollama_body, read_ollama, read_ollama_stream, message_of=lambda body: body["error"]
    ),
    "azure": Dialect(
        "/azure/openai/deployments/four/chat/completions?api-version=2024-10-21",
        chat_body("four"),
        read_chat,
        read_chat_stream,
        headers={"api-key": "key-1"},
    ),
    "mistral": Dialect(
        "/mistral/v1/chat/completions",
        chat_body("m"),
        read_chat,
        read_chat_stream,
        message_of=lambda body: body["message"] if "message" in body else body["detail"][0]["msg"],
    ),
    "groq": _chat("/groq/openai/v1/chat/completions"),
    "together": _chat("/together/v1/chat/completions", "meta/llama"),
    "deepseek": _chat("/deepseek/chat/completions"),
    "fireworks": _chat("/fireworks/inference/v1/chat/completions", "accounts/fireworks/models/llama"),
    "perplexity": _chat("/perplexity/chat/completions", "sonar"),
}
