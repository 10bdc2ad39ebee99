"""Which statements of an answer others to the same question do not make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from instance.chute.modules.safety.grounding import Reference
from instance.chute.sentences import split_sentences

if TYPE_CHECKING:
    from instance.chute.embedding.embedder import Embedder
    from instance.chute.exchange import Exchange


async def disagreeing(
    embedder: Embedder,
    statements: Sequence[tuple[int, str]],
    answers: Sequence[str],
    least: float,
    x: Exchange | None = None,
) -> list[tuple[int, str, float]]:
    """The statements whose mean support by the answers is less than `least`, with where they begin and that support. `x`: the call
    that waits for it. Raises `EmbedderLate`."""
    if not answers:
        return []
    support = [0.0] * len(statements)
    said = [sentence for _, sentence in statements]
    for text in answers:
        sentences = [each.strip() for each in split_sentences(text) if each.strip()]
        judged = await Reference(sentences, said).support(embedder, by_number=True, x=x)
        support = [total + one for total, (one, _) in zip(support, judged, strict=True)]
    return [
        (start, sentence, total / len(answers))
        for (start, sentence), total in zip(statements, support, strict=True)
        if total / len(answers) < least
    ]
