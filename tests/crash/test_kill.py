"""kill -9 of a whole instance under load, again and again: what clients saw complete is recorded exactly once, and verifies."""

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx2
import pytest

KILLS = 50
CLIENTS = 8
KEY = "sy_admin_" + "k" * 43
ENV = {"PATH": os.environ["PATH"], "STOCKYARD_ADMIN_KEY": KEY}


class Server:
    """One `stockyard serve` on a Unix socket."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "s.sock"
        self.data = folder / "data"
        self.log = (folder / "log").open("ab")

    def start(self) -> None:
        command = [sys.executable, "-m", "instance.cli", "serve", "--uds", str(self.socket), "--data", str(self.data)]
        self.process = subprocess.Popen(command, env=ENV, stdout=self.log, stderr=self.log)

    def client(self) -> httpx2.AsyncClient:
        transport = httpx2.AsyncHTTPTransport(uds=str(self.socket), verify=False)
        return httpx2.AsyncClient(
            transport=transport, base_url="http://instance", headers={"authorization": f"Bearer {KEY}"}
        )

    async def ready(self) -> None:
        async with asyncio.timeout(20):
            while True:
                assert self.process.poll() is None, Path(self.log.name).read_text()
                try:
                    async with self.client() as client:
                        if (await client.get("/ready")).status_code == 200:
                            return
                except httpx2.TransportError:
                    pass
                await asyncio.sleep(0.01)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


async def keep_calling(client: httpx2.AsyncClient, completed: set[str], seed: int) -> None:
    """Calls, whole and streamed, until the server is gone; the trace ids of the answers that arrived whole."""
    chance = random.Random(seed)
    while True:
        stream = chance.random() < 0.5
        body = {
            "model": "mock/gpt",
            "messages": [{"role": "user", "content": f"call {seed}"}],
            "stream": stream,
            "mock": {"delay_ms": chance.choice((0, 0, 1, 5))},
        }
        try:
            answer = await client.post("/v1/chat/completions", json=body)
        except httpx2.TransportError:
            return
        assert answer.status_code == 200, answer.text
        if stream and not answer.text.endswith("data: [DONE]\n\n"):
            return
        completed.add(answer.headers["x-stockyard-trace-id"])


@pytest.mark.slow
async def test_after_fifty_kills_every_completed_call_is_in_traces_and_ledger_exactly_once() -> None:
    chance = random.Random(20260301)
    completed: set[str] = set()
    with tempfile.TemporaryDirectory(prefix="sy") as folder:
        server = Server(Path(folder))
        for kill in range(KILLS):
            server.start()
            await server.ready()
            before = len(completed)
            async with server.client() as client:
                callers = [
                    asyncio.create_task(keep_calling(client, completed, kill * CLIENTS + n)) for n in range(CLIENTS)
                ]
                async with asyncio.timeout(20):
                    while len(completed) < before + CLIENTS:
                        await asyncio.sleep(0)
                await asyncio.sleep(chance.uniform(0, 0.25))
                server.kill()
                await asyncio.gather(*callers)
        server.start()
        await server.ready()
        async with server.client() as client:
            verdict = (await client.get("/api/trust/ledger/verify", timeout=60)).json()
            export = Path(folder) / "ledger.ndjson"
            export.write_bytes((await client.get("/api/trust/export?format=ndjson", timeout=60)).content)
        assert server.stop() == 0
        assert verdict["valid"], verdict
        connection = sqlite3.connect(server.data / "stockyard.db")
        traces = [row[0] for row in connection.execute("SELECT id FROM traces")]
        proofs = [
            row[0] for row in connection.execute("SELECT trace_id FROM ledger WHERE event_type = 'proxy_request'")
        ]
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()
        offline = [sys.executable, "-m", "instance.cli", "verify", str(export)]
        assert (await asyncio.to_thread(subprocess.run, offline, capture_output=True)).returncode == 0
    assert len(completed) > 10 * KILLS
    assert len(traces) == len(set(traces))
    assert sorted(proofs) == sorted(traces)
    assert completed <= set(traces)
