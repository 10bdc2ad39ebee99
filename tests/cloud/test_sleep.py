"""Naps and sleep, and what wakes."""

from __future__ import annotations

import threading

import openai
import pytest

from tests.cloud.service import Service, Tenant, until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def napper(service: Service) -> Tenant:
    """A tenant that naps after a second without calls."""
    tenant = service.create("napper")
    answer = service.api("PUT", "/api/tenants/napper", json={"idle_nap_s": 1})
    assert answer.status_code == 200, answer.text
    return tenant


def _asleep(tenant: Tenant) -> None:
    tenant.service.cli("tenants", "sleep", tenant.slug)
    tenant.becomes("asleep")


def test_a_call_wakes_a_sleeping_tenant_and_its_old_traces_are_there(acme: Tenant) -> None:
    acme.say("before")
    before = until(acme.traces, "the call is in the traces")
    _asleep(acme)
    assert acme.say("after") == "echo: after"
    assert {trace["id"] for trace in before} <= {trace["id"] for trace in acme.traces()}
    assert acme.show()["status"] == "running"


def test_a_stream_wakes_a_sleeping_tenant(acme: Tenant) -> None:
    _asleep(acme)
    chunks = acme.openai(by_host=True).chat.completions.create(
        model="mock/gpt", messages=[{"role": "user", "content": "good morning"}], stream=True
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "echo: good morning"


def test_a_wrong_key_gets_401_and_the_tenant_stays_asleep(acme: Tenant) -> None:
    _asleep(acme)
    with pytest.raises(openai.AuthenticationError):
        acme.openai(key="sk-sy-wrong").chat.completions.create(
            model="mock/gpt", messages=[{"role": "user", "content": "x"}]
        )
    assert acme.get("/health").json() == {"status": "asleep"}
    assert acme.show()["status"] == "asleep"


def test_a_call_ends_a_nap(napper: Tenant) -> None:
    napper.say("before")
    napper.becomes("napping")
    assert napper.say("after") == "echo: after"


def test_a_wrong_key_does_not_end_a_nap(napper: Tenant) -> None:
    napper.say("before")
    napper.becomes("napping")
    with pytest.raises(openai.AuthenticationError):
        napper.openai(key="sk-sy-wrong").chat.completions.create(
            model="mock/gpt", messages=[{"role": "user", "content": "x"}]
        )
    assert napper.show()["status"] == "napping"


def test_with_the_control_plane_down_calls_go_on_and_naps_end(service: Service, acme: Tenant, napper: Tenant) -> None:
    acme.say("awake")
    napper.say("before")
    napper.becomes("napping")
    let_it_come_back = service.freeze_plane()
    try:
        assert acme.say("still there") == "echo: still there"
        assert napper.say("resumed") == "echo: resumed"
        with pytest.raises(openai.AuthenticationError):
            napper.openai(key="sk-sy-wrong").chat.completions.create(
                model="mock/gpt", messages=[{"role": "user", "content": "x"}]
            )
    finally:
        let_it_come_back()
    until(service.plane_answers, "the control plane is back")
    assert acme.say("and after") == "echo: and after"


def test_a_sleep_in_the_middle_of_traffic_loses_no_call(acme: Tenant) -> None:
    enough = threading.Event()
    said: list[str] = []
    failed: list[Exception] = []

    def keep_calling() -> None:
        while not enough.is_set():
            try:
                said.append(acme.say("on and on"))
            except openai.APIError as error:
                failed.append(error)

    callers = [threading.Thread(target=keep_calling) for _ in range(3)]
    for caller in callers:
        caller.start()
    try:
        for _ in range(4):
            answered = len(said) + 10
            until(lambda answered=answered: len(said) >= answered, "calls are answered")  # type: ignore[misc]
            assert acme.service.api("POST", "/api/tenants/acme/sleep").status_code == 202
        answered = len(said) + 10
        until(lambda: len(said) >= answered, "calls are answered after the last sleep")
    finally:
        enough.set()
        for caller in callers:
            caller.join(60)
    assert not failed
    assert set(said) == {"echo: on and on"}
