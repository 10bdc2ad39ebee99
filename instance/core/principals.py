"""Who calls: a key's holder and what it may do, in a table in memory that every request asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from instance.core.errors import StockyardError
from instance.core.request_rate import next_arrival_ns

NEVER_NS = 2**63
LEASE_RETRY_S = 5


class Principal:
    """The holder of a key. Absent limits are empty, 0 or `()`; `models` are globs, `ip_allow` networks.

    `digest` is the SHA-256 of the key's text, `origin` who made it: `local`, `env` or `control_plane`.
    """

    __slots__ = (
        "budget_month_nano",
        "digest",
        "expires_at_ns",
        "ip_allow",
        "key_id",
        "kind",
        "may_call",
        "models",
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
        self.key_id = key_id
        self.kind = kind
        self.scopes = frozenset(scopes)
        self.may_call = "proxy:call" in self.scopes or "admin" in self.scopes
        self.name = name
        self.user = user
        self.team = team
        self.models = tuple(models)
        self.ip_allow = tuple(ip_allow)
        self.expires_at_ns = expires_at_ns
        self.rpm = rpm
        self.budget_month_nano = budget_month_nano
        self.prefix = prefix
        self.revoked = revoked
        self.digest = digest
        self.origin = origin

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

    __slots__ = ("_arrivals", "_by_digest", "_fixed", "_principals", "last_used_ns", "lease_ends_ns", "replaced")

    def __init__(self, fixed: Iterable[Principal] = ()) -> None:
        """`fixed` keys are known whatever `replace` brings: the control plane's own."""
        self._fixed = list(fixed)
        self._principals: list[Principal] = []
        self._by_digest: dict[bytes, Principal] = {}
        self._arrivals: dict[int | str, int] = {}
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

    def find(self, digest: bytes) -> Principal | None:
        """The holder, whatever became of the key, without counting it as a use."""
        return self._by_digest.get(digest)

    def replace(self, principals: Iterable[Principal]) -> None:
        """Know exactly these keys from now on. Keys that stay keep what they used of their rates."""
        self._principals = list(principals)
        everybody = [*self._principals, *self._fixed]
        self._by_digest = {principal.digest: principal for principal in everybody}
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
