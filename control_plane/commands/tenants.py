"""`stockyard-cloud tenants`: create, list, show, sleep, wake, suspend, resume, delete, restore, export, import, events, logs, usage."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from control_plane.commands.client import Client, Refused
from control_plane.commands.files import PassphraseFile, new_file, show_progress, take_passphrase
from control_plane.commands.output import POLL_S, AsJson, Data, Timeout, Wait, client, show, table, wait_for_status

app = typer.Typer(no_args_is_help=True, help="Customers' instances.")
Slug = Annotated[str, typer.Argument(help="The tenant's name.")]
CREATED = ("tenant", "url", "root_url", "host_url", "api_key", "admin_key", "status")
SHOWN = (
    *("slug", "status", "reason", "plan", "url", "host_url", "epoch"),
    *("desired", "observed", "since", "next_action", "trouble", "queue", "suspend_after"),
)
USAGE_BY = {"key": ("key_id",), "model": ("model",)}
USAGE = ("requests", "errors", "tokens_in", "tokens_out", "cost_usd")


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
        _show_opened(api, made, wait, timeout, as_json)


def _show_opened(api: Client, made: dict[str, Any], wait: bool, timeout_s: float, as_json: bool) -> None:
    made["tenant"] = made["slug"]
    if wait:
        try:
            made["status"] = wait_for_status(api, made["slug"], ("running",), timeout_s)["status"]
        except Refused as refusal:
            _show_created(made, as_json)  # the keys are answered once: they must not be lost
            print(refusal, file=sys.stderr)
            raise typer.Exit(1) from None
    _show_created(made, as_json)


def _show_created(made: dict[str, Any], as_json: bool) -> None:
    answer = {name: made[name] for name in CREATED}
    show(answer, as_json, lambda: "\n".join(f"{name:10} {value}" for name, value in answer.items()))


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
        _print(api.get(f"/api/tenants/{slug}"), as_json)


@app.command(epilog="Example: stockyard-cloud tenants sleep acme")
def sleep(slug: Slug, wait: Wait = True, timeout: Timeout = 60.0, data: Data = None, as_json: AsJson = False) -> None:
    """Stop it after its backup is confirmed; the next call wakes it."""
    with client(data, as_json) as api:
        _print(_ask(api, slug, "sleep", ("asleep",), wait, timeout), as_json)


@app.command(epilog="Example: stockyard-cloud tenants wake acme")
def wake(slug: Slug, wait: Wait = True, timeout: Timeout = 60.0, data: Data = None, as_json: AsJson = False) -> None:
    """Wake it."""
    with client(data, as_json) as api:
        _print(_ask(api, slug, "wake", ("running",), wait, timeout), as_json)


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
            show(answer, as_json, lambda: _listed(answer["would_suspend"]))
            return
        _print(_ask(api, slug, "suspend", ("suspended",), wait and not after_s, timeout, body), as_json)


@app.command(epilog="Example: stockyard-cloud tenants resume acme")
def resume(slug: Slug, wait: Wait = True, timeout: Timeout = 60.0, data: Data = None, as_json: AsJson = False) -> None:
    """End a suspension, or take back a deletion within its grace."""
    with client(data, as_json) as api:
        _print(_ask(api, slug, "resume", ("running",), wait, timeout), as_json)


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
            show(answer, as_json, lambda: _listed(answer["would_delete"]))
        else:
            show(answer, as_json, lambda: f"{slug} will be gone after {answer['delete_after']}; `resume` takes it back")


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
            _show_created(answer, as_json)
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
        _show_opened(api, made, wait, timeout, as_json)


@app.command(epilog="Example: stockyard-cloud tenants events acme")
def events(
    slug: Slug,
    limit: Annotated[int, typer.Option(min=1, max=500)] = 50,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """What happened to it and why, newest first."""
    with client(data, as_json) as api:
        answer = api.get(f"/api/tenants/{slug}/events", limit=limit)
        heads = ("at", "actor", "kind", "message")
        show(answer, as_json, lambda: table([[row[head] for head in heads] for row in answer["events"]], heads))


@app.command(epilog="Example: stockyard-cloud tenants logs acme --follow")
def logs(
    slug: Slug,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, max=5_000, help="Lines from the end.")] = 200,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with those to come; Ctrl-C ends it.")] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """What its instance wrote, oldest line first."""
    with client(data, as_json) as api:
        if not follow:
            answer = api.get(f"/api/tenants/{slug}/logs", lines=lines)
            show(answer, as_json, lambda: "\n".join(answer["lines"]))
            return
        with suppress(KeyboardInterrupt):
            for line in api.follow(f"/api/tenants/{slug}/logs", lines=lines, follow="true"):
                print(json.dumps({"line": line}) if as_json else line, flush=True)


@app.command(epilog="Example: stockyard-cloud tenants usage acme --from 2026-02-01")
def usage(
    slug: Slug,
    from_: Annotated[str | None, typer.Option("--from", help="First day.")] = None,
    to: Annotated[str | None, typer.Option(help="Last day.")] = None,
    by: Annotated[str, typer.Option(help="day, key or model.")] = "day",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """What it used, by day, and of each day by key or by model."""
    with client(data, as_json) as api:
        answer = api.get(f"/api/tenants/{slug}/usage", from_=from_, to=to, by=by)
        heads = ("day", "epoch", *USAGE_BY.get(by, ()), *USAGE)
        show(answer, as_json, lambda: table([[row[head] for head in heads] for row in answer["usage"]], heads))


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


def _listed(words: dict[str, Any]) -> str:
    return "\n".join(f"{name:18} {value}" for name, value in words.items())


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


def _print(tenant: dict[str, Any], as_json: bool) -> None:
    show(tenant, as_json, lambda: "\n".join(f"{head:12} {value}" for head, value in _lines(tenant)))


def _lines(tenant: dict[str, Any]) -> Iterator[tuple[str, object]]:
    """What a person is shown of a tenant: what is known of it, with what was seen, wanted and in the way."""
    told = tenant | {"observed": _observed(tenant["observed"])}
    if tenant["failures"]:
        told["trouble"] = f"{tenant['trouble']} ({tenant['failures']} times, again in {tenant['retry_in_s']:.0f} s)"
    if tenant["queue"] is not None and tenant["queue"]["position"]:
        told["queue"] = f"{tenant['queue']['position']} to start, about {tenant['queue']['estimated_s']:.0f} s"
    else:
        told["queue"] = None
    for head in SHOWN:
        if told[head] is not None:
            yield head, told[head]


def _observed(seen: dict[str, Any] | None) -> str | None:
    if seen is None:
        return None
    if seen["instance"] is None:
        return f"no instance (at {seen['seen_at']})"
    is_so = [name for name in ("ready", "linked") if seen[name]]
    calls = [f"{seen['in_flight']} in flight"] if seen["in_flight"] is not None else []
    words = ", ".join([seen["instance"], f"epoch {seen['epoch']}", *is_so, *calls])
    return f"{words} (at {seen['seen_at']})"


def _print_restored(tenant: dict[str, Any], as_json: bool) -> None:
    if as_json or "restored" not in tenant:
        _print(tenant, as_json)
        return
    told = ", ".join(f"{name} {value}" for name, value in tenant["restored"].items() if name != "ok")
    print(f"{tenant['slug']} is {tenant['status']} again, restored: {told}")
