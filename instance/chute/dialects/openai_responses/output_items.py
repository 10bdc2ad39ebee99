"""A chat message as output items: what was thought, what was said, what is called, in this order."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from instance.chute.answer import JSON
from instance.chute.dialects.openai_responses.item_ids import (
    CUSTOM_CALL,
    FUNCTION_CALL,
    MESSAGE,
    REASONING,
    output_item_id,
)
from instance.chute.dialects.openai_responses.reasoning import sealed
from instance.chute.dialects.openai_responses.tools import custom_input


def output_items(
    response_id: str, message: JSON, logprobs: Any, custom_tools: Collection[str], status: str
) -> list[JSON]:
    """The output of a whole answer. `custom_tools` are the names of tools that take one text in place of arguments."""
    output: list[JSON] = []
    text = message.get("reasoning_content") or message.get("reasoning")
    details = message.get("reasoning_details")
    details = [detail for detail in details if isinstance(detail, dict)] if isinstance(details, list) else []
    if (isinstance(text, str) and text) or details:
        output.append(reasoning_item(response_id, 0, text if isinstance(text, str) else "", details))
    calls = message.get("tool_calls")
    calls = [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    legacy = message.get("function_call")
    if isinstance(legacy, dict) and not calls:
        calls = [{"id": f"call_{response_id[5:]}", "function": legacy}]
    content: list[JSON] = []
    said = message.get("content")
    if isinstance(said, list):
        said = "".join(str(part.get("text") or "") for part in said if isinstance(part, dict))
    refusal = message.get("refusal")
    if said or (not refusal and not calls):
        content.append(text_part(said or "", url_citations(message.get("annotations")), token_logprobs(logprobs)))
    if refusal:
        content.append({"type": "refusal", "refusal": refusal})
    if content:
        output.append(message_item(response_id, len(output), content, status))
    for call in calls:
        output.append(call_item(response_id, len(output), call, custom_tools, status))
    return output


def reasoning_item(response_id: str, index: int, text: str, details: list[JSON]) -> JSON:
    item: JSON = {
        "id": output_item_id(response_id, REASONING, index),
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": text}] if text else [],
    }
    encrypted = sealed(details)
    if encrypted is not None:
        item["encrypted_content"] = encrypted
    return item


def message_item(response_id: str, index: int, content: list[JSON], status: str) -> JSON:
    return {
        "id": output_item_id(response_id, MESSAGE, index),
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": content,
    }


def text_part(text: str, annotations: list[JSON], logprobs: list[JSON]) -> JSON:
    return {"type": "output_text", "text": text, "annotations": annotations, "logprobs": logprobs}


def call_item(response_id: str, index: int, call: JSON, custom_tools: Collection[str], status: str) -> JSON:
    """A tool call of chat as an item."""
    function = call.get("function")
    function = function if isinstance(function, dict) else {}
    name = str(function.get("name") or "")
    arguments = function.get("arguments")
    arguments = arguments if isinstance(arguments, str) else "{}"
    call_id = str(call.get("id") or f"call_{response_id[5:]}_{index}")
    if name in custom_tools:
        return {
            "id": output_item_id(response_id, CUSTOM_CALL, index),
            "type": "custom_tool_call",
            "status": status,
            "call_id": call_id,
            "name": name,
            "input": custom_input(arguments),
        }
    return {
        "id": output_item_id(response_id, FUNCTION_CALL, index),
        "type": "function_call",
        "status": status,
        "arguments": arguments,
        "call_id": call_id,
        "name": name,
    }


def url_citations(annotations: Any) -> list[JSON]:
    """Chat's annotations in Responses' flat form."""
    made: list[JSON] = []
    for annotation in annotations if isinstance(annotations, list) else ():
        cited = annotation.get("url_citation") if isinstance(annotation, dict) else None
        if isinstance(cited, dict):
            made.append({"type": "url_citation", "start_index": 0, "end_index": 0, "title": "", **cited})
    return made


def token_logprobs(logprobs: Any) -> list[JSON]:
    """Chat's `logprobs` of a choice as the list that an output text has."""
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    return [token for token in content if isinstance(token, dict)] if isinstance(content, list) else []
