"""What must survive a translation as it is (code, addresses, placeholders, numbers), taken out before and put back after. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

_KEPT = re.compile(
    r"""^[ \t]*(?P<fence>`{3,}|~{3,})[^\n]*\n.*?(?:^[ \t]*(?P=fence)[`~]*[ \t]*$|\Z)   # a fenced block, also one never closed
      | `[^`\n]+`                                            # code in a line
      | https?://[^\s<>)\]]+ | \bwww\.[^\s<>)\]]+ | \S+@\S+\.\w+
      | \{\{[^{}\n]{1,200}\}\} | \$\{[^{}\n]{1,200}\} | \{\w{0,60}\} | %\(\w+\)[sd] | %[sd]
      | </?[A-Za-z][^<>\n]{0,200}>
      | \d+(?:[.,:/-]\d+)*
    """,
    re.VERBOSE | re.MULTILINE | re.DOTALL,
)
_TOKEN = re.compile(r"⟦\s*(\d{1,5})\s*⟧")


class Masked(NamedTuple):
    """A text with tokens (`⟦1⟧`) where something was taken out, and what that was."""

    text: str
    kept: list[str]

    @property
    def has_words(self) -> bool:
        """Whether anything is left that can be translated."""
        return any(character.isalpha() for character in _TOKEN.sub("", self.text))

    def restored(self, translated: str) -> str | None:
        """The translation with everything in its place; `None` when something of it was lost or doubled."""
        counts = dict.fromkeys(range(len(self.kept)), 0)
        for match in _TOKEN.finditer(translated):
            place = int(match[1]) - 1
            if place not in counts:
                return None
            counts[place] += 1
        for place, count in counts.items():
            if count != 1 and not (count == 0 and self.kept[place].strip() in translated):
                return None
        return _TOKEN.sub(lambda match: self.kept[int(match[1]) - 1], translated)


def masked(text: str) -> Masked:
    """The text with what must not change taken out."""
    kept: list[str] = []

    def take(match: re.Match[str]) -> str:
        kept.append(match.group())
        return f"⟦{len(kept)}⟧"

    if "⟦" in text:
        return Masked(text, [])
    return Masked(_KEPT.sub(take, text), kept)
