"""The reconciler of a real control plane, put together from its parts."""

from __future__ import annotations

from control_plane.config import Config
from control_plane.metrics.instruments import Instruments
from control_plane.metrics.watched import (
    Starts,
    watched_backups,
    watched_edge,
    watched_instances,
    watched_runtime,
    watched_store,
)
from control_plane.reconcile.instances import SocketInstances
from control_plane.reconcile.loop import Reconciler
from control_plane.reconcile.ports import Backups, Store
from control_plane.reconcile.system_clock import SystemClock
from control_plane.reconcile.volumes import FolderVolumes
from control_plane.routing.edge import FolderEdge
from control_plane.runtimes import instance_owner
from control_plane.runtimes.protocol import Runtime


def assemble(config: Config, store: Store, backups: Backups, runtime: Runtime, instruments: Instruments) -> Reconciler:
    """Ready to `run`, its effects counted."""
    starts = Starts(instruments)
    return Reconciler(
        store=watched_store(store, instruments, starts),
        runtime=watched_runtime(runtime, instruments),
        edge=watched_edge(FolderEdge(config), instruments, starts),
        backups=watched_backups(backups, instruments),
        instances=watched_instances(SocketInstances(config), instruments),
        volumes=FolderVolumes(config, instance_owner(config)),
        clock=SystemClock(),
        starts_at_once=config.starts_at_once,
    )
