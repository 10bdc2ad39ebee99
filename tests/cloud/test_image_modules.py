"""What modules need beyond the proxy itself is in the tenants' image, and takes memory only of who switches them on."""

from __future__ import annotations

import re

import httpx2
import pytest

from tests.cloud.service import Service, Tenant, docker

pytestmark = [
    pytest.mark.slow,
    pytest.mark.docker,
    pytest.mark.parametrize("runtime", ["docker"], indirect=True, scope="session"),
]

SMALL = ("codefence", "contextpack", "imageproxy")
MAPPED = re.compile(r"onnxruntime|numpy|tokenizers|PIL|pillow_heif|tree_sitter")


def _switch_on(tenant: Tenant, module: str) -> httpx2.Response:
    return tenant.request("PUT", f"/api/proxy/modules/{module}", json={"enabled": True})


def _ask(tenant: Tenant, text: str) -> str:
    """How the cache stood to a question that every cache may keep."""
    client = tenant.openai().chat.completions.with_raw_response
    answer = client.create(model="mock/gpt", messages=[{"role": "user", "content": text}])
    return answer.headers.get("x-stockyard-cache", "")


def _libraries(service: Service, tenant: Tenant) -> set[str]:
    """The libraries that the instance's process has loaded, of those that only some modules need."""
    return set(MAPPED.findall(docker("exec", service.container(tenant.slug), "cat", "/proc/1/maps")))


def test_a_tenant_switches_on_a_module_that_needs_the_embedding_model(service: Service) -> None:
    tenant = service.open("thinker", plan="pro")
    tenant.becomes("running")
    assert tenant.answers()
    assert len(tenant.get("/api/proxy/modules").json()["modules"]) > 70
    assert _libraries(service, tenant) == set()
    switched = _switch_on(tenant, "semanticcache")
    assert switched.status_code == 200, switched.text
    assert _ask(tenant, "What is the capital of France?") == "miss"
    assert _ask(tenant, "what's the capital city of France?") == "semantic"
    assert "onnxruntime" in _libraries(service, tenant)
    switched = _switch_on(tenant, "langbridge")
    assert switched.status_code == 200, switched.text
    assert tenant.answers()


def test_a_tenant_of_the_smallest_plan_switches_on_what_fits_into_its_memory_and_is_refused_the_rest(
    service: Service,
) -> None:
    tenant = service.open("small", plan="free")
    tenant.becomes("running")
    assert tenant.answers()
    pid = service.instance_pid("small")
    for module in SMALL:
        switched = _switch_on(tenant, module)
        assert switched.status_code == 200, switched.text
        assert tenant.answers()
    refused = _switch_on(tenant, "semanticcache")
    assert refused.status_code == 501
    assert "larger plan" in refused.json()["error"]["message"]
    assert tenant.answers()
    assert service.instance_pid("small") == pid, "it was not ended for want of memory"
