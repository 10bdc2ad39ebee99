"""What folding one call into SQLite costs: CPU of the writer's thread, whole and by part. `python -m bench.fold [CALLS]`.

The records are those of real exchanges, appended to a real journal; the folds are the instance's own, run here in the
main thread on its database, so that nothing else is measured.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson

from bench.chain_calls import CASES, answer, answer_text, request
from instance.chute.answer import Answer
from instance.chute.exchange import Exchange
from instance.chute.operations import CHAT
from instance.chute.record import estimate_usage, write_record
from instance.core.folding import Fold, Folding
from instance.core.garbage import collect_seldom
from instance.core.ids import new_id
from instance.core.journal import Journal
from instance.lookout.call_columns import CALL_COLUMNS, CALL_KIND
from instance.server import Instance, ServeOptions

CALLS = 20_000
PER_TURN = 1000
"""Appended, then folded, in turns: 1000 is what 5,000 requests a second leave in 200 ms."""

Parts = tuple[bytes, ...]

_ID, _REQUEST_ID = CALL_COLUMNS.index("id"), CALL_COLUMNS.index("request_id")
_CREATED_AT_NS = CALL_COLUMNS.index("created_at_ns")


class Kept:
    """Takes records in the place of a journal."""

    def __init__(self) -> None:
        self.parts: Parts = ()

    def append(self, kind: int, *parts: bytes) -> int:
        self.parts = parts
        return 1


async def sample(instance: Instance) -> Parts:
    """The journal's record of one ordinary call, texts kept."""
    chute = instance.chute
    now = time.perf_counter_ns()
    x = Exchange(new_id("tr_"), now, time.time_ns(), "/v1/chat/completions", {}, CHAT)
    x.request_id = "req_" + x.id[3:]
    x.raw = request(CASES[0])
    x.req = orjson.loads(x.raw)
    x.principal = next(iter(instance.core.keys.principals()))
    x.client_ip = "127.0.0.1"
    x.model_requested = str(x.req["model"])
    x.targets = chute.providers.resolve("openai/gpt-4o-mini")
    plan = x.plan = chute.registry.plan("chat")
    answered = answer(answer_text(CASES[0]), 1)

    async def reach(x: Exchange) -> Answer:
        x.attempts.append({"target": "openai/gpt-4o-mini", "status": 200, "duration_us": 812_345})
        obj = orjson.loads(answered)
        x.usage.take(obj["usage"])
        return Answer(body=answered, obj=obj, target=x.targets[0])

    plan.target = reach
    plan.respond(x, await plan.run(x))
    estimate_usage(x)
    chute.price(x)
    plan.finish(x)
    kept = Kept()
    write_record(kept, x, answered)  # type: ignore[arg-type]
    return kept.parts


def append_calls(journal: Journal, like: Parts, count: int) -> None:
    """Append calls that differ as calls of one client do: by id and time."""
    columns = orjson.loads(like[0])
    for _ in range(count):
        columns[_ID] = new_id("tr_")
        columns[_REQUEST_ID] = "req_" + columns[_ID][3:]
        columns[_CREATED_AT_NS] = time.time_ns()
        journal.append(CALL_KIND, orjson.dumps(columns), *like[1:])


class Timed:
    """A fold that adds up its own CPU time."""

    def __init__(self, name: str, fold: Fold) -> None:
        self.name = name
        self.cpu_ns = 0
        self._fold = fold

    def __call__(self, connection: Any, records: Sequence[Any]) -> None:
        started = time.thread_time_ns()
        self._fold(connection, records)
        self.cpu_ns += time.thread_time_ns() - started


def _name(fold: Callable[..., Any]) -> str:
    return getattr(fold, "__qualname__", type(fold).__qualname__)


async def measure(calls: int = CALLS) -> dict[str, float]:
    """Microseconds of CPU a record: `whole`, each fold by its name, and the `rest` (reading, commits, checkpoints)."""
    with tempfile.TemporaryDirectory(prefix="sybench") as data:
        env = {"STOCKYARD_ADMIN_KEY": "sy_admin_" + "b" * 43, "OPENAI_API_KEY": "sk-bench-0123456789"}
        instance = await Instance.open(ServeOptions(data=Path(data), env=env))
        like = await sample(instance)
        core = instance.core
        folds = dict(core.writer._folding._folds)
        await instance.close()

        connection = core.database.open()
        position = connection.execute("SELECT sequence, segment FROM journal_position").fetchone()
        journal = Journal(core.data_dir / "journal", core.epoch)
        journal.open(*position)
        folding = Folding(connection, journal, position[0])
        timed = [Timed(_name(fold), fold) for fold in folds[CALL_KIND]]
        for fold in timed:
            folding.register(CALL_KIND, fold)
        append_calls(journal, like, PER_TURN)
        collect_seldom()
        while folding.fold_slice(journal.sequence):
            pass
        folding.cpu_ns = folding.records = 0
        for fold in timed:
            fold.cpu_ns = 0
        slices = 0
        for _ in range(calls // PER_TURN):
            append_calls(journal, like, PER_TURN)
            while folding.fold_slice(journal.sequence):
                slices += 1
        records = folding.records
        result = {"whole": folding.cpu_ns / records / 1000}
        result |= {fold.name: fold.cpu_ns / records / 1000 for fold in timed}
        result["rest"] = result["whole"] - sum(fold.cpu_ns for fold in timed) / records / 1000
        result["records"] = records
        result["records_per_slice"] = records / slices
        result["record_bytes"] = sum(map(len, like))
        result["database_bytes_per_record"] = core.database.size_bytes() / records
        folding.close()
        connection.close()
        core.database.close()
        return result


def main() -> None:
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else CALLS
    print(json.dumps({name: round(value, 2) for name, value in asyncio.run(measure(calls)).items()}, indent=2))


if __name__ == "__main__":
    main()
