"""From a tenant and its plan to what an instance is started from."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from control_plane.domain.plans import Plan
from control_plane.domain.tenants import Tenant
from control_plane.runtimes.protocol import InstanceSpec

NAMED_MOST = 1024  # tenants of one plan and image share a name


def revision(tenant: Tenant, plan: Plan) -> str:
    """Names everything whose change restarts an instance; a restart asked for is such a change too.

    By name and not by times, so that a clock that jumps never restarts one for ever.
    """
    return _named((tenant.image, plan.memory_mb, plan.cpus, tenant.restart_requested_at or 0))


@lru_cache(maxsize=NAMED_MOST)
def _named(parts: tuple[object, ...]) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def instance_spec(tenant: Tenant, plan: Plan, *, data_dir: Path, socket_dir: Path, instance_file: Path) -> InstanceSpec:
    """The spec of this tenant's instance at its present epoch."""
    return InstanceSpec(
        name=tenant.slug,
        image=tenant.image,
        epoch=tenant.epoch,
        revision=revision(tenant, plan),
        data_dir=data_dir,
        socket_dir=socket_dir,
        instance_file=instance_file,
        memory_mb=plan.memory_mb,
        cpus=plan.cpus,
    )
