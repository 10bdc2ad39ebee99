"""Accounts and the tokens that act for them. Tokens are kept as SHA-256."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from control_plane.errors import CloudError
from control_plane.store.record import record
from control_plane.store.schema import account_tokens, accounts

OPERATOR_EMAIL = "operator@localhost"  # owns the tenants that the operator creates
SCOPES = ("tenants:read", "tenants:write", "keys:read", "keys:write", "billing:read")


@dataclass(frozen=True, slots=True)
class Account:
    """A person or an organisation that pays."""

    id: int
    email: str
    name: str
    plan: str
    created_at: float
    delete_after: float | None


@dataclass(frozen=True, slots=True)
class Token:
    """A token of an account, without its text."""

    id: int
    account_id: int
    name: str
    prefix: str
    scopes: tuple[str, ...]
    created_at: float
    expires_at: float | None
    revoked_at: float | None


def create(connection: Connection, email: str, *, name: str, password_hash: str, plan: str, actor: str) -> Account:
    """A new account. Raises `already_exists` when the address has one."""
    if connection.execute(select(accounts.c.id).where(accounts.c.email == email)).first():
        raise CloudError("already_exists", "this e-mail address has an account already; log in to it", param="email")
    row = {"email": email, "name": name, "password_hash": password_hash, "plan": plan, "created_at": time.time()}
    account_id = connection.execute(insert(accounts).values(**row).returning(accounts.c.id)).scalar_one()
    _record(connection, account_id, actor or f"account:{account_id}", "account.create", {"plan": plan})
    return get(connection, account_id)


def get(connection: Connection, account_id: int) -> Account:
    """The account. Raises `not_found`."""
    row = connection.execute(select(accounts).where(accounts.c.id == account_id)).first()
    if row is None:
        raise CloudError("not_found", f"there is no account {account_id}")
    return Account(row.id, row.email, row.name, row.plan, row.created_at, row.delete_after)


def by_email(connection: Connection, email: str) -> tuple[Account, str] | None:
    """The account of an address with its password hash."""
    row = connection.execute(select(accounts).where(accounts.c.email == email)).first()
    if row is None:
        return None
    return Account(row.id, row.email, row.name, row.plan, row.created_at, row.delete_after), row.password_hash


def operator_account(connection: Connection) -> Account:
    """The account that owns the operator's own tenants; made when it is first needed."""
    found = by_email(connection, OPERATOR_EMAIL)
    if found:
        return found[0]
    return create(connection, OPERATOR_EMAIL, name="operator", password_hash="", plan="pro", actor="operator")


def change(connection: Connection, account_id: int, values: Mapping[str, Any], *, actor: str) -> Account:
    """Change the account's fields."""
    connection.execute(update(accounts).where(accounts.c.id == account_id).values(**values))
    _record(connection, account_id, actor, "account.change", {"fields": sorted(values)})
    return get(connection, account_id)


def create_token(
    connection: Connection,
    account_id: int,
    *,
    name: str,
    sha256: str,
    prefix: str,
    scopes: Sequence[str],
    expires_at: float | None,
    actor: str,
) -> Token:
    """Keep a token's digest."""
    row = {
        "account_id": account_id,
        "name": name,
        "sha256": sha256,
        "prefix": prefix,
        "scopes": sorted(scopes),
        "created_at": time.time(),
        "expires_at": expires_at,
    }
    token_id = connection.execute(insert(account_tokens).values(**row).returning(account_tokens.c.id)).scalar_one()
    _record(connection, account_id, actor, "token.create", {"token": token_id, "scopes": sorted(scopes)})
    return _token(connection.execute(select(account_tokens).where(account_tokens.c.id == token_id)).one())


def token_by_digest(connection: Connection, sha256: str) -> Token | None:
    """The token with this digest, revoked or not."""
    row = connection.execute(select(account_tokens).where(account_tokens.c.sha256 == sha256)).first()
    return _token(row) if row else None


def tokens(connection: Connection, account_id: int) -> list[Token]:
    """An account's tokens, newest first."""
    query = select(account_tokens).where(account_tokens.c.account_id == account_id)
    return [_token(row) for row in connection.execute(query.order_by(account_tokens.c.id.desc()))]


def revoke_token(connection: Connection, account_id: int, token_id: int, *, actor: str) -> Token:
    """End a token now; again is no error. Raises `not_found`."""
    mine = (account_tokens.c.id == token_id) & (account_tokens.c.account_id == account_id)
    row = connection.execute(select(account_tokens).where(mine)).first()
    if row is None:
        raise CloudError("not_found", f"there is no token {token_id}")
    if row.revoked_at is None:
        connection.execute(update(account_tokens).where(mine).values(revoked_at=time.time()))
        _record(connection, account_id, actor, "token.revoke", {"token": token_id})
    return _token(connection.execute(select(account_tokens).where(mine)).one())


def _token(row: Any) -> Token:
    return Token(
        id=row.id,
        account_id=row.account_id,
        name=row.name,
        prefix=row.prefix,
        scopes=tuple(row.scopes),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )


def _record(connection: Connection, account_id: int, actor: str, action: str, detail: Mapping[str, Any]) -> None:
    record(connection, actor=actor, action=action, message="", resource=f"account:{account_id}", detail=detail)
