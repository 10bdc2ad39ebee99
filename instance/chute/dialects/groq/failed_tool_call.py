"""A tool call that Groq could not read out of the model's text (`failed_generation`), read here.

Models write calls in several ways: `<function=name>{…}</function>`, `<tool_call>{…}</tool_call>`, `{"name": …, "parameters": …}`,
a list of these, `{"tool_calls": […]}`, or `[name(argument="value")]`.
"""

from __future__ import annotations

import ast
import re
from hashlib import sha256
from typing import Any

import orjson

from instance.chute.answer import JSON

TEXT_MAX_CHARACTERS = 64 << 10
CALLS_MAX = 32
_FUNCTION = re.compile(r"<function[=(]\s*\"?([\w.-]{1,128})\"?\s*\)?\s*>?")
_FUNCTION_END = re.compile(r"</?function>?\s*$|</?function>|<\|[a-z_]+\|>")
_TOOL_CALL = re.compile(r"<tool_call>(.*?)(?:</tool_call>|$)", re.DOTALL)
_PYTHON_CALL = re.compile(r"^\s*\[?\s*[\w.-]{1,128}\s*\(")


def rescued_calls(text: str, tools: Any) -> list[JSON]:
    """The tool calls that the text holds, in OpenAI's form; empty unless every one names a tool of the request and its
    arguments are valid against the tool's schema."""
    schemas = _schemas(tools)
    found = _found(text[:TEXT_MAX_CHARACTERS])[:CALLS_MAX]
    calls: list[JSON] = []
    for name, arguments in found:
        if name not in schemas or not _valid(arguments, schemas[name]):
            return []
        written = orjson.dumps(arguments).decode()
        digest = sha256(f"{len(calls)}:{name}:{written}".encode()).hexdigest()[:20]
        calls.append({"id": f"call_{digest}", "type": "function", "function": {"name": name, "arguments": written}})
    return calls


def _schemas(tools: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for tool in tools if isinstance(tools, list) else ():
        function = tool.get("function") if isinstance(tool, dict) else None
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            found[function["name"]] = function.get("parameters")
    return found


def _found(text: str) -> list[tuple[str, Any]]:
    marks = list(_FUNCTION.finditer(text))
    if marks:
        found = []
        for place, mark in enumerate(marks):
            end = marks[place + 1].start() if place + 1 < len(marks) else len(text)
            found.append((mark[1], _object(_FUNCTION_END.sub("", text[mark.end() : end]))))
        return found
    inner = _TOOL_CALL.findall(text)
    if inner:
        return [call for piece in inner for call in _of_value(_json(piece))]
    if _PYTHON_CALL.match(text):
        return _of_python(text)
    return _of_value(_json(text))


def _of_value(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, list):
        return [call for one in value for call in _of_value(one)]
    if not isinstance(value, dict):
        return []
    if isinstance(value.get("tool_calls"), list):
        return _of_value(value["tool_calls"])
    holder = value["function"] if isinstance(value.get("function"), dict) else value
    name = holder.get("name") or (holder.get("function") if isinstance(holder.get("function"), str) else None)
    arguments: Any = next(
        (box[key] for box in (holder, value) for key in ("arguments", "parameters") if key in box), {}
    )
    if isinstance(arguments, str):
        arguments = _json(arguments)
    return [(name, arguments)] if isinstance(name, str) else []


def _of_python(text: str) -> list[tuple[str, Any]]:
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        nodes = tree.elts if isinstance(tree, ast.List) else [tree]
        return [
            (ast.unparse(node.func), {str(word.arg): ast.literal_eval(word.value) for word in node.keywords})
            for node in nodes
            if isinstance(node, ast.Call) and not node.args
        ]
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return []


def _object(text: str) -> Any:
    text = text.strip()
    return _json(text) if text else {}


def _json(text: str) -> Any:
    """The value that the text is or was meant to be; `None` for none."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        import json_repair  # heavy, and needed only when a model broke its JSON

        value = json_repair.loads(text)
        return value if isinstance(value, (dict, list)) and value else None


def _valid(arguments: Any, schema: Any) -> bool:
    if not isinstance(arguments, dict):
        return False
    if not isinstance(schema, dict) or not schema:
        return True
    import jsonschema_rs  # heavy, and needed only here

    try:
        return jsonschema_rs.is_valid(schema, arguments)
    except (ValueError, jsonschema_rs.ValidationError):
        return False
