"""Finding credentials in a text and replacing them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import re2

from instance.chute.matcher import Matcher
from instance.chute.modules.safety.secret_detectors import DETECTORS, GENERIC, Detector, entropy_bits, is_placeholder

PREVIEW_MIN_CHARS = 16
PROVIDER_KEY = "provider_key"
"""Name of the detector for the instance's own provider keys."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One credential in a text: where it stands, which form it has, and a preview of at most 4 + 2 characters."""

    start: int
    end: int
    detector: str
    severity: str
    preview: str


def _preview(secret: str) -> str:
    return f"{secret[:4]}…{secret[-2:]}" if len(secret) >= PREVIEW_MIN_CHARS else "…"


def _custom(expression: str) -> re.Pattern[str]:
    """A user's expression, compiled by RE2, which answers as a pattern of `re` does. Raises `re2.error`."""
    options = re2.Options()
    options.log_errors = False
    compiled: re.Pattern[str] = re2.compile(expression, options)
    return compiled


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    severity: str
    form: re.Pattern[str]
    check: Callable[[str], bool] | None
    group: str | int


class Scanner:
    """Finds the credentials in a text. Immutable but for `own`, the instance's own provider keys.

    `detectors` are globs of names. `custom` is a list of `(name, RE2 expression, severity)`; `allow` are RE2
    expressions of values that are no secrets. Raises `re2.error` for an expression that RE2 does not take.
    """

    def __init__(
        self,
        *,
        detectors: Sequence[str] = ("*",),
        min_entropy: float = 3.8,
        custom: Sequence[tuple[str, str, str]] = (),
        allow: Sequence[str] = (),
    ) -> None:
        chosen = [d for d in (*DETECTORS, GENERIC) if any(fnmatchcase(d.name, glob) for glob in detectors)]
        self._entries: list[_Entry] = []
        self.triggers: list[str] = []
        for detector in chosen:
            check = self._generic if detector is GENERIC else detector.check
            group: str | int = "s" if "s" in detector.form.groupindex else 0
            self._entries.append(_Entry(detector.name, detector.severity, detector.form, check, group))
            self.triggers.append(detector.trigger)
        for name, expression, severity in custom:
            self._entries.append(_Entry(name, severity, _custom(expression), None, 0))
            self.triggers.append(expression)
        self.detectors: tuple[Detector, ...] = tuple(chosen)
        self._min_entropy = min_entropy
        self._allow = [_custom(expression) for expression in allow]
        self._matcher = Matcher([("secretscan", self.triggers)]) if self.triggers else None
        self.own: frozenset[str] = frozenset()

    def _generic(self, value: str) -> bool:
        if is_placeholder(value) or not any(map(str.isdigit, value)) or not any(map(str.isalpha, value)):
            return False
        return entropy_bits(value) >= self._min_entropy

    def suspects(self, text: str) -> frozenset[int]:
        """Which detectors could find something in the text, by a single pass over it."""
        return self._matcher.scan(text) if self._matcher is not None else frozenset()

    def find(self, text: str, suspects: Iterable[int] | None = None) -> list[Finding]:
        """The credentials in the text, in order, without overlaps; own provider keys are found by `find_own` only."""
        if suspects is None:
            suspects = self.suspects(text)
        if not suspects:
            return []
        try:
            text.encode()
        except UnicodeEncodeError:
            text = text.encode("utf-8", "replace").decode()
        found: list[Finding] = []
        for index in sorted(suspects):
            entry = self._entries[index]
            for match in entry.form.finditer(text):
                start, end = match.span(entry.group)
                secret = text[start:end]
                if start == end or (entry.check is not None and not entry.check(secret)) or self._allowed(secret):
                    continue
                if not any(start < other.end and other.start < end for other in found):
                    found.append(Finding(start, end, entry.name, entry.severity, _preview(secret)))
        found.sort(key=lambda finding: finding.start)
        return found

    def _allowed(self, secret: str) -> bool:
        return any(allow.search(secret) for allow in self._allow)

    def find_own(self, text: str) -> list[Finding]:
        """Where the instance's own provider keys stand in the text."""
        found: list[Finding] = []
        for key in self.own:
            start = text.find(key)
            while start >= 0:
                found.append(Finding(start, start + len(key), PROVIDER_KEY, "high", "…"))
                start = text.find(key, start + len(key))
        found.sort(key=lambda finding: (finding.start, -finding.end))
        return found

    def find_all(self, text: str) -> list[Finding]:
        """Own provider keys and all other credentials, in order, without overlaps."""
        own = self.find_own(text) if self.own else []
        found = self.find(text)
        if not own:
            return found
        return sorted(
            own + [f for f in found if not any(f.start < o.end and o.start < f.end for o in own)], key=lambda f: f.start
        )

    def redact(self, text: str) -> str:
        """The text with a marker in the place of each credential."""
        return replace(text, self.find_all(text))


def replace(text: str, findings: Sequence[Finding]) -> str:
    """The text with `[SECRET:name]` in the place of each finding; the same text when there is none."""
    if not findings:
        return text
    pieces: list[str] = []
    position = 0
    for finding in findings:
        if finding.start < position:
            continue
        pieces += (text[position : finding.start], f"[SECRET:{finding.detector}]")
        position = finding.end
    pieces.append(text[position:])
    return "".join(pieces)
