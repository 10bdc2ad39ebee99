"""Topics, each by a name, example sentences and patterns; and how near a text is to them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from operator import ge
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar

import re2
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from instance.chute.expressions import require_re2
from instance.chute.modules.safety.seen_text import NARROWLY
from instance.chute.sentences import split_sentences

if TYPE_CHECKING:
    from instance.chute.embedding.embedder import Embedder
    from instance.chute.exchange import Exchange
    from instance.chute.modules.safety.seen_text import Reading, SeenText

T = TypeVar("T")

TEXT_MAX_CHARS = 2_000
"""An embedding hears only the beginning of longer texts."""
SENTENCES_MAX = 16
"""Sentences of one message that are compared by themselves."""
FOLLOW_UP_WORDS = 8
SMALL_TALK_FROM = 0.62
BACKGROUND = Path(__file__).with_name("topic_background.txt")
BOUNDARY = 0.15
"""What remains of the cosine where a text is as likely on the topic as not. Calibrated on the project's set of topics."""
SAME_FROM = 0.68
"""Cosine from which a text says what an example says."""

SMALL_TALK = (
    "Hi", "Hello there", "Good morning", "Hey, how are you?", "Thank you very much", "Thanks, that helps", "Ok", "Great", "Yes, please",
    "No, thanks", "Goodbye", "See you later", "Who are you?", "What can you do?", "Can you help me?", "I have a question", "Nice to meet you",
    "Sorry", "Please repeat that", "I don't understand",
)  # fmt: skip
_FOLLOWS = re.compile(
    r"\A\W*(?:and|but|or|so|why|how so|what about|how about|then|also|which|when|where|who|what if|is that|are they|does (?:it|that)|can (?:it|i|you)|it|that|this|they|those|"
    r"more|again|explain|continue|go on|really|for (?:a|an|my|the)|und|aber|warum|et|mais|pourquoi|y|pero|por qué)\b",
    re.IGNORECASE,
)

Sentence = Annotated[str, Field(min_length=2, max_length=500)]
Pattern = Annotated[str, Field(min_length=1, max_length=1000)]


class Topic(BaseModel):
    """What a product is about, or not."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=80, description="Its name, in the trail and for the judge.")
    examples: list[Sentence] = Field(default=[], max_length=100, description="Sentences that are typical of it.")
    patterns: list[Pattern] = Field(default=[], max_length=50, description="RE2 expressions that are enough alone.")
    threshold: float = Field(
        default=0.5, ge=0, le=1, description="Least score: at 0.5 a text is as likely on the topic as not, at 1 surely."
    )

    @field_validator("patterns")
    @classmethod
    def _compile(cls, expressions: list[str]) -> list[str]:
        return [require_re2(expression) for expression in expressions]

    @model_validator(mode="after")
    def _has_something(self) -> Topic:
        if not self.examples and not self.patterns:
            raise ValueError("a topic needs an example or a pattern")
        return self


class Match(NamedTuple):
    """How near a text is to a topic, 0 to 1; 1 for a pattern."""

    topic: Topic
    score: float
    margin: float
    """Of the score above the topic's threshold."""


class Topics:
    """The topics of one list.

    A text's score is its cosine to the middle of a topic's examples, less half of the cosine to the nearest of some everyday
    sentences, so that a text is not near a topic by its form alone ("Is this link dangerous?"). A text that is nearly one of the
    examples is on the topic in any case.
    """

    def __init__(self, topics: Sequence[Topic], embedder: Embedder | None) -> None:
        self.topics = topics
        self._thresholds = [topic.threshold for topic in topics]
        self._patterns = re2.Set.SearchSet()
        self._of_pattern = [number for number, topic in enumerate(topics) for _ in topic.patterns]
        for topic in topics:
            for expression in topic.patterns:
                self._patterns.Add(expression)
        self._patterns.Compile()
        self._embedder = embedder
        self._with_examples = [number for number, topic in enumerate(topics) if topic.examples]
        self._rows: Any = None
        """Everyday sentences, then for each topic with examples their middle and they themselves; one product with all."""
        self._starts: list[int] = []

    async def open(self) -> None:
        """Embed the examples."""
        import numpy as np

        if self._embedder is None or not self._with_examples:
            return
        rows = [await self._embedder.embed(BACKGROUND.read_text("utf-8").splitlines())]
        self._starts = [0]
        count = len(rows[0])
        for number in self._with_examples:
            examples = await self._embedder.embed(self.topics[number].examples)
            middle = examples.mean(axis=0)
            rows.append(np.vstack([middle / np.linalg.norm(middle), examples]))
            self._starts += (count, count + 1)
            count += len(rows[-1])
        self._rows = np.ascontiguousarray(np.vstack(rows).T)

    @property
    def need_vectors(self) -> bool:
        """Whether any topic has examples, so that its patterns alone do not tell what is on it."""
        return bool(self._with_examples)

    def by_patterns(self, texts: Sequence[str]) -> list[Match]:
        """The topics of which a pattern is in one of the texts."""
        scores = self._scores(texts, None)
        return [match for match in self._matches(scores) if match.score >= 1.0]

    def matches(self, texts: Sequence[str], x: Exchange | None = None) -> Awaitable[list[Match]]:
        """For each topic how near the nearest of the texts is; the surest first. `x`, here and below: the call that waits for it.
        Raises `EmbedderLate`, as those below."""
        return self._judged(lambda: texts, self._matches, x)

    def matches_of_message(self, text: str, x: Exchange | None = None) -> Awaitable[list[Match]]:
        """As `matches`, of the text and of each of its sentences."""

        def pieces() -> Sequence[str]:
            sentences = [each for each in split_sentences(text)[:SENTENCES_MAX] if each.strip()]
            return [text, *(sentences if len(sentences) > 1 else ())]

        return self._judged(pieces, self._matches, x)

    def any_reaching(
        self, texts: Sequence[str], least: Sequence[float], words_min: int, x: Exchange | None = None
    ) -> Awaitable[bool]:
        """Whether the score of any sentence of the texts that has so many words is for a topic at least what `least` says for it."""

        def pieces() -> Sequence[str]:
            every = [sentence for text in texts for sentence in split_sentences(text)]
            return with_words(every, words_min)

        return self._judged(pieces, lambda scores: any(any(map(ge, row, least)) for row in scores), x)

    def are_near(self, vectors: Any, least: Sequence[float]) -> bool:
        """Whether any of the texts with these vectors has by examples a score of at least what `least` says for the topic."""
        wanted = [least[number] for number in self._with_examples]
        return any(any(map(ge, row, wanted)) for row in self._near(vectors))

    def has_pattern(self, texts: Sequence[str]) -> bool:
        """Whether a pattern of a topic is in one of the texts."""
        return bool(self._of_pattern) and any(self._patterns.Match(text.encode("utf-8", "replace")) for text in texts)

    def reaching(
        self, texts: Sequence[str], least: Sequence[float], x: Exchange | None = None
    ) -> Awaitable[list[tuple[str, list[float]]]]:
        """The texts whose score for a topic is at least what `least` says for it, in order, each with its scores by topic."""

        def those(scores: list[list[float]]) -> list[tuple[str, list[float]]]:
            return [(text, row) for text, row in zip(texts, scores, strict=True) if any(map(ge, row, least))]

        return self._judged(lambda: texts, those, x)

    async def _judged(
        self, read: Callable[[], Sequence[str]], judge: Callable[[list[list[float]]], T], x: Exchange | None
    ) -> T:
        """`judge(scores of the texts)`, off the event loop where there are vectors to compare."""
        if self._rows is None:
            return judge(self._scores(read(), None))
        assert self._embedder is not None
        texts: list[str] = []

        def heard() -> list[str]:
            texts.extend(read())
            return [text[:TEXT_MAX_CHARS] for text in texts]

        return await self._embedder.run(heard, lambda vectors: judge(self._scores(texts, vectors)), x)

    def _matches(self, scores: list[list[float]]) -> list[Match]:
        best = [0.0] * len(self.topics)
        for row in scores:
            best = [max(pair) for pair in zip(best, row, strict=True)]
        return self.ranked(best)

    def ranked(self, scores: Sequence[float]) -> list[Match]:
        """A text's scores as matches, the surest first."""
        found = [
            Match(topic, score, score - threshold)
            for topic, score, threshold in zip(self.topics, scores, self._thresholds, strict=True)
        ]
        return sorted(found, key=lambda match: -match.margin)

    def _scores(self, texts: Sequence[str], vectors: Any) -> list[list[float]]:
        """For each text its score by topic, in their order: 1 for a pattern, 0 where a topic has neither pattern nor example."""
        near = self._near(vectors) if vectors is not None else []
        found = []
        for number, text in enumerate(texts):
            scores = [0.0] * len(self.topics)
            if near:
                for topic, score in zip(self._with_examples, near[number], strict=True):
                    scores[topic] = score
            if self._of_pattern:
                for hit in self._patterns.Match(text.encode("utf-8", "replace")) or ():
                    scores[self._of_pattern[hit]] = 1.0
            found.append(scores)
        return found

    def _near(self, vectors: Any) -> list[list[float]]:
        import numpy as np

        nearest = np.maximum.reduceat(vectors @ self._rows, self._starts, axis=1)
        everyday = nearest[:, :1].clip(0.0)
        by_middle = nearest[:, 1::2] - (everyday / 2 + BOUNDARY)
        by_example = nearest[:, 2::2] - SAME_FROM
        scores: list[list[float]] = (0.5 + np.maximum(by_middle, by_example)).clip(0.0, 1.0).tolist()
        return scores


class TopicLooker:
    """Looks whether a message is surely on none of the topics: below `least` of each by itself and in each sentence."""

    def __init__(self, topics: Topics, least: Sequence[float], wants_look: Callable[[Exchange], bool]) -> None:
        self._topics = topics
        self._least = [each * NARROWLY for each in least]
        self.wants_look = wants_look

    def rows(self, seen: SeenText) -> list[int] | None:
        """None for what is judged together with the message before it, or is not read as it is."""
        text, sentences = seen.text, seen.sentences
        if not seen.is_ordinary or len(text) > TEXT_MAX_CHARS or len(sentences) > SENTENCES_MAX:
            return None
        if not text.strip() or is_follow_up(text) or self._topics.has_pattern([text, *sentences]):
            return None
        return seen.every_piece()

    def is_silent(self, reading: Reading, rows: list[int]) -> bool:
        return not self._topics.are_near(reading.vectors[rows], self._least)


def with_words(sentences: Sequence[str], words_min: int) -> list[str]:
    """The sentences that have at least so many words."""
    return [each for each in sentences if len(each.split(None, words_min)) >= words_min]


async def nearest_small_talk(embedder: Embedder, text: str, x: Exchange | None = None) -> float:
    """The cosine to the nearest of some small talk. Raises `EmbedderLate`."""
    vectors = await embedder.embed([text[:TEXT_MAX_CHARS], *SMALL_TALK], x)
    return float((vectors[1:] @ vectors[0]).max())


def is_follow_up(text: str) -> bool:
    """Whether a message means something only with the one before it."""
    words = len(text.split(None, FOLLOW_UP_WORDS))
    return words <= 3 or (words <= FOLLOW_UP_WORDS and _FOLLOWS.match(text) is not None)
