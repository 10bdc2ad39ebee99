"""How an attempt at a target fails, and which error the caller gets for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.targets import Target

EXCERPT_BYTES = 2048

KIND_CODES = {
    "connect": "provider_error",
    "connect_timeout": "timeout_connect",
    "tls": "provider_error",
    "reset": "provider_error",
    "truncated": "bad_upstream_response",
    "bad_response": "bad_upstream_response",
    "too_large": "bad_upstream_response",
    "timeout_connect": "timeout_connect",
    "timeout_first_token": "timeout_first_token",
    "timeout_total": "timeout_total",
    "timeout_stream": "timeout_stream",
    "blocked_address": "blocked_address",
}

KIND_MESSAGES = {
    "connect": "could not be reached",
    "connect_timeout": "did not accept a connection in time",
    "tls": "could not be trusted: the TLS handshake failed",
    "reset": "closed the connection before it answered",
    "truncated": "broke its answer off",
    "bad_response": "sent something that is no answer to the call",
    "too_large": "sent more than the limit allows",
    "timeout_connect": "did not accept a connection in time",
    "timeout_first_token": "did not begin to answer in time",
    "timeout_total": "did not finish in time",
    "timeout_stream": "stopped in the middle of its answer",
    "blocked_address": "has an address that this instance must not reach",
}


class CallFailed(Exception):
    """One attempt at a target that gave no usable answer.

    `kind` is `http` for an error status of the provider, else a key of `KIND_CODES`. `status` is the provider's (0 when
    none came), `headers` its headers (lower case), `body` what it sent (at most 64 KiB). `code` and `message` are given
    by a shim that knows which code of the registry the failure stands for, and what to say of it. `blames_target` is false
    for what the target is not to be judged by: the caller's own time limit, an address that this instance refuses.
    """

    def __init__(
        self,
        kind: str,
        target: Target | None,
        *,
        status: int = 0,
        headers: dict[bytes, bytes] | None = None,
        body: bytes = b"",
        reason: str = "",
        code: str = "",
        message: str = "",
        blames_target: bool = True,
    ) -> None:
        super().__init__(f"{kind} {status or ''} {reason}".strip())
        self.code = code
        self.message = message
        self.blames_target = blames_target and kind != "blocked_address"
        self.kind = kind
        self.target = target
        self.status = status
        self.headers = headers or {}
        self.body = body
        self.reason = reason

    @property
    def provider(self) -> str:
        return self.target.provider.name if self.target is not None else ""


FAULTS = frozenset(
    (
        "connect",
        "connect_timeout",
        "tls",
        "reset",
        "truncated",
        "bad_response",
        "too_large",
        "timeout_connect",
        "timeout_first_token",
        "timeout_total",
        "timeout_stream",
    )
)
"""Kinds that are the target's fault."""


def is_fault(kind: str, status: int, *, count_429: bool = False) -> bool:
    """Whether an attempt that failed so says that its target is not well: no connection, no or a broken answer, a time
    limit, 5xx. Any 4xx says that it is, but a 429 where `count_429`."""
    if kind == "http":
        return status >= 500 or (count_429 and status == 429)
    return kind in FAULTS


def to_error(failure: CallFailed) -> StockyardError:
    """The error in our shape for a failed attempt, without knowledge of any provider's own error bodies.

    errornorm knows those and makes a better one; this is what holds when it is switched off or nothing else fits.
    """
    provider = failure.provider
    details = {"provider": provider, "status": failure.status or None}
    if failure.code:
        message = failure.message or f"The provider {provider!r} failed."
        return StockyardError(failure.code, message, details=details)
    if failure.kind != "http":
        code = KIND_CODES[failure.kind]
        message = f"The provider {provider!r} {KIND_MESSAGES[failure.kind]}."
        if failure.reason:
            details["reason"] = failure.reason[:EXCERPT_BYTES]
        return StockyardError(code, message, details=details)
    status = failure.status
    if status in (401, 403):
        return StockyardError(
            "provider_auth_failed",
            f"The provider {provider!r} refused this instance's key; check the key stored for it.",
            details=details,
        )
    code = {
        404: "model_not_found",
        413: "body_too_large",
        429: "rate_limited",
        400: "bad_request",
        422: "bad_request",
    }.get(status, "provider_error")
    headers = {}
    retry_after = failure.headers.get(b"retry-after")
    if retry_after:
        headers["Retry-After"] = retry_after.decode("latin-1")
    return StockyardError(code, f"The provider {provider!r} answered {status}.", details=details, headers=headers)


def as_error(failure: CallFailed | StockyardError) -> StockyardError:
    """The error in our shape for a failure that may be one already."""
    return failure if isinstance(failure, StockyardError) else to_error(failure)
