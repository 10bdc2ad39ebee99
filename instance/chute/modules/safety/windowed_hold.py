"""One text of a stream, sent on up to where what is looked for may still go on."""

from __future__ import annotations

from collections.abc import Callable

from instance.chute.modules.safety.found import Found, replaced

WINDOW_CHARS = 64
"""The longest value with spaces inside that is looked for across events."""
STEP_CHARS = 32
"""So much more is waited for before the text is looked at again."""
RUN_MAX_CHARS = 320
"""A longer run without a space is cut."""
CONTEXT_CHARS = 64
"""How much of what was sent is still read, for the words before a value."""


class WindowedHold:
    """Finds values in a text that comes in pieces, and sends it with each found value substituted."""

    __slots__ = ("_before", "_find", "_held", "_substitute")

    def __init__(self, find: Callable[[str], list[Found]], substitute: Callable[[str, str], str]) -> None:
        self._find = find
        self._substitute = substitute
        self._before = ""
        self._held = ""

    def feed(self, text: str, last: bool) -> str:
        held = self._held + text
        if not held or (not last and len(held) <= WINDOW_CHARS + STEP_CHARS):
            self._held = held
            return ""
        offset = len(self._before)
        window = self._before + held
        cut = len(window) if last else self._border(window, offset)
        found = self._find(window)
        if found:
            found = [each for each in found if each.start >= offset]
        for each in found:
            if each.start < cut < each.end or (not last and each.start < cut and each.end >= len(window)):
                cut = each.start
        if cut <= offset:
            self._held = held
            return ""
        sent = window[offset:cut]
        if found:
            here = [Found(each.kind, each.start - offset, each.end - offset) for each in found if each.end <= cut]
            sent = replaced(sent, here, self._substitute)
        self._held = window[cut:]
        self._before = window[max(0, cut - CONTEXT_CHARS) : cut]
        return sent

    def _border(self, window: str, offset: int) -> int:
        """The last space before the window's final `WINDOW_CHARS`."""
        cut = max(offset, len(window) - WINDOW_CHARS)
        while cut > offset and not window[cut - 1].isspace():
            cut -= 1
            if len(window) - cut > RUN_MAX_CHARS:
                return len(window) - WINDOW_CHARS
        return cut
