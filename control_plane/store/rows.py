"""Rows to the domain's data and back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from control_plane.domain.quota import QuotaUsed
from control_plane.domain.tenants import Desired, Generation, KeyRecord, RestoreRequest, Status, Tenant


def tenant_from(row: Any, keys: Iterable[Any]) -> Tenant:
    """A tenant from its row and the rows of its keys."""
    return Tenant(
        slug=row.slug,
        account_id=row.account_id,
        plan=row.plan,
        region=row.region,
        desired=Desired(row.desired),
        reason=row.reason,
        image=row.image,
        generation=Generation(row.incarnation, row.number),
        epoch=row.epoch,
        created_at=row.created_at,
        wake_requested_at=row.wake_requested_at,
        sleep_requested_at=row.sleep_requested_at,
        last_request_at=row.last_request_at,
        scheduled_next_at=row.scheduled_next_at,
        suspend_after=row.suspend_after,
        suspend_reason=row.suspend_reason or "",
        quota=QuotaUsed(**row.quota) if row.quota else None,
        nap_after_s=row.nap_after_s,
        sleep_after_s=row.sleep_after_s,
        restore=RestoreRequest(**row.restore) if row.restore else None,
        restart_requested_at=row.restart_requested_at,
        keys=tuple(key_from(key) for key in keys),
        settings=dict(getattr(row, "settings", {})),  # not always read
        failure=row.failure,
        delete_after=row.delete_after,
        purge_began_at=row.purge_began_at,
        status=Status(row.status),
        next_action=row.next_action,
        since=row.since,
        applied=Generation(row.applied_incarnation, row.applied_number),
    )


def key_from(row: Any) -> KeyRecord:
    """A key from its row."""
    return KeyRecord(
        id=row.id,
        tenant=row.tenant,
        name=row.name,
        kind=row.kind,
        sha256=row.sha256,
        prefix=row.prefix,
        created_at=row.created_at,
        scopes=tuple(row.scopes),
        models=tuple(row.models),
        ip_allow=tuple(row.ip_allow),
        rpm=row.rpm,
        budget_month_nano=row.budget_month_nano,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        generation=row.generation,
        last_used_at=row.last_used_at,
    )


def restore_row(request: RestoreRequest | None) -> dict[str, Any] | None:
    """A restore request as it is stored."""
    return asdict(request) if request else None
