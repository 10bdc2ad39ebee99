"""agentguard: limits what an autonomous agent may use in one session, and stops it when it goes round in circles."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from fnmatch import translate
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from instance.chute.answer import Answer, Delta
from instance.chute.call_identity import key_id
from instance.chute.exchange import Exchange
from instance.chute.module import Call, Module, ModuleSettings
from instance.chute.modules.safety.agent_session import AgentSession, Limits
from instance.chute.modules.safety.agent_sessions import AgentSessions
from instance.chute.modules.safety.agent_steps import ToolCall, TurnCalls, calls_of, last_input, new_results
from instance.chute.modules.safety.held_tool_calls import held_tool_calls
from instance.chute.modules.safety.tool_approvals import ToolApprovals
from instance.chute.system_message import with_system_text
from instance.chute.tracing.context import read_traceparent
from instance.core.clock import Clock
from instance.core.errors import StockyardError
from instance.core.money import nano_to_usd, usd_to_nano

if TYPE_CHECKING:
    from instance.core.core import Core

NS = 1_000_000_000
EXPIRE_EVERY = 60
"""Ticks between two clearings of sessions that are over."""

Globs = Annotated[list[Annotated[str, Field(min_length=1, max_length=256)]], Field(max_length=500)]

WHY = {
    "max_calls": "it has made as many calls as it may",
    "max_cost_usd": "it has spent what it may",
    "max_tokens": "it has used as many tokens as it may",
    "max_duration_s": "it has run for as long as it may",
    "max_tool_calls": "it has made as many tool calls as it may",
    "max_depth": "its calls are nested too deeply",
    "loop": "it makes the same tool calls over and over",
    "repeat_errors": "its tool fails over and over with the same error",
    "nothing_new": "its answers say nothing new any more",
    "by_hand": "somebody stopped it",
}


class AgentGuard(Module):
    """Counts each session's calls, cost, tokens, time and tool calls, and refuses its calls from a limit or a loop on.

    A session is what `X-Stockyard-Session` names, else the trace of a `traceparent`, for one key. A stopped session stays so
    until it is reset, or until nothing was asked in it for `reset_s`.
    """

    name: ClassVar[str] = "agentguard"
    category: ClassVar[str] = "safety"
    group: ClassVar[int] = 2
    summary: ClassVar[str] = "Stops agents that loop or use too much"
    rejects: ClassVar[tuple[str, ...]] = ("agent_stopped", "tool_denied", "bad_request", "bad_upstream_response")
    on_error: ClassVar[Literal["open", "closed"]] = "closed"
    safety: ClassVar[bool] = True
    tick_s: ClassVar[float] = 1.0
    migrations: ClassVar[Path | None] = Path(__file__).parent / "agentguard_migrations"

    class Settings(ModuleSettings):
        require_session: bool = Field(default=False, description="Refuse calls that belong to no session.")
        max_calls: int = Field(default=100, ge=0, le=10**9, description="Calls of one session; 0: no limit.")
        max_cost_usd: Decimal = Field(
            default=Decimal(5), ge=0, le=1_000_000, description="US dollars that one session may cost; 0: no limit."
        )
        max_tokens: int = Field(
            default=0, ge=0, le=10**12, description="Tokens of one session, in and out; 0: no limit."
        )
        max_duration_s: int = Field(
            default=1800, ge=0, le=31_536_000, description="Seconds after its first call; 0: no limit."
        )
        max_tool_calls: int = Field(
            default=0, ge=0, le=10**9, description="Tool calls in the answers of one session; 0: no limit."
        )
        max_depth: int = Field(
            default=0,
            ge=0,
            le=10_000,
            description="How deep calls may be nested that name a call of the session in X-Stockyard-Parent-Id; 0: no limit.",
        )
        repeat_calls: int = Field(
            default=4,
            ge=0,
            le=100,
            description="Times in a row that the same tool call, or cycle of calls, is a loop; 0: not looked for.",
        )
        repeat_errors: int = Field(
            default=3,
            ge=0,
            le=100,
            description="Times in a row that a tool may fail with the same error; 0: not looked for.",
        )
        deny_tools: Globs = Field(default=[], description="Globs of the tools that an agent may not call.")
        allow_tools: Globs = Field(default=["*"], description="Globs of the tools that an agent may call.")
        approve_tools: Globs = Field(
            default=[], description="Globs of the tools whose calls are held until a person lets them go."
        )
        approve_wait_s: float = Field(
            default=300.0, gt=0, le=86_400, description="Seconds that a held tool call waits for a person."
        )
        warn_pct: int = Field(
            default=80,
            ge=0,
            le=100,
            description="Share of a limit, in percent, from which the agent is told; 0: never.",
        )
        reset_s: int = Field(
            default=3600, ge=1, le=31_536_000, description="Seconds without a call after which a session begins anew."
        )

    settings: Settings
    sessions: AgentSessions
    approvals: ToolApprovals

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        own = settings
        self._clock = Clock()
        self._requires_session = own.require_session
        self._limits = Limits(
            own.max_calls,
            usd_to_nano(own.max_cost_usd),
            own.max_tokens,
            own.max_duration_s * NS,
            own.max_depth,
            own.max_tool_calls,
            own.repeat_calls,
            own.repeat_errors,
        )
        self._denied = _any_of(own.deny_tools)
        self._allowed = _any_of(own.allow_tools)
        self._needs_approval = _any_of(own.approve_tools)
        self._ticks = 0

    def hooks(self) -> tuple[str, ...]:
        own = self.settings
        has_rules = bool(own.deny_tools or own.approve_tools or "*" not in own.allow_tools)
        return ("on_request", *(("around",) if has_rules else ()), "on_delta", "on_finish")

    async def start(self, core: Core, previous: Module | None) -> None:
        self._clock = core.clock
        reset_ns = self.settings.reset_s * NS
        if isinstance(previous, AgentGuard):
            self.sessions = previous.sessions
            self.sessions.reset_ns = reset_ns
            self.approvals = previous.approvals
        else:
            self.sessions = AgentSessions(core, reset_ns)
            self.approvals = ToolApprovals(core.clock)
            await self.sessions.open()

    async def stop(self) -> None:
        await self.sessions.flush()

    async def tick(self) -> None:
        await self.sessions.flush()
        self._ticks += 1
        if self._ticks % EXPIRE_EVERY == 0:
            await self.sessions.expire()

    def report(self) -> dict[str, Any]:
        """How many sessions are known, and how many tool calls wait for a person."""
        return {"sessions": len(self.sessions), "waiting": len(self.approvals.rows())}

    def passes(self, x: Exchange) -> bool:
        return "agentguard" not in x.state

    def on_request(self, x: Exchange) -> Answer | None:
        name = x.session or (_trace_of(x) if b"traceparent" in x.headers else "")
        if not name:
            if self._requires_session:
                raise StockyardError(
                    "bad_request",
                    "Calls here belong to a session: name it in the header X-Stockyard-Session.",
                    param="X-Stockyard-Session",
                    retryable=False,
                )
            return None
        now_ns = self._clock.wall_ns()
        find = self.sessions.peek if x.dry else self.sessions.of
        session = find(key_id(x), x.team, name, now_ns)
        if not session.stopped:
            rule = session.over(self._limits, now_ns)
            results = new_results(x.req.get("messages")) if not rule and not x.dry else ()
            if results:
                rule = session.take_results(results, hash(x.raw), self._limits)
            if rule and not x.dry:
                session.stopped = rule
            elif rule:
                raise self._refusal(x, session, rule)
        if session.stopped:
            if not x.dry:
                self.sessions.touch(session, now_ns)
            raise self._refusal(x, session, session.stopped)
        if self.settings.warn_pct:
            self._warn(x, session, now_ns)
        if x.dry:
            return None
        depth = session.enter((x.id, x.request_id), x.parent_id)
        self.sessions.touch(session, now_ns)
        if self._limits.depth and depth > self._limits.depth:
            raise self._refusal(x, session, "max_depth")
        x.state["agentguard"] = session
        return None

    async def around(self, x: Exchange, call: Call) -> Answer:
        answer = await call(x)
        session: AgentSession = x.state["agentguard"]

        async def judge(calls: list[ToolCall]) -> None:
            for name, arguments in calls:
                await self._judge(x, session, name, arguments)

        if answer.streamed:
            return held_tool_calls(answer, judge)
        for choice in (answer.obj or {}).get("choices") or ():
            message = choice.get("message")
            if type(message) is dict:
                await judge(calls_of(message))
        return answer

    async def _judge(self, x: Exchange, session: AgentSession, name: str, arguments: str) -> None:
        if self._denied(name) or not self._allowed(name):
            self._note(x, session, "tool_denied", tool=name)
            raise _denied(f"An agent may not call the tool {name!r} here.", name, "policy")
        if not self._needs_approval(name):
            return
        began = self._clock.mono_ns()
        try:
            with x.elsewhere():
                decision = await self.approvals.wait(session.id, x.id, name, arguments, self.settings.approve_wait_s)
        finally:
            x.waited_ns += self._clock.mono_ns() - began
        self._note(x, session, f"tool_{decision}", tool=name)
        if decision != "approved":
            why = {
                "denied": "was refused by a person",
                "expired": f"was not approved within {self.settings.approve_wait_s:g} s",
                "crowded": "cannot wait for approval, because too many others do",
            }[decision]
            raise _denied(f"The call of the tool {name!r} {why}.", name, decision)

    def on_delta(self, x: Exchange, delta: Delta) -> None:
        calls: TurnCalls | None = x.state.get("agentguard_calls")
        if calls is None:
            if "agentguard" not in x.state:
                x.skipped = (x.skipped or set()) | {self.name}
                return
            calls = x.state["agentguard_calls"] = TurnCalls()
        if delta.obj is not None:
            calls.take(delta.obj)

    def on_finish(self, x: Exchange) -> None:
        if "agentguard" not in x.state:
            return
        session: AgentSession = x.state["agentguard"]
        session.cost_nano += x.cost_nano
        session.tokens += x.usage.input + x.usage.output
        if x.answer is not None and x.status != "error" and not session.stopped:
            calls, text = _turn(x)
            rule = session.take_turn(calls, last_input(x.req.get("messages")), text, self._limits)
            if rule:
                session.stopped = rule
                self._note(x, session, rule)
        self.sessions.touch(session, self._clock.wall_ns())

    def _warn(self, x: Exchange, session: AgentSession, now_ns: int) -> None:
        """Tell the agent in its instructions what is nearly used up."""
        near = session.near(self._limits, now_ns, self.settings.warn_pct / 100)
        messages = x.req.get("messages")
        if not near or type(messages) is not list:
            return
        used = ", ".join(f"{share:.0%} of {_WORDS[rule]}" for rule, share in near)
        text = f"The budget of this session is nearly used: {used}. Come to an end: finish now with what you have."
        x.req = {**x.req, "messages": with_system_text(messages, text, before=False)}
        x.change()
        self._note(x, session, "warned")

    def _note(self, x: Exchange, session: AgentSession, rule: str, **more: Any) -> None:
        cost = nano_to_usd(session.cost_nano)
        detail = {"session_hash": session.id, "calls": session.calls, "cost_usd": cost, "rule": rule, **more}
        x.note("agent", detail, module=self.name)

    def _refusal(self, x: Exchange, session: AgentSession, rule: str) -> StockyardError:
        self._note(x, session, rule)
        return StockyardError(
            "agent_stopped",
            f"This agent's session was stopped ({rule}): {WHY[rule]}. It goes on once it is reset, "
            f"or after {self.settings.reset_s} s without a call.",
            details={"reason": rule, "session_id": session.id, **session.counts()},
            headers={"Retry-After": str(self.settings.reset_s)},
        )


_WORDS = {
    "max_calls": "the calls",
    "max_cost_usd": "the money",
    "max_tokens": "the tokens",
    "max_duration_s": "the time",
    "max_tool_calls": "the tool calls",
}


def _any_of(globs: Sequence[str]) -> Callable[[str], bool]:
    if not globs:
        return lambda name: False
    compiled = re.compile("|".join(translate(glob) for glob in globs))
    return lambda name: compiled.match(name) is not None


def _trace_of(x: Exchange) -> str:
    context = read_traceparent(x.headers[b"traceparent"])
    return f"trace:{context.trace_id}" if context is not None else ""


def _turn(x: Exchange) -> tuple[list[ToolCall], str]:
    """The tool calls and the text of the answer that was given."""
    streamed: TurnCalls | None = x.state.get("agentguard_calls")
    if streamed is not None:
        return streamed.calls(), "".join(x.text_out)[:TURN_CHARS]
    calls: list[ToolCall] = []
    text = ""
    for choice in ((x.answer.obj if x.answer is not None else None) or {}).get("choices") or ():
        message = choice.get("message")
        if type(message) is dict:
            calls += calls_of(message)
            content = message.get("content")
            text = text or (content if type(content) is str else "")
    return calls, text[:TURN_CHARS]


TURN_CHARS = 4000


def _denied(message: str, tool: str, reason: str) -> StockyardError:
    return StockyardError("tool_denied", message, details={"tool": tool, "reason": reason}, module=AgentGuard.name)
