"""A tenant's first call: the official SDK through the edge, its trace, its ledger."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import openai
import pytest

from tests.cloud.service import INSTANCE_COMMAND, Service, Tenant, until

pytestmark = pytest.mark.slow


TALK = [{"role": "user", "content": "x"}]
BY_PATH_AND_BY_HOST = pytest.mark.parametrize("by_host", [False, True], ids=["by path", "by host"])


@pytest.fixture(scope="module")
def acme(acme: Tenant) -> Tenant:
    """With the cache on, so that a repeated call leaves a decision in its trace."""
    answer = acme.request("PUT", "/api/proxy/modules/cachelayer", json={"enabled": True})
    assert answer.status_code == 200, answer.text
    return acme


@BY_PATH_AND_BY_HOST
def test_the_official_sdk_gets_a_whole_answer_and_a_trace_of_it(acme: Tenant, by_host: bool) -> None:
    raw = acme.openai(by_host=by_host).chat.completions.with_raw_response.create(
        model="mock/gpt", messages=[{"role": "user", "content": f"how are you, {by_host}"}]
    )
    assert raw.parse().choices[0].message.content == f"echo: how are you, {by_host}"
    trace = acme.trace(raw.headers["x-stockyard-trace-id"])
    assert (trace["status"], trace["stream"], trace["provider"]) == ("ok", False, "mock")


@BY_PATH_AND_BY_HOST
def test_the_official_sdk_gets_a_stream_and_a_trace_of_it(acme: Tenant, by_host: bool) -> None:
    texts, trace_id = _stream(acme, f"one two {by_host}", by_host=by_host)
    assert "".join(texts) == f"echo: one two {by_host}"
    assert len(texts) > 2
    trace = acme.trace(trace_id)
    assert (trace["status"], trace["stream"], trace["provider"]) == ("ok", True, "mock")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_trace_shows_what_each_module_decided_and_when_in_nanoseconds(acme: Tenant, stream: bool) -> None:
    trace_ids = []
    for _ in range(2):
        if stream:
            trace_ids.append(_stream(acme, "said twice")[1])
        else:
            raw = acme.openai().chat.completions.with_raw_response.create(
                model="mock/gpt", messages=[{"role": "user", "content": "said twice as a whole"}]
            )
            trace_ids.append(raw.headers["x-stockyard-trace-id"])
    decisions = acme.trace(trace_ids[1])["decisions"]
    hit = next(each for each in decisions if each["module"] == "cachelayer")
    assert hit["action"] == "hit"
    assert hit["at_ns"] > 0


def _stream(tenant: Tenant, text: str, *, by_host: bool = False) -> tuple[list[str], str]:
    """The texts of a streamed answer as they came, and the id of its trace."""
    with tenant.openai(by_host=by_host).chat.completions.with_streaming_response.create(
        model="mock/gpt", messages=[{"role": "user", "content": text}], stream=True
    ) as raw:
        trace_id = raw.headers["x-stockyard-trace-id"]
        return [chunk.choices[0].delta.content or "" for chunk in raw.parse() if chunk.choices], trace_id


def test_the_ledger_verifies_over_http_and_offline_and_names_a_changed_entry(acme: Tenant, tmp_path: Path) -> None:
    acme.say("for the ledger")
    until(lambda: acme.ledger("proxy_request"), "the call is in the ledger")
    assert acme.ledger_verdict()["valid"] is True
    export = tmp_path / "ledger.ndjson"
    export.write_bytes(acme.get("/api/trust/export?format=ndjson").content)
    assert subprocess.run([INSTANCE_COMMAND, "verify", str(export)], capture_output=True, check=False).returncode == 0

    lines = export.read_text().splitlines()
    entry = json.loads(lines[1])
    lines[1] = json.dumps(entry | {"actor": "key:999"})
    export.write_text("\n".join(lines) + "\n")
    checked = subprocess.run([INSTANCE_COMMAND, "verify", str(export)], capture_output=True, text=True, check=False)
    assert checked.returncode == 1
    assert str(entry["seq"]) in checked.stdout + checked.stderr


def test_no_key_of_one_tenant_works_on_another(service: Service, acme: Tenant) -> None:
    other = service.create("other")
    for key in (acme.api_key, acme.admin_key):
        with pytest.raises(openai.AuthenticationError):
            other.openai(key=key).chat.completions.create(model="mock/gpt", messages=[{"role": "user", "content": "x"}])
        assert other.get("/api/observe/traces", key=key).status_code == 401


def test_a_proxy_key_administers_nothing(acme: Tenant) -> None:
    for method, path in (
        ("PUT", "/api/proxy/modules/cachelayer"),
        ("GET", "/api/instance/state"),
        ("POST", "/api/instance/drain"),
    ):
        assert acme.request(method, path, key=acme.api_key, json={}).status_code == 403, path


def test_keys_are_made_at_the_control_plane_only_and_a_revoked_one_stops_working(
    service: Service, acme: Tenant
) -> None:
    made = service.cli("keys", "create", "acme", "--name", "second", "--wait")
    key = made.get("api_key") or made["key"]
    acme.openai(key=key).chat.completions.create(model="mock/gpt", messages=[{"role": "user", "content": "x"}])
    assert service.api("DELETE", f"/api/tenants/acme/keys/{made['id']}?wait=true").status_code == 200
    with pytest.raises(openai.AuthenticationError):
        acme.openai(key=key).chat.completions.create(model="mock/gpt", messages=[{"role": "user", "content": "x"}])
    assert acme.request("POST", "/api/auth/keys", json={"name": "x"}).status_code in (404, 409)


def test_bad_input_gets_its_documented_error(acme: Tenant) -> None:
    nobody = acme.request(
        "POST", "/v1/chat/completions", key=acme.api_key, json={"model": "nobody/x", "messages": TALK}
    )
    assert (nobody.status_code, nobody.json()["error"]["code"]) == (503, "no_provider")
    no_model = acme.request("POST", "/v1/chat/completions", key=acme.api_key, json={"messages": TALK})
    assert (no_model.status_code, no_model.json()["error"]["code"]) == (400, "model_required")
    invalid = acme.request("POST", "/v1/chat/completions", key=acme.api_key, content=b"{no json")
    assert (invalid.status_code, invalid.json()["error"]["code"]) == (400, "invalid_json")
    large = acme.request("POST", "/v1/chat/completions", key=acme.api_key, content=b" " * 50_000_000)
    assert (large.status_code, large.json()["error"]["code"]) == (413, "body_too_large")
