"""Who calls: the operator, or an account by one of its tokens."""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from control_plane.api.plane import CurrentPlane
from control_plane.errors import CloudError
from control_plane.keys import digest
from control_plane.store import accounts

INSTANCE_PREFIXES = ("sk-sy-", "sy_admin_", "sy_inst_")
HOW = "send `Authorization: Bearer KEY` with an operator key (sy_op_…) or an account key (sy_acct_…)"


@dataclass(frozen=True, slots=True)
class Caller:
    """`account` None is the operator, who sees everything."""

    account: int | None
    scopes: frozenset[str]
    actor: str  # as the ledger names it

    @property
    def is_operator(self) -> bool:
        return self.account is None

    def may(self, scope: str) -> bool:
        """True when the caller holds the scope; write includes read."""
        area = scope.partition(":")[0]
        return self.is_operator or scope in self.scopes or (scope == f"{area}:read" and f"{area}:write" in self.scopes)


def presented(request: Request) -> str:
    """The bearer key of a request; empty when there is none."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


async def caller_of(request: Request, plane: CurrentPlane) -> Caller:
    """The caller. Raises `unauthorized`, `key_revoked` or `key_expired`."""
    key = presented(request)
    if not key:
        raise CloudError("unauthorized", f"no key: {HOW}")
    if key.startswith(INSTANCE_PREFIXES):
        raise CloudError("unauthorized", f"that key belongs to an instance and is not accepted here; {HOW}")
    found = digest(key)
    if hmac.compare_digest(found, plane.operator_digest):
        return Caller(None, frozenset(), "operator")
    token = await plane.database.read(lambda connection: accounts.token_by_digest(connection, found))
    if token is None:
        raise CloudError("unauthorized", f"unknown key; {HOW}")
    if token.revoked_at is not None:
        raise CloudError("key_revoked", "this account key was revoked; use another")
    if token.expires_at is not None and token.expires_at <= time.time():
        raise CloudError("key_expired", "this account key has expired; use another")
    plane.request_rate.take(found)
    return Caller(token.account_id, frozenset(token.scopes), f"account:{token.account_id}/token:{token.id}")


CurrentCaller = Annotated[Caller, Depends(caller_of)]


def needs(scope: str) -> Callable[[Caller], Awaitable[Caller]]:
    """A dependency that answers the caller when it holds the scope. Raises `scope_missing`, which names it."""

    async def check(caller: CurrentCaller) -> Caller:
        if not caller.may(scope):
            raise CloudError("scope_missing", f"this key lacks the scope `{scope}`")
        return caller

    return check


async def operator_only(caller: CurrentCaller) -> Caller:
    """The caller, who must be the operator. Raises `forbidden`."""
    if not caller.is_operator:
        raise CloudError("forbidden", "this needs the operator key (sy_op_…)")
    return caller


TenantReader = Annotated[Caller, Depends(needs("tenants:read"))]
TenantWriter = Annotated[Caller, Depends(needs("tenants:write"))]
KeyReader = Annotated[Caller, Depends(needs("keys:read"))]
KeyWriter = Annotated[Caller, Depends(needs("keys:write"))]
BillingReader = Annotated[Caller, Depends(needs("billing:read"))]
Operator = Annotated[Caller, Depends(operator_only)]
