"""ipfence: lets callers in by address."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from instance.chute.address_set import Address, AddressSet, read_address
from instance.chute.client_address import TrustedProxies, client_address
from instance.chute.exchange import Exchange
from instance.chute.module import ALL_KINDS, Module, ModuleSettings
from instance.core.clock import Clock
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.core.core import Core

TRACKED_MAX = 10_000
CACHED_VERDICTS = 8192


class Bans:
    """Addresses that were refused too often, for a while. At most `TRACKED_MAX` addresses; the oldest make room."""

    __slots__ = ("_mono_ns", "_tries", "until_ns")

    def __init__(self, mono_ns: Callable[[], int]) -> None:
        self._mono_ns = mono_ns
        self._tries: dict[str, tuple[int, int]] = {}
        self.until_ns: dict[str, int] = {}

    def refused(self, address: str, after: int, window_ns: int, ban_ns: int) -> bool:
        """Count a refused try; True when it leads to a ban."""
        now = self._mono_ns()
        since, tries = self._tries.pop(address, (now, 0))
        if now - since > window_ns:
            since, tries = now, 0
        tries += 1
        if tries >= after:
            _put(self.until_ns, address, now + ban_ns)
            return True
        _put(self._tries, address, (since, tries))
        return False

    def banned_s(self, address: str) -> int:
        """Whole seconds for which the address stays banned; 0 when it is not."""
        until = self.until_ns.get(address)
        if until is None:
            return 0
        left = until - self._mono_ns()
        if left <= 0:
            del self.until_ns[address]
            return 0
        return -(-left // 1_000_000_000)

    def lift(self, address: str) -> bool:
        """End the ban of the address; False when there was none."""
        self._tries.pop(address, None)
        return self.until_ns.pop(address, None) is not None


def _put(table: dict[str, Any], address: str, value: Any) -> None:
    if len(table) >= TRACKED_MAX and address not in table:
        del table[next(iter(table))]
    table[address] = value


class IPFence(Module):
    """Refuses calls by the caller's address: deny beats allow, a list of allowed ones refuses the rest.

    A caller whose address is not known (a Unix socket without a proxy's word) is on this machine and is refused only by
    a list of allowed addresses.
    """

    name = "ipfence"
    category = "other"
    group = 2
    summary = "Allows and denies callers by address, with bans for those who keep trying"
    rejects = ("ip_denied",)
    kinds = ALL_KINDS
    on_error = "closed"
    safety = True

    class Settings(ModuleSettings):
        allow: list[str] = Field(
            default=[],
            max_length=100_000,
            description="Addresses and networks; when not empty, all others are refused.",
        )
        deny: list[str] = Field(default=[], max_length=100_000, description="Addresses and networks that are refused.")
        trusted_proxies: list[str] = Field(
            default=[],
            max_length=1000,
            description="Proxies whose X-Forwarded-For is believed, beside those of the server's own setting.",
        )
        per_key: dict[str, list[str]] = Field(
            default={},
            max_length=10_000,
            description="Key (id, name or displayed prefix) -> the addresses it may be used from.",
        )
        countries_allow: list[str] = Field(default=[], description="Not supported yet: leave it empty.")
        countries_deny: list[str] = Field(default=[], description="Not supported yet: leave it empty.")
        mmdb: str = Field(default="", description="Not supported yet: leave it empty.")
        action: Literal["block", "flag"] = Field(
            default="block", description="flag lets the call through and only notes it."
        )
        ban_after: int = Field(
            default=0, ge=0, le=100_000, description="Refused or unauthenticated tries that lead to a ban; 0: no bans."
        )
        ban_window_s: int = Field(default=60, ge=1, le=86_400, description="Seconds in which the tries are counted.")
        ban_s: int = Field(default=600, ge=1, le=2_592_000, description="Seconds for which a ban lasts.")
        cover_console: bool = Field(default=False, description="Not supported yet: leave it off.")
        webhook: str = Field(default="", description="Not supported yet: leave it empty.")

        @field_validator("allow", "deny", "trusted_proxies")
        @classmethod
        def _networks(cls, entries: list[str]) -> list[str]:
            AddressSet(entries)
            return entries

        @field_validator("per_key")
        @classmethod
        def _key_networks(cls, per_key: dict[str, list[str]]) -> dict[str, list[str]]:
            for entries in per_key.values():
                AddressSet(entries)
            return per_key

        @field_validator("mmdb", "countries_allow", "countries_deny", "cover_console", "webhook")
        @classmethod
        def _supported(cls, value: Any) -> Any:
            if value:
                raise ValueError("this is not supported yet; use allow and deny with addresses")
            return value

    settings: Settings

    def __init__(self, settings: ModuleSettings) -> None:
        super().__init__(settings)
        own = self.settings
        self._allow = AddressSet(own.allow)
        self._deny = AddressSet(own.deny)
        self._per_key = {key: AddressSet(entries) for key, entries in own.per_key.items()}
        self._verdicts: dict[str, str] = {}
        self._bans = Bans(Clock().mono_ns)
        self._trusted = TrustedProxies(own.trusted_proxies)
        self.refused_by: dict[str, int] = {}
        """Refused calls by the rule that refused them."""

    async def start(self, core: Core, previous: Module | None) -> None:
        own = self.settings.trusted_proxies
        self._trusted = TrustedProxies([*core.settings.server.trusted_proxies, *own] if own else ())
        if isinstance(previous, IPFence):
            self._bans = previous._bans
            self.refused_by = previous.refused_by
        else:
            self._bans = Bans(core.clock.mono_ns)

    def on_request(self, x: Exchange) -> None:
        address = x.client_ip = self._seen(x.client_ip, x.headers)
        rule = self.verdict(address)
        if not rule and self._per_key and x.principal is not None:
            rule = self._key_rule(x, address)
        if not rule:
            return
        self._count(rule)
        x.note("ip", {"address": address, "rule": rule})
        if self.settings.action == "block":
            self.refused(address)
            raise self._denied(rule)

    def admit(self, address: str, headers: dict[bytes, bytes]) -> str:
        """The caller's address as this module's proxies report it, for a call whose key is not known; raises `ip_denied`."""
        address = self._seen(address, headers)
        rule = self.verdict(address)
        if rule and self.settings.action == "block":
            self._count(rule)
            raise self._denied(rule)
        return address

    def verdict(self, address: str) -> str:
        """The rule that refuses the address, like `deny 10.0.0.0/8`; empty when it may come in."""
        if self._bans.until_ns and self._bans.banned_s(address):
            return "ban"
        rule = self._verdicts.get(address)
        if rule is None:
            rule = self._judge(read_address(address))
            if len(self._verdicts) >= CACHED_VERDICTS:
                self._verdicts.clear()
            self._verdicts[address] = rule
        return rule

    def refused(self, address: str) -> None:
        """Count a refused or unauthenticated try from the address."""
        own = self.settings
        if own.ban_after and address:
            self._bans.refused(address, own.ban_after, own.ban_window_s * 1_000_000_000, own.ban_s * 1_000_000_000)

    def bans(self) -> dict[str, int]:
        """Banned addresses and the seconds that are left."""
        left = {address: self._bans.banned_s(address) for address in list(self._bans.until_ns)}
        return {address: seconds for address, seconds in left.items() if seconds}

    def unban(self, address: str) -> bool:
        """End a ban; False when the address was not banned."""
        return self._bans.lift(address)

    def _judge(self, address: Address | None) -> str:
        if address is not None:
            denied = self._deny.match(address)
            if denied is not None:
                return f"deny {denied}"
        if self._allow and (address is None or self._allow.match(address) is None):
            return "not in allow"
        return ""

    def _key_rule(self, x: Exchange, text: str) -> str:
        principal = x.principal
        assert principal is not None
        address = read_address(text)
        for name in (str(principal.key_id), principal.name, principal.prefix):
            networks = self._per_key.get(name) if name else None
            if networks is not None and (address is None or networks.match(address) is None):
                return f"per_key {name}"
        return ""

    def _seen(self, address: str, headers: dict[bytes, bytes]) -> str:
        if not self._trusted.entries or not address:
            return address
        return client_address((address, 0), headers, self._trusted)

    def _count(self, rule: str) -> None:
        counted = rule if rule in self.refused_by or len(self.refused_by) < TRACKED_MAX else "other"
        self.refused_by[counted] = self.refused_by.get(counted, 0) + 1

    def _denied(self, rule: str) -> StockyardError:
        message = "Calls from this address are not allowed here."
        if rule == "ban":
            message = "This address was refused too often and is shut out for a while."
        return StockyardError("ip_denied", message, module=self.name)
