"""Flags that verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Data folder (STOCKYARD_DATA, ~/.stockyard).")]
Url = Annotated[
    str | None,
    typer.Option("--url", envvar="STOCKYARD_URL", help="Address of a running instance, e.g. of another machine."),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key", envvar="STOCKYARD_ADMIN_KEY", help="Admin key; needed while the instance runs.", show_envvar=True
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
