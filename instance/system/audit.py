"""Ledger entries of writes to the API: who changed which fields of what, never the values of secrets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from instance.core.writer import LedgerEvent

if TYPE_CHECKING:
    from instance.core.principals import Principal


def actor_of(principal: Principal) -> str:
    """How the ledger names who acted."""
    return f"key:{principal.key_id}"


def changed(
    principal: Principal,
    resource: str,
    action: str,
    fields: Iterable[str] = (),
    *,
    event_type: str = "admin_action",
    **detail: Any,
) -> LedgerEvent:
    """The entry of one write: `resource` like `keys/3`, `action` like `create`, and the names of the changed fields."""
    return LedgerEvent(event_type, actor_of(principal), resource, action, {"fields": sorted(fields), **detail})
