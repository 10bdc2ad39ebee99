"""The tools that a request offers: are they well formed, may they be offered, are they what they were."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from hashlib import sha256
from typing import Any, NamedTuple

import orjson

from instance.chute.answer import JSON
from instance.chute.modules.validate.json_schema import BadSchema, CompiledSchema, compiled

NAME = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
DESCRIPTION_MAX_CHARS = 100_000


class Offered(NamedTuple):
    """One tool of a request. `place` is its path there; `schema` is `None` for a tool that the provider itself runs."""

    name: str
    place: str
    function: JSON
    schema: CompiledSchema | None

    @property
    def digest(self) -> bytes:
        """SHA-256 of what the model is told of it."""
        told = {name: self.function.get(name) for name in ("name", "description", "parameters", "strict")}
        return sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).digest()

    def texts(self) -> str:
        """Every text in the definition that a model reads."""
        return "\n".join(_texts(self.function))[:DESCRIPTION_MAX_CHARS]


class BadTool(ValueError):
    """A definition that cannot be used: the message says why, `place` where."""

    def __init__(self, place: str, why: str) -> None:
        super().__init__(why)
        self.place = place


def offered_tools(req: JSON) -> list[Offered]:
    """The tools of a request. Raises `BadTool` for the first that is not well formed."""
    found: list[Offered] = []
    names: set[str] = set()
    for place, function in _definitions(req):
        name = function.get("name")
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise BadTool(f"{place}.name", "a tool's name has 1 to 128 characters of A-Z a-z 0-9 _ . : -")
        if name in names:
            raise BadTool(f"{place}.name", f"two tools have the name {name!r}")
        names.add(name)
        schema = None
        if not function.get("builtin"):
            try:
                schema = compiled(function.get("parameters") or {})
            except (BadSchema, TypeError) as problem:
                raise BadTool(f"{place}.parameters", f"no JSON Schema that can be used: {problem}") from None
        found.append(Offered(name, place, function, schema))
    return found


def _definitions(req: JSON) -> Iterator[tuple[str, JSON]]:
    tools = req.get("tools")
    for number, tool in enumerate(tools if isinstance(tools, list) else ()):
        if not isinstance(tool, dict):
            raise BadTool(f"tools[{number}]", "a tool is an object")
        kind = str(tool.get("type") or "function")
        if kind == "function":
            function = tool.get("function")
            if not isinstance(function, dict):
                raise BadTool(f"tools[{number}].function", "it is missing")
            yield f"tools[{number}].function", function
        elif kind == "custom" and isinstance(tool.get("custom"), dict):
            yield f"tools[{number}].custom", {**tool["custom"], "builtin": True}
        else:
            yield f"tools[{number}]", {"name": kind, "builtin": True}
    functions = req.get("functions")
    for number, function in enumerate(functions if isinstance(functions, list) else ()):
        if not isinstance(function, dict):
            raise BadTool(f"functions[{number}]", "a function is an object")
        yield f"functions[{number}]", function


def _texts(value: Any, depth: int = 0) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif depth < 16:
        for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from _texts(part, depth + 1)


def permitted(name: str, team: str, allow: Sequence[str], deny: Sequence[str]) -> bool:
    """Whether a team may use a tool: an entry of `allow` fits and none of `deny`. `team/tool` is for that team only."""
    return any(_fits(entry, name, team) for entry in allow) and not any(_fits(entry, name, team) for entry in deny)


def _fits(entry: str, name: str, team: str) -> bool:
    whose, slash, glob = entry.rpartition("/")
    return fnmatchcase(name, glob) and (not slash or fnmatchcase(team, whose))


def without(req: JSON, gone: set[str]) -> JSON:
    """The request without tools of these names; a choice among tools that names none any more goes too."""
    made = dict(req)
    for field in ("tools", "functions"):
        if isinstance(req.get(field), list):
            kept = [tool for tool in req[field] if _name(tool) not in gone]
            if kept:
                made[field] = kept
            else:
                made.pop(field)
                made.pop("tool_choice" if field == "tools" else "function_call", None)
                if field == "tools":
                    made.pop("parallel_tool_calls", None)
    return made


def demanded(req: JSON) -> str:
    """The tool that the request says must be called; empty when it leaves that open."""
    for choice in (req.get("tool_choice"), req.get("function_call")):
        if isinstance(choice, dict):
            return _name(choice)
    return ""


def _name(tool: Any) -> str:
    if not isinstance(tool, dict):
        return ""
    function = tool.get("function") or tool.get("custom") or tool
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) else str(tool.get("type") or "")
