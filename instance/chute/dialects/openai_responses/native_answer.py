"""A whole answer of a provider that speaks Responses: as a chat completion for the modules, and what they changed written back."""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from instance.chute.answer import JSON
from instance.chute.dialects.openai_responses.reasoning import opened, reasoning_text
from instance.chute.dialects.openai_responses.response_object import chat_usage

_FINISH = {"max_output_tokens": "length", "content_filter": "content_filter"}


def chat_completion(response: JSON) -> JSON:
    """The canonical answer. Raises `ValueError` for what is no response."""
    output = response.get("output")
    if response.get("object") != "response" or not isinstance(output, list):
        raise ValueError("the answer is no response object")
    message: JSON = {"role": "assistant", "content": None}
    texts: list[str] = []
    refusals: list[str] = []
    calls: list[JSON] = []
    for item in output:
        if not isinstance(item, dict):
            raise ValueError("an item of the response's output is no object")
        kind = item.get("type")
        if kind == "message":
            for part in item.get("content") or ():
                if part.get("type") == "output_text":
                    texts.append(str(part.get("text") or ""))
                elif part.get("type") == "refusal":
                    refusals.append(str(part.get("refusal") or ""))
        elif kind in ("function_call", "custom_tool_call"):
            calls.append(tool_call(item))
        elif kind == "reasoning":
            _reasoning(item, message)
    if texts:
        message["content"] = "".join(texts)
    if refusals:
        message["refusal"] = "".join(refusals)
    if calls:
        message["tool_calls"] = calls
    made: JSON = {
        "id": response.get("id"),
        "object": "chat.completion",
        "created": int(response.get("created_at") or 0),
        "model": response.get("model"),
        "choices": [
            {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason(response, bool(calls))}
        ],
    }
    usage = chat_usage(response.get("usage"))
    if usage is not None:
        made["usage"] = usage
    return made


def tool_call(item: JSON) -> JSON:
    """A call's item as chat's tool call; a custom tool's text stands as it is in place of arguments."""
    arguments = str(item.get("input" if item.get("type") == "custom_tool_call" else "arguments") or "")
    function = {"name": item.get("name"), "arguments": arguments}
    return {"id": item.get("call_id"), "type": "function", "function": function}


def _reasoning(item: JSON, message: JSON) -> None:
    text = reasoning_text(item)
    if text:
        message["reasoning_content"] = "\n\n".join(filter(None, (message.get("reasoning_content"), text)))
    details = opened(item.get("encrypted_content"))
    if details:
        message["reasoning_details"] = [*message.get("reasoning_details", ()), *details]


def finish_reason(response: JSON, calls: bool) -> str:
    details = response.get("incomplete_details")
    if isinstance(details, dict) and details.get("reason"):
        return _FINISH.get(details["reason"], "length")
    return "tool_calls" if calls else "stop"


def with_message(response: JSON, message: JSON) -> JSON:
    """The response with the texts of a canonical message that a module changed. Where it has several texts of one kind and
    the message has one, the first gets all of it and the others become empty."""
    output: list[JSON] = orjson.loads(orjson.dumps(response["output"]))
    before = chat_completion(response)["choices"][0]["message"]
    texts = [(part, "text") for part in _parts(output, "output_text")]
    refusals = [(part, "refusal") for part in _parts(output, "refusal")]
    summaries = [(part, "text") for part in _thoughts(output)]
    for name, holders in (("content", texts), ("refusal", refusals), ("reasoning_content", summaries)):
        if message.get(name) != before.get(name):
            _spread(str(message.get(name) or ""), holders)
    calls = [item for item in output if item.get("type") in ("function_call", "custom_tool_call")]
    for item, call in zip(calls, message.get("tool_calls") or (), strict=False):
        item["arguments" if item["type"] == "function_call" else "input"] = call["function"]["arguments"]
    return {**response, "output": output}


def _parts(output: list[JSON], kind: str) -> Iterator[JSON]:
    for item in output:
        if item.get("type") == "message":
            for part in item.get("content") or ():
                if part.get("type") == kind:
                    yield part


def _thoughts(output: list[JSON]) -> Iterator[JSON]:
    for item in output:
        if item.get("type") == "reasoning":
            yield from item.get("summary") or item.get("content") or ()


def _spread(text: str, holders: list[tuple[JSON, str]]) -> None:
    for index, (part, name) in enumerate(holders):
        part[name] = text if index == 0 else ""
        part.pop("logprobs", None)
        if "annotations" in part:
            part["annotations"] = []  # they point at places of the text that was
