"""Fenced code blocks in a text that may come in pieces, by CommonMark's rules; one that is not closed ends with the text."""

from __future__ import annotations

import re
from collections.abc import Callable
from textwrap import dedent

Block = Callable[[str, str, bool], tuple[str, str]]
"""`(language tag, code, whether it is only its beginning)` -> what happens and its text: `("", "")` passes, `("replace", notice)`, `("append", note)`."""

_OPENS = re.compile(r"(?:(?<=\n)|\A)([ \t>]*(?:[-*+] |\d{1,3}[.)] )?[ \t]*)(`{3,}(?=[^`\n]*\n)|~{3,})([^\n]*)\n")
_MAY_OPEN = re.compile(
    r"(?:(?<=\n)|\A)[ \t>]*(?:[-*+]?|\d{1,3}[.)]?) ?[ \t]*(?:`{1,2}|~{1,2}|`{3,}[^`\n]*|~{3,}[^\n]*)?\Z"
)
MAY_OPEN_MAX_CHARS = 300


class FencedText:
    """One text; `feed` gives what may be sent. A block is held from its opening fence until it closes, or is `hold_chars` long."""

    __slots__ = ("_at_line_start", "_block", "_held", "_hold_chars", "_rest")

    def __init__(self, block: Block, hold_chars: int) -> None:
        self._block = block
        self._hold_chars = hold_chars
        self._held = ""
        self._at_line_start = True
        self._rest: tuple[re.Pattern[str], bool] | None = None
        """Of a block that was too long to hold: what closes it, and whether the rest of it is dropped."""

    def feed(self, text: str, last: bool) -> str:
        if not self._held and self._rest is None and "\n" not in text:
            # Inside a line nothing opens, nor does a line that begins with a letter.
            if not self._at_line_start:
                return text
            if text[:1].isalpha():
                self._at_line_start = False
                return text
        self._held += text
        sent: list[str] = []
        while self._held and self._step(sent, last):
            pass
        return "".join(sent)

    def _step(self, sent: list[str], last: bool) -> bool:
        """Take what is complete; whether more may be."""
        held = self._held
        if self._rest is not None:
            return self._take_rest(sent, *self._rest, last)
        opening = _OPENS.search(held) if self._at_line_start else self._inner(held)
        if opening is None:
            keep = len(held) if last else self._keep_from(held)
            self._send(sent, held[:keep])
            return False
        if opening.start() > 0:
            self._send(sent, held[: opening.start()])
            return True
        fence = opening.group(2)
        closing = re.compile(rf"(?:(?<=\n)|\A)[ \t>]*{re.escape(fence[0])}{{{len(fence)},}}[ \t]*(?:\n|\Z)")
        closes = closing.search(held, opening.end())
        if closes is not None and closes.end() == len(held) and not held.endswith("\n") and not last:
            closes = None  # more marks or words may follow on its line
        too_long = closes is None and len(held) > self._hold_chars
        if closes is None and not last and not too_long:
            return False
        end = closes.end() if closes is not None else len(held)
        code_end = closes.start() if closes is not None else len(held)
        code = held[opening.end() : code_end]
        if opening.group(1).strip("0123456789.)-*+ \t"):
            code = re.sub(r"(?m)^[ \t]*>[ \t]?", "", code)
        what, words = self._block(opening.group(3).strip(), dedent(code) if code[:1] in " \t" else code, too_long)
        whole = held[:end]
        if what == "replace":
            whole = words + ("\n" if too_long or whole.endswith("\n") else "")
        elif what == "append" and closes is not None:
            whole = whole.rstrip("\n") + "\n" + words + "\n"
        elif what == "append":
            whole = f"{whole.rstrip(chr(10))}\n{fence}\n{words}\n"
        self._held = held[end:]
        if too_long:
            self._rest = (closing, what == "replace")
        sent.append(whole)
        self._at_line_start = whole.endswith("\n") or not whole
        return True

    def _take_rest(self, sent: list[str], closing: re.Pattern[str], drops: bool, last: bool) -> bool:
        """The rest of a block of which the beginning was judged already, line by line."""
        held = self._held
        start = 0 if self._at_line_start else held.find("\n") + 1
        closes = closing.search(held, start) if start or self._at_line_start else None
        if closes is not None and (held[closes.start() : closes.end()].endswith("\n") or last):
            end = closes.end()
            self._rest = None
        else:
            end = len(held) if last else held.rfind("\n") + 1
        if not end:
            return False
        if not drops:
            sent.append(held[:end])
        self._held = held[end:]
        self._at_line_start = held[end - 1] == "\n"
        return True

    def _inner(self, held: str) -> re.Match[str] | None:
        """An opening fence that does not begin the held text, as that is inside of a line."""
        line = held.find("\n")
        return _OPENS.search(held, line + 1) if line >= 0 else None

    def _keep_from(self, held: str) -> int:
        """Index from which the text may become an opening fence."""
        line = held.rfind("\n") + 1
        if line == 0 and not self._at_line_start:
            return len(held)
        tail = held[line:]
        return line if len(tail) <= MAY_OPEN_MAX_CHARS and _MAY_OPEN.match(tail) else len(held)

    def _send(self, sent: list[str], text: str) -> None:
        if text:
            sent.append(text)
            self._held = self._held[len(text) :]
            self._at_line_start = text.endswith("\n")
