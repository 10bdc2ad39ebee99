"""The command `stockyard-cloud`. Exit code 0 done, 1 refused or failed, 2 wrong usage.

Imports stay inside the verbs that need them: `--help` and the verbs that only call the API start fast.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from control_plane.commands import backups, keys, master_key, tenants
from control_plane.commands.output import AsJson, Data, client, show

if TYPE_CHECKING:
    from control_plane.config import Config

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Stockyard Cloud: an instance for every customer.")
ledger = typer.Typer(no_args_is_help=True, help="The control plane's own ledger.")
app.add_typer(tenants.app, name="tenants")
app.add_typer(keys.app, name="keys")
app.add_typer(backups.app, name="backups")
app.add_typer(master_key.app, name="master-key")
app.add_typer(ledger, name="ledger")

ConfigFile = Annotated[Path | None, typer.Option("--config", help="Another file than cloud.toml in the data folder.")]
Listen = Annotated[str | None, typer.Option(help="Address of the API, HOST:PORT.")]
EdgeListen = Annotated[str | None, typer.Option(help="Address of tenant traffic, HOST:PORT.")]
Runtime = Annotated[str | None, typer.Option(help="process, docker or swarm.")]
Domain = Annotated[str | None, typer.Option(help="Tenants answer at SLUG.DOMAIN.")]
ReplicaUrl = Annotated[str | None, typer.Option(help="Where backups go: a directory, s3://… or sftp://….")]


@app.command(epilog="Example: stockyard-cloud up --demo")
def up(
    demo: Annotated[bool, typer.Option("--demo", help="Make a tenant `demo` on the first start.")] = False,
    data: Data = None,
    config: ConfigFile = None,
    listen: Listen = None,
    edge_listen: EdgeListen = None,
    runtime: Runtime = None,
    domain: Domain = None,
    replica_url: ReplicaUrl = None,
) -> None:
    """Run all of it: control plane, activator, edge and backups; Ctrl-C ends everything it started."""

    def run(settings: Config) -> int:
        from control_plane.supervisor import run_up

        return run_up(settings, demo=demo, config_file=config)

    flags = {"listen": listen, "edge_listen": edge_listen, "runtime": runtime, "domain": domain}
    _run(run, flags | {"replica_url": replica_url, "data": data, "config": config})


@app.command(epilog="Example: stockyard-cloud serve --listen 127.0.0.1:4300")
def serve(
    data: Data = None,
    config: ConfigFile = None,
    listen: Listen = None,
    edge_listen: EdgeListen = None,
    runtime: Runtime = None,
    domain: Domain = None,
    replica_url: ReplicaUrl = None,
) -> None:
    """Run the control plane alone: API and reconciler."""

    def run(settings: Config) -> int:
        from control_plane.app import serve as serve_app

        return serve_app(settings)

    flags = {"listen": listen, "edge_listen": edge_listen, "runtime": runtime, "domain": domain}
    _run(run, flags | {"replica_url": replica_url, "data": data, "config": config})


@app.command(epilog="Example: stockyard-cloud activator")
def activator(data: Data = None, config: ConfigFile = None) -> None:
    """Run the activator alone: it wakes a sleeping tenant when a call for it comes."""

    def run(settings: Config) -> int:
        from control_plane.routing.activator import run_activator

        return run_activator(settings)

    _run(run, {"data": data, "config": config})


@app.command(epilog="Example: stockyard-cloud signup --email ann@example.com --slug acme")
def signup(
    email: Annotated[str, typer.Option(help="The customer's address.")],
    slug: Annotated[str, typer.Option(help="Name of the first tenant.")],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Sign a customer up, as the customer would; prints the account key and the tenant's keys, once."""
    with client(data, as_json) as api:
        answer = api.post("/api/signup", {"email": email, "tenant_slug": slug})
        heads = ("account_key", "api_key", "admin_key")
        url = answer["tenant"]["url"]
        show(
            answer,
            as_json,
            lambda: "\n".join([*(f"{head:12} {answer[head]}" for head in heads), f"url          {url}"]),
        )


@app.command(epilog="Example: stockyard-cloud backup --json")
def backup(data: Data = None, as_json: AsJson = False) -> None:
    """Confirm that the control plane's own database is at its replica, and every revocation beside it."""
    with client(data, as_json) as api:
        answer = api.post("/api/backup")
        show(answer, as_json, lambda: f"confirmed: incarnation {answer['incarnation']}, transaction {answer['txid']}")


@app.command(epilog="Example: stockyard-cloud restore --at 2026-02-28T14:30:00Z")
def restore(
    at: Annotated[str | None, typer.Option(help="A moment (RFC 3339) instead of the newest copy.")] = None,
    incarnation: Annotated[int | None, typer.Option(help="Another incarnation than the newest.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only try it on a copy and say what would be.")] = False,
    data: Data = None,
    config: ConfigFile = None,
    replica_url: ReplicaUrl = None,
    as_json: AsJson = False,
) -> None:
    """Bring the control plane's own database back from its copy, while `up` is stopped; what was there is set aside."""

    def run(settings: Config) -> int:
        import asyncio

        from control_plane.backups.restore_plane import restore_plane
        from control_plane.running import only_one

        settings.prepare()
        if dry_run:
            tried = asyncio.run(restore_plane(settings, at=at, incarnation=incarnation, dry_run=True))
            told = (
                f"incarnation {tried.restored_from} would be restored as {tried.incarnation}: {tried.tenants} tenants, "
                f"{tried.keys_ended} keys ended since\nnothing was changed; what is there would be set aside"
            )
            show(tried.shown(), as_json, lambda: told)
            return 0
        with only_one(settings):
            done = asyncio.run(restore_plane(settings, at=at, incarnation=incarnation))
        text = (
            f"incarnation {done.restored_from} restored as {done.incarnation}: {done.tenants} tenants, "
            f"{done.keys_ended} keys ended since\nwhat was there lies in {done.aside or 'no place: there was nothing'}\n"
            "start it: stockyard-cloud up"
        )
        show(done.shown(), as_json, lambda: text)
        return 0

    _run(run, {"data": data, "config": config, "replica_url": replica_url})


@app.command(epilog="Example: stockyard-cloud doctor")
def doctor(data: Data = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Check what could be wrong here and say how to mend it; exit code 1 when something is bad.

    While the control plane is down it checks what can be checked without it.
    """
    from control_plane.commands.doctor import check_up

    _run(lambda settings: check_up(settings, as_json), {"data": data, "config": config})


@ledger.command("verify", epilog="Example: stockyard-cloud ledger verify --json")
def verify_ledger(data: Data = None, as_json: AsJson = False) -> None:
    """Walk the hash chain from its beginning; exit code 1 when it is broken."""
    with client(data, as_json) as api:
        answer = api.get("/api/ledger/verify")
        good = f"valid: {answer['events_checked']} entries, head {answer['head']['seq']} {answer['head']['hash']}"
        bad = f"BROKEN at entry {answer.get('broken_at_id')}: {answer.get('reason')}"
        show(answer, as_json, lambda: good if answer["valid"] else bad)
        if not answer["valid"]:
            raise typer.Exit(1)


def _run(run: Callable[[Config], int], flags: dict[str, Any]) -> None:
    """Load the configuration and run with it; a mistake in it is exit code 2."""
    from control_plane.config import load_config
    from control_plane.errors import ConfigError

    try:
        settings = load_config(flags)
    except ConfigError as error:
        print(f"stockyard-cloud: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    try:
        code = run(settings)
    except ConfigError as error:
        print(f"stockyard-cloud: {error}", file=sys.stderr)
        code = 1
    raise typer.Exit(code)


def main() -> None:
    """Entry point."""
    app()


if __name__ == "__main__":
    main()
