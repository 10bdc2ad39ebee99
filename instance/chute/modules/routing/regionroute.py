"""regionroute: keeps calls in the regions that their caller's data may go to."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from instance.chute.caller_country import CountryDatabase
from instance.chute.exchange import Exchange
from instance.chute.module import ALL_KINDS, Module, ModuleSettings
from instance.chute.router import REGIONAL, permits
from instance.chute.targets import Target
from instance.chute.upstream import UpstreamUrl
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.core.core import Core

HEADER = b"x-stockyard-region"
REGION_TAG = "region"
RANKS_MAX = 1024
"""Targets' regions whose place is remembered."""
Source = Literal["team", "tenant", "header", "geoip"]


class Region(BaseModel):
    """Where the calls of some callers may go."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    allowed: list[str] = Field(
        min_length=1, max_length=50, description="Globs of targets' regions, the preferred first."
    )
    endpoints: dict[str, str] = Field(
        default={}, max_length=100, description="Provider -> base URL in this region, in place of its own."
    )
    teams: list[str] = Field(default=[], max_length=1000, description="Globs of the teams whose calls these are.")
    clients: list[str] = Field(
        default=[], max_length=1000, description="Globs of the clients (tenantwall) whose calls these are."
    )
    countries: list[str] = Field(
        default=[], max_length=300, description="ISO codes of the callers' countries, for geoip."
    )

    @field_validator("endpoints")
    @classmethod
    def _urls(cls, endpoints: dict[str, str]) -> dict[str, str]:
        for provider, url in endpoints.items():
            try:
                UpstreamUrl.parse(url)
            except ValueError as error:
                raise ValueError(f"{provider}: {error}") from None
        return endpoints

    @field_validator("countries")
    @classmethod
    def _upper(cls, countries: list[str]) -> list[str]:
        return [country.upper() for country in countries]


class _Bounds:
    """A region at work."""

    __slots__ = ("_ranks", "allowed", "endpoints")

    def __init__(self, region: Region) -> None:
        self.allowed = region.allowed
        self.endpoints = {provider: UpstreamUrl.parse(url) for provider, url in region.endpoints.items()}
        self._ranks: dict[str, int] = {}

    def rank(self, target: Target) -> int:
        """The place of the target's region among those allowed; -1 for none."""
        region = target.region
        rank = self._ranks.get(region)
        if rank is None:
            if len(self._ranks) >= RANKS_MAX:
                self._ranks.clear()
            fits = (place for place, glob in enumerate(self.allowed) if region and fnmatchcase(region, glob))
            rank = self._ranks[region] = next(fits, -1)
        return rank

    def allows(self, target: Target) -> bool:
        """Whether calls may go there."""
        rank = self._ranks.get(target.region)
        return (self.rank(target) if rank is None else rank) >= 0

    def here(self, target: Target) -> Target:
        """The target at its provider's address in this region, where there is one."""
        url = self.endpoints.get(target.provider.name)
        return target if url is None else Target(target.provider, target.model, self.allowed[0], url)


class RegionRoute(Module):
    """Finds the caller's region and leaves only targets that it allows, in its order of preference.

    With `strict` this is a limit that no later module can leave: whatever adds a target is held to it. A target whose
    region is not known is then not allowed. The team is that of the key; what a caller says of itself counts only with
    `trust_header`.
    """

    name: ClassVar[str] = "regionroute"
    category: ClassVar[str] = "routing"
    group: ClassVar[int] = 7
    summary: ClassVar[str] = "Keeps calls in the regions that their data may go to"
    rejects: ClassVar[tuple[str, ...]] = ("region_unavailable", "bad_request")
    on_error: ClassVar[Literal["open", "closed"]] = "closed"
    kinds: ClassVar[frozenset[str]] = ALL_KINDS
    per_client: ClassVar[bool] = True

    class Settings(ModuleSettings):
        regions: dict[str, Region] = Field(default={}, max_length=200, description="Regions by name.")
        source: list[Source] = Field(
            default=["team", "tenant", "header", "geoip"],
            max_length=4,
            description="Where a caller's region is looked for, in order.",
        )
        trust_header: bool = Field(default=False, description="Believe X-Stockyard-Region, and X-Stockyard-Team.")
        geoip_db: str = Field(
            default="", max_length=1000, description="Path of a MaxMind DB file; needs the package maxminddb."
        )
        default_region: str = Field(
            default="", max_length=100, description="The region of all others; empty: no limit."
        )
        strict: bool = Field(default=True, description="Refuse what cannot stay in the region, rather than flag it.")

        @model_validator(mode="after")
        def _known_default(self) -> RegionRoute.Settings:
            if self.default_region and self.default_region not in self.regions:
                raise ValueError(f"default_region: there is no region {self.default_region!r}")
            return self

    settings: Settings

    def __init__(self, settings: ModuleSettings) -> None:
        super().__init__(settings)
        self._countries: CountryDatabase | None = None
        own = self.settings
        self._bounds = {name: _Bounds(region) for name, region in own.regions.items()}
        of_all = own.regions.values()
        told: dict[Source, bool] = {
            "team": any(region.teams for region in of_all),
            "tenant": any(region.clients for region in of_all),
            "header": own.trust_header,
            "geoip": bool(own.geoip_db),
        }
        self._sources = [source for source in own.source if told[source]]
        """Those that can tell something under these settings."""
        self._default = (own.default_region, "default") if own.default_region else None
        self._strict = own.strict

    async def start(self, core: Core, previous: Module | None) -> None:
        if self.settings.geoip_db:
            self._countries = CountryDatabase(self.settings.geoip_db, "geoip_db")

    async def stop(self) -> None:
        if self._countries is not None:
            self._countries.close()

    def hooks(self) -> tuple[str, ...]:
        return ("on_request",) if self.settings.regions else ()

    def on_request(self, x: Exchange) -> None:
        found = self._region_of(x)
        if found is None:
            return
        name, source = found
        bounds = self._bounds[name]
        targets = x.targets
        if bounds.endpoints:
            x.state[REGIONAL] = bounds.here  # for the targets that modules further in add
            targets = [bounds.here(target) for target in targets]
        kept = [target for target in targets if bounds.allows(target)]
        if x.allow:
            kept = [target for target in kept if permits(x, target)]
        if len(kept) > 1 and len(bounds.allowed) > 1:
            kept.sort(key=bounds.rank)
        dropped = [target for target in targets if target not in kept] if len(kept) < len(targets) else []
        x.tags = {**x.tags, REGION_TAG: name} if x.tags else {REGION_TAG: name}
        x.note(
            "region",
            {
                "region": name,
                "source": source,
                "kept": [target.label for target in kept],
                "dropped": [target.label for target in dropped],
            },
        )
        if not self._strict:
            x.targets = [*kept, *dropped]
            if targets and not kept:
                x.note("flag", {"region": name, "why": "no target in a permitted region"})
            return
        x.allow.append(bounds.allows)
        x.targets = kept
        if targets and not kept:
            raise StockyardError(
                "region_unavailable",
                f"No target for {x.model_requested!r} is in a region that {name!r} allows ({', '.join(bounds.allowed)}).",
                param="model",
                retryable=False,
            )

    def _region_of(self, x: Exchange) -> tuple[str, str] | None:
        """The caller's region and what it was told by; `None` for no limit. Raises `bad_request` for an unknown one."""
        for source in self._sources:  # none, where these settings tell nothing of anybody
            name = self._by(source, x)
            if name:
                return name, source
        return self._default

    def _by(self, source: Source, x: Exchange) -> str:
        regions = self.settings.regions
        if source == "header":
            asked = x.headers.get(HEADER) if self.settings.trust_header else None
            if asked is None:
                return ""
            name = asked.decode("latin-1").strip()
            if name not in regions:
                raise StockyardError(
                    "bad_request",
                    f"There is no region {name!r}; known are {', '.join(regions)}.",
                    param="X-Stockyard-Region",
                )
            return name
        if source == "geoip":
            country = self._countries.country(x.client_ip) if self._countries is not None and x.client_ip else ""
            return next((name for name, region in regions.items() if country and country in region.countries), "")
        if source == "tenant":
            client = x.client
            return next((name for name, region in regions.items() if client and _any(region.clients, client)), "")
        bound = str(x.principal.team or "") if x.principal is not None else ""
        team = bound or (x.team if self.settings.trust_header else "")
        return next((name for name, region in regions.items() if team and _any(region.teams, team)), "")


def _any(globs: list[str], value: str) -> bool:
    return any(fnmatchcase(value, glob) for glob in globs)
