"""`stockyard traces`: the calls that were recorded."""

from __future__ import annotations

from typing import Annotated

import typer

from instance.commands.client import Api
from instance.commands.flags import Data, Json, Key, Url
from instance.commands.terminal import say, show_json, show_table

application = typer.Typer(
    no_args_is_help=True,
    help="Traces of calls.\n\nExample: stockyard traces list --status failed --limit 20",
)

COLUMNS = {
    "ID": "id",
    "CREATED": "created_at",
    "STATUS": "status",
    "HTTP": "http_status",
    "PROVIDER": "provider",
    "MODEL": "model",
    "MS": "duration_ms",
    "OVERHEAD US": "overhead_us",
    "IN": "tokens_in",
    "OUT": "tokens_out",
    "USD": "cost_usd",
}


@application.command(name="list", help="Newest first.\n\nExample: stockyard traces list --model gpt --limit 5")
def list_traces(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Rows.")] = 20,
    status: Annotated[str | None, typer.Option(help="ok, error, cache_hit, blocked, cancelled or failed.")] = None,
    model: Annotated[str | None, typer.Option(help="Model that served.")] = None,
    key_id: Annotated[str | None, typer.Option(help="Id of the key that called.")] = None,
    session: Annotated[str | None, typer.Option(help="Session.")] = None,
    json: Json = False,
    data: Data = None,
    url: Url = None,
    key: Key = None,
) -> None:
    query = {"limit": limit, "status": status, "model": model, "key": key_id, "session": session}
    answer = Api(data, url, key).call("GET", "/api/observe/traces", query=query)
    if json:
        show_json(answer)
        return
    show_table(answer["traces"], COLUMNS)
    say(f"{answer['count']} of {answer['total']}{'+' if answer.get('total_capped') else ''}")


@application.command(
    name="show", help="One trace, as JSON, with its decisions.\n\nExample: stockyard traces show tr_01J…"
)
def show_trace(
    trace_id: Annotated[str, typer.Argument(metavar="ID", help="Trace id or request id.")],
    json: Json = True,
    data: Data = None,
    url: Url = None,
    key: Key = None,
) -> None:
    show_json(Api(data, url, key).call("GET", f"/api/observe/traces/{trace_id}"))
