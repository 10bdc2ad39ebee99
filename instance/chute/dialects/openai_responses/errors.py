"""Errors as Responses names them: codes of a failed response, statuses of an error that a provider reports in a stream."""

from __future__ import annotations

from typing import Any

from instance.chute.answer import JSON
from instance.core.errors import StockyardError

_STATUS = {
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "invalid_prompt": 400,
    "context_length_exceeded": 400,
    "server_error": 500,
}


def error_code(error: StockyardError) -> str:
    """The `code` of a failed response's `error`."""
    if error.status == 429:
        return "rate_limit_exceeded"
    return "invalid_prompt" if error.status == 400 else "server_error"


def reported(event: JSON) -> JSON:
    """The canonical error of an `error` event or a failed response: `{"error": {…, "status"}}`."""
    error: Any = event.get("error")
    response = event.get("response")
    if isinstance(response, dict):
        error = response.get("error")
    if not isinstance(error, dict):
        error = event
    code = error.get("code")
    message = error.get("message")
    status = _STATUS.get(code) if isinstance(code, str) else None
    if status is None:
        status = 400 if isinstance(code, str) and "image" in code else 500
    kind = error.get("type")
    made: JSON = {
        "message": message if isinstance(message, str) and message else "the provider reports that the response failed",
        "type": kind if isinstance(kind, str) and kind != "error" else None,
        "code": code,
        "param": error.get("param"),
        "status": status,
    }
    return {"error": made}
