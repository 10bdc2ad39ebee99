"""Writes a tenant to one file: from its newest backup, so that it is neither woken nor held up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from control_plane.backups.check import Checked
from control_plane.backups.program import verdict_of
from control_plane.domain.state import key_state, rfc3339
from control_plane.domain.tenants import Epoch, Tenant
from control_plane.errors import CloudError
from control_plane.reconcile.ports import Backups, RestoreOutcome, Unavailable
from control_plane.reconcile.restore_plan import candidates
from control_plane.version import VERSION
from instance.core.portable import Contents, Packed, PortableError, Source, pack


async def newest(backups: Backups | None, tenant: Tenant, epochs: Sequence[Epoch], into: Path) -> int:
    """Write the tenant's database, with all that it had committed at the call, to `into`; the epoch it is of.

    Raises `conflict` while there is no backup yet, `backup_unavailable` when it cannot be reached or read.
    """
    if backups is None:
        raise CloudError("backup_unavailable", "this control plane runs without backups now; try again later")
    try:
        if (await backups.registered()).get(tenant.slug) == tenant.epoch:
            await backups.sync_wait(tenant.slug)
        for candidate in candidates(epochs, None):
            result = await backups.restore(tenant.slug, candidate.epoch, into)
            if result.outcome is RestoreOutcome.RESTORED:
                return candidate.epoch
            if candidate.confirmed:
                message = f"the backup of epoch {candidate.epoch} cannot be read: {result.detail or result.outcome}"
                raise CloudError("backup_unavailable", message)
    except (Unavailable, OSError) as problem:
        message = f"the backup cannot be reached: {problem}"
        raise CloudError("backup_unavailable", message, headers={"Retry-After": "10"}) from None
    raise CloudError("conflict", f"tenant `{tenant.slug}` has no confirmed backup yet; try again in a moment")


async def pack_tenant(tenant: Tenant, epoch: int, database: Path, secret_key: str, passphrase: str) -> Packed:
    """The file of a tenant whose database lies at `database`. Raises `conflict` when it cannot be made."""
    checked = await verdict_of("control_plane.backups.check", str(database))
    contents = Contents(_source(tenant, epoch, checked), _settings(tenant), _keys(tenant), bytes.fromhex(secret_key))
    try:
        return await asyncio.to_thread(pack, contents, database, passphrase)
    except PortableError as problem:
        raise CloudError("conflict", f"it cannot be exported: {problem}") from None


def _source(tenant: Tenant, epoch: int, checked: Checked) -> Source:
    return Source(
        origin="hosted",
        name=tenant.slug,
        version=VERSION,
        epoch=str(epoch),
        ledger_seq=checked.ledger_seq,
        ledger_hash=checked.ledger_hash,
        made_at=rfc3339(time.time()) or "",
    )


def _settings(tenant: Tenant) -> dict[str, Any]:
    """What the control plane set; what the instance itself was told is in its database."""
    return {
        "settings": tenant.settings,
        "plan": tenant.plan,
        "region": tenant.region,
        "idle_nap_s": tenant.nap_after_s,
        "idle_sleep_s": tenant.sleep_after_s,
    }


def _keys(tenant: Tenant) -> list[dict[str, Any]]:
    now = time.time()
    return [key_state(key) for key in tenant.keys if key.valid_at(now)]
