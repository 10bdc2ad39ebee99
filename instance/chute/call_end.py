"""How a call ends: what failed, what it cost, and its record, which is written once whatever happened."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from instance.chute.answering import send_error
from instance.chute.call_watch import Send, Watch
from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed, to_error
from instance.chute.record import estimate_usage, streamed_answer, write_record
from instance.core.errors import StockyardError
from instance.core.journal import JournalUnavailable

if TYPE_CHECKING:
    from instance.chute.app import Chute

TOLD_FAILURES = frozenset(
    (
        "all_targets_failed",
        "bad_upstream_response",
        "local_unavailable",
        "ollama_unreachable",
        "provider_auth_failed",
        "provider_error",
    )
)
"""Codes with which a module tells that providers failed: it refused nothing."""


class CallEnd:
    """Ends the calls of the endpoint."""

    def __init__(self, chute: Chute) -> None:
        self._chute = chute
        self._journal = chute.core.journal

    def _finish(self, x: Exchange) -> None:
        """Price the call and run `on_finish`; before the record is written."""
        if x.answer is None or x.answer.target is not None:
            estimate_usage(x)
            self._chute.price(x)
        if x.plan is not None:
            x.plan.finish(x)
        self._chute.billing.settle(x)

    def record(self, x: Exchange, response: bytes) -> None:
        """Finish and record the call; nothing when that was done already."""
        if x.recorded:
            return
        x.recorded = True
        self._finish(x)
        try:
            write_record(self._journal, x, response)
        except JournalUnavailable:
            self._chute.unrecorded += 1

    def shape(self, x: Exchange, failure: CallFailed) -> StockyardError:
        """The caller's error for a call that no provider answered."""
        shaped = x.plan.shape(x, failure) if x.plan is not None else None
        if shaped is not None:
            return shaped
        x.note("upstream", {"kind": failure.kind, "status": failure.status}, module="core", hook="around")
        return to_error(failure)

    def fail(self, x: Exchange, error: StockyardError) -> None:
        """Have the call's record say what it failed of."""
        x.status = "blocked" if error.module and error.code not in TOLD_FAILURES else "error"
        x.http_status = error.status
        x.error_code = error.code
        x.error_message = error.message
        x.error_module = error.module

    async def refuse(self, x: Exchange, send: Send, error: StockyardError, watch: Watch) -> None:
        """Record the call as failed, and answer with the error in the caller's dialect."""
        watch.end()
        self.fail(x, error)
        body = orjson.dumps(x.operation.error(error, x.request_id, x.id))
        x.bytes_out = len(body)
        self.record(x, body)
        await send_error(send, error, request_id=x.request_id, trace_id=x.id, extra=x.response_headers, body=body)

    def gone(self, x: Exchange) -> None:
        """The caller left, or the instance had to stop: what was generated is priced and recorded, and nobody is to blame."""
        x.status = "cancelled"
        x.http_status = 499 if x.client_gone else 503
        x.error_code = "client_closed" if x.client_gone else "draining"
        if x.answer is not None:
            x.answer.close()
        self.record(x, streamed_answer(x))
