"""Who waited for the embedder in vain: what is raised then, what the trail says of it, and how often it happened lately."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic_ns
from typing import TYPE_CHECKING, Final, Literal

from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.exchange import Exchange
    from instance.chute.module import Module

LATE: Final = "embedder_late"
FULL: Final = "embedder_full"
ACTION = "not_embedded"
"""What the trail calls it when a module had to do without vectors."""
STEP_NS = 10 * 10**9
STEPS_MAX = 8_641
"""Steps that are kept: a day's, the longest that an alert looks back."""


class EmbedderLate(Exception):
    """No vectors came in time. `reason`: `embedder_late`, after the longest wait; `embedder_full`, at once: too much waits already."""

    def __init__(self, reason: Literal["embedder_late", "embedder_full"]) -> None:
        super().__init__(reason)
        self.reason = reason


class Lateness:
    """Counts what was not embedded in time: by reason, and lately."""

    def __init__(self, mono_ns: Callable[[], int] = monotonic_ns) -> None:
        self.counts = {LATE: 0, FULL: 0}
        self._mono_ns = mono_ns
        self._steps: deque[list[int]] = deque(maxlen=STEPS_MAX)

    def add(self, reason: str) -> None:
        self.counts[reason] += 1
        step = self._mono_ns() // STEP_NS
        if self._steps and self._steps[-1][0] == step:
            self._steps[-1][1] += 1
        else:
            self._steps.append([step, 1])

    def within(self, window_s: float) -> int:
        """How often in the last seconds, to the nearest ten."""
        since = (self._mono_ns() - int(window_s * 1e9)) // STEP_NS
        total = 0
        for step, count in reversed(self._steps):
            if step < since:
                break
            total += count
        return total


def note_late(x: Exchange, module: Module, late: EmbedderLate, instead: str, *, hook: str = "around") -> None:
    """Say in the trail what a module goes by in place of vectors; once for each module, hook and call."""
    noted: set[tuple[str, str]] = x.state.setdefault(ACTION, set())
    if (module.name, hook) not in noted:
        noted.add((module.name, hook))
        x.note(ACTION, {"reason": late.reason, "instead": instead}, module=module.name, hook=hook)


def is_late(x: Exchange, module: Module, *, hook: str = "around") -> bool:
    """Whether a module had to do without vectors for the call."""
    return (module.name, hook) in x.state.get(ACTION, ())


def require_open(x: Exchange, module: Module, late: EmbedderLate, *, hook: str = "around") -> None:
    """For a module that can tell nothing without vectors: return where it fails open, and raise `module_failed` where it fails
    closed."""
    closed = (module.settings.on_error or module.on_error) == "closed"
    note_late(x, module, late, "refusal" if closed else "nothing", hook=hook)
    if closed:
        raise StockyardError(
            "module_failed",
            f"The module {module.name!r} had no embeddings in time and is set to refuse calls then.",
            module=module.name,
        ) from late
