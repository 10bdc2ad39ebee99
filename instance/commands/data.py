"""`stockyard backup`, `export`, `restore` and `doctor`: the data folder itself."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from instance.brand.ledger import head
from instance.commands.client import data_folder
from instance.commands.flags import Data, Json
from instance.commands.passphrase import PassphraseFile, take_passphrase
from instance.commands.terminal import Failed, say, show_json
from instance.core import backup as copies
from instance.core.core import DATABASE_NAME, CoreOptions
from instance.core.data_folder import DataFolderError
from instance.core.portable import PortableError, read_source

BACKUP_HELP = """Copy the database to a new FILE, also while the instance runs.

Example: stockyard backup stockyard-2026-02-28.db"""
EXPORT_HELP = """Write the whole instance to one FILE that moves it elsewhere, also while the instance runs.

It holds the database, the keys' hashes, and the secret key under a passphrase. `stockyard restore FILE` on another
machine, or a Stockyard cloud, brings it back to life.

Example: stockyard export acme.stockyard"""
RESTORE_HELP = """Make a backup or an exported .stockyard file the database of a stopped instance.

What was there is kept beside it. An exported file asks for its passphrase, and brings its secret key and its keys with it.

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


def export(
    file: Annotated[Path, typer.Argument(metavar="FILE")],
    passphrase_file: PassphraseFile = None,
    json: Json = False,
    data: Data = None,
) -> None:
    from instance.commands import moving

    passphrase = take_passphrase(passphrase_file, new=True)
    try:
        made = moving.export(CoreOptions(data), file, passphrase)
    except DataFolderError as problem:
        raise Failed(str(problem)) from None
    if json:
        show_json({"file": str(file), "bytes": made.bytes, "keys": made.keys, "left_behind": made.left_behind})
        return
    say(f"{file}: {made.bytes} bytes, {made.keys} keys. Without the passphrase its secrets cannot be opened.")
    for path in made.left_behind:
        say(f"Not in it: {path}; give it again where it goes.")


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE")],
    passphrase_file: PassphraseFile = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check, and say what would happen.")] = False,
    json: Json = False,
    data: Data = None,
) -> None:
    folder = data_folder(data)
    try:
        with file.open("rb") as stream:
            moved = read_source(stream)
    except (OSError, PortableError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else problem
        raise Failed(f"{file} cannot be restored: {reason}") from None
    if moved is not None:
        _move_in(file, folder, passphrase_file, dry_run, json)
        return
    try:
        if dry_run:
            copies.check(file)
        kept = None if dry_run else copies.restore(folder, file, head)
    except DataFolderError as problem:
        raise Failed(str(problem)) from None
    _tell_restored(file, folder, kept, dry_run, json, {})


def _move_in(file: Path, folder: Path, passphrase_file: Path | None, dry_run: bool, json: bool) -> None:
    from instance.commands import moving

    passphrase = take_passphrase(passphrase_file, new=False)
    try:
        arrived = moving.arrive(CoreOptions(folder), file, passphrase, dry_run=dry_run)
    except DataFolderError as problem:
        raise Failed(str(problem)) from None
    source = arrived.source
    if not json:
        say(f"{file} is {source.name} ({source.origin}), exported {source.made_at} by version {source.version}.")
        say(f"It has ledger entries up to {source.ledger_seq}; its {arrived.keys} keys go on working here.")
    _tell_restored(file, folder, arrived.kept, dry_run, json, {"source": asdict(source), "keys": arrived.keys})


def _tell_restored(
    file: Path, folder: Path, kept: Path | None, dry_run: bool, json: bool, more: dict[str, Any]
) -> None:
    if json:
        outcome = {"would_restore" if dry_run else "restored": str(file), "data": str(folder)}
        show_json(outcome | {"kept": str(kept) if kept else None} | more)
        return
    if dry_run:
        there = (folder / DATABASE_NAME).exists()
        say(f"{file} is whole. It would become the database of {folder}" + (", which has one." if there else "."))
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
