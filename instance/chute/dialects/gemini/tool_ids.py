"""Tool-call ids that carry what Gemini wants back: its own id of the call, and its signature of the thought behind it.

Nothing has to be remembered here between two calls, so a restart or another instance changes nothing. The ids are of letters,
digits, `_` and `-`, which every provider takes should the history be sent elsewhere.

    call_0f3c…            a call without either
    call_0f3c…__s<sig>    with a signature (base64url without padding)
    abc123__p<sig>        with Gemini's own id `abc123`; the signature may be empty
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as BadBase64
from collections.abc import Callable
from typing import NamedTuple
from uuid import uuid4

_OWN_ID = re.compile(r"(?!.*__)[A-Za-z0-9_-]{1,64}(?<!_)")


class CarriedId(NamedTuple):
    """What an id carries; empty strings where it carries nothing."""

    id: str = ""
    signature: str = ""


def new_call_id() -> str:
    return f"call_{uuid4().hex[:24]}"


def carry(own_id: str, signature: str, made: Callable[[], str] = new_call_id) -> str:
    """The id that the client is given."""
    packed = _pack(signature)
    if own_id and _OWN_ID.fullmatch(own_id):
        return f"{own_id}__p{packed}"
    return f"{made()}__s{packed}" if packed else made()


def carried(call_id: str) -> CarriedId:
    """What a client's id carries; nothing for the ids of other providers."""
    head, mark, rest = call_id.partition("__")
    if not mark or rest[:1] not in ("s", "p"):
        return CarriedId()
    signature = _unpack(rest[1:])
    if signature is None:
        return CarriedId()
    return CarriedId(head if rest[0] == "p" else "", signature)


def _pack(signature: str) -> str:
    if not signature:
        return ""
    try:
        raw = b64decode(signature, validate=True)
    except (BadBase64, ValueError):
        return ""
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def _unpack(packed: str) -> str | None:
    try:
        raw = urlsafe_b64decode(packed + "=" * (-len(packed) % 4))
    except (BadBase64, ValueError):
        return None
    return b64encode(raw).decode()
