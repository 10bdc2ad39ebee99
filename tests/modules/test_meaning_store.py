"""The store of semanticcache: what is nearest after answers came and went."""

import random

import numpy as np
import pytest

from instance.chute.modules.caching.answer_store import Entry
from instance.chute.modules.caching.meaning_store import MeaningStore, Question


def entry() -> Entry:
    return Entry(b"{}", 0, 10**18, 0, "m", "")


def row(chance: random.Random) -> "np.ndarray":
    made = np.array([chance.gauss(0, 1) for _ in range(16)], dtype=np.float32)
    return made / np.linalg.norm(made)


@pytest.mark.parametrize("seed", range(5))
def test_the_nearest_is_the_one_of_all_that_are_kept(seed: int) -> None:
    chance = random.Random(seed)
    store = MeaningStore(20)
    kept: dict[str, np.ndarray] = {}
    for number in range(300):
        text = f"question {chance.randrange(60)}"
        vector = row(chance)
        store.put(Question(b"p", text, vector), entry())
        kept.pop(text, None)
        kept[text] = vector
        while len(kept) > 20:
            del kept[next(iter(kept))]
        asked = row(chance)
        best = sorted(kept, key=lambda each: -float(kept[each] @ asked))[:3]
        found = store.nearest(Question(b"p", "", asked), -1.0, 1)
        assert [near.text for near in found[:3]] == best, number
    assert len(store) == 20


@pytest.mark.asyncio
async def test_a_partition_that_was_emptied_takes_new_answers() -> None:
    chance = random.Random(1)
    store = MeaningStore(10)
    store.put(Question(b"p", "a", row(chance)), entry())
    await store.clear()
    assert (len(store), store.size_bytes) == (0, 0)
    vector = row(chance)
    store.put(Question(b"p", "b", vector), entry())
    store.put(Question(b"p", "b", vector), entry())
    assert [near.text for near in store.nearest(Question(b"p", "", vector), 0.9, 1)] == ["b"]
