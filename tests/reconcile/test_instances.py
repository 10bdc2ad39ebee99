"""What is made of an instance's answers; whatever is no proper answer counts as none."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from control_plane.config import Config, load_config
from control_plane.domain.tenants import Generation
from control_plane.reconcile import instances
from control_plane.reconcile.instances import SocketInstances
from control_plane.reconcile.ports import Unavailable

Answer = Callable[[str, str, dict[str, str], Any], tuple[int, Any] | bytes]


@pytest.fixture
def config() -> Any:
    folder = Path(tempfile.mkdtemp(prefix="sy"))
    made = load_config({"data": folder}, {})
    made.prepare()
    made.socket_dir("acme").mkdir(parents=True)
    made.instance_file("acme").parent.mkdir(parents=True)
    made.instance_file("acme").write_text(json.dumps({"instance_key": "sy_inst_one"}))
    yield made
    shutil.rmtree(folder)


@asynccontextmanager
async def instance(config: Config, answer: Answer) -> AsyncIterator[SocketInstances]:
    """Something at own.sock that answers so: a status and an object, or raw bytes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        said = answer(method, path, headers, json.loads(body) if body else None)
        if isinstance(said, tuple):
            content = json.dumps(said[1]).encode()
            said = f"HTTP/1.1 {said[0]} X\r\ncontent-length: {len(content)}\r\n\r\n".encode() + content
        writer.write(said)
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(serve, str(config.own_socket("acme")))
    async with server:
        yield SocketInstances(config)


def healthy(method: str, path: str, headers: dict[str, str], body: Any) -> tuple[int, Any]:
    if path == "/ready":
        return 200, {"ready": True, "draining": False, "checks": {}}
    if headers.get("authorization") != "Bearer sy_inst_one":
        return 403, {"error": {"code": "scope_missing", "message": "no"}}
    answers: dict[tuple[str, str], Any] = {
        ("GET", "state"): {"generation": {"incarnation": 1, "number": 4}, "epoch": 2},
        ("PUT", "state"): {"generation": body.get("generation") if body else None, "applied": True},
        ("GET", "activity"): {"in_flight": 1, "streams": 0, "idle_s": 2.5, "last_request_at": "1970-01-01T00:01:40Z"},
        ("POST", "drain"): {"drained": True, "in_flight": 0, "ledger": {"seq": 9, "hash": "cd"}},
        ("POST", "lease"): {"key_lease_left_s": body.get("lease_s") if body else None},
        ("POST", "resume"): {"resumed": True},
        ("POST", "verify"): {"ok": True, "integrity": "ok", "ledger": {"valid": True, "seq": 9, "hash": "cd"}},
        ("GET", "usage"): {"epoch": 2, "requests": 5},
    }
    return 200, answers[method, path.rpartition("/")[2]]


async def test_every_answer_of_a_healthy_instance_is_understood(config: Config) -> None:
    async with instance(config, healthy) as asked:
        probe = await asked.probe("acme")
        assert probe is not None
        assert (probe.ready, probe.draining, probe.generation, probe.epoch) == (True, False, Generation(1, 4), 2)
        activity = await asked.activity("acme")
        assert (activity.in_flight, activity.idle_s, activity.last_request_at) == (1, 2.5, 100.0)
        state = {"generation": {"incarnation": 1, "number": 5}}
        assert await asked.push_state("acme", state) == Generation(1, 5)
        drained = await asked.drain("acme", 1.0)
        assert (drained.drained, drained.ledger_seq, drained.ledger_hash) == (True, 9, "cd")
        await asked.renew_lease("acme", 60.0)
        await asked.resume("acme")
        assert (await asked.verify("acme")).ok
        assert (await asked.usage("acme"))["requests"] == 5


async def test_an_instance_that_drains_is_not_ready(config: Config) -> None:
    def draining(method: str, path: str, headers: dict[str, str], body: Any) -> tuple[int, Any]:
        return (503, {"ready": False, "draining": True}) if path == "/ready" else healthy(method, path, headers, body)

    async with instance(config, draining) as asked:
        probe = await asked.probe("acme")
        assert probe is not None and probe.draining and not probe.ready


async def test_one_that_only_cannot_record_calls_can_be_routed_to(config: Config) -> None:
    """It is at its size limit: it refuses calls itself, and a larger limit must reach it."""

    def full(method: str, path: str, headers: dict[str, str], body: Any) -> tuple[int, Any]:
        checks = {"database": True, "journal": False, "plan": True}
        return (503, {"ready": False, "checks": checks}) if path == "/ready" else healthy(method, path, headers, body)

    async with instance(config, full) as asked:
        probe = await asked.probe("acme")
        assert probe is not None and probe.ready


async def test_one_whose_database_cannot_be_read_is_not_ready(config: Config) -> None:
    def broken(method: str, path: str, headers: dict[str, str], body: Any) -> tuple[int, Any]:
        checks = {"database": False, "journal": True, "plan": True}
        return (503, {"ready": False, "checks": checks}) if path == "/ready" else healthy(method, path, headers, body)

    async with instance(config, broken) as asked:
        probe = await asked.probe("acme")
        assert probe is not None and not probe.ready


async def test_one_that_does_not_accept_the_tenants_key_is_nobody(config: Config) -> None:
    config.instance_file("acme").write_text(json.dumps({"instance_key": "sy_inst_other"}))
    async with instance(config, healthy) as asked:
        assert await asked.probe("acme") is None
        with pytest.raises(Unavailable, match="403"):
            await asked.activity("acme")


async def test_a_new_instance_file_is_read_at_once(config: Config) -> None:
    async with instance(config, healthy) as asked:
        assert await asked.probe("acme") is not None
        making = config.instance_file("acme").with_suffix(".new")
        making.write_text(json.dumps({"instance_key": "sy_inst_other"}))
        making.replace(config.instance_file("acme"))
        assert await asked.probe("acme") is None


async def test_where_nobody_listens_there_is_nobody(config: Config) -> None:
    asked = SocketInstances(config)
    assert await asked.probe("acme") is None
    with pytest.raises(Unavailable):
        await asked.usage("acme")


@pytest.mark.parametrize(
    "rubbish",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffff\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000,
    ],
)
async def test_rubbish_is_no_answer(config: Config, rubbish: bytes) -> None:
    async with instance(config, lambda *_: rubbish) as asked:
        assert await asked.probe("acme") is None
        with pytest.raises(Unavailable):
            await asked.usage("acme")


async def test_an_instance_that_never_answers_is_given_up(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instances, "ASK_S", 0.05)
    silent = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await silent.wait()
        writer.close()

    server = await asyncio.start_unix_server(hold, str(config.own_socket("acme")))
    async with server:
        assert await SocketInstances(config).probe("acme") is None
        silent.set()


async def test_a_chunked_answer_is_put_together(config: Config) -> None:
    chunked = b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{"req\r\nb\r\nuests": 12}\r\n0\r\n\r\n'
    async with instance(config, lambda *_: chunked) as asked:
        assert (await asked.usage("acme"))["requests"] == 12
