"""What a detector of personal data found, and how findings that overlap are told apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple


class Found(NamedTuple):
    """A value in a text: its kind and where it stands."""

    kind: str
    start: int
    end: int


def apart(findings: Iterable[Found]) -> list[Found]:
    """The findings in order, of those that overlap the one that begins first, and of these the longest."""
    kept: list[Found] = []
    for finding in sorted(findings, key=lambda each: (each.start, -each.end)):
        if not kept or finding.start >= kept[-1].end:
            kept.append(finding)
    return kept


def replaced(text: str, findings: Iterable[Found], substitute: Callable[[str, str], str]) -> str:
    """The text with each finding replaced by `substitute(kind, value)`; the findings are apart and in order."""
    pieces, at = [], 0
    for kind, start, end in findings:
        pieces += [text[at:start], substitute(kind, text[start:end])]
        at = end
    pieces.append(text[at:])
    return "".join(pieces)
