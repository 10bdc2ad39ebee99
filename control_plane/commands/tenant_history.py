"""`stockyard-cloud tenants`: events, logs, usage."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Annotated

import typer

from control_plane.commands.output import AsJson, Data, client, show, table
from control_plane.commands.tenant_output import Slug

app = typer.Typer()
USAGE_BY = {"key": ("key_id",), "model": ("model",)}
USAGE = ("requests", "errors", "tokens_in", "tokens_out", "cost_usd")


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
