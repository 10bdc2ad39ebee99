"""`make bench-quality`: how well what detects or matches does so, on labelled sets made for this project (tests/quality).

Each set prints precision (of what it found, how much is right) and recall (of what there is, how much it found), with the
numbers behind them. `--set NAME` runs one; `--json` prints JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "tests" / "quality"


@dataclass(frozen=True, slots=True)
class Score:
    """Counts over a labelled set: right and wrong finds, and what was missed; `rows` is its size."""

    rows: int
    true_positive: int
    false_positive: int
    false_negative: int

    @property
    def precision(self) -> float:
        found = self.true_positive + self.false_positive
        return self.true_positive / found if found else 1.0

    @property
    def recall(self) -> float:
        there = self.true_positive + self.false_negative
        return self.true_positive / there if there else 1.0


def labelled(path: Path) -> Iterator[list[str]]:
    """The rows of a tab-separated set; lines that begin with # are its preface."""
    for line in path.read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            yield line.split("\t")


def scored(pairs: list[tuple[bool, bool]]) -> Score:
    """From (label, found) to the counts."""
    return Score(
        len(pairs),
        sum(label and found for label, found in pairs),
        sum(found and not label for label, found in pairs),
        sum(label and not found for label, found in pairs),
    )


async def semanticcache() -> Score:
    """Whether one answer serves two questions."""
    from instance.chute.embedding.embedder import Embedder
    from instance.chute.modules.caching.meaning_guards import difference
    from instance.chute.modules.caching.semanticcache import SemanticCache

    rows = list(labelled(FOLDER / "same_question.tsv"))
    embedder = Embedder()
    one, other = await embedder.embed([row[1] for row in rows]), await embedder.embed([row[2] for row in rows])
    embedder.close()
    near = (one * other).sum(axis=1) >= SemanticCache.Settings().threshold
    return scored(
        [(row[0] == "1", bool(hit) and not difference(row[1], row[2])) for row, hit in zip(rows, near, strict=True)]
    )


async def toolshield() -> Score:
    """Whether a text about a tool holds instructions to the model."""
    from instance.chute.modules.core.injection_marks import InjectionMarks

    marks = InjectionMarks()
    return scored([(row[0] == "1", bool(marks.found(row[1]))) for row in labelled(FOLDER / "tool_injection.tsv")])


SETS: dict[str, Callable[[], Awaitable[Score]]] = {"semanticcache": semanticcache, "toolshield": toolshield}


async def run(names: list[str]) -> dict[str, Score]:
    """The scores of the sets, by name."""
    return {name: await SETS[name]() for name in names}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.quality", description=__doc__)
    parser.add_argument("--set", dest="names", action="append", choices=sorted(SETS), help="only this one; repeatable")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    scores = asyncio.run(run(given.names or list(SETS)))
    if given.json:
        shown = {
            name: {"rows": score.rows, "precision": round(score.precision, 4), "recall": round(score.recall, 4)}
            for name, score in scores.items()
        }
        print(json.dumps(shown, indent=2))
        return
    print(f"{'set':16} {'rows':>5} {'precision':>10} {'recall':>7}   right / wrong / missed")
    for name, score in scores.items():
        counts = f"{score.true_positive} / {score.false_positive} / {score.false_negative}"
        print(f"{name:16} {score.rows:5} {score.precision:10.3f} {score.recall:7.3f}   {counts}")


if __name__ == "__main__":
    main()
