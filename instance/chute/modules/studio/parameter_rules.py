"""Rules of a request's parameters, and of how its messages go with them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from instance.chute.modules.studio.prompt_fault import Fault, Prompt
from instance.chute.tokens import count_tokens

_WANTS_JSON = re.compile(
    r"\b(?:answer|reply|respond|return|output|produce|give)\b[^.\n]{0,40}\bjson\b|\b(?:only|valid|in|as) json\b|\bjson (?:only|object|array)\b",
    re.I,
)
_JSON_WORD = re.compile(r"json", re.I)


def json_without_format(prompt: Prompt) -> Iterator[Fault]:
    if prompt.req.get("response_format") or prompt.req.get("tools"):
        return
    for path, text in prompt.system:
        if _WANTS_JSON.search(text):
            yield Fault(
                "json_without_format",
                path,
                "JSON is asked for in words only.",
                "Set response_format too, so that it is sure to be JSON.",
            )
            return


def format_without_json(prompt: Prompt) -> Iterator[Fault]:
    form = prompt.req.get("response_format")
    if (
        isinstance(form, dict)
        and form.get("type") == "json_object"
        and not any(_JSON_WORD.search(t) for _, t in prompt.texts)
    ):
        yield Fault(
            "format_without_json",
            "response_format",
            "json_object is asked for, and no message says JSON.",
            "Say in a message that the answer is JSON, and of which form.",
        )


def tool_without_description(prompt: Prompt) -> Iterator[Fault]:
    for number, tool in enumerate(prompt.req.get("tools") or ()):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict):
            continue
        path = f"tools[{number}].function"
        if not str(function.get("description") or "").strip():
            yield Fault(
                "tool_without_description",
                f"{path}.description",
                f"The tool {function.get('name')!r} is not described.",
                "Say what it does and when to call it.",
            )
        properties = (
            (function.get("parameters") or {}).get("properties")
            if isinstance(function.get("parameters"), dict)
            else None
        )
        bare = [
            name for name, each in (properties or {}).items() if isinstance(each, dict) and not each.get("description")
        ]
        if bare and len(bare) == len(properties or {}):
            yield Fault(
                "tool_without_description",
                f"{path}.parameters",
                f"No parameter of {function.get('name')!r} is described.",
                "Describe each: unit, form, example.",
            )


def temperature_and_top_p(prompt: Prompt) -> Iterator[Fault]:
    if prompt.req.get("temperature") not in (None, 1, 1.0) and prompt.req.get("top_p") not in (None, 1, 1.0):
        yield Fault("temperature_and_top_p", "top_p", "temperature and top_p are both changed.", "Change one of them.")


def too_few_tokens_for_schema(prompt: Prompt) -> Iterator[Fault]:
    limit: Any = prompt.req.get("max_completion_tokens") or prompt.req.get("max_tokens")
    form = prompt.req.get("response_format")
    schema = (
        (form.get("json_schema") or {}).get("schema")
        if isinstance(form, dict) and form.get("type") == "json_schema"
        else None
    )
    if isinstance(limit, int) and isinstance(schema, dict):
        needed = _least_tokens(schema)
        if limit < needed:
            yield Fault(
                "too_few_tokens_for_schema",
                "max_tokens",
                f"The schema needs about {needed} tokens at least.",
                "Allow more, or ask for less.",
            )


def _least_tokens(schema: Any, depth: int = 0) -> int:
    """About how many tokens the smallest value of a schema has."""
    if not isinstance(schema, dict) or depth > 8:
        return 1
    properties = schema.get("properties")
    if isinstance(properties, dict):
        required = set(schema.get("required") or ())
        return 2 + sum(
            count_tokens(name) + 2 + _least_tokens(each, depth + 1)
            for name, each in properties.items()
            if name in required
        )
    if schema.get("type") == "array":
        least = schema.get("minItems")
        return 2 + (least if isinstance(least, int) else 0) * (1 + _least_tokens(schema.get("items"), depth + 1))
    return 1
