"""`stockyard backup`, `restore` and `doctor`: the data folder itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from instance.brand.ledger import head
from instance.commands.client import data_folder
from instance.commands.flags import Data, Json
from instance.commands.terminal import Failed, say, show_json
from instance.core import backup as copies
from instance.core.data_folder import DataFolderError

BACKUP_HELP = """Copy the database to a new FILE, also while the instance runs.

Example: stockyard backup stockyard-2026-02-28.db"""
RESTORE_HELP = """Make a backup the database of a stopped instance; the one that was there is kept beside it.

Example: stockyard restore stockyard-2026-02-28.db"""
DOCTOR_HELP = """Check the data folder and say how to mend what is wrong.

Example: stockyard doctor --json"""


def backup(file: Annotated[Path, typer.Argument(metavar="FILE")], json: Json = False, data: Data = None) -> None:
    try:
        size = copies.back_up(data_folder(data), file)
    except DataFolderError as problem:
        raise Failed(str(problem)) from None
    if json:
        show_json({"file": str(file), "bytes": size})
    else:
        say(f"{file}: {size} bytes. Keep secret.key with it, apart: without it sealed provider keys cannot be read.")


def restore(file: Annotated[Path, typer.Argument(metavar="FILE")], json: Json = False, data: Data = None) -> None:
    folder = data_folder(data)
    try:
        kept = copies.restore(folder, file, head)
    except DataFolderError as problem:
        raise Failed(str(problem)) from None
    if json:
        show_json({"restored": str(file), "data": str(folder), "kept": str(kept) if kept else None})
        return
    say(f"{folder} holds {file} now; the next start notes it in the ledger.")
    if kept:
        say(f"What was there is {kept}.")


def doctor(json: Json = False, data: Data = None) -> None:
    from instance.commands.checkup import checks

    found = checks(data_folder(data))
    if json:
        show_json({"ok": all(check.ok for check in found), "checks": [check.shown() for check in found]})
    else:
        for check in found:
            say(f"{'ok  ' if check.ok else 'FAIL'}  {check.name}: {check.detail}")
            if not check.ok:
                say(f"      {check.remedy}")
    if not all(check.ok for check in found):
        raise typer.Exit(1)
