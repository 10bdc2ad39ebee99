"""`stockyard-cloud backups`: list, verify."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from control_plane.commands.client import Client, Refused
from control_plane.commands.output import POLL_S, AsJson, Data, Timeout, Wait, client, show, table

app = typer.Typer(no_args_is_help=True, help="Backups of a tenant.")
Slug = Annotated[str, typer.Argument(help="The tenant's name.")]
HEADS = (
    "n",
    "parent",
    "started_at",
    "closed_at",
    "confirmed_txid",
    "confirmed_at",
    "verified_at",
    "expired_at",
    "bytes",
)
OUTCOMES = ("backup.verified", "backup.broken", "backup.unverified")


@app.command("list", epilog="Example: stockyard-cloud backups list acme --json")
def list_(slug: Slug, data: Data = None, as_json: AsJson = False) -> None:
    """List the lives of its database and how safe each is, newest first."""
    with client(data, as_json) as api:
        answer = api.get(f"/api/tenants/{slug}/backups")
        show(answer, as_json, lambda: _listed(answer))


def _listed(answer: dict[str, Any]) -> str:
    window = answer["window"]
    lives = table([[row[head] for head in HEADS] for row in answer["epochs"]], HEADS)
    return f"{lives}\nrestores reach from {window['from']} to {window['to']}; the plan keeps {window['days']} days"


@app.command(epilog="Example: stockyard-cloud backups verify acme")
def verify(slug: Slug, wait: Wait = True, timeout: Timeout = 120.0, data: Data = None, as_json: AsJson = False) -> None:
    """Restore the newest backup elsewhere, check the database and its ledger."""
    with client(data, as_json) as api:
        newest = api.get(f"/api/tenants/{slug}/events", limit=1)["events"]
        answer = api.post(f"/api/tenants/{slug}/backups/verify")
        if wait:
            answer = _outcome(api, slug, int(newest[0]["id"]) if newest else 0, timeout)
        show(answer, as_json, lambda: str(answer.get("message") or answer["status"]))


def _outcome(api: Client, slug: str, last_event: int, timeout_s: float) -> dict[str, Any]:
    deadline = time.monotonic() + timeout_s
    while True:
        rows = api.get(f"/api/tenants/{slug}/events", limit=100)["events"]
        told = [row for row in rows if row["id"] > last_event and row["kind"] in OUTCOMES]
        if told and told[0]["kind"] == "backup.verified":
            return {"status": "verified", "id": slug, "message": told[0]["message"], "detail": told[0]["detail"]}
        if told:
            raise Refused(f"{told[0]['message']}: {told[0]['detail']}", "backup_broken")
        if time.monotonic() >= deadline:
            raise Refused(f"no outcome after {timeout_s:g} s; see `tenants events {slug}`", "timeout")
        time.sleep(POLL_S)
