"""approvalgate: puts people before risky calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from instance.brand.approval import Ticket
from instance.chute.answer import Answer
from instance.chute.asked_again import AskedAgain
from instance.chute.call_identity import key_id
from instance.chute.exchange import Exchange
from instance.chute.module import ALL_KINDS, Call, Module, ModuleSettings
from instance.chute.modules.studio.approval_rules import Demand, Demanding, Rule, prompt_change, request_digest
from instance.chute.worst_case import worst_case_of_all_nano
from instance.core.errors import StockyardError
from instance.core.ids import new_id
from instance.core.timestamps import NS_PER_S

if TYPE_CHECKING:
    from instance.brand.approvals import Approvals
    from instance.core.core import Core

HEADER = b"x-stockyard-approval"
WAITING_GAUGE = "approvals_waiting"
CONSOLE = "/ui/trust/approvals"


class ApprovalGate(Module):
    """A call that a rule is about is refused with a ticket, or waits; the same call passes once when the ticket was approved.

    Rules are asked when the call's model and cost are settled, and nothing else refused it. A ticket is bound to the key,
    to what was asked and to the rule.
    """

    name: ClassVar[str] = "approvalgate"
    category: ClassVar[str] = "studio"
    group: ClassVar[int] = 4
    summary: ClassVar[str] = "Puts people before risky calls"
    rejects: ClassVar[tuple[str, ...]] = ("approval_required", "approval_denied", "approval_mismatch", "rate_limited")
    on_error: ClassVar[Literal["open", "closed"]] = "closed"
    kinds: ClassVar[frozenset[str]] = ALL_KINDS
    tick_s: ClassVar[float] = 3600.0

    class Settings(ModuleSettings):
        rules: list[Rule] = Field(
            default=[], max_length=200, description="Which calls need approval; the first that fits."
        )
        mode: Literal["ticket", "wait"] = Field(
            default="ticket", description="ticket refuses the call with a ticket to repeat it with; wait holds it."
        )
        wait_s: float = Field(default=120.0, gt=0, le=86_400, description="Seconds that a call waits, at most.")
        ticket_ttl_s: int = Field(default=86_400, ge=1, le=31_536_000, description="Seconds that a ticket holds.")
        on_timeout: Literal["reject", "allow"] = Field(
            default="reject", description="What becomes of a call that waited and nobody decided on."
        )
        prompt_changes: bool = Field(
            default=True,
            description="Ask for approval of a stored prompt's version under a label, once for good, before calls that name the label get it.",
        )
        four_eyes: bool = Field(default=True, description="Nobody approves a call of their own.")

    settings: Settings

    def __init__(self, settings: ModuleSettings) -> None:
        super().__init__(settings)
        self._rules = [Demanding(rule) for rule in self.settings.rules]
        self._prompt_changes = self.settings.prompt_changes
        self._core: Core
        self._approvals: Approvals

    async def start(self, core: Core, previous: Module | None) -> None:
        self._core = core
        self._approvals = core.services["brand"].approvals
        await self._approvals.load()
        core.services["lookout"].alerts.gauges[WAITING_GAUGE] = self._waiting

    async def stop(self) -> None:
        gauges = self._core.services["lookout"].alerts.gauges
        if gauges.get(WAITING_GAUGE) == self._waiting:
            del gauges[WAITING_GAUGE]

    def _waiting(self, narrowed: Mapping[str, str], window_s: int) -> float:
        """How many tickets wait for people; alerts on it tell the approvers."""
        return float(self._approvals.waiting())

    def hooks(self) -> tuple[str, ...]:
        return ("around",) if self.settings.rules or self.settings.prompt_changes else ()

    def passes(self, x: Exchange) -> bool:
        if not self._rules and "prompt" not in x.state:
            return True
        return self._demanded(x) is None

    async def tick(self) -> None:
        await self._approvals.prune()

    async def around(self, x: Exchange, call: Call) -> Answer:
        demand = self._demanded(x)
        if demand is None:
            return await call(x)
        if self.settings.mode == "wait" and x.stream and HEADER not in x.headers:

            async def after_approval() -> Answer:
                await self._pass(x, demand)
                answer = await call(x)
                held.target, held.release = answer.target, answer.release
                return answer

            held = AskedAgain(x, call, self.name, None, self._core.clock).streamed(after_approval)
            return held
        await self._pass(x, demand)
        return await call(x)

    async def demand(self, x: Exchange, rule: str) -> None:
        """Return when the call is approved; raise what it is refused with. For modules whose own rules ask for approval."""
        await self._pass(x, Demand(rule=rule))

    def _demanded(self, x: Exchange) -> Demand | None:
        def cost_nano() -> int:
            return worst_case_of_all_nano(x, self._core.services)[0]

        if self._prompt_changes:
            change = prompt_change(x, self._approvals.approved_before)
            if change is not None:
                return change
        for rule in self._rules:
            demand = rule.demanded(x, cost_nano, self._approvals.approved_before)
            if demand is not None:
                return demand
        return None

    async def _pass(self, x: Exchange, demand: Demand) -> None:
        if x.state.get("approved"):
            return
        if x.dry:
            message = f"This call would need approval ({demand.rule})."
            raise StockyardError("approval_required", message, module=self.name, retryable=False)
        began = self._core.clock.mono_ns()
        presented = x.headers.get(HEADER, b"").decode("latin-1").strip()
        ticket = await (self._presented(x, demand, presented) if presented else self._requested(x, demand))
        if ticket is None:
            return
        if not await self._approvals.use(ticket):
            raise await self._new_needed(x, demand, "The ticket was used before")
        x.state["approved"] = ticket.id
        waited_ns = self._core.clock.mono_ns() - began
        by = ", ".join(str(vote["by"]) for vote in ticket.votes)
        detail = {"rule": demand.rule, "ticket": ticket.id, "by": by, "ms": waited_ns // 1_000_000}
        x.note("approval", detail, module=self.name)

    async def _presented(self, x: Exchange, demand: Demand, presented: str) -> Ticket:
        """The approved ticket that the call names. Raises what it is refused with."""
        ticket = await self._approvals.one(presented)
        if ticket is None:
            raise await self._new_needed(x, demand, "There is no such ticket")
        bound_to = (ticket.key_id, ticket.request_sha256, ticket.rule)
        if bound_to != (key_id(x), request_digest(x), demand.rule):
            raise StockyardError(
                "approval_mismatch",
                "The ticket is for another request; what was approved must be sent as it was.",
                param="X-Stockyard-Approval",
                module=self.name,
                retryable=False,
            )
        state = ticket.state(self._core.clock.wall_ns())
        if state == "denied":
            raise self._denied(ticket)
        if state == "pending":
            raise self._required(ticket, "It was not approved yet")
        if state != "approved":
            why = "The ticket was used before" if state == "used" else "The ticket has expired"
            raise await self._new_needed(x, demand, why)
        return ticket

    async def _requested(self, x: Exchange, demand: Demand) -> Ticket | None:
        """The ticket once it is approved; `None` where the call may go on without. Raises what it is refused with."""
        ticket = await self._approvals.request(self._ticket(x, demand))
        x.note("ticket", {"rule": demand.rule, "ticket": ticket.id}, module=self.name)
        if self.settings.mode == "ticket":
            raise self._required(ticket, f"This call needs approval ({demand.rule})")
        began = self._core.clock.mono_ns()
        with x.elsewhere():
            decided = await self._approvals.wait(ticket.id, self.settings.wait_s)
        waited_ns = self._core.clock.mono_ns() - began
        x.waited_ns += waited_ns
        state = decided.state(self._core.clock.wall_ns()) if decided is not None else "expired"
        if decided is not None and state == "approved":
            return decided
        if decided is not None and state == "denied":
            raise self._denied(decided)
        detail = {"rule": demand.rule, "ticket": ticket.id, "by": "timeout", "ms": waited_ns // 1_000_000}
        x.note("approval", detail, module=self.name)
        if self.settings.on_timeout == "allow":
            return None
        raise self._required(ticket, f"Nobody decided within {self.settings.wait_s:g} s")

    async def _new_needed(self, x: Exchange, demand: Demand, why: str) -> StockyardError:
        ticket = await self._approvals.request(self._ticket(x, demand))
        return self._required(ticket, why)

    def _ticket(self, x: Exchange, demand: Demand) -> Ticket:
        now_ns = self._core.clock.wall_ns()
        owner = str(x.principal.user or "") if x.principal is not None else ""
        return Ticket(
            id=new_id("apr_"),
            status="pending",
            rule=demand.rule,
            needed=demand.needed,
            approvers=demand.approvers,
            four_eyes=self.settings.four_eyes,
            request_sha256=request_digest(x),
            trace_id=x.id,
            key_id=key_id(x),
            user_id=owner,
            team_id=x.team,
            model=x.targets[0].label if x.targets else x.model_requested,
            remembers=demand.remembers,
            votes=(),
            created_at_ns=now_ns,
            expires_at_ns=now_ns + self.settings.ticket_ttl_s * NS_PER_S,
        )

    def _required(self, ticket: Ticket, why: str) -> StockyardError:
        return StockyardError(
            "approval_required",
            f"{why}. Ticket {ticket.id}: somebody who may decide opens {CONSOLE}/{ticket.id}; then repeat the call with the "
            f"header X-Stockyard-Approval: {ticket.id}.",
            details={"ticket": ticket.id, "rule": ticket.rule, "console": f"{CONSOLE}/{ticket.id}"},
            module=self.name,
            retryable=False,
        )

    def _denied(self, ticket: Ticket) -> StockyardError:
        said = f": {ticket.comment}" if ticket.comment else "."
        return StockyardError(
            "approval_denied",
            f"This call was not approved{said}",
            details={"ticket": ticket.id, "rule": ticket.rule},
            module=self.name,
            retryable=False,
        )
