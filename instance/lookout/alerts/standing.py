"""How a rule stands: ok, pending, firing, and what a new value changes of that. Pure: no clock, no I/O."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from instance.lookout.alerts.rule import Rule

State = Literal["ok", "pending", "firing", "no_data"]
Change = Literal["fired", "again", "resolved"]

NS_PER_S = 10**9


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of one rule. `good_since_ns` is 0 while a firing rule still holds; `told` whether anybody was told of it."""

    state: State = "ok"
    since_ns: int = 0
    good_since_ns: int = 0
    told_ns: int = 0
    told: bool = False
    peak: float = 0.0
    history_id: int = 0

    def stored(self) -> dict[str, Any]:
        return asdict(self)


def step(
    rule: Rule, standing: Standing, value: float | None, threshold: float | None, now_ns: int
) -> tuple[Standing, Change | None]:
    """The standing after a look, and what is to be told: it fired, it still fires after its cooldown, it is resolved.

    `value` or `threshold` is `None` without enough data: then nothing new begins, and what fires is taken to be good.
    """
    known = value is not None and threshold is not None
    bad = known and rule.holds(value, threshold)  # type: ignore[arg-type]
    if standing.state == "firing":
        good = not known or rule.is_over(value, threshold)  # type: ignore[arg-type]
        return _firing(rule, standing, value, good=good, now_ns=now_ns)
    if not bad:
        return replace(
            Standing(), state="ok" if known else "no_data", since_ns=_kept_since(standing, known, now_ns)
        ), None
    assert value is not None
    pending_since = standing.since_ns if standing.state == "pending" else now_ns
    if now_ns - pending_since < rule.for_s * NS_PER_S:
        return Standing("pending", pending_since, peak=_worse(rule, standing, value)), None
    told = not rule.is_silent(now_ns)
    fired = Standing("firing", now_ns, told_ns=now_ns if told else 0, told=told, peak=_worse(rule, standing, value))
    return fired, "fired"


def _firing(
    rule: Rule, standing: Standing, value: float | None, *, good: bool, now_ns: int
) -> tuple[Standing, Change | None]:
    if value is not None:
        standing = replace(standing, peak=_worse(rule, standing, value))
    if good:
        good_since = standing.good_since_ns or now_ns
        if now_ns - good_since >= rule.for_s * NS_PER_S:
            return Standing(
                "ok", now_ns, told=standing.told, peak=standing.peak, history_id=standing.history_id
            ), "resolved"
        return replace(standing, good_since_ns=good_since), None
    standing = replace(standing, good_since_ns=0)
    due = not standing.told or now_ns - standing.told_ns >= rule.cooldown_seconds * NS_PER_S
    if due and not rule.is_silent(now_ns):
        return replace(standing, told=True, told_ns=now_ns), "again"
    return standing, None


def _worse(rule: Rule, standing: Standing, value: float) -> float:
    if standing.state not in ("pending", "firing"):
        return value
    return min(standing.peak, value) if rule.condition in ("lt", "lte") else max(standing.peak, value)


def _kept_since(standing: Standing, known: bool, now_ns: int) -> int:
    return standing.since_ns if standing.state == ("ok" if known else "no_data") and standing.since_ns else now_ns
