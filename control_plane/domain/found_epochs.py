"""What a control plane brought back from an older copy does not know of epochs, and their backups tell. Pure.

The numbers of epochs that it does not know must not be given out again, since two lives would then write one replica;
and they are newer than what the copy knows, so the tenant is at the last of them. Of an epoch that it knows it may not
know that there is a backup.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from control_plane.domain.tenants import Epoch


@dataclass(frozen=True, slots=True)
class FoundEpoch:
    """An epoch to be written down. What it came from is not known: taken for a copy of the one before, if there is one."""

    n: int
    parent: int | None
    copied: bool
    first_at: float  # when the oldest and the newest part of its backup were written, seconds since 1970
    last_at: float


AT_LEAST = 1
"""What of such an epoch is taken as confirmed: there is a backup of it, so it is not passed over for an older past."""


def found_epochs(
    epoch: int, known: Sequence[int], at_store: Mapping[int, tuple[float, float]], *, cloned: bool
) -> list[FoundEpoch]:
    """The epochs at the store beyond those that a tenant, at `epoch`, is known to have had; oldest first.

    `at_store`: number -> when the first and the last part of its backup were written. `cloned`: the tenant waits for
    another's database, so even its first one is a copy.
    """
    newest, parent = max((epoch, *known)), epoch or None
    found: list[FoundEpoch] = []
    for n in sorted(each for each in at_store if each > newest):
        found.append(FoundEpoch(n, parent, parent is not None or cloned, *at_store[n]))
        parent = n
    return found


def backed_up(lives: Sequence[Epoch], at_store: Mapping[int, tuple[float, float]]) -> dict[int, float]:
    """Of known epochs of which nothing is known to be confirmed, those at the store: number -> when it was last written.

    `at_store`: as above.
    """
    return {n: at_store[n][1] for n in unconfirmed(lives) if n in at_store}


def unconfirmed(lives: Sequence[Epoch]) -> list[int]:
    """Numbers of the epochs of which nothing is known to be confirmed, and whose backups were not removed."""
    return [each.n for each in lives if each.confirmed_txid is None and each.expired_at is None]
