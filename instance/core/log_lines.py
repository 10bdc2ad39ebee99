"""How every process of Stockyard writes its log: one schema, as JSON lines, or as text for a person at a terminal.

A line has `ts`, `level`, `logger`, `message`, and where they are known `tenant`, `request_id`, `trace_id` and `error` (an
exception with its traceback). What looks like a key is cut out of it, whoever wrote it.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from contextvars import ContextVar
from datetime import UTC, datetime

from instance.core.keys import PREFIXES

SHOWN_OF_KEY = 6
ERROR_MOST = 16_384
KEY = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    + "|".join(re.escape(prefix) for prefix in sorted(PREFIXES.values(), key=len, reverse=True))
    + r")[A-Za-z0-9_-]{8,}|\bsk-[A-Za-z0-9_-]{16,}|(?i:\bbearer\s+)[^\s\"',]{8,}"
)

tenant: ContextVar[str] = ContextVar("tenant", default="")
request_id: ContextVar[str] = ContextVar("request_id", default="")
trace_id: ContextVar[str] = ContextVar("trace_id", default="")
CONTEXT = {"tenant": tenant, "request_id": request_id, "trace_id": trace_id}


def without_keys(text: str) -> str:
    """The text with every key of ours, provider key and bearer token cut after its first characters."""
    return KEY.sub(lambda found: found[0][:SHOWN_OF_KEY] + "…", text)


class LogLine(logging.Formatter):
    """The schema; `fixed_tenant` is that of a process that serves only one."""

    def __init__(self, fixed_tenant: str = "") -> None:
        super().__init__()
        self._tenant = fixed_tenant

    def fields(self, record: logging.LogRecord) -> dict[str, str]:
        """What the line holds, in this order; unknown context is left out."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        found = {
            "ts": at,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": without_keys(record.getMessage()),
        }
        found |= {name: value for name, variable in CONTEXT.items() if (value := variable.get())}
        if self._tenant:
            found["tenant"] = self._tenant
        if record.exc_info:
            found["error"] = without_keys(self.formatException(record.exc_info))[-ERROR_MOST:]
        return found


class JsonLine(LogLine):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(self.fields(record), ensure_ascii=False)


class TextLine(LogLine):
    """The same for a person."""

    def format(self, record: logging.LogRecord) -> str:
        found = self.fields(record)
        context = " ".join(f"{name}={found[name]}" for name in CONTEXT if name in found)
        line = f"{found['ts']} {found['level'].upper():7} {found['logger']} {found['message']}"
        line += f" [{context}]" if context else ""
        return f"{line}\n{found['error']}" if "error" in found else line


def set_up(form: str, level: int, *, fixed_tenant: str = "") -> None:
    """Write the process's log to stderr in this form: text, json, or auto (text on a terminal, else JSON lines)."""
    as_text = form == "text" or (form == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextLine(fixed_tenant) if as_text else JsonLine(fixed_tenant))
    logging.basicConfig(level=level, handlers=[handler], force=True)
