"""Tools: Responses' flat form as chat's nested one, custom tools as functions of one string, hosted tools refused by chat."""

from __future__ import annotations

from typing import Any

import orjson

from instance.chute.answer import JSON
from instance.chute.dialects.openai_responses.translation import Translation, bad

_FUNCTION_FIELDS = ("name", "description", "parameters", "strict", "cache_control")
_INPUT_ONLY: JSON = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}


def chat_tools(tools: Any, into: Translation) -> list[JSON]:
    """`tools` for chat; those that only a provider of Responses has are left out and said in `into`."""
    if tools is None:
        return []
    if not isinstance(tools, list):
        raise bad("tools", "`tools` is a list.")
    made: list[JSON] = []
    custom: set[str] = set()
    for index, tool in enumerate(tools):
        param = f"tools[{index}]"
        if not isinstance(tool, dict):
            raise bad(param, "A tool is an object with a `type`.")
        kind = tool.get("type")
        if kind == "function":
            made.append(_function(tool, param))
        elif kind == "custom":
            made.append(_custom(tool, param))
            custom.add(tool["name"])
        elif isinstance(kind, str):
            into.only_native(param, f"the hosted tool {kind!r}")
        else:
            raise bad(f"{param}.type", "A tool needs a `type`.")
    into.custom_tools = frozenset(custom)
    return made


def _function(tool: JSON, param: str) -> JSON:
    if isinstance(tool.get("function"), dict) and "name" not in tool:
        return tool  # chat's own form, which many callers send by habit
    _name(tool, param)
    function = {name: tool[name] for name in _FUNCTION_FIELDS[:-1] if tool.get(name) is not None}
    made: JSON = {"type": "function", "function": function}
    if "cache_control" in tool:
        made["cache_control"] = tool["cache_control"]
    return made


def _custom(tool: JSON, param: str) -> JSON:
    _name(tool, param)
    text = tool.get("description")
    texts = [text] if isinstance(text, str) and text else []
    form = tool.get("format")
    if isinstance(form, dict) and form.get("type") == "grammar":
        texts.append(f"`input` follows this {form.get('syntax')} grammar:\n{form.get('definition')}")
    function: JSON = {"name": tool["name"], "parameters": _INPUT_ONLY}
    if texts:
        function["description"] = "\n".join(texts)
    return {"type": "function", "function": function}


def _name(tool: JSON, param: str) -> None:
    if not isinstance(tool.get("name"), str) or not tool["name"]:
        raise bad(f"{param}.name", "A tool needs a `name`.")


def chat_tool_choice(choice: Any, tools: list[JSON], into: Translation) -> tuple[Any, list[JSON]]:
    """`tool_choice` for chat and the tools that it leaves: what may be called only among some is offered only those."""
    if choice is None or isinstance(choice, str):
        return choice, tools
    if not isinstance(choice, dict):
        raise bad("tool_choice", "`tool_choice` is a string or an object.")
    kind = choice.get("type")
    if kind in ("function", "custom"):
        name = choice.get("name")
        if name is None and isinstance(choice.get("function"), dict):
            name = choice["function"].get("name")
        if not isinstance(name, str):
            raise bad("tool_choice.name", "`tool_choice` needs the `name` of a tool.")
        return {"type": "function", "function": {"name": name}}, tools
    if kind == "allowed_tools":
        return _allowed(choice, tools, into)
    into.only_native("tool_choice", f"the tool choice {kind!r}")
    return None, tools


def _allowed(choice: JSON, tools: list[JSON], into: Translation) -> tuple[Any, list[JSON]]:
    allowed = choice.get("tools")
    if not isinstance(allowed, list):
        raise bad("tool_choice.tools", "`tools` is a list of tools.")
    names: set[Any] = set()
    for index, tool in enumerate(allowed):
        if isinstance(tool, dict) and tool.get("type") in ("function", "custom"):
            names.add(tool.get("name"))
        else:
            into.only_native(f"tool_choice.tools[{index}]", "a hosted tool")
    kept = [tool for tool in tools if tool["function"].get("name") in names]
    mode = choice.get("mode")
    return mode if mode in ("auto", "required") else "auto", kept


def custom_input(arguments: str) -> str:
    """What the model gave a custom tool, out of the arguments of the function that stood for it."""
    try:
        read = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return arguments
    given = read.get("input") if isinstance(read, dict) else None
    return given if isinstance(given, str) else arguments
