"""What the API answers: the domain's data as JSON objects. No secret, no digest of one."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from typing import Any

from control_plane.config import Config
from control_plane.domain.plans import Plan
from control_plane.domain.quota import QuotaUsed
from control_plane.domain.retention import present_line
from control_plane.domain.slugs import addresses
from control_plane.domain.state import NANO_PER_USD, rfc3339
from control_plane.domain.tenants import Epoch, Generation, KeyRecord, Status, Tenant
from control_plane.store.accounts import Account, Token

SLEEPING = (Status.ASLEEP, Status.NAPPING)


def tenant_shape(
    tenant: Tenant, config: Config, epochs: Sequence[Epoch] = (), lag_s: float | None = None
) -> dict[str, Any]:
    """A tenant as its owner sees it; times RFC 3339. `lag_s` is that of its replica, None while it is not written."""
    where = addresses(tenant.slug, config.domain, config.edge_listen)
    shape: dict[str, Any] = {
        "id": tenant.slug,
        "slug": tenant.slug,
        "account": tenant.account_id,
        "plan": tenant.plan,
        "region": tenant.region,
        "status": tenant.status,
        "reason": tenant.failure or tenant.reason or None,
        "url": where.url,
        "root_url": where.root_url,
        "host_url": where.host_url,
        "node": platform.node(),
        "image": tenant.image,
        "generation": generation_shape(tenant.generation),
        "applied": generation_shape(tenant.applied),
        "epoch": tenant.epoch or None,
        "desired": tenant.desired,
        "observed": None,  # and what follows: known to the loop, which adds it
        "next_action": tenant.next_action or None,
        "failures": 0,
        "trouble": None,
        "retry_in_s": None,
        "working": False,
        "queue": None,
        "since": rfc3339(tenant.since),
        "created_at": rfc3339(tenant.created_at),
        "last_request_at": rfc3339(tenant.last_request_at),
        "sleeping_since": rfc3339(tenant.since) if tenant.status in SLEEPING else None,
        "idle_nap_s": tenant.nap_after_s,
        "idle_sleep_s": tenant.sleep_after_s,
        "settings": tenant.settings,
        "delete_after": rfc3339(tenant.delete_after),
        "suspend_after": rfc3339(tenant.suspend_after),
        "suspend_reason": tenant.suspend_reason or None,
        "restore": None,
        "backup": backup_shape(epochs, lag_s, written=tenant.status is Status.RUNNING),
    }
    if tenant.restore is not None:
        shape["restore"] = {"at": tenant.restore.at, "epoch": tenant.restore.epoch}
    return shape


def quota_shape(tenant: Tenant, plan: Plan, month: str) -> dict[str, Any] | None:
    """How much of the plan's calls of a month (YYYY-MM) is used, by the instance's own count; None without a limit."""
    limit = plan.requests_month
    if not limit:
        return None
    said = tenant.quota if tenant.quota is not None and tenant.quota.month == month else None
    served_most = limit + limit * plan.quota_grace_percent // 100
    now = QuotaUsed(month, said.calls if said else 0, limit, served_most)
    return {
        "requests_month": limit,
        "used": now.calls,
        "percent": round(100 * now.calls / limit, 1),
        "served_most": served_most,
        "state": now.step.name.lower(),
    }


def generation_shape(generation: Generation) -> dict[str, int]:
    """A generation as an object."""
    return {"incarnation": generation.incarnation, "number": generation.number}


def backup_shape(epochs: Sequence[Epoch], lag_s: float | None, *, written: bool) -> dict[str, Any]:
    """How safe a tenant's data is: newest confirmation and verification over the present line of its epochs.

    `lag_s` is 0 when everything is at the replica, as it is of one that sleeps; None where that is not known.
    """
    kept = [epoch for epoch in present_line(epochs) if epoch.expired_at is None]
    confirmed = max((epoch.confirmed_at for epoch in kept if epoch.confirmed_at), default=None)
    verified = max((epoch.verified_at for epoch in kept if epoch.verified_at), default=None)
    newest = max((epoch for epoch in kept if epoch.confirmed_at), key=lambda epoch: epoch.n, default=None)
    if lag_s is None and confirmed is not None and not written:
        lag_s = 0.0
    return {
        "confirmed_at": rfc3339(confirmed),
        "verified_at": rfc3339(verified),
        "broken_at": rfc3339(newest.broken_at) if newest is not None else None,
        "lag_s": round(lag_s, 3) if lag_s is not None else None,
    }


def epoch_shape(epoch: Epoch) -> dict[str, Any]:
    """One life of a tenant's database."""
    return {
        "n": epoch.n,
        "parent": epoch.parent,
        "started_at": rfc3339(epoch.started_at),
        "closed_at": rfc3339(epoch.closed_at),
        "first_txid": epoch.first_txid,
        "confirmed_txid": epoch.confirmed_txid,
        "confirmed_at": rfc3339(epoch.confirmed_at),
        "verified_at": rfc3339(epoch.verified_at),
        "broken_at": rfc3339(epoch.broken_at),
        "expired_at": rfc3339(epoch.expired_at),
        "bytes": epoch.bytes,
        "ledger": {"seq": epoch.ledger_seq, "hash": epoch.ledger_hash or None},
    }


def key_shape(key: KeyRecord) -> dict[str, Any]:
    """A key without its text."""
    state = "revoked" if key.revoked_at is not None else "active" if key.valid_at(time.time()) else "expired"
    return {
        "id": key.id,
        "name": key.name,
        "kind": key.kind,
        "prefix": key.prefix,
        "state": state,
        "scopes": list(key.scopes),
        "models": list(key.models),
        "ip_allow": list(key.ip_allow),
        "rpm": key.rpm or None,
        "budget_usd_month": key.budget_month_nano / NANO_PER_USD if key.budget_month_nano else None,
        "created_at": rfc3339(key.created_at),
        "expires_at": rfc3339(key.expires_at),
        "revoked_at": rfc3339(key.revoked_at),
        "last_used_at": rfc3339(key.last_used_at),
    }


def account_shape(account: Account) -> dict[str, Any]:
    """An account as itself sees it."""
    return {
        "id": account.id,
        "email": account.email,
        "name": account.name,
        "plan": account.plan,
        "created_at": rfc3339(account.created_at),
        "delete_after": rfc3339(account.delete_after),
    }


def token_shape(token: Token) -> dict[str, Any]:
    """A token without its text."""
    return {
        "id": token.id,
        "name": token.name,
        "prefix": token.prefix,
        "scopes": list(token.scopes),
        "created_at": rfc3339(token.created_at),
        "expires_at": rfc3339(token.expires_at),
        "revoked_at": rfc3339(token.revoked_at),
    }


def list_shape(name: str, rows: Sequence[Any], total: int, offset: int) -> dict[str, Any]:
    """The list envelope; `next_cursor` is where the next page begins."""
    following = offset + len(rows)
    more = bool(rows) and following < total
    return {
        name: list(rows),
        "count": len(rows),
        "total": total,
        "has_more": more,
        "next_cursor": str(following) if more else None,
    }
