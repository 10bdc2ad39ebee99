"""W3C trace context (https://www.w3.org/TR/trace-context/): `traceparent`, and ids for calls that come without one."""

from __future__ import annotations

import re
from random import getrandbits
from typing import NamedTuple

TRACESTATE_MAX_BYTES = 512
SAMPLED = 1

_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_ULID_CHARACTERS = 26
_NO_SPAN = "0" * 16
_TO_BASE_32 = bytes.maketrans(b"0123456789ABCDEFGHJKMNPQRSTVWXYZ", b"0123456789abcdefghijklmnopqrstuv")


class TraceContext(NamedTuple):
    """What a caller sent: its trace, its span (our parent) and its flags."""

    trace_id: str
    parent_span_id: str
    flags: int


def read_traceparent(value: bytes) -> TraceContext | None:
    """The context in a `traceparent` header; `None` when it is malformed, all zeros or of version ff."""
    found = _TRACEPARENT.fullmatch(value.strip())
    if found is None:
        return None
    version, trace_id, span_id, flags, rest = found.groups()
    if version == b"ff" or (version == b"00" and rest) or trace_id == b"0" * 32 or span_id == b"0" * 16:
        return None
    return TraceContext(trace_id.decode(), span_id.decode(), int(flags, 16))


def trace_id_of(exchange_id: str) -> str:
    """The W3C trace id of a call that came without one: the 128 bits of its own ULID, so that neither needs a lookup.

    Its last 16 digits are the id of the call's own span. An id that holds no ULID gets a random one.
    """
    try:
        number = int(exchange_id[-_ULID_CHARACTERS:].encode().translate(_TO_BASE_32), 32)
        trace_id = number.to_bytes(16, "big").hex()
    except (ValueError, OverflowError):
        trace_id = ""
    if len(exchange_id) < _ULID_CHARACTERS or trace_id[16:] in ("", _NO_SPAN):
        return f"{getrandbits(127) + 1:032x}"
    return trace_id


def new_span_id() -> str:
    """A random span id."""
    return f"{getrandbits(63) + 1:016x}"


def sampled(trace_id: str, share: float) -> bool:
    """Whether a trace is among the sampled `share` (0..1): decided by its last 56 bits, so everywhere alike."""
    return share >= 1.0 or int(trace_id[18:], 16) < share * (1 << 56)
