"""Which language a text is in, offline: byte n-grams, by the packaged model of the extra `language`."""

from __future__ import annotations

import asyncio
import re
from functools import cache
from importlib.util import find_spec
from typing import Any, NamedTuple

from instance.core.errors import StockyardError
from instance.core.memory_limit import MB, check_room

INSTALL = "pip install 'stockyard[language]'"
TEXT_MAX_CHARS = 1_000
"""More of a text tells nothing new."""
LOAD_BYTES = 200 * MB
"""What loading takes at its peak, numpy and a temporary file among it; 100 MB of it stay."""
_NO_LANGUAGE = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]*`|https?://\S+|(?<!\S)[^\s@]+@[^\s@]+\.\S+|\{\{.*?\}\}|\d+", re.DOTALL
)


class Language(NamedTuple):
    """A language's ISO 639-1 code, and how sure that is (0 to 1)."""

    code: str
    confidence: float


async def load() -> None:
    """Load the model (about half a second, on a worker thread). Raises `StockyardError` with the command that installs it, or where
    the container has too little memory for it."""
    if find_spec("py3langid") is None or find_spec("numpy") is None:
        raise StockyardError(
            "not_supported", f"Telling languages apart needs a package that is not installed: {INSTALL}"
        )
    if not _identifier.cache_info().currsize:
        check_room(LOAD_BYTES, "The model that tells languages apart")
    await asyncio.to_thread(_identifier)


def language_of(text: str) -> Language:
    """The text's language; code, addresses and numbers in it do not count. About 50 microseconds once loaded."""
    words = " ".join(_NO_LANGUAGE.sub(" ", text[: 2 * TEXT_MAX_CHARS]).split())[:TEXT_MAX_CHARS]
    if not any(character.isalpha() for character in words):
        return Language("", 0.0)
    code, confidence = _identifier().classify(words)
    return Language(str(code), float(confidence))


@cache
def known_languages() -> frozenset[str]:
    """The codes that can be told apart."""
    return frozenset(str(label) for label in _identifier().labels)


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
