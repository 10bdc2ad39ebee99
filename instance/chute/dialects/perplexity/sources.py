"""Where an answer's text names its sources (`[1]`), as OpenAI's annotations; the marks can be taken out."""

from __future__ import annotations

import re
from typing import Any

from instance.chute.answer import JSON

_MARK = re.compile(r"\[(\d{1,3})\]")
_BEGUN = re.compile(r"\[\d{0,3}$")


class Marks:
    """Takes the text piece by piece and notes the marks by their place in the text that goes out.

    With `strip` marks do not go out, and what may be the beginning of one is held back until `flush`.
    """

    __slots__ = ("_held", "_length", "_strip", "_tail", "found")

    def __init__(self, *, strip: bool = False) -> None:
        self._strip = strip
        self._held = ""
        self._tail = ""
        self._length = 0
        self.found: list[tuple[int, int, int]] = []
        """(number, start, end) of each mark, in characters of the text that went out."""

    def feed(self, text: str) -> str:
        """The text that can go out."""
        if self._strip:
            return self._stripped(self._held + text, hold=True)
        # What goes out is what came; only a mark that was cut is looked for across the pieces.
        before = self._length - len(self._tail)
        seen = self._tail + text
        for mark in _MARK.finditer(seen):
            self.found.append((int(mark[1]), before + mark.start(), before + mark.end()))
        begun = _BEGUN.search(seen)
        self._tail = begun[0] if begun else ""
        self._length += len(text)
        return text

    def flush(self) -> str:
        """What was held when the text ended."""
        return self._stripped(self._held, hold=False) if self._strip else ""

    def _stripped(self, text: str, *, hold: bool) -> str:
        begun = _BEGUN.search(text) if hold else None
        self._held = begun[0] if begun else ""
        text = text[: begun.start()] if begun else text
        out: list[str] = []
        end = 0
        for mark in _MARK.finditer(text):
            out.append(text[end : mark.start()])
            self._length += mark.start() - end
            self.found.append((int(mark[1]), self._length, self._length))
            end = mark.end()
        out.append(text[end:])
        self._length += len(text) - end
        return "".join(out)


def source_annotations(marks: list[tuple[int, int, int]], obj: JSON) -> list[JSON]:
    """`url_citation`s for the sources of an answer: one for each mark, and one at 0 for each source that has no mark."""
    sources = _sources(obj)
    named = {number for number, _, _ in marks}
    places = [(number, start, end) for number, start, end in marks if 1 <= number <= len(sources)]
    places += [(number, 0, 0) for number in range(1, len(sources) + 1) if number not in named]
    return [
        {
            "type": "url_citation",
            "url_citation": {
                "url": sources[number - 1][0],
                "title": sources[number - 1][1],
                "start_index": start,
                "end_index": end,
            },
        }
        for number, start, end in places
    ]


def _sources(obj: JSON) -> list[tuple[str, str]]:
    """(address, title) of each source, in the order of their numbers."""
    titles = {
        row["url"]: row.get("title") or ""
        for row in obj.get("search_results") or ()
        if isinstance(row, dict) and isinstance(row.get("url"), str)
    }
    cited: Any = obj.get("citations")
    urls = [url for url in cited if isinstance(url, str)] if isinstance(cited, list) else list(titles)
    return [(url, titles.get(url, "")) for url in urls]
