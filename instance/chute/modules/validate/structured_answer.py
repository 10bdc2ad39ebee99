"""The choices of an answer that is to be JSON: what each says, and the answer with the JSON in its place. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import orjson

from instance.chute.answer import JSON, Answer


def object_schema(schema: Any) -> Any:
    """The schema as a tool's parameters may be, which are an object: any other value is wrapped in one."""
    if isinstance(schema, dict) and (schema.get("type") == "object" or "properties" in schema or "$ref" in schema):
        return schema
    return {"type": "object", "properties": {"value": schema}, "required": ["value"]}


def calls_tools(answer: Answer) -> bool:
    """Whether any choice calls tools."""
    return any(message.get("tool_calls") for message in _messages(answer))


def texts_of(answer: Answer, schema: Any, by_tool: bool) -> list[str | None]:
    """What each choice says, `by_tool` in the arguments of the tool that it was made to call; `None` of one that declines."""
    texts = [_text(message, schema, by_tool) for message in _messages(answer)]
    return texts or [""]


def with_values(answer: Answer, made: Sequence[str | None], by_tool: bool) -> Answer:
    """The answer with each choice's JSON as its content, `None` where it stays; itself where nothing changes."""
    obj = answer.obj or {}
    choices = list(obj.get("choices") or ())
    changed = False
    for number, (choice, text) in enumerate(zip(choices, made, strict=False)):
        message: JSON = choice.get("message") or {}
        if text is None or (message.get("content") == text and not by_tool):
            continue
        changed = True
        kept = {name: value for name, value in message.items() if not (by_tool and name == "tool_calls")}
        choices[number] = {**choice, "message": {**kept, "content": text}, "finish_reason": "stop"}
    if not changed:
        return answer
    whole = {**obj, "choices": choices}
    new = Answer(headers=answer.headers, body=orjson.dumps(whole), obj=whole, target=answer.target)
    new.status = answer.status
    return new


def _messages(answer: Answer) -> list[JSON]:
    return [choice.get("message") or {} for choice in (answer.obj or {}).get("choices") or ()]


def _text(message: JSON, schema: Any, by_tool: bool) -> str | None:
    content = message.get("content")
    text = content if isinstance(content, str) else ""
    if message.get("refusal") and not text:
        return None
    for call in (message.get("tool_calls") or ()) if by_tool else ():
        arguments = str((call.get("function") or {}).get("arguments") or "")
        try:
            value = orjson.loads(arguments)
        except orjson.JSONDecodeError:
            return arguments
        wrapped = object_schema(schema) is not schema
        return json.dumps(value.get("value")) if wrapped and isinstance(value, dict) else arguments
    return text
