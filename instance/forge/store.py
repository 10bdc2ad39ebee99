"""The tables of batches and their jobs. Writers run in the writer's thread, readers on reader threads."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

import orjson

from instance.forge.batch import Batch, NewJob

_COLUMNS = (
    "id, kind, status, priority, single, team, key_id, client_ip, total, max_attempts, concurrency, max_cost_nano, "
    "cost_nano, callback_url, callback_secret, callback_due, paused, created_at_ns, started_at_ns, completed_at_ns"
)


class OpenJob(NamedTuple):
    """A job that waits."""

    n: int
    model: str
    attempts: int


class Result(NamedTuple):
    """A job that has ended, or not yet; `answer` is sealed."""

    n: int
    custom_id: str
    status: str
    http_status: int
    answer: bytes | None
    trace_id: str


class Counts(NamedTuple):
    """How many jobs of a batch went well, how many did not, and the most attempts that one took."""

    done: int
    failed: int
    attempts: int


def add(connection: sqlite3.Connection, batch: Batch, jobs: Sequence[NewJob]) -> None:
    """Store a batch and its jobs; their bodies are sealed already."""
    row = tuple(getattr(batch, name.strip()) for name in _COLUMNS.split(","))
    connection.execute(f"INSERT INTO batches ({_COLUMNS}) VALUES ({','.join('?' * len(row))})", row)
    connection.executemany(
        "INSERT INTO batch_jobs (batch_id, n, custom_id, path, model, headers, body, status) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, 'queued')",
        [
            (batch.id, n, job.custom_id, job.path, job.model, orjson.dumps(job.headers).decode(), job.body)
            for n, job in enumerate(jobs)
        ],
    )


def recover(connection: sqlite3.Connection) -> None:
    """What ran when the process ended waits again; what was tried as often as it may has failed."""
    connection.execute(
        "UPDATE batch_jobs SET status = 'failed', body = NULL, answer = NULL WHERE status = 'running' AND attempts >= "
        "(SELECT max_attempts FROM batches WHERE id = batch_id)"
    )
    connection.execute("UPDATE batch_jobs SET status = 'queued', lease_until_ns = 0 WHERE status = 'running'")


def stand_back(connection: sqlite3.Connection) -> None:
    """What runs waits again, as if it had not been tried: the queue stops in good order."""
    connection.execute(
        "UPDATE batch_jobs SET status = 'queued', lease_until_ns = 0, attempts = attempts - 1 WHERE status = 'running'"
    )


def recover_one(connection: sqlite3.Connection, batch_id: str) -> None:
    """What ran of a batch waits again."""
    connection.execute(
        "UPDATE batch_jobs SET status = 'queued', lease_until_ns = 0 WHERE batch_id = ? AND status = 'running'",
        (batch_id,),
    )


def open_batches(connection: sqlite3.Connection) -> list[tuple[Batch, list[OpenJob]]]:
    """Batches that have not ended, the oldest first, each with the jobs that wait."""
    query = f"SELECT {_COLUMNS} FROM batches WHERE status IN ('queued', 'running') ORDER BY created_at_ns"
    found = []
    for row in connection.execute(query).fetchall():
        batch = _batch(row)
        jobs = connection.execute(
            "SELECT n, model, attempts FROM batch_jobs WHERE batch_id = ? AND status = 'queued' ORDER BY n", (batch.id,)
        )
        found.append((batch, [OpenJob(*job) for job in jobs]))
    return found


def due_callbacks(connection: sqlite3.Connection) -> list[Batch]:
    """Batches that ended and whose callback was not taken yet."""
    query = f"SELECT {_COLUMNS} FROM batches WHERE callback_due = 1 AND status NOT IN ('queued', 'running') LIMIT 100"
    return [_batch(row) for row in connection.execute(query)]


def one(connection: sqlite3.Connection, batch_id: str) -> tuple[Batch, Counts] | None:
    row = connection.execute(f"SELECT {_COLUMNS} FROM batches WHERE id = ?", (batch_id,)).fetchone()
    return (_batch(row), counts(connection, batch_id)) if row is not None else None


def listed(
    connection: sqlite3.Connection, *, team: str, key_id: str, status: str, limit: int, offset: int
) -> tuple[list[tuple[Batch, Counts]], int]:
    """A page of batches, the latest first, and how many there are; empty narrows nothing."""
    where = "(? = '' OR team = ?) AND (? = '' OR key_id = ?) AND (? = '' OR status = ?)"
    values = (team, team, key_id, key_id, status, status)
    total = connection.execute(f"SELECT count(*) FROM batches WHERE {where}", values).fetchone()[0]
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM batches WHERE {where} ORDER BY created_at_ns DESC LIMIT ? OFFSET ?",
        (*values, limit, offset),
    ).fetchall()
    return [(_batch(row), counts(connection, row[0])) for row in rows], total


def counts(connection: sqlite3.Connection, batch_id: str) -> Counts:
    row = connection.execute(
        "SELECT sum(status = 'done'), sum(status IN ('failed', 'cancelled')), max(attempts) "
        "FROM batch_jobs WHERE batch_id = ?",
        (batch_id,),
    ).fetchone()
    return Counts(row[0] or 0, row[1] or 0, row[2] or 0)


def job(connection: sqlite3.Connection, batch_id: str, n: int) -> tuple[str, dict[str, str], bytes | None]:
    """Path, headers and sealed body of one job."""
    path, headers, body = connection.execute(
        "SELECT path, headers, body FROM batch_jobs WHERE batch_id = ? AND n = ?", (batch_id, n)
    ).fetchone()
    return path, orjson.loads(headers), body


def lease(connection: sqlite3.Connection, batch_id: str, n: int, now_ns: int, until_ns: int) -> bool:
    """Take a job to run; whether it still waited."""
    taken = connection.execute(
        "UPDATE batch_jobs SET status = 'running', attempts = attempts + 1, lease_until_ns = ? "
        "WHERE batch_id = ? AND n = ? AND status = 'queued'",
        (until_ns, batch_id, n),
    ).rowcount
    connection.execute(
        "UPDATE batches SET status = 'running', started_at_ns = ? WHERE id = ? AND status = 'queued'",
        (now_ns, batch_id),
    )
    return taken == 1


def give_back(connection: sqlite3.Connection, batch_id: str, n: int) -> None:
    """A job that is to be tried again."""
    connection.execute(
        "UPDATE batch_jobs SET status = 'queued', lease_until_ns = 0 "
        "WHERE batch_id = ? AND n = ? AND status = 'running'",
        (batch_id, n),
    )


def end_job(connection: sqlite3.Connection, batch_id: str, n: int, result: Result, cost_nano: int) -> None:
    """Store a job's only result."""
    connection.execute(
        "UPDATE batch_jobs SET status = ?, http_status = ?, answer = ?, trace_id = ?, body = NULL "
        "WHERE batch_id = ? AND n = ? AND status IN ('queued', 'running')",
        (result.status, result.http_status, result.answer, result.trace_id, batch_id, n),
    )
    connection.execute("UPDATE batches SET cost_nano = cost_nano + ? WHERE id = ?", (cost_nano, batch_id))


def end_waiting(connection: sqlite3.Connection, batch_id: str, status: str, answer: bytes) -> None:
    """Jobs of a batch that wait are over, each with the same answer (sealed)."""
    connection.execute(
        "UPDATE batch_jobs SET status = ?, answer = ?, body = NULL WHERE batch_id = ? AND status = 'queued'",
        (status, answer, batch_id),
    )


def end_batch(connection: sqlite3.Connection, batch_id: str, status: str, now_ns: int) -> None:
    connection.execute(
        "UPDATE batches SET status = ?, completed_at_ns = ? WHERE id = ? AND status IN ('queued', 'running')",
        (status, now_ns, batch_id),
    )


def callback_taken(connection: sqlite3.Connection, batch_id: str) -> None:
    connection.execute("UPDATE batches SET callback_due = 0, callback_secret = x'' WHERE id = ?", (batch_id,))


def pause(connection: sqlite3.Connection, batch_id: str, paused: bool) -> None:
    connection.execute("UPDATE batches SET paused = ? WHERE id = ?", (paused, batch_id))


def results(connection: sqlite3.Connection, batch_id: str, after: int, limit: int) -> list[Result]:
    """A page of the jobs that have ended, in their order."""
    rows = connection.execute(
        "SELECT n, custom_id, status, http_status, answer, trace_id FROM batch_jobs WHERE batch_id = ? AND n > ? "
        "AND status NOT IN ('queued', 'running') ORDER BY n LIMIT ?",
        (batch_id, after, limit),
    )
    return [Result(*row) for row in rows]


def delete(connection: sqlite3.Connection, batch_id: str) -> None:
    connection.execute("DELETE FROM batch_jobs WHERE batch_id = ?", (batch_id,))
    connection.execute("DELETE FROM batches WHERE id = ?", (batch_id,))


def expire(connection: sqlite3.Connection, before_ns: int) -> None:
    """Remove batches that ended before then; a hundred at a time."""
    for (batch_id,) in connection.execute(
        "SELECT id FROM batches WHERE status NOT IN ('queued', 'running') AND completed_at_ns < ? LIMIT 100",
        (before_ns,),
    ).fetchall():
        delete(connection, batch_id)


def _batch(row: tuple[object, ...]) -> Batch:
    batch = Batch(*row)  # type: ignore[arg-type]
    batch.single, batch.callback_due, batch.paused = bool(batch.single), bool(batch.callback_due), bool(batch.paused)
    return batch
