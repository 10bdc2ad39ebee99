"""The body of `POST /v1/messages` as a canonical chat request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from instance.chute.answer import JSON
from instance.chute.dialects.anthropic.caller_blocks import assistant_message, bad, content_of, user_messages
from instance.chute.dialects.anthropic.foreign_thinking import is_foreign
from instance.chute.dialects.anthropic.thinking import effort_of
from instance.chute.dialects.anthropic.tool_ids import wire_tool_id

if TYPE_CHECKING:
    from instance.core.settings import LimitSettings

_SAME = ("model", "max_tokens", "temperature", "top_p", "top_k", "stream")
_READ = frozenset((*_SAME, "messages", "system", "tools", "tool_choice", "stop_sequences", "cache_control"))
_FUNCTION_FIELDS = frozenset(("type", "name", "description", "input_schema", "strict", "cache_control"))
NATIVE_ONLY = ("mcp_servers", "container", "context_management")


def check(body: JSON, limits: LimitSettings) -> None:
    """Refuse what no model could take, with the `param`; the rest is the provider's to judge. Raises 400."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise bad("messages", "`messages` must be a list with at least one message.")
    if len(messages) > limits.messages:
        raise bad("messages", f"At most {limits.messages} messages.")
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise bad(f"messages[{index}]", "A message is an object with `role` and `content`.")
        if message.get("role") not in ("user", "assistant", "system"):
            raise bad(f"messages[{index}].role", "`role` is user or assistant.")
        if not isinstance(message.get("content"), (str, list)):
            raise bad(f"messages[{index}].content", "`content` is a string or a list of content blocks.")
    tools = body.get("tools")
    if tools is not None and (not isinstance(tools, list) or len(tools) > limits.tools):
        raise bad("tools", f"`tools` is a list of at most {limits.tools}.")
    for index, tool in enumerate(tools or ()):
        if not isinstance(tool, dict):
            raise bad(f"tools[{index}]", "A tool is an object with `name` and `input_schema`.")
    if not isinstance(body.get("stream", False), bool):
        raise bad("stream", "`stream` is true or false.")
    most = body.get("max_tokens")
    if most is not None and (type(most) is not int or most < 0):
        raise bad("max_tokens", "`max_tokens` is a positive integer.")


def read_request(body: JSON) -> JSON:
    """The canonical request. What only Anthropic has stands in its `anthropic` object. Raises 400 with `param`."""
    messages: list[JSON] = []
    system = content_of(body.get("system"), "system")
    if system:
        messages.append({"role": "system", "content": system})
    for index, message in enumerate(body["messages"]):
        param = f"messages[{index}].content"
        if message["role"] == "assistant":
            messages.append(assistant_message(message["content"], param))
        elif message["role"] == "system":
            messages.append({"role": "system", "content": content_of(message["content"], param)})
        else:
            messages += user_messages(message["content"], param)
    req: JSON = {name: body[name] for name in _SAME if body.get(name) is not None}
    req["messages"] = messages
    if body.get("stop_sequences"):
        req["stop"] = body["stop_sequences"]
    if body.get("tools"):
        req["tools"] = [_tool(tool) for tool in body["tools"]]
    _choice(body.get("tool_choice"), req)
    effort = effort_of(body.get("thinking"), body.get("output_config"))
    if effort is not None:
        req["reasoning_effort"] = effort
    _answer_form(body.get("output_config"), req)
    metadata = body.get("metadata")
    if isinstance(metadata, dict) and isinstance(metadata.get("user_id"), str):
        req["user"] = metadata["user_id"]
    own = {name: value for name, value in body.items() if name not in _READ and value is not None}
    if own.get("metadata") == {"user_id": req.get("user")}:
        del own["metadata"]
    if body.get("cache_control") is not None:
        own["cache_control"] = body["cache_control"]
    if own:
        req["anthropic"] = own
    return req


def _tool(tool: JSON) -> JSON:
    if tool.get("type", "custom") != "custom":
        return dict(tool)
    function: JSON = {"name": tool.get("name"), "parameters": tool.get("input_schema") or {"type": "object"}}
    if tool.get("description"):
        function["description"] = tool["description"]
    if tool.get("strict") is not None:
        function["strict"] = tool["strict"]
    found: JSON = {"type": "function", "function": function}
    own = {name: value for name, value in tool.items() if name not in _FUNCTION_FIELDS and value is not None}
    if own:
        found["anthropic"] = own
    if tool.get("cache_control") is not None:
        found["cache_control"] = tool["cache_control"]
    return found


def _choice(choice: Any, req: JSON) -> None:
    if not isinstance(choice, dict):
        return
    kind = choice.get("type")
    if kind == "tool":
        req["tool_choice"] = {"type": "function", "function": {"name": choice.get("name")}}
    elif kind in ("auto", "none"):
        req["tool_choice"] = kind
    elif kind == "any":
        req["tool_choice"] = "required"
    if choice.get("disable_parallel_tool_use") is True:
        req["parallel_tool_calls"] = False


def _answer_form(config: Any, req: JSON) -> None:
    form = config.get("format") if isinstance(config, dict) else None
    if isinstance(form, dict) and form.get("type") == "json_schema" and isinstance(form.get("schema"), dict):
        wanted = {"name": "answer", "schema": form["schema"], "strict": True}
        req["response_format"] = {"type": "json_schema", "json_schema": wanted}


def native_only(body: JSON) -> str:
    """The first thing in the request that only Anthropic can serve: a tool that it runs or defines, a container. Empty: none."""
    for index, tool in enumerate(body.get("tools") or ()):
        if tool.get("type", "custom") != "custom":
            return f"tools[{index}]"
    return next((name for name in NATIVE_ONLY if body.get(name)), "")


def is_sendable(body: JSON) -> bool:
    """Whether Anthropic would take the history as it is: no thinking and no call ids of another provider in it."""
    for message in body["messages"]:
        content = message["content"]
        if isinstance(content, str):
            continue
        for block in content:
            if not isinstance(block, dict) or is_foreign(block):
                return False
            call_id = block.get("id") if block.get("type") == "tool_use" else None
            if call_id is not None and wire_tool_id(call_id) != call_id:
                return False
    return True
