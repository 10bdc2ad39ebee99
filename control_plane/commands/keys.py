"""`stockyard-cloud keys`: list, create, rotate, revoke."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from control_plane.commands.output import AsJson, Data, client, show, table

app = typer.Typer(no_args_is_help=True, help="Keys of a tenant.")
Slug = Annotated[str, typer.Argument(help="The tenant's name.")]
KeyId = Annotated[int, typer.Argument(help="The key's number.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until every place that checks keys has it.")]


@app.command("list", epilog="Example: stockyard-cloud keys list acme")
def list_(slug: Slug, data: Data = None, as_json: AsJson = False) -> None:
    """List keys, newest first; their texts are kept nowhere."""
    with client(data, as_json) as api:
        answer = api.get(f"/api/tenants/{slug}/keys", limit=500)
        heads = ("id", "name", "kind", "prefix", "state", "expires_at", "last_used_at")
        show(answer, as_json, lambda: table([[row[head] for head in heads] for row in answer["keys"]], heads))


@app.command(epilog="Example: stockyard-cloud keys create acme --name ci --kind proxy --model 'gpt-*'")
def create(
    slug: Slug,
    name: Annotated[str, typer.Option(help="What it is for.")],
    kind: Annotated[str, typer.Option(help="proxy, app or admin.")] = "proxy",
    scope: Annotated[list[str] | None, typer.Option(help="For kind app; may be repeated.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Models it may call, as globs; may be repeated.")] = None,
    ip_allow: Annotated[list[str] | None, typer.Option(help="Networks it may come from; may be repeated.")] = None,
    rpm: Annotated[int | None, typer.Option(min=1, help="Requests a minute.")] = None,
    budget_usd_month: Annotated[float | None, typer.Option(help="US dollars a month.")] = None,
    expires_at: Annotated[str | None, typer.Option(help="RFC 3339.")] = None,
    wait: Wait = True,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Make a key; prints its text, once."""
    body = {
        "name": name,
        "kind": kind,
        "scopes": scope,
        "models": model,
        "ip_allow": ip_allow,
        "rpm": rpm,
        "budget_usd_month": budget_usd_month,
        "expires_at": expires_at,
    }
    with client(data, as_json) as api:
        given = {field: value for field, value in body.items() if value not in (None, [])}
        _show_made(api.post(_path(slug, wait=wait), given), as_json)


@app.command(epilog="Example: stockyard-cloud keys rotate acme 3 --overlap-s 3600")
def rotate(
    slug: Slug,
    key_id: KeyId,
    overlap_s: Annotated[int, typer.Option(min=0, help="Seconds for which the old key goes on working.")] = 86_400,
    wait: Wait = True,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Make a successor with the same limits; prints its text, once."""
    with client(data, as_json) as api:
        _show_made(api.post(_path(slug, key_id, "/rotate", wait=wait), {"overlap_s": overlap_s}), as_json)


@app.command(epilog="Example: stockyard-cloud keys revoke acme 3")
def revoke(slug: Slug, key_id: KeyId, wait: Wait = True, data: Data = None, as_json: AsJson = False) -> None:
    """End a key."""
    with client(data, as_json) as api:
        answer = api.delete(_path(slug, key_id), wait="true" if wait else None)
        everywhere = "everywhere" if answer["effective"] else "not yet everywhere"
        show(answer, as_json, lambda: f"key {key_id} of {slug} is revoked, {everywhere}")


def _path(slug: str, key_id: int | None = None, verb: str = "", *, wait: bool = False) -> str:
    one = f"/{key_id}" if key_id is not None else ""
    return f"/api/tenants/{slug}/keys{one}{verb}" + ("?wait=true" if wait else "")


def _show_made(answer: dict[str, Any], as_json: bool) -> None:
    heads = ("id", "name", "kind", "key", "expires_at", "effective")
    show(answer, as_json, lambda: "\n".join(f"{head:10} {answer[head]}" for head in heads if answer[head] is not None))
