"""Backups proven: `python -m bench.restore` restores random points in time, `--loss` kills a host and counts what is missing.

Points: a real instance's database under steady writes is replicated by the real Litestream and our pacer. Each point is
restored, checked (every page, every ledger entry), and its content compared with what was committed by then: all of the
commits up to one that was begun before that time, none of after it, and no further back than Litestream promises: a
second while it still has single pieces of that time (`l0-retention`, five minutes in the service, less one interval of
the first level), else one such interval, 30 seconds. Points begin one interval after the epoch: before, there is none.

Loss: writer, Litestream and pacer are killed at once; how much of what was committed does the store not have?
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.replication import EPOCH, SLUG, config_of, database_of, start_litestream
from bench.steady_writer import Commit, SteadyWriter, commits_of
from control_plane.backups.check import check
from control_plane.backups.litestream import LitestreamBackups
from control_plane.config import Config
from control_plane.reconcile.ports import RestoreOutcome

RESULTS = Path(__file__).parent / "results-restore.json"
FINE_S = 1.0
"""How far before its time a restored state may lie while single pieces are kept; after that, this and the level's interval."""
MARGIN_S = 3.0
"""For what is dropped while points are restored."""


@dataclass(frozen=True, slots=True)
class Levels:
    """Litestream's: for how long it keeps single pieces, and the interval of those that it joins them to."""

    l0_s: float
    l1_s: float

    @property
    def fine_until_s(self) -> float:
        """The age up to which a time is restored to the second."""
        return self.l0_s - self.l1_s - MARGIN_S

    @property
    def settings(self) -> dict[str, Any]:
        """As Litestream is told."""
        return {
            "l0-retention": f"{self.l0_s:g}s",
            "l0-retention-check-interval": "2s",
            "levels": [{"interval": f"{self.l1_s:g}s"}, {"interval": f"{self.l1_s * 10:g}s"}],
        }


@dataclass(frozen=True, slots=True)
class Point:
    """One restored point in time: its age at the restore, how far back the restored state lies, and what it cost."""

    age_s: float
    behind_s: float
    entries: int
    restore_s: float
    fault: str


async def points(megabytes: float, number: int, seconds: float, rate: float, levels: Levels, seed: int) -> list[Point]:
    """Write for so long, then restore so many random points of that time."""
    with tempfile.TemporaryDirectory(prefix="sy") as folder:
        config = config_of(Path(folder))
        database = database_of(config)
        SteadyWriter(database).fill(megabytes)
        litestream = start_litestream(config, levels.settings)
        backups = LitestreamBackups(config)
        try:
            await backups.register(SLUG, EPOCH)
            await backups.sync_wait(SLUG)
            backups.start()
            writer = _process("bench.steady_writer", str(database), str(rate), str(seconds))
            await asyncio.to_thread(writer.wait)
            await backups.sync_wait(SLUG)
            commits = commits_of(database)
            chance = random.Random(seed)
            times = [chance.uniform(commits[0].done + levels.l1_s, commits[-1].begun) for _ in range(number)]
            return [await _point(backups, config, at, commits, levels) for at in times]
        finally:
            await backups.close()
            litestream.kill()
            litestream.wait()


async def _point(backups: LitestreamBackups, config: Config, at: float, commits: list[Commit], levels: Levels) -> Point:
    copy = config.data / "copy.db"
    begun, age = time.monotonic(), time.time() - at
    result = await backups.restore(SLUG, EPOCH, copy, at=datetime.fromtimestamp(at, UTC).isoformat())
    took = time.monotonic() - begun
    if result.outcome is not RestoreOutcome.RESTORED:
        return Point(age, 0.0, 0, took, f"{result.outcome}: {result.detail}")
    checked = check(copy)
    with closing(sqlite3.connect(copy)) as connection:
        count, last = connection.execute("SELECT count(*), max(seq) FROM ledger").fetchone()
    copy.unlink()
    behind, fault = _compare(last, at, commits)
    if not checked.ok:
        fault = checked.detail
    elif count != last:
        fault = f"{count} entries, the last is {last}"
    elif not fault and behind > (FINE_S if age < levels.fine_until_s else FINE_S + levels.l1_s):
        fault = "further back than is promised"
    return Point(age, behind, count, took, fault)


def _compare(last: int, at: float, commits: list[Commit]) -> tuple[float, str]:
    """How long before `at` the first commit was done that is missing; and what is wrong if something of after it is there."""
    done_by_then = bisect_right(commits, at, key=lambda each: each.done)
    missing = last - commits[0].n + 1  # index of the first commit that the copy does not have
    if missing > 0 and commits[missing - 1].begun > at:
        return 0.0, f"entry {last} was committed after that time"
    return (at - commits[max(missing, 0)].done if missing < done_by_then else 0.0), ""


@dataclass(frozen=True, slots=True)
class Loss:
    """One lost host: seconds and commits that the store does not have."""

    store: str
    lost_s: float
    lost_commits: int
    fault: str


async def loss(store: str, replica_url: str, rate: float, chance: random.Random) -> Loss:
    """Kill everything of a host at a random moment of steady writes, and restore elsewhere."""
    with tempfile.TemporaryDirectory(prefix="sy") as folder:
        config = config_of(Path(folder), replica_url)
        database = database_of(config)
        SteadyWriter(database).fill(1)
        processes: list[subprocess.Popen[Any]] = [start_litestream(config)]
        try:
            for name, *arguments in (
                ("bench.replication", folder, replica_url),
                ("bench.steady_writer", str(database), str(rate), "60"),
            ):
                processes.append(started := _process(name, *arguments))
                assert started.stdout is not None
                await asyncio.to_thread(started.stdout.readline)
            await asyncio.sleep(chance.uniform(4.0, 7.0))
        finally:
            for process in processes:
                os.kill(process.pid, signal.SIGKILL)
            for process in processes:
                process.wait()
        commits = commits_of(database)
        elsewhere = Path(folder) / "elsewhere.db"
        backups = LitestreamBackups(config)
        result = await backups.restore(SLUG, EPOCH, elsewhere)
        await backups.close()
        if result.outcome is not RestoreOutcome.RESTORED:
            return Loss(store, 0.0, 0, f"{result.outcome}: {result.detail}")
        checked = check(elsewhere)
        lost = [each for each in commits if each.n > checked.ledger_seq]
        return Loss(store, commits[-1].done - lost[0].done if lost else 0.0, len(lost), checked.detail)


def _process(name: str, *arguments: str) -> subprocess.Popen[Any]:
    return subprocess.Popen([sys.executable, "-m", name, *arguments], stdout=subprocess.PIPE)


@contextmanager
def _stores() -> Iterator[dict[str, str]]:
    """A directory (an empty address: the default one), and moto's S3."""
    from tests.backups.remote import CREDENTIALS, s3_server, under

    os.environ.update(CREDENTIALS)
    with s3_server() as url:
        yield {"directory": "", "s3": under(url, f"loss-{time.time_ns()}")}


async def _lose(runs: int, rate: float, seed: int) -> list[Loss]:
    chance = random.Random(seed)
    found = []
    with _stores() as stores:
        for store, url in stores.items():
            for run in range(runs):
                found.append(await loss(store, url.replace("?", f"-{run}?", 1), rate, chance))
    return found


def _show_points(found: list[Point], levels: Levels) -> dict[str, Any]:
    fine = [each for each in found if each.age_s < levels.fine_until_s]
    rows = {}
    for name, some in (("recent", fine), ("older", [each for each in found if each not in fine])):
        if some:
            behind, took = [each.behind_s for each in some], [each.restore_s for each in some]
            rows[name] = {
                "points": len(some),
                "faults": [each.fault for each in some if each.fault],
                "behind_median_s": round(statistics.median(behind), 3),
                "behind_max_s": round(max(behind), 3),
                "restore_median_s": round(statistics.median(took), 3),
                "restore_max_s": round(max(took), 3),
            }
            print(f"{name:10}" + "  ".join(f"{key} {value}" for key, value in rows[name].items()))
    return rows


def _show_losses(found: list[Loss]) -> dict[str, Any]:
    rows = {}
    for store in dict.fromkeys(each.store for each in found):
        some = [each for each in found if each.store == store]
        seconds = [each.lost_s for each in some]
        rows[store] = {
            "runs": len(some),
            "faults": [each.fault for each in some if each.fault],
            "lost_median_s": round(statistics.median(seconds), 3),
            "lost_max_s": round(max(seconds), 3),
        }
        print(f"{store:10}" + "  ".join(f"{key} {value}" for key, value in rows[store].items()))
    return rows


def main() -> int:
    """0 when every point and every store kept what is promised."""
    parser = argparse.ArgumentParser(prog="python -m bench.restore", description=__doc__.partition("\n")[0])
    parser.add_argument("--size-mb", type=float, default=100, help="size of the database (100)")
    parser.add_argument("--points", type=int, default=50, help="points in time to restore (50)")
    parser.add_argument("--seconds", type=float, default=120, help="of steady writes (120)")
    parser.add_argument("--rate", type=float, default=200, help="commits a second (200)")
    parser.add_argument("--l0-retention", type=float, default=70, help="seconds that single pieces are kept (70)")
    parser.add_argument("--level", type=float, default=30, help="seconds of the pieces that they are joined to (30)")
    parser.add_argument("--loss", action="store_true", help="kill a host instead")
    parser.add_argument("--runs", type=int, default=5, help="of --loss, for each store (5)")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    asked = parser.parse_args()
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    entry: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": asked.seed,
        "rate": asked.rate,
    }
    faults: list[str]
    if asked.loss:
        losses = asyncio.run(_lose(asked.runs, asked.rate, asked.seed))
        known["loss"] = entry | _show_losses(losses) | {"each": [asdict(each) for each in losses]}
        faults = [each.fault for each in losses if each.fault]
    else:
        levels = Levels(asked.l0_retention, asked.level)
        found = asyncio.run(points(asked.size_mb, asked.points, asked.seconds, asked.rate, levels, asked.seed))
        run = entry | {"size_mb": asked.size_mb} | _show_points(found, levels)
        kept = f"l0_retention_{asked.l0_retention:g}_s"
        known.setdefault("points", {})[kept] = run | {"each": [asdict(each) for each in found]}
        faults = [each.fault for each in found if each.fault]
    RESULTS.write_text(json.dumps(known, indent=1) + "\n")
    print("every promise was kept" if not faults else f"{len(faults)} faults: {faults[:3]}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
