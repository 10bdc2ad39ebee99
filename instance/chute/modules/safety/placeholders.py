"""Placeholders that stand for personal values, and the values that they stand for: one numbering for a call or a session."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable

import orjson

VALUES_MAX = 2_000
"""Values of one session that are remembered; the oldest are forgotten first."""
SESSIONS_MAX = 5_000

PLACEHOLDER = re.compile(r"\[([A-Z][A-Z0-9_]{0,63})_(\d{1,6})\]")
_OPEN = re.compile(r"\[(?:[A-Z][A-Z0-9_]{0,70})?\Z")
OPEN_MAX_CHARS = 73


class Placeholders:
    """Gives the same value of a kind the same placeholder, and knows the way back. Values are kept in memory only."""

    __slots__ = ("_count", "_hider", "_known", "_of", "_taken", "used_ns")

    def __init__(self) -> None:
        self._of: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._known: dict[str, str] = {}
        self._count: dict[str, int] = {}
        self._taken: frozenset[str] = frozenset()
        self._hider: Callable[[str], tuple[str, list[str]]] | None = None
        self.used_ns = 0

    @property
    def known_values(self) -> bool:
        """Whether a placeholder was given to any value."""
        return bool(self._known)

    def reserve(self, texts: Iterable[str]) -> None:
        """Placeholders that stand in texts without being of ours are never given to a value."""
        found = {match.group() for text in texts if "[" in text for match in PLACEHOLDER.finditer(text)}
        self._taken = frozenset(found - self._known.keys())

    def of(self, kind: str, value: str) -> str:
        key = (kind, _plain(kind, value))
        held = self._of.get(key)
        if held is not None:
            self._of.move_to_end(key)
            return held
        name = kind.upper()
        while True:
            number = self._count[name] = self._count.get(name, 0) + 1
            held = f"[{name}_{number}]"
            if held not in self._taken:
                break
        self._of[key] = held
        self._known[held] = value
        self._hider = None
        if len(self._of) > VALUES_MAX:
            _, gone = self._of.popitem(last=False)
            self._known.pop(gone, None)
        return held

    def apart(self) -> Placeholders:
        """Placeholders for values that are not known here, under other numbers; they are not restored by this."""
        other = Placeholders()
        other._taken = frozenset(self._known) | self._taken
        return other

    def known(self, kind: str, value: str) -> str:
        """The value's placeholder; empty when it has none yet."""
        return self._of.get((kind, _plain(kind, value)), "")

    def hider(self) -> Callable[[str], tuple[str, list[str]]] | None:
        """What puts the placeholders into a text wherever a known value stands as a word, and says which; `None`: none is known."""
        if not self._known or self._hider is not None:
            return self._hider
        of = {value: held for held, value in self._known.items()}
        expression = re.compile("|".join(map(_as_word, sorted(of, key=len, reverse=True))))

        def hide(text: str) -> tuple[str, list[str]]:
            put: list[str] = []

            def placeholder(match: re.Match[str]) -> str:
                put.append(of[match.group()])
                return put[-1]

            return expression.sub(placeholder, text), put

        self._hider = hide
        return hide

    def restore(self, text: str, *, in_json: bool = False) -> str:
        """The text with its placeholders replaced by what they stand for; those of others stay."""
        if "[" not in text or not self._known:
            return text

        def value(match: re.Match[str]) -> str:
            found = self._known.get(match.group())
            if found is None:
                return match.group()
            return orjson.dumps(found)[1:-1].decode() if in_json else found

        return PLACEHOLDER.sub(value, text)


def _as_word(value: str) -> str:
    before = r"(?<!\w)" if value[0].isalnum() else ""
    return before + re.escape(value) + (r"(?!\w)" if value[-1].isalnum() else "")


def _plain(kind: str, value: str) -> str:
    """A value as it is compared: numbers are the same however they are grouped."""
    if kind in ("card", "phone", "iban", "ssn"):
        return re.sub(r"[^0-9A-Za-z+]", "", value).upper()
    return value.casefold() if kind == "email" else value


def opens_placeholder(text: str) -> int:
    """Index from which the end of the text may become a placeholder; its length when nothing does."""
    at = text.rfind("[", max(0, len(text) - OPEN_MAX_CHARS))
    return at if at >= 0 and _OPEN.match(text, at) else len(text)


class Sessions:
    """The placeholders of sessions, each of one caller; `SESSIONS_MAX` of them, forgotten after a time without use."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], Placeholders] = OrderedDict()

    def of(self, caller: str, session: str, now_ns: int, ttl_ns: int) -> Placeholders:
        key = (caller, session)
        found = self._kept.pop(key, None)
        if found is None or now_ns - found.used_ns > ttl_ns:
            found = Placeholders()
        found.used_ns = now_ns
        self._kept[key] = found
        if len(self._kept) > SESSIONS_MAX:
            self._kept.popitem(last=False)
        return found

    def expire(self, before_ns: int) -> None:
        """Forget those last used before."""
        for key in [key for key, each in self._kept.items() if each.used_ns < before_ns]:
            del self._kept[key]

    def __len__(self) -> int:
        return len(self._kept)
