"""What attempts and probes show of targets and providers: healthy, suspect or down, and every change of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from instance.core.timestamps import rfc3339

if TYPE_CHECKING:
    from instance.chute.targets import Target
    from instance.core.clock import Clock

Health = Literal["healthy", "suspect", "down", "bad_key"]

SUBJECTS_MAX = 4096
CHANGES_MAX = 200
REASON_MAX_CHARACTERS = 300


class Condition:
    """One subject that is not simply healthy. `since_ns` is UTC."""

    __slots__ = ("failures", "passes", "reason", "recheck_ns", "since_ns", "state")

    def __init__(self, since_ns: int) -> None:
        self.state: Health = "healthy"
        self.failures = 0
        self.passes = 0
        self.reason = ""
        self.since_ns = since_ns
        self.recheck_ns = 0
        """When a subject that is down was last given a call, monotonic nanoseconds."""


class HealthTable:
    """Conditions by subject: a target's label (`provider/model`) for what calls showed, a provider's name for what probes of
    it showed. What is not in it is healthy; at most `SUBJECTS_MAX` are, and the oldest that is not down goes first.

    `core.services["health"]` while the module healthcheck is on; it outlives changes of its settings.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.conditions: dict[str, Condition] = {}
        """Empty while nothing is known against anybody. To be changed here only."""
        self.out: dict[str, Condition] = {}
        """Those that are down or have a bad key."""
        self.changes: deque[dict[str, Any]] = deque(maxlen=CHANGES_MAX)
        self.owner: object = None
        """The module that uses it now."""
        self.on_change: Callable[[str, Health, str], None] | None = None

    def failed(self, subject: str, reason: str, fail_after: int, *, bad_key: bool = False) -> None:
        """One failure: suspect after `fail_after` in a row, down after twice as many; a refused key is out at once."""
        condition = self.conditions.get(subject) or self._new(subject)
        condition.failures += 1
        condition.passes = 0
        reason = reason[:REASON_MAX_CHARACTERS]
        if bad_key:
            self._move(subject, condition, "bad_key", reason)
        elif condition.failures >= 2 * fail_after:
            self._move(subject, condition, "down", reason)
        elif condition.failures >= fail_after and condition.state != "down":
            self._move(subject, condition, "suspect", reason)

    def passed(self, subject: str, pass_after: int) -> None:
        """One success: healthy after `pass_after` in a row."""
        condition = self.conditions.get(subject)
        if condition is None:
            return
        condition.failures = 0
        condition.passes += 1
        if condition.state == "healthy" or condition.passes >= pass_after:
            if condition.state != "healthy":
                self._move(subject, condition, "healthy", "it answers again")
            del self.conditions[subject]

    def condition(self, subject: str) -> Condition | None:
        """What is held against the subject; `None`: nothing."""
        return self.conditions.get(subject)

    def is_down(self, target: Target) -> bool:
        """Whether calls had better go elsewhere."""
        return target.label in self.out or target.provider.name in self.out

    def of_provider(self, name: str) -> Health:
        """The provider's own state, else the worst of its targets."""
        states = [
            condition.state
            for subject, condition in self.conditions.items()
            if subject == name or subject.startswith(f"{name}/")
        ]
        worst: tuple[Health, ...] = ("bad_key", "down", "suspect")
        return next((state for state in worst if state in states), "healthy")

    def rows(self) -> list[dict[str, Any]]:
        """Every subject that is not healthy: `{target, state, reason, since}`."""
        return [
            {"target": subject, "state": kept.state, "reason": kept.reason, "since": rfc3339(kept.since_ns)}
            for subject, kept in self.conditions.items()
            if kept.state != "healthy"
        ]

    def try_again(self, provider: str) -> None:
        """The provider itself is well: its targets that are down get a call at once."""
        for subject, condition in self.out.items():
            if subject.startswith(f"{provider}/"):
                condition.recheck_ns = 0

    def forget(self, subject: str) -> None:
        """Drop what is known of a subject that is gone."""
        self.conditions.pop(subject, None)
        self.out.pop(subject, None)

    def _new(self, subject: str) -> Condition:
        if len(self.conditions) >= SUBJECTS_MAX:
            oldest = next((s for s in self.conditions if s not in self.out), next(iter(self.conditions)))
            self.forget(oldest)
        condition = self.conditions[subject] = Condition(self._clock.wall_ns())
        return condition

    def _move(self, subject: str, condition: Condition, state: Health, reason: str) -> None:
        if condition.state == state:
            condition.reason = reason
            return
        condition.state = state
        condition.reason = reason
        condition.since_ns = self._clock.wall_ns()
        if state in ("down", "bad_key"):
            self.out[subject] = condition
            condition.recheck_ns = self._clock.mono_ns()
        else:
            self.out.pop(subject, None)
        self.changes.append({"target": subject, "state": state, "reason": reason, "at": rfc3339(condition.since_ns)})
        if self.on_change is not None:
            self.on_change(subject, state, reason)
