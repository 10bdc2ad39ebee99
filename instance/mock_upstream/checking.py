"""Does a body fit a provider's schema, and if not, which field is to blame?"""

from __future__ import annotations

from typing import Any, NamedTuple

import jsonschema_rs

from instance.mock_upstream.replies import Failure
from instance.mock_upstream.shapes import Schema


class Refused(Exception):
    """The call is not one that the provider would take."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def refused(status: int, message: str, **more: Any) -> Refused:
    return Refused(Failure(status, message, **more))


class Problem(NamedTuple):
    """`kind`: `missing`, `unknown`, `type`, `enum` or `value`; `path` includes the missing or unknown field."""

    path: tuple[str | int, ...]
    kind: str
    message: str
    expected: Any = None


class Checker:
    """A schema, compiled when it is first asked."""

    __slots__ = ("_schema", "_validator")

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._validator: jsonschema_rs.Draft202012Validator | None = None

    def problem(self, body: Any) -> Problem | None:
        """What is wrong first: unknown fields count less than wrong ones, since they often follow from them."""
        if self._validator is None:
            self._validator = jsonschema_rs.Draft202012Validator(self._schema)
        if self._validator.is_valid(body):
            return None
        problems = [_problem(error) for error in self._validator.iter_errors(body)]
        return min(
            problems, key=lambda problem: (problem.kind == "unknown", problem.kind == "value", -len(problem.path))
        )


_KINDS = {"required": "missing", "additionalProperties": "unknown", "type": "type", "enum": "enum", "const": "enum"}


def _problem(error: jsonschema_rs.ValidationError) -> Problem:
    kind = error.kind
    path = tuple(error.instance_path)
    name = _KINDS.get(kind.name, "value")
    expected: Any = None
    if name == "missing":
        path = (*path, getattr(kind, "property", ""))
    elif name == "unknown":
        path = (*path, getattr(kind, "unexpected", [""])[0])
    elif name == "type":
        expected = getattr(kind, "types", None)
    elif name == "enum":
        expected = getattr(kind, "options", None)
    return Problem(path, name, error.message[:400], expected)


def dotted(path: tuple[str | int, ...]) -> str:
    """`messages.0.content`: Anthropic's and Python's way."""
    return ".".join(str(part) for part in path)


def bracketed(path: tuple[str | int, ...]) -> str:
    """`messages[0].content`: OpenAI's and Google's way."""
    made = ""
    for part in path:
        made += f"[{part}]" if isinstance(part, int) else f".{part}" if made else part
    return made
