"""What a stream came to so far, by its events and the length of what they hold, against what it may come to."""

from __future__ import annotations

from collections.abc import Sequence
from sys import maxsize

from instance.chute.answer import Delta
from instance.chute.delta_text import characters_beside
from instance.chute.modules.cost.runaway import Runaway

CHARACTERS_PER_TOKEN = 4


class StreamTokens:
    """About how many tokens events have: one for each that holds something, or one for four characters where that is more. A
    provider may send many tokens in one event, and a script may need more than a token for four characters."""

    __slots__ = ("_characters", "_events")

    def __init__(self) -> None:
        self._characters = self._events = 0

    def add(self, batch: list[Delta]) -> int:
        """Take events in; the tokens of all so far."""
        for event in batch:
            obj = event.obj
            before = self._characters
            for choice in (obj.get("choices") or ()) if obj is not None else ():
                part = choice.get("delta")
                if part:
                    text = part.get("content")
                    if text and type(text) is str:
                        self._characters += len(text)
                    if len(part) > 1 or not text:
                        self._characters += characters_beside(part)
            self._events += self._characters > before
        by_length = -(-self._characters // CHARACTERS_PER_TOKEN)
        return by_length if by_length > self._events else self._events


class StreamSpending:
    """Told of the events as they come. `limits`: about how many tokens are allowed, and why the stream ends beyond; of several
    that one batch goes over the first counts."""

    __slots__ = ("_limits", "_runaway", "_shortest", "_tokens")

    def __init__(self, runaway: Runaway | None, limits: Sequence[tuple[int, str]]) -> None:
        self._runaway = runaway
        self._limits = limits
        self._shortest = min([most for most, _ in limits], default=maxsize)
        self._tokens = StreamTokens()

    def over(self, batch: list[Delta]) -> str:
        """Why the stream has to end after this batch; empty when it need not."""
        if self._runaway is not None and self._runs_away(self._runaway, batch):
            return "loop"
        if self._shortest == maxsize:
            return ""
        tokens = self._tokens.add(batch)
        return next(reason for most, reason in self._limits if most < tokens) if tokens > self._shortest else ""

    def _runs_away(self, runaway: Runaway, batch: list[Delta]) -> bool:
        for event in batch:
            obj = event.obj
            for choice in (obj.get("choices") or ()) if obj is not None else ():
                part = choice.get("delta")
                text = (part.get("content") or part.get("reasoning_content")) if part else None
                if text and isinstance(text, str) and runaway.add(text):
                    return True
        return False
