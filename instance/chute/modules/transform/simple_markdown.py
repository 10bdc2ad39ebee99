"""The Markdown that models write most, read without the parser: headings, lists of one level, tables, quotes, and lines with
emphasis, code and links. What is not surely of these forms is left to the parser. Pure."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

_CHAR = r"[^\x00-\x1f\x7f-\xa0\u1680\u2000-\u200f\u2028-\u202f\u205f\u2060\u3000\ufeff\\&<~`*_\[\]|]"
_WORD = r"[A-Za-z0-9À-ÿ]"
_STARS = "|".join(
    rf"(?<![^ (]){stars}(?={_WORD}){_CHAR}++(?:(?<={_WORD}){stars}(?![^ .,;:!?)])|(?<=[.,;:!?)]){stars}(?![^ ]))"
    for stars in (r"\*\*", r"\*")
)
_LINE = re.compile(
    rf"(?:{_CHAR}++|{_STARS}"
    r"|`(?! )[^`\x00-\x1f]++(?<! )`(?!`)"
    rf"|(?<!!)\[{_CHAR}++\]\(https?://[A-Za-z0-9./?=#%:;,@+_-]++\))*"
)
"""Text without any sign, and the signs about which no two readers of Markdown differ."""
_SIGNS = re.compile(r"(\*\*?)([^*]+)\1|`([^`]+)`|\[([^\]]+)\]\([^)]*\)")
_STARTS_BLOCK = re.compile(r"[-+*](?: |\Z)|\d{1,9}[.)](?: |\Z)|#{1,6}(?: |\Z)|>|[-=_* ]+\Z| ")
_HEADING = re.compile(r"#{1,6} (?=[^ #])(.*[^ #])\Z")
_ITEM = re.compile(r"(?:([-*+])|(\d{1,9})([.)])) (?=[^ ])")
_COLUMNS = re.compile(r"\|(?: *:?-+:? *\|)+\Z")


class Part(NamedTuple):
    """A piece of a block: a heading or paragraph (its text alone), a list (its items) or a table (a list of cells for each row)."""

    kind: Literal["text", "list", "table"]
    texts: list[str]
    rows: list[list[str]] = []  # noqa: RUF012 (never changed)


def parts_of(block: str) -> list[Part] | None:
    """The block's parts; `None` when the parser has to say what it is."""
    lines = block.strip("\n").split("\n")
    if lines[0].startswith(">"):
        if not all(line.startswith(">") for line in lines):
            return None
        inner = [line[2:] if line.startswith("> ") else line[1:] for line in lines]
        return None if any(line.startswith((" ", ">")) for line in inner) else parts_of("\n".join(inner))
    if lines[0].startswith("|"):
        return _table(lines)
    parts: list[Part] = []
    place = 0
    while place < len(lines):
        line = lines[place]
        if not line:
            place += 1
            continue
        heading = _HEADING.match(line)
        item = _ITEM.match(line)
        if heading is not None:
            text = _plain(heading[1])
            place += 1
        elif item is not None:
            items, place = _items(lines, place, item[1] or item[3])
            if items is None:
                return None
            parts.append(Part("list", items))
            continue
        else:
            text, place = _paragraph(lines, place)
        if text is None:
            return None
        parts.append(Part("text", [text]))
    return parts


def _plain(line: str) -> str | None:
    """The words of a line of text; `None` when it is not simple."""
    if not line or line[-1] == " " or line[0] == " " or _LINE.fullmatch(line) is None:
        return None
    if "*" not in line and "`" not in line and "[" not in line:
        return line
    return _SIGNS.sub(_words, line)


def _words(match: re.Match[str]) -> str:
    return match[2] or match[3] or match[4]


def _items(lines: list[str], place: int, marker: str) -> tuple[list[str] | None, int]:
    """The items of the list that begins here, and where it ends."""
    items: list[str] = []
    while place < len(lines):
        line = lines[place]
        if line:
            item = _ITEM.match(line)
            if item is None:
                if lines[place - 1] and _HEADING.match(line) is None:
                    return None, place  # it goes on with the item's paragraph
                break
            if (item[1] or item[3]) != marker:
                break
            text = line[item.end() :]
            said = None if _STARTS_BLOCK.match(text) is not None else _plain(text)
            if said is None:
                return None, place
            items.append(said)
        place += 1
    # What is indented below an item belongs to it.
    return (None if place < len(lines) and lines[place].startswith(" ") else items), place


def _paragraph(lines: list[str], place: int) -> tuple[str | None, int]:
    """The text of the paragraph that begins here, and where it ends."""
    texts: list[str] = []
    while place < len(lines) and lines[place]:
        line = lines[place]
        if _STARTS_BLOCK.match(line) is not None:
            if not texts:
                return None, place
            item = _ITEM.match(line)
            if _HEADING.match(line) is None and (item is None or (item[2] or "1") != "1"):
                return None, place
            break
        text = _plain(line)
        if text is None:
            return None, place
        texts.append(text)
        place += 1
    return "\n".join(texts), place


def _table(lines: list[str]) -> list[Part] | None:
    if len(lines) < 2 or _COLUMNS.match(lines[1]) is None:
        return None
    count = lines[1].count("|") - 1
    rows: list[list[str]] = []
    for number, line in enumerate(lines):
        if number == 1:
            continue
        if len(line) < 2 or line[0] != "|" or line[-1] != "|":
            return None
        row: list[str] = []
        for cell in line[1:-1].split("|"):
            bare = cell.strip(" ")
            text = _plain(bare) if bare else ""
            if text is None:
                return None
            row.append(text)
        if len(row) != count:
            return None
        rows.append(row)
    return [Part("table", [], rows)]
