"""`make learn`: fits the weights of what is learned from labelled examples (instance/chute/modules/safety/*_examples.tsv).

Run it after a change of the examples; a test fails while the weights are stale. It prints what cross-validation says of each:
the threshold is the lowest at which, of the examples that were left out, at least so many of those found are harmful ones as
`PRECISION` asks for. The harmless examples are near misses, written to be mistaken: on everyday texts it is wrong far less often.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from instance.chute.embedding.embedder import Embedder
from instance.chute.modules.safety.classifier import fit_regression, readable, softmax, unit
from instance.chute.modules.safety.learned_files import (
    BIAS,
    HARMLESS,
    LEARNED,
    LEARNED_OF_TOOLS,
    PAIRS_LENGTH,
    LearnedFile,
)
from instance.chute.modules.safety.word_places import BUCKETS, word_places

FOLDS = 5
BLOCK = 10
"""Examples that stand together are left out together: a text is often followed by one that differs in a word, with another label."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.learn", description=__doc__)
    every = {**LEARNED, **LEARNED_OF_TOOLS}
    parser.add_argument("names", nargs="*", choices=[*sorted(every), []], help="what to learn; nothing: all")
    for name in parser.parse_args().names or sorted(every):
        asyncio.run(learn(name, every[name]))


async def learn(name: str, files: LearnedFile) -> None:
    """Fit one set of weights, cross-validate it, and write it."""
    rows = files.rows()
    embedder = Embedder()
    vectors = await embedder.embed([readable(text) for _, text in rows])
    embedder.close()
    mean = vectors.mean(axis=0)
    meaning = unit(vectors - mean)
    words, rarity = _words([text for _, text in rows], files)
    directions = _directions(meaning, files.directions)
    along = meaning @ directions
    likeness = (meaning @ meaning.T + words @ words.T + BIAS).astype(np.float32)
    likeness += PAIRS_LENGTH * np.square(along @ along.T)
    names = sorted({label for label, _ in rows})
    labels = np.array([label for label, _ in rows])
    wanted = (labels[:, None] == np.array(names)[None]).astype(np.float32)
    shares = softmax(_left_out(likeness, wanted))
    threshold = _threshold(name, names, labels, shares, files.precision)
    weights = fit_regression(likeness, wanted)
    of_words = words.T @ weights
    of_pairs: dict[str, Any] = {}
    if files.directions:
        products = [PAIRS_LENGTH * (along.T * of_name) @ along for of_name in weights.T]
        of_pairs = {"directions": directions.astype(np.float16), "pairs": np.stack(products).astype(np.float16)}
    scale = np.abs(of_words).max(axis=0) / 127
    np.savez_compressed(
        files.weights,
        names=np.array(names),
        threshold=threshold,
        digest=files.digest(),
        mean=mean,
        bias=(BIAS * weights.sum(axis=0)).astype(np.float32),
        meaning=(meaning.T @ weights).astype(np.float16),
        rarity=rarity.astype(np.float16),
        by_word=files.by_word,
        words=np.round(of_words / scale).astype(np.int8),
        scale=(scale * files.words_length).astype(np.float32),
        **of_pairs,
    )
    print(f"  {files.weights.name}: {Path(files.weights).stat().st_size // 1000} kB")


def _directions(meaning: Any, count: int) -> Any:
    """float32[meaning, count]: the directions in which the meanings differ the most, each of length 1."""
    _, found = np.linalg.eigh(meaning.T @ meaning)
    return found[:, ::-1][:, :count].astype(np.float16).astype(np.float32)


def _words(texts: Sequence[str], files: LearnedFile) -> tuple[Any, Any]:
    """Each text's words and letters, each part of its length, and how rare each place is."""
    places = [word_places(text) for text in texts]
    seen = np.zeros(2 * BUCKETS, np.float32)
    for words, runs in places:
        seen[list(set(words))] += 1
        seen[list({BUCKETS + run for of_word in runs for run in of_word})] += 1
    rarity = (np.log((1 + len(texts)) / (1 + seen)) + 1).astype(np.float16).astype(np.float32)
    found = np.zeros((len(texts), 2 * BUCKETS), np.float32)
    for row, (words, runs) in enumerate(places):
        np.add.at(found[row], words, rarity[words] / np.linalg.norm(rarity[words]))
        rare = [rarity[BUCKETS:][of_word] for of_word in runs]
        lengths = [float(np.linalg.norm(each)) for each in rare]
        whole = len(runs) ** 0.5 if files.by_word else float(np.linalg.norm(lengths))
        for of_word, each, length in zip(runs, rare, lengths, strict=True):
            found[row, BUCKETS:][of_word] += each / (length * whole if files.by_word else whole)
    return found * np.float32(files.words_length), rarity


def _left_out(likeness: Any, wanted: Any) -> Any:
    """The logits of each example by weights that were fitted without it and those beside it."""
    block = np.arange(len(likeness)) // BLOCK
    fold_of = np.random.default_rng(1).permutation(block[-1] + 1)[block] % FOLDS
    logits = np.zeros(wanted.shape, np.float32)
    for fold in range(FOLDS):
        (out,), (kept,) = np.nonzero(fold_of == fold), np.nonzero(fold_of != fold)
        logits[out] = likeness[np.ix_(out, kept)] @ fit_regression(likeness[np.ix_(kept, kept)], wanted[kept])
    return logits


def _threshold(name: str, names: list[str], labels: Any, shares: Any, precision: float) -> float:
    """The lowest share of harm at which what is found is right often enough; prints what that finds."""
    harm = 1.0 - shares[:, names.index(HARMLESS)]
    harmful = labels != HARMLESS
    order = np.argsort(-harm)
    right = np.cumsum(harmful[order]) / np.arange(1, len(order) + 1)
    last = int(np.nonzero(right >= precision)[0].max())
    threshold = float(min(max(harm[order[last]], 0.3), 0.97))
    found = harm >= threshold
    likeliest = np.array(names)[np.where(np.arange(len(names)) == names.index(HARMLESS), -1.0, shares).argmax(axis=1)]
    print(
        f"{name}: {len(labels)} examples, {int(harmful.sum())} harmful; left out in turn: threshold {threshold:.3f}, "
        f"precision {float(harmful[found].mean()):.3f}, recall {float(found[harmful].mean()):.3f}, "
        f"of the right category {float((found & (likeliest == labels))[harmful].mean()):.3f}, "
        f"harmless taken for harmful {float(found[~harmful].mean()):.3f}"
    )
    return threshold


if __name__ == "__main__":
    main()
