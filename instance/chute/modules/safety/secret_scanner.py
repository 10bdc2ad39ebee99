"""Finding credentials in a text and replacing them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache

import re2

from instance.chute.matcher import Matcher
from instance.chute.modules.safety.named_secrets import NAME_CHARS, counts, value_end
from instance.chute.modules.safety.secret_detectors import DETECTORS, GENERIC, Detector

PREVIEW_MIN_CHARS = 16
FINDINGS_MAX = 1000
"""Credentials of one form in one text; the rest of a text that holds more counts as one."""
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


@lru_cache(maxsize=256)
def _compiled(expression: str) -> re.Pattern[str]:
    """The expression compiled by RE2, which answers as a pattern of `re` does. Raises `re2.error`."""
    options = re2.Options()
    options.log_errors = False
    compiled: re.Pattern[str] = re2.compile(expression, options)
    return compiled


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
        own = [
            Detector(name, expression, f"({expression})", severity=severity) for name, expression, severity in custom
        ]
        for detector in own:
            _compiled(detector.form)
        self._entries = (*chosen, *own)
        self.triggers = [detector.trigger for detector in self._entries]
        self.detectors: tuple[Detector, ...] = tuple(chosen)
        self._min_entropy = min_entropy
        self._allow = [_compiled(expression) for expression in allow]
        self._matcher = Matcher([("secretscan", self.triggers)]) if self.triggers else None
        self.own: frozenset[str] = frozenset()

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
        found: list[tuple[int, int, Finding]] = []
        for index in suspects:
            found += [(finding.start, index, finding) for finding in self._find_one(text, self._entries[index])]
        found.sort(key=lambda entry: entry[:2])
        apart: list[Finding] = []
        for _, _, finding in found:
            if not apart or finding.start >= apart[-1].end:
                apart.append(finding)
        return apart

    def _find_one(self, text: str, detector: Detector) -> list[Finding]:
        found: list[Finding] = []
        named = detector is GENERIC
        check, after, extent = detector.check, detector.not_followed_by, detector.extent
        for match in _compiled(detector.form).finditer(text):
            start, end = match.span(1)
            if extent is not None:
                end = extent(text, end)
            elif named:
                end = value_end(text, start, end)
            secret = text[start:end]
            as_matched = extent is not None or end == match.end(1)
            if not secret or (as_matched and after and text[end : end + 1] and text[end] in after):
                continue
            if (check is not None and not check(secret)) or self._allowed(secret):
                continue
            if named and not counts(text[max(0, match.start() - NAME_CHARS) : start], secret, self._min_entropy):
                continue
            found.append(Finding(start, end, detector.name, detector.severity, _preview(secret)))
            if len(found) >= FINDINGS_MAX:
                found.append(Finding(end, len(text), detector.name, detector.severity, "…"))
                break
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

    def find_all(self, text: str, suspects: Iterable[int] | None = None) -> list[Finding]:
        """Own provider keys and all other credentials, in order, without overlaps."""
        own = self.find_own(text) if self.own else []
        found = self.find(text, suspects)
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
