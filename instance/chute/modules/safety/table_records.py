"""What a table in a text says, as sentences: one for each row, its cells with the names of their columns."""

from __future__ import annotations

ROWS_MAX = 400
_RULE = frozenset("|-:+= \t\r")
"""What the line between a table's head and its rows is made of."""
_BAR = "|"
_EMPTY = frozenset(("", "-", "–", "—"))


def without_tables(text: str) -> tuple[str, list[str]]:
    """The text without its tables, and their rows: `| Plan | SSO |` over `| Team | no |` -> `Plan: Team | SSO: no`."""
    if _BAR not in text:
        return text, []
    rest: list[str] = []
    found: list[str] = []
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        head = _cells(lines[at])
        below = lines[at + 1] if at + 1 < len(lines) else ""
        if len(head) < 2 or not (_is_rule(below) or _goes_on(head, lines[at], below)):
            rest.append(lines[at])
            at += 1
            continue
        at += 2 if _is_rule(below) else 1
        while at < len(lines) and len(cells := _cells(lines[at])) >= 2 and len(found) < ROWS_MAX:
            found.append(_row(head, cells))
            at += 1
    return "\n".join(rest), found


def _goes_on(head: list[str], line: str, below: str) -> bool:
    """Whether a line between bars, without numbers, has one below with as many cells: a table without a rule."""
    framed = line.strip().startswith(_BAR) and line.strip().endswith(_BAR)
    return framed and len(_cells(below)) == len(head) and not any(cell.replace(",", "").isdecimal() for cell in head)


def _is_rule(line: str) -> bool:
    return _BAR in line and "-" in line and _RULE.issuperset(line)


def _cells(line: str) -> list[str]:
    if _BAR not in line:
        return []
    return [cell.strip().strip("*`") for cell in line.strip().strip(_BAR).split(_BAR)]


def _row(head: list[str], cells: list[str]) -> str:
    return " | ".join(
        f"{name}: {cell}" if name else cell for name, cell in zip(head, cells, strict=False) if cell not in _EMPTY
    )
