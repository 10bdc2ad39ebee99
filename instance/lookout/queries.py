"""The query parameters of Lookout's endpoints and the conditions they stand for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from instance.core.errors import StockyardError
from instance.core.money import usd_to_nano
from instance.core.principals import CLIENT_TEAM
from instance.lookout.store import GROUPS, TraceFilter
from instance.system.listing import LongListQuery, Period

TAGS_MAX = 16
FAILED = "status NOT IN ('ok', 'cache_hit')"


class TraceFilters(BaseModel):
    """What narrows a list of traces."""

    source: Annotated[str | None, Field(description="`real` is all but demo.", max_length=32)] = None
    status: Annotated[
        Literal["ok", "error", "cache_hit", "blocked", "cancelled", "failed"] | None,
        Field(description="`failed` is all but ok and cache_hit."),
    ] = None
    model: Annotated[str | None, Field(max_length=256)] = None
    provider: Annotated[str | None, Field(max_length=128)] = None
    project: Annotated[str | None, Field(max_length=128)] = None
    team: Annotated[str | None, Field(max_length=128)] = None
    client: Annotated[str | None, Field(max_length=64, description="A client (tenantwall), which is a team.")] = None
    user: Annotated[str | None, Field(max_length=256)] = None
    key: Annotated[str | None, Field(max_length=64, description="Id of the key.")] = None
    session: Annotated[str | None, Field(max_length=256)] = None
    operation: Annotated[str | None, Field(max_length=64)] = None
    cache: Annotated[str | None, Field(max_length=16)] = None
    tag: Annotated[list[str], Field(max_length=TAGS_MAX, description="`k:v`, repeatable; all must match.")] = []
    min_ms: Annotated[float | None, Field(ge=0, le=1e9)] = None
    min_cost_usd: Annotated[float | None, Field(ge=0, le=1e6)] = None
    has_safety: bool | None = None

    def filter(self, start_ns: int | None, end_ns: int | None, team: str) -> TraceFilter:
        """The condition; `team` (of a team's key) narrows whatever was asked."""
        narrowed = TraceFilter()
        if self.source == "real":
            narrowed.add("source <> 'demo'")
        elif self.source is not None:
            narrowed.add("source = ?", self.source)
        if self.status == "failed":
            narrowed.add(FAILED)
        elif self.status is not None:
            narrowed.add("status = ?", self.status)
            if self.status not in ("ok", "cache_hit"):
                narrowed.add(FAILED)
        for column, value in (
            ("model", self.model),
            ("provider", self.provider),
            ("project", self.project),
            ("user_id", self.user),
            ("key_id", self.key),
            ("operation", self.operation),
            ("cache", self.cache),
        ):
            if value is not None:
                narrowed.add(f"{column} = ?", value)
        if self.project not in (None, "default"):
            narrowed.add("project <> 'default'")
        of_client = CLIENT_TEAM + self.client if self.client else None
        for team_id in {self.team, of_client, team} - {None, ""}:
            narrowed.add("team_id = ? AND team_id <> ''", team_id)
        if self.session:
            narrowed.add("session_id = ? AND session_id <> ''", self.session)
        for tag in self.tag:
            narrowed.add("json_extract(detail, ?) = ?", *_tag(tag))
        if self.min_ms is not None:
            narrowed.add("duration_us >= ?", round(self.min_ms * 1000))
        if self.min_cost_usd is not None:
            narrowed.add("cost_nano >= ?", usd_to_nano(self.min_cost_usd))
        if self.has_safety is not None:
            narrowed.add("safety_count > 0" if self.has_safety else "safety_count = 0")
        if start_ns is not None:
            narrowed.add("created_at_ns >= ?", start_ns)
        if end_ns is not None:
            narrowed.add("created_at_ns < ?", end_ns)
        return narrowed


def _tag(tag: str) -> tuple[str, str]:
    name, separator, value = tag.partition(":")
    if not separator or not name or '"' in name or len(tag) > 256:
        raise StockyardError("invalid_value", "`tag` must be `name:value`.", param="tag")
    return f'$.tags."{name}"', value


class TracesQuery(LongListQuery, TraceFilters):
    sort: Literal["created_at", "duration_ms", "cost_usd"] = "created_at"


class CostsQuery(Period):
    group_by: Annotated[str, Field(max_length=64, description="One or two of the groups, with a comma.")] = "provider"
    project: Annotated[str | None, Field(max_length=128)] = None

    def groups(self) -> tuple[str, ...]:
        """The groups asked for; raises 422 for others than `GROUPS`."""
        groups = tuple(group.strip() for group in self.group_by.split(","))
        if len(groups) > 2 or len(set(groups)) < len(groups) or not GROUPS.keys() >= set(groups):
            message = f"`group_by` takes one or two of {', '.join(GROUPS)}, with a comma between."
            raise StockyardError("invalid_value", message, param="group_by")
        return groups


class DailyQuery(Period):
    project: Annotated[str | None, Field(max_length=128)] = None


class OverviewQuery(Period):
    days: Annotated[int | None, Field(ge=1, le=365)] = None
    project: Annotated[str | None, Field(max_length=128)] = None
    team: Annotated[str | None, Field(max_length=128)] = None


def hours_filter(project: str | None, *teams: str | None) -> TraceFilter:
    """The condition on hourly sums; every team that is given must match."""
    narrowed = TraceFilter()
    if project is not None:
        narrowed.add("project = ?", project)
    for team in {*teams} - {None, ""}:
        narrowed.add("team_id = ?", team)
    return narrowed
