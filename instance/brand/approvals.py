"""Approvals: tickets of calls that wait for people, their votes, and what they approved for good."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace
from typing import TYPE_CHECKING

from instance.brand import approval_store
from instance.brand.approval import Ticket
from instance.core.errors import StockyardError
from instance.core.principals import has_scope
from instance.core.timestamps import NS_PER_S, rfc3339
from instance.core.writer import LedgerEvent

if TYPE_CHECKING:
    from instance.core.core import Core
    from instance.core.principals import Principal

PENDING_MAX = 10_000
KEPT_DAYS = 365
PRUNED_AT_ONCE = 1000


class Approvals:
    """`request` makes a ticket, `vote` decides it, `use` lets one call pass on it."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._waiting: dict[str, set[asyncio.Event]] = {}
        """By ticket: the calls that wait now."""
        self._known: set[str] | None = None
        self._pending: dict[str, int] = {}
        """Tickets that wait, and until when."""

    async def load(self) -> None:
        """Read what was approved for good, once."""
        if self._known is None:
            self._known = set(await self._core.database.read(approval_store.known))
            now_ns = self._core.clock.wall_ns()
            self._pending |= await self._core.database.read(lambda conn: approval_store.all_pending(conn, now_ns))

    def waiting(self) -> int:
        """How many tickets wait for a decision now."""
        now_ns = self._core.clock.wall_ns()
        for ticket_id in [ticket_id for ticket_id, until_ns in self._pending.items() if until_ns < now_ns]:
            del self._pending[ticket_id]
        return len(self._pending)

    def approved_before(self, what: str) -> bool:
        """Whether this was approved for good; `load()` was awaited before."""
        return self._known is not None and what in self._known

    async def one(self, ticket_id: str) -> Ticket | None:
        """The ticket with this id."""
        return await self._core.database.read(lambda connection: approval_store.one(connection, ticket_id))

    async def request(self, ticket: Ticket) -> Ticket:
        """The ticket on which this very request waits: one that is there already, else the given one.

        Raises `rate_limited` when too many wait.
        """
        now_ns = self._core.clock.wall_ns()

        def write(connection: sqlite3.Connection) -> Ticket:
            waiting = approval_store.pending(connection, ticket, now_ns)
            if waiting is not None:
                return waiting
            if approval_store.count_pending(connection, now_ns) >= PENDING_MAX:
                raise StockyardError(
                    "rate_limited", "Too many calls wait for approval.", headers={"Retry-After": "60"}, retryable=False
                )
            approval_store.save(connection, ticket)
            return ticket

        made = await self._core.writer.write(write)
        self._pending[made.id] = made.expires_at_ns
        return made

    async def use(self, ticket: Ticket) -> bool:
        """Use an approved ticket up; False when somebody was faster, or it has expired."""
        now_ns = self._core.clock.wall_ns()
        used = await self._core.writer.write(lambda connection: approval_store.use(connection, ticket.id, now_ns))
        return bool(used)

    async def wait(self, ticket_id: str, timeout_s: float) -> Ticket | None:
        """The ticket once it is decided, or as it is after so many seconds."""
        event = asyncio.Event()
        self._waiting.setdefault(ticket_id, set()).add(event)
        try:
            ticket = await self.one(ticket_id)  # it may have been decided before anybody waited
            if ticket is None or ticket.status != "pending":
                return ticket
            async with asyncio.timeout(timeout_s):
                await event.wait()
        except TimeoutError:
            pass
        finally:
            waiting = self._waiting[ticket_id]
            waiting.discard(event)
            if not waiting:
                del self._waiting[ticket_id]
        return await self.one(ticket_id)

    async def prune(self) -> int:
        """Remove some of the tickets that are older than `KEPT_DAYS`; how many. The ledger keeps what was decided."""
        before_ns = self._core.clock.wall_ns() - KEPT_DAYS * 86_400 * NS_PER_S
        return await self._core.writer.write(
            lambda connection: approval_store.prune(connection, before_ns, PRUNED_AT_ONCE)
        )

    async def vote(self, principal: Principal, ticket_id: str, *, approves: bool, comment: str) -> Ticket:
        """Count one vote; a single no decides. Raises `not_found`, `conflict`, `not_an_approver`."""
        ticket = await self.one(ticket_id)
        if ticket is None:
            raise StockyardError("not_found", f"There is no approval {ticket_id[:64]!r}.")
        _require_approver(principal, ticket)
        now_ns = self._core.clock.wall_ns()
        by = f"key:{principal.key_id}"
        ballot = {
            "by": by,
            "user": principal.user,
            "approves": approves,
            "comment": comment,
            "at": rfc3339(now_ns),
        }
        detail = {"rule": ticket.rule, "comment": comment, "request_sha256": ticket.request_sha256}
        entry = LedgerEvent(
            "admin_action",
            by,
            f"approval:{ticket.id}",
            "approve" if approves else "deny",
            detail,
            ticket.trace_id or None,
        )

        def write(connection: sqlite3.Connection) -> Ticket:
            current = approval_store.one(connection, ticket_id)
            if current is None or current.state(now_ns) != "pending":
                state = current.state(now_ns) if current is not None else "gone"
                raise StockyardError("conflict", f"This approval is {state} already.")
            if any(_same(vote, principal) for vote in current.votes):
                raise StockyardError("conflict", "You voted on this already.")
            votes = (*current.votes, ballot)
            status = "pending"
            if not approves:
                status = "denied"
            elif sum(bool(vote["approves"]) for vote in votes) >= current.needed:
                status = "approved"
            after = replace(current, votes=votes, status=status, decided_at_ns=now_ns if status != "pending" else 0)
            approval_store.save(connection, after)
            if status == "approved" and after.remembers:
                approval_store.remember(connection, after, now_ns)
            return after

        after = await self._core.writer.write(write, [entry])
        if after.status != "pending":
            self._pending.pop(ticket_id, None)
            if after.status == "approved" and after.remembers and self._known is not None:
                self._known.add(after.remembers)
            for event in self._waiting.get(ticket_id, ()):
                event.set()
        return after


def _require_approver(principal: Principal, ticket: Ticket) -> None:
    if ticket.approvers and not any(_has_role(principal, role) for role in ticket.approvers):
        raise StockyardError("not_an_approver", f"Only {', '.join(ticket.approvers)} may decide this.")
    own = str(principal.key_id) == ticket.key_id or (principal.user != "" and principal.user == ticket.user_id)
    if ticket.four_eyes and own:
        raise StockyardError("not_an_approver", "Nobody decides on a call of their own; ask somebody else.")


def _has_role(principal: Principal, role: str) -> bool:
    """Whether a principal is what a role names: a scope that it holds, `team:NAME`, `user:ID`, or a key's name."""
    kind, colon, name = role.partition(":")
    if colon and kind == "team":
        return principal.team == name
    if colon and kind == "user":
        return principal.user == name
    return role == principal.name or has_scope(principal, role)


def _same(vote: dict[str, object], principal: Principal) -> bool:
    return vote["by"] == f"key:{principal.key_id}" or (principal.user != "" and vote["user"] == principal.user)
