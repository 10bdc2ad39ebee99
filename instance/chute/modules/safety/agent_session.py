"""One agent's session: what it has used, what it did last, and the rule that stopped it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from instance.chute.modules.safety.agent_steps import (
    TURNS,
    ToolCall,
    goes_round,
    is_error,
    looks_alike,
    new_steps,
    says_nothing_new,
    step_of,
)
from instance.core.money import nano_to_usd
from instance.core.timestamps import rfc3339

NS = 1_000_000_000
DEPTHS_MAX = 512
"""Calls of a session whose depth is remembered, the latest."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a session may use; 0: no limit."""

    calls: int
    cost_nano: int
    tokens: int
    duration_ns: int
    depth: int
    tool_calls: int
    repeat_calls: int
    repeat_errors: int


@dataclass(slots=True)
class AgentSession:
    """Counters of one session; times are wall nanoseconds. `stopped` names the rule, empty while it may go on."""

    id: str
    name: str
    key: str
    team: str
    started_ns: int
    used_ns: int
    calls: int = 0
    cost_nano: int = 0
    tokens: int = 0
    tool_calls: int = 0
    depth: int = 0
    stopped: str = ""
    errors: int = 0
    last_error: int = 0
    last_request: int = 0
    steps: deque[bytes] = field(default_factory=deque)
    turns: deque[str] = field(default_factory=lambda: deque(maxlen=TURNS))
    alike: int = 0
    """Latest turns in a row that look like the one before: only then are they compared word by word."""
    depths: dict[str, int] = field(default_factory=dict)

    def over(self, limits: Limits, now_ns: int) -> str:
        """The limit that the session has reached, so that no further call fits; empty: none."""
        for used, limit, rule in self._uses(limits, now_ns):
            if limit and used >= limit:
                return rule
        return ""

    def near(self, limits: Limits, now_ns: int, share: float) -> list[tuple[str, float]]:
        """The limits of which at least this share is used, with the share."""
        return [
            (rule, used / limit) for used, limit, rule in self._uses(limits, now_ns) if limit and used >= share * limit
        ]

    def _uses(self, limits: Limits, now_ns: int) -> tuple[tuple[int, int, str], ...]:
        return (
            (self.calls, limits.calls, "max_calls"),
            (self.cost_nano, limits.cost_nano, "max_cost_usd"),
            (self.tokens, limits.tokens, "max_tokens"),
            (now_ns - self.started_ns, limits.duration_ns, "max_duration_s"),
            (self.tool_calls, limits.tool_calls, "max_tool_calls"),
        )

    def enter(self, call_ids: Sequence[str], parent: str) -> int:
        """Count a call; its depth: 1, or one more than that of the session's call that it names as its parent."""
        self.calls += 1
        depth = self.depths.get(parent, 0) + 1
        self.depth = max(self.depth, depth)
        for call_id in call_ids:
            while len(self.depths) >= DEPTHS_MAX:
                del self.depths[next(iter(self.depths))]
            self.depths[call_id] = depth
        return depth

    def take_results(self, results: Sequence[str], request: int, limits: Limits) -> str:
        """Look at the tool results that a request brings; the rule that is broken. The same request again brings nothing."""
        if not results or request == self.last_request:
            return ""
        self.last_request = request
        for result in results:
            if not is_error(result):
                self.errors = 0
                continue
            error = hash(result.strip())
            self.errors = self.errors + 1 if self.errors and error == self.last_error else 1
            self.last_error = error
        return "repeat_errors" if limits.repeat_errors and self.errors >= limits.repeat_errors else ""

    def take_turn(self, calls: Sequence[ToolCall], asked: str, text: str, limits: Limits) -> str:
        """Look at an answer: its tool calls and its text, and what it answered; `loop` when it goes round in circles."""
        if calls:
            self.tool_calls += len(calls)
            step = step_of(calls)
            if step not in self.steps:
                self.turns.clear()  # another call, another try: that is new
                self.alike = 0
            if self.steps.maxlen != new_steps(limits.repeat_calls).maxlen:
                self.steps = new_steps(limits.repeat_calls, self.steps)
            self.steps.append(step)
            if limits.repeat_calls and goes_round(self.steps, limits.repeat_calls):
                return "loop"
        else:
            self.steps.clear()
        if text:
            turn = f"{asked}\n{text}"
            self.alike = self.alike + 1 if self.turns and looks_alike(turn, self.turns[-1]) else 0
            self.turns.append(turn)
            if self.alike >= TURNS - 1 and says_nothing_new(self.turns):
                return "nothing_new"
        return ""

    def counts(self) -> dict[str, Any]:
        """What was used, for errors and lists."""
        return {
            "calls": self.calls,
            "cost_usd": nano_to_usd(self.cost_nano),
            "tokens": self.tokens,
            "tool_calls": self.tool_calls,
            "depth": self.depth,
        }

    def row(self) -> dict[str, Any]:
        """The session as a list shows it."""
        return {
            "id": self.id,
            "session": self.name,
            "key_id": self.key,
            "team_id": self.team,
            **self.counts(),
            "state": "stopped" if self.stopped else "running",
            "rule": self.stopped or None,
            "started_at": rfc3339(self.started_ns),
            "last_call_at": rfc3339(self.used_ns),
        }

    def stored(self) -> dict[str, Any]:
        """What a restart must know. What it did last is not kept: texts stay out of the database."""
        return {
            "id": self.id,
            "name": self.name,
            "key": self.key,
            "team": self.team,
            "started_ns": self.started_ns,
            "used_ns": self.used_ns,
            "calls": self.calls,
            "cost_nano": self.cost_nano,
            "tokens": self.tokens,
            "tool_calls": self.tool_calls,
            "depth": self.depth,
            "stopped": self.stopped,
        }
