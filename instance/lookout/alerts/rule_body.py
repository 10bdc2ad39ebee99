"""Rules as the API takes and shows them."""

from __future__ import annotations

import re
import secrets as random_secrets
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from instance.core.errors import StockyardError
from instance.core.timestamps import parse_time, rfc3339, rfc3339_or_none
from instance.lookout.alerts.alerts import Alerts
from instance.lookout.alerts.channels import POSTED, checked_address
from instance.lookout.alerts.rule import (
    ALIASES,
    CONDITIONS,
    FILTER_FIELDS,
    GAUGE_METRICS,
    UNITS,
    USUAL_METRICS,
    Channel,
    Rule,
    Severity,
)
from instance.lookout.alerts.store import Kept

WINDOW_MIN_S, WINDOW_MAX_S = 10, 86_400
SILENCES_MAX = 50
SECRETS = ("url", "secret")
HIDDEN = "…"
ADDRESS = re.compile(r"[^@\s,]+@[^@\s,]+")
_WINDOW = re.compile(r"(\d{1,5})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

Label = Annotated[str, Field(min_length=1, max_length=256)]


class Silence(BaseModel):
    """A time in which nobody is told."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    from_: str = Field(alias="from", description="Start, RFC 3339.")
    to: str = Field(description="End, RFC 3339.")
    filter: dict[str, Label] = Field(default={}, max_length=6, description="Only where the alert's filter has these.")

    def kept(self) -> dict[str, Any]:
        """As the rule keeps it. Raises `invalid_value`."""
        try:
            start, end = parse_time(self.from_), parse_time(self.to)
        except ValueError:
            raise StockyardError("invalid_value", "A silence is from and to in RFC 3339.", param="silences") from None
        if end <= start:
            raise StockyardError("invalid_value", "A silence ends after it begins.", param="silences")
        return {"from_ns": start, "to_ns": end, "filter": self.filter}


class AlertChange(BaseModel):
    """What `PUT` takes; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    metric: str | None = Field(default=None, max_length=64, description="What is watched.")
    condition: str | None = Field(default=None, description="gt, gte, lt, lte, eq, or as signs, or above, below.")
    threshold: float | None = Field(default=None, ge=-1e12, le=1e12, description="In the metric's unit.")
    times_usual: float | None = Field(
        default=None,
        ge=0,
        le=1000,
        description="In place of a threshold: times the value of this hour on the last 7 days.",
    )
    window_seconds: int | None = Field(default=None, ge=WINDOW_MIN_S, le=WINDOW_MAX_S, description="Time looked at.")
    window: str | None = Field(default=None, max_length=8, description="The same as 5m, 1h, 24h.")
    filter: dict[str, Label] | None = Field(
        default=None,
        max_length=6,
        description="model (a glob), provider, project, team, key, tag (`name` or `name=value`).",
    )
    channel: Channel | None = Field(default=None, description="Where notices go beside the history.")
    channel_config: dict[str, Any] | None = Field(
        default=None, max_length=8, description="`url` and `secret`, or `to`."
    )
    action: Channel | None = Field(default=None, description="An older name of channel.")
    webhook_url: str | None = Field(default=None, max_length=2048, description="An older name of channel_config.url.")
    cooldown_seconds: int | None = Field(default=None, ge=10, le=604_800, description="Between repeated notices.")
    for_s: int | None = Field(default=None, ge=0, le=86_400, description="So long it must hold, or be over.")
    severity: Severity | None = None
    silences: list[Silence] | None = Field(default=None, max_length=SILENCES_MAX)
    min_requests: int | None = Field(default=None, ge=0, le=10**9, description="With fewer calls there is no data.")
    enabled: bool | None = None

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, metric: str | None) -> str | None:
        metric = ALIASES.get(metric or "", metric)
        if metric is not None and metric not in UNITS:
            raise ValueError(f"there is no metric {metric!r}; there are {', '.join(UNITS)}")
        return metric

    @field_validator("condition")
    @classmethod
    def _known_condition(cls, condition: str | None) -> str | None:
        if condition is not None and condition not in CONDITIONS:
            raise ValueError(f"use one of {', '.join(CONDITIONS)}")
        return condition

    @field_validator("filter")
    @classmethod
    def _known_fields(cls, narrowed: dict[str, str] | None) -> dict[str, str] | None:
        unknown = set(narrowed or {}) - set(FILTER_FIELDS)
        if unknown:
            raise ValueError(f"there is no filter {', '.join(sorted(unknown))}; there are {', '.join(FILTER_FIELDS)}")
        return narrowed

    @field_validator("window")
    @classmethod
    def _in_seconds(cls, window: str | None) -> str | None:
        if window is not None:
            found = _WINDOW.fullmatch(window)
            if found is None or not WINDOW_MIN_S <= int(found[1]) * _SECONDS[found[2]] <= WINDOW_MAX_S:
                raise ValueError(f"a window is like 5m, 1h or 24h, of {WINDOW_MIN_S} s to {WINDOW_MAX_S} s")
        return window

    def fields(self) -> dict[str, Any]:
        """The fields that were given, as `Rule` names them, without the channel's settings."""
        given = {name: getattr(self, name) for name in self.model_fields_set if getattr(self, name) is not None}
        for name in ("channel_config", "webhook_url"):
            given.pop(name, None)
        if "action" in given:
            given.setdefault("channel", given.pop("action"))
        if "window" in given:
            found = _WINDOW.fullmatch(given.pop("window"))
            assert found is not None
            given.setdefault("window_seconds", int(found[1]) * _SECONDS[found[2]])
        if "condition" in given:
            given["condition"] = CONDITIONS[given["condition"]]
        if "silences" in given:
            given["silences"] = tuple(silence.kept() for silence in self.silences or ())
        return given


class NewAlert(AlertChange):
    """What `POST` takes."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    metric: str = Field(max_length=64, description="What is watched.")

    @model_validator(mode="after")
    def _has_a_limit(self) -> Self:
        if self.threshold is None and not self.times_usual:
            raise ValueError("give a threshold, or times_usual")
        return self


def require_sense(rule: Rule) -> None:
    """Raise `invalid_value` for what does not go together."""
    if rule.times_usual and (rule.metric not in USUAL_METRICS or "tag" in rule.filter):
        raise StockyardError(
            "invalid_value",
            f"What is usual is known of {', '.join(sorted(USUAL_METRICS))}, not by tag.",
            param="times_usual",
        )
    if rule.metric in GAUGE_METRICS and set(rule.filter) - {"provider", "model"}:
        raise StockyardError("invalid_value", f"{rule.metric} is narrowed by provider and model only.", param="filter")


def channel_settings(
    alerts: Alerts, rule: Rule, body: AlertChange, before: Kept | None
) -> tuple[dict[str, Any], dict[str, Any], str]:
    """The settings of a rule's channel: open ones, secret ones, and a secret made now that is to be shown once."""
    given = dict(body.channel_config or {})
    if body.webhook_url:
        given.setdefault("url", body.webhook_url)
    unknown = set(given) - {"url", "secret", "to"}
    if unknown or not all(isinstance(value, str) and len(value) <= 2048 for value in given.values()):
        raise StockyardError("invalid_value", "Texts named url, secret and to are known.", param="channel_config")
    had = alerts.secrets_of(before) if before is not None and before.rule.channel == rule.channel else {}
    for name in SECRETS:
        if name in had and (name not in given or HIDDEN in given[name]):
            given[name] = had[name]
    if before is not None and before.rule.channel == rule.channel:
        given.setdefault("to", before.rule.channel_config.get("to", ""))
    made = ""
    if rule.channel in POSTED:
        if not given.get("url"):
            raise StockyardError("missing_field", f"{rule.channel} needs a url.", param="channel_config.url")
        checked_address(rule.channel, given["url"], allow_private=alerts.allow_private)
        if rule.channel == "webhook" and not given.get("secret"):
            made = given["secret"] = "whsec_" + random_secrets.token_urlsafe(32)
        kept_secret = {name: given[name] for name in SECRETS if given.get(name)}
        return {}, kept_secret, made
    if rule.channel == "email":
        if not ADDRESS.fullmatch(given.get("to", "")):
            raise StockyardError("invalid_value", "email needs an address in `to`.", param="channel_config.to")
        return {"to": given["to"]}, {}, ""
    return {}, {}, ""


def shown(alerts: Alerts, kept: Kept) -> dict[str, Any]:
    """A rule with how it stands."""
    rule = kept.rule
    value, checked_ns = alerts.values.get(rule.id, (None, None))
    return {
        "id": rule.id,
        "name": rule.name,
        "metric": rule.metric,
        "unit": UNITS[rule.metric],
        "condition": rule.condition,
        "threshold": rule.threshold,
        "times_usual": rule.times_usual,
        "window_seconds": rule.window_seconds,
        "filter": dict(rule.filter),
        "min_requests": rule.min_requests,
        "for_s": rule.for_s,
        "cooldown_seconds": rule.cooldown_seconds,
        "severity": rule.severity,
        "channel": rule.channel,
        "channel_config": {**rule.channel_config, **_masked(rule.channel, alerts.secrets_of(kept))},
        "silences": [
            {"from": rfc3339(silence["from_ns"]), "to": rfc3339(silence["to_ns"]), "filter": silence["filter"]}
            for silence in rule.silences
        ],
        "enabled": rule.enabled,
        "state": kept.standing.state,
        "value": value,
        "last_fired": rfc3339_or_none(kept.last_fired_ns),
        "last_checked": rfc3339_or_none(checked_ns),
        "created_at": rfc3339(rule.created_at_ns),
    }


def _masked(channel: str, kept: Mapping[str, Any]) -> dict[str, str]:
    """Addresses of chats are secrets beyond their host; a webhook's is not, its secret is."""
    masked = {}
    if "url" in kept:
        url = str(kept["url"])
        masked["url"] = url if channel == "webhook" else "/".join(url.split("/", 3)[:3]) + "/" + HIDDEN
    if "secret" in kept:
        masked["secret"] = HIDDEN + str(kept["secret"])[-4:]
    return masked
