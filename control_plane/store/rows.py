"""Rows to the domain's data and back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from control_plane.domain.quota import QuotaUsed
from control_plane.domain.tenants import Desired, Generation, KeyRecord, RestoreRequest, Status, Tenant


def tenant_from(row: Any, keys: Iterable[Any]) -> Tenant:
    """A tenant from its row and the rows of its keys."""
    of = dict(zip(row._fields, row, strict=True))  # a row is slow to ask for one column after another
    return Tenant(
        slug=of["slug"],
        account_id=of["account_id"],
        plan=of["plan"],
        region=of["region"],
        desired=Desired(of["desired"]),
        reason=of["reason"],
        image=of["image"],
        generation=Generation(of["incarnation"], of["number"]),
        epoch=of["epoch"],
        created_at=of["created_at"],
        wake_requested_at=of["wake_requested_at"],
        sleep_requested_at=of["sleep_requested_at"],
        last_request_at=of["last_request_at"],
        scheduled_next_at=of["scheduled_next_at"],
        suspend_after=of["suspend_after"],
        suspend_reason=of["suspend_reason"] or "",
        quota=QuotaUsed(**of["quota"]) if of["quota"] else None,
        nap_after_s=of["nap_after_s"],
        sleep_after_s=of["sleep_after_s"],
        restore=RestoreRequest(**of["restore"]) if of["restore"] else None,
        restart_requested_at=of["restart_requested_at"],
        keys=tuple(key_from(key) for key in keys),
        settings=dict(of.get("settings", {})),  # not always read
        failure=of["failure"],
        delete_after=of["delete_after"],
        purge_began_at=of["purge_began_at"],
        status=Status(of["status"]),
        next_action=of["next_action"],
        since=of["since"],
        applied=Generation(of["applied_incarnation"], of["applied_number"]),
    )


def key_from(row: Any) -> KeyRecord:
    """A key from its row."""
    of = dict(zip(row._fields, row, strict=True))
    return KeyRecord(
        id=of["id"],
        tenant=of["tenant"],
        name=of["name"],
        kind=of["kind"],
        sha256=of["sha256"],
        prefix=of["prefix"],
        created_at=of["created_at"],
        scopes=tuple(of["scopes"]),
        models=tuple(of["models"]),
        ip_allow=tuple(of["ip_allow"]),
        rpm=of["rpm"],
        budget_month_nano=of["budget_month_nano"],
        expires_at=of["expires_at"],
        revoked_at=of["revoked_at"],
        generation=of["generation"],
        last_used_at=of["last_used_at"],
    )


def restore_row(request: RestoreRequest | None) -> dict[str, Any] | None:
    """A restore request as it is stored."""
    return asdict(request) if request else None
