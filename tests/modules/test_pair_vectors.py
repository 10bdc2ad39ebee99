"""Two sentences that follow one another, of which most are judged without being read: nothing is missed for it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from bench.prose import Prose
from bench.quality import FOLDER, labelled
from instance.chute.embedding.embedder import Embedder
from instance.chute.modules.safety.classifier import readable
from instance.chute.modules.safety.learned_files import HARMLESS, INJECTION
from instance.chute.modules.safety.learned_injection import (
    DOUBTFUL,
    WINDOW_MAX_CHARS,
    LearnedInjection,
    Windows,
    sentences_of,
)
from instance.chute.modules.safety.pair_vectors import of_pairs, under
from instance.chute.modules.safety.seen_text import Reading, SeenText

PAIRS_OF = 350


async def _worst(learned: LearnedInjection, embedder: Embedder, text: str) -> float:
    """The points of a text's worst window, each read."""
    sentences = sentences_of(text)
    pairs = [f"{one} {other}" for one, other in pairwise(sentences) if len(one) + len(other) < WINDOW_MAX_CHARS]
    windows = [readable(each) for each in (*sentences, *pairs)]
    return max(learned._points(windows, await embedder.embed(windows))) if windows else 0.0


async def test_what_matters_is_found_as_if_each_pair_was_read() -> None:
    texts = [text for _, _, text in labelled(FOLDER / "injection.tsv")]
    for harmful in (False, True):
        rows = (text for label, text in INJECTION.rows() if (label != HARMLESS) == harmful)
        texts += [text for text in rows if len(sentences_of(text)) > 1][: PAIRS_OF // 2]
    texts = [text for text in texts if 1 < len(sentences_of(text)) <= 12]
    embedder, apart = Embedder(), Embedder()
    learned = LearnedInjection(embedder)
    matter = 0
    for text, points in zip(texts, await learned.points(texts), strict=True):
        worst = await _worst(learned, apart, text)
        matter += worst >= DOUBTFUL
        assert (points >= DOUBTFUL) == (worst >= DOUBTFUL), text
    assert 50 < matter < len(texts) - 50
    embedder.close()
    apart.close()


async def test_of_prose_hardly_a_pair_is_read() -> None:
    embedder = Embedder()
    text = Prose(7).text(1_000)
    await LearnedInjection(embedder).points([text])
    sentences = sentences_of(text)
    assert len(sentences) <= embedder.embedded <= len(sentences) + 2
    embedder.close()


def test_a_pair_lies_between_its_sentences_nearer_to_the_one_with_more_words() -> None:
    one, other = np.eye(2, dtype=np.float32)[[0]], np.eye(2, dtype=np.float32)[[1]]
    assert np.allclose(of_pairs(one, other, [4], [4]), [[0.5**0.5] * 2])
    ((near, far),) = of_pairs(one, other, [8], [2])
    assert near == 4 * far
    assert np.allclose(of_pairs(one, other, [0], [0]), [[0.5**0.5] * 2])
    assert 0 < under(0.5) < 0.5


def test_what_is_a_pair_for_one_and_a_text_for_another_is_read() -> None:
    text = "The barn is open today. The gate is closed today."
    reading = Reading()
    seen = SeenText(reading, text)
    one, other, both = (seen.windows(WINDOW_MAX_CHARS)[n] for n in (0, 1, 2))
    assert reading.readables == ["The barn is open today.", "The gate is closed today."]
    assert reading.pairs == {both: (one, other)}
    assert seen.pieces()[-1] == both
    assert reading.readables[-1] == text
    assert reading.pairs == {}
    reading.take(np.eye(3, dtype=np.float32))
    assert (reading.vectors[[one, other, both]] == np.eye(3)).all()


def test_a_pair_s_row_is_reckoned_wherever_it_stands_among_the_others() -> None:
    reading = Reading()
    SeenText(reading, "The barn is open today. The gate is closed today. Nobody is in the yard now.").windows(400)
    reading.take(np.eye(3, dtype=np.float32))
    assert len(reading.vectors) == 5
    for row, (one, other) in reading.pairs.items():
        expected = reading.vectors[one] * len(reading.tokens[one]) + reading.vectors[other] * len(reading.tokens[other])
        assert np.allclose(reading.vectors[row], expected / np.linalg.norm(expected))


def test_sentences_around_the_likeliest_are_read_but_not_judged_by_themselves() -> None:
    windows = Windows()
    windows.add(0, ["First one.", "Second one.", "Third one."], around="Second one.")
    windows.add(0, ["Second one.", "Third one."], around="Third one.")
    assert list(windows.sentences) == ["First one.", "Second one.", "Third one."]
    assert list(windows.judged) == [(0, 1), (0, 2)]
    assert [said for *_, said in windows.pairs] == ["First one. Second one.", "Second one. Third one."]
