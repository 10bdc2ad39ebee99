"""What every verb has: `--json`, the data folder, exit codes, progress on stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from control_plane.commands.client import Client, Refused, open_client

POLL_S = 0.1
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Data = Annotated[
    Path | None,
    typer.Option("--data", envvar="STOCKYARD_CLOUD_DATA", help="Data folder.", show_default="~/.stockyard-cloud"),
]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is observed.")]
Timeout = Annotated[float, typer.Option("--timeout", help="Seconds to wait at most.")]


@contextmanager
def client(data: Path | None, as_json: bool) -> Iterator[Client]:
    """A client; a refusal is printed and ends the command with exit code 1."""
    try:
        yield open_client(data)
    except Refused as refusal:
        fail(str(refusal), refusal.code, as_json)


def fail(message: str, code: str, as_json: bool) -> NoReturn:
    """Print why it was not done and end with exit code 1."""
    if as_json:
        print(json.dumps({"error": {"code": code, "message": message}}))
    else:
        print(f"{code}: {message}", file=sys.stderr)
    raise typer.Exit(1)


def show(answer: Any, as_json: bool, text: Callable[[], str]) -> None:
    """Print the answer, as JSON or as text."""
    print(json.dumps(answer, indent=2, ensure_ascii=False) if as_json else text())


def table(rows: Sequence[Sequence[object]], heads: Sequence[str]) -> str:
    """Columns under their names."""
    cells = [[str(head) for head in heads], *([("" if cell is None else str(cell)) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(line.rstrip() for line in lines)


def wait_for_status(
    api: Client, slug: str, wanted: Collection[str], timeout_s: float, failures: Collection[str] = ("failed",)
) -> dict[str, Any]:
    """The tenant once its status is one of `wanted`; progress on stderr. Raises Refused on failure or timeout."""
    deadline = time.monotonic() + timeout_s
    said = ""
    while True:
        tenant: dict[str, Any] = api.get(f"/api/tenants/{slug}")
        status = tenant["status"]
        word = status + (f" ({tenant['next_action']})" if tenant.get("next_action") else "")
        if word != said:
            print(f"{slug}: {word}", file=sys.stderr)
            said = word
        if status in wanted:
            return tenant
        if status in failures:
            raise Refused(f"{slug} is {status}: {tenant.get('reason') or 'no reason given'}", "tenant_unavailable")
        if time.monotonic() >= deadline:
            raise Refused(f"{slug} is still {status} after {timeout_s:g} s; see `tenants events {slug}`", "timeout")
        time.sleep(POLL_S)
