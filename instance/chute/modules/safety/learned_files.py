"""What is learned from examples here: which files hold the examples, where the weights lie, and how sure they are to be."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

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

    def rows(self) -> list[tuple[str, str]]:
        """Label and text of each example, once."""
        found = {text: name for path in self.harmless for name, text in _lines(path) if name == HARMLESS}
        found.update({text: name for path in self.examples for name, text in _lines(path)})
        return [(name, text) for text, name in found.items()]


def _lines(path: Path) -> list[tuple[str, str]]:
    lines = path.read_text("utf-8").splitlines()
    split = [line.split("\t") for line in lines if line and not line.startswith("#")]
    return [(name, text) for name, text in split]


_TOXIC, _AGE, _INJECTION = (_HERE / f"{name}_examples.tsv" for name in ("toxic", "age", "injection"))

TOXIC = LearnedFile((_TOXIC,), _HERE / "toxic_weights.npz", 0.92, harmless=(_INJECTION,))
AGE = LearnedFile((_TOXIC, _AGE), _HERE / "age_weights.npz", 0.95)
INJECTION = LearnedFile((_INJECTION,), _HERE / "injection_weights.npz", 0.93, harmless=(_TOXIC, _AGE))
LEARNED = {"toxic": TOXIC, "age": AGE, "injection": INJECTION}
