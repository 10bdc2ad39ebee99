"""toolshield: guards the use of tools: what is offered, what is called with which arguments, and what comes back."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from instance.chute.answer import JSON, Answer
from instance.chute.asked_again import AskedAgain
from instance.chute.embedding.embedder import embedder_where_possible
from instance.chute.exchange import Exchange
from instance.chute.module import Call, Module, ModuleSettings
from instance.chute.modules.core.definition_guard import DefinitionGuard, ResultGuard
from instance.chute.modules.core.guarded_calls import guarded
from instance.chute.modules.core.injection_marks import InjectionMarks
from instance.chute.modules.core.learned_scan import LearnedScan
from instance.chute.modules.core.suspicion import note
from instance.chute.modules.core.tool_arguments import ArgumentRule, Check
from instance.chute.modules.core.tool_calls import CallCheck, Fault, calls_of, corrected
from instance.chute.modules.core.tool_definitions import Offered
from instance.chute.modules.core.tool_pins import ToolPins
from instance.chute.modules.core.tool_results import RESULT_ROLES
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.core.core import Core

CANONICAL = "openai.chat"

Entry = Annotated[str, Field(min_length=1, max_length=256)]


class ToolShield(Module):
    """Calls are checked when they are whole, before the caller sees any of them, in streams as well.

    A call must name a tool that was offered; its arguments must parse, fit the tool's schema and keep the rules. Nothing
    that is noted or answered holds the value of an argument.
    """

    name: ClassVar[str] = "toolshield"
    category: ClassVar[str] = "core"
    group: ClassVar[int] = 5
    summary: ClassVar[str] = "Guards tools: definitions, calls, arguments and results"
    rejects: ClassVar[tuple[str, ...]] = (
        "tool_denied",
        "tool_schema_invalid",
        "tool_result_unknown",
        "tool_call_invalid",
        "bad_upstream_response",
    )
    on_error: ClassVar[Literal["open", "closed"]] = "closed"
    kinds: ClassVar[frozenset[str]] = frozenset(("chat",))
    safety: ClassVar[bool] = True
    migrations: ClassVar[Path | None] = Path(__file__).parent / "toolshield_migrations"

    class Settings(ModuleSettings):
        allow: list[Entry] = Field(
            default=["*"], max_length=500, description="Globs of tools that may be offered; `team/tool` for one team."
        )
        deny: list[Entry] = Field(default=[], max_length=500, description="Globs of tools that may not; they win.")
        on_denied: Literal["remove", "reject"] = Field(
            default="remove",
            description="What happens to a tool that may not be offered: it is left out, or the call is refused.",
        )
        max_tools: int = Field(default=128, ge=1, le=10_000, description="Most tools of a request.")
        arg_rules: list[ArgumentRule] = Field(default=[], max_length=500, description="Rules on arguments, by tool.")
        on_bad_call: Literal["flag", "drop", "ask_again", "reject"] = Field(
            default="ask_again",
            description="What happens to a bad call: it is noted, taken out, refused to the model once with the reason, or refused.",
        )
        pin: Literal["off", "flag", "block"] = Field(
            default="off", description="What happens when a tool is no longer what its team first offered by this name."
        )
        repin: list[Entry] = Field(
            default=[], max_length=100, description="Globs of tools whose pins are taken anew when this is saved."
        )
        max_result_chars: int = Field(
            default=100_000, ge=1, le=100_000_000, description="Longest result of a tool; a longer one is cut."
        )
        scan_results: Literal["off", "flag", "block"] = Field(
            default="flag",
            description="What happens when a result, or a tool's description, looks like an injected instruction.",
        )
        learned: bool = Field(
            default=True,
            description="Where the bundled embedder is installed (extra `semantic`), also judge new results and descriptions by what was learned from examples of injection: it finds what no rule foresees; a call waits some 5 ms for a short one, up to 80 ms for a long one. Without the embedder, or the memory for it, the rules judge alone.",
        )

    settings: Settings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._checks = [Check(rule) for rule in settings.arg_rules]
        self._scans_results = settings.scan_results != "off"
        self._marks = InjectionMarks()
        self._core: Core
        self._pins: ToolPins
        self._definitions: DefinitionGuard
        self._results: ResultGuard
        self._learned: LearnedScan | None = None

    async def start(self, core: Core, previous: Module | None) -> None:
        self._core = core
        if isinstance(previous, ToolShield):
            self._pins = previous._pins
        else:
            self._pins = ToolPins(core)
            await self._pins.open()
        before = previous.settings.repin if isinstance(previous, ToolShield) else []
        if self.settings.repin and self.settings.repin != before:
            await self._pins.forget(self.settings.repin)
        own = self.settings
        embedder = await embedder_where_possible(core) if own.learned and self._scans_results else None
        if embedder is not None:  # else the rules judge alone
            self._learned = LearnedScan(self, own.scan_results, self._marks, core, embedder)
        self._definitions = DefinitionGuard(own, self._pins, self._marks, self._learned)
        self._results = ResultGuard(own, self._marks, self._learned)

    async def stop(self) -> None:
        await self._pins.flush()

    def hooks(self) -> tuple[str, ...]:
        return tuple(hook for hook in super().hooks() if hook != "prepare" or self._learned is not None)

    def report(self) -> dict[str, Any]:
        return {"pinned_tools": len(self._pins)}

    def on_request(self, x: Exchange) -> None:
        req = x.req
        if req.get("tools") or req.get("functions"):
            x.state["toolshield"] = self._definitions.checked(x)
        messages = req.get("messages")
        for message in messages if type(messages) is list else ():
            if type(message) is dict and message.get("role") in RESULT_ROLES:
                self._results.check(x, scans=self._scans_results)
                return

    def prepare(self, x: Exchange) -> Coroutine[Any, Any, None] | None:
        """What was learned, over new results and descriptions in which the rules found nothing."""
        return self._learned.judge(x) if self._learned is not None else None

    def passes(self, x: Exchange) -> bool:
        """Where no tool is offered nothing is asked again, and a whole answer is looked at on its way out."""
        return not x.stream and not x.state.get("toolshield")

    def on_response(self, x: Exchange, answer: Answer) -> None:
        obj = answer.obj
        if obj is None:
            return
        for choice in obj.get("choices") or ():
            message = choice.get("message")
            if type(message) is dict and (message.get("tool_calls") or message.get("function_call")):
                if self.passes(x):
                    self._settle(x, CallCheck([], self._checks), answer)
                return

    async def around(self, x: Exchange, call: Call) -> Answer:
        offered: list[Offered] = x.state.get("toolshield", [])
        check = CallCheck(offered, self._checks)
        asks = self.settings.on_bad_call == "ask_again"
        again = AskedAgain(x, call, self.name, self._core.services.get("price"), self._core.clock)
        if x.stream:
            answer = await call(x)
            if answer.events is not None:
                answer.events = guarded(answer.events, lambda message: self._judge_streamed(x, again, check, message))
                if offered:
                    answer.native = CANONICAL  # calls that are held cannot leave as they came
                return answer
        elif asks and offered:
            return await self._asked_until_good(x, again, check)
        else:
            answer = await call(x)
        if answer.obj is not None:
            self._settle(x, check, answer)
        return answer

    # --- calls -----------------------------------------------------------------------------------------------------

    async def _asked_until_good(self, x: Exchange, again: AskedAgain, check: CallCheck) -> Answer:
        asked = await again.ask()
        bad = self._bad_choice(x, check, asked.answer)
        if bad is not None:
            message, faults = bad
            asked = await again.ask(corrected(x.req, message, faults))
            second = self._bad_choice(x, check, asked.answer)
            if second is not None:
                again.give_up()
                raise _refused(second[1])
        return again.deliver(asked)

    def _bad_choice(self, x: Exchange, check: CallCheck, answer: Answer) -> tuple[JSON, list[Fault | None]] | None:
        for choice in (answer.obj or {}).get("choices") or ():
            message = choice.get("message") or {}
            faults = self._faults(x, check, message, "ask_again")
            if any(faults):
                return message, faults
        return None

    def _settle(self, x: Exchange, check: CallCheck, answer: Answer) -> None:
        """Act on the calls of a whole answer that is not asked for again."""
        assert answer.obj is not None
        for choice in answer.obj.get("choices") or ():
            message = choice.get("message")
            if not isinstance(message, dict):
                continue
            faults = self._faults(x, check, message, self._without_asking)
            if any(faults):
                choice["message"], reason = self._acted(message, faults)
                choice["finish_reason"] = reason or choice.get("finish_reason")
                answer.changed = True

    async def _judge_streamed(
        self, x: Exchange, again: AskedAgain, check: CallCheck, message: JSON
    ) -> tuple[JSON, str]:
        asks = self.settings.on_bad_call == "ask_again"
        faults = self._faults(x, check, message, self.settings.on_bad_call)
        if not any(faults):
            return message, ""
        if not asks:
            return self._acted(message, faults)
        asked = await again.ask(corrected(x.req, message, faults))
        bad = self._bad_choice(x, check, asked.answer)
        again.give_up()
        if bad is not None:
            raise _refused(bad[1])
        for choice in (asked.answer.obj or {}).get("choices") or ():
            return choice.get("message") or {}, str(choice.get("finish_reason") or "stop")
        return {}, "stop"

    @property
    def _without_asking(self) -> str:
        """What happens to a bad call where the model is not asked again: no tool was offered that it could call."""
        return "reject" if self.settings.on_bad_call == "ask_again" else self.settings.on_bad_call

    def _faults(self, x: Exchange, check: CallCheck, message: JSON, action: str) -> list[Fault | None]:
        if not calls_of(message):
            return []
        faults = check.faults(message)
        bad = sum(fault is not None for fault in faults)
        for fault in faults:
            if fault is not None:
                note(x, fault.tool, fault.rule, action)
        before = x.measures or {}
        x.measure(
            tool_calls=before.get("tool_calls", 0) + len(faults),
            tool_calls_blocked=before.get("tool_calls_blocked", 0) + (bad if action != "flag" else 0),
        )
        return faults

    def _acted(self, message: JSON, faults: Sequence[Fault | None]) -> tuple[JSON, str]:
        """The message to deliver and how it ends; refuses it where that is set."""
        action = self._without_asking
        if action == "reject":
            raise _refused(faults)
        if action == "flag":
            return message, ""
        kept = [call for call, fault in zip(calls_of(message), faults, strict=True) if fault is None]
        made = {name: value for name, value in message.items() if name not in ("tool_calls", "function_call")}
        if "tool_calls" in message and kept:
            return {**made, "tool_calls": kept}, ""
        return {**made, "content": made.get("content") or ""}, "stop"


def _refused(faults: Sequence[Fault | None]) -> StockyardError:
    fault = next(each for each in faults if each is not None)
    return StockyardError(
        "tool_call_invalid",
        f"The model called {fault.tool or 'a tool'} wrongly ({fault.rule}): {fault.why}.",
        param=fault.pointer or None,
        details=[
            {"tool": each.tool, "rule": each.rule, "pointer": each.pointer} for each in faults if each is not None
        ],
        module="toolshield",
        retryable=False,
    )
