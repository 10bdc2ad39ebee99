"""`stockyard verify`: an exported ledger, or the instance's own."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from instance.brand.chain import Verdict
from instance.brand.offline import NotAnExport, verify_file
from instance.commands.client import Api
from instance.commands.flags import Data, Json, Key, Url
from instance.commands.terminal import Failed, say, show_json

HELP = """Verify a ledger: an exported FILE offline, or the instance's own without one.

The first entry that does not hold is named, with the reason. Exit code 0: it holds, 1: it is broken, 2: not an export.

Example: stockyard verify ledger.ndjson"""


def verify(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="An export (NDJSON) of the ledger.")] = None,
    public_key: Annotated[
        str | None, typer.Option("--public-key", metavar="HEX", help="The Ed25519 key that must have signed it.")
    ] = None,
    json: Json = False,
    data: Data = None,
    url: Url = None,
    key: Key = None,
) -> None:
    if file is None:
        _own(Api(data, url, key), json)
        return
    try:
        verdict = verify_file(file, public_key)
    except NotAnExport as problem:
        raise Failed(f"{file}: {problem}", exit_code=2) from None
    except OSError as problem:
        raise Failed(f"{file}: {problem.strerror}", exit_code=2) from None
    if json:
        show_json({"file": str(file), **asdict(verdict)})
    else:
        say(_told(verdict))
    if not verdict.valid:
        raise typer.Exit(1)


def _own(api: Api, json: bool) -> None:
    found = api.call("GET", "/api/trust/ledger/verify")
    if json:
        show_json(found)
    elif found["valid"]:
        say(f"The ledger holds: {found['events_checked']} entries, head {found['head']['seq']} {found['head']['hash']}")
    else:
        say(f"BROKEN at entry {found['broken_at_id']}: {found['reason']}")
        say(f"  expected {found['expected']}\n  found    {found['found']}")
    if not found["valid"]:
        raise typer.Exit(1)


def _told(verdict: Verdict) -> str:
    if verdict.valid:
        span = f"{verdict.first_seq} to {verdict.head_seq}" if verdict.checked else "none"
        return f"The ledger holds: {verdict.checked} entries ({span}), head {verdict.head_hash}"
    return (
        f"BROKEN at entry {verdict.broken_at}: {verdict.reason}\n"
        f"  expected {verdict.expected}\n  found    {verdict.found}\n"
        f"  {verdict.checked} entries before it hold."
    )
