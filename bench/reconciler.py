"""What a pass of the reconciler over many tenants costs. `python -m bench.reconciler [TENANTS]`, or `make bench-reconciler`.

A real SQLite control database with three keys and two epochs for each tenant; engine, edge, Litestream, instances and
folders answer at once from memory, so that what is measured is the control plane's own work. Two machines: one where
every tenant has an instance (half of them napping), one as they are, where nineteen in twenty are asleep.
"""

from __future__ import annotations

import asyncio
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, cast

from sqlalchemy import Connection, insert

from bench.__main__ import machine as this_machine
from control_plane.domain.plans import FREE
from control_plane.domain.tenants import Desired, Generation, Status
from control_plane.reconcile.look import look_at_machine
from control_plane.reconcile.loop import Reconciler
from control_plane.reconcile.perform import Parts
from control_plane.reconcile.plan import decide
from control_plane.reconcile.ports import Activity, Backups, Edge, Instances, Probe, Unavailable, Volumes, VolumeState
from control_plane.reconcile.seen import Policy, Seen
from control_plane.reconcile.spec import revision
from control_plane.reconcile.system_clock import SystemClock
from control_plane.runtimes.protocol import Observed, RunState, Runtime
from control_plane.store.database import Database
from control_plane.store.schema import accounts, epochs, keys, tenants
from control_plane.store.store import Store
from instance.core.garbage import collect_seldom

RESULTS = Path(__file__).parent / "results-reconciler.json"
TENANTS = 10_000
PER_ACCOUNT = 4
KEYS = 3
TIMES = 7
GENERATION = Generation(1, 3)
Spread = Callable[[int], RunState | None]


def crowded(n: int) -> RunState | None:
    """Every tenant has an instance."""
    return RunState.RUNNING if n % 2 else RunState.PAUSED


def usual(n: int) -> RunState | None:
    """One in twenty has one; of those, one in five is awake."""
    if n % 20:
        return None
    return RunState.RUNNING if n % 100 == 0 else RunState.PAUSED


class Machine:
    """Everything but the database, answering from memory."""

    def __init__(self, count: int, spread: Spread, revision_: str) -> None:
        states = {f"t{n:05d}": spread(n) for n in range(count)}
        self.states = {slug: state for slug, state in states.items() if state is not None}
        self.revision = revision_
        self.now = time.time()
        self._registered = dict.fromkeys(self.states, 2)

    def seen(self, slug: str) -> Observed:
        return Observed(slug, self.states[slug], 2, self.revision, "image", f"run-{slug}", 4_000, self.now)

    async def prepare(self) -> None: ...

    async def observe(self, name: str | None = None) -> list[Observed]:
        names = self.states if name is None else [name] if name in self.states else []
        return [self.seen(slug) for slug in names]

    async def linked(self, slug: str | None = None) -> Mapping[str, bool]:
        awake = {each: True for each, state in self.states.items() if state is RunState.RUNNING} if slug is None else {}
        return awake if slug is None else {slug: True} if self.states.get(slug) is RunState.RUNNING else {}

    async def registered(self, slug: str | None = None) -> Mapping[str, int]:
        return self._registered if slug is None else {slug: 2} if slug in self.states else {}

    async def probe(self, slug: str) -> Probe:
        return Probe(True, False, GENERATION, 2)

    async def activity(self, slug: str) -> Activity:
        return Activity(0, 10.0, time.time() - 10)

    async def usage(self, slug: str) -> Mapping[str, Any]:
        raise Unavailable("not counted here")

    async def state(self, slug: str) -> VolumeState:
        return VolumeState(database=True, epoch=2, replicated=True)

    async def owners(self) -> set[str]:
        return set()


def fill(connection: Connection, count: int, spread: Spread) -> None:
    """The database of a plane that has settled."""
    now = time.time()
    status = {RunState.RUNNING: Status.RUNNING, RunState.PAUSED: Status.NAPPING, None: Status.ASLEEP}
    words = {
        Status.RUNNING: "naps after 300 s without a call",
        Status.NAPPING: "wakes at the next call; sleeps after 3600 s without one",
        Status.ASLEEP: "wakes at the next call",
    }
    idle_s = {Status.RUNNING: 10, Status.NAPPING: 600, Status.ASLEEP: 86_400}
    owners = range(1, count // PER_ACCOUNT + 2)
    account: dict[str, Any] = {"name": "", "password_hash": "", "plan": "free", "created_at": now}
    connection.execute(insert(accounts), [{**account, "id": n, "email": f"{n}@example.com"} for n in owners])
    blank: dict[str, Any] = {
        "reason": "",
        "settings": {},
        "failure": "",
        "purged_at": None,
        "sealed_secrets": b"sealed" * 20,
    }
    common: dict[str, Any] = {
        "plan": "free",
        "region": "local",
        "desired": Desired.RUNNING,
        "image": "image",
        "incarnation": 1,
    }
    common |= {"number": 3, "applied_incarnation": 1, "applied_number": 3, "epoch": 2, "restore": None}
    common |= {"nap_after_s": 300, "sleep_after_s": 3_600, "created_at": now - 1e6, "since": now - 100}
    rows = []
    for n in range(count):
        state = status[spread(n)]
        last = {"status": state, "next_action": words[state], "last_request_at": now - idle_s[state]}
        rows.append({**common, **blank, **last, "slug": f"t{n:05d}", "account_id": n // PER_ACCOUNT + 1})
    connection.execute(insert(tenants), rows)
    key: dict[str, Any] = {
        "name": "build",
        "kind": "proxy",
        "prefix": "sk-sy-…",
        "scopes": ["proxy"],
        "models": [],
        "ip_allow": [],
    }
    key |= {"rpm": 0, "budget_month_nano": 0, "created_at": now, "generation": 3}
    numbered = [(n, k) for n in range(count) for k in range(KEYS)]
    connection.execute(insert(keys), [{**key, "tenant": f"t{n:05d}", "sha256": f"{n}-{k}"} for n, k in numbered])
    epoch: dict[str, Any] = {
        "restored": False,
        "started_at": now - 9e5,
        "first_txid": 1,
        "confirmed_txid": 9,
        "bytes": 1 << 20,
    }
    epoch |= {"ledger_seq": 5, "ledger_hash": "ab" * 32, "confirmed_at": now - 5_000, "verified_at": now - 3_000}
    ends = {1: now - 8e5, 2: None}
    connection.execute(
        insert(epochs),
        [
            {**epoch, "tenant": f"t{n:05d}", "n": e, "parent": e - 1 or None, "closed_at": ends[e]}
            for n in range(count)
            for e in (1, 2)
        ],
    )


class StandingClock(SystemClock):
    """Time does not pass for the loop, so that nobody is due to be looked at again while it is measured."""

    def __init__(self) -> None:
        self._at = time.monotonic()

    def monotonic(self) -> float:
        """Always the same."""
        return self._at


class Held:
    """The longest time for which the event loop ran nothing else."""

    def __init__(self) -> None:
        self.longest_s = 0.0

    async def watch(self) -> None:
        before = time.perf_counter()
        while True:
            await asyncio.sleep(0.0005)
            now = time.perf_counter()
            self.longest_s, before = max(self.longest_s, now - before), now


async def timed(work: Callable[[], Awaitable[object]]) -> tuple[float, float, float]:
    """Wall time of it, CPU time of the process, and the longest hold of the event loop meanwhile, in seconds."""
    held = Held()
    watching = asyncio.create_task(held.watch())
    await asyncio.sleep(0.01)
    held.longest_s, begun, begun_cpu = 0.0, time.perf_counter(), time.process_time()
    await work()
    took, cpu = time.perf_counter() - begun, time.process_time() - begun_cpu
    await asyncio.sleep(0.002)
    watching.cancel()
    return took, cpu, held.longest_s


async def measure(folder: Path, count: int, spread: Spread) -> dict[str, float]:
    """One machine's figures, in seconds."""
    database = Database(f"sqlite:///{folder / 'control.db'}")
    await database.open()
    await database.write(lambda connection: fill(connection, count, spread))
    store = Store(database, lambda _: FREE, lambda sealed, _: sealed)
    first = (await store.tenants())[0]
    machine = Machine(count, spread, revision(first, FREE))
    parts = Parts(
        store,
        cast(Runtime, machine),
        cast(Edge, machine),
        cast(Backups, machine),
        cast(Instances, machine),
        cast(Volumes, machine),
        StandingClock(),
    )
    policy = Policy(confirm_every_s=86_400.0)  # a confirmation is Litestream's time, not the loop's

    async def observe_and_plan() -> None:
        everyone, sight = await store.tenants(), await look_at_machine(parts)
        lives = await store.epochs_of([each.slug for each in everyone])
        now, volume = time.time(), VolumeState(database=True, epoch=2, replicated=True)
        for n, tenant in enumerate(everyone):
            instance, linked, registered, up = sight.of(tenant.slug)
            awake = instance is not None and instance.state is RunState.RUNNING
            seen = Seen(
                instance,
                linked,
                Probe(True, False, GENERATION, 2) if awake else None,
                Activity(0, 10.0, now - 10) if awake else None,
                volume,
                tuple(lives[tenant.slug]),
                registered,
                up,
                revision=revision(tenant, FREE),
            )
            if decide(tenant, seen, now, policy).actions:
                raise RuntimeError(f"{tenant.slug} is not settled: {decide(tenant, seen, now, policy)}")
            if n % 250 == 0:
                await asyncio.sleep(0)

    def new_reconciler() -> Reconciler:
        return Reconciler(
            store=store,
            runtime=parts.runtime,
            edge=parts.edge,
            backups=parts.backups,
            instances=parts.instances,
            volumes=parts.volumes,
            clock=parts.clock,
            policy=policy,
            seed=1,
        )

    collect_seldom()  # as the control plane does when it has started
    cold = await timed(observe_and_plan)
    planned = [await timed(observe_and_plan) for _ in range(TIMES)]
    loop = new_reconciler()
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    first_pass = await timed(loop.one_pass)
    looked_at = await timed(loop.settle)
    passes = [await timed(loop.one_pass) for _ in range(TIMES)]
    if loop.status()["working"] or loop.status()["backing_off_count"]:
        raise RuntimeError(f"the fleet did not settle: {loop.status()}")
    after_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await database.close()
    figures: dict[str, float] = {"instances": len(machine.states)}
    measured = {
        "observe_and_plan_first": [cold],
        "observe_and_plan": planned,
        "first_pass": [first_pass],
        "first_looks": [looked_at],
        "settled_pass": passes,
    }
    for name, times in measured.items():
        wall, cpu, held = (round(statistics.median(column), 4) for column in zip(*times, strict=True))
        figures |= {f"{name}_s": wall, f"{name}_cpu_s": cpu, f"{name}_holds_event_loop_s": held}
    return figures | {"peak_memory_grew_mb": round((after_kb - before_kb) / 1024, 1)}


def main() -> int:
    """Measure, print and write both machines' figures."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else TENANTS
    figures: dict[str, Any] = {"tenants": count, "keys": count * KEYS, "machine": this_machine()}
    for name, spread in (("every tenant has an instance", crowded), ("19 in 20 asleep", usual)):
        with tempfile.TemporaryDirectory() as folder:
            figures[name] = asyncio.run(measure(Path(folder), count, spread))
        print(f"{count} tenants, {name}")
        for figure, value in figures[name].items():
            print(f"  {figure:44} {value}")
    if count == TENANTS:
        RESULTS.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
