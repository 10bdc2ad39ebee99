"""What the control plane knows of a customer's instance: plain data, no I/O.

Times are seconds since 1970 UTC as floats; `None` or 0 means never. Money is integer nano-dollars.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from control_plane.domain.quota import QuotaUsed


class Desired(StrEnum):
    """What the customer or operator wants. Naps and idle sleep are decided by `plan()` from activity, not here.

    RUNNING: may be awake; sleeps by itself when idle and wakes when `wake_requested_at` is newer than its sleep.
    ASLEEP: sleep now, stay so until a wake sets RUNNING again (a call through the activator does).
    """

    RUNNING = "running"
    ASLEEP = "asleep"
    SUSPENDED = "suspended"
    DELETED = "deleted"


class Status(StrEnum):
    """What was observed, as customers see it; written back by the reconciler, never by the API."""

    PROVISIONING = "provisioning"
    RUNNING = "running"
    NAPPING = "napping"
    ASLEEP = "asleep"
    SUSPENDED = "suspended"
    DELETED = "deleted"
    FAILED = "failed"


class Generation(NamedTuple):
    """Version of a tenant's desired state; compared incarnation first, then number."""

    incarnation: int
    number: int


@dataclass(frozen=True, slots=True)
class RestoreRequest:
    """A restore that the loop has yet to carry out; both None = the newest backup."""

    at: str | None = None  # RFC 3339: point in time
    epoch: int | None = None
    source: str = ""  # slug whose backups to read; "" = the tenant's own (a clone names another)
    requested_at: float = 0.0  # tells this request from an earlier one
    imported: bool = False  # its database was staged before it was opened; there is nothing else to go on with


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key of a tenant as the control plane keeps it: its digest, never its text."""

    id: int
    tenant: str
    name: str
    kind: str  # proxy | app | admin
    sha256: str  # hex
    prefix: str  # display form: first 12 … last 4
    created_at: float
    scopes: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    ip_allow: tuple[str, ...] = ()
    rpm: int = 0  # 0 = no limit
    budget_month_nano: int = 0  # 0 = no limit
    expires_at: float | None = None
    revoked_at: float | None = None
    generation: int = 0  # number of the tenant's generation that last changed this key
    last_used_at: float | None = None  # as its instance last said

    def valid_at(self, now: float) -> bool:
        """True while the key is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True, slots=True)
class Epoch:
    """One life of a tenant's database; a replica path of its own, never continued by another life."""

    tenant: str
    n: int
    parent: int | None
    started_at: float
    closed_at: float | None = None
    first_txid: int | None = None
    confirmed_txid: int | None = None
    confirmed_at: float | None = None
    verified_at: float | None = None
    broken_at: float | None = None  # when it last did not verify; None once it did
    expired_at: float | None = None  # when its replica was removed, being older than the plan keeps
    reaches_back_to: float | None = None  # the oldest time it restores to; None = its beginning
    bytes: int = 0
    ledger_seq: int = 0
    ledger_hash: str = ""


@dataclass(slots=True)
class Tenant:
    """One customer's instance: what is wanted of it, and what the loop last wrote back."""

    slug: str
    account_id: int
    plan: str
    region: str
    desired: Desired
    reason: str  # why it is suspended or deleted
    image: str
    generation: Generation
    epoch: int  # 0 = none yet
    created_at: float
    wake_requested_at: float | None = None  # a call or the operator asked
    sleep_requested_at: float | None = None
    last_request_at: float | None = None
    scheduled_next_at: float | None = None  # when its instance has something to do next, as it last said
    suspend_after: float | None = None  # an announced suspension takes effect then
    suspend_reason: str = ""  # why it was announced
    quota: QuotaUsed | None = None  # of the plan's calls of the month, as its instance last said
    nap_after_s: int = 300
    sleep_after_s: int = 3600
    restore: RestoreRequest | None = None
    restart_requested_at: float | None = None
    keys: tuple[KeyRecord, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    failure: str = ""  # reason code, "" = none
    delete_after: float | None = None  # when a deleted tenant's data and backups may go
    purge_began_at: float | None = None  # from then on a deletion cannot be taken back
    status: Status = Status.PROVISIONING
    next_action: str = ""
    since: float = 0.0  # when `status` last changed
    applied: Generation = Generation(0, 0)  # noqa: RUF009 - a NamedTuple is immutable; what the instance last confirmed
