"""Tools, and answers of a schema, as Converse takes them."""

from __future__ import annotations

from typing import Any

import orjson

from instance.chute.answer import JSON
from instance.chute.dialects.anthropic.json_schemas import is_native_schema, object_schema
from instance.chute.dialects.anthropic.model_traits import ModelTraits
from instance.chute.dialects.anthropic.thinking import is_on
from instance.chute.dialects.anthropic.tools import free_name
from instance.chute.dialects.bedrock.blocks import cache_point
from instance.chute.dialects.bedrock.conversation import Conversation
from instance.chute.dialects.request_fields import RequestFields

FORCEABLE = frozenset(("anthropic", "amazon", "mistral"))
"""Makers whose models can be made to call a tool."""


def write_tools(
    body: JSON,
    extra: JSON,
    fields: RequestFields,
    talk: Conversation,
    claude: bool,
    traits: ModelTraits,
    dropped: list[str],
) -> None:
    """`toolConfig`; it is demanded also where only the history has calls, and there is no way to forbid them."""
    tools: list[JSON] = []
    for index, tool in enumerate(fields.take("tools") or ()):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not function.get("name"):
            dropped.append(f"tools[{index}]")
            continue
        schema = object_schema(function.get("parameters"))
        spec: JSON = {"name": function["name"], "inputSchema": {"json": schema}}
        if function.get("description"):
            spec["description"] = function["description"]
        if function.get("strict") is True and traits.schema and is_native_schema(schema):
            spec["strict"] = True
        tools.append({"toolSpec": spec})
        mark = tool.get("cache_control") or function.get("cache_control")
        if mark is not None:
            tools.append(cache_point(mark))
    choice = fields.take("tool_choice")
    parallel = fields.take("parallel_tool_calls")
    if choice == "none":
        if talk.tools:
            fields.drop("tool_choice")
        else:
            tools = []
    if not tools:
        tools = [{"toolSpec": {"name": name, "inputSchema": {"json": object_schema(None)}}} for name in talk.tools]
    if not tools:
        return
    body["toolConfig"] = {"tools": tools}
    written = _choice(choice)
    if written is not None:
        if is_on(extra.get("thinking")) and "auto" not in written:
            fields.drop("tool_choice")
        else:
            body["toolConfig"]["toolChoice"] = written
    if parallel is False:
        if claude:
            extra["tool_choice"] = {**_claude_choice(written), "disable_parallel_tool_use": True}
            body["toolConfig"].pop("toolChoice", None)
        else:
            fields.drop("parallel_tool_calls")


def _choice(choice: Any) -> JSON | None:
    if choice == "required":
        return {"any": {}}
    if choice == "auto":
        return {"auto": {}}
    name = (choice.get("function") or {}).get("name") if isinstance(choice, dict) else None
    return {"tool": {"name": name}} if name else None


def _claude_choice(written: JSON | None) -> JSON:
    if written is not None and "tool" in written:
        return {"type": "tool", "name": written["tool"]["name"]}
    return {"type": "any" if written is not None and "any" in written else "auto"}


def write_answer_form(body: JSON, extra: JSON, fields: RequestFields, traits: ModelTraits, maker: str) -> str:
    """A schema for the answer: enforced by Bedrock where the model has that, else a tool whose input is the answer."""
    form = fields.take("response_format")
    if not isinstance(form, dict) or form.get("type") in (None, "text"):
        return ""
    if form["type"] == "json_object":
        body.setdefault("system", []).append({"text": "Answer with one JSON object and nothing else."})
        return ""
    wanted = form.get("json_schema")
    schema = wanted.get("schema") if isinstance(wanted, dict) else None
    if not isinstance(wanted, dict) or not isinstance(schema, dict):
        fields.drop("response_format")
        return ""
    if traits.schema and wanted.get("strict") is True and is_native_schema(schema):
        definition: JSON = {"schema": orjson.dumps(schema).decode()}
        definition.update({name: wanted[name] for name in ("name", "description") if wanted.get(name)})
        structure = {"type": "json_schema", "structure": {"jsonSchema": definition}}
        body.setdefault("outputConfig", {})["textFormat"] = structure
        return ""
    tools = body.setdefault("toolConfig", {}).setdefault("tools", [])
    taken = {tool["toolSpec"]["name"] for tool in tools if "toolSpec" in tool}
    name = free_name(str(wanted.get("name") or ""), taken)
    said = wanted.get("description") or "Gives the final answer. Call it once, with the answer as its input."
    tools.append({"toolSpec": {"name": name, "description": said, "inputSchema": {"json": object_schema(schema)}}})
    if not taken and maker in FORCEABLE and not is_on(extra.get("thinking")):
        force: JSON = {"any": {}} if maker == "mistral" else {"tool": {"name": name}}
        body["toolConfig"]["toolChoice"] = force
    else:
        body["toolConfig"].pop("toolChoice", None)
        told = {"text": f"Give the final answer only by calling the tool `{name}`."}
        body["system"] = [*body.get("system", ()), told]
    return name
