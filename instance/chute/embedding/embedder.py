"""Embeds texts by the packaged MiniLM on one worker thread, each text once: results are kept by text.

Used in `prepare`, `around` and `on_finish`, never in a synchronous hook before the call: a text takes 3 to 20 ms, during
which the worker lets the event loop run.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from instance.chute.embedding.model_files import INSTALL, missing_packages, model_files
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from instance.core.core import Core

    Vectors = NDArray[np.float32]

DIMENSIONS = 384
TOKENS_MAX = 256
"""What the model was trained to read; the rest of a longer text does not count."""
BATCH = 16
CACHED_MAX = 8_192
"""Texts whose vectors are kept: 1.5 KB each beside the text's own digest."""
SERVICE = "embedder"


class Embedder:
    """`await embed(texts)` answers float32[n, 384] with rows of length 1, so that a cosine is a dot product.

    The model (265 MB at its peak) is loaded by the first `load()` or `embed()`.
    """

    def __init__(self, cached_max: int = CACHED_MAX) -> None:
        self._cached_max = cached_max
        self._kept: OrderedDict[str, Vectors] = OrderedDict()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="embedder")
        self._loading: asyncio.Task[Any] | None = None
        self._model: _Model | None = None
        self.embedded = 0
        """Texts that the model read, kept ones left out."""

    async def load(self) -> None:
        """Load the model, once. Raises `StockyardError` naming the command that installs what is missing."""
        if self._model is not None:
            return
        missing = missing_packages()
        if missing:
            raise StockyardError(
                "not_supported",
                f"This needs the bundled embedding model, which is not installed ({', '.join(missing)}): {INSTALL}",
            )
        if self._loading is None:
            self._loading = asyncio.get_running_loop().create_task(self._load())
        try:
            await asyncio.shield(self._loading)
        except OSError as problem:
            self._loading = None
            raise StockyardError("not_supported", str(problem)) from problem

    async def _load(self) -> None:
        self._model = await asyncio.get_running_loop().run_in_executor(self._worker, _Model)

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """The vectors of the texts, in their order. Raises what `load` raises."""
        import numpy as np

        await self.load()
        model = self._model
        assert model is not None
        # What is kept is taken before anything is awaited: another call may push it out meanwhile.
        kept = {text: self._kept[text] for text in texts if text in self._kept}
        wanted = list(dict.fromkeys(text for text in texts if text not in kept))
        fresh: dict[str, Vectors] = {}
        for start in range(0, len(wanted), BATCH):
            batch = wanted[start : start + BATCH]
            rows = await asyncio.get_running_loop().run_in_executor(self._worker, model.read, batch)
            fresh.update(zip(batch, rows, strict=True))
            self.embedded += len(batch)
        found = np.empty((len(texts), DIMENSIONS), dtype=np.float32)
        for place, text in enumerate(texts):
            row = fresh.get(text)
            if row is None:
                row = kept[text]
                if text in self._kept:
                    self._kept.move_to_end(text)
            found[place] = row
        for text, row in fresh.items():
            self._kept[text] = row
            if len(self._kept) > self._cached_max:
                self._kept.popitem(last=False)
        return found

    def close(self) -> None:
        """End the worker; what it is reading is finished."""
        self._worker.shutdown(wait=False, cancel_futures=True)


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
        self._tokenizer.enable_padding()

    def read(self, texts: Sequence[str]) -> Vectors:
        """Mean of the tokens' states, padding left out, scaled to length 1."""
        import numpy as np

        encoded = self._tokenizer.encode_batch([text.encode("utf-8", "replace").decode() for text in texts])
        mask = np.array([each.attention_mask for each in encoded], dtype=np.int64)
        given = {
            "input_ids": np.array([each.ids for each in encoded], dtype=np.int64),
            "attention_mask": mask,
            "token_type_ids": np.array([each.type_ids for each in encoded], dtype=np.int64),
        }
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
