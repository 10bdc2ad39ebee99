"""Providers' error bodies in OpenAI's envelope."""

from __future__ import annotations

from typing import Any

import orjson

from instance.chute.failures import CallFailed


def body_of(failure: CallFailed) -> Any:
    """What the provider sent, decoded; `None` when it is no JSON."""
    try:
        return orjson.loads(failure.body)
    except orjson.JSONDecodeError:
        return None


def error_of(failure: CallFailed) -> dict[str, Any]:
    """The object `error` of the body; empty when there is none."""
    body = body_of(failure)
    error = body.get("error") if isinstance(body, dict) else None
    return error if isinstance(error, dict) else {}


def restated(
    failure: CallFailed, *, status: int = 0, code: str = "", message: str = "", body: bytes = b""
) -> CallFailed:
    """The failure with the status and the registry's code that it stands for; what the provider said stays unless `body` is given."""
    return CallFailed(
        failure.kind,
        failure.target,
        status=status or failure.status,
        headers=failure.headers,
        body=body or failure.body,
        reason=failure.reason,
        code=code or failure.code,
        message=message or failure.message,
        blames_target=failure.blames_target,
    )


def enveloped(message: str, code: str = "", param: str = "", kind: str = "invalid_request_error") -> bytes:
    """A body in OpenAI's shape."""
    return orjson.dumps({"error": {"message": message, "type": kind, "param": param or None, "code": code or None}})


def bad_request(failure: CallFailed) -> CallFailed:
    """A 422 as the 400 that OpenAI would answer; any other failure as it is."""
    return restated(failure, status=400) if failure.status == 422 else failure
