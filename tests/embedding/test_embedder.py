"""The bundled embedder: what is near, what is kept, and what a missing package says."""

from __future__ import annotations

import asyncio
from threading import Event, current_thread
from time import perf_counter_ns
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from instance.chute.embedding import embedder as module
from instance.chute.embedding.embedder import (
    CHARS_MAX,
    DIMENSIONS,
    PIECE_CHARS,
    RUN_TOKENS,
    RUN_TOKENS_MAX,
    Embedder,
    pieces_of,
    runs_of,
    threads_of,
)
from instance.chute.embedding.late import FULL, LATE, EmbedderLate
from instance.chute.exchange import Exchange
from instance.chute.operations import CHAT
from instance.core import memory_limit
from instance.core.errors import StockyardError
from instance.core.memory_limit import MemoryRoom
from instance.core.settings import EmbedderSettings
from tests.embedding.stuck_model import StuckModel


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


def a_call() -> Exchange:
    return Exchange("tr_1", perf_counter_ns(), 0, "/v1/chat/completions", {}, CHAT)


def impatient(**settings: Any) -> Embedder:
    own = EmbedderSettings(**{"wait_s": 0.05, **settings})
    return Embedder(settings=lambda: own)


async def test_a_call_waits_in_all_no_longer_than_it_may_and_as_long_again_as_it_takes_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    embedder, x, own_ns = impatient(), a_call(), 0
    monkeypatch.setattr(module, "perf_counter_ns", lambda: x.started_ns + x.embedding_ns + own_ns)
    granted: list[float] = []
    do = embedder._worker.do
    monkeypatch.setattr(embedder._worker, "do", lambda *job, **how: granted.append(how["wait_s"]) or do(*job, **how))
    model = StuckModel(embedder)

    async def is_late() -> None:
        with pytest.raises(EmbedderLate) as problem:
            await embedder.embed(["a goat"], x)
        assert problem.value.reason == LATE

    for _ in range(3):
        await is_late()
    assert granted == [0.05]
    assert x.waited_ns == x.embedding_ns > 0
    own_ns = 10 * x.embedding_ns
    await is_late()
    assert granted == [0.05, 0.05]
    assert embedder.lateness.counts == {LATE: 4, FULL: 0}
    assert len(model.seen) == 1  # what had to wait behind it is not read by and by for nobody
    model.go.set()
    embedder.close()


async def test_what_is_known_already_is_given_however_late_it_is() -> None:
    embedder, x = impatient(), a_call()
    await embedder.load()
    vectors = await embedder.embed(["a goat"])
    model = StuckModel(embedder)
    with pytest.raises(EmbedderLate):
        await embedder.embed(["a gate"], x)
    assert (await embedder.embed(["a goat"], x) == vectors).all()
    model.go.set()
    embedder.close()


async def test_what_no_call_waits_for_has_time_and_no_call_s_place() -> None:
    embedder = impatient(queue_max=1, wait_s=30)
    model = StuckModel(embedder)
    first = asyncio.ensure_future(embedder.embed(["at hand"], a_call()))
    await asyncio.to_thread(model.begun.wait, 10)
    other = asyncio.ensure_future(embedder.embed(["background"]))
    second = asyncio.ensure_future(embedder.embed(["waits"], a_call()))
    await asyncio.sleep(0)
    with pytest.raises(EmbedderLate) as problem:
        await embedder.embed(["one too many"], a_call())
    assert problem.value.reason == FULL
    second.cancel()  # its client went away
    await asyncio.sleep(0)
    third = asyncio.ensure_future(embedder.embed(["has its place"], a_call()))
    await asyncio.sleep(0)
    report = embedder.report()
    assert (report["waiting_for_calls"], report["waiting_for_others"], report["busy"]) == (1, 1, 1)
    model.go.set()
    await asyncio.gather(first, other, third)
    assert model.seen == [["at hand"], ["has its place"], ["background"]]
    assert report["abandoned"] == 1
    embedder.close()


async def test_a_call_comes_in_between_the_pieces_of_a_long_job() -> None:
    embedder = Embedder()
    model = StuckModel(embedder)
    texts = [f"{number} " + "passage " * 200 for number in range(6)]
    job = asyncio.ensure_future(embedder.embed(texts))
    await asyncio.to_thread(model.begun.wait, 10)
    question = asyncio.ensure_future(embedder.embed(["a question"], a_call()))
    await asyncio.sleep(0)
    model.go.set()
    await question
    vectors = await job
    assert len(vectors) == 6
    assert model.seen[1] == ["a question"]
    assert sum(map(len, model.seen)) == 7
    embedder.close()


@given(st.lists(st.integers(0, 5_000), min_size=1, max_size=50))
def test_the_pieces_are_all_the_texts_each_little_enough(lengths: list[int]) -> None:
    texts = [f"{number}".ljust(length, ".") for number, length in enumerate(lengths)]
    pieces = pieces_of(texts)
    assert [text for piece in pieces for text in piece] == texts
    for piece in pieces:
        assert len(piece) == 1 or sum(min(len(text), CHARS_MAX) for text in piece) <= PIECE_CHARS


async def test_reading_for_nobody_is_stopped_and_what_was_read_is_kept() -> None:
    embedder = Embedder()
    await embedder.load()
    model = embedder._model
    assert model is not None
    read_one, go_on = Event(), Event()
    own = model._read

    def slowly(encoded: Any) -> Any:
        found = own(encoded)
        read_one.set()
        go_on.wait(30)
        return found

    model._read = slowly  # type: ignore[method-assign]
    texts = ["word " * count for count in (250, 150, 60)]  # three runs
    reading = asyncio.ensure_future(embedder.embed(texts, a_call()))
    await asyncio.to_thread(read_one.wait, 30)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    go_on.set()
    await embedder.embed(["next"], a_call())
    assert embedder.embedded == 2
    assert embedder.report()["abandoned"] == 1
    await embedder.embed(texts[:1], a_call())
    assert embedder.embedded == 2
    embedder.close()


async def test_several_threads_read_as_one_does() -> None:
    several, one = Embedder(settings=lambda: EmbedderSettings(threads=3)), Embedder()
    await several.load()
    assert several.report()["threads"] == 3
    texts = [f"The {word} is behind the {other}." for word in ("barn", "goat", "gate") for other in ("yard", "well")]
    rows = await asyncio.gather(*(several.embed([text], a_call()) for text in texts))
    for row, text in zip(rows, texts, strict=True):
        assert np.allclose(row, await one.embed([text]), atol=1e-6)
    several.close()
    one.close()


def test_the_event_loop_has_a_processor_of_its_own_where_there_are_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "memory_room", lambda: None)
    for processors, threads in ((0.25, 1), (1, 1), (2, 1), (3, 2), (3.5, 2), (64, 4)):
        monkeypatch.setattr(module, "usable_processors", lambda known=processors: float(known))
        assert threads_of(0) == threads
    assert threads_of(7) == 7
    monkeypatch.setattr(module, "memory_room", lambda: MemoryRoom(1_000_000_000, 170_000_000))
    assert threads_of(7) == 3
