"""The reconciler: does it run, does it come round, and what stands in its way?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from control_plane.doctor.finding import Finding, Level, good
from control_plane.doctor.subject import Subject

SINCE_PASS_BAD_S = 60.0
REASONS_MOST = 5
REASON_LENGTH = 100
WHY = "what is asked of tenants is not done, and what breaks is not mended"


def judge_loop(subject: Subject) -> list[Finding]:
    """Running, passing, and who waits for another try."""
    if not subject.plane_runs:
        seen = "the control plane does not answer: awake tenants are served on, nothing is mended"
        command = "stockyard-cloud up"
        return [Finding("reconciler", Level.BAD, seen, WHY, "start it; logs/control-plane.log", command, "PlaneDown")]
    if subject.reconciler is None:
        mend = "run `stockyard-cloud serve` or `up`"
        seen = "no loop runs in this process"
        return [Finding("reconciler", Level.BAD, seen, WHY, mend, "stockyard-cloud up", "ReconcilerStuck")]
    return [judge_passes(subject.reconciler), judge_back_offs(subject.reconciler)]


def judge_passes(status: Mapping[str, Any]) -> Finding:
    """Does it come round?"""
    since = status.get("since_pass_s")
    if status.get("paused"):
        command = "curl -X POST -H 'Authorization: Bearer KEY' http://127.0.0.1:4300/api/reconciler/resume"
        return Finding("reconciler", Level.WARN, "paused by hand", WHY, "resume it", command, "ReconcilerStuck")
    if since is None:
        return Finding("reconciler", Level.WARN, "it has not made a pass yet", WHY, "look again in a moment")
    if since > SINCE_PASS_BAD_S:
        seen = f"the last pass was {since:.0f} s ago"
        mend = "logs/control-plane.log says what a pass waits for; starting the plane again harms nothing"
        return Finding("reconciler", Level.BAD, seen, WHY, mend, "", "ReconcilerStuck")
    return good("reconciler", f"last pass {since:.1f} s ago, took {status.get('pass_s', 0):.3f} s")


def judge_back_offs(status: Mapping[str, Any]) -> Finding:
    """Who waits for another try, by reason."""
    waiting: Mapping[str, Mapping[str, Any]] = status.get("backing_off") or {}
    if not waiting:
        return good("back_offs", "none")
    reasons = Counter(str(each.get("trouble", ""))[:REASON_LENGTH] for each in waiting.values())
    text = "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common(REASONS_MOST))
    why = "these tenants are not as they are wanted; each is tried again, ever more seldom, at least once a minute"
    mend = "one reason for many tenants is the machine's; for one, see its events and its log"
    command = f"stockyard-cloud tenants events {min(waiting)}"
    return Finding("back_offs", Level.WARN, text, why, mend, command, "TenantsBackingOff")
