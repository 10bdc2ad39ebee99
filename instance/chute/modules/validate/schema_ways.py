"""Structured output asked for in one of three ways, by what the target knows."""

from __future__ import annotations

import json
from typing import Any, Literal, NamedTuple

from instance.chute.answer import JSON
from instance.chute.modules.validate.json_schema import CompiledSchema, Problem
from instance.chute.modules.validate.schema_fit import example
from instance.chute.modules.validate.structured_answer import object_schema

PROBLEMS_TOLD = 10
TOOL = "give_answer"
Way = Literal["native", "tool", "instruct"]


class Wanted(NamedTuple):
    """What a call's answer has to be."""

    name: str
    schema: Any
    check: CompiledSchema


def native(req: JSON, wanted: Wanted) -> JSON:
    """`response_format` for a target that knows schemas."""
    form = req.get("response_format")
    if type(form) is dict and form.get("type") == "json_schema":
        return req
    return {
        **req,
        "response_format": {"type": "json_schema", "json_schema": {"name": wanted.name, "schema": wanted.schema}},
    }


def _as_tool(req: JSON, wanted: Wanted) -> JSON:
    """A tool that has to be called, whose arguments are the answer; a value that is no object is wrapped in one."""
    tool = {"name": TOOL, "description": "Give the answer.", "parameters": object_schema(wanted.schema)}
    made = {name: value for name, value in req.items() if name != "response_format"}
    made["tools"] = [{"type": "function", "function": tool}]
    made["tool_choice"] = {"type": "function", "function": {"name": TOOL}}
    return made


def instructed(req: JSON, wanted: Wanted) -> JSON:
    """The schema and an example in words, behind the system message."""
    shown = json.dumps(wanted.schema, ensure_ascii=False)
    sample = json.dumps(example(wanted.schema), ensure_ascii=False)
    note = (
        "Reply with one JSON value and nothing else: no explanation, no code fence. It must satisfy this JSON Schema:\n"
        f"{shown}\nIts form, with other values: {sample}"
    )
    made = {name: value for name, value in req.items() if name != "response_format"}
    messages = list(req.get("messages") or ())
    place = next(
        (n for n, each in enumerate(messages) if each.get("role") not in ("system", "developer")), len(messages)
    )
    made["messages"] = [*messages[:place], {"role": "system", "content": note}, *messages[place:]]
    return made


WAYS = {"native": native, "tool": _as_tool, "instruct": instructed}


def corrected(req: JSON, text: str, problems: list[Problem]) -> JSON:
    """The request with the bad answer and what was wrong with it at its end."""
    told = "\n".join(f"- {problem.pointer or '(the whole)'}: {problem.message}" for problem in problems[:PROBLEMS_TOLD])
    note = (
        f"That answer cannot be used:\n{told}\nGive the whole answer again as one JSON value that satisfies the schema."
    )
    messages = [*(req.get("messages") or ()), {"role": "assistant", "content": text or "(no answer)"}]
    return {**req, "messages": [*messages, {"role": "user", "content": note}]}
