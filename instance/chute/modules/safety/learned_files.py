"""What is learned from examples here: which files hold the examples, where the weights lie, and how sure they are to be."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from instance.chute.modules.safety.word_places import BUCKETS

FORM = 2
"""Goes up when texts are read in another way, so that weights of the old way are known as stale."""
BIAS = 0.3
PENALTY = 0.1
"""Of the regression, on large weights; by cross-validation."""
PAIRS_LENGTH = 3.0
"""Of the part that is of pairs of directions, where the meaning's is 1; by cross-validation."""
HARMLESS = "none"
"""The label of what is harmful in no way."""
_HERE = Path(__file__).parent


class LearnedFile(NamedTuple):
    """The examples (`label<TAB>text`; of a text with several labels the last counts) and the weights fitted to them."""

    examples: tuple[Path, ...]
    weights: Path
    precision: float
    """Of what is found among left-out examples, the least share that is to be harmful."""
    harmless: tuple[Path, ...] = ()
    """Files of which the harmless examples are harmless here too."""
    words_length: float = 0.65
    """Of each of the two parts that are of words, where the meaning's is 1; by cross-validation."""
    by_word: bool = True
    """Whether the letters of each word count alike; else those of long words for more."""
    directions: int = 0
    """Of those in which the meanings differ the most: where a meaning lies along each two of them at once counts too."""

    def digest(self) -> str:
        """What weights remember of what they were learned from, and how."""
        said = "\n".join(f"{name}\t{text}" for name, text in self.rows())
        form = (FORM, BUCKETS, BIAS, PENALTY, PAIRS_LENGTH, self.words_length, self.by_word, self.directions)
        return sha256(f"{form}\n{said}".encode()).hexdigest()

    def rows(self) -> list[tuple[str, str]]:
        """Label and text of each example, once."""
        found = {text: name for path in self.harmless for name, text in _lines(path) if name == HARMLESS}
        found.update({text: name for path in self.examples for name, text in _lines(path)})
        return [(name, text) for text, name in found.items()]


def _lines(path: Path) -> list[tuple[str, str]]:
    lines = path.read_text("utf-8").splitlines()
    split = [line.split("\t") for line in lines if line and not line.startswith("#")]
    return [(name, text) for name, text in split]


_TOXIC, _AGE, _INJECTION, _TOOL, _CODE = (
    _HERE / f"{name}_examples.tsv" for name in ("toxic", "age", "injection", "tool", "code")
)

TOXIC = LearnedFile(
    (_TOXIC,),
    _HERE / "toxic_weights.npz",
    0.865,
    harmless=(_INJECTION, _CODE),
    words_length=1.0,
    by_word=False,
    directions=64,
)
AGE = LearnedFile((_TOXIC, _AGE), _HERE / "age_weights.npz", 0.915, harmless=(_CODE,), directions=64)
INJECTION = LearnedFile(
    (_INJECTION, _HERE / "injection_near_misses.tsv"),
    _HERE / "injection_weights.npz",
    0.85,
    harmless=(_TOXIC, _AGE, _CODE),
    words_length=1.0,
    directions=64,
)
TOOL = LearnedFile(
    (*INJECTION.examples, _TOOL, _HERE / "tool_near_misses.tsv"),
    _HERE / "tool_weights.npz",
    0.91,
    harmless=(_AGE, _CODE),
    words_length=1.0,
    directions=64,
)
LEARNED = {"toxic": TOXIC, "age": AGE, "injection": INJECTION}
"""What is asked about the texts of most calls, side by side."""
LEARNED_OF_TOOLS = {"tool": TOOL}
"""What is asked about results and descriptions of tools alone."""
