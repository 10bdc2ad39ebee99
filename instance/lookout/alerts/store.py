"""SQL of alerts: rules, the history of their firing, and notices on their way."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import orjson

from instance.core.money import nano_to_usd
from instance.lookout.alerts.call_window import CallFacts, fits
from instance.lookout.alerts.rule import Rule
from instance.lookout.alerts.standing import Standing

SEEDED_MAX = 20_000
"""Recorded calls that a new window is filled with, the latest."""
USUAL_DAYS = 7
USUAL_DAYS_MIN = 3
"""With calls on fewer of the last days nothing is usual yet."""
HISTORY_MAX_DAYS = 90
NS_PER_DAY = 86_400 * 10**9
NS_PER_HOUR = 3600 * 10**9
_SUM_FILTERS = {"provider": "provider", "model": "model", "project": "project", "team": "team_id", "key": "key_id"}
_HISTORY = (
    "id, rule_id, rule_name, metric, value, threshold, peak, message, trace_ids, delivered, error, fired_at_ns, "
    "resolved_at_ns"
)


@dataclass(slots=True)
class Kept:
    """A rule as it is stored, with how it stands and its sealed secrets."""

    rule: Rule
    standing: Standing
    secrets: bytes
    last_fired_ns: int | None


def rules(connection: sqlite3.Connection) -> list[Kept]:
    """Every rule, by id."""
    found = []
    for row in connection.execute(
        "SELECT id, name, spec, secrets, enabled, standing, last_fired_ns, created_at_ns FROM alerts ORDER BY id"
    ):
        spec = orjson.loads(row[2])
        spec["silences"] = tuple(spec.get("silences") or ())
        rule = Rule(id=row[0], name=row[1], enabled=bool(row[4]), created_at_ns=row[7], **spec)
        found.append(Kept(rule, Standing(**orjson.loads(row[5])), row[3], row[6]))
    return found


def insert_rule(connection: sqlite3.Connection, rule: Rule, secrets: bytes) -> int:
    """Store a new rule; its id. Raises `sqlite3.IntegrityError` when the name is taken."""
    cursor = connection.execute(
        "INSERT INTO alerts (name, spec, secrets, enabled, standing, created_at_ns) VALUES (?, ?, ?, ?, ?, ?)",
        (
            rule.name,
            orjson.dumps(rule.spec()).decode(),
            secrets,
            int(rule.enabled),
            orjson.dumps(Standing().stored()).decode(),
            rule.created_at_ns,
        ),
    )
    return int(cursor.lastrowid or 0)


def update_rule(connection: sqlite3.Connection, rule: Rule, secrets: bytes) -> None:
    """Store a changed rule. Raises `sqlite3.IntegrityError` when the name is taken."""
    connection.execute(
        "UPDATE alerts SET name = ?, spec = ?, secrets = ?, enabled = ? WHERE id = ?",
        (rule.name, orjson.dumps(rule.spec()).decode(), secrets, int(rule.enabled), rule.id),
    )


def delete_rule(connection: sqlite3.Connection, rule_id: int) -> None:
    """Remove a rule; its history stays, as over now."""
    connection.execute("DELETE FROM alerts WHERE id = ?", (rule_id,))
    connection.execute("DELETE FROM alert_deliveries WHERE rule_id = ? AND status = 'waiting'", (rule_id,))


def begin(connection: sqlite3.Connection) -> bool:
    """Whether this is the first start, on which the first rules are made; it is only once."""
    cursor = connection.execute("INSERT OR IGNORE INTO alert_beginnings (one) VALUES (1)")
    return cursor.rowcount == 1


def set_standing(connection: sqlite3.Connection, rule_id: int, standing: Standing, fired_ns: int | None) -> None:
    """Store how a rule stands."""
    connection.execute(
        "UPDATE alerts SET standing = ?, last_fired_ns = coalesce(?, last_fired_ns) WHERE id = ?",
        (orjson.dumps(standing.stored()).decode(), fired_ns, rule_id),
    )


def insert_history(
    connection: sqlite3.Connection, rule: Rule, data: Mapping[str, Any], peak: float, fired_at_ns: int
) -> int:
    """Store that a rule fired; the id of the row."""
    cursor = connection.execute(
        "INSERT INTO alert_history (rule_id, rule_name, metric, value, threshold, peak, message, trace_ids, delivered, "
        "error, fired_at_ns) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, '', ?)",
        (
            rule.id,
            rule.name,
            rule.metric,
            data["value"],
            data["threshold"],
            peak,
            data["message"],
            orjson.dumps(data["trace_ids"]).decode(),
            fired_at_ns,
        ),
    )
    return int(cursor.lastrowid or 0)


def end_history(connection: sqlite3.Connection, history_id: int, peak: float, resolved_at_ns: int) -> None:
    """Store that it is over."""
    connection.execute(
        "UPDATE alert_history SET peak = ?, resolved_at_ns = ? WHERE id = ?", (peak, resolved_at_ns, history_id)
    )


def history(
    connection: sqlite3.Connection, limit: int, offset: int, rule_id: int | None
) -> tuple[list[tuple[Any, ...]], int]:
    """Rows of the history, the latest first, and how many there are."""
    where, values = ("rule_id = ?", (rule_id,)) if rule_id is not None else ("1", ())
    rows = connection.execute(
        f"SELECT {_HISTORY} FROM alert_history WHERE {where} ORDER BY fired_at_ns DESC, id DESC LIMIT ? OFFSET ?",
        (*values, limit, offset),
    ).fetchall()
    total = connection.execute(f"SELECT count(*) FROM alert_history WHERE {where}", values).fetchone()[0]
    return rows, total


def prune(connection: sqlite3.Connection, now_ns: int) -> None:
    """Remove history and deliveries that are older than `HISTORY_MAX_DAYS`."""
    before_ns = now_ns - HISTORY_MAX_DAYS * NS_PER_DAY
    connection.execute("DELETE FROM alert_history WHERE fired_at_ns < ? AND resolved_at_ns IS NOT NULL", (before_ns,))
    connection.execute("DELETE FROM alert_deliveries WHERE status <> 'waiting' AND created_at_ns < ?", (before_ns,))


def recorded_calls(
    connection: sqlite3.Connection, narrowed: Mapping[str, str], since_ns: int, until_ns: int
) -> list[CallFacts]:
    """Calls that ended in that time and fit, oldest first; of very many the latest."""
    rows = connection.execute(
        "SELECT id, provider, model, model_requested, project, team_id, key_id, "
        "CASE WHEN instr(detail, '\"tags\":') THEN json_extract(detail, '$.tags') END, status, tokens_in + tokens_out, "
        "cost_nano, duration_us, coalesce(ttft_us, 0), overhead_us, attempts_count, safety_count, created_at_ns, "
        "CASE WHEN instr(detail, '\"code_findings\":') THEN json_extract(detail, '$.measures.code_findings') END "
        "FROM traces WHERE created_at_ns >= ? AND created_at_ns < ? ORDER BY created_at_ns DESC LIMIT ?",
        (since_ns, until_ns, SEEDED_MAX),
    )
    calls = []
    for row in rows:
        ended_ns = row[16] + row[11] * 1000
        if ended_ns >= until_ns:
            continue
        tags = orjson.loads(row[7]) if row[7] else {}
        failed = max(0, row[14] - (row[8] != "error"))
        call = CallFacts._make((ended_ns // 10**9, *row[:7], tags, *row[8:14], failed, row[15], row[17] or 0))
        if fits(call, narrowed):
            calls.append(call)
    calls.reverse()
    return calls


def usual_value(
    connection: sqlite3.Connection, metric: str, narrowed: Mapping[str, str], window_s: int, now_ns: int
) -> float | None:
    """The median of the metric in the same hour of the last days; `None` while too few of them had calls."""
    terms, values = ["1"], []
    for name, wanted in narrowed.items():
        terms.append(f"{_SUM_FILTERS[name]} GLOB ?" if name == "model" else f"{_SUM_FILTERS[name]} = ?")
        values.append(wanted)
    found = []
    hour = now_ns // NS_PER_HOUR
    for day in range(1, USUAL_DAYS + 1):
        row = connection.execute(
            "SELECT sum(requests), sum(errors), sum(cache_hits), sum(tokens_in + tokens_out), sum(cost_nano), "
            f"sum(duration_us) FROM trace_hours WHERE hour = ? AND {' AND '.join(terms)}",
            (hour - 24 * day, *values),
        ).fetchone()
        if row[0]:
            found.append(_usual(metric, row, window_s))
    return median(found) if len(found) >= USUAL_DAYS_MIN else None


def _usual(metric: str, sums: Sequence[int], window_s: int) -> float:
    requests, errors, hits, tokens, cost, duration = sums
    share = window_s / 3600
    return {
        "error_rate": 100.0 * errors / requests,
        "latency_avg": duration / requests / 1000,
        "cost_total": nano_to_usd(cost) * share,
        "cost_per_min": nano_to_usd(cost) / 60,
        "count": requests * share,
        "request_rate": requests / 60,
        "tokens_per_request": tokens / requests,
        "tokens_per_min": tokens / 60,
        "cache_hit_rate": 100.0 * hits / requests,
    }[metric]
