"""What a stream came to so far, by the length of its text, against what it may come to."""

from __future__ import annotations

from collections.abc import Sequence
from sys import maxsize

from instance.chute.answer import Delta
from instance.chute.modules.cost.runaway import Runaway

CHARACTERS_PER_TOKEN = 4


class StreamSpending:
    """Told of the events as they come. `limits`: about how many tokens are allowed, and why the stream ends beyond; of several
    that one batch goes over the first counts."""

    __slots__ = ("_limits", "_room", "_runaway", "_shortest")

    def __init__(self, runaway: Runaway | None, limits: Sequence[tuple[int, str]]) -> None:
        self._runaway = runaway
        self._limits = [(tokens * CHARACTERS_PER_TOKEN, reason) for tokens, reason in limits]
        self._shortest = self._room = min([most for most, _ in self._limits], default=maxsize)
        """Characters until a limit is reached."""

    def over(self, batch: list[Delta]) -> str:
        """Why the stream has to end after this batch; empty when it need not."""
        runaway = self._runaway
        for event in batch:
            obj = event.obj
            for choice in (obj.get("choices") or ()) if obj is not None else ():
                part = choice.get("delta")
                text = (part.get("content") or part.get("reasoning_content")) if part else None
                if text and isinstance(text, str):
                    self._room -= len(text)
                    if runaway is not None and runaway.add(text):
                        return "loop"
        if self._room >= 0:
            return ""
        characters = self._shortest - self._room
        return next(reason for most, reason in self._limits if most < characters)
