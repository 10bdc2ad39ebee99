"""Embeds texts by the packaged MiniLM on one worker thread, each text once: results are kept by text.

Used in `prepare`, `around` and `on_finish`, never in a synchronous hook before the call: a text takes 3 to 20 ms, during
which the worker lets the event loop run.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from instance.chute.embedding.model_files import INSTALL, missing_packages, model_files
from instance.chute.embedding.worker import Worker
from instance.core.errors import StockyardError
from instance.core.memory_limit import MB, check_room

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

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
"""Most tokens, padding counted, that the model reads at a time: 75 MB of working memory, which it keeps."""
LOAD_BYTES = 260 * MB
"""What loading takes at its peak, above what the instance has already; 180 MB of it stay."""
CACHED_MAX = 8_192
"""Texts whose vectors are kept: 1.5 KB each. Of the text itself only its hash is: 64 bits by SipHash under a key of this process, so
that nobody can make two texts that count as one."""
SERVICE = "embedder"


class Embedder:
    """`await embed(texts)` answers float32[n, 384] with rows of length 1, so that a cosine is a dot product.

    The model (265 MB at its peak) is loaded by the first `load()` or `embed()`.
    """

    def __init__(self, cached_max: int = CACHED_MAX) -> None:
        self._cached_max = cached_max
        self._kept: OrderedDict[int, Vectors] = OrderedDict()
        self._worker = Worker("embedder")
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
        self._model = await self._worker.do(_Model)

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """The vectors of the texts, in their order. Raises what `load` raises."""
        found = self._all_kept(texts)
        return found if found is not None else await self.embed_then(texts, _as_they_are)

    def embed_then(self, texts: Sequence[str], work: Callable[[Vectors], T]) -> Awaitable[T]:
        """`work(vectors)`, done on the worker too: comparing with many others takes the event loop no time then.

        `work` must not touch what the loop changes meanwhile. Raises what `load` and `work` raise.
        """
        return self._once_loaded(self._embed_then, texts, work)

    def run(self, read: Callable[[], Sequence[str]], work: Callable[[Vectors], T]) -> Awaitable[T]:
        """`work(vectors of read())`, all of it on the worker: also finding out what there is to embed takes the event loop no
        time then. As `embed_then` otherwise."""
        return self._once_loaded(self._run, read, work)

    def _once_loaded(self, job: Callable[..., T], *given: Any) -> Awaitable[T]:
        return self._worker.do(job, *given) if self._model is not None else self._after_loading(job, *given)

    async def _after_loading(self, job: Callable[..., T], *given: Any) -> T:
        await self.load()
        return await self._worker.do(job, *given)

    def _run(self, read: Callable[[], Sequence[str]], work: Callable[[Vectors], T]) -> T:
        return self._embed_then(read(), work)

    def _embed_then(self, texts: Sequence[str], work: Callable[[Vectors], T]) -> T:
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
        if wanted:
            read = model.read(list(wanted.values()))
            with self._keeping:
                # A row of its own: a view would keep them all.
                for key, row in zip(wanted, read, strict=True):
                    rows[key] = self._kept[key] = row.copy()
                    if len(self._kept) > self._cached_max:
                        self._kept.popitem(last=False)
            self.embedded += len(wanted)
        found = np.empty((len(texts), DIMENSIONS), dtype=np.float32)
        for place, key in enumerate(keys):
            found[place] = rows[key]
        return work(found)

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


def _as_they_are(vectors: Vectors) -> Vectors:
    return vectors


class _Model:
    """The ONNX session and its tokenizer; lives on the worker's thread."""

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

    def read(self, texts: Sequence[str]) -> Vectors:
        """Mean of the tokens' states, padding left out, scaled to length 1."""
        import numpy as np

        encoded = self._tokenizer.encode_batch([text.encode("utf-8", "replace").decode() for text in texts])
        found = np.empty((len(texts), DIMENSIONS), dtype=np.float32)
        for run in runs_of([len(each) for each in encoded]):
            found[run] = self._read([encoded[place] for place in run])
        return found

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
        found = core.services[SERVICE] = Embedder()
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
