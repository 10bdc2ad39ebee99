"""`stockyard serve --open`: no key is checked. Whoever reaches the address, loopback only, may do everything."""

from __future__ import annotations

from instance.core.keys import SCOPES
from instance.core.principals import KeyTable, Principal
from instance.system.raw_http import Scope

KEY_HEADERS = frozenset((b"authorization", b"x-api-key", b"api-key", b"x-stockyard-key"))


def open_principal() -> Principal:
    """Who everybody is."""
    return Principal("open", "admin", SCOPES, name="open")


class OpenKeys(KeyTable):
    """A table in which every key is everybody's."""

    __slots__ = ("_everybody",)

    def __init__(self, everybody: Principal) -> None:
        super().__init__()
        self._everybody = everybody

    def lookup(self, digest: bytes, now_ns: int) -> Principal:
        """Everybody."""
        return self._everybody


def with_some_key(scope: Scope) -> Scope:
    """The request with exactly one key, whatever it brought."""
    kept = [header for header in scope["headers"] if header[0] not in KEY_HEADERS]
    return {**scope, "headers": [*kept, (b"authorization", b"Bearer open")]}
