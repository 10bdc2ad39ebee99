"""Of a long reference what shares words with an answer is compared with it, however long the reference is."""

from __future__ import annotations

import pytest

from bench.prose import Prose
from instance.chute.embedding.embedder import Embedder
from instance.chute.modules.safety.grounding import WINDOWS_MAX, Reference
from instance.chute.modules.safety.near_sentences import near_sentences

FACT = "The cooperative delivered 420 crates of apricots to the cannery in Modesto."


def test_sentences_with_rare_words_of_a_statement_come_before_those_with_common_ones() -> None:
    sentences = ["The dog sleeps today.", "The dog barks.", "The dog eats herring.", "A cat."]
    assert near_sentences(sentences, ["The dog likes herring today."], 2) == [0, 2]


def test_each_statement_gets_its_share_and_what_is_left_comes_from_the_beginning() -> None:
    sentences = [f"Sentence {number} of many." for number in range(20)]
    sentences[7], sentences[15] = "Bees gather nectar.", "Otters swim upstream."
    chosen = near_sentences(sentences, ["Nectar is gathered by bees.", "The otter swims."], 4)
    assert {7, 15} <= set(chosen)
    assert chosen == [0, 1, 7, 15]


def test_nothing_shared_is_the_beginning() -> None:
    assert near_sentences(["one two", "three four", "five six"], ["zzzz"], 2) == [0, 1]
    assert near_sentences([], ["zzzz"], 2) == []


@pytest.mark.parametrize("at", [0, 150, 299])
async def test_a_statement_is_supported_by_its_sentence_wherever_that_stands_in_a_long_reference(at: int) -> None:
    prose = Prose(7)
    sentences = [prose.sentence() for _ in range(300)]
    sentences[at] = FACT
    statements = [
        "420 crates of apricots went to the cannery in Modesto.",
        "The cooperative delivered 95 crates of figs.",
    ]
    reference = Reference(sentences, statements)
    assert len(reference.windows) <= WINDOWS_MAX
    embedder = Embedder()
    (right, _), (wrong, _) = await reference.support(embedder, by_number=True)
    embedder.close()
    assert right > 0.7
    assert wrong < 0.4
