"""Why a call that failed at one target may be tried at another."""

from __future__ import annotations

from instance.chute.failures import CallFailed
from instance.chute.provider_errors import classify, read_provider_error
from instance.chute.retry_after import retry_after_s
from instance.core.errors import StockyardError

REASONS = (
    "connect",
    "timeout",
    "429",
    "5xx",
    "breaker_open",
    "model_missing",
    "provider_auth",
    "context_length",
    "content_filter",
)
_KINDS = {
    "connect": "connect",
    "tls": "connect",
    "reset": "connect",
    "truncated": "connect",
    "bad_response": "connect",
    "too_large": "connect",
    "connect_timeout": "timeout",
    "timeout_connect": "timeout",
    "timeout_first_token": "timeout",
    "timeout_stream": "timeout",
}
_CODES = {
    "breaker_open": "breaker_open",
    "keys_exhausted": "429",
    "no_valid_key": "provider_auth",
    "not_supported": "model_missing",
    "shim_disabled": "model_missing",
    "no_provider": "connect",
}
_CLASSES = {
    "provider_auth_failed": "provider_auth",
    "provider_quota": "429",
    "rate_limited": "429",
    "model_not_found": "model_missing",
    "context_length_exceeded": "context_length",
    "content_filter": "content_filter",
}


def hop_reason(failure: CallFailed | StockyardError) -> str:
    """One of `REASONS`; empty for what another target would refuse as well, and for a call whose time is over."""
    if isinstance(failure, StockyardError):
        return _CODES.get(failure.code, "")
    if failure.kind != "http":
        return _KINDS.get(failure.kind, "")
    status = failure.status
    if status >= 500:
        return "5xx"
    if status == 408:
        return "timeout"
    waits = retry_after_s(status, failure.headers, failure.body) is not None
    return _CLASSES.get(classify(status, read_provider_error(failure.body), asks_to_wait=waits), "")


def short(failure: CallFailed | StockyardError) -> str:
    """The failure in a word or two, for the trail and for error messages."""
    if isinstance(failure, StockyardError):
        return failure.code
    return str(failure.status) if failure.kind == "http" else failure.kind
