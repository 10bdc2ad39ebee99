"""What a tenant takes of a machine: `python -m bench.tenants [--runtime process] [--tenants 8]`, table here, JSON beside it.

A whole service is started in a folder of its own, tenants are made and called a few times, and then everything is measured
while nobody calls: awake, napping, asleep. Memory is the proportional share (PSS), so that what processes share is counted
once; CPU is that of all processes over a while; disk is what is allocated, the copies apart.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.__main__ import machine
from tests.cloud.service import Service, Tenant, until

RESULTS = Path(__file__).parent / "results-tenants.json"
CALLS = 20
WINDOW_S = 20.0
STATES = ("awake", "napping", "asleep")
MB = 1e6


def main() -> None:
    """Measure each runtime, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runtime", action="append", choices=("process", "docker"))
    parser.add_argument("--tenants", type=int, default=8)
    parser.add_argument("--window", type=float, default=WINDOW_S, help="seconds over which CPU is counted")
    asked = parser.parse_args()
    runtimes = asked.runtime or ["process", *(["docker"] if shutil.which("docker") else [])]
    found = {each: measure(each, asked.tenants, asked.window) for each in runtimes}
    RESULTS.write_text(json.dumps({"machine": machine(), "runtimes": found}, indent=2) + "\n")
    for name, figures in found.items():
        print(
            f"\n{name}: service without tenants {figures['service_mb']:.0f} MB, {figures['service_cpu_percent']:.2f} % CPU"
        )
        print(f"{'each tenant':12} {'memory MB':>10} {'service MB':>11} {'CPU %':>7}")
        for state in STATES:
            row = figures[state]
            print(f"{state:12} {row['memory_mb']:10.1f} {row['service_mb']:11.2f} {row['cpu_percent']:7.3f}")
        print(f"disk, {CALLS} calls in: {figures['disk_mb']:.2f} MB of data, {figures['replica_mb']:.2f} MB of copies")
        print(f"descriptors: litestream {figures['litestream_descriptors']:.1f} a tenant that is awake")


def measure(runtime: str, count: int, window_s: float) -> dict[str, Any]:
    """Every figure of one runtime, per tenant where not said otherwise."""
    long = {f"STOCKYARD_CLOUD_PLANS_FREE_IDLE_{what}_S": "86400" for what in ("NAP", "SLEEP")}
    service = Service(runtime, **long)
    try:
        service.start()
        base_mb, base_cpu = _service_mb(service), _cpu_percent(lambda: _service_pids(service), window_s)
        base_descriptors = _descriptors(service.pid("litestream"))
        tenants = [service.create(f"tenant-{number}") for number in range(count)]
        for tenant in tenants:
            for number in range(CALLS):
                tenant.say(f"call {number}")
        figures: dict[str, Any] = {"tenants": count, "service_mb": base_mb, "service_cpu_percent": base_cpu}
        for state in STATES:
            _bring_to(service, tenants, state)
            if state == "awake":
                held = _descriptors(service.pid("litestream")) - base_descriptors
                figures["litestream_descriptors"] = held / count
            figures[state] = _state(service, tenants, base_mb, base_cpu, window_s)
        figures["disk_mb"] = sum(_allocated(each.volume) for each in tenants) / count / MB
        figures["replica_mb"] = _allocated(service.data / "replicas" / "tenants") / count / MB
        return figures
    finally:
        service.remove()


def _bring_to(service: Service, tenants: list[Tenant], state: str) -> None:
    if state == "awake":
        return
    for tenant in tenants:
        if state == "napping":
            service.api("PUT", f"/api/tenants/{tenant.slug}", json={"idle_nap_s": 1})
        else:
            service.cli("tenants", "sleep", tenant.slug)
    for tenant in tenants:
        until(lambda tenant=tenant: tenant.show()["status"] == state, f"{tenant.slug} is {state}")  # type: ignore[misc]


def _state(
    service: Service, tenants: list[Tenant], base_mb: float, base_cpu: float, window_s: float
) -> dict[str, float]:
    time.sleep(2.0)  # what the last change left to do is none of the state's
    count = len(tenants)
    cpu = _cpu_percent(lambda: _service_pids(service) | _instance_pids(service, tenants), window_s)
    return {
        "memory_mb": sum(_pss(pid) for pid in _instance_pids(service, tenants)) / count / MB,
        "service_mb": max(0.0, (_service_mb(service) - base_mb) / count),
        "cpu_percent": max(0.0, (cpu - base_cpu) / count),
    }


def _service_mb(service: Service) -> float:
    return sum(_pss(pid) for pid in _service_pids(service)) / MB


def _service_pids(service: Service) -> set[int]:
    """Supervisor and its four; of the Docker engine, which others may use too, its CPU would be theirs as well."""
    found = json.loads((service.data / "run" / "up.json").read_text())
    assert service.process is not None
    return {service.process.pid, *(pid for pid, _ in found.values())}


def _instance_pids(service: Service, tenants: list[Tenant]) -> set[int]:
    """Processes of instances; with Docker those in the container, and the shim that the container needs."""
    if service.runtime == "process":
        records = [json.loads(path.read_text()) for path in (service.data / "run" / "instances").glob("*.json")]
        return {record["pid"] for record in records if record["pid"] and Path(f"/proc/{record['pid']}").exists()}
    found: set[int] = set()
    for tenant in tenants:
        container = service.container(tenant.slug)
        if not container:
            continue
        asked = ["docker", "inspect", "--format", "{{.State.Pid}}", container]
        pid = int(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)
        if pid:
            found |= {pid, int(_stat(pid)[1]), *_children(pid)}
    return found


def _children(pid: int) -> Iterator[int]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (fields := _stat(int(folder.name))) and fields[1] == str(pid):
            yield int(folder.name)


def _cpu_percent(pids: Any, window_s: float) -> float:
    """Of one core, over the window, by the processes that live through it."""
    before = {pid: _cpu_s(pid) for pid in pids()}
    time.sleep(window_s)
    return sum(max(0.0, _cpu_s(pid) - used) for pid, used in before.items()) / window_s * 100


def _cpu_s(pid: int) -> float:
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def _allocated(folder: Path) -> int:
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))


if __name__ == "__main__":
    main()
