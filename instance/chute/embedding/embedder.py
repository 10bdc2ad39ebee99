"""Embeds texts by the packaged MiniLM on threads of its own, each text once: results are kept by text.

Used in `prepare`, `around` and `on_finish`, never in a synchronous hook before the call: a text takes 3 to 20 ms, during
which the event loop runs. What a call waits for goes before what nobody waits for, and is waited for no longer than the settings
allow.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from threading import Lock
from time import monotonic_ns, perf_counter_ns
from typing import TYPE_CHECKING, Any, TypeVar

from instance.chute.embedding.late import LATE, EmbedderLate, Lateness
from instance.chute.embedding.model_files import INSTALL, missing_packages, model_files
from instance.chute.embedding.worker import NS_PER_S, Worker, is_wanted
from instance.core.errors import StockyardError
from instance.core.memory_limit import MB, check_room, memory_room
from instance.core.processors import usable_processors
from instance.core.settings import EmbedderSettings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from instance.chute.exchange import Exchange
    from instance.core.core import Core

    Vectors = NDArray[np.float32]

T = TypeVar("T")

DIMENSIONS = 384
TOKENS_MAX = 256
"""What the model was trained to read; the rest of a longer text does not count."""
CHARS_MAX = 2_000
"""What is kept of a text: more than `TOKENS_MAX` tokens have but where words are longer than any language's. So texts that are read
alike are read once, as are those that differ in the spaces around them."""
RUN_TOKENS = 16
"""What a run of the model takes by itself, in tokens: less padding than that is cheaper than one more run."""
RUN_TOKENS_MAX = 1_024
"""Most tokens, padding counted, that a thread has the model read at a time: 75 MB of working memory, which it keeps."""
LOAD_BYTES = 260 * MB
"""What loading takes at its peak, above what the instance has already; 180 MB of it stay."""
CACHED_MAX = 8_192
"""Texts whose vectors are kept: 1.5 KB each. Of the text itself only its hash is: 64 bits by SipHash under a key of this process, so
that nobody can make two texts that count as one."""
WORKING_BYTES = 80 * MB
"""What each further thread takes for the texts that it reads."""
THREADS_MAX = 4
"""Of its own accord; the settings may say more."""
PIECE_CHARS = 2_000
"""Of what no call waits for so much is read in one go, some 0.1 s: a call that comes then waits no longer for a thread."""
OTHERS_WAIT_S = 60.0
"""How long is waited for what no call waits for."""
SERVICE = "embedder"


class Embedder:
    """`await embed(texts)` answers float32[n, 384] with rows of length 1, so that a cosine is a dot product.

    The model (265 MB at its peak) is loaded by the first `load()` or `embed()`.
    """

    def __init__(
        self,
        cached_max: int = CACHED_MAX,
        *,
        settings: Callable[[], EmbedderSettings] = EmbedderSettings,
        mono_ns: Callable[[], int] = monotonic_ns,
    ) -> None:
        """`settings` are asked at each call, but for the threads, which are made once."""
        self._cached_max = cached_max
        self._settings = settings
        self._kept: OrderedDict[int, Vectors] = OrderedDict()
        self.lateness = Lateness(mono_ns)
        self._worker = Worker("embedder", lateness=self.lateness)
        self._keeping = Lock()
        self._loading: asyncio.Task[Any] | None = None
        self._model: _Model | None = None
        self.embedded = 0
        """Texts that the model read, kept ones left out."""

    async def load(self) -> None:
        """Load the model, once. Raises `StockyardError` naming the command that installs what is missing, or where the
        container has too little memory for it: loading would end the whole instance."""
        if self._model is not None:
            return
        missing = missing_packages()
        if missing:
            raise StockyardError(
                "not_supported",
                f"This needs the bundled embedding model, which is not installed ({', '.join(missing)}): {INSTALL}",
            )
        if self._loading is None:
            check_room(LOAD_BYTES, "The bundled embedding model")
            self._loading = asyncio.get_running_loop().create_task(self._load())
        try:
            await asyncio.shield(self._loading)
        except OSError as problem:
            self._loading = None
            raise StockyardError("not_supported", str(problem)) from problem

    async def _load(self) -> None:
        model = await self._worker.do(_Model)
        self._worker.grow(threads_of(self._settings().threads))
        self._model = model

    async def embed(self, texts: Sequence[str], x: Exchange | None = None) -> Vectors:
        """The vectors of the texts, in their order; of many texts that no call waits for, a few at a time. Raises what `load` and
        `embed_then` raise."""
        found = self._all_kept(texts)
        if found is not None:
            return found
        if x is not None:
            return await self.embed_then(texts, _as_they_are, x)
        import numpy as np

        return np.vstack([await self.embed_then(piece, _as_they_are) for piece in pieces_of(texts)])

    def embed_then(self, texts: Sequence[str], work: Callable[[Vectors], T], x: Exchange | None = None) -> Awaitable[T]:
        """`work(vectors)`, done on the embedder's thread too: comparing with many others takes the event loop no time then.

        `work` must not touch what the loop changes meanwhile. `x`: the call that waits for it; `None`: none does. Raises what `load`
        and `work` raise, and `EmbedderLate` when it took too long, or too much waits already.
        """
        return self._once_loaded(x, self._embed_then, texts, work)

    def run(
        self,
        read: Callable[[], Sequence[str]],
        work: Callable[[Vectors], T],
        x: Exchange | None = None,
        *,
        more: Callable[[Vectors], Sequence[str]] | None = None,
    ) -> Awaitable[T]:
        """`work(vectors of read())`, all of it on the thread: also finding out what there is to embed takes the event loop no
        time then. `more`: what else is to be embedded once those are known, for `work` behind them. As `embed_then` otherwise."""
        return self._once_loaded(x, self._run, read, work, more)

    def _once_loaded(self, x: Exchange | None, job: Callable[..., T], *given: Any) -> Awaitable[T]:
        if self._model is None:
            return self._after_loading(x, job, *given)
        own = self._settings()
        if x is None:
            return self._worker.do(job, *given, for_call=False, wait_s=OTHERS_WAIT_S, most=own.queue_max)
        # As long again as the call takes by itself: what it waited is in the time since it began, too.
        left_ns = own.wait_s * NS_PER_S - x.embedding_ns
        if x.embedding_ns:
            left_ns += perf_counter_ns() - x.started_ns - x.embedding_ns
            if left_ns <= 0:
                self.lateness.add(LATE)
                raise EmbedderLate(LATE)
        return self._worker.do(
            job,
            *given,
            wait_s=min(own.wait_s, left_ns / NS_PER_S),
            most=own.queue_max,
            settled=partial(_waited, x),
        )

    async def _after_loading(self, x: Exchange | None, job: Callable[..., T], *given: Any) -> T:
        await self.load()
        return await self._once_loaded(x, job, *given)

    def report(self) -> dict[str, Any]:
        """How it is, as JSON values: threads, what waits, and what was late since it was made and within the last minute."""
        worker, counts = self._worker, self.lateness.counts
        calls, others = worker.waiting
        return {
            "loaded": self._model is not None,
            "stuck": worker.held_s > self._settings().wait_s,
            "threads": worker.threads,
            "busy": worker.busy,
            "waiting_for_calls": calls,
            "waiting_for_others": others,
            **counts,
            "late_last_minute": self.lateness.within(60),
            "abandoned": worker.abandoned,
            "texts": self.embedded,
        }

    def _run(
        self,
        read: Callable[[], Sequence[str]],
        work: Callable[[Vectors], T],
        more: Callable[[Vectors], Sequence[str]] | None,
    ) -> T:
        vectors = self._vectors_of(read())
        further = more(vectors) if more is not None else ()
        if further:
            import numpy as np

            vectors = np.vstack([vectors, self._vectors_of(further)])
        return work(vectors)

    def _embed_then(self, texts: Sequence[str], work: Callable[[Vectors], T]) -> T:
        return work(self._vectors_of(texts))

    def _vectors_of(self, texts: Sequence[str]) -> Vectors:
        import numpy as np

        model = self._model
        assert model is not None
        texts = _read_of(texts)
        keys = list(map(hash, texts))
        rows: dict[int, Vectors] = {}
        wanted: dict[int, str] = {}
        with self._keeping:
            for key, text in zip(keys, texts, strict=True):
                row = self._kept.get(key)
                if row is None:
                    wanted[key] = text
                else:
                    rows[key] = row  # held here: it may be gone from what is kept before the others are read
                    self._kept.move_to_end(key)
        unread = list(wanted)
        for places, read in model.read(list(wanted.values())) if wanted else ():
            with self._keeping:
                for place, row in zip(places, read, strict=True):
                    key = unread[place]
                    # A row of its own: a view would keep them all.
                    rows[key] = self._kept[key] = row.copy()
                    if len(self._kept) > self._cached_max:
                        self._kept.popitem(last=False)
                self.embedded += len(places)
            if not is_wanted():
                raise EmbedderLate(LATE)  # nobody hears it
        found = np.empty((len(texts), DIMENSIONS), dtype=np.float32)
        for place, key in enumerate(keys):
            found[place] = rows[key]
        return found

    def _all_kept(self, texts: Sequence[str]) -> Vectors | None:
        """The vectors, when there is nothing to read."""
        import numpy as np

        kept = self._kept
        rows = []
        with self._keeping:
            for text in _read_of(texts):
                key = hash(text)
                row = kept.get(key)
                if row is None:
                    return None
                kept.move_to_end(key)
                rows.append(row)
        return np.stack(rows) if rows else np.empty((0, DIMENSIONS), dtype=np.float32)

    def close(self) -> None:
        """End the worker; what it is reading is finished."""
        self._worker.close()


def _read_of(texts: Sequence[str]) -> list[str]:
    return [text[:CHARS_MAX].strip() for text in texts]


def runs_of(lengths: Sequence[int]) -> list[list[int]]:
    """The places of texts of so many tokens, as they are read together: all of a run are padded to its longest, so those of much the
    same length are."""
    runs: list[list[int]] = []
    longest = padding = 0
    for place in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        added = longest - lengths[place]
        if not runs or padding + added > RUN_TOKENS or (len(runs[-1]) + 1) * longest > RUN_TOKENS_MAX:
            runs.append([])
            longest, padding, added = lengths[place], 0, 0
        runs[-1].append(place)
        padding += added
    return runs


def pieces_of(texts: Sequence[str]) -> list[Sequence[str]]:
    """The texts, in pieces of little enough to read."""
    pieces: list[Sequence[str]] = []
    start = chars = 0
    for place, text in enumerate(texts):
        chars += min(len(text), CHARS_MAX)
        if chars > PIECE_CHARS and place > start:
            pieces.append(texts[start:place])
            start, chars = place, min(len(text), CHARS_MAX)
    return [*pieces, texts[start:]]


def threads_of(wanted: int) -> int:
    """How many threads read: as wanted, or where that is 0 by the processors, of which the event loop has one; fewer where the
    container has too little memory for so many."""
    threads = wanted or min(THREADS_MAX, max(1, int(usable_processors()) - 1))
    room = memory_room()
    return threads if room is None else max(1, min(threads, 1 + room.left // WORKING_BYTES))


def _waited(x: Exchange, took_ns: int, in_time: bool) -> None:
    x.embedding_ns += took_ns
    if not in_time:  # else who waited says so
        x.waited_ns += took_ns


def _as_they_are(vectors: Vectors) -> Vectors:
    return vectors


class _Model:
    """The ONNX session and its tokenizer, for all threads. Each reads on its own: that takes less processor time for a text than
    several threads of the session's own would."""

    def __init__(self) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        files = model_files()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(files.model), sess_options=options, providers=["CPUExecutionProvider"]
        )
        self._inputs = {each.name for each in self._session.get_inputs()}
        self._tokenizer = Tokenizer.from_file(str(files.tokenizer))
        self._tokenizer.enable_truncation(TOKENS_MAX)
        self._tokenizer.no_padding()

    def read(self, texts: Sequence[str]) -> Iterator[tuple[list[int], Vectors]]:
        """The places of some of the texts with their vectors, run by run, until all were read. A vector is the mean of the tokens'
        states, padding left out, scaled to length 1."""
        encoded = self._tokenizer.encode_batch([text.encode("utf-8", "replace").decode() for text in texts])
        for run in runs_of([len(each) for each in encoded]):
            yield run, self._read([encoded[place] for place in run])

    def _read(self, encoded: Sequence[Any]) -> Vectors:
        import numpy as np

        shape = len(encoded), max(len(each) for each in encoded)
        ids, mask = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        for place, each in enumerate(encoded):
            ids[place, : len(each)] = each.ids
            mask[place, : len(each)] = 1
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros(shape, dtype=np.int64)}
        states = self._session.run(None, {name: given[name] for name in self._inputs})[0]
        weights = mask[..., None].astype(np.float32)
        sums = (states * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1e-9)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        return np.asarray(sums / np.maximum(lengths, 1e-12), dtype=np.float32)


def embedder_of(core: Core) -> Embedder:
    """The instance's one embedder, made when it is first asked for."""
    found: Embedder | None = core.services.get(SERVICE)
    if found is None:
        found = core.services[SERVICE] = Embedder(settings=lambda: core.settings.embedder, mono_ns=core.clock.mono_ns)
    return found


async def embedder_where_possible(core: Core) -> Embedder | None:
    """The same, loaded; `None` where it is not installed or there is too little memory for it."""
    if missing_packages():
        return None
    embedder = embedder_of(core)
    try:
        await embedder.load()
    except StockyardError:
        return None
    return embedder
