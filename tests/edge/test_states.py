"""What the states of a tenant mean to its callers: every cell of the table, through the real Caddy and the activator."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx2
import pytest

from control_plane.config import Config
from control_plane.routing.edge import FolderEdge
from tests.edge.activator_parts import APP_KEY, KEY, PlayedPlane, running_activator, write_snapshot
from tests.edge.scripted_instance import ScriptedInstance

pytestmark = pytest.mark.slow

GOOD = {"Authorization": f"Bearer {KEY}"}
BROWSER = {"Accept": "text/html,application/xhtml+xml"}
OPENAI, ANTHROPIC, OWN = "/v1/chat/completions", "/v1/messages", "/api/status"
ADDRESSES = {"path": ("/t/acme", {}), "host": ("", {"Host": "acme.localhost"})}
RESTING = ("napping", "asleep", "provisioning")


@pytest.fixture
async def plane(config: Config) -> AsyncIterator[PlayedPlane]:
    """A control plane whose wakes are heard; an instance is started and linked by them."""
    instance = ScriptedInstance(config.own_socket("acme"))
    async with AsyncExitStack() as stack, PlayedPlane(config).running() as plane:

        async def start() -> None:
            if not instance.path.exists():
                await stack.enter_async_context(instance)
                await FolderEdge(config).link("acme")

        plane.wake = start
        yield plane
    instance.path.unlink(missing_ok=True)
    await FolderEdge(config).unlink("acme")
    (config.snapshot_dir / "acme.json").unlink(missing_ok=True)


@pytest.fixture(params=ADDRESSES)
async def tenant(
    request: pytest.FixtureRequest, config: Config, edge_url: str, plane: PlayedPlane
) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the tenant's address, by path and by host."""
    prefix, headers = ADDRESSES[request.param]
    async with (
        running_activator(config, socket_name=config.activator_socket.name),
        httpx2.AsyncClient(base_url=edge_url + prefix, headers=headers, timeout=20, trust_env=False) as client,
    ):
        yield client


def put(config: Config, state: str) -> None:
    if state != "unknown":
        write_snapshot(config, state, reason="unpaid <since May>", failure="backup_unreadable")


def code(answer: httpx2.Response, path: str) -> str:
    """The code of a refusal, which must have the shape of the path's dialect."""
    body = answer.json()
    assert ("type" in body) == (path == ANTHROPIC)
    if path == ANTHROPIC:
        assert body["type"] == "error"
    assert body["error"]["status"] == answer.status_code and body["error"]["message"] and body["error"]["type"]
    return str(body["error"]["code"])


@pytest.mark.parametrize("path", [OPENAI, ANTHROPIC, OWN])
@pytest.mark.parametrize("state", RESTING)
async def test_a_good_key_wakes_and_is_answered(
    tenant: httpx2.AsyncClient, config: Config, plane: PlayedPlane, state: str, path: str
) -> None:
    put(config, state)
    assert (await tenant.post(path, content=b"{}", headers=GOOD)).text == "hello"
    assert plane.questions


@pytest.mark.parametrize("path", [OPENAI, ANTHROPIC, OWN])
@pytest.mark.parametrize(
    ("state", "status", "refusal"),
    [
        ("suspended", 403, "tenant_suspended"),
        ("failed", 503, "tenant_unavailable"),
        ("deleted", 404, "no_such_tenant"),
        ("unknown", 404, "no_such_tenant"),
    ],
)
async def test_a_good_key_of_a_tenant_that_cannot_be_woken_is_told_why(
    tenant: httpx2.AsyncClient,
    config: Config,
    plane: PlayedPlane,
    state: str,
    status: int,
    refusal: str,
    path: str,
) -> None:
    put(config, state)
    answer = await tenant.post(path, content=b"{}", headers=GOOD)
    assert (answer.status_code, code(answer, path)) == (status, refusal)
    assert ("retry-after" in answer.headers) == (status == 503)
    assert ("unpaid <since May>" in answer.json()["error"]["message"]) == (state == "suspended")
    assert not plane.questions


@pytest.mark.parametrize("path", [OPENAI, ANTHROPIC, OWN])
@pytest.mark.parametrize("state", [*RESTING, "suspended", "failed", "deleted", "unknown"])
async def test_without_a_good_key_nothing_wakes(
    tenant: httpx2.AsyncClient, config: Config, plane: PlayedPlane, state: str, path: str
) -> None:
    put(config, state)
    gone = state in ("deleted", "unknown")
    for headers in ({}, {"Authorization": "Bearer sk-sy-wrong"}, {"x-api-key": "old"}):
        answer = await tenant.post(path, content=b"{}", headers=headers)
        assert (answer.status_code, code(answer, path)) == ((404, "no_such_tenant") if gone else (401, "unauthorized"))
    assert not plane.questions


@pytest.mark.parametrize(
    ("state", "headers", "status", "refusal"),
    [
        ("asleep", {}, 401, "unauthorized"),
        ("suspended", GOOD, 403, "tenant_suspended"),
        ("failed", GOOD, 503, "tenant_unavailable"),
        ("unknown", GOOD, 404, "no_such_tenant"),
    ],
)
async def test_who_is_refused_while_sending_a_megabyte_is_answered(
    tenant: httpx2.AsyncClient, config: Config, state: str, headers: dict[str, str], status: int, refusal: str
) -> None:
    put(config, state)
    for _ in range(5):
        answer = await tenant.post(OPENAI, content=b"x" * (1 << 20), headers=headers)
        assert (answer.status_code, code(answer, OPENAI)) == (status, refusal)


@pytest.mark.parametrize(
    ("state", "status", "word"),
    [
        ("napping", 200, "asleep"),
        ("asleep", 200, "asleep"),
        ("provisioning", 200, "provisioning"),
        ("suspended", 200, "suspended"),
        ("failed", 503, "failed"),
        ("deleted", 404, None),
        ("unknown", 404, None),
    ],
)
async def test_health_tells_the_state_and_wakes_nobody(
    tenant: httpx2.AsyncClient, config: Config, plane: PlayedPlane, state: str, status: int, word: str | None
) -> None:
    put(config, state)
    for headers in ({}, GOOD):
        answer = await tenant.get("/health", headers=headers)
        assert answer.status_code == status
        if word is None:
            assert code(answer, "/health") == "no_such_tenant"
        else:
            assert answer.json() == {"status": word}
    assert not plane.questions


@pytest.mark.parametrize(
    ("state", "status", "says"),
    [
        ("napping", 401, "is asleep"),
        ("asleep", 401, "is asleep"),
        ("provisioning", 200, "being set up"),
        ("suspended", 403, "is suspended"),
        ("failed", 503, "cannot be started"),
        ("deleted", 404, "No instance answers here"),
        ("unknown", 404, "No instance answers here"),
    ],
)
@pytest.mark.parametrize("path", ["/ui", "/ui/traces"])
async def test_a_browser_at_the_console_gets_a_page(
    tenant: httpx2.AsyncClient,
    config: Config,
    plane: PlayedPlane,
    state: str,
    status: int,
    says: str,
    path: str,
) -> None:
    put(config, state)
    answer = await tenant.get(path, headers=BROWSER)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert says in answer.text
    assert ("<form" in answer.text) == (state in ("napping", "asleep"))
    assert ('http-equiv="refresh"' in answer.text) == (state in ("provisioning", "failed"))
    assert ("unpaid &lt;since May&gt;" in answer.text) == (state == "suspended")
    assert "backup_unreadable" not in answer.text  # for the operator, and for who has a key
    assert "<script" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert not plane.questions


async def test_what_an_open_page_of_the_console_asks_for_wakes_nobody(
    tenant: httpx2.AsyncClient, config: Config, plane: PlayedPlane
) -> None:
    put(config, "asleep")
    for path in ("/ui/events", "/ui/app.js"):
        assert (await tenant.get(path, headers={"Accept": "*/*", "Cookie": "session=1"})).status_code == 401
    assert not plane.questions


@pytest.mark.parametrize("state", ["napping", "asleep", "provisioning"])
async def test_the_form_of_the_page_wakes_the_tenant_and_leads_to_its_console(
    tenant: httpx2.AsyncClient, config: Config, plane: PlayedPlane, state: str
) -> None:
    put(config, state)
    prefix = tenant.base_url.path.rstrip("/")
    if state != "provisioning":
        assert f'action="{prefix}/ui/wake"' in (await tenant.get("/ui", headers=BROWSER)).text
    answer = await tenant.post("/ui/wake", data={"key": APP_KEY}, headers=BROWSER)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{prefix}/ui/")
    assert (await tenant.get("/ui/", headers=BROWSER)).text == "hello"


async def test_the_form_works_also_when_the_tenant_has_woken_meanwhile(
    tenant: httpx2.AsyncClient, config: Config, plane: PlayedPlane
) -> None:
    put(config, "asleep")
    await tenant.get("/v1/models", headers=GOOD)
    assert (await tenant.post("/ui/wake", data={"key": APP_KEY})).status_code == 303
    assert (await tenant.get("/ui/wake")).status_code == 303


@pytest.mark.parametrize("key", ["", "wrong", "old", KEY])
async def test_the_form_takes_only_good_keys_of_the_apps_and_so_many_wrong_ones(
    tenant: httpx2.AsyncClient, config: Config, plane: PlayedPlane, key: str
) -> None:
    put(config, "asleep")
    statuses = [(await tenant.post("/ui/wake", data={"key": key})).status_code for _ in range(11)]
    assert statuses == [401] * 10 + [429]
    limited = await tenant.post("/ui/wake", data={"key": APP_KEY})
    assert (limited.status_code, "hello" in limited.text) == (429, False)
    assert 0 < int(limited.headers["retry-after"]) <= 600
    assert not plane.questions


@pytest.mark.parametrize(("state", "status"), [("suspended", 403), ("failed", 503), ("deleted", 404), ("unknown", 404)])
async def test_the_form_of_a_tenant_that_cannot_be_woken_says_why_whatever_the_key(
    tenant: httpx2.AsyncClient, config: Config, plane: PlayedPlane, state: str, status: int
) -> None:
    put(config, state)
    for key in (APP_KEY, "wrong"):
        assert (await tenant.post("/ui/wake", data={"key": key}, headers=BROWSER)).status_code == status
    assert not plane.questions


async def test_while_the_plane_is_away_strangers_are_refused_and_who_sleeps_must_wait(
    config: Config, edge_url: str
) -> None:
    put(config, "asleep")
    async with (
        running_activator(config, socket_name=config.activator_socket.name),
        httpx2.AsyncClient(base_url=f"{edge_url}/t/acme", timeout=20, trust_env=False) as client,
    ):
        assert (await client.post(OPENAI, content=b"{}")).status_code == 401
        answer = await client.post(ANTHROPIC, content=b"{}", headers=GOOD)
        assert (answer.status_code, code(answer, ANTHROPIC)) == (503, "waking")
        assert int(answer.headers["retry-after"]) >= 1
        page = await client.post("/ui/wake", data={"key": APP_KEY})
        assert (page.status_code, "Waking up" in page.text) == (503, True)
        assert int(page.headers["retry-after"]) >= 1


async def test_while_the_activator_is_away_callers_are_told_to_come_again(config: Config, edge_url: str) -> None:
    async with httpx2.AsyncClient(base_url=f"{edge_url}/t/acme", timeout=20, trust_env=False) as client:
        for path in (OPENAI, ANTHROPIC):
            answer = await client.post(path, content=b"{}", headers=GOOD)
            assert (answer.status_code, code(answer, path)) == (503, "waking")
            assert int(answer.headers["retry-after"]) >= 1
