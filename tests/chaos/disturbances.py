"""Which calls a fault may have touched: the one place that says what *hit* means. Pure.

A call is hit when it was under way at any moment of a *window* of its tenant. Windows follow from what a fault may touch:

- VICTIM: its one tenant, from just before the fault until that tenant's first answered call that began after it;
- EVERYBODY: every tenant likewise (the edge or the whole service was away);
- HELD: nobody by itself. Its tenant's calls wait and are then answered; but as long as they wait they need the control
  plane, the activator and the engine;
- SHARED: a part that only those need who are being held: a window for a tenant is where it meets one of the tenant's
  HELD, from the beginning of the later to the end of the longer one;
- NOBODY: no call of any tenant.

All times are seconds of this process's monotonic clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

OK = "ok"


class Touches(StrEnum):
    VICTIM = "victim"
    EVERYBODY = "everybody"
    HELD = "held"
    SHARED = "shared"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Call:
    """One call as its caller saw it. `code` is `ok` only when the answer was complete."""

    tenant: str
    nonce: str
    streamed: bool
    begun: float
    ended: float
    code: str
    trace_id: str = ""


@dataclass(slots=True)
class Disturbance:
    """One fault that happened."""

    fault: str
    touches: Touches
    victim: str = ""
    begun: float = 0.0
    ended: float = (
        0.0  # the fault itself is over: what was killed by hand is not killed any more, a shared part is back
    )
    healed: dict[str, float] = field(default_factory=dict)  # by tenant: when its first call after `ended` was answered
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Loss:
    """What a tenant may have lost with its database: calls completed in this span, but for those in `kept`.

    `kept` had been seen in the traces, and a sync of the replica was confirmed after that.
    """

    tenant: str
    begun: float
    ended: float
    kept: frozenset[str]

    def excuses(self, call: Call) -> bool:
        """True for a call that may be missing."""
        inside = call.begun <= self.ended and call.ended >= self.begun
        return call.tenant == self.tenant and inside and call.nonce not in self.kept


@dataclass(frozen=True, slots=True)
class Window:
    fault: str
    begun: float
    ended: float

    def holds(self, call: Call) -> bool:
        """True if the call was under way at any moment of it."""
        return call.begun <= self.ended and call.ended >= self.begun


def windows(tenant: str, disturbances: Sequence[Disturbance]) -> list[Window]:
    """When this tenant may have been touched, and by what."""
    found = []
    shared = [each for each in disturbances if each.touches is Touches.SHARED]
    for each in disturbances:
        healed = max(each.healed.get(tenant, each.ended), each.ended)
        if each.touches is Touches.EVERYBODY or (each.touches is Touches.VICTIM and each.victim == tenant):
            found.append(Window(each.fault, each.begun, healed))
        elif each.touches is Touches.HELD and each.victim == tenant:
            found += [
                Window(part.fault, max(part.begun, each.begun), max(part.ended, healed))
                for part in shared
                if part.begun <= healed and part.ended >= each.begun
            ]
    return found


def touched_by(call: Call, of: Mapping[str, Iterable[Window]]) -> list[str]:
    """The faults in whose windows the call was under way; none: it must not have failed."""
    return [each.fault for each in of[call.tenant] if each.holds(call)]


def first_answer(calls: Iterable[Call], tenant: str, after: float) -> Call | None:
    """The tenant's earliest answered call that began after that moment."""
    fit = [each for each in calls if each.tenant == tenant and each.code == OK and each.begun >= after]
    return min(fit, key=lambda each: each.ended, default=None)
