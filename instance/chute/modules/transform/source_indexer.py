"""Reads contextpack's sources and keeps the index over them; while it is made anew the old one serves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instance.chute.embedding.late import EmbedderLate
from instance.chute.modules.transform.document_sources import (
    TYPES,
    Document,
    Source,
    SourceFailed,
    read_local,
    read_remote,
    state_of,
)
from instance.chute.modules.transform.passage_index import PassageIndex
from instance.chute.modules.transform.passages import Passage, cut
from instance.chute.remote_media import RemoteMedia

if TYPE_CHECKING:
    from instance.chute.embedding.embedder import Embedder
    from instance.core.clock import Clock

PASSAGES_MAX = 20_000
PROBLEMS_KEPT = 20
BATCH = 32
NS_PER_S = 10**9


@dataclass(slots=True)
class Reading:
    """What a source gave when it was last read."""

    passages: list[Passage] = field(default_factory=list)
    documents: int = 0
    at_ns: int = 0
    state: Any = None
    error: str = ""
    problems: list[str] = field(default_factory=list)


class SourceIndexer:
    """`index` is the newest complete one. `refresh` reads what is due; one runs at a time."""

    def __init__(
        self, sources: Sequence[Source], roots: Sequence[Path], embedder: Embedder, clock: Clock, *, private: bool
    ) -> None:
        self.sources = sources
        self.index: PassageIndex | None = None
        self.readings: dict[str, Reading] = {}
        self.chunk_tokens = 250
        self.overlap_tokens = 30
        self._roots = roots
        self._embedder = embedder
        self._clock = clock
        self._fetcher = RemoteMedia(allow_private_networks=private, accepted=TYPES)
        self._running = asyncio.Lock()
        self._vectors: dict[bytes, Any] = {}
        self._behind = False
        """Whether something was read that is not in the index."""

    async def refresh(self) -> bool:
        """Read the sources that are due or have changed; whether there is a new index. A source that cannot be read keeps
        what it gave before, and says why."""
        async with self._running:
            changed = False
            for source in self.sources:
                changed |= await self._read(source)
            if changed or self._behind or self.index is None:
                self._behind = True
                await self._build()
                self._behind = False
            return changed

    async def close(self) -> None:
        await self._fetcher.close()

    def report(self) -> list[dict[str, Any]]:
        """Each source with what it gave, and what is wrong with it."""
        rows = []
        for source in self.sources:
            reading = self.readings.get(source.name, Reading())
            rows.append(
                {
                    "name": source.name,
                    "type": source.type,
                    "status": "failed" if reading.error else "ready" if reading.at_ns else "reading",
                    "documents": reading.documents,
                    "passages": len(reading.passages),
                    "error": reading.error or None,
                    "problems": reading.problems,
                }
            )
        return rows

    async def _read(self, source: Source) -> bool:
        before = self.readings.get(source.name)
        now = self._clock.wall_ns()
        due = before is None or now - before.at_ns >= source.refresh_s * NS_PER_S
        made = Reading(at_ns=now)
        try:
            if source.type == "folder":
                made.state = await asyncio.to_thread(state_of, source, self._roots)
            if before is not None and not due and made.state == before.state:
                return False
            if source.type == "url":
                documents = await read_remote(source, self._fetcher)
            else:
                documents, made.problems = await asyncio.to_thread(read_local, source, self._roots)
        except (SourceFailed, OSError, ValueError) as problem:
            kept = before or made
            kept.error, kept.at_ns = str(problem)[:500], now
            self.readings[source.name] = kept
            return False
        del made.problems[PROBLEMS_KEPT:]
        made.documents = len(documents)
        made.passages = await asyncio.to_thread(self._cut, source, documents)
        self.readings[source.name] = made
        return before is None or made.passages != before.passages

    def _cut(self, source: Source, documents: Sequence[Document]) -> list[Passage]:
        return [
            passage
            for document in documents
            for passage in cut(source.name, document.name, document.text, self.chunk_tokens, self.overlap_tokens)
        ]

    async def _build(self) -> None:
        """A new index; passages that were there before are not read by the model again, nor those that it read before it was too busy
        for the others. Raises `EmbedderLate`."""
        import numpy as np

        passages = [passage for source in self.sources for passage in self._passages(source)]
        if len(passages) > PASSAGES_MAX:
            del passages[PASSAGES_MAX:]
            self.readings[self.sources[-1].name].problems.append(f"only the first {PASSAGES_MAX} passages are indexed")
        texts = [f"{passage.heading}\n{passage.text}" if passage.heading else passage.text for passage in passages]
        digests = [blake2b(text.encode("utf-8", "replace"), digest_size=16).digest() for text in texts]
        known = {digest: self._vectors[digest] for digest in digests if digest in self._vectors}
        fresh = [n for n, digest in enumerate(digests) if digest not in known]
        for start in range(0, len(fresh), BATCH):
            batch = fresh[start : start + BATCH]
            try:
                rows = await self._embedder.embed([texts[n] for n in batch])
            except EmbedderLate:
                self._vectors |= known  # the next time goes on from here
                raise
            known.update((digests[n], row) for n, row in zip(batch, rows, strict=True))
        self._vectors = known
        vectors = np.array([known[digest] for digest in digests], dtype=np.float32).reshape(len(passages), -1)
        self.index = await asyncio.to_thread(PassageIndex, passages, vectors)

    def _passages(self, source: Source) -> list[Passage]:
        reading = self.readings.get(source.name)
        return reading.passages if reading is not None else []
