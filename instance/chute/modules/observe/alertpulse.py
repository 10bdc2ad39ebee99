"""alertpulse: looks at the alerts by time, with or without calls, and tells when one begins or ceases to hold."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from instance.chute.exchange import Exchange
from instance.chute.module import ALL_KINDS, Module, ModuleSettings
from instance.chute.module_secrets import SecretText
from instance.core.instance_file import may_call_private_networks
from instance.lookout.alerts.call_window import CallFacts
from instance.lookout.alerts.channels import Channels, MailServer
from instance.lookout.alerts.deliveries import Deliveries
from instance.lookout.alerts.rule import GAUGE_METRICS, UNITS, Condition, Rule

if TYPE_CHECKING:
    from instance.core.core import Core
    from instance.lookout.alerts.alerts import Alerts

NS_PER_S = 10**9
PRUNED_EVERY_NS = 3600 * NS_PER_S
OWN_GAUGES = ("provider_down", "breaker_open", "budget_used", "embedder_late")


class FirstRule(BaseModel):
    """An alert that a new instance begins with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=200, description="Name of the alert.")
    metric: str = Field(description="What is watched.")
    condition: Condition = Field(default="gt", description="gt, gte, lt, lte or eq.")
    threshold: float = Field(ge=0, le=1e15, description="In the metric's unit.")
    window_s: int = Field(default=300, ge=10, le=86_400, description="Seconds looked at.")
    min_requests: int = Field(default=0, ge=0, le=10**9, description="With fewer calls there is no data.")

    @field_validator("metric")
    @classmethod
    def _known(cls, metric: str) -> str:
        if metric not in UNITS:
            raise ValueError(f"there is no metric {metric!r}; there are {', '.join(UNITS)}")
        return metric


FIRST_RULES = [
    FirstRule(name="Many errors", metric="error_rate", threshold=25, window_s=300, min_requests=10),
    FirstRule(name="Slow answers", metric="latency_p95", threshold=30_000, window_s=300, min_requests=10),
    FirstRule(name="A provider is down", metric="provider_down", threshold=0),
]


class AlertPulse(Module):
    """Counts calls as they end and looks at the alerts of `/api/observe/alerts` every 10 seconds, so that an alert on too few
    calls works too. One notice when an alert begins, one when it is over, one each cooldown while it lasts.

    Every alert is in the history; its channel adds a webhook, a chat, an e-mail or the log. Calls from before a restart count.
    """

    name: ClassVar[str] = "alertpulse"
    category: ClassVar[str] = "observe"
    group: ClassVar[int] = 1
    summary: ClassVar[str] = "Alerts on errors, latency, cost and silence, with notices"
    default_enabled: ClassVar[bool] = True
    kinds: ClassVar[frozenset[str]] = ALL_KINDS
    tick_s: ClassVar[float] = 10.0
    secret_settings: ClassVar[frozenset[str]] = frozenset(("smtp_password",))

    class Settings(ModuleSettings):
        first_rules: list[FirstRule] = Field(
            default=FIRST_RULES, max_length=50, description="Alerts that are made once, on the first start."
        )
        channels: list[Literal["console", "log"]] = Field(
            default=["console"],
            description="Where the first alerts go: the console shows every alert in any case, log writes a line too.",
        )
        for_s: int = Field(
            default=30, ge=0, le=86_400, description="A new alert's: seconds that it must hold, or be over."
        )
        cooldown_s: int = Field(default=3600, ge=10, le=604_800, description="A new alert's: seconds between notices.")
        allow_private_webhooks: bool = Field(
            default=False,
            description="Notices may go to private addresses and over http; hosted, the operator decides.",
        )
        smtp_host: str = Field(default="", max_length=253, description="Server for e-mail; empty: none can be sent.")
        smtp_port: int = Field(default=587, ge=1, le=65_535, description="Its port.")
        smtp_user: str = Field(default="", max_length=320, description="User at the server; empty: no login.")
        smtp_password: SecretText = Field(default=SecretStr(""), description="Password at the server.")
        smtp_from: str = Field(default="", max_length=320, description="Sender of e-mail.")
        smtp_security: Literal["starttls", "tls", "none"] = Field(
            default="starttls", description="How the connection to the server is secured."
        )

    settings: Settings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._alerts: Alerts
        self._core: Core
        self._pruned_ns = 0

    async def start(self, core: Core, previous: Module | None) -> None:
        self._core = core
        alerts: Alerts = core.services["lookout"].alerts
        self._alerts = alerts
        own = self.settings
        alerts.for_s, alerts.cooldown_s = own.for_s, own.cooldown_s
        alerts.allow_private = own.allow_private_webhooks and may_call_private_networks(core.hosted)
        alerts.gauges |= {
            "provider_down": self._providers_down,
            "breaker_open": self._breakers_open,
            "budget_used": self._budget_used,
            "embedder_late": self._embedder_late,
        }
        now_ns = core.clock.wall_ns()
        channel: Literal["log", "events"] = "log" if "log" in own.channels else "events"
        await alerts.begin([_made(rule, own, channel, now_ns) for rule in own.first_rules])
        if alerts.deliveries is not None:
            await alerts.deliveries.close()
        mail = MailServer(
            own.smtp_host,
            own.smtp_port,
            own.smtp_user,
            own.smtp_password.get_secret_value(),
            own.smtp_from,
            own.smtp_security,
        )
        instance = core.hosted.slug if core.hosted is not None else "stockyard"
        channels = Channels(core.clock, instance, mail, allow_private=alerts.allow_private)
        self._deliveries = alerts.deliveries = Deliveries(core, alerts.channel_of, channels)

    async def stop(self) -> None:
        alerts = self._alerts
        if alerts.deliveries is self._deliveries:
            alerts.deliveries = None
            for name in OWN_GAUGES:
                alerts.gauges.pop(name, None)
            await self._deliveries.close()

    def on_finish(self, x: Exchange) -> None:
        started_ns = x.started_ns
        took = perf_counter_ns() - started_ns
        answer, attempts = x.answer, x.attempts
        target = answer.target if answer is not None else None
        if target is None and attempts and x.targets:
            target = x.targets[0]
        usage, principal, first_ns, measures = x.usage, x.principal, x.first_token_ns, x.measures
        overhead = took - x.upstream_ns - x.waited_ns
        cost_nano = failed = 0
        for _, nano in x.cost_lines:
            cost_nano += nano
        for attempt in attempts:
            if attempt["error"]:
                failed += 1
        facts = (
            (x.started_wall_ns + took) // NS_PER_S,
            x.id,
            target.provider.name if target is not None else "",
            target.model if target is not None else "",
            x.model_requested,
            x.project,
            x.team,
            principal.key_text if principal is not None else "",
            x.tags,
            x.status,
            usage.input + usage.output,
            cost_nano,
            took // 1000,
            (first_ns - started_ns) // 1000 if first_ns else 0,
            overhead // 1000 if overhead > 0 else 0,
            failed,
            x.safety_count,
            measures.get("code_findings", 0) if measures is not None else 0,
        )
        # As `CallFacts(...)`, but for a call of Python's own.
        self._alerts.feed(tuple.__new__(CallFacts, facts))

    async def tick(self) -> None:
        await self._alerts.evaluate()
        now = self._core.clock.mono_ns()
        if not self._pruned_ns or now - self._pruned_ns > PRUNED_EVERY_NS:
            self._pruned_ns = now
            await self._alerts.prune()

    def report(self) -> dict[str, Any]:
        alerts = self._alerts
        without = sorted(set(GAUGE_METRICS) - set(alerts.gauges))
        return {"alerts": len(alerts.kept), "firing": alerts.firing, "metrics_without_data": without}

    def _providers_down(self, narrowed: Mapping[str, str], window_s: int) -> float | None:
        wanted = narrowed.get("provider")
        providers = self._core.services["providers"].all()
        return float(sum(p.health.status == "down" for p in providers if wanted in (None, p.name)))

    def _breakers_open(self, narrowed: Mapping[str, str], window_s: int) -> float | None:
        breakers = self._core.services.get("breakers")
        if breakers is None:
            return None
        wanted = narrowed.get("provider")
        return float(
            sum(
                row["state"] == "open"
                for row in breakers.rows()
                if wanted is None or row["target"].startswith(f"{wanted}/")
            )
        )

    def _budget_used(self, narrowed: Mapping[str, str], window_s: int) -> float | None:
        now_ns = self._core.clock.wall_ns()
        shares = []
        for account in self._core.services["billing"].accounts:
            account.roll(now_ns)
            if account.budget.limit_nano:
                shares.append(100.0 * account.spent_nano / account.budget.limit_nano)
        return max(shares) if shares else None

    def _embedder_late(self, narrowed: Mapping[str, str], window_s: int) -> float | None:
        """How often something went without vectors, within the window; no data while no module has loaded the model."""
        embedder = self._core.services.get("embedder")
        return None if embedder is None else float(embedder.lateness.within(window_s))


def _made(rule: FirstRule, own: AlertPulse.Settings, channel: Literal["log", "events"], now_ns: int) -> Rule:
    return Rule(
        id=0,
        name=rule.name,
        metric=rule.metric,
        condition=rule.condition,
        threshold=rule.threshold,
        window_seconds=rule.window_s,
        min_requests=rule.min_requests,
        for_s=own.for_s,
        cooldown_seconds=own.cooldown_s,
        channel=channel,
        created_at_ns=now_ns,
    )
