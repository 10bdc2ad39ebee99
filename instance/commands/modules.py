"""`stockyard modules`: list, switch and configure modules."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from instance.commands.client import Api
from instance.commands.flags import Data, Json, Key, Url
from instance.commands.terminal import Failed, say, show_json, show_table

application = typer.Typer(
    no_args_is_help=True,
    help="Modules of the proxy.\n\nExample: stockyard modules set costcap daily_limit_usd=5",
)

COLUMNS = {
    "NAME": "name",
    "CATEGORY": "category",
    "ON": "enabled",
    "CALLS": "calls",
    "P99 US": "p99_us",
    "SUMMARY": "summary",
}

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the module.")]


@application.command(name="list", help="Every module.\n\nExample: stockyard modules list --category cost")
def list_modules(
    category: Annotated[str | None, typer.Option(help="Only this category.")] = None,
    json: Json = False,
    data: Data = None,
    url: Url = None,
    key: Key = None,
) -> None:
    answer = Api(data, url, key).call("GET", "/api/proxy/modules", query={"category": category})
    if json:
        show_json(answer)
    else:
        show_table(answer["modules"], COLUMNS)


@application.command(help="Switch a module on.\n\nExample: stockyard modules on cachelayer")
def on(name: Name, json: Json = False, data: Data = None, url: Url = None, key: Key = None) -> None:
    _change(Api(data, url, key), name, {"enabled": True}, json)


@application.command(help="Switch a module off.\n\nExample: stockyard modules off promptslim")
def off(name: Name, json: Json = False, data: Data = None, url: Url = None, key: Key = None) -> None:
    _change(Api(data, url, key), name, {"enabled": False}, json)


@application.command(
    name="set", help="Change settings of a module.\n\nExample: stockyard modules set timeout total_s=30"
)
def set_config(
    name: Name,
    settings: Annotated[list[str], typer.Argument(metavar="SETTING=VALUE…", help="JSON values, or text.")],
    confirm: Annotated[bool, typer.Option("--confirm", help="Save also what may shut you out.")] = False,
    json: Json = False,
    data: Data = None,
    url: Url = None,
    key: Key = None,
) -> None:
    change: dict[str, Any] = {"config": dict(map(assignment, settings))}
    _change(Api(data, url, key), name, {**change, "confirm": True} if confirm else change, json)


@application.command(
    name="new",
    help="Write a package for a module of your own, with its test.\n\nExample: stockyard modules new wordlimit",
)
def new_module(
    name: Name,
    folder: Annotated[
        Path | None, typer.Option(help="Where to; a folder of the module's name here if not given.")
    ] = None,
    json: Json = False,
) -> None:
    from instance.commands.new_module.writing import CannotWrite, write_package

    where = folder or Path(name)
    try:
        written = write_package(name, where)
    except (CannotWrite, OSError) as problem:
        raise Failed(str(problem)) from None
    if json:
        show_json({"module": name, "folder": str(where), "files": [path.name for path in written]})
        return
    for path in written:
        say(f"  {path}")
    say(f"Try it: cd {where} && pip install -e '.[test]' && pytest. What each hook may do: docs/writing-a-module.md")


def assignment(text: str) -> tuple[str, Any]:
    """`name=value` as name and value; the value is JSON if it can be, else text."""
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise Failed(f"{text!r} is not SETTING=VALUE", exit_code=2)
    try:
        return name, orjson.loads(value)
    except orjson.JSONDecodeError:
        return name, value


def _change(api: Api, name: str, change: dict[str, Any], json: bool) -> None:
    answer = api.call("PUT", f"/api/proxy/modules/{name}", body=change)
    if json:
        show_json(answer)
        return
    say(f"{name} is {'on' if answer['enabled'] else 'off'}.")
    for warning in answer.get("warnings", ()):
        say(f"  warning: {warning}")
