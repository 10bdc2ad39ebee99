"""Sessions that ask nearly the same again: a sign that the answer before was of no use."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

from instance.brand.feedback import Judgement
from instance.chute.call_identity import holder
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.brand.feedback import Feedback
    from instance.chute.embedding.embedder import Embedder
    from instance.chute.exchange import Exchange

SIMILAR = 0.9
"""Cosine above which two questions are nearly the same."""
SCORE = -0.5
SESSIONS_MAX = 10_000
WAITING_MAX = 1_000
"""Questions that wait for their vector; of more, the newest are left out."""
QUESTION_MAX_CHARS = 4_000
GATHERED_S = 0.1
"""Questions are compared together with those that come so soon after the first."""

log = logging.getLogger("stockyard.modules")


class _Asked(NamedTuple):
    session: tuple[str, str]
    text: str
    trace_id: str


class RepeatedQuestions:
    """Compares each question of a session with the one before it, after the call is over, so that no call waits for it."""

    def __init__(self, embedder: Embedder, feedback: Feedback, previous: RepeatedQuestions | None = None) -> None:
        self._embedder = embedder
        self._feedback = feedback
        self._last: OrderedDict[tuple[str, str], tuple[Any, str]] = OrderedDict()
        self.found = self.dropped = 0
        """Questions that were asked again, and those that were not compared as too many waited, or the embedder had no time."""
        if previous is not None:
            self._last, self.found, self.dropped = previous._last, previous.found, previous.dropped
        self._waiting: list[_Asked] = []
        self._some_wait = asyncio.Event()
        self._worker = asyncio.create_task(self._compare_all())

    def asked(self, x: Exchange, session: str) -> None:
        """Take the call's question; never waits."""
        waiting = self._waiting
        if len(waiting) >= WAITING_MAX:
            self.dropped += 1
            return
        text = _question(x.req)
        if text:
            # As `_Asked(...)`, but for a call of Python's own.
            waiting.append(tuple.__new__(_Asked, ((holder(x), session), text, x.id)))
            if len(waiting) == 1:
                self._some_wait.set()

    async def close(self) -> None:
        """Compare no more."""
        self._worker.cancel()
        await asyncio.gather(self._worker, return_exceptions=True)

    async def _compare_all(self) -> None:
        while True:
            await self._some_wait.wait()
            await asyncio.sleep(GATHERED_S)
            self._some_wait.clear()
            waiting, self._waiting = self._waiting, []
            try:
                vectors = await self._embedder.embed([asked.text for asked in waiting])
            except Exception as error:  # these are not compared; the log says why
                self.dropped += len(waiting)
                log.warning("feedbackloop: %d questions could not be compared: %s", len(waiting), error)
                continue
            for asked, vector in zip(waiting, vectors, strict=True):
                try:
                    await self._compare(asked, vector)
                except Exception as error:  # a question less is compared; the log says why
                    log.warning("feedbackloop: a question could not be compared: %s", error)

    async def _compare(self, asked: _Asked, vector: Any) -> None:
        before = self._last.pop(asked.session, None)
        self._last[asked.session] = (vector, asked.trace_id)
        if len(self._last) > SESSIONS_MAX:
            self._last.popitem(last=False)
        if before is None or float(before[0] @ vector) <= SIMILAR:
            return
        self.found += 1
        try:
            call = await self._feedback.call(before[1])
        except StockyardError:
            return  # its trace is gone
        judgement = Judgement(-1, 1, "implicit", source="implicit", score=SCORE, tags=("asked_again",))
        await self._feedback.submit(call, judgement, "system")


def _question(req: dict[str, Any]) -> str:
    """The last message when it is the user's and plain text; empty for any other."""
    messages = req.get("messages")
    last = messages[-1] if type(messages) is list and messages else None
    if type(last) is not dict or last.get("role") != "user":
        return ""
    content = last.get("content")
    return content.strip()[:QUESTION_MAX_CHARS] if type(content) is str else ""
