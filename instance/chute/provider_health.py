"""What calls and checks showed of a provider; kept while the process lives."""

from __future__ import annotations

SUSPECT_AFTER = 2
DOWN_AFTER = 5
ERROR_MAX_CHARACTERS = 500


class ProviderHealth:
    """Counters of one provider. Times are UTC nanoseconds, `latency_us` is that of the last answer."""

    __slots__ = (
        "bad_key",
        "error_count",
        "failures_in_a_row",
        "last_check_ns",
        "last_error",
        "latency_us",
        "request_count",
        "verdict",
    )

    def __init__(self) -> None:
        self.request_count = 0
        self.error_count = 0
        self.failures_in_a_row = 0
        self.latency_us: int | None = None
        self.last_error = ""
        self.last_check_ns = 0
        self.bad_key = False
        self.verdict = ""
        """What the module healthcheck found by asking: `suspect`, `down` or `bad_key`; empty when nothing is wrong."""

    def observe(self, ok: bool, latency_us: int, error: str = "") -> None:
        """One attempt at the provider: `ok` when it gave an answer that it alone is responsible for."""
        self.request_count += 1
        if ok:
            self.latency_us = latency_us
            self.failures_in_a_row = 0
            self.bad_key = False
            return
        self.error_count += 1
        self.failures_in_a_row += 1
        self.last_error = error[:ERROR_MAX_CHARACTERS]

    def checked(self, ok: bool, latency_us: int, error: str, now_ns: int, *, bad_key: bool = False) -> None:
        """The result of a check that somebody asked for."""
        self.last_check_ns = now_ns
        self.observe(ok, latency_us, error)
        self.bad_key = bad_key

    @property
    def status(self) -> str:
        """`active`, `suspect` after two failures in a row, `down` after five, `bad_key` when a check was refused; what the
        module healthcheck found goes before."""
        if self.verdict:
            return self.verdict
        if self.bad_key:
            return "bad_key"
        if self.failures_in_a_row >= DOWN_AFTER:
            return "down"
        return "suspect" if self.failures_in_a_row >= SUSPECT_AFTER else "active"
