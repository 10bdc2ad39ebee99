"""Who calls: a key's holder and what it may do, in a table in memory that every request asks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from copy import copy

from instance.core.errors import StockyardError
from instance.core.request_rate import next_arrival_ns

NEVER_NS = 2**63
LEASE_RETRY_S = 5

CLIENT_TEAM = "client:"
"""A client is a team behind a wall, with this before its name: whatever is kept by team is kept apart for it."""
ANY_CLIENT = "*"
CLIENT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
CLIENT_HEADER = b"x-stockyard-client"
CLIENTS_MAX = 10_000
"""Holders of keys for many clients that are kept made, one for each client that was named."""


def client_of(team: str) -> str | None:
    """The client whose team it is; `None` for another team, and for that of keys that name their client."""
    client = team.removeprefix(CLIENT_TEAM)
    return client if client not in (team, ANY_CLIENT, "") else None


class Principal:
    """The holder of a key. Absent limits are empty, 0 or `()`; `models` are globs, `ip_allow` networks.

    `digest` is the SHA-256 of the key's text, `origin` who made it: `local`, `env` or `control_plane`. `client` is the
    client whose key it is, by its team; one that is `multi_client` says with each request for which it speaks.
    """

    __slots__ = (
        "budget_month_nano",
        "client",
        "digest",
        "expires_at_ns",
        "ip_allow",
        "key_id",
        "key_text",
        "kind",
        "may_call",
        "models",
        "multi_client",
        "name",
        "origin",
        "prefix",
        "revoked",
        "rpm",
        "scopes",
        "team",
        "user",
    )

    def __init__(
        self,
        key_id: int | str,
        kind: str,
        scopes: Iterable[str],
        *,
        name: str = "",
        user: str = "",
        team: str = "",
        models: Iterable[str] = (),
        ip_allow: Iterable[str] = (),
        expires_at_ns: int = 0,
        rpm: int = 0,
        budget_month_nano: int = 0,
        prefix: str = "",
        revoked: bool = False,
        digest: bytes = b"",
        origin: str = "local",
    ) -> None:
        self.number(key_id)
        self.kind = kind
        self.scopes = frozenset(scopes)
        self.may_call = "proxy:call" in self.scopes or "admin" in self.scopes
        self.name = name
        self.user = user
        self.team = team
        self.client = client_of(team) or ""
        self.multi_client = team == CLIENT_TEAM + ANY_CLIENT
        self.models = tuple(models)
        self.ip_allow = tuple(ip_allow)
        self.expires_at_ns = expires_at_ns
        self.rpm = rpm
        self.budget_month_nano = budget_month_nano
        self.prefix = prefix
        self.revoked = revoked
        self.digest = digest
        self.origin = origin

    def number(self, key_id: int | str) -> None:
        """Take the number that the key has in the database; `key_text` is the same as text."""
        self.key_id = key_id
        self.key_text = str(key_id)

    def of_client(self, client: str) -> Principal:
        """The same key's holder speaking for a client."""
        narrowed = copy(self)
        narrowed.team, narrowed.client = CLIENT_TEAM + client, client
        return narrowed

    def __repr__(self) -> str:
        return f"Principal({self.key_id!r}, {self.kind!r}, {self.name!r})"


def has_scope(principal: Principal, scope: str) -> bool:
    """Whether the key holds a scope: itself, by `x:write` for `x:read`, or as `admin`, which is all but `instance`."""
    scopes = principal.scopes
    if scope in scopes:
        return True
    if "admin" in scopes:
        return scope != "instance"
    return scope.endswith(":read") and scope[:-4] + "write" in scopes


def lease_expired() -> StockyardError:
    """What every key gets once the control plane has not been heard of for the time that the plan allows."""
    message = (
        "This instance has not heard from its control plane for too long to go on accepting keys; repeat the call."
    )
    return StockyardError("key_lease_expired", message, headers={"Retry-After": str(LEASE_RETRY_S)})


class KeyTable:
    """All keys of the instance by the SHA-256 of their text. Replaced whole; used by the event loop's thread alone."""

    __slots__ = (
        "_arrivals",
        "_by_client",
        "_by_digest",
        "_fixed",
        "_principals",
        "client_header",
        "last_used_ns",
        "lease_ends_ns",
        "replaced",
    )

    def __init__(self, fixed: Iterable[Principal] = ()) -> None:
        """`fixed` keys are known whatever `replace` brings: the control plane's own."""
        self._fixed = list(fixed)
        self._principals: list[Principal] = []
        self._by_digest: dict[bytes, Principal] = {}
        self._by_client: dict[tuple[int | str, bytes], Principal] = {}
        self._arrivals: dict[int | str, int] = {}
        self.client_header = CLIENT_HEADER
        """In lower case, the header that names the client of a request whose key may speak for any."""
        self.last_used_ns: dict[int | str, int] = {}
        """Wall time of each key's last use since `take_last_used`."""
        self.lease_ends_ns = NEVER_NS
        """Wall time from which on no key but the control plane's is accepted; see `instance.system.key_lease`."""
        self.replaced: list[Callable[[], None]] = []
        """Called after each `replace`."""
        self.replace(())

    def __len__(self) -> int:
        return len(self._principals)

    def principals(self) -> list[Principal]:
        """The holders of all keys but the fixed ones."""
        return list(self._principals)

    def lookup(self, digest: bytes, now_ns: int) -> Principal:
        """The holder of the key with this digest; raises `unauthorized`, `key_revoked` or `key_expired`."""
        principal = self._by_digest.get(digest)
        if principal is None:
            raise StockyardError("unauthorized", "This key is not known here.")
        if principal.revoked:
            raise StockyardError("key_revoked", "This key was revoked; use another.")
        if principal.expires_at_ns and now_ns >= principal.expires_at_ns:
            raise StockyardError("key_expired", "This key has expired; make a new one.")
        if now_ns >= self.lease_ends_ns and principal.kind != "instance":
            raise lease_expired()
        self.last_used_ns[principal.key_id] = now_ns
        return principal

    def for_client(self, principal: Principal, name: bytes | None) -> Principal:
        """Who speaks when a key for many clients names one (`None`: no client, the key itself); raises `client_unknown` for
        what cannot be a client's name."""
        if not name:
            return principal
        narrowed = self._by_client.get((principal.key_id, name))
        if narrowed is None:
            client = name.decode("latin-1").strip()
            if not CLIENT_NAME.fullmatch(client):
                raise StockyardError("client_unknown", "There is no such client.", param=self.client_header.decode())
            if len(self._by_client) >= CLIENTS_MAX:
                self._by_client.clear()
            narrowed = self._by_client[principal.key_id, name] = principal.of_client(client)
        return narrowed

    def find(self, digest: bytes) -> Principal | None:
        """The holder, whatever became of the key, without counting it as a use."""
        return self._by_digest.get(digest)

    def replace(self, principals: Iterable[Principal]) -> None:
        """Know exactly these keys from now on. Keys that stay keep what they used of their rates."""
        self._principals = list(principals)
        everybody = [*self._principals, *self._fixed]
        self._by_digest = {principal.digest: principal for principal in everybody}
        self._by_client.clear()
        known = {principal.key_id for principal in everybody}
        for state in (self._arrivals, self.last_used_ns):
            for gone in state.keys() - known:
                del state[gone]
        for told in self.replaced:
            told()

    def check_rate(self, principal: Principal, mono_ns: int) -> None:
        """Count one request against the key's `rpm`; raises `rate_limited` with Retry-After when it is used up."""
        rpm = principal.rpm
        if not rpm:
            return
        arrival, wait_s = next_arrival_ns(self._arrivals.get(principal.key_id, 0), mono_ns, rpm)
        if wait_s:
            raise StockyardError(
                "rate_limited",
                f"This key may make {rpm} requests a minute; wait {wait_s} s.",
                headers={"Retry-After": str(wait_s)},
            )
        self._arrivals[principal.key_id] = arrival

    def take_last_used(self) -> dict[int | str, int]:
        """What `last_used_ns` gathered, which begins anew."""
        taken, self.last_used_ns = self.last_used_ns, {}
        return taken
