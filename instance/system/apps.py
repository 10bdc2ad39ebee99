"""The nine apps, as `/api/apps` lists them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class App:
    """One app; `status` is `active`, or `planned` while it is not built."""

    name: str
    slug: str
    description: str
    path: str
    status: str


APPS = (
    App(
        "Chute",
        "proxy",
        "The proxy: every model behind one URL, with modules that are switched live.",
        "/api/proxy",
        "active",
    ),
    App("Lookout", "observe", "Traces of every call, what they cost, alerts.", "/api/observe", "active"),
    App("Brand", "trust", "The hash-chained ledger of everything that happened.", "/api/trust", "active"),
    App("Tack Room", "studio", "Prompt templates, experiments and benchmarks.", "/api/studio", "active"),
    App("Forge", "forge", "Batches of calls that may wait.", "/api/forge", "active"),
    App("Trading Post", "exchange", "Packs of configuration and environments.", "/api/exchange", "planned"),
    App("Billing", "billing", "Budgets, prices and statements.", "/api/billing", "active"),
    App("Team", "teams", "People, teams and their keys.", "/api/auth", "active"),
    App("Memory", "memory", "What conversations remember.", "/api/memory", "active"),
)


def listed() -> list[dict[str, Any]]:
    """The apps as JSON objects."""
    return [asdict(app) for app in APPS]
