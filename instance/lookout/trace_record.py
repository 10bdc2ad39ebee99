"""A trace as answers show it, made from its row: the fields and units of API.md, "The trace record"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from instance.core.money import nano_to_usd
from instance.core.principals import client_of
from instance.core.timestamps import rfc3339
from instance.lookout.call_columns import CALL_COLUMNS

LISTED_COLUMNS = (
    "n",
    "id",
    "request_id",
    "parent_id",
    "service",
    "operation",
    "source",
    "provider",
    "model",
    "model_requested",
    "status",
    "http_status",
    "stream",
    "duration_us",
    "ttft_us",
    "upstream_us",
    "overhead_us",
    "tokens_in",
    "tokens_out",
    "cost_nano",
    "saved_nano",
    "cache",
    "project",
    "user_id",
    "team_id",
    "key_id",
    "key_name",
    "session_id",
    "modules_active",
    "decisions_count",
    "safety_count",
    "created_at_ns",
)
WHOLE_COLUMNS = ("n", *CALL_COLUMNS, "detail", "ledger_seq")


def listed(row: Mapping[str, Any], tags: str | None) -> dict[str, Any]:
    """The fields of a list (L); `tags` is JSON or `None`. A cost that is not known is null, never 0."""
    return {
        "id": row["id"],
        "request_id": row["request_id"],
        "parent_id": row["parent_id"] or None,
        "service": row["service"],
        "operation": row["operation"],
        "source": row["source"],
        "provider": row["provider"],
        "model": row["model"],
        "model_requested": row["model_requested"],
        "status": row["status"],
        "http_status": row["http_status"],
        "stream": bool(row["stream"]),
        "duration_ms": row["duration_us"] / 1000,
        "ttft_ms": None if row["ttft_us"] is None else row["ttft_us"] / 1000,
        "upstream_ms": row["upstream_us"] / 1000,
        "overhead_us": row["overhead_us"],
        "tokens_in": row["tokens_in"],
        "tokens_out": row["tokens_out"],
        "cost_usd": None if row.get("cost_unknown") else nano_to_usd(row["cost_nano"]),
        "saved_usd": nano_to_usd(row["saved_nano"]),
        "cache": row["cache"],
        "project": row["project"],
        "user_id": row["user_id"] or None,
        "team_id": row["team_id"] or None,
        "client": client_of(row["team_id"]),
        "key_id": row["key_id"] or None,
        "key_name": row["key_name"] or None,
        "session_id": row["session_id"] or None,
        "tags": orjson.loads(tags) if tags else {},
        "modules_active": row["modules_active"],
        "decisions_count": row["decisions_count"],
        "safety_count": row["safety_count"],
        "created_at": rfc3339(row["created_at_ns"]),
    }


def whole(row: Mapping[str, Any], bodies: tuple[bytes, bytes] | None, *, may_read_content: bool) -> dict[str, Any]:
    """Every field of one trace; without `content:read` its texts are null and `redacted` is true."""
    detail = orjson.loads(row["detail"])
    record = listed({**row, "cost_unknown": detail.get("cost_unknown")}, None) | {
        "tags": detail.get("tags", {}),
        "otel_trace_id": row["otel_trace_id"] or None,
        "otel_span_id": row["otel_span_id"] or None,
        "dialect_in": row["dialect_in"],
        "dialect_out": row["dialect_out"],
        "error": _error(row, detail),
        "tokens_cached": row["tokens_cached"],
        "tokens_reasoning": row["tokens_reasoning"],
        "usage_source": row["usage_source"] or None,
        "costs": [{"what": line["what"], "usd": nano_to_usd(line["nano"])} for line in detail.get("costs", ())],
        "attempts": detail.get("attempts", []),
        "attempts_count": row["attempts_count"],
        "client_ip": row["client_ip"] or None,
        "user_agent": row["user_agent"] or None,
        "bytes_out": row["bytes_out"],
        "decisions": detail.get("decisions", []),
        "timings": detail.get("timings", []),
        "measures": detail.get("measures", {}),
        "answer_id": detail.get("answer_id"),
        "rating": detail.get("rating"),
        "request_body": None,
        "response_body": None,
        "ledger_seq": row["ledger_seq"],
    }
    if not may_read_content:
        record["redacted"] = True
        if record["error"] is not None:
            record["error"]["upstream_excerpt"] = None
    elif bodies is not None:
        record["request_body"], record["response_body"] = _text(bodies[0]), _text(bodies[1])
    return record


def _error(row: Mapping[str, Any], detail: Mapping[str, Any]) -> dict[str, Any] | None:
    if not row["error_code"]:
        return None
    attempts = detail.get("attempts") or [{}]
    return {
        "code": row["error_code"],
        "message": row["error_message"],
        "module": row["error_module"] or None,
        "upstream_status": attempts[-1].get("status"),
        "upstream_excerpt": detail.get("upstream_excerpt"),
    }


def _text(text: bytes) -> Any:
    if not text:
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text.decode("utf-8", "replace")
