"""One run: tenants, callers, the schedule's faults one after another and over each other, then the verdict."""

from __future__ import annotations

import json
import random
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from tests.chaos.disturbances import Disturbance, Touches, first_answer
from tests.chaos.engine import Engine
from tests.chaos.faults import AMPLE_PLAN, FAULTS, SMALL_PLAN
from tests.chaos.report import Report
from tests.chaos.schedule import Planned, schedule
from tests.chaos.verdict import judge
from tests.chaos.world import TROUBLE, World
from tests.cloud.service import Service, until

HEAL_S = 90.0
WORK_S = 300.0
PLANS = f"""
[plans.{AMPLE_PLAN}]
rpm = 0
requests_month = 0

[plans.{SMALL_PLAN}]
rpm = 0
requests_month = 0
max_database_bytes = {3 << 20}
"""


def run(
    *, minutes: float, tenants: int, seed: int, runtime: str, engine: Engine | None, keep: Path | None = None
) -> Report:
    """Returns what was seen; `violations` of it is empty when everything held, else the logs are put into `keep`."""
    if engine is not None:
        engine.start()
    service = Service(runtime)
    try:
        (service.data / "cloud.toml").write_text(PLANS)
        service.start()
        report = _run(World(service, engine), minutes * 60, tenants, seed)
        if keep is not None and report.violations:
            shutil.copytree(service.data / "logs", keep, dirs_exist_ok=True)
        return report
    finally:
        service.remove()
        if engine is not None:
            engine.remove()


def _run(world: World, seconds: float, tenants: int, seed: int) -> Report:
    chance = random.Random(seed)
    slugs = [f"tenant-{number:02d}" for number in range(tenants)]
    _say(f"creating {tenants} tenants")
    with ThreadPoolExecutor(tenants) as threads:
        made = list(threads.map(lambda slug: world.service.open(slug, plan=AMPLE_PLAN), slugs))
    for tenant in made:
        until(lambda tenant=tenant: tenant.answers(), f"{tenant.slug} answers", HEAL_S)  # type: ignore[misc]
        world.admit(tenant, chance.randrange(1 << 30))
    begun = time.monotonic()
    known = [name for name, fault in FAULTS.items() if world.service.runtime in fault.runtimes]
    if world.engine is None:
        known = [name for name in known if "engine" not in name]
    at_work = [
        _begin(world, planned, begun, begun + seconds)
        for planned in schedule(seed, seconds, known, slugs)
        if _is_time(world, begun + planned.at_s)
    ]
    for thread in at_work:
        thread.join(WORK_S)
        if thread.is_alive():
            world.violations.append(f"{thread.name}: not over after {WORK_S:.0f} s")
    end = begun + seconds
    while time.monotonic() < end:
        time.sleep(0.2)
    for caller in world.callers.values():
        caller.leave()
    for caller in world.callers.values():
        caller.join(70)
    _say("judging")
    judge(world)
    return Report.of(world, seed=seed, seconds=seconds)


def _is_time(world: World, moment: float) -> bool:
    """Wait for it."""
    while (left := moment - time.monotonic()) > 0:
        time.sleep(min(left, 0.2))
    return True


def _begin(world: World, planned: Planned, begun: float, end: float) -> threading.Thread:
    thread = threading.Thread(
        target=_carry_out, args=(world, planned, begun, end), name=f"{planned.fault} ({planned.victim})", daemon=True
    )
    thread.start()
    return thread


def _carry_out(world: World, planned: Planned, begun: float, end: float) -> None:
    """Do it as soon as its tenant, or the shared parts, are no other fault's; then wait until all it touched is well.

    One whose turn comes only after the end is left out.
    """
    fault = FAULTS[planned.fault]
    victim = planned.victim if fault.has_victim else ""
    with world.one_at_a_time[victim]:
        if time.monotonic() > end:
            return
        seen = Disturbance(planned.fault, fault.touches, victim, begun=time.monotonic())
        world.disturbances.append(seen)
        _say(f"{seen.begun - begun:6.1f} s  {planned.fault}{f': {victim}' if victim else ''}")
        try:
            fault.do(world, planned.victim)
        except Exception as problem:  # whatever it is, it is a finding of this run
            seen.trouble = f"{type(problem).__name__}: {problem}"
        seen.ended = time.monotonic()
        _wait_until_well(world, seen)
        well = max(seen.healed.values(), default=seen.ended)
        _say(
            f"{well - begun:6.1f} s  over: {planned.fault} ({victim}), of {seen.begun - begun:.1f}, done {seen.ended - begun:.1f} s"
        )
        if seen.trouble:
            world.violations.append(f"{planned.fault} ({planned.victim}): {seen.trouble}")
            _say(f"{world.violations[-1]} {_state(world, victim)}")


def _wait_until_well(world: World, seen: Disturbance) -> None:
    touched = list(world.callers) if seen.touches is Touches.EVERYBODY else [seen.victim] if seen.victim else []
    end = time.monotonic() + HEAL_S
    for slug in touched:
        while (answer := first_answer(world.calls(slug), slug, seen.ended)) is None:
            if time.monotonic() > end:
                seen.healed[slug] = time.monotonic()
                seen.trouble = seen.trouble or f"{slug} did not answer for {HEAL_S:.0f} s"
                break
            time.sleep(0.1)
        else:
            seen.healed[slug] = answer.ended


def _state(world: World, slug: str) -> str:
    """What the control plane shows of a tenant now, and the latest of its events."""
    if not slug:
        return ""
    try:
        shown = world.service.api("GET", f"/api/tenants/{slug}").json()
        events = world.service.api("GET", f"/api/tenants/{slug}/events", params={"limit": 12}).json()
    except TROUBLE as problem:
        return f"(the control plane does not say: {problem!r})"
    return json.dumps({"tenant": shown, "events": events})


def _say(what: str) -> None:
    now = datetime.now(UTC)
    print(f"{now:%H:%M:%S}.{now.microsecond // 1000:03d} {what}", flush=True)
