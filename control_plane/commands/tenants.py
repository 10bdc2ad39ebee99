"""`stockyard-cloud tenants`: create, list, show, sleep, wake, suspend, resume, delete; beside them the verbs on copies and history."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from control_plane.commands import tenant_copies, tenant_history
from control_plane.commands.client import Client
from control_plane.commands.output import AsJson, Data, Timeout, Wait, client, show, table, wait_for_status
from control_plane.commands.tenant_output import Slug, listed, show_opened, show_tenant

app = typer.Typer(no_args_is_help=True, help="Customers' instances.")
app.add_typer(tenant_copies.app)
app.add_typer(tenant_history.app)


@app.command(epilog="Example: stockyard-cloud tenants create acme --json")
def create(
    slug: Slug,
    plan: Annotated[str | None, typer.Option(help="Plan: free, pro, or one of cloud.toml.")] = None,
    region: Annotated[str | None, typer.Option(help="Region.")] = None,
    account: Annotated[int | None, typer.Option(help="Number of the account that shall own it.")] = None,
    wait: Wait = True,
    timeout: Timeout = 60.0,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Open a tenant; prints its addresses and its first keys, once."""
    body = {"slug": slug, "plan": plan, "region": region, "account": account}
    with client(data, as_json) as api:
        made = api.post("/api/tenants", {name: value for name, value in body.items() if value is not None})
        show_opened(api, made, wait, timeout, as_json)


@app.command("list", epilog="Example: stockyard-cloud tenants list --status running")
def list_(
    status: Annotated[str | None, typer.Option(help="Only of this status.")] = None,
    q: Annotated[str | None, typer.Option("--q", help="Part of the name.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500)] = 100,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List tenants, newest first."""
    with client(data, as_json) as api:
        answer = api.get("/api/tenants", status=status, q=q, limit=limit)
        heads = ("slug", "status", "plan", "account", "epoch", "since", "reason")
        show(answer, as_json, lambda: table([[row[head] for head in heads] for row in answer["tenants"]], heads))


@app.command("show", epilog="Example: stockyard-cloud tenants show acme --json")
def show_(slug: Slug, data: Data = None, as_json: AsJson = False) -> None:
    """Show one tenant."""
    with client(data, as_json) as api:
        show_tenant(api.get(f"/api/tenants/{slug}"), as_json)


@app.command(epilog="Example: stockyard-cloud tenants sleep acme")
def sleep(slug: Slug, wait: Wait = True, timeout: Timeout = 60.0, data: Data = None, as_json: AsJson = False) -> None:
    """Stop it after its backup is confirmed; the next call wakes it."""
    with client(data, as_json) as api:
        show_tenant(_ask(api, slug, "sleep", ("asleep",), wait, timeout), as_json)


@app.command(epilog="Example: stockyard-cloud tenants wake acme")
def wake(slug: Slug, wait: Wait = True, timeout: Timeout = 60.0, data: Data = None, as_json: AsJson = False) -> None:
    """Wake it."""
    with client(data, as_json) as api:
        show_tenant(_ask(api, slug, "wake", ("running",), wait, timeout), as_json)


@app.command(epilog='Example: stockyard-cloud tenants suspend acme --reason "invoice 12 is open"')
def suspend(
    slug: Slug,
    reason: Annotated[str, typer.Option(help="What its callers are told.")] = "",
    after_s: Annotated[int, typer.Option(min=0, help="Announce it, and suspend so many seconds later.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would stop.")] = False,
    wait: Wait = True,
    timeout: Timeout = 60.0,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Stop it until it is resumed; with --after-s it is announced first, and `resume` takes it back."""
    body = {"reason": reason, "after_s": after_s}
    with client(data, as_json) as api:
        if dry_run:
            answer = api.post(f"/api/tenants/{slug}/suspend?dry_run=true", body)
            show(answer, as_json, lambda: listed(answer["would_suspend"]))
            return
        show_tenant(_ask(api, slug, "suspend", ("suspended",), wait and not after_s, timeout, body), as_json)


@app.command(epilog="Example: stockyard-cloud tenants resume acme")
def resume(slug: Slug, wait: Wait = True, timeout: Timeout = 60.0, data: Data = None, as_json: AsJson = False) -> None:
    """End a suspension, or take back a deletion within its grace."""
    with client(data, as_json) as api:
        show_tenant(_ask(api, slug, "resume", ("running",), wait, timeout), as_json)


@app.command(epilog="Example: stockyard-cloud tenants delete acme --dry-run")
def delete(
    slug: Slug,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would go.")] = False,
    grace_s: Annotated[int | None, typer.Option("--grace-s", min=0, help="Seconds until it is final.")] = None,
    force: Annotated[bool, typer.Option(help="At once, also if its last backup does not verify.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Delete it after its grace: data, backups, keys and routes."""
    with client(data, as_json) as api:
        if not dry_run and not yes and sys.stdin.isatty():
            typer.confirm(f"Delete {slug}?", abort=True)
        answer = api.delete(
            f"/api/tenants/{slug}",
            dry_run="true" if dry_run else None,
            grace_s=grace_s,
            force="true" if force else None,
        )
        if dry_run:
            show(answer, as_json, lambda: listed(answer["would_delete"]))
        else:
            show(answer, as_json, lambda: f"{slug} will be gone after {answer['delete_after']}; `resume` takes it back")


def _ask(
    api: Client,
    slug: str,
    verb: str,
    wanted: tuple[str, ...],
    wait: bool,
    timeout_s: float,
    body: dict[str, Any] | None = None,
) -> Any:
    answer = api.post(f"/api/tenants/{slug}/{verb}", body)
    return wait_for_status(api, slug, wanted, timeout_s) if wait else answer
