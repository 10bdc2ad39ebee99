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
    ("bedrock", "Bedrock"),
    ("cohere", "Cohere"),
    ("ollama", "Ollama"),
    ("azure", "Azure"),
    ("mistral", "Mistral"),
    ("groq", "Groq"),
    ("together", "Together"),
    ("deepseek", "DeepSeek"),
    ("fireworks", "Fireworks"),
    ("perplexity", "Perplexity"),
    ("replicate", "Replicate"),
)
"""Module of this package, class in it."""


@cache
def all_dialects() -> tuple[Dialect, ...]:
    """Every dialect, the one for unknown paths first."""
    from instance.mock_upstream.dialects.openai import twins

    native = [getattr(import_module(f"{__name__}.{module}"), name)() for module, name in _CLASSES]
    return (*native, *twins())


def by_name(name: str) -> Dialect:
    """KeyError where there is none of this name."""
    return {dialect.name: dialect for dialect in all_dialects()}[name]


def by_path(target: str) -> tuple[Dialect, str]:
    """The dialect that a request target belongs to (the longest prefix wins), and the path after its prefix, without the query."""
    path = target.partition("?")[0]
    found = [dialect for dialect in all_dialects() if path.startswith(dialect.prefix + "/")]
    if not found:
        return all_dialects()[0], f"?{path}"
    dialect = max(found, key=lambda dialect: len(dialect.prefix))
    return dialect, path[len(dialect.prefix) :]
