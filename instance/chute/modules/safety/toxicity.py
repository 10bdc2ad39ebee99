"""Scores of a text by category of harm: rules over its plain form, the words around them, and what was learned from labelled examples."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import re2

from instance.chute.matcher import LONG_CHARS, Matcher
from instance.chute.modules.safety import toxic_rules as rules
from instance.chute.modules.safety.classifier import Classifier, fit_regression, readable, softmax
from instance.chute.modules.safety.learned_files import HARMLESS, TOXIC, LearnedFile
from instance.chute.modules.safety.plain_form import INVISIBLE, forms_of, plain, unleeted, unmasked
from instance.chute.text_memory import TextMemory

if TYPE_CHECKING:
    from instance.chute.embedding.embedder import Embedder, Vectors
    from instance.chute.exchange import Exchange

T = TypeVar("T")

TEXT_MAX_CHARS = 20_000
"""What of one text is judged; texts are judged in sentences or messages, longer ones are cut."""
NEAR_CHARS = 160
NEAREST_FROM, NEAREST_SURE = 0.42, 0.78
"""Cosine to an example of the user's own from which it counts, and at which it alone is certain."""
DOUBTED_BELOW, DOUBT, SURE = 0.1, 0.6, 0.8
"""Rules that are not sure count less where what was learned takes a text for harmless."""
LEARNED_MIN = 0.02
"""Where what was learned has no score from here on, it sees nothing at all in a text: of the left-out examples that were so, none in
which a rule was sure was harmful."""
UNDOUBTED = ("profanity",)
"""Categories that are matters of words, not of what is said."""
NEARLY = 0.5
"""Share of the likeliest category's from which another one counts as nearly as likely."""


_TOPICS = (
    r"(?i)\b(?:kill|murder|stab|shoot|gun|rifle|knife|weapon|bomb|explo|poison|tortur|rape|attack|hurt|beat|strangl|chok(?:e|ing)|punch|kick|burn|blood|bleed|die\b|dying|dead|death|suicid|harm|cut my|scratch my|pills|tablets|jump (?:off|from|in front)|noose|hang\b|hanging|"
    r"live any|(?:stop|of|no longer) living|go on (?:like|any)|end it|it all to|goodbye|better off|hate|race\b|races|jew|muslim|black people|white people|asian|arab|chinese|foreign|gyps|roma\b|gay|homosex|lesbian|transg|trans people|immigrant|refugee|migrant|women (?:are|should|belong)|disabled|their (?:religion|country|race)|"
    r"stupid|dumb|worthless|useless|ugly|fat\b|loser|idiot|moron|coward|failure|pathetic|disgust|humiliat|insult|ashamed|mock|laugh(?:s|ing)? at|cruel|nobody (?:would|wants|likes|can|could|will|loves)|no one (?:would|wants|likes|can|could|will|loves)|shut (?:up|your)|freak|trash|garbage|"
    r"sex|naked|nude|erotic|porn|undress|dirty|steamy|horny|make love|making love|in bed|touch (?:me|you|my|her|him)|(?:her|his|your|my) (?:naked |bare )?body|moan|lust|fantas|underage|minors?\b|preteen|schoolgirl|"
    r"drug|meth(?:amphet|\b)|cocaine|cannabis|weed|opioid|steal|stole|shoplift|hack|break into|pick (?:a|the) lock|launder|fake|forge|counterfeit|phish|scam|fraud|ransom|malware|trojan|keylog|spy on|secretly|pin\b|"
    r"illegal|smuggl|kidnap|threat|revenge|make (?:him|her|them) (?:pay|suffer)|vomit|starv|without (?:anyone|anybody|him|her|them|being|getting) )"
)
"""A wide net of topics: only what speaks of one is worth an embedding."""


class Toxicity:
    """The scores of texts in some languages; `triggers` are for the shared matcher."""

    def __init__(self, languages: Sequence[str] = ("en",), more: Sequence[rules.ToxicRule] = ()) -> None:
        """`more`: rules of further categories."""
        chosen = [*rules.ENGLISH] if "en" in languages else []
        for language in languages:
            chosen += rules.OTHER.get(language, ())
        chosen += more
        self._rules = [(rule.category, rule.weight, re2.compile("(?i)" + rule.expression)) for rule in chosen]
        self._matcher = Matcher([("", ["(?i)" + rule.expression for rule in chosen])])
        self.triggers: tuple[str, ...] = (
            # What may stand at a text's end may at a line's too: that is the end of a sentence that is judged by itself.
            *dict.fromkeys("(?i)" + rule.expression.replace(r"\s*$", r"\s*(?:\n|$)") for rule in chosen),
            _TOPICS,
            INVISIBLE,
            r"[a-zA-Z][0-9@$!|*]{1,2}[a-zA-Z]|[0-9@$][a-zA-Z]{2}|\pL{2}[0-9@$]|(?:\b\pL[ .*_-]){4}|[a-zA-Z][\p{Cyrillic}\p{Greek}]|[\p{Cyrillic}\p{Greek}][a-zA-Z]|[\x{ff21}-\x{ff5a}]",
            *((r"[\x{c0}-\x{17f}]",) if set(languages) - {"en"} else ()),
        )
        self._suspects = Matcher([("", self.triggers)])
        self._topics = re2.compile(_TOPICS)
        self._long: TextMemory[dict[str, float]] = TextMemory()

    def suspects(self, text: str) -> bool:
        """Whether anything in the text is worth a closer look."""
        return bool(self._suspects.scan(text) if len(text) < LONG_CHARS else self._suspects.scan_texts((text,)))

    def on_topic(self, text: str) -> bool:
        """Whether the text speaks of anything that the examples are about."""
        return self._topics.search(text) is not None

    def is_disguised(self, text: str) -> bool:
        """Whether a rule may hold in another form of a text than the one that it has."""
        return any(map(self._matcher.scan, forms_of(text[:TEXT_MAX_CHARS])))

    def scores(self, text: str) -> dict[str, float]:
        """Category -> 0 to 1, by the rules; categories without any sign are left out. Those of long texts are remembered."""
        if len(text) < LONG_CHARS:
            return self._judged(text)
        kept = self._long.get(text)
        return dict(self._long.keep(text, self._judged(text)) if kept is None else kept)

    def _judged(self, text: str) -> dict[str, float]:
        text = text[:TEXT_MAX_CHARS]
        base = plain(text).lower()
        forms = dict.fromkeys((base, unleeted(base), unleeted(unmasked(base))))
        kept: dict[str, float] = {}
        for form in forms:
            missed: dict[str, float] = {}
            for hit in sorted(self._matcher.scan(form)):
                category, weight, expression = self._rules[hit]
                match = expression.search(form)
                if match is not None:
                    weight *= _context(category, form, match.start(), match.end())
                    missed[category] = missed.get(category, 1.0) * (1.0 - weight)
            for category, miss in missed.items():
                kept[category] = max(kept.get(category, 0.0), 1.0 - miss)
        return kept


def _context(category: str, text: str, start: int, end: int) -> float:
    """How much a sign is worth where it stands."""
    before, around = text[max(0, start - 40) : start], text[max(0, start - NEAR_CHARS) : end + NEAR_CHARS]
    shown = text[start:end]
    factor = 1.0
    if category == "violence" and _compiled(rules.TECHNICAL).search(text[start : end + 24]):
        factor *= 0.2
    if category == "illicit" and _compiled(rules.DEFENCE).search(shown):
        factor *= 0.3
    if category in ("sexual", "sexual/minors") and _compiled(rules.MEDICAL).search(around):
        factor *= 0.6
    if category in ("illicit", "violence") and not _compiled(r"^\W*(?:how|tell|write|give|teach|show)\b").search(shown):
        factor *= 0.7 if _compiled(rules.REPORTING).search(around) else 1.0
    elif category not in ("profanity", "self_harm", "sexual/minors", "illicit") and _compiled(rules.REPORTING).search(
        around
    ):
        factor *= 0.7
    elif (
        category == "self_harm"
        and _compiled(rules.REPORTING).search(around)
        and (_compiled(rules.SOMEBODY).search(around) or not _compiled(r"\b(?:i|me|my|myself|i'm|im)\b").search(around))
    ):
        factor *= 0.5
    if category == "alcohol_drugs" and _compiled(r"(?:\broot|\bginger|\bbutter|free|alcoholic)\W*\z").search(before):
        factor *= 0.3
    if category == "alcohol_drugs" and _compiled(r"\b(?:no|without|non|free|never|instead of)\b").search(shown):
        factor *= 0.1
    if category == "gambling" and _compiled(rules.SCHOOL).search(around):
        factor *= 0.5
    if category == "weapons" and _compiled(rules.TOY).search(before):
        factor *= 0.2
    if category not in ("profanity", "sexual", "sexual/minors") and _compiled(rules.NEGATED).search(before):
        factor *= 0.4
    return factor


@cache
def _compiled(expression: str) -> Any:
    return re2.compile("(?i)" + expression)


class Learned:
    """Scores by what was learned from labelled examples (`make learn`), and from the user's own on top of it.

    The weights are read at once; the user's examples are embedded, and learned, when it is first asked.
    """

    def __init__(
        self, embedder: Embedder, own: Sequence[tuple[str, str]] = (), *, learned: LearnedFile = TOXIC
    ) -> None:
        self.classifier = Classifier(learned.weights)
        self._own = [(name, text) for name, text in own if name in self.classifier.names]
        self._embedder = embedder
        self._fitted: tuple[Vectors, Vectors, Any] | None = None

    async def scores(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """For each text, category -> 0 to 1; 0.7 is where cross-validation set the threshold."""
        return await self.run(lambda: texts, list)

    def run(
        self,
        read: Callable[[], Sequence[str]],
        work: Callable[[Sequence[dict[str, float]]], T],
        x: Exchange | None = None,
    ) -> Awaitable[T]:
        """`work(scores of read())`, all of it on the embedder's thread: `read` and `work` must not touch what the loop changes. `x`:
        the call that waits for it. Raises `EmbedderLate`."""
        if self._own and self._fitted is None:
            return self._fit_and_run(read, work, x)
        shown: list[str] = []

        def heard() -> list[str]:
            shown.extend(map(readable, read()))
            return shown

        def judged(vectors: Vectors) -> T:
            return work(self._scores_of(shown, vectors) if shown else ())

        return self._embedder.run(heard, judged, x)

    async def _fit_and_run(
        self,
        read: Callable[[], Sequence[str]],
        work: Callable[[Sequence[dict[str, float]]], T],
        x: Exchange | None,
    ) -> T:
        said = [readable(text) for _, text in self._own]
        self._fitted = await self._embedder.embed_then(said, lambda vectors: self._fit(said, vectors), x)
        return await self.run(read, work, x)

    def likeliest(self, texts: Sequence[str], most: int) -> list[str]:
        """Of many texts those whose words are the likeliest to be harmful, in their order. Takes some 0.1 ms for each: not for the
        event loop."""
        if len(texts) <= most:
            return list(texts)
        harmless = self.classifier.names.index(HARMLESS)
        by_words = self.classifier.by_words(texts)
        return [texts[place] for place in sorted(softmax(by_words)[:, harmless].argsort()[:most])]

    def _fit(self, texts: Sequence[str], vectors: Vectors) -> tuple[Vectors, Vectors, Any]:
        """The vectors of the user's examples, as they are and centred, and their weights on top of what was learned."""
        import numpy as np

        names = self.classifier.names
        centred = self.classifier.centred(vectors)
        wanted = np.array([[own == name for name in names] for own, _ in self._own], dtype=np.float32)
        before = self.classifier.logits(texts, vectors)
        return vectors, centred, fit_regression(centred @ centred.T, wanted, before=before)

    def _scores(self, texts: Sequence[str], vectors: Vectors, more: Any = 0.0) -> list[dict[str, float]]:
        return [self._of(row) for row in softmax(self.classifier.logits(texts, vectors) + more)]

    def _scores_of(self, texts: Sequence[str], vectors: Vectors) -> list[dict[str, float]]:
        if self._fitted is None:
            return self._scores(texts, vectors)
        own, centred, weights = self._fitted
        found = self._scores(texts, vectors, self.classifier.centred(vectors) @ centred.T @ weights)
        for scores, cosines in zip(found, vectors @ own.T, strict=True):
            for (category, _), cosine in zip(self._own, cosines, strict=True):
                near = min(1.0, max(0.0, (float(cosine) - NEAREST_FROM) / (NEAREST_SURE - NEAREST_FROM)))
                if category != HARMLESS:
                    scores[category] = max(scores.get(category, 0.0), near)
        return found

    def _of(self, row: Any) -> dict[str, float]:
        """The categories that a text may be of. What is harmful one way or another is of the likeliest category, and of those
        that are nearly as likely; `sexual/minors` only where it is the likeliest."""
        found = {name: float(share) for name, share in zip(self.classifier.names, row, strict=True) if name != HARMLESS}
        likeliest = max(found, key=lambda name: found[name])
        harm, least = sum(found.values()), found[likeliest] * NEARLY
        scores = {}
        for name, share in found.items():
            counts = name == likeliest or (share >= least and name != "sexual/minors")
            score = self.classifier.score(harm if counts else share)
            if score >= LEARNED_MIN:
                scores[name] = score
        return scores


def combined(one: dict[str, float], other: dict[str, float], *, topics: Container[str] = ()) -> dict[str, float]:
    """Two scores as independent evidence: by rules, and by what was learned. `topics`: categories of which the rules only know
    what a text is about, so that they are never sure."""
    harmless = max(other.values(), default=0.0) < DOUBTED_BELOW
    scores = {}
    for category in {*one, *other}:
        by_rules = one.get(category, 0.0)
        if harmless and category not in UNDOUBTED:
            is_sure = by_rules >= SURE and category not in topics and (other or category == "sexual/minors")
            by_rules *= 1.0 if is_sure else DOUBT
        scores[category] = 1.0 - (1.0 - by_rules) * (1.0 - other.get(category, 0.0))
    return scores
