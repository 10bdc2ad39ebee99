"""Opens a control plane: database, keys, snapshot, reconciler, each in the background of one process."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any

from control_plane.api.limits import RequestRate
from control_plane.api.plane import Plane
from control_plane.backups.key_ends import KeyEnds
from control_plane.config import Config
from control_plane.errors import ConfigError
from control_plane.keys import digest, operator_key
from control_plane.master_key import load_master_key
from control_plane.moving.room import Room
from control_plane.snapshot import Snapshot
from control_plane.store import plans, suspensions, tenants
from control_plane.store.database import Database
from control_plane.store.store import Store
from control_plane.store.tenants import incarnation
from control_plane.store.upkeep import keep_bounded

log = logging.getLogger(__name__)
REQUESTS_PER_MINUTE = 600  # of one account key; the operator's has no limit


@asynccontextmanager
async def running_plane(
    config: Config,
    *,
    reconcile: bool = True,
    env: Mapping[str, str] | None = None,
    on_failure: Callable[[], None] = lambda: None,
) -> AsyncIterator[Plane]:
    """Everything opened, in the order in which it depends on each other; closed in the reverse.

    With `reconcile` False no instance is started or stopped. `on_failure` is called when a background part ends by a
    failure: the process should then end and be started anew. Raises ConfigError, or EngineError for a runtime's engine
    that there is not.
    """
    config.prepare()
    with only_one(config):
        async with _opened(config, reconcile, env, on_failure) as plane:
            yield plane


@contextmanager
def only_one(config: Config) -> Iterator[None]:
    """Hold the data folder: two loops over the same tenants would undo each other. Raises ConfigError."""
    with (config.data / "control.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"another control plane runs on {config.data}; stop it first") from None
        yield


@asynccontextmanager
async def _opened(
    config: Config, reconcile: bool, env: Mapping[str, str] | None, on_failure: Callable[[], None]
) -> AsyncIterator[Plane]:
    key, made = operator_key(config, env)
    box = load_master_key(config, env)
    database = Database(config.sqlalchemy_url, replicated=config.replicated)
    await database.open()
    try:
        store = Store(database, config.plan, box.open)
        plane = Plane(
            config=config,
            database=database,
            store=store,
            snapshot=Snapshot(database, config.snapshot_dir, config.plan),
            box=box,
            operator_digest=digest(key),
            incarnation=await database.write(incarnation),
            request_rate=RequestRate(REQUESTS_PER_MINUTE),
            started_at=time.time(),
            key_ends=KeyEnds(config.replica_url),
            room=Room(config),
        )
        plane.room.sweep(await database.read(tenants.slugs))
        known = [config.plan(name) for name in config.plans]
        for name in await database.write(lambda connection: plans.take_up(connection, known)):
            log.info("plan %s is new or has changed", name)
        if made:
            log.warning("operator key made and kept in %s", config.operator_key_file)
            if sys.stderr.isatty():
                print(f"operator key (kept in {config.operator_key_file}): {key}", file=sys.stderr)
        await plane.snapshot.write()
        async with (
            _running(plane.snapshot.run(), "snapshot", on_failure),
            _running(plane.key_ends.keep(database), "key ends", on_failure),
            _running(suspensions.keep(database), "suspensions", on_failure),
            _running(keep_bounded(database, config), "upkeep", on_failure),
        ):
            if not reconcile:
                yield plane
                return
            async with _reconciling(plane, on_failure):
                yield plane
    finally:
        await database.close()


@asynccontextmanager
async def _reconciling(plane: Plane, on_failure: Callable[[], None]) -> AsyncIterator[None]:
    """The loop with its real parts: runtime, edge, Litestream, instances."""
    from control_plane.backups.control_copy import ControlCopy
    from control_plane.backups.keeper import RetentionKeeper
    from control_plane.backups.lag_watch import LagWatch
    from control_plane.backups.litestream import LitestreamBackups
    from control_plane.checkups import keep_examining
    from control_plane.reconcile.assemble import assemble
    from control_plane.runtimes import open_runtime

    backups = LitestreamBackups(plane.config)
    if plane.config.replicated:
        backups.replicate_control(plane.incarnation)
    backups.start()
    plane.backups = backups
    try:
        plane.runtime = open_runtime(plane.config)
        reconciler = assemble(plane.config, plane.store, backups, plane.runtime, plane.instruments)
        plane.reconciler = reconciler
        parts: dict[str, Coroutine[Any, Any, None]] = {
            "retention": RetentionKeeper(plane.database, backups, plane.config.plan).run(),
            "lag of replicas": LagWatch(plane.database, backups, plane.config.replica_lag_alarm_s).run(),
            "reconciler": reconciler.run(),
            "check-ups": keep_examining(plane),
        }
        if plane.config.replicated:
            parts["own copy"] = ControlCopy(plane.database, backups, plane.incarnation).run()
        async with AsyncExitStack() as running:
            for name, work in parts.items():
                await running.enter_async_context(_running(work, name, on_failure))
            yield
    finally:
        plane.reconciler = plane.backups = plane.runtime = None
        await backups.close()


@asynccontextmanager
async def _running(work: Coroutine[Any, Any, None], name: str, on_failure: Callable[[], None]) -> AsyncIterator[None]:
    """Run `work` in the background; it must not end by itself. Should it fail, say so and end the process."""
    task = asyncio.create_task(work, name=name)

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            log.critical("%s failed; the control plane stops so that it is started anew", name, exc_info=error)
            on_failure()

    task.add_done_callback(ended)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await task
