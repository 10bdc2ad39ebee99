"""A watched call as JSON, with everything masked that looks like a credential."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson

from instance.chute.answer import JSON
from instance.chute.modules.exchange.call_snippets import as_curl, as_python
from instance.chute.modules.exchange.json_changes import json_changes
from instance.chute.modules.exchange.lens import Lens, SentAttempt
from instance.core.timestamps import rfc3339

MASK = "[masked]"
MASKED_WORDS = (
    "authorization",
    "api-key",
    "apikey",
    "cookie",
    "token",
    "secret",
    "password",
    "stockyard-key",
    "goog-api",
)
"""Parts of a header's name whose value is never shown."""

Redact = Callable[[str], str]


def view(lens: Lens, redact: Redact, base_url: str) -> JSON:
    """All of the call. What the header `Authorization` and its like held, and what `redact` finds, is nowhere in it."""
    x = lens.x
    headers = shown_headers(
        ((name.decode("latin-1"), value.decode("latin-1")) for name, value in x.headers.items()), redact
    )
    body = shown_body(x.raw[: lens.max_bytes], redact, whole=lens.whole)
    url = f"{base_url}{x.path}"
    return {
        **_summary(lens, redact),
        "request": {"headers": headers, "body": body},
        "diffs": diffs(lens, redact),
        "attempts": [_attempt(attempt, redact) for attempt in lens.attempts],
        "decisions": masked(x.decisions, redact),
        "timings_ms": lens.timings(),
        "upstream_ms": round(x.upstream_ns / 1e6, 3),
        "answer": {
            "headers": shown_headers(
                ((name.decode("latin-1"), value.decode("latin-1")) for name, value in x.response_headers), redact
            ),
            "body": shown_body(lens.sent_body, redact) if lens.sent_body else None,
            "deltas": [{"at_ms": at_ms, "data": masked(obj, redact)} for at_ms, obj in lens.deltas],
            "error": {"code": x.error_code, "message": redact(x.error_message)} if x.error_code else None,
        },
        "curl": as_curl(url, headers, body),
        "python": as_python(url, headers, body),
    }


def _summary(lens: Lens, redact: Redact) -> JSON:
    row = masked(lens.summary(), redact)
    return {**row, "started_at": rfc3339(row.pop("started_at_ns"))}


def diffs(lens: Lens, redact: Redact) -> list[JSON]:
    """What each module that changed the request did to it, in order."""
    return [
        {
            "module": module,
            "hook": hook,
            "changes": masked(json_changes(orjson.loads(before), orjson.loads(after)), redact),
        }
        for module, hook, before, after in lens.modules.steps
    ]


def _attempt(attempt: SentAttempt, redact: Redact) -> JSON:
    return {
        **masked(attempt.row, redact),
        "request": {
            "method": attempt.method,
            "path": redact(attempt.path),
            "headers": shown_headers(attempt.headers, redact),
            "body": shown_body(attempt.body, redact),
        },
        "answer": shown_body(attempt.answer, redact) if attempt.answer is not None else None,
        "events": [{"at_ms": at_ms, "data": masked(obj, redact)} for at_ms, obj in attempt.events],
    }


def shown_headers(headers: Iterable[tuple[str, str]], redact: Redact) -> dict[str, str]:
    """Headers whose names do not speak of credentials, and the names of the others."""
    return {
        name.lower(): MASK if any(word in name.lower() for word in MASKED_WORDS) else redact(value)
        for name, value in headers
    }


def shown_body(body: bytes, redact: Redact, *, whole: bool = True) -> Any:
    """A body as JSON where it is that, else as text."""
    if whole:
        try:
            return masked(orjson.loads(body), redact)
        except orjson.JSONDecodeError:
            pass
    return redact(body.decode("utf-8", "replace"))


def masked(value: Any, redact: Redact) -> Any:
    """The JSON value with each of its texts masked; a text that is JSON itself keeps its form."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {redact(str(name)): masked(inner, redact) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [masked(inner, redact) for inner in value]
    return value
