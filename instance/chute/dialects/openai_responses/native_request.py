"""What a module changed in the canonical request, written back into the Responses request that came."""

from __future__ import annotations

from typing import Any

from instance.chute.answer import JSON
from instance.chute.dialects.openai_responses.native_messages import rewritten_items
from instance.chute.dialects.openai_responses.request import to_chat

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
            instructions, sent["input"] = rewritten_items(context, into, req["messages"])
            _set(sent, "instructions", instructions)
        elif name in ("max_tokens", "max_completion_tokens"):
            _set(sent, "max_output_tokens", req.get("max_completion_tokens") or req.get("max_tokens"))
        elif name.startswith("_"):
            _set(sent, name, new)  # what is said to modules, and one took away
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
