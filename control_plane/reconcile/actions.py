"""What the reconciler can do to a tenant: each action small, idempotent, and told in plain words.

A list of actions is carried out in order; the first that fails ends the list, and the next pass looks again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Action:
    """One step; `words` says it to a person."""

    words: ClassVar[str] = ""


# --- routing ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Link(Action):
    """Route calls to the instance."""

    words: ClassVar[str] = "route calls to it"


@dataclass(frozen=True, slots=True)
class Unlink(Action):
    """Take the instance out of routing; calls go to the activator from here on."""

    words: ClassVar[str] = "take it out of routing"


# --- the engine ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Start(Action):
    """Write instance.json and start the instance on its volume; only a `fresh` one may make its database."""

    epoch: int
    fresh: bool
    words: ClassVar[str] = "start the instance"


@dataclass(frozen=True, slots=True)
class AwaitAnswer(Action):
    """Wait until the instance says that it is ready, or drained and about to be resumed."""

    words: ClassVar[str] = "wait until it is ready"


@dataclass(frozen=True, slots=True)
class Thaw(Action):
    """Let the frozen instance go on."""

    words: ClassVar[str] = "wake it from its nap"


@dataclass(frozen=True, slots=True)
class Freeze(Action):
    """Freeze the drained instance in memory."""

    words: ClassVar[str] = "freeze it in memory"


@dataclass(frozen=True, slots=True)
class Stop(Action):
    """End the instance; believed only when it is seen ended. `failed`: it had its chance, so the next one waits."""

    why: str
    failed: bool = False
    words: ClassVar[str] = "stop the instance"


@dataclass(frozen=True, slots=True)
class Remove(Action):
    """Forget an ended instance; its data stays."""

    words: ClassVar[str] = "remove the ended instance"


# --- the instance ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PushState(Action):
    """Give it keys, quotas and settings of the wanted generation."""

    words: ClassVar[str] = "push keys and settings"


@dataclass(frozen=True, slots=True)
class Drain(Action):
    """Close idle connections, finish calls, fold the journal.

    Not forced, a call still running at the deadline ends the list; forced, it is cut off. Not `required`, the list
    goes on even if the instance cannot do it.
    """

    forced: bool
    required: bool = True
    words: ClassVar[str] = "let running calls finish"


@dataclass(frozen=True, slots=True)
class Undrain(Action):
    """Let it take calls again, and wait until it says that it is ready."""

    words: ClassVar[str] = "let it take calls again"


@dataclass(frozen=True, slots=True)
class CollectUsage(Action):
    """Read its cumulative counters; `required` ends the list when they cannot be read."""

    required: bool = True
    words: ClassVar[str] = "read its usage"


# --- backups ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Register(Action):
    """Have the volume's database copied to the epoch's replica from now on."""

    epoch: int
    words: ClassVar[str] = "attach its backup"


@dataclass(frozen=True, slots=True)
class Unregister(Action):
    """Stop copying, with a last sync."""

    words: ClassVar[str] = "detach its backup"


@dataclass(frozen=True, slots=True)
class Confirm(Action):
    """Wait until everything written is durable at the replica and record up to where.

    With `required` a failure ends the list; without, it is recorded and the list goes on.
    """

    epoch: int
    required: bool = True
    words: ClassVar[str] = "confirm its backup"


@dataclass(frozen=True, slots=True)
class VerifyBackup(Action):
    """Restore the epoch's backup elsewhere, check database and ledger, record the outcome."""

    epoch: int
    words: ClassVar[str] = "verify its backup by restoring it elsewhere"


@dataclass(frozen=True, slots=True)
class CloseEpoch(Action):
    """The epoch's last backup is made and verified; a later life begins a new one."""

    epoch: int
    words: ClassVar[str] = "close its backup"


@dataclass(frozen=True, slots=True)
class Candidate:
    """An epoch that a restore may read; `confirmed` ones are never skipped in favour of an older past."""

    epoch: int
    confirmed: bool
    txid: int = 0  # up to which it was confirmed: a backup that holds less lost something; 0 = take what there is


@dataclass(frozen=True, slots=True)
class StageRestore(Action):
    """Restore the first candidate that holds anything, beside the volume, where it takes part in nothing yet.

    `request` is the time of the restore request it answers, 0.0 for the newest backup onto an empty volume.
    """

    request: float
    candidates: tuple[Candidate, ...]
    source: str = ""
    at: str | None = None
    words: ClassVar[str] = "restore its backup"


# --- lives of a database ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BeginLife(Action):
    """Open a new epoch and mark the volume, with the database it has or none, as that epoch's."""

    parent: int | None
    words: ClassVar[str] = "begin a new epoch"


@dataclass(frozen=True, slots=True)
class BeginRestoredLife(Action):
    """Open a new epoch and put the staged database in place, keeping the present one aside."""

    parent: int | None
    words: ClassVar[str] = "put the restored database in place"


@dataclass(frozen=True, slots=True)
class JudgeRestore(Action):
    """Have the instance verify the restored database; good: drop what was kept aside; bad: mark it rejected."""

    request: float
    words: ClassVar[str] = "verify the restored database"


@dataclass(frozen=True, slots=True)
class ReportRejected(Action):
    """Answer the restore request: it did not verify and what was before comes back."""

    request: float
    words: ClassVar[str] = "report that the restored database did not verify"


@dataclass(frozen=True, slots=True)
class PutBack(Action):
    """Open a new epoch and put the database kept aside back in place, or nothing where there was none."""

    parent: int | None
    words: ClassVar[str] = "put the database from before the restore back"


@dataclass(frozen=True, slots=True)
class Tidy(Action):
    """Drop a staged database that nobody waits for, or one kept aside after its time."""

    staged: bool
    words: ClassVar[str] = "clear what a restore left behind"


# --- the end ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Purge(Action):
    """Remove backups, data, keys and the tenant itself, in this order; the tombstone stays."""

    words: ClassVar[str] = "remove data, backups and keys"
