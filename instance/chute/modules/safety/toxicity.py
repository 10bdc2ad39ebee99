"""Scores of a text by category of harm: rules over its plain form, the words around them, and the nearest labelled examples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import re2

from instance.chute.modules.safety import toxic_rules as rules
from instance.chute.modules.safety.plain_form import INVISIBLE, plain, unleeted, unmasked

if TYPE_CHECKING:
    from instance.chute.embedding.embedder import Embedder, Vectors

EXAMPLES = Path(__file__).with_name("toxic_examples.tsv")
TEXT_MAX_CHARS = 20_000
"""What of one text is judged; texts are judged in sentences or messages, longer ones are cut."""
NEAR_CHARS = 160
NEAREST_FROM, NEAREST_SURE = 0.42, 0.78
"""Cosine to an example from which it counts, and at which it alone is certain. Calibrated on the project's own set."""

_TOPICS = (
    r"(?i)\b(?:kill|murder|stab|shoot|gun|weapon|bomb|explo|poison|tortur|rape|attack|hurt|beat|burn|blood|die\b|dead|death|suicid|harm|cut myself|pills|"
    r"live any|goodbye|better off|hate|race|jew|muslim|black|white|gay|trans|immigrant|women|stupid|worthless|ugly|loser|idiot|disgust|humiliat|insult|"
    r"sex|naked|nude|erotic|porn|undress|dirty|drug|meth|cocaine|heroin|steal|stole|hack|break into|launder|fake|forge|phish|ransom|malware|password|"
    r"illegal|smuggl|kidnap|threat|revenge|make (?:him|her|them) (?:pay|suffer)|vomit|starv)"
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
        self.triggers: tuple[str, ...] = (
            *dict.fromkeys("(?i)" + rule.expression for rule in chosen),
            _TOPICS,
            INVISIBLE,
            r"[a-zA-Z][0-9@$!|*]{1,2}[a-zA-Z]|[0-9@$][a-zA-Z]{2}|\pL{2}[0-9@$]|(?:\b\pL[ .*_-]){4}|[a-zA-Z][\p{Cyrillic}\p{Greek}]|[\p{Cyrillic}\p{Greek}][a-zA-Z]|[\x{ff21}-\x{ff5a}]",
            *((r"[\x{c0}-\x{17f}]",) if set(languages) - {"en"} else ()),
        )
        self._suspects = re2.Set.SearchSet()
        for trigger in self.triggers:
            self._suspects.Add(trigger)
        self._suspects.Compile()
        self._topics = re2.compile(_TOPICS)

    def suspects(self, text: str) -> bool:
        """Whether anything in the text is worth a closer look."""
        return bool(self._suspects.Match(text.encode("utf-8", "replace")))

    def on_topic(self, text: str) -> bool:
        """Whether the text speaks of anything that the examples are about."""
        return self._topics.search(text) is not None

    def scores(self, text: str) -> dict[str, float]:
        """Category -> 0 to 1, by the rules; categories without any sign are left out."""
        text = text[:TEXT_MAX_CHARS]
        base = plain(text).lower()
        forms = dict.fromkeys((base, unleeted(base), unleeted(unmasked(base))))
        kept: dict[str, float] = {}
        for form in forms:
            missed: dict[str, float] = {}
            for category, weight, expression in self._rules:
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
        and not _compiled(r"\b(?:i|me|my|myself|i'm|im)\b").search(around)
    ):
        factor *= 0.5
    if category == "alcohol_drugs" and _compiled(r"(?:\broot|\bginger|\bbutter|free|alcoholic)\W*\z").search(before):
        factor *= 0.3
    if category not in ("profanity", "sexual", "sexual/minors") and _compiled(rules.NEGATED).search(before):
        factor *= 0.4
    return factor


@cache
def _compiled(expression: str) -> Any:
    return re2.compile("(?i)" + expression)


class Nearest:
    """Scores by the nearest labelled examples: those that ship with this, and the user's own."""

    def __init__(self, embedder: Embedder, own: Sequence[tuple[str, str]] = ()) -> None:
        rows = [line.split("\t") for line in EXAMPLES.read_text("utf-8").splitlines() if not line.startswith("#")]
        self._examples = [(row[0], row[1]) for row in rows] + list(own)
        self._embedder = embedder
        self._vectors: Vectors | None = None

    async def scores(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """For each text, category -> 0 to 1."""
        if self._vectors is None:
            self._vectors = await self._embedder.embed([text for _, text in self._examples])
        near = (await self._embedder.embed(texts)) @ self._vectors.T
        return [self._of(row) for row in near]

    def _of(self, cosines: Any) -> dict[str, float]:
        best: dict[str, float] = {}
        for (category, _), cosine in zip(self._examples, cosines, strict=True):
            best[category] = max(best.get(category, -1.0), float(cosine))
        harmless = best.pop("none", 0.0)
        found = {}
        for category, cosine in best.items():
            if cosine > NEAREST_FROM:
                sure = min(1.0, (cosine - NEAREST_FROM) / (NEAREST_SURE - NEAREST_FROM))
                # What is as near to a harmless example is half as likely, and what is nearer is hardly so.
                found[category] = sure / (1.0 + math.exp(-18 * (cosine - harmless)))
        return found


def combined(one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    """Two scores as independent evidence."""
    return {
        category: 1.0 - (1.0 - one.get(category, 0.0)) * (1.0 - other.get(category, 0.0)) for category in {*one, *other}
    }
