"""What a plan allows a tenant: limits by name, with their units; no I/O."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """The limits of one plan. 0 means no limit for `rpm` and `requests_month`."""

    name: str
    idle_nap_s: int
    idle_sleep_s: int
    memory_mb: int
    cpus: float
    max_database_bytes: int
    rpm: int
    requests_month: int
    backup_days: int
    key_lease_s: int = 0  # an instance that heard nothing from the plane for so long refuses keys; 0 = never
    delete_grace_s: int = 7 * 86_400  # from DELETE until data and backups are removed
    quota_grace_percent: int = 10  # calls beyond `requests_month` that are still served


FREE = Plan("free", 300, 3_600, 256, 0.5, 1 << 30, 600, 100_000, 1)
PRO = Plan("pro", 1_800, 86_400, 1_024, 2.0, 20 << 30, 0, 0, 30, delete_grace_s=30 * 86_400)
DEFAULT_PLANS: dict[str, Plan] = {plan.name: plan for plan in (FREE, PRO)}
