"""Killed in the middle: everything is as it should be within seconds."""

from __future__ import annotations

import json
import os
import signal
import threading

import openai
import pytest

from tests.cloud.service import Service, Tenant, until

pytestmark = pytest.mark.slow


def test_the_control_plane_killed_during_provisioning_finishes_it_afterwards(service: Service) -> None:
    made = service.cli("tenants", "create", "interrupted")
    os.kill(service.pid("serve"), signal.SIGKILL)
    tenant = Tenant(service, made)
    until(service.plane_answers, "the control plane is back")
    tenant.becomes("running")
    assert tenant.say("whole") == "echo: whole"


def test_an_instance_killed_under_load_is_back_with_every_answered_call_once(service: Service) -> None:
    tenant = service.create("loaded")
    answered: list[str] = []
    lost: list[BaseException] = []
    enough = threading.Event()

    def call_and_call() -> None:
        client = tenant.openai()
        while not enough.is_set():
            try:
                raw = client.chat.completions.with_raw_response.create(
                    model="mock/gpt", messages=[{"role": "user", "content": "x"}]
                )
                answered.append(raw.headers["x-stockyard-trace-id"])
            except openai.APIError as error:
                lost.append(error)

    callers = [threading.Thread(target=call_and_call) for _ in range(4)]
    for caller in callers:
        caller.start()
    try:
        for _ in range(3):
            _more(answered)
            os.kill(service.instance_pid("loaded"), signal.SIGKILL)
        _more(answered)
    finally:
        enough.set()
        for caller in callers:
            caller.join(60)
    statuses = {getattr(error, "status_code", None) for error in lost}
    # None: an answer that was cut while it was being sent.
    assert statuses <= {502, 503, None}, lost
    until(lambda: set(answered) <= {trace["id"] for trace in tenant.all_traces()}, "every answered call has its trace")
    ids = [trace["id"] for trace in tenant.all_traces()]
    assert len(ids) == len(set(ids))
    assert tenant.ledger_verdict()["valid"] is True


def _more(answered: list[str]) -> None:
    target = len(answered) + 20
    until(lambda: len(answered) >= target, "calls are answered")


@pytest.mark.parametrize("name", ["activator", "edge", "litestream"])
def test_a_killed_part_of_the_service_comes_back(service: Service, acme: Tenant, name: str) -> None:
    before = service.pid(name)
    os.kill(before, signal.SIGKILL)

    def is_back() -> bool:
        try:
            return service.pid(name) != before
        except (KeyError, json.JSONDecodeError):
            return False

    until(is_back, f"{name} is back")

    def answers() -> bool:
        try:
            return acme.say("there") == "echo: there"
        except openai.APIConnectionError:
            return False

    until(answers, "calls are answered")
    service.cli("tenants", "sleep", "acme")
    acme.becomes("asleep")
    assert acme.say("awake") == "echo: awake"
