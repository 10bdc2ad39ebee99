"""What the modules' shared matcher finds in the texts of a call: each is scanned once, whoever asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from instance.chute.answer import JSON
from instance.chute.text import answer_text, request_texts

if TYPE_CHECKING:
    from instance.chute.answer import Answer
    from instance.chute.chain import Plan
    from instance.chute.matcher import Matcher
    from instance.chute.module import Module


class SharedScan:
    """The part of an `Exchange` that knows which patterns occur in its request and its answer."""

    __slots__ = ("request_hits", "scanned", "scanned_answer", "unscanned")

    request_hits: frozenset[int] | None
    unscanned: bool
    """`req` was changed since its texts were scanned."""
    scanned: dict[int, str] | None
    """The texts that were scanned, by their identity."""
    scanned_answer: tuple[str, frozenset[int]] | None

    plan: Plan | None
    req: JSON
    session: str

    def hits(self, module: Module) -> frozenset[int]:
        """Which of the module's patterns (by their index in `module.patterns()`) occur in the request's texts.

        The texts are scanned once for all modules of the plan, when the first of them asks; after a change those that are new.
        Of a text that was taken out the patterns may still be there.
        """
        plan = self.plan
        if plan is None or plan.matcher is None:
            return frozenset()
        hits = self.request_hits
        if hits is None or self.unscanned:
            hits = self._scan(plan.matcher)
        return plan.matcher.of(module.name, hits) if hits else hits

    def _scan(self, matcher: Matcher) -> frozenset[int]:
        texts = request_texts(self.req)
        known = self.scanned
        new = texts if known is None else [text for text in texts if id(text) not in known]
        # What is new after a change is, as a rule, the instructions with a note of ours: they come again with every call.
        hits = matcher.scan_texts(new, recur=known is not None or self.session != "")
        if self.request_hits:
            hits |= self.request_hits
        self.scanned = (known or {}) | {id(text): text for text in new}
        self.request_hits, self.unscanned = hits, False
        return hits

    def answer_hits(self, module: Module, obj: JSON) -> frozenset[int]:
        """Which of the module's `answer_patterns()` occur in the texts of a whole answer; the same texts are scanned once for all."""
        matcher = self.plan.answer_matcher if self.plan is not None else None
        if matcher is None:
            return frozenset()
        text = answer_text(obj)
        scanned = self.scanned_answer
        if scanned is None or scanned[0] != text:
            found = matcher.scan(text) if scanned is None or scanned[1] else matcher.scan_cut(text, scanned[0])
            scanned = self.scanned_answer = text, found
            if self.session:
                matcher.remember(*scanned)
        hits = scanned[1]
        return matcher.of(module.name, hits) if hits else hits

    def answer_may_hold(self, module: Module, answer: Answer) -> bool:
        """Whether any of the module's patterns occurs in the texts of a whole answer; yes where nothing can say so."""
        if answer.obj is None or self.plan is None or self.plan.answer_matcher is None:
            return answer.obj is not None
        return bool(self.answer_hits(module, answer.obj))

    def clean_with(self, module: Module, text: str) -> bool:
        """Whether none of the module's patterns occurs in the request's texts nor in `text`, by one scan of both."""
        plan = self.plan
        if plan is None or plan.matcher is None:
            return True
        if self.request_hits is not None:
            return False
        hits = plan.matcher.scan_texts([*request_texts(self.req), text])
        if not hits:
            self.request_hits, self.unscanned = hits, False
            self.scanned_answer = text, hits
        return not plan.matcher.of(module.name, hits)
