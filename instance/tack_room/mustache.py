"""The template language: a subset of Mustache without code. Values are inserted as text and never parsed again. Pure.

`{{name}}`, `{{a.b}}`, `{{.}}`, `{{#list}}…{{/list}}`, `{{^none}}…{{/none}}`, `{{! comment}}`. A section's tag that stands alone on
its line takes the line with it, as Mustache's specification has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

SECTIONS_MAX_DEPTH = 16
STEPS_MAX = 100_000
"""Nodes that one rendering may visit: sections in sections over long lists are ended here."""

_TAG = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_NAME = re.compile(r"\.|[A-Za-z_][\w-]*(?:\.[\w-]+)*")


class BadTemplate(ValueError):
    """A text that is no template; `line` and `column` count from 1."""

    def __init__(self, message: str, text: str, at: int) -> None:
        super().__init__(message)
        self.line = text.count("\n", 0, at) + 1
        self.column = at - (text.rfind("\n", 0, at) + 1) + 1


class Unfilled(ValueError):
    """A name that has no value where it is used."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} has no value")
        self.name = name


class TooLong(ValueError):
    """The rendering is over its limit."""


@dataclass(frozen=True, slots=True)
class Name:
    """A value to insert: its path; an empty one is the section's own element."""

    path: tuple[str, ...]

    @property
    def text(self) -> str:
        return ".".join(self.path) or "."


@dataclass(frozen=True, slots=True)
class Section:
    """What is rendered for each element, or (`inverted`) when there is none."""

    name: Name
    inverted: bool
    nodes: tuple[Node, ...]


Node = str | Name | Section


def parse(text: str) -> tuple[Node, ...]:
    """The template's nodes. Raises `BadTemplate`."""
    stack: list[tuple[Name, bool, int, list[Node]]] = []
    nodes: list[Node] = []
    start = 0
    for match in _TAG.finditer(text):
        mark, name = _tag(text, match)
        begin, end = match.span()
        if mark:
            begin, end = _own_line(text, begin, end)
        if begin > start:
            _no_stray_brace(text, start, begin)
            nodes.append(text[start:begin])
        start = max(start, end)
        if mark == "!":
            continue
        path = Name(() if name == "." else tuple(name.split(".")))
        if not mark:
            nodes.append(path)
        elif mark == "/":
            if not stack or stack[-1][0] != path:
                wanted = f"{{{{/{stack[-1][0].text}}}}}" if stack else "no section"
                raise BadTemplate(
                    f"{{{{/{name}}}}} closes a section that is not open ({wanted} is)", text, match.start()
                )
            opened, inverted, _, outer = stack.pop()
            outer.append(Section(opened, inverted, tuple(nodes)))
            nodes = outer
        else:
            if len(stack) >= SECTIONS_MAX_DEPTH:
                raise BadTemplate(f"sections are nested deeper than {SECTIONS_MAX_DEPTH}", text, match.start())
            stack.append((path, mark == "^", match.start(), nodes))
            nodes = []
    if stack:
        name_, inverted, at, _ = stack[-1]
        raise BadTemplate(f"{{{{{'^' if inverted else '#'}{name_.text}}}}} is never closed", text, at)
    if start < len(text):
        _no_stray_brace(text, start, len(text))
        nodes.append(text[start:])
    return tuple(nodes)


def _tag(text: str, match: re.Match[str]) -> tuple[str, str]:
    """The tag's mark (`#`, `^`, `/`, `!` or none) and its name."""
    inner = match.group(1).strip()
    mark = inner[:1] if inner[:1] in ("#", "^", "/", "!") else ""
    name = inner[len(mark) :].strip()
    if mark != "!" and not _NAME.fullmatch(name):
        hint = (
            "write {{name}}: nothing is ever escaped" if inner[:1] in ("{", "&") else "a name is like user.first_name"
        )
        raise BadTemplate(f"{match.group()[:80]!r} is no tag: {hint}", text, match.start())
    return mark, name


def _own_line(text: str, begin: int, end: int) -> tuple[int, int]:
    """The span of the whole line when nothing else stands on it."""
    line_start = text.rfind("\n", 0, begin) + 1
    newline = text.find("\n", end)
    line_end = len(text) if newline < 0 else newline + 1
    if text[line_start:begin].strip() or text[end:line_end].strip():
        return begin, end
    return line_start, line_end


def _no_stray_brace(text: str, start: int, end: int) -> None:
    at = text.find("{{", start, end)
    if at >= 0:
        raise BadTemplate("{{ is never closed by }}", text, at)


def names(nodes: Sequence[Node], holders: frozenset[str]) -> Iterator[str]:
    """First parts of the names that the template takes from its variables. Inside a section over one of `holders` (lists and
    objects) names belong to its elements."""
    for node in nodes:
        if isinstance(node, Name):
            if node.path:
                yield node.path[0]
        elif isinstance(node, Section):
            if node.name.path:
                yield node.name.path[0]
            if not (node.name.path and node.name.path[0] in holders) or node.inverted:
                yield from names(node.nodes, holders)


def render(nodes: Sequence[Node], values: Mapping[str, Any], max_chars: int) -> str:
    """The text. Raises `Unfilled`, and `TooLong` beyond `max_chars`."""
    out = _Out(max_chars)
    _render(nodes, [values], out)
    return "".join(out.pieces)


class _Out:
    __slots__ = ("left", "pieces", "steps")

    def __init__(self, max_chars: int) -> None:
        self.pieces: list[str] = []
        self.left = max_chars
        self.steps = STEPS_MAX

    def add(self, text: str) -> None:
        self.left -= len(text)
        if self.left < 0:
            raise TooLong
        self.pieces.append(text)


_MISSING = object()


def _render(nodes: Sequence[Node], stack: list[Any], out: _Out) -> None:
    for node in nodes:
        out.steps -= 1
        if out.steps < 0:
            raise TooLong
        if isinstance(node, str):
            out.add(node)
            continue
        if isinstance(node, Name):
            value = _find(node, stack)
            if value is _MISSING:
                raise Unfilled(node.text)
            out.add(text_of(value))
            continue
        value = _find(node.name, stack)
        if value is _MISSING and len(stack) == 1:
            raise Unfilled(node.name.text)
        holds = value is not _MISSING and value is not None and value is not False and value not in ("", [], {})
        if node.inverted:
            if not holds:
                _render(node.nodes, stack, out)
        elif holds:
            for element in value if isinstance(value, list) else (value,):
                _render(node.nodes, [*stack, element], out)


def _find(name: Name, stack: Sequence[Any]) -> Any:
    if not name.path:
        return stack[-1]
    first = name.path[0]
    for context in reversed(stack):
        if isinstance(context, Mapping) and first in context:
            value = context[first]
            for part in name.path[1:]:
                if not isinstance(value, Mapping) or part not in value:
                    return _MISSING
                value = value[part]
            return value
    return _MISSING


def text_of(value: Any) -> str:
    """A value as it is inserted: a text as it is, anything else as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else orjson.dumps(value).decode()
