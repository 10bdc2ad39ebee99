"""ipfence: lets callers in by address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from instance.chute.address_set import Address, AddressSet, read_address
from instance.chute.caller_country import CountryDatabase
from instance.chute.client_address import TrustedProxies, client_address
from instance.chute.exchange import Exchange
from instance.chute.module import ALL_KINDS, Module, ModuleSettings
from instance.chute.modules.other.address_bans import TRACKED_MAX, Bans, put
from instance.chute.upstream import UpstreamUrl
from instance.chute.webhook import Webhook
from instance.core.clock import Clock
from instance.core.errors import StockyardError
from instance.core.timestamps import rfc3339

if TYPE_CHECKING:
    from instance.core.core import Core

CACHED_VERDICTS = 8192
TOLD_EVERY_NS = 60_000_000_000
"""The webhook is told of one refusal a minute for each address."""

Country = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]


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
        countries_allow: list[Country] = Field(
            default=[],
            max_length=300,
            description="ISO codes of countries; when not empty, addresses elsewhere or unknown are refused, but for those in allow.",
        )
        countries_deny: list[Country] = Field(
            default=[], max_length=300, description="ISO codes of countries that are refused, also addresses in allow."
        )
        mmdb: str = Field(
            default="",
            max_length=1000,
            description="MaxMind DB file that tells the country of an address; needed for the lists of countries.",
        )
        action: Literal["block", "flag"] = Field(
            default="block", description="flag lets the call through and only notes it."
        )
        ban_after: int = Field(
            default=0, ge=0, le=100_000, description="Refused or unauthenticated tries that lead to a ban; 0: no bans."
        )
        ban_window_s: int = Field(default=60, ge=1, le=86_400, description="Seconds in which the tries are counted.")
        ban_s: int = Field(default=600, ge=1, le=2_592_000, description="Seconds for which a ban lasts.")
        cover_console: bool = Field(
            default=False,
            description="Guard the console and the management API too. Health checks and local sockets stay open.",
        )
        webhook: str = Field(
            default="", max_length=2000, description="Address that is told who is refused, once a minute for each."
        )

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

        @field_validator("webhook")
        @classmethod
        def _an_address(cls, url: str) -> str:
            if url:
                UpstreamUrl.parse(url)
            return url

        @model_validator(mode="after")
        def _countries_are_known(self) -> Self:
            if (self.countries_allow or self.countries_deny) and not self.mmdb:
                raise ValueError("countries_allow and countries_deny need mmdb, the file that tells countries")
            return self

    settings: Settings

    def __init__(self, settings: ModuleSettings) -> None:
        super().__init__(settings)
        own = self.settings
        self._allow = AddressSet(own.allow)
        self._deny = AddressSet(own.deny)
        self._per_key = {key: AddressSet(entries) for key, entries in own.per_key.items()}
        self._countries_allow = frozenset(own.countries_allow)
        self._countries_deny = frozenset(own.countries_deny)
        self._countries: CountryDatabase | None = None
        self._verdicts: dict[str, str] = {}
        self._clock = Clock()
        self._notices: Webhook | None = None
        self._told: dict[str, int] = {}
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
        self._clock = core.clock
        self.open()
        if self.settings.webhook:
            self._notices = Webhook(self.settings.webhook, core, self.name)

    async def stop(self) -> None:
        if self._notices is not None:
            await self._notices.close()
        self.close()

    def open(self) -> None:
        """Open the file of countries. Raises `invalid_value` when it cannot be used."""
        if self.settings.mmdb:
            self._countries = CountryDatabase(self.settings.mmdb, "mmdb")

    def close(self) -> None:
        """Let the file of countries go."""
        if self._countries is not None:
            self._countries.close()

    def report(self) -> dict[str, Any]:
        """Refused calls by rule, and who is banned for how many seconds more."""
        return {"refused_by": self.refused_by, "bans": self.bans()}

    @classmethod
    def objection(cls, settings: ModuleSettings, address: str, headers: dict[bytes, bytes]) -> str:
        """Why whoever saves these settings from this address should think twice."""
        fence = cls(settings)
        fence.open()
        try:
            rule = fence.verdict(fence._seen(address, headers)) if fence.settings.action == "block" and address else ""
        finally:
            fence.close()
        return f"These settings shut out the address that they are saved from ({rule})." if rule else ""

    def hooks(self) -> tuple[str, ...]:
        own = self.settings
        rules = own.allow or own.deny or own.per_key or own.countries_allow or own.countries_deny or own.ban_after
        return ("on_request",) if rules or own.trusted_proxies or self._bans.until_ns else ()

    def on_request(self, x: Exchange) -> None:
        address = x.client_ip
        if self._trusted.entries and address:
            address = x.client_ip = self._seen(address, x.headers)
        rule = self._verdicts.get(address)
        if rule is None or self._bans.until_ns:
            rule = self.verdict(address)
        if not rule and self._per_key and x.principal is not None:
            rule = self._key_rule(x, address)
        if not rule:
            return
        self._count(rule, address)
        x.note("ip", {"address": address, "rule": rule})
        if self.settings.action == "block":
            self.refused(address)
            raise self._denied(rule)

    def admit(self, address: str, headers: dict[bytes, bytes]) -> str:
        """The caller's address as this module's proxies report it, for a call whose key is not known; raises `ip_denied`."""
        address = self._seen(address, headers)
        rule = self.verdict(address)
        if rule and self.settings.action == "block":
            self._count(rule, address)
            raise self._denied(rule)
        return address

    def admit_to_console(self, address: str, headers: dict[bytes, bytes]) -> None:
        """Raise `ip_denied` for who may not reach the console and the management API; who has no address is on this machine."""
        if self.settings.cover_console and address:
            self.admit(address, headers)

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
        country = self._country(address)
        if country in self._countries_deny:
            return f"country {country}"
        listed = address is not None and self._allow.match(address) is not None
        if listed or not (self._allow or self._countries_allow) or country in self._countries_allow:
            return ""
        return "not in allow" if self._allow else f"country {country or 'unknown'}"

    def _country(self, address: Address | None) -> str:
        return "" if self._countries is None or address is None else self._countries.country(str(address))

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

    def _count(self, rule: str, address: str) -> None:
        counted = rule if rule in self.refused_by or len(self.refused_by) < TRACKED_MAX else "other"
        self.refused_by[counted] = self.refused_by.get(counted, 0) + 1
        if self._notices is not None:
            self._tell(rule, address)

    def _tell(self, rule: str, address: str) -> None:
        now = self._clock.mono_ns()
        if now - self._told.get(address, now - TOLD_EVERY_NS) < TOLD_EVERY_NS:
            return
        put(self._told, address, now)
        at = rfc3339(self._clock.wall_ns())
        notice = {
            "event": "address.refused",
            "address": address,
            "rule": rule,
            "action": self.settings.action,
            "at": at,
        }
        if self._notices is not None:
            self._notices.add(notice)

    def _denied(self, rule: str) -> StockyardError:
        message = "Calls from this address are not allowed here."
        if rule == "ban":
            message = "This address was refused too often and is shut out for a while."
        return StockyardError("ip_denied", message, module=self.name)
