"""A text of a streamed answer under policies: held back as far as a match may reach, so that none is ever sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from instance.brand.policy import Policy
from instance.chute.modules.trust.policy_set import PolicySet, Sought
from instance.core.errors import StockyardError

HOLD_CHARS = 256
"""So much is held back: matches up to this length are never sent. RE2 has no bound of its own."""
HELD_MAX_CHARS = 4096
"""A match that goes on for longer is decided as it is."""
CONTEXT_CHARS = 64
"""Of what was sent, so much is still looked at, so that `\\b` and `^` mean what they say."""
TEXT_MAX_CHARS = 1 << 20
"""Of one text, so much is kept for the search for longer matches at its end."""

Decide = Callable[[Sought], str | None]
"""What happens to a match: the text in its place, `None` to let it pass; raises `StockyardError` to end the stream."""


class PolicyText:
    """One text on its way. `decide` is asked once for each match that is whole."""

    __slots__ = (
        "_context",
        "_decide",
        "_decided",
        "_full",
        "_held",
        "_holds",
        "_policies",
        "_scoped",
        "_sent",
        "_size",
    )

    def __init__(self, policies: PolicySet, scoped: Sequence[Policy], decide: Decide, *, holds: bool) -> None:
        self._policies = policies
        self._scoped = scoped
        self._decide = decide
        self._holds = holds
        self._context = ""
        self._held = ""
        self._sent = 0
        """Characters of the original text that have left."""
        self._full: list[str] = []
        self._size = 0
        self._decided: set[tuple[int, int]] = set()

    def feed(self, text: str, last: bool) -> str:
        """See `held_texts.Hold`. Raises what `decide` raises."""
        if self._size < TEXT_MAX_CHARS:
            self._full.append(text)
            self._size += len(text)
        if not self._holds:
            if last:
                self._search_all()
            return text
        self._held += text
        out = self._released(last)
        if last:
            self._search_all()
        return out

    def _released(self, last: bool) -> str:
        """What may leave of the held text, matches in it decided."""
        end = len(self._held) if last else len(self._held) - HOLD_CHARS
        if end <= 0 and not last:
            return ""
        window, offset = self._context + self._held, len(self._context)
        replacements: list[tuple[int, int, str]] = []
        for begin, finish, sought in self._matches(window):
            start, stop = begin - offset, finish - offset
            if start < 0 or start >= end:
                continue  # what was sent in part is found when the text ends; what begins later waits
            if stop > end and len(self._held) <= HELD_MAX_CHARS:
                end = start  # it may still grow, or leave in two pieces: it is held whole
                break
            place = (self._sent + start, self._sent + stop)
            if place not in self._decided:
                self._decided.add(place)
                becomes = self._decide(sought)
                if becomes is not None:
                    replacements.append((start, stop, becomes))
                    end = max(end, stop)
        return self._cut(end, replacements) if end > 0 else ""

    def _cut(self, end: int, replacements: list[tuple[int, int, str]]) -> str:
        pieces: list[str] = []
        at = 0
        for start, stop, becomes in sorted(replacements):
            if start >= at:
                pieces += (self._held[at:start], becomes)
                at = stop
        pieces.append(self._held[at:end])
        self._context = (self._context + self._held[:end])[-CONTEXT_CHARS:]
        self._held = self._held[end:]
        self._sent += end
        return "".join(pieces)

    def _matches(self, text: str) -> list[tuple[int, int, Sought]]:
        """Where the patterns match, in order, the longest first; a match of nothing is none."""
        found = [
            (match.start(), match.end(), sought)
            for sought in self._policies.in_answer(text, self._scoped)
            for match in sought.expression.finditer(text)
            if match.end() > match.start()
        ]
        return sorted(found, key=lambda each: (each[0], -each[1]))

    def _search_all(self) -> None:
        """Find what was longer than what is held back, now that the text is whole. Part of it was sent: the stream breaks."""
        for start, stop, sought in self._matches("".join(self._full)):
            if (start, stop) in self._decided or (self._holds and stop - start <= HOLD_CHARS):
                continue
            self._decided.add((start, stop))
            if self._decide(sought) is not None:
                raise StockyardError(
                    "policy_blocked",
                    f"The policy {sought.policy.name!r} takes out a part of this answer that is longer than a stream can be held back.",
                    retryable=False,
                )
