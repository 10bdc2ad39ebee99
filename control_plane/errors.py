"""What the control plane refuses, by code; turned into HTTP in one place (`api/answers.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple


class Code(NamedTuple):
    """HTTP status and error type of one code."""

    status: int
    type: str


_INVALID = "invalid_request_error"
CODES: dict[str, Code] = {
    "bad_request": Code(400, _INVALID),
    "invalid_json": Code(400, _INVALID),
    "unauthorized": Code(401, "authentication_error"),
    "key_revoked": Code(401, "authentication_error"),
    "key_expired": Code(401, "authentication_error"),
    "forbidden": Code(403, "permission_error"),
    "scope_missing": Code(403, "permission_error"),
    "signup_closed": Code(403, "permission_error"),
    "not_found": Code(404, "not_found_error"),
    "method_not_allowed": Code(405, _INVALID),
    "unsupported_media_type": Code(415, _INVALID),
    "already_exists": Code(409, "conflict_error"),
    "slug_taken": Code(409, "conflict_error"),
    "conflict": Code(409, "conflict_error"),
    "idempotency_conflict": Code(409, "conflict_error"),
    "already_created": Code(409, "conflict_error"),
    "tenant_suspended": Code(409, "conflict_error"),
    "body_too_large": Code(413, "request_too_large"),
    "invalid_value": Code(422, _INVALID),
    "unknown_field": Code(422, _INVALID),
    "missing_field": Code(422, _INVALID),
    "bad_slug": Code(422, _INVALID),
    "rate_limited": Code(429, "rate_limit_error"),
    "internal_error": Code(500, "api_error"),
    "not_supported": Code(501, _INVALID),
    "backup_unavailable": Code(503, "overloaded_error"),
    "waking": Code(503, "overloaded_error"),
    "tenant_unavailable": Code(503, "overloaded_error"),
}


class CloudError(Exception):
    """A refusal with its code, status and the next step in its message."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        param: str | None = None,
        details: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.details = details
        self.headers = dict(headers or {})

    @property
    def status(self) -> int:
        """HTTP status of the code."""
        return CODES[self.code].status

    def body(self, request_id: str = "") -> dict[str, Any]:
        """The one error shape of API.md."""
        error: dict[str, Any] = {
            "code": self.code,
            "message": self.message,
            "status": self.status,
            "type": CODES[self.code].type,
            "param": self.param,
            "request_id": request_id,
            "doc": f"/docs/errors#{self.code}",
        }
        if self.details is not None:
            error["details"] = self.details
        return {"error": error}


class ConfigError(Exception):
    """The configuration cannot be used; the message names the key and what would be right."""


def nearest(name: str, valid: list[str]) -> str:
    """A hint that ends a message about an unknown name: the nearest valid one, else all of them."""
    close = get_close_matches(name, valid, n=1, cutoff=0.5)
    if close:
        return f"did you mean `{close[0]}`?"
    return "valid names: " + ", ".join(f"`{each}`" for each in sorted(valid)) if valid else "none is accepted here"
