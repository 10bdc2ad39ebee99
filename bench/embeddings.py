"""What the real embedding model reads for a call, and how long that takes, with every module on and at work.

`python -m bench.embeddings` calls an instance in this process over its ASGI interface, with the mock provider behind it, prints a row
for each length of the question and writes bench/results-embeddings.json. The chain's benchmark leaves the model out; its users wait
for it: `until answered` is the whole call, `model` the model's own time, what is read after the answer among it. Below is who asked for
what was read, the first one where several ask for the same; what modules look at together is promptguard's, as it is their first.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock, local
from typing import Any

import httpx2

from bench.__main__ import machine
from bench.chain import ALL_ON
from bench.prose import Prose
from instance.chute.embedding import embedder as embedding
from instance.server import Instance, ServeOptions
from tests.mock_upstream import MockUpstream

RESULTS = Path(__file__).parent / "results-embeddings.json"
CHARS = (80, 330, 1_000, 4_000, 16_000, 64_000)
CALLS, WARM_UP = 7, 2
SETTLED_S = 0.25
ADMIN = "sy_admin_" + "b" * 43
FIGURES = ("until_answered_ms", "model_ms", "texts", "tokens")
NO_CALL = "what no call waits for"
_asked = local()


class _Counted(embedding._Model):
    """The model, with what it read and how long that took."""

    def __init__(self) -> None:
        super().__init__()
        self._counting = Lock()
        self.begin()

    def begin(self) -> None:
        self.texts = self.tokens = self.took_ns = 0
        self.by_asker: Counter[str] = Counter()

    def _read(self, encoded: Sequence[Any]) -> Any:
        started = time.perf_counter_ns()
        rows = super()._read(encoded)
        took_ns = time.perf_counter_ns() - started
        with self._counting:
            self.took_ns += took_ns
            self.texts += len(encoded)
            tokens = len(encoded) * max(map(len, encoded))
            self.tokens += tokens
            self.by_asker[_asked.by] += tokens
        return rows


def _by_asker(once_loaded: Callable[..., Any]) -> Callable[..., Any]:
    """In place of `Embedder._once_loaded`: the thread knows who asked."""

    def named(embedder: embedding.Embedder, x: Any, job: Callable[..., Any], *given: Any) -> Any:
        asker = NO_CALL if x is None else x.current_module

        def asked(*given: Any) -> Any:
            _asked.by = asker
            return job(*given)

        return once_loaded(embedder, x, asked, *given)

    return named


async def measure(calls: int = CALLS) -> dict[str, dict[str, Any]]:
    """Characters of the question -> medians of a call: milliseconds, texts and tokens (padding counted) that were read; and the mean
    tokens by who asked first for them."""
    own, embedding._Model = embedding._Model, _Counted  # type: ignore[misc]
    once_loaded = embedding.Embedder._once_loaded
    embedding.Embedder._once_loaded = _by_asker(once_loaded)  # type: ignore[method-assign]
    upstream = MockUpstream(plain=True)
    await upstream.start(0)
    env = {
        "STOCKYARD_ADMIN_KEY": ADMIN,
        "OPENAI_API_KEY": "sk-bench-0123456789",
        "OPENAI_BASE_URL": f"{upstream.url}/v1",
        "STOCKYARD_EMBEDDER__WAIT_S": "60",
    }
    try:
        with tempfile.TemporaryDirectory(prefix="sybench") as data:
            instance = await Instance.open(ServeOptions(data=Path(data), config=ALL_ON, env=env))
            try:
                return await _measured(instance, calls)
            finally:
                await instance.close()
    finally:
        await upstream.stop()
        embedding._Model = own  # type: ignore[misc]
        embedding.Embedder._once_loaded = once_loaded  # type: ignore[method-assign]


async def _measured(instance: Instance, calls: int) -> dict[str, dict[str, Any]]:
    embedder = embedding.embedder_of(instance.core)
    await embedder.load()
    model = embedder._model
    assert isinstance(model, _Counted)
    prose = Prose(20261130)
    result: dict[str, dict[str, Any]] = {}
    headers = {"authorization": f"Bearer {ADMIN}"}
    transport = httpx2.ASGITransport(app=instance.gateway)
    async with httpx2.AsyncClient(transport=transport, base_url="http://bench", headers=headers, timeout=300) as client:
        for chars in CHARS:
            taken = []
            by_asker: Counter[str] = Counter()
            for number in range(WARM_UP + calls):
                taken.append(await _called(client, model, prose.text(chars)))
                if number >= WARM_UP:
                    by_asker += model.by_asker
            columns = zip(*taken[WARM_UP:], strict=True)
            result[str(chars)] = dict(
                zip(FIGURES, (round(statistics.median(each), 1) for each in columns), strict=True)
            )
            result[str(chars)]["tokens_by_asker"] = {
                asker: round(tokens / calls) for asker, tokens in by_asker.most_common()
            }
    return result


async def _called(client: httpx2.AsyncClient, model: _Counted, text: str) -> tuple[float, ...]:
    model.begin()
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}], "max_tokens": 400}
    started = time.perf_counter()
    answer = await client.post("/v1/chat/completions", json=body)
    answered_ms = (time.perf_counter() - started) * 1000
    assert answer.status_code == 200, answer.text
    before = -1
    while before != model.texts:  # some of it is read after the answer
        before = model.texts
        await asyncio.sleep(SETTLED_S)
    return answered_ms, model.took_ns / 1e6, model.texts, model.tokens


def main() -> None:
    rows = asyncio.run(measure())
    RESULTS.write_text(json.dumps({"machine": machine(), "by_chars": rows}, indent=2) + "\n")
    print(f"{'characters':>12}" + "".join(f"{name.replace('_', ' '):>20}" for name in FIGURES))
    for chars, row in rows.items():
        print(f"{chars:>12}" + "".join(f"{row[name]:>20,.1f}" for name in FIGURES))
    print("\ntokens by who asked first")
    for chars, row in rows.items():
        print(f"{chars:>12}  " + ", ".join(f"{asker} {tokens:,}" for asker, tokens in row["tokens_by_asker"].items()))


if __name__ == "__main__":
    main()
