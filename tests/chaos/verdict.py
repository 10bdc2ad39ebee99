"""After the faults: what must hold of every tenant, and of every call that was made."""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from tests.chaos.disturbances import OK, touched_by, windows
from tests.chaos.world import World
from tests.cloud.service import INSTANCE_COMMAND, Tenant, docker, until

ANSWER_S = 60.0
FOLD_S = 20.0
# What a caller may meet while its tenant is hit; anything else is a mistake whenever it comes.
OF_FAULTS = frozenset(("instance_lost", "waking", "tenant_unavailable", "cut", "not_connected", "audit_unavailable"))
SHOWN_AT_MOST = 30


def judge(world: World) -> None:
    """Append to `world.violations` whatever does not hold."""
    world.violations += _failures(world)
    traces: dict[str, list[dict[str, Any]]] = {}
    for slug, caller in world.callers.items():
        tenant = caller.tenant
        try:
            until(tenant.answers, f"{slug} answers", ANSWER_S)
            world.violations += _ledger(tenant)
            traces[slug] = _recorded(world, tenant)
        except AssertionError as problem:
            world.violations.append(f"{slug}: {problem}")
    world.violations += _belong(world, traces)
    world.violations += _service(world)


def _failures(world: World) -> list[str]:
    """Calls that failed although nothing touched their tenant, or in a way that no fault explains."""
    of = {slug: windows(slug, world.disturbances) for slug in world.callers}
    found = []
    for call in world.calls():
        if call.code == OK:
            continue
        if not touched_by(call, of):
            found.append(f"a call to {call.tenant}, which was not hit, failed: {_told(world, call.code, call)}")
        elif call.code not in OF_FAULTS:
            found.append(f"a call to {call.tenant} failed in no documented way: {_told(world, call.code, call)}")
    return _few(found)


def _told(world: World, code: str, call: Any) -> str:
    first = min((each.begun for each in world.disturbances), default=call.begun)
    kind = "stream" if call.streamed else "whole"
    return (
        f"{code} ({kind}, {call.begun - first:.2f} to {call.ended - first:.2f} s after the first fault, {call.nonce})"
    )


def _ledger(tenant: Tenant) -> list[str]:
    """Verified by the instance, and again offline from an export."""
    found = []
    verdict = tenant.ledger_verdict()
    if verdict.get("valid") is not True:
        found.append(f"the ledger of {tenant.slug} does not verify: {verdict}")
    export = tenant.service.data / f"{tenant.slug}.ndjson"
    export.write_bytes(tenant.get("/api/trust/export").content)
    offline = subprocess.run(
        [INSTANCE_COMMAND, "verify", export, "--json"], capture_output=True, text=True, timeout=60, check=False
    )
    if offline.returncode != 0:
        found.append(f"the exported ledger of {tenant.slug} does not verify: {offline.stdout}{offline.stderr}")
    return found


def _recorded(world: World, tenant: Tenant) -> list[dict[str, Any]]:
    """All its traces, as soon as every call that must be in them is."""
    kept = {call.trace_id for call in world.must_be_kept(tenant.slug).values()}
    end = time.monotonic() + FOLD_S
    while True:
        traces = tenant.all_traces()
        missing = kept - {each["id"] for each in traces}
        if not missing or time.monotonic() > end:
            break
        time.sleep(0.2)
    calls = {call.trace_id: call for call in world.calls(tenant.slug)}
    world.violations += _few(
        [f"a completed call is not in the traces of {tenant.slug}: {_told(world, OK, calls[each])}" for each in missing]
    )
    return traces


def _belong(world: World, traces: Mapping[str, list[dict[str, Any]]]) -> list[str]:
    """Each call in the traces of its own tenant alone, and made once: nobody repeated it on its way."""
    found = []
    seen = Counter(each["id"] for these in traces.values() for each in these)
    found += [f"trace {trace_id} exists {times} times" for trace_id, times in seen.items() if times > 1]
    for slug, these in traces.items():
        own = {call.nonce for call in world.calls(slug)}
        nonces = Counter(each["session_id"] for each in these if each["session_id"])
        found += [f"{slug} has the call {nonce} of another" for nonce in nonces if not nonce.startswith(f"{slug}.")]
        found += [f"the call {nonce} was made {nonces[nonce]} times" for nonce in own if nonces[nonce] > 1]
    return _few(found)


def _service(world: World) -> list[str]:
    """The control plane's own ledger verifies, and nothing runs beside the tenants' instances."""
    found = []
    verdict = world.service.cli("ledger", "verify")
    if verdict.get("valid") is not True:
        found.append(f"the control plane's ledger does not verify: {json.dumps(verdict)}")
    if world.service.runtime == "docker":
        containers = docker("ps", "-aq", "--filter", f"label=stockyard.owner={world.service.data}").split()
        if len(containers) != len(world.callers):
            found.append(f"{len(containers)} containers for {len(world.callers)} tenants")
    return found


def _few(found: list[str]) -> list[str]:
    """The first of many alike."""
    more = [f"… and {len(found) - SHOWN_AT_MOST} more like these"] if len(found) > SHOWN_AT_MOST else []
    return found[:SHOWN_AT_MOST] + more
