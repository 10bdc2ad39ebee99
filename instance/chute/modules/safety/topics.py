"""Topics, each by a name, example sentences and patterns; and how near a text is to them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import re2
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from instance.chute.expressions import require_re2

if TYPE_CHECKING:
    from instance.chute.embedding.embedder import Embedder, Vectors

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

    @property
    def margin(self) -> float:
        return self.score - self.topic.threshold


class Topics:
    """The topics of one list.

    A text's score is its cosine to the middle of a topic's examples, less half of the cosine to the nearest of some everyday
    sentences, so that a text is not near a topic by its form alone ("Is this link dangerous?"). A text that is nearly one of the
    examples is on the topic in any case.
    """

    def __init__(self, topics: Sequence[Topic], embedder: Embedder | None) -> None:
        self.topics = topics
        self._patterns = [[re2.compile(expression) for expression in topic.patterns] for topic in topics]
        self._embedder = embedder
        self._examples: list[Vectors | None] = []
        self._background: Any = None

    async def open(self) -> None:
        """Embed the examples."""
        import numpy as np

        if self._embedder is not None and self.topics:
            self._background = await self._embedder.embed(BACKGROUND.read_text("utf-8").splitlines())
        for topic in self.topics:
            if topic.examples and self._embedder is not None:
                examples = await self._embedder.embed(topic.examples)
                middle = examples.mean(axis=0)
                self._examples.append(np.vstack([middle / np.linalg.norm(middle), examples]))
            else:
                self._examples.append(None)

    async def matches(self, texts: Sequence[str]) -> list[Match]:
        """For each topic how near the nearest of the texts is; the surest first."""
        vectors: Any = None
        if self._embedder is not None and any(each is not None for each in self._examples):
            vectors = await self._embedder.embed([text[:TEXT_MAX_CHARS] for text in texts])
        found = []
        for topic, patterns, examples in zip(self.topics, self._patterns, self._examples, strict=True):
            if any(pattern.search(text) for pattern in patterns for text in texts):
                found.append(Match(topic, 1.0))
            else:
                found.append(Match(topic, self._score(vectors, examples) if examples is not None else 0.0))
        return sorted(found, key=lambda match: -match.margin)

    def _score(self, vectors: Any, examples: Any) -> float:
        near = vectors @ examples.T
        everyday = (vectors @ self._background.T).max(axis=1).clip(0.0)
        by_middle = near[:, 0] - everyday / 2 - BOUNDARY
        by_example = near[:, 1:].max(axis=1) - SAME_FROM
        return float((0.5 + max(by_middle.max(), by_example.max())).clip(0.0, 1.0))


async def nearest_small_talk(embedder: Embedder, text: str) -> float:
    """The cosine to the nearest of some small talk."""
    vectors = await embedder.embed([text[:TEXT_MAX_CHARS], *SMALL_TALK])
    return float((vectors[1:] @ vectors[0]).max())


def is_follow_up(text: str) -> bool:
    """Whether a message means something only with the one before it."""
    words = len(text.split())
    return words <= 3 or (words <= FOLLOW_UP_WORDS and _FOLLOWS.match(text) is not None)
