"""`make bench`: the proxy against a direct call, on this machine, in one run. Prints a table and writes bench/results.json."""

from __future__ import annotations

import asyncio
import contextlib
import json
import platform
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import chain
from bench.measure import many_connections, one_connection
from bench.servers import SERVER_CORE, cpu_s, free_port, process, rss_mb, stockyard, upstream, wait_port
from instance.chute.discovery import builtin_names
from instance.chute.order import ON_BY_DEFAULT

RESULTS = Path(__file__).parent / "results.json"
ROOT = Path(__file__).parent.parent
FIRST_MODULES = frozenset(
    [
        "errornorm",
        "tracelink",
        "llmtap",
        "ipfence",
        "rateshield",
        "secretscan",
        "promptslim",
        "cachelayer",
        "costcap",
        "retry",
        "timeout",
    ]
)
"""The modules that the bars of the first column were set with."""
FOLD_INTERVAL_S = 0.1
"""Within which the design has every record folded: what is left in the journal after it is backlog."""


def machine() -> dict[str, Any]:
    """What it ran on."""
    cpu = ""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
                break
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=ROOT)
    dirty = subprocess.run(
        ["git", "status", "--porcelain", "--", "instance", "bench"], capture_output=True, text=True, cwd=ROOT
    )
    return {
        "cpu": cpu,
        "cores": len(__import__("os").sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "commit": commit.stdout.strip() + ("+changes" if dirty.stdout.strip() else ""),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def get(port: int, path: str, key: str) -> Any:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def journal_bytes(port: int, key: str) -> int:
    return int(get(port, "/api/status", key)["journal"]["bytes"])


def measure_floor(upstream_port: int) -> dict[str, float]:
    port = free_port()
    with process([sys.executable, "-m", "bench.floor", "--port", str(port)], SERVER_CORE, cwd=ROOT) as child:
        wait_port(port, child)
        result = one_floor(upstream_port, port)
        result["rss_mb"] = rss_mb(child.pid)
        many = many_connections(port, "gpt-4o-mini", "", stream=False, seconds=3)
        return result | {"requests_per_s": many["requests_per_s"]}


def one_floor(upstream_port: int, port: int) -> dict[str, float]:
    from bench.load import chat_request
    from bench.measure import _median_us, paired

    direct, floor = paired(chat_request(upstream_port, "gpt-4o-mini"), chat_request(port, "gpt-4o-mini"), 10, 100)
    return {"whole_us": _median_us([end for _, end in floor]), "upstream_us": _median_us([end for _, end in direct])}


def measure_stockyard(upstream_port: int, seconds: float) -> dict[str, Any]:
    with stockyard(upstream_port) as (port, pid, key, admin):
        time.sleep(1.0)
        idle_mb = rss_mb(pid)
        enabled = get(port, "/api/proxy/modules?enabled=true", admin)
        result: dict[str, Any] = {"idle_rss_mb": idle_mb, "modules_on": enabled["enabled_count"]}
        result["one"] = one_connection(upstream_port, port, "gpt-4o-mini", "gpt-4o-mini", key)
        settle(port, admin)
        for name, streamed in (("many_whole", False), ("many_stream", True)):
            before, cpu = journal_bytes(port, admin), cpu_s(pid)
            with JournalWatch(port, admin) as journal:
                many = many_connections(port, "gpt-4o-mini", key, stream=streamed, seconds=seconds)
            time.sleep(FOLD_INTERVAL_S)
            many["journal_before_bytes"], many["journal_after_bytes"] = before, journal_bytes(port, admin)
            many["journal_first_bytes"], many["journal_last_bytes"] = journal.first_and_last()
            many["cpu_us_per_request"] = (cpu_s(pid) - cpu) * 1e6 / max(1, many["requests"] * (seconds + 0.5) / seconds)
            settle(port, admin)
            result[name] = many
        result["rss_after_mb"] = rss_mb(pid)
        return result


class JournalWatch:
    """Looks at the journal's length four times a second while the load runs: whether a backlog grows under it."""

    def __init__(self, port: int, key: str) -> None:
        self._port, self._key = port, key
        self._seen: list[int] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> JournalWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.25):
            self._seen.append(journal_bytes(self._port, self._key))

    def first_and_last(self) -> tuple[int, int]:
        """Medians of the first and of the last third of what was seen, in bytes, those of the start and the end left out."""
        seen = [size for size in self._seen if size]
        third = max(1, len(seen) // 3)
        return round(statistics.median(seen[:third])), round(statistics.median(seen[-third:]))


def measure_first_modules(upstream_port: int) -> dict[str, float]:
    """The same with the first eleven modules at their defaults and no other on."""
    others = sorted(name for name in ON_BY_DEFAULT & builtin_names().keys() if name not in FIRST_MODULES)
    config = "\n".join(f"[modules.{name}]\nenabled = false" for name in others)
    with stockyard(upstream_port, config) as (port, _, key, _admin):
        time.sleep(1.0)
        one = one_connection(upstream_port, port, "gpt-4o-mini", "gpt-4o-mini", key)
        many = many_connections(port, "gpt-4o-mini", key, stream=False, seconds=3)
        return one | {"requests_per_s": many["requests_per_s"]}


def settle(port: int, admin: str, seconds: float = 60) -> float:
    """Wait until the journal is folded; how long that took."""
    started = time.monotonic()
    while journal_bytes(port, admin) and time.monotonic() - started < seconds:
        time.sleep(0.05)
    return time.monotonic() - started


def main() -> None:
    seconds = 5.0
    result: dict[str, Any] = {"machine": machine()}
    print("chain …", file=sys.stderr)
    result["chain"] = asyncio.run(chain.both())
    with upstream() as upstream_port:
        print("floor …", file=sys.stderr)
        result["floor"] = measure_floor(upstream_port)
        print("stockyard …", file=sys.stderr)
        result["stockyard"] = measure_stockyard(upstream_port, seconds)
        print("the first eleven modules alone …", file=sys.stderr)
        result["first_modules"] = measure_first_modules(upstream_port)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    chain.RESULTS.write_text(json.dumps({"machine": result["machine"], **result["chain"]}, indent=2) + "\n")
    report(result)
    print()
    chain.print_table(result["chain"])


def report(result: dict[str, Any]) -> None:
    """The table: figure, measured, and the two bars of the design."""
    ours, chained = result["stockyard"], result["chain"]
    one, whole, streamed = ours["one"], ours["many_whole"], ours["many_stream"]
    on = ours["modules_on"]
    rows = [
        (
            f"chain, {chained['defaults']['modules']} modules (defaults), median",
            f"{chained['defaults']['cases']['whole']['p50_us'] / 1000:.3f} ms",
            "",
            "",
        ),
        (
            f"chain, all {chained['all_plain']['modules']} modules on as at first, median",
            f"{chained['all_plain']['cases']['whole']['p50_us'] / 1000:.3f} ms",
            "",
            "",
        ),
        (
            f"chain, all {chained['all_on']['modules']} modules on and at work, median",
            f"{chained['all_on']['cases']['whole']['p50_us'] / 1000:.3f} ms",
            "0.12 ms",
            "0.05 ms",
        ),
        (f"added, one connection, {on} modules on", f"{one['whole_added_us'] / 1000:.3f} ms", "0.35 ms", "0.20 ms"),
        ("added to a stream's first byte", f"{one['stream_added_us'] / 1000:.3f} ms", "0.40 ms", "0.25 ms"),
        ("added to a 400 KB prompt", f"{one['prompt_400kb_added_us'] / 1000:.2f} ms", "3 ms", "2 ms"),
        ("requests/s, 64 connections, one core", f"{whole['requests_per_s']:.0f}", "5000", "10000"),
        (
            "  journal before; 0.1 s after the last answer",
            f"{whole['journal_before_bytes']}; {whole['journal_after_bytes']}",
            "no longer",
            "no longer",
        ),
        (
            "  under load: first and last third, KB",
            f"{whole['journal_first_bytes'] / 1000:.0f}; {whole['journal_last_bytes'] / 1000:.0f}",
            "",
            "",
        ),
        (
            "with the first eleven modules alone: added",
            f"{result['first_modules']['whole_added_us'] / 1000:.3f} ms",
            "0.35 ms",
            "0.20 ms",
        ),
        (
            "  to a stream's first byte; requests/s",
            f"{result['first_modules']['stream_added_us'] / 1000:.3f} ms; {result['first_modules']['requests_per_s']:.0f}",
            "",
            "",
        ),
        ("  failed", f"{whole['failed'] + streamed['failed']}", "0", "0"),
        ("streams/s, 64 connections, one core", f"{streamed['requests_per_s']:.0f}", "", ""),
        ("idle memory", f"{ours['idle_rss_mb']:.0f} MB", "90 MB", "80 MB"),
        ("memory after the load", f"{ours['rss_after_mb']:.0f} MB", "", ""),
        ("floor: bare uvicorn, one connection", f"{result['floor']['whole_us'] / 1000:.3f} ms", "", ""),
        ("floor: bare uvicorn, requests/s", f"{result['floor']['requests_per_s']:.0f}", "", ""),
    ]
    print(f"{'figure':<46}{'measured':>20}{'first':>10}{'goal':>10}")
    for name, measured, first, goal in rows:
        print(f"{name:<46}{measured:>20}{first:>10}{goal:>10}")
    info = result["machine"]
    print(f"{info['cpu']}, {info['cores']} cores, Python {info['python']}, commit {info['commit'][:12]}, {info['at']}")


if __name__ == "__main__":
    main()
