"""The columns of one call, in the order in which the journal's record carries them (part 0 of kind 1).

Times are nanoseconds or microseconds as the name says, money is nano-dollars, booleans are 0 or 1 in SQLite. Texts that
are absent are empty; `ttft_us` is null when no content came.
"""

from __future__ import annotations

CALL_KIND = 1
"""Kind of the journal's record of a call: columns, detail, ledger detail, stored request, stored response."""

CALL_COLUMNS: tuple[str, ...] = (
    "id",
    "request_id",
    "parent_id",
    "otel_trace_id",
    "otel_span_id",
    "service",
    "operation",
    "source",
    "dialect_in",
    "dialect_out",
    "provider",
    "model",
    "model_requested",
    "status",
    "http_status",
    "error_code",
    "error_message",
    "error_module",
    "stream",
    "created_at_ns",
    "duration_us",
    "ttft_us",
    "upstream_us",
    "overhead_us",
    "tokens_in",
    "tokens_out",
    "tokens_cached",
    "tokens_reasoning",
    "usage_source",
    "cost_nano",
    "saved_nano",
    "cache",
    "attempts_count",
    "project",
    "user_id",
    "team_id",
    "key_id",
    "key_name",
    "session_id",
    "client_ip",
    "user_agent",
    "bytes_out",
    "modules_active",
    "decisions_count",
    "safety_count",
)
