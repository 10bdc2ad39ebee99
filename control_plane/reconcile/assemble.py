"""The reconciler of a real control plane, put together from its parts."""

from __future__ import annotations

from control_plane.config import Config
from control_plane.reconcile.instances import SocketInstances
from control_plane.reconcile.loop import Reconciler
from control_plane.reconcile.ports import Backups, Store
from control_plane.reconcile.system_clock import SystemClock
from control_plane.reconcile.volumes import FolderVolumes
from control_plane.routing.edge import FolderEdge
from control_plane.runtimes import instance_owner, open_runtime


def assemble(config: Config, store: Store, backups: Backups) -> Reconciler:
    """Ready to `run`; raises `EngineError` for an engine that there is not."""
    return Reconciler(
        store=store,
        runtime=open_runtime(config),
        edge=FolderEdge(config),
        backups=backups,
        instances=SocketInstances(config),
        volumes=FolderVolumes(config, instance_owner(config)),
        clock=SystemClock(),
        starts_at_once=config.starts_at_once,
    )
