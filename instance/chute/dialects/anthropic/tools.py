"""Tools, and answers of a schema, as the Messages API takes them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from instance.chute.answer import JSON
from instance.chute.dialects.anthropic.blocks import Dropped, text_block
from instance.chute.dialects.anthropic.json_schemas import is_native_schema, object_schema
from instance.chute.dialects.anthropic.model_traits import ModelTraits
from instance.chute.dialects.anthropic.thinking import is_on
from instance.chute.dialects.request_fields import RequestFields

ANSWER_TOOL = "json_answer"
"""The forced tool whose input is the answer, where the schema that was asked for has no usable name."""


def write_tools(body: JSON, fields: RequestFields, traits: ModelTraits, lost: Dropped) -> None:
    """`tools` and `tool_choice`; tools without a counterpart are named in `lost`."""
    tools = []
    for index, tool in enumerate(fields.take("tools") or ()):
        written = _tool(tool, traits)
        if written is None:
            lost.append(f"tools[{index}]")
        else:
            tools.append(written)
    choice = fields.take("tool_choice")
    parallel = fields.take("parallel_tool_calls")
    if not tools:
        return
    body["tools"] = tools
    written = _choice(choice)
    if parallel is False and written is None:
        written = {"type": "auto"}
    if written is not None:
        if parallel is False and written["type"] != "none":
            written["disable_parallel_tool_use"] = True
        if is_on(body.get("thinking")) and written["type"] in ("any", "tool"):
            # The API refuses a forced tool while it thinks.
            fields.drop("tool_choice")
            written = {**written, "type": "auto"}
            written.pop("name", None)
        body["tool_choice"] = written


def _tool(tool: Any, traits: ModelTraits) -> JSON | None:
    if not isinstance(tool, dict):
        return None
    kind = tool.get("type", "function")
    if kind != "function":
        # A tool that the provider runs itself (web search, code) has its own type and a name.
        return dict(tool) if isinstance(kind, str) and "name" in tool and kind != "custom" else None
    function = tool.get("function")
    if not isinstance(function, dict) or not function.get("name"):
        return None
    schema = object_schema(function.get("parameters"))
    written: JSON = {"name": function["name"], "input_schema": schema}
    if function.get("description"):
        written["description"] = function["description"]
    if function.get("strict") is True and traits.schema and is_native_schema(schema):
        written["strict"] = True
    own = tool.get("anthropic")
    if isinstance(own, dict):
        written.update(own)
    mark = tool.get("cache_control") or function.get("cache_control")
    if mark is not None:
        written["cache_control"] = mark
    return written


def _choice(choice: Any) -> JSON | None:
    if choice == "required":
        return {"type": "any"}
    if choice in ("auto", "none"):
        return {"type": choice}
    if isinstance(choice, dict):
        name = (choice.get("function") or {}).get("name")
        if name:
            return {"type": "tool", "name": name}
        if choice.get("type") == "allowed_tools":
            allowed = choice.get("allowed_tools") or {}
            return {"type": "any" if allowed.get("mode") == "required" else "auto"}
    return None


def write_answer_form(body: JSON, fields: RequestFields, traits: ModelTraits) -> str:
    """A schema for the answer: the API's own where it can enforce it, else a tool that must be called, whose input is the
    answer. Gives the tool's name."""
    form = fields.take("response_format")
    if not isinstance(form, dict) or form.get("type") in (None, "text"):
        return ""
    if "format" in body.get("output_config", ()):
        return ""
    if form["type"] == "json_object":
        body.setdefault("system", []).append(text_block("Answer with one JSON object and nothing else."))
        return ""
    wanted = form.get("json_schema")
    schema = wanted.get("schema") if isinstance(wanted, dict) else None
    if not isinstance(wanted, dict) or not isinstance(schema, dict):
        fields.drop("response_format")
        return ""
    if traits.schema and wanted.get("strict") is True and is_native_schema(schema):
        body.setdefault("output_config", {})["format"] = {"type": "json_schema", "schema": schema}
        return ""
    name = free_name(str(wanted.get("name") or ""), {str(tool.get("name")) for tool in body.get("tools", ())})
    tool: JSON = {
        "name": name,
        "description": wanted.get("description")
        or "Gives the final answer. Call it once, with the answer as its input.",
        "input_schema": object_schema(schema),
    }
    free = not body.get("tools") and not is_on(body.get("thinking"))
    body["tools"] = [*body.get("tools", ()), tool]
    if free:
        body["tool_choice"] = {"type": "tool", "name": name, "disable_parallel_tool_use": True}
    else:
        # Other tools must stay callable, and thinking excludes force: the model is told instead.
        body["system"] = [
            *body.get("system", ()),
            text_block(f"Give the final answer only by calling the tool `{name}`."),
        ]
        body.pop("tool_choice", None)
    return name


def free_name(name: str, taken: Collection[str]) -> str:
    """A name for the answer's tool that the API takes and no other tool has."""
    cleaned = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in name)[:60] or ANSWER_TOOL
    while cleaned in taken:
        cleaned += "_"
    return cleaned
