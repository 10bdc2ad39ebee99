"""Answers under a check that may await: whole ones at once, streamed ones sentence by sentence, one held back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from instance.chute.answer import JSON, Answer
from instance.chute.modules.safety.made_answer import with_content
from instance.chute.sentences import SentenceHold, split_sentences
from instance.chute.stream_gate import EndAnswer, gated
from instance.chute.text import rewrite_answer

Check = Callable[[Sequence[str]], Awaitable[Sequence[str]]]
"""Sentences -> what stands in their place, in their order. Raises `EndAnswer`, or `StockyardError`."""

LOOK_CHARS = 1_000
"""So much text is looked into whatever it is."""
_MAY_END = frozenset(".!?…。！？｡\n")


class CheckedSentences:
    """One text of a stream. A sentence is looked for only when something came that can end one."""

    __slots__ = ("_check", "_hold", "_pending", "_size")

    def __init__(self, check: Check) -> None:
        self._check = check
        self._hold = SentenceHold()
        self._pending: list[str] = []
        self._size = 0

    def keeps(self, text: str) -> bool:
        """Take a text that ends no sentence yet; whether it was one."""
        pending = self._pending
        size = self._size + len(text)
        if size >= LOOK_CHARS or (pending and not _MAY_END.isdisjoint(pending[-1] + text)):
            return False
        pending.append(text)
        self._size = size
        return True

    async def feed(self, text: str, last: bool) -> str:
        if not last and self.keeps(text):
            return ""
        pending = self._pending
        pending.append(text)
        whole = "".join(pending)
        pending.clear()
        self._size = 0
        sentences = self._hold.feed(whole, last)
        passed = ""
        for sentence in sentences:
            try:
                passed += "".join(await self._check([sentence]))
            except EndAnswer as end:
                raise EndAnswer(passed + end.text, end.finish_reason) from None
        return passed


async def check_answer(answer: Answer, check: Check) -> None:
    """Check an answer's contents (the text of its choices); what ends it replaces it whole."""
    if answer.events is not None:
        gated(answer, lambda place: CheckedSentences(check) if is_content(place) else None)
        return
    obj = answer.obj
    if obj is None:
        return
    texts = contents(obj)
    if not texts:
        return
    split = [split_sentences(text) for text in texts]
    every = [sentence for sentences in split for sentence in sentences]
    try:
        checked = await check(every)
    except EndAnswer as end:
        answer.obj = with_content(obj, end.text, end.finish_reason)
        answer.changed = True
        return
    if checked is every:
        return
    new: dict[str, str] = {}
    at = 0
    for text, sentences in zip(texts, split, strict=True):
        new[text] = "".join(checked[at : at + len(sentences)])
        at += len(sentences)
    rewritten = rewrite_answer(obj, lambda text, place: new.get(text, text) if is_content(place) else text)
    if rewritten is not obj:
        answer.obj = rewritten
        answer.changed = True


def is_content(place: str) -> bool:
    """Whether a place is the text of a choice, and neither reasoning nor a tool call's arguments."""
    return place.endswith((".content", ".text")) and ".reasoning" not in place


def contents(obj: JSON) -> list[str]:
    """The texts of a whole answer's choices, in order."""
    choices = obj.get("choices")
    if type(choices) is list and len(choices) == 1 and type(choices[0]) is dict:
        message = choices[0].get("message")
        if type(message) is dict and type(message.get("content")) is str and "text" not in choices[0]:
            return [message["content"]] if message["content"] else []
    texts: list[str] = []

    def look(text: str, place: str) -> str:
        if is_content(place):
            texts.append(text)
        return text

    rewrite_answer(obj, look)
    return texts
