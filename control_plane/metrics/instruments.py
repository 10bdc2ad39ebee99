"""What is counted while it happens: requests, the loop's actions, starts. One registry a plane."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
REQUEST_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Instruments:
    """Counters and histograms of this process."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry(auto_describe=True)
        self.requests = Counter(
            "stockyard_cloud_api_requests",
            "Requests to the control plane's API by route and status.",
            ("method", "route", "status"),
            registry=registry,
        )
        self.request_seconds = Histogram(
            "stockyard_cloud_api_request_seconds",
            "From a request to the beginning of its answer.",
            ("route",),
            buckets=REQUEST_SECONDS,
            registry=registry,
        )
        self.actions = Counter(
            "stockyard_cloud_actions",
            "What the reconciler did to instances, routing and backups, by outcome: done or failed.",
            ("action", "outcome"),
            registry=registry,
        )
        self.action_seconds = Histogram(
            "stockyard_cloud_action_seconds", "How long that took.", ("action",), buckets=SECONDS, registry=registry
        )
        self.start_seconds = Histogram(
            "stockyard_cloud_tenant_start_seconds",
            "From the moment a tenant was asked for until it was routed to.",
            buckets=SECONDS,
            registry=registry,
        )
        ProcessCollector(registry=registry)
