"""Which of the tenants' epochs have a backup, and when the first and the last part of it was written."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from control_plane.backups.places import TENANTS, Places, epochs_in
from control_plane.backups.restore import history
from control_plane.domain.found_epochs import unconfirmed
from control_plane.domain.tenants import Epoch

GAP_MAX = 3
"""Epochs without a backup that are passed over in looking for later ones."""
TENANTS_AT_ONCE = 8  # each is asked about by a process of Litestream's


async def lives_at_store(
    places: Places, known: Mapping[str, Sequence[Epoch]]
) -> dict[str, dict[int, tuple[float, float]]]:
    """By tenant and number, seconds since 1970. Raises `Unavailable`.

    A store that only Litestream speaks to is asked for the `known` tenants' epochs that `domain.found_epochs` looks for:
    those of which nothing is known to be confirmed, and those beyond.
    """
    if places.listed:
        return epochs_in(await places.store.entries(TENANTS))
    slugs, found = list(known), dict[str, dict[int, tuple[float, float]]]()
    for begin in range(0, len(slugs), TENANTS_AT_ONCE):
        some = slugs[begin : begin + TENANTS_AT_ONCE]
        lives = await asyncio.gather(*(_asked_for(places, slug, known[slug]) for slug in some))
        found |= zip(some, lives, strict=True)
    return found


async def _asked_for(places: Places, slug: str, known: Sequence[Epoch]) -> dict[int, tuple[float, float]]:
    found: dict[int, tuple[float, float]] = {}

    async def ask(n: int) -> None:
        if (held := await history(places.tenant(slug, n))) is not None:
            found[n] = held.first.timestamp(), held.last.timestamp()

    for n in unconfirmed(known):
        await ask(n)
    newest = max((each.n for each in known), default=0)
    n = newest + 1
    while n <= newest + GAP_MAX:
        await ask(n)
        newest = n if n in found else newest
        n += 1
    return found
