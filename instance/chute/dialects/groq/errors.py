"""Groq's failures with the status and the code that they stand for."""

from __future__ import annotations

from instance.chute.dialects.openai_like.errors import bad_request, error_of, restated
from instance.chute.failures import CallFailed

FLEX_CAPACITY = 498
TOO_LARGE = 413
TOOL_USE_FAILED = "tool_use_failed"


def failed(failure: CallFailed) -> CallFailed:
    """The failure as it is to be told."""
    if failure.status == FLEX_CAPACITY:
        return restated(failure, status=503, code="overloaded")
    if failure.status == TOO_LARGE:
        error = error_of(failure)
        said = str(error.get("message", "")).lower()
        if error.get("code") == "rate_limit_exceeded" or "per minute" in said or "(tpm)" in said:
            return restated(failure, status=429, code="tokens_per_minute")
    return bad_request(failure)


def failed_generation(failure: CallFailed) -> str:
    """The text out of which no tool call could be read; empty for any other failure."""
    error = error_of(failure)
    text = error.get("failed_generation")
    return text if error.get("code") == TOOL_USE_FAILED and isinstance(text, str) else ""
