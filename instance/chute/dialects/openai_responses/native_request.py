"""What a module changed in the canonical request, written back into the Responses request that came."""

from __future__ import annotations

from typing import Any

from instance.chute.answer import JSON
from instance.chute.dialects.openai_responses.request import INSTRUCTIONS, to_chat

_SAME = {
    "temperature": "temperature",
    "top_p": "top_p",
    "parallel_tool_calls": "parallel_tool_calls",
    "user": "user",
    "safety_identifier": "safety_identifier",
    "service_tier": "service_tier",
    "top_logprobs": "top_logprobs",
    "metadata": "metadata",
}
_IGNORED = frozenset(("model", "stream", "logprobs"))


def rewritten_request(native: JSON, context: list[JSON], req: JSON) -> JSON | None:
    """`native` with what differs between its own translation and `req`; `None` when a change has no place in Responses.

    Messages that no module touched keep their items as they came.
    """
    before, into = to_chat(native, context)
    sent = dict(native)
    for name in before.keys() | req.keys():
        old, new = before.get(name), req.get(name)
        if old == new or name in _IGNORED:
            continue
        if name == "messages":
            _messages(sent, context, before["messages"], into.sources, req["messages"])
        elif name in ("max_tokens", "max_completion_tokens"):
            _set(sent, "max_output_tokens", req.get("max_completion_tokens") or req.get("max_tokens"))
        elif name in _SAME:
            _set(sent, _SAME[name], new)
        elif name == "reasoning_effort":
            _set(sent, "reasoning", {**(sent.get("reasoning") or {}), "effort": new})
        elif name == "verbosity":
            _set(sent, "text", {**(sent.get("text") or {}), "verbosity": new})
        elif name == "response_format":
            _set(sent, "text", {**(sent.get("text") or {}), "format": _format(new)})
        elif name == "tools":
            hosted = [tool for tool in native.get("tools") or () if tool.get("type") not in ("function", "custom")]
            custom = [tool for tool in native.get("tools") or () if tool.get("type") == "custom"]
            names = {tool["name"] for tool in custom}
            functions = [_tool(tool) for tool in new or () if tool["function"]["name"] not in names]
            _set(sent, "tools", functions + custom + hosted or None)
        elif name == "tool_choice":
            _set(sent, "tool_choice", _choice(new))
        else:
            return None
    return sent


def _set(sent: JSON, name: str, value: Any) -> None:
    if value is None:
        sent.pop(name, None)
    else:
        sent[name] = value


def _messages(sent: JSON, context: list[JSON], before: list[JSON], sources: list[list[int]], after: list[JSON]) -> None:
    """The input made of the messages as they are now: those that are as before from their items, in the order of `after`."""
    known: list[tuple[JSON, list[int]]] = list(zip(before, sources, strict=True))
    items: list[JSON] = []
    instructions: Any = None
    used: set[int] = set()
    at = 0
    for message in after:
        place = next((index for index in range(at, len(known)) if known[index][0] == message), None)
        if place is None:
            if (
                not items
                and instructions is None
                and at == 0
                and message.get("role") == "system"
                and INSTRUCTIONS in known[0][1]
            ):
                instructions = _joined(message.get("content"))
                at = 1
                continue
            items += items_of(message)
            continue
        at = place + 1
        if known[place][1] == [INSTRUCTIONS]:
            instructions = message["content"]
            continue
        for index in known[place][1]:
            if index not in used:
                used.add(index)
                items.append(context[index])
    _set(sent, "instructions", instructions)
    sent["input"] = items


def items_of(message: JSON) -> list[JSON]:
    """One chat message as input items."""
    role = message.get("role")
    if role == "tool":
        output = {"call_id": message.get("tool_call_id"), "output": _joined(message.get("content"))}
        return [{"type": "function_call_output", **output}]
    items: list[JSON] = []
    content = message.get("content")
    if content:
        items.append({"type": "message", "role": role, "content": _content(content, role == "assistant")})
    for call in message.get("tool_calls") or ():
        function = call["function"]
        made = {"call_id": call.get("id"), "name": function.get("name"), "arguments": function.get("arguments")}
        items.append({"type": "function_call", **made})
    return items


def _content(content: Any, said: bool) -> Any:
    if isinstance(content, str):
        return content
    return [_part(part, said) for part in content]


def _part(part: JSON, said: bool) -> JSON:
    kind = part.get("type")
    if kind == "text":
        return {"type": "output_text" if said else "input_text", "text": part["text"]}
    if kind == "image_url":
        image = part["image_url"]
        return {"type": "input_image", "image_url": image.get("url"), "detail": image.get("detail", "auto")}
    if kind == "file":
        return {"type": "input_file", **part["file"]}
    return part


def _joined(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text") or "") for part in content or () if isinstance(part, dict))


def _format(form: Any) -> JSON | None:
    if not isinstance(form, dict):
        return None
    if form.get("type") == "json_schema":
        return {"type": "json_schema", **(form.get("json_schema") or {})}
    return form


def _tool(tool: JSON) -> JSON:
    return {"type": "function", "strict": False, "parameters": {"type": "object", "properties": {}}, **tool["function"]}


def _choice(choice: Any) -> Any:
    if isinstance(choice, dict) and isinstance(choice.get("function"), dict):
        return {"type": "function", "name": choice["function"].get("name")}
    return choice
