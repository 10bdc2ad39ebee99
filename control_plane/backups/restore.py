"""Restores one replica to a file by `litestream restore`, and tells what is lost from what is out of reach."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from control_plane.backups.process import litestream_binary, litestream_environment
from control_plane.reconcile.ports import RestoreOutcome, RestoreResult, Unavailable

RESTORE_TIMEOUT_S = 3600
LIST_TIMEOUT_S = 60  # a store that is away is asked again and again before Litestream gives up
_NAME = "/replica"  # stands for the database in the configuration; nothing is there
NO_BACKUP = RestoreResult(RestoreOutcome.NOTHING, detail="there is no backup of this epoch")
_MISSING = ("no matching backup", "timestamp does not exist", "cannot calc restore plan: no matching")


class History(NamedTuple):
    """What a replica holds. Times have whole seconds: that is how Litestream lists them."""

    first: datetime
    last: datetime
    last_txid: int


async def history(replica_url: str) -> History | None:
    """First and last change in a replica; None if there is none. Raises `Unavailable` if it cannot be listed."""
    code, out, err = await _litestream(LIST_TIMEOUT_S, replica_url, "ltx", "-json", "-level", "all")
    if code != 0:
        raise Unavailable(f"the backup cannot be listed: {_last_line(err)}")
    files: list[dict[str, Any]] = json.loads(out or "[]") or []
    if not files:
        return None
    times = [datetime.fromisoformat(each["timestamp"]) for each in files]
    return History(min(times), max(times), max(int(each["max_txid"], 16) for each in files))


async def restore(replica_url: str, into: Path, at: str | None = None) -> RestoreResult:
    """Write the database as of `at` (RFC 3339; None = the newest) to `into`, whole and checked, or leave `into` alone.

    Raises `Unavailable` when the store cannot be reached, `ValueError` for a time that cannot be read.
    """
    found = await history(replica_url)
    if found is None:
        return NO_BACKUP
    arguments: list[str] = []
    if at is not None:
        moment = _moment(at)
        if moment < found.first:
            return RestoreResult(RestoreOutcome.NOTHING, detail=f"the backup begins at {found.first.isoformat()}")
        if moment < found.last + timedelta(seconds=1):
            arguments = ["-timestamp", moment.isoformat(timespec="microseconds").replace("+00:00", "Z")]
    making = into.with_name(f"{into.name}.restoring")
    _remove_database(making)
    try:
        code, out, err = await _run(making, arguments, replica_url)
        if code != 0 and arguments and moment >= found.last and _is_missing(err):
            arguments = []  # within the second of the last change, but after it
            code, out, err = await _run(making, arguments, replica_url)
        if code == 0:
            making.replace(into)
            return RestoreResult(RestoreOutcome.RESTORED, txid=int(json.loads(out)["txid"], 16))
        if arguments and _is_missing(err):
            return RestoreResult(RestoreOutcome.NOTHING, detail=_last_line(err))
        if "no space left on device" in err or "permission denied" in err:
            raise Unavailable(f"restore: {_last_line(err)}")
        if await history(replica_url) is None:  # raises if it is the store that went away meanwhile
            return NO_BACKUP
        # Said to be missing, too, where the newest is asked for: what is there does not begin at the beginning.
        return RestoreResult(RestoreOutcome.UNREADABLE, detail=_last_line(err))
    finally:
        _remove_database(making)


async def _run(into: Path, arguments: list[str], replica_url: str) -> tuple[int, str, str]:
    checked = ("-json", "-integrity-check", "full")
    return await _litestream(RESTORE_TIMEOUT_S, replica_url, "restore", *checked, *arguments, "-o", str(into))


async def _litestream(timeout_s: int, replica_url: str, *arguments: str) -> tuple[int, str, str]:
    """Run a command on one replica. Its address, which may hold a password, goes by standard input: others see arguments."""
    settings = {
        "dbs": [{"path": _NAME, "replica": {"url": replica_url}}],
        "logging": {"level": "error", "stderr": True},
    }
    with _readable(json.dumps(settings).encode()) as settings_pipe:
        process = await asyncio.create_subprocess_exec(
            litestream_binary(),
            arguments[0],
            *("-config", "/dev/stdin", "-no-expand-env"),
            *arguments[1:],
            _NAME,
            env=litestream_environment(),
            stdin=settings_pipe,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    try:
        async with asyncio.timeout(timeout_s):
            out, err = await process.communicate()
    except TimeoutError:
        raise Unavailable(f"litestream {arguments[0]} did not end within {timeout_s} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, out.decode(), err.decode("utf-8", "replace")


@contextmanager
def _readable(content: bytes) -> Iterator[int]:
    """A pipe that holds the content, which is short. An event loop's own may be a socket, which has no name to open."""
    read, write = os.pipe()
    try:
        os.write(write, content)
        os.close(write)
        yield read
    finally:
        os.close(read)


def _remove_database(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", ".tmp", ".tmp-wal", ".tmp-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _moment(at: str) -> datetime:
    moment = datetime.fromisoformat(at)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _is_missing(err: str) -> bool:
    return any(words in err for words in _MISSING)


def _last_line(err: str) -> str:
    lines = err.strip().splitlines()
    return lines[-1].removeprefix("Error: ")[:500] if lines else "no reason given"
