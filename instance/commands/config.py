"""`stockyard config`: the effective settings, each with its source, and changes of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from instance.commands.client import Api
from instance.commands.flags import Data, Json, Key, Url
from instance.commands.modules import assignment
from instance.commands.terminal import say, show_json, show_table
from instance.core.settings_sources import nested

application = typer.Typer(
    no_args_is_help=True,
    help="Settings of the instance.\n\nExample: stockyard config set limits.max_concurrent=200",
)


@application.command(help="Every setting and where its value comes from.\n\nExample: stockyard config show --json")
def show(json: Json = False, data: Data = None, url: Url = None, key: Key = None) -> None:
    answer = Api(data, url, key).call("GET", "/api/config")
    if json:
        show_json(answer)
    else:
        show_table(list(_rows(answer)), {"SETTING": "path", "VALUE": "value", "SOURCE": "source"})


@application.command(name="set", help="Change settings.\n\nExample: stockyard config set metrics_public=true")
def set_settings(
    settings: Annotated[list[str], typer.Argument(metavar="PATH=VALUE…", help="JSON values, or text.")],
    json: Json = False,
    data: Data = None,
    url: Url = None,
    key: Key = None,
) -> None:
    _change(Api(data, url, key), dict(map(assignment, settings)), json)


@application.command(help="Take changes back.\n\nExample: stockyard config reset metrics_public")
def reset(
    paths: Annotated[list[str], typer.Argument(metavar="PATH…")],
    json: Json = False,
    data: Data = None,
    url: Url = None,
    key: Key = None,
) -> None:
    _change(Api(data, url, key), dict.fromkeys(paths), json)


def _change(api: Api, changes: Mapping[str, Any], json: bool) -> None:
    answer = api.call("POST", "/api/config", body=nested(changes))
    if json:
        show_json(answer)
        return
    say(f"Changed: {', '.join(answer['changed'])}.")
    if answer["restart_needed"]:
        say(f"These hold after a restart: {', '.join(answer['restart_needed'])}.")


def _rows(section: Mapping[str, Any], prefix: str = "") -> Iterator[dict[str, Any]]:
    for name, inner in section.items():
        path = f"{prefix}{name}"
        if "source" in inner and "restart_needed" in inner:
            yield {"path": path, "value": inner["value"], "source": inner["source"]}
        else:
            yield from _rows(inner, f"{path}.")
