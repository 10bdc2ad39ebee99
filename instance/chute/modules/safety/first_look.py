"""One look at a call's new texts for all modules that judge them, in one job of the embedder's thread.

Nearly every text is harmless in every regard, and what the modules would embed of it is mostly the same. So the first of them that
waits has those behind it in the plan told too in which texts they have surely nothing to find; where that is not sure, a module
judges by itself, as it would without the look.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary

from instance.chute.containment import Fits, scope_of
from instance.chute.modules.safety.seen_text import Reading, SeenText

if TYPE_CHECKING:
    from instance.chute.chain import Plan
    from instance.chute.embedding.embedder import Embedder, Vectors
    from instance.chute.exchange import Exchange
    from instance.core.clock import Clock
    from instance.core.core import Core

LOOK_MAX_CHARS = 1_500
"""Longer texts each module judges by itself: it chooses which of their sentences are read."""
SERVICE = STATE = "first_look"


class Looker(Protocol):
    """What a module has as its `looker`, so that its texts are looked at along with those of others."""

    def wants_look(self, x: Exchange) -> bool:
        """On the event loop: whether the module will judge this call's new texts, and the look can spare it that."""

    def rows(self, seen: SeenText) -> list[int] | None:
        """On the embedder's thread: the rows of what is to be read of a text; `None`: the module has to judge it itself."""

    def is_silent(self, reading: Reading, rows: list[int]) -> bool:
        """On the embedder's thread: whether the module has surely nothing to find in what was read."""


class Look:
    """Which of some texts have surely nothing for a module, by its looker."""

    __slots__ = ("_lookers", "_reading", "_rows", "_silent", "_texts")

    def __init__(self, texts: Sequence[str], lookers: Sequence[Looker]) -> None:
        self._texts = texts
        self._lookers = lookers
        self._silent: dict[Looker, set[str]] = {}
        self._reading: Reading | None = None
        self._rows: list[tuple[Looker, str, list[int]]] = []

    def is_silent(self, looker: Looker, texts: Sequence[str]) -> bool:
        """Whether the module has nothing to find in any of the texts."""
        silent = self._silent.get(looker)
        return silent is not None and silent.issuperset(texts)

    def read(self) -> list[str]:
        """What is to be embedded."""
        reading = self._reading = Reading()
        for text in self._texts:
            seen = SeenText(reading, text)
            for looker in self._lookers:
                rows = looker.rows(seen)
                if rows is not None:
                    self._rows.append((looker, text, rows))
        return reading.readables

    def judge(self, vectors: Vectors) -> None:
        """Work out what `is_silent` says."""
        reading = self._reading
        assert reading is not None
        reading.take(vectors)
        for looker, text, rows in self._rows:
            if not rows or looker.is_silent(reading, rows):
                self._silent.setdefault(looker, set()).add(text)
        self._rows = []
        self._reading = None


def is_silent(x: Exchange, looker: Looker, texts: Sequence[str]) -> bool:
    """Whether the call's look, where one was taken, says already that the module has nothing to find in its texts."""
    look: Look | None = x.state.get(STATE)
    return look is not None and look.is_silent(looker, texts)


class FirstLook:
    """Takes the looks of an instance."""

    def __init__(self, embedder: Embedder, clock: Clock) -> None:
        self._embedder = embedder
        self._clock = clock
        self._lookers: WeakKeyDictionary[Plan, dict[Looker, tuple[tuple[Looker, Fits | None], ...]]] = (
            WeakKeyDictionary()
        )

    async def finds_nothing(self, x: Exchange, looker: Looker, texts: Sequence[str]) -> bool:
        """Whether a look says that the module has nothing to find in its texts. The call's first one is taken here, for all modules
        behind this one too; if that was of other texts, there is no other. Raises `EmbedderLate`."""
        state = x.state
        look: Look | None = state.get(STATE)
        if look is None:
            if len(texts[0] if len(texts) == 1 else "".join(texts)) > LOOK_MAX_CHARS or not looker.wants_look(x):
                return False
            lookers = [looker]
            for other, fits in self._behind(x, looker):
                if (fits is None or fits(x)) and other.wants_look(x):
                    lookers.append(other)
            look = state[STATE] = Look(texts, lookers)
            mono_ns = self._clock.mono_ns
            began = mono_ns()
            await self._embedder.run(look.read, look.judge, x)
            x.waited_ns += mono_ns() - began
        return look.is_silent(looker, texts)

    def _behind(self, x: Exchange, looker: Looker) -> tuple[tuple[Looker, Fits | None], ...]:
        """The lookers behind one in the plan, and where they act."""
        plan = x.plan
        if plan is None:
            return ()
        known = self._lookers.get(plan)
        if known is None:
            known = self._lookers[plan] = {}
            there: list[tuple[Looker, Fits | None]] = []
            for link in reversed(plan.links):
                other: Looker | None = getattr(link.module, "looker", None)
                if other is not None:
                    known[other] = tuple(there)
                    there.append((other, scope_of(link.module)))
        return known.get(looker, ())


def first_look_of(core: Core, embedder: Embedder) -> FirstLook:
    """The instance's one."""
    found: FirstLook | None = core.services.get(SERVICE)
    if found is None:
        found = core.services[SERVICE] = FirstLook(embedder, core.clock)
    return found
