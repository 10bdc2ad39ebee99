"""The policies of an instance: kept in memory, changed at once, and a record of what calls met of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

import orjson

from instance.brand.ledger import EVENT_KIND
from instance.core.errors import StockyardError
from instance.core.timestamps import NS_PER_S
from instance.core.writer import LedgerEvent, Record

if TYPE_CHECKING:
    from instance.brand.policy import Policy
    from instance.core.core import Core

VIOLATION = "policy_violation"
ENFORCER = "trustenforce"
POLICIES_MAX = 1000
NS_PER_DAY = 86_400 * NS_PER_S
VIOLATIONS_KEPT_DAYS = 90


class Policies:
    """`current` is the set in force; who enforces it is built anew whenever it changes."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._loaded = False
        self.current: tuple[Policy, ...] = ()
        self.version = 0
        """Counts the changes of the set since the start."""

    async def load(self) -> None:
        """Read the table, once."""
        if self._loaded:
            return
        if await self._core.database.read(_any):
            self.current = tuple(await self._core.database.read(_store().policies))
        self._loaded = True

    def one(self, policy_id: str) -> Policy:
        """The policy with this id or name. Raises `not_found`."""
        for policy in self.current:
            if policy_id in (policy.id, policy.name):
                return policy
        raise StockyardError("not_found", f"There is no policy {policy_id[:64]!r}.")

    async def save(self, policy: Policy, event: LedgerEvent) -> None:
        """Store a policy; it holds from the next call on. Raises `already_exists`, `conflict`, `invalid_value`."""
        others = [other for other in self.current if other.id != policy.id]
        if any(other.name == policy.name for other in others):
            raise StockyardError("already_exists", f"There is a policy {policy.name!r} already.", param="name")
        if len(others) >= POLICIES_MAX:
            raise StockyardError("conflict", f"There are {POLICIES_MAX} policies; delete one first.")
        most = self._core.services["registry"].slot(ENFORCER).settings.max_patterns
        if sum(len(each.conditions.patterns) for each in (*others, policy)) > most:
            message = f"The policies would have more than {most} patterns (max_patterns of {ENFORCER})."
            raise StockyardError("invalid_value", message, param="conditions.patterns")
        await self._core.writer.write(lambda connection: _store().save(connection, policy), [event])
        self.current = tuple(sorted((*others, policy), key=lambda each: (each.created_at_ns, each.id)))
        await self._changed()

    async def delete(self, policy_id: str, event: LedgerEvent) -> None:
        """Remove a policy; it ends with the next call."""
        await self._core.writer.write(lambda connection: _store().delete(connection, policy_id), [event])
        self.current = tuple(each for each in self.current if each.id != policy_id)
        await self._changed()

    async def _changed(self) -> None:
        self.version += 1
        await self._core.services["registry"].renew(ENFORCER)

    def met(self, violation: dict[str, Any]) -> None:
        """Record that a call met a policy: one write to the journal, from which the ledger and the table get it.

        Raises `JournalUnavailable`.
        """
        detail = {
            name: violation[name] for name in ("policy_id", "version", "condition", "dry_run", "team_id", "model")
        }
        event = {
            "created_at_ns": violation["created_at_ns"],
            "event_type": VIOLATION,
            "actor": f"key:{violation['key_id']}" if violation["key_id"] else "anonymous",
            "resource": f"policy:{violation['name']}",
            "action": violation["action"],
            "detail": detail,
            "trace_id": violation["trace_id"],
        }
        self._core.journal.append(EVENT_KIND, orjson.dumps(event))

    @staticmethod
    def fold(connection: sqlite3.Connection, records: Sequence[Record]) -> None:
        """Fold of kind 2: those of the ledger's events that are violations."""
        rows = []
        for record in records:
            event = orjson.loads(record.parts[0])
            if event["event_type"] == VIOLATION:
                rows.append(
                    {
                        **event["detail"],
                        "name": event["resource"].removeprefix("policy:"),
                        "action": event["action"],
                        "trace_id": event["trace_id"] or "",
                        "key_id": event["actor"].removeprefix("key:"),
                        "created_at_ns": event["created_at_ns"],
                    }
                )
        if rows:
            _store().add_violations(connection, rows)

    async def keep_house(self) -> None:
        """Remove what policies of retention, and the bound on violations, say is too old."""
        if not self.current:
            return
        now_ns = self._core.clock.wall_ns()
        before_ns = now_ns - VIOLATIONS_KEPT_DAYS * NS_PER_DAY
        await self._core.writer.write(lambda connection: _store().prune_violations(connection, before_ns))
        days = [each.retention_days for each in self.current if each.enabled and each.action == "retention"]
        if days:
            oldest_ns = now_ns - min(days) * NS_PER_DAY
            await self._core.services["lookout"].prune(oldest_ns, oldest_ns)


def _any(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM policies LIMIT 1").fetchone() is not None


def _store() -> ModuleType:
    """The table's SQL, loaded with the first policy: its models take longer to build than a start may wait."""
    from instance.brand import policy_store

    return policy_store
