"""The bundled embedder: what is near, what is kept, and what a missing package says."""

from __future__ import annotations

from threading import current_thread

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from instance.chute.embedding import embedder as module
from instance.chute.embedding.embedder import DIMENSIONS, RUN_TOKENS, RUN_TOKENS_MAX, Embedder, runs_of
from instance.core import memory_limit
from instance.core.errors import StockyardError
from instance.core.memory_limit import MemoryRoom


async def test_paraphrases_are_near_and_other_questions_are_not() -> None:
    embedder = Embedder()
    vectors = await embedder.embed(
        [
            "What is the capital of France?",
            "what's the capital city of France",
            "What is the capital of Finland?",
            "How do I bake bread?",
        ]
    )
    assert vectors.shape == (4, DIMENSIONS)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    near, other, far = (float(vectors[0] @ vectors[place]) for place in (1, 2, 3))
    assert near > 0.8 > 0.65 > other > far
    embedder.close()


async def test_a_text_is_read_once_and_the_longest_unused_is_forgotten() -> None:
    embedder = Embedder(cached_max=2)
    first = await embedder.embed(["one", "two", "one"])
    assert embedder.embedded == 2
    assert np.array_equal(first[0], first[2])
    again = await embedder.embed(["one"])
    assert embedder.embedded == 2
    assert np.array_equal(first[0], again[0])
    await embedder.embed(["three"])  # "two" was unused for longest
    await embedder.embed(["one", "three"])
    assert embedder.embedded == 3
    await embedder.embed(["two"])
    assert embedder.embedded == 4
    embedder.close()


async def test_texts_that_are_read_alike_are_read_once() -> None:
    embedder = Embedder()
    long = "The barn door is open. " * 200
    vectors = await embedder.embed(
        ["The barn door is open.", " The barn door is open.\n", long, long + "And so is the gate."]
    )
    assert embedder.embedded == 2
    assert (vectors[0] == vectors[1]).all()
    assert (vectors[2] == vectors[3]).all()
    embedder.close()


async def test_what_is_embedded_can_be_found_out_on_the_worker_too() -> None:
    embedder = Embedder()
    threads: list[str] = []

    def read() -> list[str]:
        threads.append(current_thread().name)
        return ["a goat", "a goat", "a gate"]

    assert await embedder.run(read, lambda vectors: (len(vectors), float(vectors[0] @ vectors[1]) > 0.99)) == (3, True)
    assert await embedder.run(list, len) == 0
    assert threads[0].startswith("embedder")
    embedder.close()


async def test_texts_of_any_length_and_kind_are_read() -> None:
    embedder = Embedder()
    vectors = await embedder.embed(["", "word " * 5000, "\ud800 half a pair", "日本語のテキスト"])
    assert np.isfinite(vectors).all()
    embedder.close()


async def test_many_long_texts_are_read_a_few_at_a_time_and_come_out_in_their_order() -> None:
    embedder = Embedder()
    texts = [f"{word} " * 400 for word in ("ship", "tree", "bread", "moon", "law", "horse", "rain")]
    together = await embedder.embed(texts)
    alone = Embedder()
    for row, text in zip(together, texts, strict=True):
        assert float(row @ (await alone.embed([text]))[0]) > 0.95
    embedder.close()
    alone.close()


async def test_where_the_container_has_too_little_memory_the_model_is_refused_not_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory_limit, "memory_room", lambda: MemoryRoom(256_000_000, 190_000_000))
    embedder = Embedder()
    with pytest.raises(StockyardError, match="256 MB 190 MB are left: give it more") as refused:
        await embedder.embed(["x"])
    assert refused.value.code == "not_supported"
    monkeypatch.setattr(memory_limit, "memory_room", lambda: MemoryRoom(1_024_000_000, 900_000_000))
    assert len(await embedder.embed(["x"])) == 1
    embedder.close()


async def test_without_the_packages_the_refusal_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "missing_packages", lambda: ["onnxruntime"])
    with pytest.raises(StockyardError, match=r"pip install 'stockyard\[semantic\]'"):
        await Embedder().embed(["x"])


def sizes(*lengths: int) -> list[list[int]]:
    return [[lengths[place] for place in run] for run in runs_of(lengths)]


def test_texts_of_much_the_same_length_are_read_together() -> None:
    assert sizes() == []
    assert sizes(200) == [[200]]
    assert sizes(15, 20, 75, 18) == [[75], [20, 18, 15]]
    assert sizes(15, 20) == [[20, 15]]
    assert sizes(*[12] * 40, 256) == [[256], [12] * 40]


@given(st.lists(st.integers(2, 256), max_size=200))
def test_each_text_is_read_once_with_little_padding_and_within_the_working_memory(lengths: list[int]) -> None:
    runs = runs_of(lengths)
    assert sorted(place for run in runs for place in run) == list(range(len(lengths)))
    for run in runs:
        longest = max(lengths[place] for place in run)
        assert len(run) * longest <= RUN_TOKENS_MAX
        assert sum(longest - lengths[place] for place in run) <= RUN_TOKENS


async def test_a_long_text_among_short_ones_changes_none_of_their_vectors_much() -> None:
    embedder, alone = Embedder(), Embedder()
    texts = ["ship", "the tree in the yard", "word " * 400, "bread and butter for breakfast"]
    for row, text in zip(await embedder.embed(texts), texts, strict=True):
        assert float(row @ (await alone.embed([text]))[0]) > 0.98
    embedder.close()
    alone.close()
