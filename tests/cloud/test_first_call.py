"""A tenant's first call: the official SDK through the edge, its trace, its ledger."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import openai
import pytest

from tests.cloud.service import INSTANCE_COMMAND, Service, Tenant, until

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("by_host", [False, True], ids=["by path", "by host"])
def test_the_official_sdk_gets_a_whole_answer_and_a_trace_of_it(acme: Tenant, by_host: bool) -> None:
    raw = acme.openai(by_host=by_host).chat.completions.with_raw_response.create(
        model="mock/gpt", messages=[{"role": "user", "content": "how are you"}]
    )
    assert raw.parse().choices[0].message.content == "echo: how are you"
    trace = acme.trace(raw.headers["x-stockyard-trace-id"])
    assert trace["status"] == "ok"
    assert trace["decisions"]


@pytest.mark.parametrize("by_host", [False, True], ids=["by path", "by host"])
def test_the_official_sdk_gets_a_stream_and_a_trace_of_it(acme: Tenant, by_host: bool) -> None:
    with acme.openai(by_host=by_host).chat.completions.with_streaming_response.create(
        model="mock/gpt", messages=[{"role": "user", "content": "one two three"}], stream=True
    ) as raw:
        trace_id = raw.headers["x-stockyard-trace-id"]
        texts = [chunk.choices[0].delta.content or "" for chunk in raw.parse() if chunk.choices]
    assert "".join(texts) == "echo: one two three"
    assert len(texts) > 2
    trace = acme.trace(trace_id)
    assert trace["stream"] and trace["decisions"]


def test_decisions_carry_their_nanoseconds(acme: Tenant) -> None:
    raw = acme.openai().chat.completions.with_raw_response.create(
        model="mock/gpt", messages=[{"role": "user", "content": "x"}]
    )
    decisions = acme.trace(raw.headers["x-stockyard-trace-id"])["decisions"]
    assert all(any(name.endswith("_ns") for name in decision) for decision in decisions), decisions


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
    with pytest.raises(openai.NotFoundError) as unknown:
        acme.openai().chat.completions.create(model="nobody/x", messages=[{"role": "user", "content": "x"}])
    assert unknown.value.code in ("model_not_found", "unknown_provider")
    invalid = acme.request("POST", "/v1/chat/completions", key=acme.api_key, content=b"{no json")
    assert (invalid.status_code, invalid.json()["error"]["code"]) == (400, "invalid_json")
    large = acme.request("POST", "/v1/chat/completions", key=acme.api_key, content=b" " * 50_000_000)
    assert (large.status_code, large.json()["error"]["code"]) == (413, "body_too_large")
