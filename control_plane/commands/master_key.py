"""`stockyard-cloud master-key`: rotate."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from control_plane.commands.output import AsJson, Data, client, fail, show

if TYPE_CHECKING:
    from control_plane.config import Config

app = typer.Typer(no_args_is_help=True, help="The key that wraps tenants' secrets.")


@app.callback()
def group() -> None:
    """The key that wraps tenants' secrets."""


@app.command(epilog="Example: stockyard-cloud master-key rotate --dry-run")
def rotate(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check that every secret opens.")] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Seal every tenant's secrets under a new master key, while `up` runs or is stopped; instances go on as they are."""
    from control_plane.config import load_config
    from control_plane.errors import CloudError, ConfigError

    try:
        settings = load_config({"data": data})
    except ConfigError as error:
        print(f"stockyard-cloud: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    try:
        if _runs(settings):
            with client(data, as_json) as api:
                answer = api.post("/api/master-key/rotate" + ("?dry_run=true" if dry_run else ""))
        else:
            answer = _stopped(settings, dry_run)
    except CloudError as refusal:
        fail(str(refusal), refusal.code, as_json)
    except (ConfigError, OSError) as problem:
        fail(str(problem), "conflict", as_json)
    show(answer, as_json, lambda: _told(answer))


def _runs(settings: Config) -> bool:
    """True while a control plane holds the data folder: it rotates by itself."""
    from control_plane.errors import CloudError, ConfigError
    from control_plane.running import only_one

    if not settings.database_url and not settings.database_file.exists():
        raise CloudError("not_found", f"there is no control plane in {settings.data}; say which with --data")
    try:
        with only_one(settings):
            return False
    except ConfigError:
        return True


def _stopped(settings: Config, dry_run: bool) -> dict[str, Any]:
    """Rotate without a control plane. Raises CloudError, ConfigError."""
    import asyncio

    from control_plane.master_key import load_master_key
    from control_plane.running import only_one
    from control_plane.store import sealed
    from control_plane.store.database import Database

    async def work() -> dict[str, Any]:
        key = load_master_key(settings)
        database = Database(settings.sqlalchemy_url, replicated=True)  # whose log is not ours to fold
        await database.open()
        try:
            return await sealed.rotate(database, key, actor="operator", dry_run=dry_run)
        finally:
            await database.close()

    with only_one(settings):
        return asyncio.run(work())


def _told(answer: dict[str, Any]) -> str:
    if answer["dry_run"]:
        return f"{answer['tenants']} tenants' secrets would be sealed anew; every one of them opens"
    lines = [f"{answer['tenants']} tenants' secrets are sealed under key {answer['key']} now"]
    if answer["old_key_kept_in"]:
        lines.append(f"the old key lies in {answer['old_key_kept_in']}: backups of control.db from before need it")
        lines.append("copy the new key to where you keep the old one")
    return "\n".join(lines)
