"""`python -m bench.wake`: how long a sleeping tenant's caller waits, alone and when very many are called at once.

Starts a whole service (`stockyard-cloud up`, process runtime) in a folder and on ports of its own, and calls its tenants
through the edge. Times are from the request's first byte sent to the answer's first byte received. A tenant's *turn* is
when its instance is started. Prints a table and writes bench/results-wake.json.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from bench.__main__ import machine
from bench.servers import free_port

RESULTS = Path(__file__).parent / "results-wake.json"
COMMAND = str(Path(sys.executable).with_name("stockyard-cloud"))
BODY = json.dumps({"model": "mock/gpt", "messages": [{"role": "user", "content": "good morning"}]}).encode()
STATE_S, CALL_S = 600.0, 120.0
REPEATS_MOST = 10
AT_ONCE = 16  # tenants made or put to sleep
BARS = {"nap": "100 ms (goal 50)", "sleep": "1 s (goal 0.6)"}


@dataclass(frozen=True, slots=True)
class Call:
    """One call: seconds to the first byte, its status, what Retry-After said, and when the first byte came (wall clock)."""

    slug: str
    first_byte_s: float
    status: int
    retry_after_s: int
    at: float


class Service:
    """A running service and its tenants' keys."""

    def __init__(self, data: Path, port: int, edge_port: int) -> None:
        self.data = data
        self.edge_port = edge_port
        self.keys: dict[str, str] = {}
        operator = (data / "operator.key").read_text().strip()
        self._api = httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{port}",
            headers={"Authorization": f"Bearer {operator}"},
            timeout=60,
            trust_env=False,
        )

    async def api(self, method: str, path: str, body: Any = None) -> Any:
        answer = await self._api.request(method, path, json=body)
        answer.raise_for_status()
        return answer.json()

    async def each(self, method: str, path: str, slugs: list[str], body: Any = None) -> None:
        """The same request about each tenant; `{}` in the path is the slug."""
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(slug: str) -> None:
            async with turns:
                await self.api(method, path.format(slug), body)

        await asyncio.gather(*(one(slug) for slug in slugs))

    async def create(self, slugs: list[str]) -> None:
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(slug: str) -> None:
            async with turns:
                self.keys[slug] = (await self.api("POST", "/api/tenants", {"slug": slug}))["api_key"]

        await asyncio.gather(*(one(slug) for slug in slugs))
        await self.until("running", slugs)

    async def until(self, status: str, slugs: list[str]) -> None:
        """Wait until all of these tenants have this status."""
        end = time.monotonic() + STATE_S
        waiting = set(slugs)
        while waiting:
            found = await self.listed(status)
            waiting -= found
            if time.monotonic() > end:
                raise TimeoutError(f"not {status}: {sorted(waiting)[:5]} and {len(waiting)} in all")
            await asyncio.sleep(0.1)

    async def listed(self, status: str) -> set[str]:
        found: set[str] = set()
        offset = 0
        while True:
            page = (await self.api("GET", f"/api/tenants?status={status}&limit=500&offset={offset}"))["tenants"]
            found |= {tenant["slug"] for tenant in page}
            if len(page) < 500:
                return found
            offset += 500

    async def call(self, slug: str) -> Call:
        """A chat call through the edge, on a connection of its own."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.edge_port)
        begun = time.perf_counter()
        writer.write(
            f"POST /t/{slug}/v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
            f"Authorization: Bearer {self.keys[slug]}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(BODY)}\r\n\r\n".encode()
            + BODY
        )
        async with asyncio.timeout(CALL_S):
            head = await reader.readuntil(b"\r\n")
        first_byte_s, at = time.perf_counter() - begun, time.time()
        retry_after_s = 0
        while (line := await reader.readline()).strip():
            name, _, value = line.decode("latin-1").partition(":")
            if name.lower() == "retry-after":
                retry_after_s = int(value)
        await reader.read()
        writer.close()
        return Call(slug, first_byte_s, int(head.split()[1]), retry_after_s, at)

    def started_at(self, slug: str) -> float:
        """When its instance was last started, by the wall clock."""
        found: float = json.loads((self.data / "run" / "instances" / f"{slug}.json").read_text())["started_at"]
        return found

    def memory_mb(self, slugs: list[str]) -> dict[str, float]:
        """Of the instances that run: resident, and what each costs with shared pages shared out."""
        resident, shared_out = [], []
        for slug in slugs:
            pid = json.loads((self.data / "run" / "instances" / f"{slug}.json").read_text())["pid"]
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{pid}/smaps_rollup").read_text()
                found = {line.split(":")[0]: int(line.split()[1]) for line in text.splitlines()[1:]}
                resident.append(found["Rss"] / 1024)
                shared_out.append(found["Pss"] / 1024)
        return {
            "instances": len(resident),
            "rss_median": round(statistics.median(resident), 1),
            "pss_median": round(statistics.median(shared_out), 1),
            "pss_sum": round(sum(shared_out), 1),
        }

    def cpu_s(self) -> dict[str, float]:
        """Processor time used so far by each of the service's own processes."""
        processes = json.loads((self.data / "run" / "up.json").read_text())
        return {name: _cpu_s(pid) for name, (pid, *_) in processes.items()}

    def instances_cpu_s(self, slugs: list[str]) -> float:
        """Of these tenants' instances together, since they were last started."""
        files = [self.data / "run" / "instances" / f"{slug}.json" for slug in slugs]
        return sum(_cpu_s(json.loads(file.read_text())["pid"]) for file in files if file.exists())


def _cpu_s(pid: int) -> float:
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


@contextlib.asynccontextmanager
async def service(settings: dict[str, str]) -> AsyncIterator[Service]:
    """`stockyard-cloud up` in a folder that is removed at the end."""
    data = Path(tempfile.mkdtemp(prefix="sy"))
    port, edge_port = free_port(), free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STOCKYARD_")} | {
        "STOCKYARD_CLOUD_DATA": str(data),
        "STOCKYARD_CLOUD_LISTEN": f"127.0.0.1:{port}",
        "STOCKYARD_CLOUD_EDGE_LISTEN": f"127.0.0.1:{edge_port}",
        **settings,
    }
    process = await asyncio.create_subprocess_exec(
        COMMAND, "up", env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        assert process.stdout is not None
        while b"Ctrl-C" not in (line := await process.stdout.readline()):
            if not line:
                raise RuntimeError("`stockyard-cloud up` ended")
        yield Service(data, port, edge_port)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        await process.wait()
        shutil.rmtree(data, ignore_errors=True)


def spread(seconds: list[float]) -> dict[str, float]:
    """Milliseconds."""
    if not seconds:
        return {"calls": 0}
    ordered = sorted(seconds)

    def at(share: float) -> float:
        return round(1e3 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)

    return {"calls": len(ordered), "min": at(0), "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": at(1)}


async def alone(running: Service, slug: str, status: str, times: int) -> dict[str, float]:
    """One tenant, called when it has come to rest, so many times."""
    found = []
    for _ in range(times):
        if status == "asleep":
            await running.api("POST", f"/api/tenants/{slug}/sleep")
        await running.until(status, [slug])
        await asyncio.sleep(0.3)
        call = await running.call(slug)
        if call.status != 200:
            raise RuntimeError(f"answered {call.status}")
        found.append(call.first_byte_s)
    return spread(found)


async def herd(running: Service, slugs: list[str], within_s: float) -> dict[str, Any]:
    """All of them called within a time, each once; those that are told to come again do so exactly then."""

    async def one(number: int, slug: str) -> list[Call]:
        await asyncio.sleep(within_s * number / len(slugs))
        calls = [await running.call(slug)]
        while calls[-1].status == 503 and len(calls) < REPEATS_MOST:
            await asyncio.sleep(calls[-1].retry_after_s)
            calls.append(await running.call(slug))
        return calls

    begun, used_before = time.time(), running.cpu_s()
    answers = await asyncio.gather(*(one(number, slug) for number, slug in enumerate(slugs)))
    used = {name: round(seconds - used_before[name], 2) for name, seconds in running.cpu_s().items()}
    held = [calls[0] for calls in answers if calls[0].status == 200]
    shed = [(calls[0], calls[1]) for calls in answers if len(calls) > 1]
    turns = [first.at - running.started_at(first.slug) for first in held]
    return {
        "tenants": len(slugs),
        "all_awake_after_s": round(max(calls[-1].at for calls in answers) - begun, 2),
        "request_to_first_byte_ms": spread([call.first_byte_s for call in held]),
        "turn_to_first_byte_ms": spread([each for each in turns if 0 < each < 60]),
        "shed": {
            "calls": len(shed),
            "answered_within_ms": spread([first.first_byte_s for first, _ in shed]),
            "retry_after_s": sorted(first.retry_after_s for first, _ in shed),
            "repeat_status": sorted(again.status for _, again in shed),
            "repeat_ms": spread([again.first_byte_s for _, again in shed]),
        },
        "cpu_s": used | {"instances": round(running.instances_cpu_s(slugs), 2)},
        "other_statuses": sorted({calls[-1].status for calls in answers} - {200}),
    }


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    settings = dict(each.split("=", 1) for each in options.set)
    slugs = [f"t{number:04d}" for number in range(options.tenants)]
    found: dict[str, Any] = {}
    async with service(settings) as running:
        await running.create(slugs[:1])
        found["sleep_alone_ms"] = await alone(running, slugs[0], "asleep", options.times)
        await running.api("PUT", f"/api/tenants/{slugs[0]}", {"idle_nap_s": 1})
        found["nap_alone_ms"] = await alone(running, slugs[0], "napping", options.times)
        await running.create(slugs[1:])
        await running.each("POST", "/api/tenants/{}/sleep", slugs)
        await running.until("asleep", slugs)
        await asyncio.sleep(1)
        found["herd_sleep"] = await herd(running, slugs, options.within)
        found["memory_mb"] = running.memory_mb(slugs)
        if options.nap_herd:
            await running.each("PUT", "/api/tenants/{}", slugs, {"idle_nap_s": 1})
            await running.until("napping", slugs)
            found["herd_nap"] = await herd(running, slugs, options.within)
            found["herd_nap"].pop("turn_to_first_byte_ms")
    return found


def lines(found: dict[str, Any]) -> Iterator[str]:
    """The table."""
    for name, bar in (("nap", BARS["nap"]), ("sleep", BARS["sleep"])):
        yield f"{name}, alone: {_row(found[f'{name}_alone_ms'])}   bar {bar}"
    for name in ("sleep", "nap"):
        if f"herd_{name}" not in found:
            continue
        each = found[f"herd_{name}"]
        yield f"herd of {each['tenants']} from {name}: all awake after {each['all_awake_after_s']} s"
        yield f"  request to first byte: {_row(each['request_to_first_byte_ms'])}"
        if "turn_to_first_byte_ms" in each:
            yield f"  turn to first byte:    {_row(each['turn_to_first_byte_ms'])}"
        shed = each["shed"]
        yield f"  told to come again:    {shed['calls']}"
        if shed["calls"]:
            said = shed["retry_after_s"]
            yield f"    after {said[0]} to {said[-1]} s; the repeat: {_row(shed['repeat_ms'])}, {shed['repeat_status']}"
        yield f"  processor time, s:     {each['cpu_s']}"
        if each["other_statuses"]:
            yield f"  ANSWERED OTHERWISE: {each['other_statuses']}"
    yield f"memory, MB: {found['memory_mb']}"


def _row(row: dict[str, float]) -> str:
    return "  ".join(f"{name} {value}" + (" ms" if name != "calls" else "") for name, value in row.items())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.wake", description=__doc__)
    parser.add_argument("--tenants", type=int, default=100, help="of the herd (100)")
    parser.add_argument("--times", type=int, default=10, help="of each single wake (10)")
    parser.add_argument("--within", type=float, default=1.0, help="seconds in which all are called (1)")
    parser.add_argument("--nap-herd", action="store_true", help="also from a nap")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="environment of the service")
    parser.add_argument("--no-save", action="store_true", help="print only")
    options = parser.parse_args()
    found = asyncio.run(measure(options))
    print("\n".join(lines(found)))
    if not options.no_save:
        RESULTS.write_text(json.dumps({"machine": machine(), **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
