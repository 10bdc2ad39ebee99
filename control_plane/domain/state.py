"""The desired state of a tenant as its instance is told it: the body of `PUT /api/instance/state`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from control_plane.domain.plans import Plan
from control_plane.domain.tenants import KeyRecord, Tenant

NANO_PER_USD = 1_000_000_000


def rfc3339(at: float | None) -> str | None:
    """UTC with microseconds, as every time in the API; None for never."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def key_state(key: KeyRecord) -> dict[str, Any]:
    """One key as the instance checks it."""
    return {
        "id": key.id,
        "sha256": key.sha256,
        "prefix": key.prefix,
        "name": key.name,
        "kind": key.kind,
        "scopes": list(key.scopes),
        "limits": {
            "models": list(key.models),
            "ip_allow": list(key.ip_allow),
            "rpm": key.rpm or None,
            "budget_usd_month": key.budget_month_nano / NANO_PER_USD if key.budget_month_nano else None,
        },
        "expires_at": rfc3339(key.expires_at),
        "user": None,
        "team": None,
    }


def plan_state(plan: Plan) -> dict[str, Any]:
    """What of its plan an instance holds by itself."""
    return {
        "key_lease_s": plan.key_lease_s,
        "quotas": {
            "rpm": plan.rpm or None,
            "requests_month": plan.requests_month or None,
            "quota_grace_percent": plan.quota_grace_percent,
            "max_database_bytes": plan.max_database_bytes,
        },
    }


def desired_state(tenant: Tenant, plan: Plan) -> dict[str, Any]:
    """The whole state; revoked keys are left out, expired ones die by their own `expires_at`."""
    return {
        "generation": {"incarnation": tenant.generation.incarnation, "number": tenant.generation.number},
        "keys": [key_state(key) for key in tenant.keys if key.revoked_at is None],
        **plan_state(plan),
        "plan": tenant.plan,
        "settings": tenant.settings,
        "provider_secrets": [],
    }
