"""The newest ledger head that was known before an epoch: a restored instance explains with it what it may have lost."""

from __future__ import annotations

from collections.abc import Sequence

from control_plane.domain.tenants import Epoch
from control_plane.reconcile.ports import LedgerHead


def previous_head(epochs: Sequence[Epoch], before: int) -> LedgerHead | None:
    """The head recorded last in the epochs older than `before`; None if none was."""
    known = [each for each in epochs if each.n < before and each.ledger_hash]
    if not known:
        return None
    newest = max(known, key=lambda each: each.n)
    return LedgerHead(newest.ledger_seq, newest.ledger_hash)
