"""Answers with images, by all that decides them: in memory, bounded by count and bytes."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

import orjson

from instance.chute.call_identity import key_id
from instance.chute.dialects.form_operation import FORM

if TYPE_CHECKING:
    from instance.chute.dialects.multipart import Form
    from instance.chute.exchange import Exchange

ENTRIES_MAX = 1000
MEMORY_MAX_BYTES = 128 << 20
NOT_IN_KEY = frozenset(("user", "stream"))


class Kept(NamedTuple):
    """One answer as JSON, what it cost, and until when it holds (wall nanoseconds)."""

    body: bytes
    cost_nano: int
    until_ns: int


def cache_key(x: Exchange) -> bytes:
    """The digest of the target, the path, every parameter and file, and whose call it is: the team's, else the key's."""
    digest = sha256()
    whose = x.team or key_id(x)
    target = x.targets[0].label if x.targets else x.model_requested
    fields = {name: value for name, value in x.req.items() if name not in NOT_IN_KEY and name != "model"}
    digest.update(orjson.dumps([whose, target, x.path, fields], option=orjson.OPT_SORT_KEYS))
    form: Form | None = x.state.get(FORM)
    for part in form.parts if form is not None else ():
        if part.is_file:
            digest.update(part.name.encode() + b"\0" + sha256(part.data).digest())
    return digest.digest()


class ImageCache:
    """The least recently used make room."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, Kept] = OrderedDict()
        self.size_bytes = 0
        self.hits = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: bytes, now_ns: int) -> Kept | None:
        kept = self._kept.get(key)
        if kept is None:
            return None
        if kept.until_ns <= now_ns:
            self._forget(key)
            return None
        self._kept.move_to_end(key)
        self.hits += 1
        return kept

    def put(self, key: bytes, kept: Kept) -> None:
        if len(kept.body) > MEMORY_MAX_BYTES:
            return
        if key in self._kept:
            self._forget(key)
        self._kept[key] = kept
        self.size_bytes += len(kept.body)
        while self.size_bytes > MEMORY_MAX_BYTES or len(self._kept) > ENTRIES_MAX:
            self._forget(next(iter(self._kept)))

    def _forget(self, key: bytes) -> None:
        self.size_bytes -= len(self._kept.pop(key).body)
