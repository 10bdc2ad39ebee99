"""`stockyard-cloud tenants`: restore, export, import."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from control_plane.commands.client import Client, Refused
from control_plane.commands.files import PassphraseFile, new_file, show_progress, take_passphrase
from control_plane.commands.output import POLL_S, AsJson, Data, Timeout, Wait, client, show, wait_for_status
from control_plane.commands.tenant_output import Slug, show_created, show_opened, show_tenant

app = typer.Typer()


@app.command(epilog="Example: stockyard-cloud tenants restore acme --at 2026-02-28T14:30:00Z")
def restore(
    slug: Slug,
    at: Annotated[str | None, typer.Option(help="Time to go back to (RFC 3339); default: the newest backup.")] = None,
    epoch: Annotated[int | None, typer.Option(min=1, help="Life of the database to go back to.")] = None,
    into: Annotated[str | None, typer.Option(help="Open a new tenant of this name from it instead.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be read and set aside.")] = False,
    wait: Wait = True,
    timeout: Timeout = 120.0,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Restore from a backup; the present database is kept aside until the restored one verifies."""
    body = {name: value for name, value in {"at": at, "epoch": epoch, "into": into}.items() if value is not None}
    with client(data, as_json) as api:
        if dry_run:
            tried = api.post(f"/api/tenants/{slug}/restore?dry_run=true", body)
            show(tried, as_json, lambda: _would_restore(tried))
            return
        last = _last_event(api, slug)
        answer = api.post(f"/api/tenants/{slug}/restore", body)
        if into:
            answer["tenant"] = answer["slug"]
            if wait:
                answer["status"] = wait_for_status(api, into, ("running",), timeout)["status"]
            show_created(answer, as_json)
            return
        if wait:
            answer = _await_restore(api, slug, last, timeout)
        _print_restored(answer, as_json)


@app.command(epilog="Example: stockyard-cloud tenants export acme acme.stockyard")
def export(
    slug: Slug,
    file: Annotated[Path, typer.Argument(help="The new file.")],
    passphrase_file: PassphraseFile = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Write it to one file that moves it elsewhere; a sleeping tenant is not woken."""
    passphrase = take_passphrase(passphrase_file, as_json, new=True)
    with client(data, as_json) as api, new_file(file, as_json) as target:
        size = api.download(f"/api/tenants/{slug}/export", {"passphrase": passphrase}, target, show_progress)
    answer = {"tenant": slug, "file": str(file), "bytes": size}
    show(answer, as_json, lambda: f"{file}: {size} bytes. Without the passphrase its secrets cannot be opened.")


@app.command("import", epilog="Example: stockyard-cloud tenants import acme acme.stockyard")
def import_(
    slug: Slug,
    file: Annotated[Path, typer.Argument(help="A file of `tenants export` or `stockyard export`.")],
    plan: Annotated[str | None, typer.Option(help="Plan: free, pro, or one of cloud.toml.")] = None,
    account: Annotated[int | None, typer.Option(help="Number of the account that shall own it.")] = None,
    passphrase_file: PassphraseFile = None,
    wait: Wait = True,
    timeout: Timeout = 120.0,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Open a tenant from an exported file; its keys go on working, and it has two new ones."""
    passphrase = take_passphrase(passphrase_file, as_json, new=False)
    given = {"slug": slug, "plan": plan, "account": str(account) if account else None, "passphrase": passphrase}
    with client(data, as_json) as api:
        try:
            source = file.open("rb")
        except OSError as problem:
            raise Refused(f"{file} cannot be read: {problem.strerror}", "bad_request") from None
        with source:
            made = api.upload(
                "/api/tenants", {name: value for name, value in given.items() if value}, source, show_progress
            )
        show_opened(api, made, wait, timeout, as_json)


def _would_restore(answer: dict[str, Any]) -> str:
    read, aside = answer["would_restore"], answer["would_set_aside"]
    lines = [f"into {read['into']}, as of {read['at']}, from the first of these that holds it:"]
    lines += [
        f"  epoch {each['n']}, confirmed {each['confirmed_at']}, verified {each['verified_at']}"
        for each in read["epochs"]
    ]
    if aside:
        lines.append(f"set aside until it verifies: epoch {aside['epoch']}, last called {aside['last_request_at']}")
    return "\n".join([*lines, "nothing was changed"])


def _last_event(api: Client, slug: str) -> int:
    newest = api.get(f"/api/tenants/{slug}/events", limit=1)["events"]
    return int(newest[0]["id"]) if newest else 0


def _await_restore(api: Client, slug: str, last_event: int, timeout_s: float) -> dict[str, Any]:
    """The tenant after its restore was answered and it runs again, with the event that says what was restored."""
    deadline = time.monotonic() + timeout_s
    outcome: dict[str, Any] | None = None
    while outcome is None:
        rows = api.get(f"/api/tenants/{slug}/events", limit=100)["events"]
        told = [row for row in rows if row["id"] > last_event and row["kind"] in ("restore.done", "restore.refused")]
        outcome = told[0] if told else None
        if outcome is None and time.monotonic() >= deadline:
            raise Refused(f"{slug} is not restored after {timeout_s:g} s; see `tenants events {slug}`", "timeout")
        if outcome is None:
            time.sleep(POLL_S)
    if outcome["kind"] == "restore.refused":
        raise Refused(f"{slug} was not restored: {outcome['message']}", "restore_failed")
    tenant = wait_for_status(api, slug, ("running",), max(1.0, deadline - time.monotonic()))
    return tenant | {"restored": outcome["detail"]}


def _print_restored(tenant: dict[str, Any], as_json: bool) -> None:
    if as_json or "restored" not in tenant:
        show_tenant(tenant, as_json)
        return
    told = ", ".join(f"{name} {value}" for name, value in tenant["restored"].items() if name != "ok")
    print(f"{tenant['slug']} is {tenant['status']} again, restored: {told}")
