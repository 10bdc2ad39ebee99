"""`stockyard-cloud doctor`: asks the control plane for a check-up, or makes it itself where none answers."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from control_plane.commands.client import Refused, open_client
from control_plane.commands.output import fail, show, table

if TYPE_CHECKING:
    from control_plane.config import Config

MARKS = {"ok": "ok", "warn": "WARN", "bad": "BAD"}


def check_up(config: Config, as_json: bool) -> int:
    """Print the findings; 1 when something is bad."""
    try:
        answer: dict[str, Any] = open_client(config.data).get("/api/doctor")
    except Refused as refusal:
        if refusal.code != "unreachable":
            fail(str(refusal), refusal.code, as_json)
        print("the control plane does not answer; checked without it:", file=sys.stderr)
        answer = _alone(config)
    show(answer, as_json, lambda: _written(answer))
    return 0 if answer["ok"] else 1


def _alone(config: Config) -> dict[str, Any]:
    import asyncio

    from control_plane.doctor.alone import examine_alone
    from control_plane.doctor.examine import report

    return report(asyncio.run(examine_alone(config)), plane_runs=False)


def _written(answer: dict[str, Any]) -> str:
    checks = answer["checks"]
    rows = [(MARKS[check["level"]], check["name"], check["seen"]) for check in checks]
    lines = [table(rows, ("", "check", "seen"))]
    for check in checks:
        if check["level"] == "ok":
            continue
        lines += ["", f"{MARKS[check['level']]} {check['name']}: {check['seen']}", f"  why      {check['why']}"]
        told = (("mend", check["mend"]), ("command", check["command"]), ("see", check["runbook"]))
        lines += [f"  {name:8} {text}" for name, text in told if text]
    counts = answer["counts"]
    lines += ["", f"{counts['ok']} ok, {counts['warn']} to look at, {counts['bad']} bad"]
    return "\n".join(lines)
