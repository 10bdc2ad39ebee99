"""Finds a call by any of its ids: the trace's, the request's, or the one in its answer."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any

import orjson

from instance.lookout import store

SCANNED_MAX = 100_000
"""Newest calls that are looked through for an answer's id, which has no index as it would cost each call one."""


@dataclass(frozen=True, slots=True)
class KnownCall:
    """A call that is on record, and what decided its answer."""

    trace_id: str
    request_id: str
    answer_id: str
    key_id: str
    team: str
    provider: str
    model: str
    template: str
    experiment: str
    variant: str
    rule: str


def find_call(connection: sqlite3.Connection, name: str, team: str, key_id: str) -> KnownCall | None:
    """The call by its trace id or request id, else the newest whose answer had this id; with a `team` only that team's.

    Providers do not all give ids that are unique, so the newest call of the key `key_id` goes before a newer one of another.
    """
    found = store.one(connection, name, team)
    if found is None:
        trace_id = _with_answer(connection, name, team, key_id)
        found = store.one(connection, trace_id, team) if trace_id else None
    return _known(found[0]) if found is not None else None


def _with_answer(connection: sqlite3.Connection, answer_id: str, team: str, key_id: str) -> str:
    begins = orjson.dumps({"answer_id": answer_id})[:-1].decode()
    row = connection.execute(
        "SELECT id FROM (SELECT n, id, team_id, key_id, detail FROM traces ORDER BY n DESC LIMIT ?) "
        "WHERE substr(detail, 1, ?) = ? AND (? = '' OR team_id = ?) ORDER BY key_id = ? DESC, n DESC LIMIT 1",
        (SCANNED_MAX, len(begins), begins, team, team, key_id),
    ).fetchone()
    return row[0] if row is not None else ""


def _known(row: dict[str, Any]) -> KnownCall:
    detail = orjson.loads(row["detail"])
    decided: dict[str, dict[str, Any]] = {}
    for decision in detail.get("decisions", ()):
        decided.setdefault(f"{decision['module']}.{decision['action']}", decision["detail"])
    variant = decided.get("abrouter.variant", {})
    return KnownCall(
        trace_id=row["id"],
        request_id=row["request_id"],
        answer_id=str(detail.get("answer_id", "")),
        key_id=row["key_id"],
        team=row["team_id"],
        provider=row["provider"],
        model=row["model"] or row["model_requested"],
        template=str((detail.get("measures") or {}).get("template", "")),
        experiment=str(variant.get("experiment", "")),
        variant=str(variant.get("variant", "")),
        rule=str(decided.get("modelswitch.route", {}).get("rule", "")),
    )
