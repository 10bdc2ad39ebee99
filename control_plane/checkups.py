"""Check-ups of a running plane: on request, and by itself every few minutes, so that its metrics can tell."""

from __future__ import annotations

import asyncio
import logging
import time
from itertools import count

from control_plane.api.plane import Plane
from control_plane.doctor.examine import examine, worst
from control_plane.doctor.finding import Finding, Level
from control_plane.doctor.subject import Subject

FIRST_S = 30.0
EVERY_S = 300.0
THOROUGH_EVERY = 288  # check-ups, which is a day
log = logging.getLogger(__name__)


async def examine_plane(plane: Plane, *, thorough: bool = True) -> list[Finding]:
    """Every finding, now; the newest of each name is remembered."""
    loop = plane.reconciler.status() if plane.reconciler is not None else None
    subject = Subject(plane.config, plane.database.read, loop, plane_runs=True, now=time.time())
    findings = await examine(subject, thorough=thorough)
    plane.levels = worst(findings) if thorough else plane.levels | worst(findings)
    return findings


async def keep_examining(plane: Plane) -> None:
    """A check-up every few minutes, for ever, a thorough one a day; what became bad since the last is in the log."""
    await asyncio.sleep(FIRST_S)
    known: set[str] = set()
    for number in count():
        found = await examine_plane(plane, thorough=number % THOROUGH_EVERY == 0)
        bad = [each for each in found if each.level is Level.BAD]
        for each in bad:
            if each.name not in known:
                log.error("doctor: %s: %s", each.name, each.seen)
        known = {each.name for each in bad}
        await asyncio.sleep(EVERY_S)
