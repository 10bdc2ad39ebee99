"""The ledger's hash chain: canonical form, hash and verification. Pure; nothing here reads or writes anything.

An entry's hash is SHA-256 over the previous entry's hash (32 bytes, zeros for the first) and the entry's canonical
form: the RFC 8785 JSON of `{"v": 1}` and the fields of `HASHED_FIELDS`. orjson with sorted keys writes exactly that form
as long as keys are ASCII and numbers are integers within 2^53, which `require_canonical` demands before anything is
appended.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson

FORMAT = "stockyard-ledger"
VERSION = 1
ALGORITHM = "hash = sha256(prev_hash || jcs(entry))"
ZERO_HASH = bytes(32)
INTEGER_MAX = 2**53 - 1
DETAIL_MAX_BYTES = 64 * 1024
DETAIL_MAX_DEPTH = 32

HASHED_FIELDS = ("seq", "created_at", "event_type", "actor", "resource", "action", "detail", "trace_id")
ENTRY_FIELDS = frozenset((*HASHED_FIELDS, "id", "prev_hash", "hash"))

Entry = Mapping[str, Any]


def canonical(entry: Entry) -> bytes:
    """The bytes that are hashed: RFC 8785 JSON of the hashed fields; `detail` may be an `orjson.Fragment` in that form."""
    return orjson.dumps(
        {
            "v": VERSION,
            "seq": entry["seq"],
            "created_at": entry["created_at"],
            "event_type": entry["event_type"],
            "actor": entry["actor"],
            "resource": entry["resource"],
            "action": entry["action"],
            "detail": entry["detail"],
            "trace_id": entry["trace_id"],
        },
        option=orjson.OPT_SORT_KEYS,
    )


def entry_hash(prev: bytes, canonical_entry: bytes) -> bytes:
    """The hash (32 bytes) of an entry that follows the entry with hash `prev`."""
    return sha256(prev + canonical_entry).digest()


def require_canonical(value: Any, path: str = "detail", depth: int = 0) -> None:
    """Raise `ValueError`, naming the place, unless orjson writes `value` as RFC 8785 does."""
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, str):
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise ValueError(f"{path}: a string with a lone surrogate cannot be written as UTF-8")
        return
    if isinstance(value, int):
        if not -INTEGER_MAX <= value <= INTEGER_MAX:
            raise ValueError(f"{path}: an integer beyond 2^53 is not exact in JSON; write it as a string")
        return
    if depth >= DETAIL_MAX_DEPTH:
        raise ValueError(f"{path}: nested deeper than {DETAIL_MAX_DEPTH}")
    if isinstance(value, dict):
        for key, member in value.items():
            if not isinstance(key, str) or not key.isascii():
                raise ValueError(f"{path}: the key {key!r} is not ASCII text")
            require_canonical(member, f"{path}.{key}", depth + 1)
        return
    if isinstance(value, (list, tuple)):
        for index, member in enumerate(value):
            require_canonical(member, f"{path}[{index}]", depth + 1)
        return
    if isinstance(value, float):
        raise ValueError(f"{path}: numbers must be integers; write {value} as a string or in a smaller unit")
    raise ValueError(f"{path}: {type(value).__name__} is not a JSON value")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a walk over a chain found. `broken_at` is the `seq` of the first entry that does not hold, with the reason
    `hash_mismatch`, `prev_mismatch`, `gap`, `order` or `bad_signature`; hashes are hexadecimal."""

    valid: bool
    checked: int
    first_seq: int
    head_seq: int
    head_hash: str
    broken_at: int | None = None
    reason: str | None = None
    expected: str | None = None
    found: str | None = None


class Walk:
    """Verifies a chain entry by entry, in memory that does not grow. `check` answers False at the first that is broken.

    `prev_hash` is the hash before the first entry, `None` to believe the first entry's own (a part of a ledger).
    With `linked=False` entries need only follow in order, as in an export made with a filter.
    """

    __slots__ = ("_first", "_hash", "_linked", "_seq", "checked", "verdict")

    def __init__(self, *, first_seq: int | None = 1, prev_hash: bytes | None = ZERO_HASH, linked: bool = True) -> None:
        self._first: int | None = None
        self._seq = None if first_seq is None else first_seq - 1
        self._hash = None if prev_hash is None else prev_hash.hex()
        self._linked = linked
        self.checked = 0
        self.verdict: Verdict | None = None

    def check(self, entry: Entry) -> bool:
        """Whether the chain holds up to and with this entry."""
        seq = entry.get("seq")
        if type(seq) is not int:
            return self._broken((self._seq or 0) + 1, "gap", "an entry", "something without a seq")
        if self._seq is not None and seq != self._seq + 1 and (self._linked or seq <= self._seq):
            if seq <= self._seq:
                return self._broken(seq, "order", f"seq {self._seq + 1}", f"seq {seq}")
            return self._broken(self._seq + 1, "gap", f"seq {self._seq + 1}", f"seq {seq}")
        prev = entry.get("prev_hash")
        if self._linked and self._hash is not None and prev != self._hash:
            return self._broken(seq, "prev_mismatch", self._hash, str(prev))
        found = str(entry.get("hash"))
        expected = self._recompute(entry, prev)
        if found != expected:
            return self._broken(seq, "hash_mismatch", expected, found)
        if self._first is None:
            self._first = seq
        self._seq = seq
        self._hash = found
        self.checked += 1
        return True

    def signature_broken(self, seq: int, expected: str, found: str) -> bool:
        """Note that a signature over the chain does not hold."""
        return self._broken(seq, "bad_signature", expected, found)

    def unreadable(self, seq: int, found: str) -> bool:
        """Note that what stands in the place of entry `seq` is no entry."""
        return self._broken(seq, "hash_mismatch", f"entry {seq}", found)

    def end(self, last_seq: int | None = None, last_hash: str | None = None) -> Verdict:
        """The verdict after the last entry; `last_seq` and `last_hash` are what the chain must end with, if known."""
        seq = self._seq or 0
        if self.verdict is None and last_seq is not None and seq < last_seq:
            self._broken(seq + 1, "gap", f"seq {seq + 1}", "the end")
        if self.verdict is None and last_hash is not None and self._hash is not None and self._hash != last_hash:
            self._broken(seq, "hash_mismatch", last_hash, self._hash)
        if self.verdict is not None:
            return self.verdict
        return Verdict(True, self.checked, self._first or 0, seq, self._hash or ZERO_HASH.hex())

    @staticmethod
    def _recompute(entry: Entry, prev: object) -> str:
        unknown = entry.keys() - ENTRY_FIELDS
        if unknown:
            return f"an entry without {min(unknown)!r}"
        if "id" in entry and entry["id"] != entry["seq"]:
            return f"an id equal to seq {entry['seq']}"
        try:
            return entry_hash(bytes.fromhex(str(prev)), canonical(entry)).hex()
        except (KeyError, TypeError, ValueError) as error:
            return f"an entry in canonical form ({error})"

    def _broken(self, seq: int, reason: str, expected: str, found: str) -> bool:
        head = self._hash or ZERO_HASH.hex()
        self.verdict = Verdict(
            False, self.checked, self._first or 0, self._seq or 0, head, seq, reason, expected, found
        )
        return False


def verify(entries: Iterable[Entry], *, first_seq: int | None = 1, prev_hash: bytes | None = ZERO_HASH) -> Verdict:
    """Walk a whole chain and say whether it holds; stops at the first broken entry."""
    walk = Walk(first_seq=first_seq, prev_hash=prev_hash)
    for entry in entries:
        if not walk.check(entry):
            break
    return walk.end()


def signed_message(seq: int, entry_hash_hex: str) -> bytes:
    """What the head's Ed25519 signature covers."""
    return f"stockyard-ledger-v1\n{seq}\n{entry_hash_hex}".encode("ascii")


def anchor_message(to_seq: int, last_hash_hex: str) -> bytes:
    """What an anchor's signature covers: that the chain was whole up to `to_seq`, whose hash this is."""
    return f"stockyard-anchor-v1\n{to_seq}\n{last_hash_hex}".encode("ascii")


def export_header(
    *,
    exported_at: str,
    first_seq: int,
    last_seq: int,
    prev_hash: bytes,
    head: Mapping[str, Any],
    public_key: str,
    filters: Mapping[str, Any] | None = None,
    anchor: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The first line of an export: what follows, by which algorithm, and what it must end with.

    `head` is `{seq, hash, signature}` of the ledger at that moment. `first_seq` 0 means that no entry follows. With
    `filters` entries between may be missing, so each is checked by its own hash only. The exporter adds `signature`
    over `header_message`.
    """
    return {
        "format": FORMAT,
        "v": VERSION,
        "algorithm": ALGORITHM,
        "exported_at": exported_at,
        "first_seq": first_seq,
        "last_seq": last_seq,
        "prev_hash": prev_hash.hex(),
        "head": dict(head),
        "public_key": public_key,
        "filters": dict(filters or {}),
        "anchor": dict(anchor) if anchor else None,
    }


def header_message(header: Mapping[str, Any]) -> bytes:
    """What the signature of an export's header covers: the header without it."""
    unsigned = {name: value for name, value in header.items() if name != "signature"}
    return b"stockyard-export-v1\n" + orjson.dumps(unsigned, option=orjson.OPT_SORT_KEYS)
