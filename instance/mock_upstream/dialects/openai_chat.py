"""Chat as OpenAI's API forms it: reading what was asked, whole answers, streams. The likes of OpenAI vary it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from instance.mock_upstream.conversation import CREATED, Asked, Said, ToolCall, Usage, described, described_url
from instance.mock_upstream.exchange import Event, sse


def text_of(content: Any) -> str:
    """The text of a message's content, in any of its forms."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "".join(part.get("text") or "" for part in content if isinstance(part, dict))


def read_chat(body: dict[str, Any]) -> Asked:
    """A chat request in OpenAI's form."""
    asked = Asked(model=str(body.get("model") or ""), stream=body.get("stream") is True)
    for message in body.get("messages") or []:
        role = message.get("role")
        asked.new_turn(role)
        content = message.get("content")
        if role == "user":
            _hear_user(asked, content)
        else:
            asked.words += len(text_of(content).split())
        if role == "tool":
            asked.results.append(text_of(content))
        asked.earlier_calls += len(message.get("tool_calls") or [])
    for tool in body.get("tools") or []:
        if tool.get("type") == "function":
            asked.tools[tool["function"]["name"]] = tool["function"].get("parameters") or {"type": "object"}
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        asked.choice = choice.get("function", {}).get("name") or "auto"
    elif choice is not None:
        asked.choice = "any" if choice in ("required", "any") else choice
    asked.parallel = body.get("parallel_tool_calls") is not False
    asked.schema = wanted_schema(body.get("response_format"))
    return asked


def _hear_user(asked: Asked, content: Any) -> None:
    asked.hear(text_of(content))
    for part in content if isinstance(content, list) else ():
        kind = part.get("type")
        if kind == "image_url":
            image = part["image_url"]
            asked.media.append(described_url("image", image if isinstance(image, str) else image["url"]))
        elif kind == "input_audio":
            asked.media.append(described(f"audio/{part['input_audio']['format']}", part["input_audio"]["data"]))
        elif kind == "file":
            data = part["file"].get("file_data")
            asked.media.append(described_url("file", data) if data else f"file {part['file'].get('file_id')}")


def wanted_schema(response_format: Any) -> Any:
    """The schema that the answer must fit; `{}` for any JSON object, None for text."""
    if not isinstance(response_format, dict):
        return None
    kind = response_format.get("type")
    if kind == "json_schema":
        inner = response_format.get("json_schema") or {}
        return response_format.get("schema") or inner.get("schema") or {}
    if kind == "json_object":
        return response_format.get("schema") or {}
    return None


class ChatForm:
    """Answers in OpenAI's form. What a provider does differently is a method here."""

    answer_id = "chatcmpl-mock"
    fingerprint: str | None = "fp_mock"
    usage_always = False
    """Streams tell the usage unasked."""
    reasoning_field = "reasoning_content"

    def usage(self, usage: Usage) -> dict[str, Any]:
        """Tokens; details only where there are any."""
        made: dict[str, Any] = {
            "prompt_tokens": usage.prompt,
            "completion_tokens": usage.completion,
            "total_tokens": usage.total,
        }
        if usage.cached:
            made["prompt_tokens_details"] = {"cached_tokens": usage.cached}
        if usage.reasoning:
            made["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning}
        return made

    def told_usage(self, said: Said) -> dict[str, Any]:
        """The script's own usage as it is, for OpenAI itself."""
        return said.reply.usage if said.reply.usage is not None else self.usage(said.usage)

    def tool_id(self, call: ToolCall) -> str:
        return f"call_{call.number}"

    def finish(self, said: Said) -> str:
        return said.finish

    def message(self, said: Said) -> dict[str, Any]:
        made: dict[str, Any] = {"role": "assistant", "content": said.text, "refusal": None}
        if said.reasoning:
            made[self.reasoning_field] = said.reasoning
        if said.tool_calls:
            made["content"] = said.text or None
            made["tool_calls"] = [
                {
                    "id": self.tool_id(call),
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in said.tool_calls
            ]
        if said.reply.citations:
            made["annotations"] = self.annotations(said)
        return made

    def annotations(self, said: Said) -> list[dict[str, Any]]:
        return [{"type": "url_citation", "url_citation": _citation(source)} for source in said.reply.citations]

    def whole(self, body: dict[str, Any], said: Said) -> dict[str, Any]:
        """A `chat.completion`."""
        choices = [
            {
                "index": index,
                "message": self.message(said),
                "logprobs": _logprobs(said.pieces, body) if body.get("logprobs") else None,
                "finish_reason": self.finish(said),
            }
            for index in range(body.get("n") or 1)
        ]
        made: dict[str, Any] = {
            "id": self.answer_id,
            "object": "chat.completion",
            "created": CREATED,
            "model": body.get("model"),
            "choices": choices,
            "usage": self.told_usage(said),
        }
        if self.fingerprint is not None:
            made["system_fingerprint"] = self.fingerprint
        return made | said.reply.more

    def deltas(self, said: Said) -> Iterator[dict[str, Any]]:
        """What comes between the role and the finish."""
        for piece in said.reasoning_pieces:
            yield {self.reasoning_field: piece}
        for piece in said.pieces:
            yield {"content": piece}
        if said.reply.citations:
            yield {"annotations": self.annotations(said)}
        for index, call in enumerate(said.tool_calls):
            first, second = call.halves
            head = {"id": self.tool_id(call), "type": "function"}
            yield {"tool_calls": [{"index": index, **head, "function": {"name": call.name, "arguments": ""}}]}
            for part in (first, second):
                if part:
                    yield {"tool_calls": [{"index": index, "function": {"arguments": part}}]}

    def events(self, body: dict[str, Any], said: Said) -> Iterator[Event]:
        """The stream: role, pieces, finish, usage when asked for, `[DONE]`."""
        indexes = range(body.get("n") or 1)
        for index in indexes:
            yield sse(self.chunk(body, said, [self.choice(index, {"role": "assistant", "content": ""})]))
        for delta in self.deltas(said):
            for index in indexes:
                choice = self.choice(index, delta)
                if body.get("logprobs") and delta.get("content"):
                    choice["logprobs"] = _logprobs([delta["content"]], body)
                yield sse(self.chunk(body, said, [choice]), piece=index == 0)
        for index in indexes:
            last = index == indexes[-1]
            yield sse(self.last_chunk(body, said, self.choice(index, {}, self.finish(said)), last))
        if self.wants_usage(body) and not self.usage_always:
            yield sse(self.chunk(body, said, []) | {"usage": self.told_usage(said)})
        yield Event(b"data: [DONE]\n\n")

    def choice(self, index: int, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}

    def chunk(self, body: dict[str, Any], said: Said, choices: list[dict[str, Any]]) -> dict[str, Any]:
        made: dict[str, Any] = {
            "id": self.answer_id,
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": body.get("model"),
            "choices": choices,
        }
        if self.wants_usage(body) and not self.usage_always:
            made["usage"] = None
        return made | said.reply.more

    def last_chunk(self, body: dict[str, Any], said: Said, choice: dict[str, Any], last: bool) -> dict[str, Any]:
        """The chunk with the finish; `last` for the last choice's."""
        made = self.chunk(body, said, [choice])
        if self.usage_always and last:
            made["usage"] = self.told_usage(said)
        return made

    def wants_usage(self, body: dict[str, Any]) -> bool:
        return bool((body.get("stream_options") or {}).get("include_usage"))


def _citation(source: dict[str, Any]) -> dict[str, Any]:
    return {
        "url": source.get("url", ""),
        "title": source.get("title", ""),
        "start_index": source.get("start", 0),
        "end_index": source.get("end", 0),
    }


def _logprobs(pieces: list[str], body: dict[str, Any]) -> dict[str, Any]:
    tokens = []
    for piece in pieces:
        token = {"token": piece, "logprob": -0.25, "bytes": list(piece.encode())}
        tokens.append({**token, "top_logprobs": [token] * (body.get("top_logprobs") or 0)})
    return {"content": tokens, "refusal": None}
