"""Forty tenants made in one go on the Docker engine: each answers, as itself alone, and again after all of them slept."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import openai
import pytest

from tests.chaos.callers import call_once
from tests.chaos.disturbances import OK
from tests.cloud.service import Service, Tenant, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.docker,
    pytest.mark.parametrize("runtime", ["docker"], indirect=True, scope="session"),
]
TENANTS = 40
CALLING_AT_ONCE = 16
DEADLINE_S = 240


def test_forty_tenants_made_in_one_go_answer_each_as_itself_and_again_after_all_slept(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    slugs = [f"many-{number:02d}" for number in range(TENANTS)]
    with ThreadPoolExecutor(TENANTS) as threads:
        begun = time.monotonic()
        made = list(threads.map(lambda slug: service.open(slug, plan="free"), slugs))
        opened_s = time.monotonic() - begun
        firsts = list(threads.map(lambda tenant: _first_answer(tenant, begun), made))
        _report(capsys, f"{TENANTS} tenants opened in {opened_s:.1f} s, from there to the first answer", firsts)

    with ThreadPoolExecutor(CALLING_AT_ONCE) as threads:
        traced = list(threads.map(_call_whole_and_streamed, made))
        owned = [{trace["id"] for trace in tenant.all_traces()} for tenant in made]
        for own, (tenant, ids) in zip(owned, zip(made, traced, strict=True), strict=True):
            assert set(ids) <= own, tenant.slug
        assert sum(map(len, owned)) == len(set().union(*owned)), "a call is in the traces of two tenants"
        for tenant, other in zip(made, [*made[1:], made[0]], strict=True):
            with pytest.raises(openai.AuthenticationError):
                tenant.openai(key=other.api_key).models.list()

        for tenant in made:
            assert service.api("POST", f"/api/tenants/{tenant.slug}/sleep").status_code == 202
        until(lambda: _statuses(service, slugs) == {"asleep"}, "all of them sleep", DEADLINE_S)
    with ThreadPoolExecutor(TENANTS) as threads:
        begun = time.monotonic()
        woken = list(threads.map(lambda tenant: _first_answer(tenant, begun), made))
        _report(capsys, f"all {TENANTS} asleep and called at once, until answered", woken)
    with ThreadPoolExecutor(CALLING_AT_ONCE) as threads:
        for own, tenant in zip(owned, made, strict=True):
            assert own <= {trace["id"] for trace in tenant.all_traces()}, tenant.slug
            assert tenant.ledger_verdict()["valid"] is True
        list(threads.map(_delete, made))


def _first_answer(tenant: Tenant, begun: float) -> float:
    """Seconds from `begun` until the tenant answered; refused calls are sent again as Retry-After says."""
    client = tenant.openai().with_options(max_retries=100)
    answer = client.chat.completions.create(model="mock/gpt", messages=[{"role": "user", "content": tenant.slug}])
    assert answer.choices[0].message.content == f"echo: {tenant.slug}"
    return time.monotonic() - begun


def _call_whole_and_streamed(tenant: Tenant) -> list[str]:
    """Trace ids of both calls, as soon as they are in the traces."""
    client, found = tenant.openai(), []
    for streamed in (False, True):
        code, trace_id = call_once(client, f"{tenant.slug}.{streamed}", streamed)
        assert code == OK, (tenant.slug, code)
        tenant.trace(trace_id)
        found.append(trace_id)
    return found


def _statuses(service: Service, slugs: list[str]) -> set[str]:
    listed = service.api("GET", "/api/tenants?limit=500").json()["tenants"]
    return {each["status"] for each in listed if each["slug"] in slugs}


def _delete(tenant: Tenant) -> None:
    tenant.service.api("DELETE", f"/api/tenants/{tenant.slug}?grace_s=0")


def _report(capsys: pytest.CaptureFixture[str], what: str, seconds: list[float]) -> None:
    with capsys.disabled():
        print(f"\n{what}: median {median(seconds):.1f} s, longest {max(seconds):.1f} s")
