"""`/metrics`: Prometheus text of what the process counts itself; llmtap adds the series of calls while it is on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from instance.system import process_facts
from instance.system.embedder_state import embedder_metrics
from instance.system.target_metrics import target_gauges

if TYPE_CHECKING:
    from instance.server import Instance

TEXT_FORMAT = "text/plain; version=0.0.4; charset=utf-8"


def exposition(instance: Instance, ledger_seq: int) -> str:
    """The text, one `# HELP` and `# TYPE` a metric; a metric that llmtap writes is left to it."""
    calls = instance.core.services.get("metrics")
    written: str = calls() if calls is not None else ""
    own = [lines for name, lines in _own(instance, ledger_seq).items() if f"# TYPE {name} " not in written]
    if written and not written.endswith("\n"):
        written += "\n"
    services = instance.core.services
    return "".join(own) + target_gauges(services) + embedder_metrics(services) + written


def _own(instance: Instance, ledger_seq: int) -> dict[str, str]:
    core, chute = instance.core, instance.chute
    metrics = (
        ("stockyard_in_flight", "gauge", "Calls in flight.", chute.in_flight),
        ("stockyard_calls_total", "counter", "Calls since the process started.", chute.requests),
        ("stockyard_call_errors_total", "counter", "Calls that ended in an error.", chute.errors),
        ("stockyard_journal_lag_seconds", "gauge", "Age of the oldest unfolded record.", core.writer.lag_ms / 1000),
        ("stockyard_journal_bytes", "gauge", "Bytes of the journal not yet folded.", core.writer.lag_bytes),
        ("stockyard_ledger_seq", "gauge", "Number of the newest ledger entry.", ledger_seq),
        ("stockyard_database_bytes", "gauge", "Size of the database with its log.", core.database.size_bytes()),
        ("process_resident_memory_bytes", "gauge", "Resident memory.", process_facts.memory_bytes()[0]),
        ("process_cpu_seconds_total", "counter", "Processor time used.", round(time.process_time(), 3)),
        ("process_open_fds", "gauge", "Open file descriptors.", process_facts.open_descriptors()),
        (
            "process_start_time_seconds",
            "gauge",
            "Start, in seconds since 1970.",
            round(process_facts.started_at_s(), 3),
        ),
    )
    return {
        name: f"# HELP {name} {text}\n# TYPE {name} {kind}\n{name} {value}\n" for name, kind, text, value in metrics
    }
