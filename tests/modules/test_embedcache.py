"""embedcache over HTTP: what is asked for, in which order it comes back, and what it saves."""

from __future__ import annotations

import asyncio
from array import array
from base64 import b64decode
from typing import Any

import orjson
import pytest

from instance.chute.modules.caching.vector_store import ENTRY_OVERHEAD_BYTES, Vector, VectorStore
from tests.mock_replies import Reply, status
from tests.modules.conftest import Running, running

PRICES = '[prices."up/small"]\nin_usd_per_mtok = 1000\n'


async def _embed(s: Running, texts: Any, **more: Any) -> list[array[float]]:
    made = await s.sdk().embeddings.create(model="up/small", input=texts, **more)
    assert [row.index for row in made.data] == list(range(len(made.data)))
    return [_numbers(row.embedding) for row in made.data]


def _numbers(vector: Any) -> array[float]:
    """As 32-bit floats; base64 that was asked for by name is passed on by the SDK as it is."""
    return array("f", b64decode(vector) if isinstance(vector, str) else vector)


def _sent(s: Running) -> list[Any]:
    return [call.json()["input"] for call in s.mock.calls]


@pytest.mark.parametrize("form", [{}, {"encoding_format": "float"}, {"encoding_format": "base64"}])
async def test_only_what_is_not_known_is_sent_once_and_the_order_is_the_callers(form: dict[str, Any]) -> None:
    async with running({"embedcache": False}) as s:
        plain = dict(zip("abc", await _embed(s, ["a", "b", "c"], encoding_format="float"), strict=True))
        await s.configure({"embedcache": True})
        s.mock.calls.clear()
        assert await _embed(s, ["a", "b"], **form) == [plain["a"], plain["b"]]
        raw = await s.sdk().embeddings.with_raw_response.create(model="up/small", input=["b", "c", "a", "c"], **form)
        assert raw.headers["x-stockyard-embed-cache"] == "2/4"
        answer = raw.parse()
        assert [_numbers(row.embedding) for row in answer.data] == [plain[name] for name in "bcac"]
        assert _sent(s) == [["a", "b"], ["c"]]
        assert answer.usage.prompt_tokens == 1


async def test_a_call_that_is_known_whole_asks_nobody_and_saves_its_price() -> None:
    async with running(config=PRICES) as s:
        await _embed(s, "four words are here")
        (first,) = await s.recent_traces(1)
        raw = await s.sdk().embeddings.with_raw_response.create(model="up/small", input="four words are here")
        trace = await s.trace(raw.headers["x-stockyard-trace-id"])
        assert len(s.mock.calls) == 1
        assert (trace["status"], trace["cache"], trace["cost_usd"]) == ("cache_hit", "embed", 0)
        assert trace["saved_usd"] == first["cost_usd"] > 0
        assert raw.parse().usage.total_tokens == 0
        assert await s.trail(trace["id"], "embedcache") == [("embed", {"hits": 1, "misses": 0})]


async def test_another_size_model_or_parameter_has_vectors_of_its_own() -> None:
    async with running() as s:
        for more in ({}, {"dimensions": 8}, {"extra_body": {"input_type": "query"}}, {"user": "ada"}):
            await _embed(s, "a", **more)
        await s.sdk().embeddings.create(model="up/large", input="a")
        assert len(s.mock.calls) == 4  # the user changes no vector


async def test_tokens_are_inputs_like_texts() -> None:
    async with running() as s:
        await _embed(s, [1, 2, 3])
        await _embed(s, [[1, 2, 3], [4]])
        assert _sent(s) == [[1, 2, 3], [[4]]]


async def test_calls_at_once_wait_for_the_same_vector_and_ask_themselves_when_it_fails() -> None:
    async with running({"retry": False}) as s:
        s.mock.script(Reply(delay_s=0.1))
        await asyncio.gather(*(_embed(s, ["a", "b"]) for _ in range(10)))
        assert _sent(s) == [["a", "b"]]
        s.mock.script(status(500))
        outcomes = await asyncio.gather(*(_embed(s, ["new"]) for _ in range(2)), return_exceptions=True)
        assert sum(isinstance(outcome, list) for outcome in outcomes) >= 1
        assert await _embed(s, ["new"])


async def test_vectors_of_bytes_are_passed_on_as_they_come_in_either_form() -> None:
    body = {"model": "up/small", "input": "a", "output_dtype": "int8"}
    rows: dict[str, Any] = {"base64": "AQIDBAUGBwg=", "float": [1, 2, 3, 4, 5, 6, 7, 8]}
    async with running() as s:
        for form, vector in rows.items():
            row = {"object": "embedding", "index": 0, "embedding": vector}
            answer = {"object": "list", "data": [row], "model": "small", "usage": {"prompt_tokens": 1}}
            s.mock.script(Reply(body=orjson.dumps(answer)))
            made = await s.http().post("/v1/embeddings", json={**body, "encoding_format": form})
            assert made.json()["data"][0]["embedding"] == vector


async def test_vectors_of_a_model_that_stood_in_are_neither_kept_nor_mixed_with_its_own() -> None:
    chains = [{"match": "*small", "targets": ["up/large"]}]
    prices = PRICES + '[prices."up/large"]\nin_usd_per_mtok = 1000\n'
    async with running({"fallbackrouter": {"chains": chains}, "retry": False}, config=prices) as s:
        s.mock.script(status(503))
        await _embed(s, ["a"])
        await _embed(s, ["a"])
        models = [call.json()["model"] for call in s.mock.calls]
        assert models == ["small", "large", "small"]
        s.mock.calls.clear()
        s.mock.script(status(503))
        raw = await s.sdk().embeddings.with_raw_response.create(model="up/small", input=["a", "b"])
        assert [call.json()["input"] for call in s.mock.calls] == [["b"], ["b"], ["a", "b"]]
        assert raw.headers["x-stockyard-model"] == "large"
        assert "x-stockyard-embed-cache" not in raw.headers
        trace = await s.trace(raw.headers["x-stockyard-trace-id"])
        assert trace["cost_usd"] == 3 * 1000 / 1e6, "what was asked for twice is paid twice"


async def test_an_answer_of_another_form_is_passed_on_and_leaves_nothing() -> None:
    async with running() as s:
        for _ in range(2):
            s.mock.script(
                Reply(
                    body=b'{"object": "list", "data": [], "model": "small", "usage": {"prompt_tokens": 1, "total_tokens": 1}}'
                )
            )
            made = await s.http().post("/v1/embeddings", json={"model": "up/small", "input": ["a"]})
            assert made.json()["data"] == []
        assert len(s.mock.calls) == 2


async def test_what_is_kept_is_shown_and_can_be_cleared() -> None:
    async with running() as s:
        await _embed(s, ["a", "b"])
        await _embed(s, ["a"])
        http = s.http(s.admin_key)
        shown = (await http.get("/api/cache/stats")).json()["by_cache"]["embed"]
        assert (shown["entries"], shown["hits"], shown["misses"]) == (2, 1, 2)
        assert (await http.delete("/api/cache?cache=embed")).json()["removed"] == 2
        await _embed(s, ["a"])
        assert len(s.mock.calls) == 2


def test_the_store_is_bounded_and_forgets_what_is_over_its_time() -> None:
    store = VectorStore(3, 3 * (ENTRY_OVERHEAD_BYTES + 8))
    for key in b"abcd":
        store.put(bytes([key]), Vector([1.0, 2.0], 0, 10, 0, "m", "t"))
    assert len(store) == 3
    assert store.get(b"a", 5) is None
    assert store.get(b"b", 5) is not None
    store.put(b"e", Vector([0.0] * 100, 0, 10, 0, "m", "t"))
    assert store.size_bytes <= store.max_bytes
    assert store.get(b"b", 10) is None
    store.expire(10)
    assert (len(store), store.size_bytes) == (0, 0)
