"""Sign-up, the account and its tokens."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from typing import Any

from fastapi import Request

from control_plane.api import opening
from control_plane.api.auth import Caller, CurrentCaller, TenantWriter
from control_plane.api.bodies import AccountChange, Signup, TokenCreate, epoch_seconds
from control_plane.api.client_address import origin
from control_plane.api.opening import Opening
from control_plane.api.plane import CurrentPlane
from control_plane.api.routing import make_router
from control_plane.api.shapes import account_shape, list_shape, tenant_shape, token_shape
from control_plane.errors import CloudError
from control_plane.keys import new_key
from control_plane.store import accounts, signups, tenants

router = make_router("account")


@router.post("/api/signup", status_code=201)
async def sign_up(request: Request, body: Signup, plane: CurrentPlane) -> dict[str, Any]:
    """Open an account with its first tenant. Answers at once; the tenant goes on `provisioning`."""
    if plane.config.signup != "open":
        raise CloudError("signup_closed", "sign-up is closed here; ask the operator for an account")
    opening.check(plane, body.tenant_slug, body.plan)
    if body.plan != "free":
        raise CloudError(
            "invalid_value", "sign-up opens plan `free`; another plan is given by the operator", param="plan"
        )
    await _count_sign_up(request, body, plane)
    password_hash = await asyncio.to_thread(hash_password, body.password) if body.password else ""
    account_key = new_key("account")

    def work(connection: Any) -> dict[str, Any]:
        account = accounts.create(
            connection, body.email, name="", password_hash=password_hash, plan=body.plan, actor=""
        )
        actor = f"account:{account.id}"
        accounts.create_token(
            connection,
            account.id,
            name="sign-up",
            sha256=account_key.sha256,
            prefix=account_key.prefix,
            scopes=accounts.SCOPES,
            expires_at=None,
            actor=actor,
        )
        asked = Opening(body.tenant_slug, body.plan, plane.config.region)
        first = opening.open_tenant(connection, plane, asked, account.id, actor)
        tenant = tenants.get(connection, body.tenant_slug, account=account.id)
        return {
            "status": "created",
            "id": account.id,
            "account": account_shape(account),
            "account_key": account_key.text,
            "tenant": tenant_shape(tenant, plane.config),
        } | first.shape()

    return await plane.database.write(work, asks=body.tenant_slug)


async def _count_sign_up(request: Request, body: Signup, plane: CurrentPlane) -> None:
    """Raise `rate_limited` when there were too many; one that is refused for something else counts too."""
    config = plane.config
    peer = request.client.host if request.client else "?"
    address = origin(peer, request.headers.getlist("x-forwarded-for"), config.trusted_proxies)
    domain = body.email.rpartition("@")[2].lower().rstrip(".")
    await plane.database.write(
        lambda connection: signups.take(
            connection,
            address,
            domain,
            per_address=config.signup_per_address_hour,
            per_domain=config.signup_per_domain_hour,
            now=time.time(),
        )
    )


@router.get("/api/account")
async def show_account(caller: CurrentCaller, plane: CurrentPlane) -> dict[str, Any]:
    """The caller's account; the operator's own for the operator."""
    account = await own_account(plane, caller)
    slugs = await plane.database.read(lambda connection: tenants.slugs_of(connection, account.id))
    return account_shape(account) | {"tenants": list(slugs)}


@router.put("/api/account")
async def change_account(body: AccountChange, caller: TenantWriter, plane: CurrentPlane) -> dict[str, Any]:
    """Change name or e-mail address."""
    account = await own_account(plane, caller)
    values = {name: value for name, value in body.model_dump().items() if value is not None}
    if not values:
        return account_shape(account)

    def work(connection: Any) -> accounts.Account:
        other = accounts.by_email(connection, values["email"]) if "email" in values else None
        if other and other[0].id != account.id:
            raise CloudError("already_exists", "this e-mail address has an account already", param="email")
        return accounts.change(connection, account.id, values, actor=caller.actor)

    return account_shape(await plane.database.write(work))


@router.get("/api/account/tokens")
async def list_tokens(caller: CurrentCaller, plane: CurrentPlane) -> dict[str, Any]:
    """The account's tokens, newest first, without their texts."""
    account = await own_account(plane, caller)
    found = await plane.database.read(lambda connection: accounts.tokens(connection, account.id))
    return list_shape("tokens", [token_shape(token) for token in found], len(found), 0)


@router.post("/api/account/tokens", status_code=201)
async def create_token(body: TokenCreate, caller: CurrentCaller, plane: CurrentPlane) -> dict[str, Any]:
    """A further token; it can hold no scope that the caller does not."""
    account = await own_account(plane, caller)
    scopes = body.scopes if body.scopes is not None else [scope for scope in accounts.SCOPES if caller.may(scope)]
    for scope in scopes:
        if not caller.may(scope):
            raise CloudError("scope_missing", f"this key lacks the scope `{scope}` and cannot give it", param="scopes")
    text = new_key("account")
    token = await plane.database.write(
        lambda connection: accounts.create_token(
            connection,
            account.id,
            name=body.name,
            sha256=text.sha256,
            prefix=text.prefix,
            scopes=scopes,
            expires_at=epoch_seconds(body.expires_at) if body.expires_at else None,
            actor=caller.actor,
        )
    )
    return {"status": "created"} | token_shape(token) | {"token": text.text}


@router.delete("/api/account/tokens/{token_id}")
async def revoke_token(token_id: int, caller: CurrentCaller, plane: CurrentPlane) -> dict[str, Any]:
    """End a token now: the caller's own, or one that holds nothing that the caller does not hold."""
    account = await own_account(plane, caller)

    def revoke(connection: Any) -> accounts.Token:
        for token in accounts.tokens(connection, account.id):
            missing = [scope for scope in token.scopes if not caller.may(scope)]
            if token.id == token_id and missing and not caller.actor.endswith(f"/token:{token_id}"):
                raise CloudError("scope_missing", f"this key lacks the scope `{missing[0]}`, which that one holds")
        return accounts.revoke_token(connection, account.id, token_id, actor=caller.actor)

    token = await plane.database.write(revoke)
    await plane.key_ends.wait(plane.database)
    return {"status": "revoked"} | token_shape(token)


async def own_account(plane: CurrentPlane, caller: Caller) -> accounts.Account:
    """The account a caller acts for."""
    if caller.account is None:
        return await plane.database.write(accounts.operator_account)
    account = caller.account
    return await plane.database.read(lambda connection: accounts.get(connection, account))


def hash_password(password: str) -> str:
    """scrypt (RFC 7914) with N=2^14, r=8, p=1 and a salt of 16 bytes: `scrypt$salt$hash`, hexadecimal."""
    salt = secrets.token_bytes(16)
    return f"scrypt${salt.hex()}${hashlib.scrypt(password.encode(), salt=salt, n=1 << 14, r=8, p=1).hex()}"
