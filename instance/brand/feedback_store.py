"""SQL of feedback."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from typing import Any

import orjson

from instance.core.timestamps import rfc3339

COLUMNS = (
    "id",
    "trace_id",
    "request_id",
    "answer_id",
    "rater",
    "source",
    "user_email",
    "key_id",
    "team_id",
    "provider",
    "model",
    "template",
    "experiment",
    "variant",
    "rule",
    "rating",
    "scale",
    "score",
    "tags",
    "comment",
    "correction",
    "review",
    "note",
    "created_at_ns",
)
GROUPS = ("model", "template", "variant", "rule")

Row = dict[str, Any]


@dataclass(slots=True)
class FeedbackFilter:
    """The condition of a list, built up term by term."""

    terms: list[str] = field(default_factory=list)
    parameters: list[Any] = field(default_factory=list)

    def add(self, term: str, *parameters: Any) -> None:
        self.terms.append(term)
        self.parameters.extend(parameters)

    def where(self) -> str:
        return " AND ".join(self.terms) or "1"


def recent(connection: sqlite3.Connection, since_ns: int, limit: int) -> list[tuple[int, float, str, str]]:
    """Judgements that people gave since then, the newest first: when, from -1 to 1, and the provider and model judged."""
    query = (
        "SELECT created_at_ns, score, provider, model FROM feedback WHERE created_at_ns >= ? AND source = 'explicit' "
        "ORDER BY created_at_ns DESC LIMIT ?"
    )
    return connection.execute(query, (since_ns, limit)).fetchall()


def of_rater(connection: sqlite3.Connection, trace_id: str, rater: str) -> Row | None:
    """What this rater said of this trace."""
    row = connection.execute(
        f"SELECT {', '.join(COLUMNS)} FROM feedback WHERE trace_id = ? AND rater = ?", (trace_id, rater)
    ).fetchone()
    return dict(zip(COLUMNS, row, strict=True)) if row is not None else None


def save(connection: sqlite3.Connection, row: Row) -> None:
    """Store a judgement in place of the same rater's earlier one."""
    marks = ", ".join("?" * len(COLUMNS))
    connection.execute("DELETE FROM feedback WHERE trace_id = ? AND rater = ?", (row["trace_id"], row["rater"]))
    connection.execute(f"INSERT INTO feedback ({', '.join(COLUMNS)}) VALUES ({marks})", [row[name] for name in COLUMNS])


def mean_score(connection: sqlite3.Connection, trace_id: str) -> float | None:
    """The mean of what raters said of a trace; what was only inferred counts where nobody said anything."""
    query = "SELECT avg(score) FROM feedback WHERE trace_id = ? AND source = ?"
    for source in ("explicit", "implicit"):
        (mean,) = connection.execute(query, (trace_id, source)).fetchone()
        if mean is not None:
            return round(float(mean), 4)
    return None


def review(connection: sqlite3.Connection, feedback_id: str, state: str, note: str | None) -> bool:
    """Note that somebody looked at a judgement; whether there is such a one."""
    done = connection.execute(
        "UPDATE feedback SET review = ?, note = coalesce(?, note) WHERE id = ?", (state, note, feedback_id)
    )
    return done.rowcount > 0


def rows(connection: sqlite3.Connection, narrowed: FeedbackFilter, limit: int, offset: int) -> list[Row]:
    """Judgements, the newest first."""
    found = connection.execute(
        f"SELECT {', '.join(COLUMNS)} FROM feedback WHERE {narrowed.where()} "
        "ORDER BY created_at_ns DESC, id DESC LIMIT ? OFFSET ?",
        (*narrowed.parameters, limit, offset),
    )
    return [dict(zip(COLUMNS, row, strict=True)) for row in found]


def total(connection: sqlite3.Connection, narrowed: FeedbackFilter) -> int:
    """How many match."""
    query = f"SELECT count(*) FROM feedback WHERE {narrowed.where()}"
    number: int = connection.execute(query, narrowed.parameters).fetchone()[0]
    return number


def rates(connection: sqlite3.Connection, group: str, narrowed: FeedbackFilter) -> list[Row]:
    """Count, mean and share of good judgements by one of `GROUPS`, what nobody named left out; the most judged first."""
    assert group in GROUPS
    found = connection.execute(
        f"SELECT {group}, count(*), avg(score), sum(score > 0), sum(score < 0), sum(source = 'implicit') FROM feedback "
        f"WHERE {group} <> '' AND {narrowed.where()} GROUP BY {group} ORDER BY count(*) DESC, {group} LIMIT 500",
        narrowed.parameters,
    )
    return [
        {
            group: name,
            "count": count,
            "mean": round(mean, 4),
            "positive": good,
            "negative": bad,
            "positive_share": round(good / count, 4),
            "implicit": implicit,
        }
        for name, count, mean, good, bad, implicit in found
    ]


def use_token(connection: sqlite3.Connection, digest: bytes, expires_at_ns: int, now_ns: int) -> bool:
    """Use a token up; False when that was done before."""
    connection.execute("DELETE FROM feedback_tokens_used WHERE expires_at_ns < ?", (now_ns,))
    done = connection.execute(
        "INSERT OR IGNORE INTO feedback_tokens_used (digest, expires_at_ns) VALUES (?, ?)", (digest, expires_at_ns)
    )
    return done.rowcount > 0


def prune(connection: sqlite3.Connection, before_ns: int, limit: int) -> int:
    """Remove some of what is older; how many."""
    return connection.execute(
        "DELETE FROM feedback WHERE id IN (SELECT id FROM feedback WHERE created_at_ns < ? ORDER BY created_at_ns LIMIT ?)",
        (before_ns, limit),
    ).rowcount


def shown(row: Row) -> Row:
    """A judgement as answers show it."""
    return {
        **{name: row[name] for name in ("id", "trace_id", "request_id", "source", "rating", "scale", "score")},
        "answer_id": row["answer_id"] or None,
        "user_email": row["user_email"] or None,
        "key_id": row["key_id"] or None,
        "model": row["model"],
        "provider": row["provider"],
        "template": row["template"] or None,
        "experiment": row["experiment"] or None,
        "variant": row["variant"] or None,
        "rule": row["rule"] or None,
        "tags": orjson.loads(row["tags"]),
        "comment": row["comment"] or None,
        "correction": row["correction"] or None,
        "review": row["review"] or None,
        "note": row["note"] or None,
        "created_at": rfc3339(row["created_at_ns"]),
    }
