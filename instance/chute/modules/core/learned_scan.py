"""What toolshield does with what was learned: each new text about a tool is judged once, beside the event loop, and remembered."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, NamedTuple

from instance.chute.embedding.late import EmbedderLate, note_late
from instance.chute.exchange import Exchange
from instance.chute.modules.core.injection_marks import ENOUGH, InjectionMarks
from instance.chute.modules.core.learned_tool_texts import LearnedToolTexts
from instance.chute.modules.core.suspicion import suspicious
from instance.chute.modules.safety.injection_guard import with_rules
from instance.chute.text_memory import TextMemory

if TYPE_CHECKING:
    from instance.chute.embedding.embedder import Embedder
    from instance.chute.module import Module
    from instance.core.core import Core

STATE = "toolshield_unread"


class ToolText(NamedTuple):
    """A text about a tool that has not been judged: the tool's name, the kind of text, and its place in the request."""

    name: str
    rule: str
    place: str
    text: str


class LearnedScan:
    """Finds by what was learned, where that leaves a doubt together with the marks, texts in which the marks alone found nothing."""

    def __init__(self, module: Module, action: str, marks: InjectionMarks, core: Core, embedder: Embedder) -> None:
        self._module = module
        self._action = action
        self._marks = marks
        self._learned = LearnedToolTexts(embedder)
        self._points: TextMemory[float] = TextMemory()
        self._clock = core.clock

    def look(self, x: Exchange, told: ToolText, *, is_new: bool) -> None:
        """Note or refuse the text if it is known to be an injection; put it down for `judge` if it is new and not known."""
        points = self._points.get(told.text)
        if points is not None:
            self._act(x, told, points)
        elif is_new and told.text:
            x.state.setdefault(STATE, []).append(told)

    def judge(self, x: Exchange) -> Coroutine[Any, Any, None] | None:
        """Judge what was put down; `None`: nothing was."""
        unread: list[ToolText] | None = x.state.pop(STATE, None)
        return self._judge(x, unread) if unread else None

    async def _judge(self, x: Exchange, unread: list[ToolText]) -> None:
        began = self._clock.mono_ns()
        try:
            found = await self._learned.points([told.text for told in unread], x)
        except EmbedderLate as late:
            note_late(x, self._module, late, "rules", hook="prepare")
            return
        finally:
            x.waited_ns += self._clock.mono_ns() - began
        for told, points in zip(unread, found, strict=True):
            self._points.keep(told.text, points)
        for told, points in zip(unread, found, strict=True):
            self._act(x, told, points)

    def _act(self, x: Exchange, told: ToolText, points: float) -> None:
        by_marks, names = self._marks.points(told.text)
        if with_rules(told.text, "tool", points, by_marks) >= ENOUGH:
            suspicious(x, self._action, told.name, told.rule, [*names, "learned"], told.place)
