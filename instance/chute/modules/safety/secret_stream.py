"""Credentials in streamed answers: texts held back while they may become one, and texts that are only watched."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import replace as dataclass_replace
from functools import lru_cache

import re2

from instance.chute.modules.safety.secret_detectors import ASSIGNED, COMMAND_LINE, KEYWORD, QUOTED, VALUE
from instance.chute.modules.safety.secret_scanner import Finding, Scanner, replace
from instance.chute.modules.safety.secret_values import jwt_header

HOLD_MAX_CHARS = 200
HOLD_PRIVATE_KEY_MAX_CHARS = 8192
CONTEXT_CHARS = 96
END_LINE_CHARS = 64
ANCHOR_CHARS = 4
"""So many first characters of an own key announce it in flag mode; a stream cut inside them may show three of them."""
NEAR_CHARS = 512
"""How far back an opening is looked for: what is held (200), its context (96) and a keyword."""
WATCH_CHARS = 16_384

Report = Callable[[Finding, str], None]
"""Called with each finding and its place; may raise to end the stream."""

_RUN_CHARS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_~.%+/=:?&-"
_RANDOM = re.compile(r"[0-9]|[a-z][A-Z]")
"""What a run of characters that is no word soon has."""
ANNOUNCED_CHARS = 200
"""How far before its end a value's keyword is looked for."""
_ANNOUNCES = ("pass", "secret", "token", "key", "credential", "pwd", "kennwort", "contrase", "senha", "basic", "bearer")
"""One of these is in every keyword before a value."""
_OPEN_GENERIC = re2.compile(rf"(?i)(?:{KEYWORD}{ASSIGNED}{QUOTED}|\b(?:basic|bearer) )({VALUE}*)\z")
_OPEN_CONNECTION = re.compile(r"(?i)[a-z][a-z0-9+]{1,20}://[^\s:/@\"']{0,64}:(?P<s>[^\s@/\"']*)@?\Z")
_COMMAND = re.compile(r" -{1,2}(?:u(?:ser)?\b|p|pass)| pass:")
"""One of these is in every command line before a password."""
_OPEN_COMMAND = re.compile(COMMAND_LINE + r"(?P<s>[\"']?[^\s\"']*)\Z")
_BEGIN = "-----BEGIN "
_OPEN_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]{0,30}(?:-{1,5}\Z|\Z|-----)")
_END_PRIVATE_KEY = re.compile(r"-----END [A-Z ]{0,30}-----")
_OPEN_JWT = re.compile(r"eyJ[0-9A-Za-z_-]{8,}\.eyJ[0-9A-Za-z_.-]*\Z")
_TOKEN_REST = re.compile(r"[0-9A-Za-z_~.%+/=-]*")


class Openings:
    """Tells from where on a text may be the beginning of a credential that goes on in the next delta."""

    __slots__ = ("_in_run", "_literal", "_partial", "_partial_max")

    def __init__(self, scanner: Scanner) -> None:
        literals = frozenset(prefix for detector in scanner.detectors for prefix in detector.prefixes)
        self._literal, self._partial = _expressions(literals)
        """A literal, and a beginning of a literal at the text's end, at the beginning of a word."""
        self._partial_max = max(map(len, literals), default=1) - 1
        self._in_run = all(set(literal[:-1]) <= set(_RUN_CHARS) for literal in literals)
        """Every beginning of one is looked for in the text's last run alone."""

    def find(self, text: str, own: frozenset[str]) -> int:
        """Index from which the text must be held back; its length when nothing is open."""
        opens = length = len(text)
        near = max(0, length - NEAR_CHARS)
        run = max(near, len(text.rstrip(_RUN_CHARS)))
        if run < length:
            literal = self._literal.search(text, run)
            if literal is not None:
                opens = literal.start()
            elif _RANDOM.search(text, run) is not None:
                opens = run
        ended = text.endswith("-----") and _END_PRIVATE_KEY.search(text, max(0, length - END_LINE_CHARS))
        begins = max(run if self._in_run else 0, length - self._partial_max)
        if begins < length and not ended:
            partial = self._partial.search(text, begins)
            if partial is not None:
                opens = min(opens, partial.start())
        folded = text[-ANNOUNCED_CHARS:].lower()
        for word in _ANNOUNCES:
            if word in folded:
                recent = text[near:].encode("utf-8", "replace").decode()
                generic = _OPEN_GENERIC.search(recent)
                if generic is not None:
                    opens = min(opens, near + generic.start(1))
                break
        if "://" in text:
            connection = _OPEN_CONNECTION.search(text, near)
            if connection is not None:
                opens = min(opens, connection.start("s"))
        if _COMMAND.search(text, near) is not None:
            command = _OPEN_COMMAND.search(text, near)
            if command is not None:
                opens = min(opens, command.start("s"))
        begin = text.rfind(_BEGIN)
        if begin >= 0 and _OPEN_PRIVATE_KEY.match(text, begin) and not _END_PRIVATE_KEY.search(text, begin):
            opens = min(opens, begin)
        for key in own:
            opens = min(opens, _own_opening(text, key, 1))
        return opens


@lru_cache(maxsize=16)
def _expressions(literals: frozenset[str]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What finds one of the literals at the beginning of a word, and a beginning of one there at the text's end. Written once for the
    same detectors: it takes milliseconds."""
    if not literals:
        return re.compile(r"(?!)"), re.compile(r"(?!)")
    whole = "|".join(map(re.escape, sorted(literals, reverse=True)))
    return re.compile(rf"(?<![0-9A-Za-z])(?:{whole})"), re.compile(rf"(?<![^\W_]){_beginning(literals)}\Z")


def _beginning(literals: Collection[str]) -> str:
    """An expression for a beginning of one of the literals, the longest that fits: not empty, and not a whole one."""
    following: dict[str, list[str]] = {}
    for literal in literals:
        if len(literal) > 1:
            following.setdefault(literal[0], []).append(literal[1:])
    branches = [
        re.escape(first) + (f"(?:{more})?" if (more := _beginning(rests)) else "")
        for first, rests in sorted(following.items())
    ]
    return f"(?:{'|'.join(branches)})" if branches else ""


def _own_opening(text: str, key: str, least: int) -> int:
    """Where the text ends with a beginning of `key` of at least `least` characters; its length if nowhere."""
    length = len(text)
    if text[-3:] not in key:  # as with nearly all texts: no more than two characters can be it
        for size in (2, 1):
            if least <= size < len(key) and text.endswith(key[:size]):
                return length - size
        return length
    start = text.find(key[:least], max(0, length - len(key) + 1))
    while start >= 0:
        if key.startswith(text[start:]):
            return start
        start = text.find(key[:least], start + 1)
    return length


class HoldBack:
    """One text of a stream (a choice's content, a tool call's arguments) with its credentials taken out on the way."""

    __slots__ = ("_before", "_held", "_openings", "_report", "_scanner", "_swallow", "place")

    def __init__(self, scanner: Scanner, openings: Openings, place: str, report: Report) -> None:
        self._scanner = scanner
        self._openings = openings
        self._report = report
        self._before = ""
        self._held = ""
        self._swallow: str = ""
        self.place = place

    def feed(self, text: str, last: bool) -> str:
        """What may be sent now; with `last` everything that is left."""
        if self._swallow:
            text = self._swallowed(text)
            if self._swallow:
                return ""
        before = self._before
        window = before + self._held + text
        offset = len(before)
        length = len(window)
        if length == offset:
            return ""
        opens = length if last else max(offset, self._openings.find(window, self._scanner.own))
        private = window.startswith(_BEGIN, opens)
        begun = None
        if length - opens > (HOLD_PRIVATE_KEY_MAX_CHARS if private else HOLD_MAX_CHARS):
            begun = self._begun(window, opens)
            opens = length
        ready, self._held = window[:opens], window[opens:]
        found = self._found(ready, offset) if opens > offset else []
        if begun is not None:
            found = [finding for finding in found if finding.end <= begun.start]
            found.append(begun)
            self._swallow = "key" if begun.detector == "private_key" else "token"
        for finding in found:
            self._report(finding, self.place)
        sent = replace(ready, found)
        self._before = sent[-CONTEXT_CHARS:]
        return sent[offset:]

    def _found(self, ready: str, offset: int) -> list[Finding]:
        return [
            finding if finding.start >= offset else dataclass_replace(finding, start=offset)
            for finding in self._scanner.find_all(ready)
            if finding.end > offset
        ]

    def _begun(self, window: str, opens: int) -> Finding | None:
        """The credential that outgrew the hold, if it is known for one already; the rest of it is then dropped."""
        length = len(window)
        if window.startswith(_BEGIN, opens):
            known = "PRIVATE KEY" in window[opens : opens + 48]
            return Finding(opens, length, "private_key", "high", "…") if known else None
        for finding in self._scanner.find_all(window):
            if finding.end == length:
                return finding
        jwt = _OPEN_JWT.search(window, opens)
        if jwt is not None and jwt_header(jwt.group()) and any(d.name == "jwt" for d in self._scanner.detectors):
            return Finding(jwt.start(), length, "jwt", "medium", "…")
        return None

    def _swallowed(self, text: str) -> str:
        """What follows the credential whose marker was sent; `_swallow` stays set while it goes on."""
        if self._swallow == "token":
            rest = text[_TOKEN_REST.match(text).end() :]  # type: ignore[union-attr]
            if rest:
                self._swallow = ""
            return rest
        text = self._held + text
        end = _END_PRIVATE_KEY.search(text)
        if end is None:
            self._held = text[-END_LINE_CHARS:]
            return ""
        self._swallow = self._held = ""
        return text[end.end() :]


class OwnKeyGuard:
    """One text of a stream in flag mode: nothing is held back but what begins like one of the instance's own keys."""

    __slots__ = ("_anchors", "_held", "_report", "_scanner", "_tail", "place")

    def __init__(self, scanner: Scanner, anchors: tuple[str, ...], place: str, report: Report) -> None:
        self._scanner = scanner
        self._anchors = anchors
        self._report = report
        self._tail = ""
        self._held = ""
        self.place = place

    def feed(self, text: str, last: bool) -> str:
        """What may be sent now; with `last` everything that is left."""
        window = self._tail + self._held + text
        offset = len(self._tail)
        for anchor in self._anchors:
            if anchor in window:
                break
        else:
            self._tail = window[1 - ANCHOR_CHARS :]
            return text
        opens = len(window)
        if not last:
            for key in self._scanner.own:
                opens = min(opens, _own_opening(window, key, ANCHOR_CHARS))
        opens = max(opens, offset)
        ready, self._held = window[:opens], window[opens:]
        self._tail = ready[1 - ANCHOR_CHARS :]
        found = [
            dataclass_replace(finding, start=max(finding.start, offset))
            for finding in self._scanner.find_own(ready)
            if finding.end > offset
        ]
        for finding in found:
            self._report(finding, self.place)
        return replace(ready, found)[offset:]


class Watch:
    """The texts of a stream in flag mode, looked at in pieces of `WATCH_CHARS` and at the end."""

    __slots__ = ("_pieces", "_report", "_scanner", "_size", "place")

    def __init__(self, scanner: Scanner, place: str, report: Report) -> None:
        self._scanner = scanner
        self._report = report
        self._pieces: list[str] = []
        self._size = 0
        self.place = place

    def feed(self, text: str) -> None:
        self._pieces.append(text)
        self._size += len(text)
        if self._size >= WATCH_CHARS:
            self._look_at_most()

    def _look_at_most(self) -> None:
        """Look at what came, but for a last word that may go on."""
        joined = "".join(self._pieces)
        cut = max(joined.rfind(" "), joined.rfind("\n")) + 1
        cut = cut if len(joined) - cut <= WATCH_CHARS // 2 else len(joined)
        self._pieces = [joined[cut:]] if cut < len(joined) else []
        self._size = len(joined) - cut
        self._look(joined[:cut])

    def before(self, feed: Callable[[str, bool], str] | None) -> Callable[[str, bool], str]:
        """A feed that looks at the text and gives it to the next one, if there is any."""

        def watched(text: str, last: bool) -> str:
            self._pieces.append(text)
            self._size += len(text)
            if self._size >= WATCH_CHARS:
                self._look_at_most()
            return text if feed is None else feed(text, last)

        return watched

    def end(self) -> None:
        """Look at what is left; may be called more than once."""
        if self._pieces:
            joined, self._pieces, self._size = "".join(self._pieces), [], 0
            self._look(joined)

    def _look(self, text: str) -> None:
        for finding in self._scanner.find(text):
            self._report(finding, self.place)
