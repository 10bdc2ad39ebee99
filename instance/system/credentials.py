"""Who calls: the key in a request's headers, resolved in the core's table. Without FastAPI, for raw handlers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from instance.core.errors import StockyardError
from instance.core.keys import hash_key
from instance.core.principals import has_scope

if TYPE_CHECKING:
    from instance.core.core import Core
    from instance.core.principals import Principal

Headers = Iterable[tuple[bytes, bytes]]

KEY_MAX_BYTES = 512


def presented_key(headers: Headers) -> str:
    """The key of a request to `/api/*`: `Authorization: Bearer KEY` or `X-Admin-Key: KEY`; empty when there is none.

    Raises `unauthorized` for another kind of `Authorization` or a malformed one, `bad_request` for two different keys.
    """
    found = b""
    for name, value in headers:
        if name == b"authorization":
            kind, _, key = value.strip().partition(b" ")
            if kind.lower() != b"bearer":
                raise StockyardError("unauthorized", "Send the key as `Authorization: Bearer KEY`.")
            key = key.strip()
        elif name == b"x-admin-key":
            key = value.strip()
        else:
            continue
        if found and key != found:
            raise StockyardError("bad_request", "The request carries two different keys; send one.")
        found = key
    if len(found) > KEY_MAX_BYTES or not found.isascii():
        raise StockyardError("unauthorized", "The key is malformed.")
    return found.decode("ascii")


def identify(core: Core, headers: Headers) -> Principal:
    """The principal behind the request's key; raises `unauthorized`, `key_revoked` or `key_expired`.

    A key for many clients speaks for the one that the request names, or raises `client_unknown`.
    """
    key = presented_key(headers)
    if not key:
        raise StockyardError("unauthorized", "A key is needed: send it as `Authorization: Bearer KEY`.")
    principal = core.keys.lookup(hash_key(key), core.clock.wall_ns())
    if principal.multi_client:
        named = next((value for name, value in headers if name == core.keys.client_header), None)
        principal = core.keys.for_client(principal, named)
    return principal


def demand(principal: Principal, scope: str) -> Principal:
    """The same principal; raises `scope_missing`, naming the scope, when it does not hold it."""
    if not has_scope(principal, scope) and (scope != "self" or principal.kind == "instance"):
        raise StockyardError("scope_missing", f"This key lacks the scope {scope}.", details={"scope": scope})
    return principal
