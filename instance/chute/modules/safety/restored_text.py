"""One text of a streamed answer: its own values taken out, then the placeholders of the request put back."""

from __future__ import annotations

from instance.chute.modules.safety.placeholders import Placeholders, opens_placeholder
from instance.chute.modules.safety.windowed_hold import WindowedHold


class RestoredText:
    """`scan` takes the values out, where that is to be; `placeholders` are put back, where that is to be."""

    __slots__ = ("_held", "_in_json", "_placeholders", "_scan")

    def __init__(self, scan: WindowedHold | None, placeholders: Placeholders | None, in_json: bool) -> None:
        self._scan = scan
        self._placeholders = placeholders
        self._in_json = in_json
        self._held = ""

    def feed(self, text: str, last: bool) -> str:
        if self._scan is not None:
            text = self._scan.feed(text, last)
        if self._placeholders is None or (not text and not last):
            return text
        if not self._held and "[" not in text:
            return text
        text = self._held + text
        cut = len(text) if last else opens_placeholder(text)
        self._held = text[cut:]
        return self._placeholders.restore(text[:cut], in_json=self._in_json)
