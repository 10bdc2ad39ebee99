"""How commands speak: tables for people, JSON for programs, one line for what went wrong."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import orjson


class Failed(Exception):
    """A command that could not do what was asked. `exit_code` 1: failed or found broken, 2: used wrongly."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def complain(failure: Failed) -> None:
    """Print the reason to standard error."""
    print(f"stockyard: {failure}", file=sys.stderr)


def say(text: str) -> None:
    """Print one line or more."""
    print(text)


def show_json(content: Any) -> None:
    """Print JSON, indented."""
    sys.stdout.buffer.write(orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    sys.stdout.flush()


def show_table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    """Print rows under headings; `columns` maps a heading to the field below it."""
    lines = [tuple(columns), *(tuple(_cell(row.get(field)) for field in columns.values()) for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    for line in lines:
        say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.9f}".rstrip("0").rstrip(".")
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    return str(value)
