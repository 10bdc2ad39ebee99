"""Tool calls in an answer: was the tool offered, do the arguments parse, fit its schema and keep the rules."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from instance.chute.answer import JSON
from instance.chute.modules.core.tool_arguments import Check
from instance.chute.modules.core.tool_definitions import Offered


class Fault(NamedTuple):
    """What is wrong with a call: which rule, where in the arguments, and why; never a value."""

    tool: str
    rule: str
    pointer: str
    why: str


class CallCheck:
    """Judges calls against the tools that were offered."""

    def __init__(self, offered: Sequence[Offered], checks: Sequence[Check]) -> None:
        self._offered = {tool.name: tool for tool in offered}
        self._checks = checks

    def faults(self, message: JSON) -> list[Fault | None]:
        """For each call of a message, in order, what is wrong with it; `None` for a good one."""
        return [self.fault(call) for call in calls_of(message)]

    def fault(self, call: JSON) -> Fault | None:
        """What is wrong with one call, the first fault only."""
        function = call.get("function") if isinstance(call.get("function"), dict) else call.get("custom")
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(function, dict) or not isinstance(name, str):
            return Fault("", "malformed", "", "it names no tool")
        tool = self._offered.get(name)
        if tool is None:
            return Fault(name[:128], "not_offered", "", "no such tool was offered")
        if tool.schema is None:
            return None
        try:
            arguments = _parsed(function.get("arguments"))
        except ValueError as error:
            return Fault(name, "arguments", "", str(error))
        for problem in tool.schema.problems(arguments, 1):
            return Fault(name, "schema", problem.pointer, "it does not fit the tool's schema")
        for check in self._checks:
            if check.covers(name):
                why = check.fault(arguments)
                if why:
                    return Fault(name, check.rule.kind, check.rule.pointer, why)
        return None


def calls_of(message: JSON) -> list[JSON]:
    """The calls of a message, the one of the older form among them."""
    calls = message.get("tool_calls")
    found = [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    old = message.get("function_call")
    if isinstance(old, dict):
        found.append({"id": "", "type": "function", "function": old})
    return found


def _parsed(text: Any) -> Any:
    """Arguments as their tool will read them; raises `ValueError` for what readers may take in different ways."""
    if isinstance(text, dict):
        return text
    if not isinstance(text, str):
        raise ValueError("there are no arguments")
    if not text.strip():
        return {}
    try:
        value = orjson.loads(text)
        json.loads(text, object_pairs_hook=_without_doubles)
    except (orjson.JSONDecodeError, json.JSONDecodeError, RecursionError):
        raise ValueError("the arguments are no JSON") from None
    if not isinstance(value, dict):
        raise ValueError("the arguments are no object")
    return value


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("an argument is given twice")
    return made


def corrected(req: JSON, message: JSON, faults: Sequence[Fault | None]) -> JSON:
    """The request with the bad calls and why they were refused, for the model to try again."""
    told: list[JSON] = []
    calls: list[JSON] = []
    for number, (call, fault) in enumerate(zip(calls_of(message), faults, strict=True)):
        call_id = str(call.get("id") or f"call_{number}")
        calls.append({**call, "id": call_id, "type": call.get("type") or "function"})
        why = (
            "Not run: another call was refused."
            if fault is None
            else f"Refused: {_reason(fault)}. Call it right, or do without."
        )
        told.append({"role": "tool", "tool_call_id": call_id, "content": why})
    said = {"role": "assistant", "content": message.get("content") or "", "tool_calls": calls}
    return {**req, "messages": [*req["messages"], said, *told]}


def _reason(fault: Fault) -> str:
    where = f" at {fault.pointer}" if fault.pointer else ""
    return f"{fault.tool or 'the call'}{where}: {fault.why}"
