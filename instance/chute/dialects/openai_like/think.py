"""Thinking that a model writes into its text: `<think>…</think>` at the start, told apart also when it is cut anywhere."""

from __future__ import annotations

OPEN = "<think>"
CLOSE = "</think>"


class ThinkSplitter:
    """Takes a text piece by piece and gives (thinking, content). What may be the beginning of a tag is held back."""

    __slots__ = ("_held", "_state")

    def __init__(self) -> None:
        self._held = ""
        self._state = "start"

    def feed(self, text: str) -> tuple[str, str]:
        """What is sure after this piece."""
        if self._state == "content":
            return "", text
        self._held += text
        if self._state == "start":
            seen = self._held.lstrip()
            if not seen or (len(seen) < len(OPEN) and OPEN.startswith(seen)):
                return "", ""
            if not seen.startswith(OPEN):
                self._state = "content"
                return "", self._taken()
            self._held = seen[len(OPEN) :]
            self._state = "thinking"
        if self._state == "after":
            content = self._taken().lstrip("\n")
            if content:
                self._state = "content"
            return "", content
        end = self._held.find(CLOSE)
        if end >= 0:
            thinking, content = self._held[:end], self._held[end + len(CLOSE) :].lstrip("\n")
            self._held = ""
            self._state = "content" if content else "after"
            return thinking, content
        keep = _tail_of(self._held, CLOSE)
        thinking = self._held[: len(self._held) - keep]
        self._held = self._held[len(self._held) - keep :]
        return thinking, ""

    def flush(self) -> tuple[str, str]:
        """What was held when the text ended."""
        held = self._taken()
        return (held, "") if self._state == "thinking" else ("", held)

    def _taken(self) -> str:
        held, self._held = self._held, ""
        return held


def _tail_of(text: str, tag: str) -> int:
    """How many characters at the end of the text may begin the tag."""
    for size in range(min(len(tag) - 1, len(text)), 0, -1):
        if tag.startswith(text[-size:]):
            return size
    return 0
