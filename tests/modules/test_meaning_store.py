"""The store of semanticcache: what is nearest after answers came and went."""

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from instance.chute.modules.caching.answer_store import Entry
from instance.chute.modules.caching.meaning_store import CANDIDATES_MAX, MeaningStore, Near, Question


def entry() -> Entry:
    return Entry(b"{}", 0, 10**18, 0, "m", "")


def row(chance: random.Random) -> "np.ndarray":
    made = np.array([chance.gauss(0, 1) for _ in range(16)], dtype=np.float32)
    return made / np.linalg.norm(made)


def nearest(store: MeaningStore, vector: "np.ndarray", least: float, now_ns: int = 1) -> list[Near]:
    partition = store.partition(b"p")
    return store.kept(b"p", partition.nearest(vector, least), now_ns) if partition is not None else []


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
        found = nearest(store, asked, -1.0)
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
    assert [near.text for near in nearest(store, vector, 0.9)] == ["b"]


def test_what_a_search_found_and_is_gone_by_then_is_no_hit() -> None:
    chance = random.Random(2)
    store = MeaningStore(1)
    vector = row(chance)
    store.put(Question(b"p", "a", vector), entry())
    partition = store.partition(b"p")
    assert partition is not None
    found = partition.nearest(vector, 0.9)
    assert [near.text for near in store.kept(b"p", found, 1)] == ["a"]
    assert store.kept(b"p", found, 10**18) == []
    store.put(Question(b"p", "b", row(chance)), entry())
    assert store.kept(b"p", found, 1) == []
    assert nearest(store, vector, 0.9) == []


def test_searches_see_each_text_with_its_own_vector_while_others_come_and_go() -> None:
    chance = random.Random(3)
    vectors = {f"question {number}": row(chance) for number in range(400)}
    lasting = {f"lasting {number}": row(chance) for number in range(40)}
    store = MeaningStore(100)
    for text, vector in lasting.items():
        store.put(Question(b"p", text, vector), entry())
    known = {**vectors, **lasting}

    def search(asked: "np.ndarray") -> list[tuple[float, str]]:
        partition = store.partition(b"p")
        assert partition is not None
        return partition.nearest(asked, 0.3)

    with ThreadPoolExecutor(1) as searcher:
        for _ in range(200):
            asked = row(chance)
            searching = searcher.submit(search, asked)
            for text in chance.sample(sorted(vectors), 20):
                store.put(Question(b"p", text, vectors[text]), entry())
            for text in lasting:
                store.used(b"p", text)
            found = searching.result()
            assert all(similarity == pytest.approx(float(known[text] @ asked), abs=1e-5) for similarity, text in found)
            near = {text for _, text in found}
            best = min((similarity for similarity, _ in found), default=0.3) if len(found) == CANDIDATES_MAX else 0.3
            assert all(text in near for text, vector in lasting.items() if float(vector @ asked) > best + 1e-5)
