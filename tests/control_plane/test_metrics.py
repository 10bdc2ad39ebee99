"""What Prometheus is told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from control_plane.checkups import examine_plane
from control_plane.metrics.activator import activator_families
from control_plane.metrics.instruments import Instruments
from control_plane.metrics.watched import Starts, watched_edge, watched_runtime, watched_store
from control_plane.runtimes.protocol import EngineError
from tests.control_plane.conftest import Api


def samples(families: Iterable[Metric]) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (each.name, tuple(sorted(each.labels.items()))): each.value for family in families for each in family.samples
    }


async def scraped(api: Api) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    answer = await api("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    return samples(text_string_to_metric_families(answer.text))


async def test_requests_are_counted_by_the_template_of_their_route(api: Api) -> None:
    for slug in ("ann", "bob", "ann"):
        await api("GET", f"/api/tenants/{slug}")
    await api("GET", "/no/such/path/at/all")
    await api.client.request("BREW", "/api/plans")
    found = await scraped(api)
    name = "stockyard_cloud_api_requests_total"
    route = (("method", "GET"), ("route", "/api/tenants/{slug}"), ("status", "404"))
    assert found[(name, route)] == 3
    assert found[(name, (("method", "GET"), ("route", "none"), ("status", "404")))] == 1
    assert {labels[0][1] for each, labels in found if each == name} <= {"GET", "other"}


async def test_no_metric_has_a_label_of_a_tenant_unless_it_is_asked_for(api: Api) -> None:
    await api("POST", "/api/tenants", {"slug": "secretive-tenant"})
    assert "secretive-tenant" not in (await api("GET", "/metrics")).text


async def test_without_an_activator_its_metrics_are_there_and_it_is_said_to_be_down(api: Api) -> None:
    found = await scraped(api)
    assert found[("stockyard_cloud_component_up", (("component", "activator"),))] == 0
    assert found[("stockyard_cloud_activator_shed_total", ())] == 0


async def test_the_levels_of_the_last_check_up_are_told(api: Api) -> None:
    before = await scraped(api)
    assert not any(name == "stockyard_cloud_doctor_level" for name, _ in before)
    await api("GET", "/api/doctor")
    found = await scraped(api)
    assert found[("stockyard_cloud_doctor_level", (("check", "ledger"),))] == 0
    assert found[("stockyard_cloud_doctor_level", (("check", "reconciler"),))] == 2


async def test_a_check_up_that_leaves_the_ledger_out_keeps_what_was_known_of_it(api: Api) -> None:
    await examine_plane(api.plane)
    before = dict(api.plane.levels)
    found = await examine_plane(api.plane, thorough=False)
    assert "ledger" not in {each.name for each in found}
    assert api.plane.levels == before and "ledger" in before


async def test_process_facts_are_told(api: Api) -> None:
    found = await scraped(api)
    assert found[("process_resident_memory_bytes", ())] > 0
    assert found[("stockyard_cloud_database_bytes", ())] > 0


def test_an_activators_account_becomes_metrics() -> None:
    stats = {
        "held": {"calls": 3, "tenants": 1, "body_bytes": 10_000},
        "shed": {"full": 2, "deadline": 5},
        "wakes": {"under_way": 1, "awake": 4, "refused": 1, "given_up": 0},
        "wake_seconds": {"buckets": [[0.1, 1], [1.0, 3]], "count": 4, "sum": 2.5},
    }
    found = samples(activator_families(stats))
    assert found[("stockyard_cloud_activator_held", ())] == 3
    assert found[("stockyard_cloud_activator_shed_total", ())] == 7
    assert found[("stockyard_cloud_activator_wakes_total", (("outcome", "awake"),))] == 4
    assert found[("stockyard_cloud_wake_seconds_bucket", (("le", "1.0"),))] == 3
    assert found[("stockyard_cloud_wake_seconds_count", ())] == 4
    assert found[("stockyard_cloud_wake_seconds_sum", ())] == 2.5


@pytest.mark.parametrize("stats", [None, {}, {"held": "x", "wake_seconds": []}, {"wake_seconds": {"buckets": 1}}])
def test_an_account_that_is_none_is_taken_for_zeros(stats: dict[str, object] | None) -> None:
    found = samples(activator_families(stats))
    assert found[("stockyard_cloud_wake_seconds_count", ())] == 0


class Engine:
    """A runtime, a store and an edge in one, that does or refuses."""

    def __init__(self) -> None:
        self.refuses = False

    async def start(self, spec: object) -> None:
        if self.refuses:
            raise EngineError("no")

    async def observe(self) -> list[str]:
        return ["seen"]

    async def link(self, slug: str) -> None:
        return

    async def wait_change(self, timeout_s: float) -> set[str]:
        return {"acme"}


async def test_effects_are_counted_by_outcome_and_looks_are_not() -> None:
    instruments, engine = Instruments(), Engine()
    runtime = watched_runtime(engine, instruments)  # type: ignore[arg-type]
    await runtime.start(None)  # type: ignore[arg-type]
    engine.refuses = True
    with pytest.raises(EngineError):
        await runtime.start(None)  # type: ignore[arg-type]
    assert await runtime.observe() == ["seen"]  # type: ignore[comparison-overlap]
    found = samples(instruments.registry.collect())
    name = "stockyard_cloud_actions_total"
    assert {labels: value for (each, labels), value in found.items() if each == name} == {
        (("action", "runtime.start"), ("outcome", "done")): 1,
        (("action", "runtime.start"), ("outcome", "failed")): 1,
    }


async def test_a_start_is_timed_from_what_was_asked_to_the_route_and_once() -> None:
    instruments = Instruments()
    starts = Starts(instruments)
    store = watched_store(Engine(), instruments, starts)  # type: ignore[arg-type]
    edge = watched_edge(Engine(), instruments, starts)  # type: ignore[arg-type]
    assert await store.wait_change(1.0) == {"acme"}
    await asyncio.sleep(0)
    await edge.link("acme")
    await edge.link("acme")
    found = samples(instruments.registry.collect())
    assert found[("stockyard_cloud_tenant_start_seconds_count", ())] == 1
