"""What a client's keys reach of the management API: routes that show and change rows of the client alone, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from instance.core.principals import Principal

_MEMORY = "/api/memory/sessions"
_BATCH = "/api/forge/batch"
_FEEDBACK = "/api/trust/feedback"

WITHIN = frozenset(
    (
        ("GET", "/api/auth/me"),
        ("GET", "/api/auth/me/usage"),
        ("GET", "/api/auth/me/keys"),
        ("POST", "/api/auth/me/keys"),
        ("DELETE", "/api/auth/me/keys/{key_id}"),
        ("POST", "/api/auth/me/keys/{key_id}/rotate"),
        ("GET", "/api/keys"),
        ("GET", "/api/keys/{key_id}"),
        ("DELETE", "/api/keys/{key_id}"),
        ("GET", "/api/observe/traces"),
        ("GET", "/api/observe/traces/{id}"),
        ("GET", "/api/observe/traces/{id}/stream"),
        ("GET", "/api/observe/costs"),
        ("GET", "/api/observe/costs/daily"),
        ("GET", "/api/observe/overview"),
        ("GET", "/api/billing/usage"),
        ("GET", _MEMORY),
        ("GET", f"{_MEMORY}/{{id}}"),
        ("PUT", f"{_MEMORY}/{{id}}"),
        ("DELETE", f"{_MEMORY}/{{id}}"),
        ("POST", "/api/memory/forget"),
        ("GET", "/api/memory/export"),
        ("GET", _BATCH),
        ("POST", _BATCH),
        ("GET", f"{_BATCH}/{{batch_id}}"),
        ("DELETE", f"{_BATCH}/{{batch_id}}"),
        ("GET", f"{_BATCH}/{{batch_id}}/results"),
        ("POST", f"{_BATCH}/{{batch_id}}/cancel"),
        ("POST", f"{_BATCH}/{{batch_id}}/pause"),
        ("POST", f"{_BATCH}/{{batch_id}}/resume"),
        ("GET", _FEEDBACK),
        ("POST", _FEEDBACK),
        ("GET", f"{_FEEDBACK}/summary"),
        ("GET", f"{_FEEDBACK}/export"),
    )
)
"""Method and path of every route that narrows what it does to the key's team, which is the client's own."""


def require_within(principal: Principal, scope: Mapping[str, Any]) -> None:
    """Raise `forbidden` when a client's key asks for what belongs to the whole instance, whatever scopes it holds."""
    if not (principal.client or principal.multi_client):
        return
    if (scope["method"], getattr(scope.get("route"), "path", "")) not in WITHIN:
        raise StockyardError("forbidden", "This belongs to the instance; a client's key reaches its client's own rows.")
