"""Which of several keys that may be used now is used."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from instance.chute.modules.other.pooled_key import PooledKey

if TYPE_CHECKING:
    from instance.chute.exchange import Exchange


def by_turns(keys: list[PooledKey]) -> PooledKey:
    """Smooth weighted round-robin: the exact ratio of the weights, without bursts."""
    if len(keys) == 1:
        return keys[0]  # it takes a turn and gives it back
    picked, total = keys[0], 0
    for key in keys:
        weight = key.weight
        total += weight
        current = key.current = key.current + weight
        if current > picked.current:
            picked = key
    picked.current -= total
    return picked


def at_random(keys: list[PooledKey], share: float) -> PooledKey:
    """The key at a place of 0 to 1 among all, each as wide as its weight."""
    place = share * sum(key.weight for key in keys)
    for key in keys:
        place -= key.weight
        if place < 0:
            return key
    return keys[-1]


def of_session(keys: list[PooledKey], x: Exchange) -> PooledKey:
    """Rendezvous hashing: a session keeps its key while that is there, and only its own sessions move when one goes."""
    principal = x.principal
    session = x.session or x.user or (str(principal.key_id) if principal is not None else "")
    return max(keys, key=lambda key: hashlib.blake2b(f"{session}\0{key.name}".encode(), digest_size=8).digest())
