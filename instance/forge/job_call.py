"""One attempt at a job: the call it makes, and what its answer means for the job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from instance.chute.own_call import OwnAnswer, OwnCall, make_call
from instance.core.errors import StockyardError, error_body
from instance.core.money import usd_to_nano

if TYPE_CHECKING:
    from instance.chute.app import Chute
    from instance.chute.exchange import Exchange
    from instance.core.principals import Principal
    from instance.forge.batch import Batch

PASSING = frozenset((408, 409, 425, 429))
"""Statuses below 500 that another attempt may cure."""
FIRST_WAIT_S = 1.0
WAIT_MAX_S = 300.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an attempt. `retry_s` is when to try again; `None`: that was the result."""

    http_status: int
    answer: bytes
    trace_id: str
    cost_nano: int
    retry_s: float | None

    @property
    def ok(self) -> bool:
        return 200 <= self.http_status < 300


async def attempt(
    chute: Chute,
    principal: Principal,
    batch: Batch,
    n: int,
    path: str,
    headers: dict[str, str],
    body: bytes,
    *,
    number: int,
    waited_ms: int,
) -> Outcome:
    """Make the call as one of its submitter's, without the modules of admission."""

    def begin(x: Exchange) -> None:
        x.client_ip = batch.client_ip
        x.source = "batch"
        x.tags = {**x.tags, "batch": "true"}
        detail = {"id": batch.id, "n": n, "waited_ms": waited_ms, "attempt": number}
        x.note("job", detail, module="batchqueue", hook="on_request")

    own = OwnCall(principal, admitted=True, begin=begin)
    sent = {name.encode("latin-1"): value.encode("latin-1", "replace") for name, value in headers.items()}
    sent[b"content-type"] = b"application/json"
    answer = await make_call(chute, path, body, sent, own)
    status = answer.status
    again = (status in PASSING or status >= 500) and answer.headers.get("x-should-retry") != "false"
    retry_s = _wait_s(answer, number) if again else None
    cost = answer.headers.get("x-stockyard-cost-usd", "")
    return Outcome(status, answer.body, answer.trace_id, usd_to_nano(cost) if cost else 0, retry_s)


def refusal(code: str, message: str) -> Outcome:
    """A result that no call gave."""
    error = StockyardError(code, message)
    return Outcome(error.status, orjson.dumps(error_body(error)), "", 0, None)


def result_line(custom_id: str, status: str, answer: bytes | None, trace_id: str) -> dict[str, Any]:
    """A job's line in the results."""
    said: Any = None
    if answer is not None:
        try:
            said = orjson.loads(answer)
        except orjson.JSONDecodeError:
            said = answer.decode("utf-8", "replace")
    line: dict[str, Any] = {"custom_id": custom_id, "status": status}
    if status == "done":
        line["response"] = said
    else:
        line["error"] = said["error"] if isinstance(said, dict) and "error" in said else said or INTERRUPTED
    line["trace_id"] = trace_id or None
    return line


INTERRUPTED = {"code": "interrupted", "message": "The instance was stopped while the job ran, as often as it may run."}


def _wait_s(answer: OwnAnswer, number: int) -> float:
    """As the answer says, else twice as long each time."""
    said = answer.headers.get("retry-after", "")
    waited = float(said) if said.isdecimal() else FIRST_WAIT_S * 2 ** (number - 1)
    return min(WAIT_MAX_S, waited)
