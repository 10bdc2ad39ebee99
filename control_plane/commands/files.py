"""Files that verbs write, and the passphrase that protects them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from getpass import getpass
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from control_plane.commands.output import fail

PassphraseFile = Annotated[
    Path | None, typer.Option("--passphrase-file", help="Read the passphrase from this file instead of asking.")
]


def take_passphrase(file: Path | None, as_json: bool, *, new: bool) -> str:
    """The passphrase, a `new` one asked for twice; what is in the way is printed and ends the command."""
    if file is not None:
        try:
            return file.read_text("utf-8").removesuffix("\n").removesuffix("\r")
        except (OSError, UnicodeDecodeError) as problem:
            fail(f"{file} cannot be read: {problem}", "bad_request", as_json)
    if not sys.stdin.isatty():
        fail("there is nobody to ask for the passphrase: give it with --passphrase-file", "bad_request", as_json)
    given = getpass("Passphrase: ")
    if new and getpass("The same again: ") != given:
        fail("the two are not the same", "bad_request", as_json)
    return given


def show_progress(done: int, size: int) -> None:
    """Say to a person how much of a file was sent or received."""
    if sys.stderr.isatty():
        print(f"\r{done >> 20} of {size >> 20} MiB", end="\n" if done == size else "", file=sys.stderr, flush=True)


@contextmanager
def new_file(path: Path, as_json: bool) -> Iterator[BinaryIO]:
    """A new file (0600) to write to, which is there only when all went well."""
    draft = path.with_name(path.name + ".part")
    try:
        if path.exists():
            fail(f"{path} exists already; name a new file", "bad_request", as_json)
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as problem:
        fail(f"{path} cannot be written: {problem.strerror}", "bad_request", as_json)
    finally:
        draft.unlink(missing_ok=True)
