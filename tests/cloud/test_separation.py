"""Every key, host, path, header and trick of one tenant against every other: nothing gets through.

Each tenant has an alias of its own, which its lists name: whoever's mark is in an answer is who answered.
"""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations, product

import httpx2
import pytest

from tests.cloud.service import Service, docker, until

pytestmark = pytest.mark.slow

LAST = b"GET / HTTP/1.1\r\nHost: nobody\r\nConnection: close\r\n\r\n"  # an edge that is not confused closes after it
PLACES = ("Authorization", "x-api-key", "api-key", "X-Admin-Key", "X-Stockyard-Key")
LISTS = ("/v1/models", "/api/proxy/aliases")
CLOSED = (
    *LISTS,
    "/v1/v1/models",
    "/api/observe/traces",
    "/api/trust/ledger",
    "/api/config",
    "/api/auth/keys",
    "/api/instance/state",
    "/api/instance/usage",
    "/metrics",
)
SLUGS = ("sep-ann", "sep-bob", "sep-eve")
MARK = re.compile(r"mark-of-(sep-\w+)")
REFUSED = (400, 401, 403, 404, 405)


@dataclass(frozen=True)
class Member:
    """A tenant with every key that belongs to it, by kind."""

    slug: str
    keys: dict[str, str]


class Street:
    """Three tenants on one edge, and ways to knock at each other's doors."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.members = {slug: self._move_in(slug) for slug in SLUGS}
        self.client = httpx2.Client(base_url=f"http://127.0.0.1:{service.edge_port}", trust_env=False, timeout=60)

    def _move_in(self, slug: str) -> Member:
        body = {"email": f"{slug}@{slug}.example", "tenant_slug": slug}
        made = self.service.api("POST", "/api/signup", json=body).json()
        until(lambda: self.service.cli("tenants", "show", slug)["status"] == "running", f"{slug} runs")
        app = self.service.api(
            "POST", f"/api/tenants/{slug}/keys", json={"name": "app", "kind": "app", "scopes": ["proxy:read"]}
        )
        instance = json.loads((self.service.data / "secrets" / slug / "instance.json").read_text())["instance_key"]
        keys = {
            "proxy": made["api_key"],
            "admin": made["admin_key"],
            "app": app.json()["key"],
            "instance": instance,
            "account": made["account_key"],
            "operator": (self.service.data / "operator.key").read_text().strip(),
        }
        self._mark(slug, keys["admin"])
        return Member(slug, keys)

    def _mark(self, slug: str, admin: str) -> None:
        url = f"http://127.0.0.1:{self.service.edge_port}/t/{slug}/api/proxy/aliases/mark-of-{slug}"
        answer = httpx2.put(url, json={"target": "mock/gpt"}, headers={"Authorization": f"Bearer {admin}"}, timeout=60)
        assert answer.status_code in (200, 201), answer.text

    def ask(self, path: str, *, host: str = "", headers: dict[str, str] | None = None) -> httpx2.Response:
        named = {"Host": host} if host else {}
        return self.client.get(path, headers=named | (headers or {}))

    def raw(self, request: bytes, wait_s: float = 5.0) -> bytes:
        """Everything the edge sends back to these bytes until it closes, or says nothing more for a while."""
        with socket.create_connection(("127.0.0.1", self.service.edge_port), wait_s) as connection:
            connection.settimeout(wait_s)
            connection.sendall(request)
            answer = b""
            try:
                while more := connection.recv(65536):
                    answer += more
            except OSError:
                pass
            return answer


@pytest.fixture(scope="module")
def street(service: Service) -> Iterator[Street]:
    street = Street(service)
    yield street
    street.client.close()
    for slug in SLUGS:
        service.api("DELETE", f"/api/tenants/{slug}?grace_s=0")


def credentials(place: str, key: str) -> dict[str, str]:
    return {place: f"Bearer {key}" if place == "Authorization" else key}


def marks(text: str | bytes) -> set[str]:
    """Whose answer it is."""
    return set(MARK.findall(text.decode("latin-1") if isinstance(text, bytes) else text))


def test_with_its_own_key_a_tenant_is_answered_and_known_by_its_mark(street: Street) -> None:
    """Else nothing below could fail."""
    for slug, member in street.members.items():
        for path, kind in (("/v1/models", "proxy"), ("/api/proxy/aliases", "admin"), ("/api/proxy/aliases", "app")):
            headers = credentials("Authorization", member.keys[kind])
            assert marks(street.ask(f"/t/{slug}{path}", headers=headers).text) == {slug}
            assert marks(street.ask(path, host=f"{slug}.localhost", headers=headers).text) == {slug}


@pytest.mark.parametrize("kind", ["proxy", "admin", "app", "instance", "account", "operator"])
def test_no_key_of_one_opens_anything_of_another(street: Street, kind: str) -> None:
    for (mine, theirs), place, path in product(permutations(SLUGS, 2), PLACES, CLOSED):
        headers = credentials(place, street.members[mine].keys[kind])
        for answer in (
            street.ask(f"/t/{theirs}{path}", headers=headers),
            street.ask(path, host=f"{theirs}.localhost", headers=headers),
        ):
            assert answer.status_code in REFUSED, (mine, theirs, place, path, answer.text[:200])
            assert not marks(answer.text)


def test_no_call_with_anothers_key_is_answered_by_a_model(street: Street) -> None:
    body = {"model": "mock/gpt", "messages": [{"role": "user", "content": "hello"}]}
    for (mine, theirs), place in product(permutations(SLUGS, 2), PLACES):
        for kind in ("proxy", "admin"):
            headers = credentials(place, street.members[mine].keys[kind])
            answer = street.client.post(f"/t/{theirs}/v1/chat/completions", json=body, headers=headers)
            assert answer.status_code in REFUSED, answer.text[:200]


def test_headers_that_name_another_tenant_change_nothing(street: Street) -> None:
    for mine, theirs in permutations(SLUGS, 2):
        forged = {
            "X-Stockyard-Tenant": theirs,
            "X-Forwarded-Prefix": f"/t/{theirs}",
            "X-Forwarded-Host": f"{theirs}.localhost",
            "X-Forwarded-For": "10.0.0.1",
            "Forwarded": f"host={theirs}.localhost",
            "X-Original-URL": f"/t/{theirs}/v1/models",
            "X-Rewrite-URL": f"/t/{theirs}/v1/models",
            "X-HTTP-Method-Override": "GET",
        }
        own = credentials("Authorization", street.members[mine].keys["proxy"])
        for answer in (
            street.ask(f"/t/{mine}/v1/models", headers=own | forged),
            street.ask("/v1/models", host=f"{mine}.localhost", headers=own | forged),
        ):
            assert marks(answer.text) == {mine}
        for answer in (
            street.ask(f"/t/{theirs}/v1/models", headers=own | forged),
            street.ask("/v1/models", headers=own | forged),
        ):
            assert answer.status_code in REFUSED and not marks(answer.text)


def test_a_host_of_one_with_a_path_of_another_is_never_answered_to_the_wrong_key(street: Street) -> None:
    for mine, theirs in permutations(SLUGS, 2):
        own = credentials("Authorization", street.members[mine].keys["admin"])
        for host, path in ((mine, theirs), (theirs, mine), (theirs, theirs)):
            answer = street.ask(f"/t/{path}/api/proxy/aliases", host=f"{host}.localhost", headers=own)
            assert marks(answer.text) <= {mine}, (host, path)


def tricks(mine: str, theirs: str) -> Iterator[tuple[str, str]]:
    """Request targets and hosts that a careless router takes for somebody else's."""
    for target in (
        f"/t/{mine}/../{theirs}/v1/models",
        f"/t/{mine}/..%2f{theirs}/v1/models",
        f"/t/{mine}%2f..%2f{theirs}/v1/models",
        f"/t/{mine}/%2e%2e/{theirs}/v1/models",
        f"/t/{mine}/v1/../../{theirs}/v1/models",
        f"//t/{theirs}/v1/models",
        f"/t//{theirs}/v1/models",
        f"/t/{theirs}//v1/models",
        f"/./t/{theirs}/v1/models",
        f"/t/{theirs.upper()}/v1/models",
        f"/T/{theirs}/v1/models",
        f"/t/{theirs}./v1/models",
        f"/t/{theirs}%00/v1/models",
        f"/t/{theirs}%20/v1/models",
        f"/t/{theirs.replace('-', '%2d')}/v1/models",
        f"/t/{mine};{theirs}/v1/models",
        f"/t/{mine}\\..\\{theirs}/v1/models",
        f"/t/{mine}/v1/models?/../../{theirs}",
        f"/t/{mine}/v1/models#/t/{theirs}",
        f"http://{theirs}.localhost/v1/models",
        f"http://{mine}.localhost/t/{theirs}/v1/models",
        f"http://{mine}@{theirs}.localhost/v1/models",
    ):
        yield target, f"{mine}.localhost"
        yield target, "127.0.0.1"
    for host in (
        f"{theirs}.localhost.",
        f"{theirs}.localhost:80",
        f"{theirs}.LOCALHOST",
        f"{theirs.upper()}.localhost",
        f"{mine}.{theirs}.localhost",
        f"{theirs}.{mine}.localhost",
        f"{mine}.localhost,{theirs}.localhost",
        f"{mine}.localhost@{theirs}.localhost",
        f"{theirs}.localhost/../{mine}",
        f"{theirs}%2elocalhost",
        "",
    ):
        yield "/v1/models", host


def test_no_trick_of_path_or_host_gets_an_answer_of_another(street: Street) -> None:
    reached = 0
    for mine, theirs in permutations(SLUGS, 2):
        key = street.members[mine].keys["proxy"]
        for target, host in tricks(mine, theirs):
            head = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n"
            found = marks(street.raw(head.encode("latin-1")))
            assert found <= {mine}, (target, host)
            reached += found == {mine}
    assert reached, "some of these are ordinary addresses of the caller's own: the marks are seen"


def smuggled(mine: str, theirs: str, key: str) -> Iterator[bytes]:
    """One request of mine that carries a second, for somebody else, in what servers disagree about."""
    inner = f"GET /v1/models HTTP/1.1\r\nHost: {theirs}.localhost\r\nX-Stockyard-Tenant: {theirs}\r\n\r\n".encode()
    line = f"POST /t/{mine}/v1/models HTTP/1.1\r\nAuthorization: Bearer {key}\r\n".encode()
    host = f"Host: {mine}.localhost\r\n".encode()
    length = f"Content-Length: {len(inner)}\r\n".encode()
    chunked = b"0\r\n\r\n" + inner
    yield line + host + length + b"Content-Length: 0\r\n\r\n" + inner
    yield line + host + b"Content-Length: 0\r\n" + length + b"\r\n" + inner
    yield line + host + length + b"Transfer-Encoding: chunked\r\n\r\n" + chunked
    yield line + host + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked
    yield line + host + b"Content-Length: 4\r\nTransfer-Encoding : chunked\r\n\r\n" + chunked
    yield line + host + b"Content-Length: 4\r\nTransfer-Encoding: xchunked\r\n\r\n" + chunked
    yield line + host + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n" + chunked
    yield line + host + b"Transfer-Encoding:\x0bchunked\r\nContent-Length: 5\r\n\r\n" + chunked
    yield line + host + b"Content-Length: +5\r\n\r\n" + chunked
    yield line + host + b"Content-Length: 0x5\r\n\r\n" + chunked
    yield line + host + f"Host: {theirs}.localhost\r\n\r\n".encode()
    yield line + f"Host: {theirs}.localhost\r\n".encode() + host + b"\r\n"
    yield line + host + b" continued: x\r\n\r\n" + inner
    yield line + host + f"X-A: b\nX-Stockyard-Tenant: {theirs}\r\n\r\n".encode()
    yield line.replace(b" HTTP/1.1", b" HTTP/1.1\rX: y") + host + b"\r\n"


def test_no_second_request_hides_in_a_first(street: Street) -> None:
    for mine, theirs in (SLUGS[:2], SLUGS[1::-1]):
        key = street.members[mine].keys["proxy"]
        for request in smuggled(mine, theirs, key):
            assert marks(street.raw(request + LAST, 1.0)) <= {mine}, request
        for slug, member in street.members.items():  # and nobody's next answer is somebody else's
            own = credentials("Authorization", member.keys["proxy"])
            assert marks(street.ask(f"/t/{slug}/v1/models", headers=own).text) == {slug}


def test_a_sleeping_tenant_is_neither_woken_nor_reached_by_a_neighbour(street: Street) -> None:
    """The activator serves everybody over one socket: what is hidden in a request for one must not count for another."""
    theirs, mine = "sep-eve", "sep-ann"
    street.service.cli("tenants", "sleep", theirs)
    key = street.members[mine].keys["proxy"]
    for kind, place in product(street.members[mine].keys, PLACES):
        answer = street.ask(f"/t/{theirs}/v1/models", headers=credentials(place, street.members[mine].keys[kind]))
        assert answer.status_code == 401, (kind, place, answer.text)
    for request in (*smuggled(theirs, mine, key), *smuggled("sep-none", theirs, key), *smuggled(mine, theirs, key)):
        assert marks(street.raw(request + LAST, 1.0)) <= {mine}, request
    assert street.service.cli("tenants", "show", theirs)["status"] == "asleep"
    own = credentials("Authorization", street.members[theirs].keys["proxy"])
    deadline = time.monotonic() + 60
    while (answer := street.ask(f"/t/{theirs}/v1/models", headers=own)).status_code == 503:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert marks(answer.text) == {theirs}


def test_a_container_finds_no_socket_but_its_own(street: Street) -> None:
    service = street.service
    if service.runtime != "docker":
        pytest.skip("processes are no isolation boundary, and the documentation says so")
    program = (
        "import os, stat, json; found = []\n"
        "for folder, _, names in os.walk('/'):\n"
        "    if folder.startswith(('/proc', '/sys')): continue\n"
        "    for name in names:\n"
        "        path = os.path.join(folder, name)\n"
        "        try:\n"
        "            if stat.S_ISSOCK(os.lstat(path).st_mode): found.append(path)\n"
        "        except OSError: pass\n"
        "print(json.dumps(found))"
    )
    for slug in ("sep-ann", "sep-bob"):
        said = docker("exec", service.container(slug), "python", "-c", program)
        assert json.loads(said) == ["/run/stockyard/own.sock"]
        for other in SLUGS:
            path = service.data / "run" / "tenants" / other
            assert (
                docker(
                    "exec", service.container(slug), "python", "-c", f"import os; print(os.path.exists({str(path)!r}))"
                )
                == "False"
            )
