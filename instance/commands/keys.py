"""`stockyard keys`: list, make and revoke keys, and a new admin key for one who lost it."""

from __future__ import annotations

from typing import Annotated

import typer

from instance.commands.client import Api, data_folder, is_running
from instance.commands.flags import Data, Json, Key, Url
from instance.commands.terminal import Failed, say, show_json, show_table

application = typer.Typer(
    no_args_is_help=True,
    help="Keys of the instance.\n\nExample: stockyard keys create --name build --kind proxy",
)

COLUMNS = {
    "ID": "id",
    "KIND": "kind",
    "NAME": "name",
    "TEAM": "team_id",
    "KEY": "key_prefix",
    "SCOPES": "scopes",
    "CREATED": "created_at",
    "LAST USED": "last_used",
    "REVOKED": "revoked_at",
}


@application.command(name="list", help="Every key.\n\nExample: stockyard keys list --json")
def list_keys(json: Json = False, data: Data = None, url: Url = None, key: Key = None) -> None:
    answer = Api(data, url, key).call("GET", "/api/keys", query={"limit": 500, "order": "asc"})
    if json:
        show_json(answer)
    else:
        show_table(answer["keys"], COLUMNS)


@application.command(help="Make a key; it is shown once.\n\nExample: stockyard keys create --name build --rpm 60")
def create(
    name: Annotated[str, typer.Option(help="Name of the key.")],
    kind: Annotated[str, typer.Option(help="proxy, app or admin.")] = "proxy",
    scope: Annotated[list[str] | None, typer.Option(help="A scope that it carries; repeatable.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Glob of models that it may use; repeatable.")] = None,
    client: Annotated[str | None, typer.Option(help="The client whose key it is (tenantwall).")] = None,
    multi_client: Annotated[
        bool, typer.Option("--multi-client", help="It names the client with each request.")
    ] = False,
    rpm: Annotated[int | None, typer.Option(help="Requests a minute.")] = None,
    expires_at: Annotated[str | None, typer.Option(help="RFC 3339 time or date.")] = None,
    json: Json = False,
    data: Data = None,
    url: Url = None,
    key: Key = None,
) -> None:
    limits = {"models": model or [], "rpm": rpm}
    body = {"name": name, "kind": kind, "scopes": scope or [], "limits": limits, "expires_at": expires_at}
    of_client = {"client": client, "multi_client": multi_client}
    made = Api(data, url, key).call("POST", "/api/auth/me/keys", body=body | of_client)
    if json:
        show_json(made)
    else:
        say(f"Key {made['id']} ({made['kind']}, {', '.join(made['scopes'])}), shown this once:\n{made['key']}")


@application.command(help="End a key now.\n\nExample: stockyard keys revoke 3")
def revoke(
    key_id: Annotated[int, typer.Argument(metavar="ID")],
    json: Json = False,
    data: Data = None,
    url: Url = None,
    key: Key = None,
) -> None:
    answer = Api(data, url, key).call("DELETE", f"/api/keys/{key_id}")
    if json:
        show_json(answer)
    else:
        say(f"Key {key_id} is revoked.")


@application.command(help="A new admin key for one who lost it; the old ones end. The instance must be stopped.")
def reset(json: Json = False, data: Data = None) -> None:
    if is_running(data_folder(data)):
        raise Failed("the instance is running; stop it first, as it would go on knowing the old keys")
    from instance.commands.stopped import reset_admin_key

    made = reset_admin_key(data)
    if json:
        show_json({"key": made})
    else:
        say(f"The new admin key, shown this once; the old ones are revoked:\n{made}")
