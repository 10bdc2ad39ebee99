"""The passphrase of a `.stockyard` file: from a file, else asked for."""

from __future__ import annotations

import sys
from getpass import getpass
from pathlib import Path
from typing import Annotated

import typer

from instance.commands.terminal import Failed
from instance.core.passphrase import require_passphrase

PassphraseFile = Annotated[
    Path | None,
    typer.Option("--passphrase-file", metavar="FILE", help="Read the passphrase from FILE instead of asking."),
]


def take_passphrase(file: Path | None, *, new: bool) -> str:
    """The passphrase, a `new` one asked for twice. Raises `Failed`."""
    try:
        return require_passphrase(_read(file) if file is not None else _ask(new=new))
    except ValueError as problem:
        raise Failed(str(problem), exit_code=2) from None


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8").removesuffix("\n").removesuffix("\r")
    except OSError as problem:
        raise Failed(f"{file} cannot be read: {problem.strerror}", exit_code=2) from None
    except UnicodeDecodeError:
        raise Failed(f"{file} is not UTF-8 text", exit_code=2) from None


def _ask(*, new: bool) -> str:
    if not sys.stdin.isatty():
        raise Failed("there is nobody to ask for the passphrase: give it with --passphrase-file", exit_code=2)
    given = getpass("Passphrase: ")
    if new and getpass("The same again: ") != given:
        raise Failed("the two are not the same", exit_code=2)
    return given
