"""The dialects of the mock upstream, found by the beginning of a path. Made when first needed."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from instance.mock_upstream.dialect import Dialect

_CLASSES = (
    ("openai", "Compatible"),
    ("openai", "OpenAi"),
    ("anthropic", "Anthropic"),
    ("gemini", "Gemini"),
)
"""Module of this package, class in it."""


@cache
def all_dialects() -> tuple[Dialect, ...]:
    """Every dialect, the one for unknown paths first."""
    return tuple(getattr(import_module(f"{__name__}.{module}"), class_name)() for module, class_name in _CLASSES)


def by_name(name: str) -> Dialect:
    """KeyError where there is none of this name."""
    return {dialect.name: dialect for dialect in all_dialects()}[name]


def by_path(target: str) -> tuple[Dialect, str]:
    """The dialect that a request target belongs to, and the path after its prefix, without the query."""
    path = target.partition("?")[0]
    dialects = all_dialects()
    for dialect in dialects:
        if path.startswith(dialect.prefix + "/"):
            return dialect, path[len(dialect.prefix) :]
    return dialects[0], f"?{path}"
