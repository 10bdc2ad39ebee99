"""Which life of the database this start belongs to, and what the ledger says when it is a new one.

A database that is created, restored or moved begins a new epoch: a number that the control plane gives to a hosted
instance, a random id for a self-hosted one.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

from instance.core import meta
from instance.core.folding import Transaction
from instance.core.instance_file import InstanceFile
from instance.core.meta import Position
from instance.core.writer import AppendLedger, LedgerEvent

LedgerHead = Callable[[sqlite3.Connection], tuple[int, bytes]]
"""Sequence and hash of the newest ledger entry; `(0, zeros)` without one."""


@dataclass(frozen=True, slots=True)
class EpochChange:
    """The database is to begin `epoch`. `previous` is its last one; empty for a new database.

    `replaced_head` is the newest ledger head that anybody knows of this database's other lives, if one is known.
    """

    epoch: str
    previous: str
    replaced_head: dict[str, Any] | None


def random_epoch() -> str:
    """An epoch for a self-hosted database; it never looks like a number."""
    return "r" + token_hex(8)


def change_needed(connection: sqlite3.Connection, hosted: InstanceFile | None) -> EpochChange | None:
    """The epoch that this start begins; `None` when it goes on with the database's own."""
    current = meta.get(connection, meta.EPOCH)
    if hosted is not None:
        epoch = str(hosted.epoch)
        head = hosted.previous_head.model_dump() if hosted.previous_head else None
    else:
        epoch = meta.get(connection, meta.PENDING_EPOCH) or current or random_epoch()
        head = json.loads(meta.get(connection, meta.REPLACED_HEAD) or "null")
    return None if epoch == current else EpochChange(epoch, current, head)


def begin(
    connection: sqlite3.Connection,
    change: EpochChange,
    append_ledger: AppendLedger | None,
    ledger_head: LedgerHead | None,
) -> Position:
    """Begin the epoch and, unless the database is new, append the ledger's `restore` entry, in one transaction."""
    with Transaction(connection):
        position = meta.begin_epoch(connection, change.epoch)
        meta.put(connection, meta.PENDING_EPOCH, "")
        meta.put(connection, meta.REPLACED_HEAD, "")
        if change.previous and append_ledger is not None:
            head = ledger_head(connection) if ledger_head is not None else (0, b"")
            append_ledger(connection, [restore_event(change, head[0])])
    return position


def restore_event(change: EpochChange, last_seq: int) -> LedgerEvent:
    """The entry that says: the chain goes on from an older head. `last_seq` is the newest entry that is left."""
    detail: dict[str, Any] = {"epoch": _shown(change.epoch), "from": _shown(change.previous)}
    if change.replaced_head is not None:
        detail["previous_head"] = change.replaced_head
        if change.replaced_head["seq"] > last_seq:
            detail["lost_after_seq"] = last_seq
    return LedgerEvent("restore", "system", "database", "restore", detail)


def _shown(epoch: str) -> int | str:
    return int(epoch) if epoch.isdigit() else epoch
