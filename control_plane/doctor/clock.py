"""The wall clock: did somebody set it, and does anybody keep it right?"""

from __future__ import annotations

import ctypes

from control_plane.doctor.finding import Finding, Level, good
from control_plane.doctor.notebook import Clocks

JUMP_WARN_S = 2.0
JUMP_BAD_S = 60.0
TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
TIMEX_BYTES = 512  # struct timex is 208 bytes on 64-bit Linux
RUNBOOK = "ClockJumped"
WHY = "expiry of keys, naps, schedules and restores to a moment all go by it"


def judge_jump(before: Clocks | None, now: Clocks) -> Finding:
    """Did the wall clock pass as much time as the machine did since the last check-up?"""
    if before is None:
        return good("clock", "first check-up: nothing to compare with")
    if before.boot != now.boot:
        jump = min(0.0, now.wall - before.wall)  # how long it was off is not known: only a step back shows
    else:
        jump = (now.wall - before.wall) - (now.since_boot - before.since_boot)
    if abs(jump) < JUMP_WARN_S:
        return good("clock", f"no jump since the last check-up ({jump:+.3f} s)")
    level = Level.BAD if abs(jump) >= JUMP_BAD_S else Level.WARN
    mend = "let chrony or systemd-timesyncd keep it"
    return Finding("clock", level, f"it jumped by {jump:+.1f} s since the last check-up", WHY, mend, "", RUNBOOK)


def is_synchronised() -> bool | None:
    """What the kernel believes of its clock; None where it cannot be asked."""
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(TIMEX_BYTES))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != TIME_ERROR


def judge_synchronised(synchronised: bool | None) -> Finding:
    """Does a time service keep the clock?"""
    if synchronised:
        return good("clock_sync", "kept by a time service")
    seen = "no time service keeps it" if synchronised is False else "the kernel does not say whether it is kept"
    command = "timedatectl set-ntp true" if synchronised is False else ""
    return Finding("clock_sync", Level.WARN, seen, WHY, "run chrony or systemd-timesyncd", command, RUNBOOK)
