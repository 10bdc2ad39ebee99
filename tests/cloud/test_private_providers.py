"""Providers at private addresses: refused hosted, however they are written, unless the operator allows them."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.cloud.service import Service, Tenant

pytestmark = pytest.mark.slow

SPELLINGS = [
    "127.0.0.1",
    "localhost",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "127.1",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[64:ff9b::7f00:1]",
    "169.254.169.254",
    "[fd00:ec2::254]",
    "10.0.0.1",
    "192.168.0.1",
    "0.0.0.0",
]


class Stand:
    """A provider on loopback that notes who called, and sends on to another if it is told to."""

    def __init__(self, sends_to: str = "") -> None:
        self.calls: list[str] = []
        stand = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                stand.calls.append(self.path)
                self.rfile.read(int(self.headers.get("content-length", 0)))
                message = {"role": "assistant", "content": "from the stand"}
                answer = {"id": "x", "object": "chat.completion", "created": 1, "model": "m"}
                answer |= {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
                body = json.dumps(answer).encode()
                self.send_response(307 if sends_to else 200)
                if sends_to:
                    self.send_header("Location", sends_to)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def stand() -> Iterator[Stand]:
    stand = Stand()
    yield stand
    stand.close()


@pytest.fixture(scope="module")
def lenient() -> Iterator[Tenant]:
    """A tenant of an operator who allows private providers."""
    service = Service("process", STOCKYARD_CLOUD_ALLOW_PRIVATE_PROVIDERS="true")
    service.start()
    yield service.create("inside")
    service.remove()


def provider(tenant: Tenant, name: str, address: str) -> int:
    """Name a provider; the status of the answer."""
    body = {"name": name, "type": "openai", "base_url": address, "api_key": "sk-test-0123456789", "models": ["m"]}
    tenant.request("DELETE", f"/api/proxy/providers/{name}")
    return tenant.request("POST", "/api/proxy/providers", json=body).status_code


def call(tenant: Tenant, model: str) -> tuple[int, str]:
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
    answer = tenant.request("POST", "/v1/chat/completions", key=tenant.api_key, json=body)
    return answer.status_code, answer.text


@pytest.mark.parametrize("host", SPELLINGS)
def test_no_spelling_of_a_private_address_is_called(acme: Tenant, stand: Stand, host: str) -> None:
    if provider(acme, "inward", f"http://{host}:{stand.port}/v1") < 300:
        status, _ = call(acme, "inward/m")
        assert status >= 400
    assert stand.calls == []


def test_a_name_that_leads_to_a_private_address_is_not_called(acme: Tenant, stand: Stand) -> None:
    name = socket.gethostname()
    if provider(acme, "inward", f"http://{name}:{stand.port}/v1") < 300:
        assert call(acme, "inward/m")[0] >= 400
    assert stand.calls == []


def test_a_tenants_admin_cannot_open_the_way_by_a_setting(acme: Tenant, stand: Stand) -> None:
    for path in ("allow_private_networks", "allow_private_providers"):
        acme.request("PUT", "/api/config", json={path: True})
    settings = {"settings": {"allow_private_networks": True}}
    acme.service.api("PUT", "/api/tenants/acme", json=settings)
    assert acme.service.api("POST", "/api/tenants/acme/restart").status_code == 202
    acme.becomes("running")
    test_no_spelling_of_a_private_address_is_called(acme, stand, "127.0.0.1")
    acme.service.api("PUT", "/api/tenants/acme", json={"settings": {}})


def test_where_the_operator_allows_it_a_private_provider_answers(lenient: Tenant, stand: Stand) -> None:
    assert provider(lenient, "inward", f"http://127.0.0.1:{stand.port}/v1") < 300
    status, text = call(lenient, "inward/m")
    assert (status, "from the stand" in text) == (200, True), text
    assert len(stand.calls) == 1


def test_a_provider_that_sends_the_call_elsewhere_is_not_followed(lenient: Tenant, stand: Stand) -> None:
    sender = Stand(sends_to=f"http://127.0.0.1:{stand.port}/v1/chat/completions")
    try:
        assert provider(lenient, "sender", f"http://127.0.0.1:{sender.port}/v1") < 300
        status, _ = call(lenient, "sender/m")
        assert status >= 400
        assert sender.calls and stand.calls == []
    finally:
        sender.close()
