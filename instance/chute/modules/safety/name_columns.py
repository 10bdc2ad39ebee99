"""Cells of the columns of tables that hold people's names: of Markdown, and of values between commas, semicolons or tabs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import re2

from instance.chute.modules.safety.found import Found

_HEADS = (
    "name|full[ _]name|first[ _]?name|last[ _]?name|surname|employee|employee[ _]name|customer|customer[ _]name|client|contact|contact[ _]name|patient|student|teacher|owner|assignee|"
    "reporter|author|manager|attendee|participant|person|user|user[ _]name|reviewer|applicant|candidate|tenant|guest|driver|agent|member|nombre|nom|vorname|nachname|kunde|cliente|nome"
)
HEADER = rf'(?:^|[\n|,;\t]) ?(?:\*\*)?"?(?i:{_HEADS})"?(?:\*\*)? ?[|,;\t]'
"""RE2 expression that occurs wherever there is such a column that is not the last one, or the table one of Markdown."""
_HEADER = re2.compile(HEADER)
_HEAD = re.compile(_HEADS, re.IGNORECASE)
_OF_PEOPLE = re.compile(
    r"e-?mail|phone|mobile|tel|age|dob|birth|salary|department|dept|role|job|position|title|gender|team|city|address|grade|shift|manager|hire|employer|office|score|signed",
    re.IGNORECASE,
)
ROWS_MAX = 2000


def cells(text: str, fits: Callable[[str], bool]) -> Iterator[Found]:
    """The names in the columns of people; `fits` says whether a cell may be one. A column that is headed just "name" needs another that
    things do not have."""
    if "\n" not in text or _HEADER.search(text) is None:
        return
    columns: list[int] = []
    mark, at = "", 0
    for number, line in enumerate(text.split("\n")):
        if number > ROWS_MAX:
            return
        start, at = at, at + len(line) + 1
        if columns and mark in line:
            yield from _of_row(line, start, mark, columns, fits)
            continue
        columns = []
        mark = next((each for each in "|\t;," if each in line), "")
        if mark:
            columns = _people(line, mark)


def _people(line: str, mark: str) -> list[int]:
    """The columns of people, where the line is a table's head."""
    heads = [head.strip(' *"') for head in line.split(mark)]
    if len(heads) < 2 or any(len(head) > 24 for head in heads):
        return []
    own = [place for place, head in enumerate(heads) if _HEAD.fullmatch(head)]
    certain = [
        place
        for place in own
        if heads[place].lower()
        not in ("name", "nom", "nome", "nombre", "owner", "client", "customer", "user", "member", "agent", "author")
    ]
    if certain or any(_OF_PEOPLE.match(head) for place, head in enumerate(heads) if place not in own):
        return own
    return []


def _of_row(line: str, start: int, mark: str, columns: list[int], fits: Callable[[str], bool]) -> Iterator[Found]:
    place = 0
    for number, cell in enumerate(line.split(mark)):
        if number in columns:
            shown = cell.strip(' *"')
            if shown and fits(shown):
                begin = start + place + cell.index(shown)
                yield Found("name", begin, begin + len(shown))
        place += len(cell) + 1
