"""`make bench-quality`: how well what detects or matches does so, on labelled sets made for this project (tests/quality).

Each set prints precision (of what it found, how much is right) and recall (of what there is, how much it found), with the
numbers behind them. The *development* sets were written along with the detectors and flatter them; the *held-out* ones were
written before their author had seen the detector (first) or its last state (second), or by somebody who had seen neither the
detectors nor the other sets (third, and fourth, whose harmless texts are not twins of the others): their files' prefaces say how.
`--set NAME` runs one; `--wrong` lists what was missed or found by mistake; `--json` prints JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import quality_measures as measures

FOLDER = Path(__file__).parents[1] / "tests" / "quality"
PARTS = {
    "development": FOLDER,
    "held-out 1": FOLDER / "held_out_1",
    "held-out 2": FOLDER / "held_out_2",
    "held-out 3": FOLDER / "held_out_3",
    "held-out 4": FOLDER / "held_out_4",
}

SETS: dict[str, tuple[str, Callable[[measures.Rows], Awaitable[list[measures.Case]]]]] = {
    "semanticcache": ("same_question", measures.semanticcache),
    "promptguard personal data": ("personal_data", measures.personal_data),
    "promptguard injection": ("injection", measures.injection),
    "the same, by rules alone": ("injection", partial(measures.injection, learned=False)),
    "secretscan": ("secrets", measures.secrets),
    "toxicfilter": ("toxic", measures.toxic),
    "the same, on topics only": ("toxic", partial(measures.toxic, judge_all=False)),
    "maskmode": ("mask", measures.mask),
    "guardrail": ("topics", measures.topics),
    "codefence": ("code", measures.code),
    "agegate": ("age", measures.age),
    "agegate, by rules alone": ("age", partial(measures.age, learned=False)),
    "hallucicheck": ("grounding", measures.grounding),
    "toolshield": ("tool_injection", measures.toolshield),
    "toolshield, by rules alone": ("tool_injection", partial(measures.toolshield, learned=False)),
}
"""What is measured -> the name of its file in each folder, and how it is judged."""


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


def labelled(path: Path) -> measures.Rows:
    """The rows of a tab-separated set, `\\n` read as a new line; lines that begin with # are its preface."""
    lines = path.read_text("utf-8").splitlines()
    return [line.replace("\\n", "\n").split("\t") for line in lines if line and not line.startswith("#")]


def scored(cases: list[measures.Case], rows: int) -> Score:
    """From what was wanted and found to the counts."""
    return Score(
        rows,
        sum(each.wanted and each.found for each in cases),
        sum(each.found and not each.wanted for each in cases),
        sum(each.wanted and not each.found for each in cases),
    )


async def judged(name: str, part: str = "development") -> tuple[Score, list[measures.Case]]:
    """The score of a set and its cases. Raises `FileNotFoundError` where the part has no such set."""
    file, judge = SETS[name]
    rows = labelled(PARTS[part] / f"{file}.tsv")
    cases = await judge(rows)
    return scored(cases, len(rows)), cases


async def run(names: list[str]) -> dict[tuple[str, str], tuple[Score, list[measures.Case]]]:
    """The scores and cases of the sets, by name and part."""
    return {
        (name, part): await judged(name, part)
        for name in names
        for part, folder in PARTS.items()
        if (folder / f"{SETS[name][0]}.tsv").exists()
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.quality", description=__doc__)
    parser.add_argument("--set", dest="names", action="append", choices=sorted(SETS), help="only this one; repeatable")
    parser.add_argument("--wrong", action="store_true", help="list what was missed or found by mistake")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    results = asyncio.run(run(given.names or list(SETS)))
    if given.json:
        shown: dict[str, dict[str, dict[str, float]]] = {}
        for (name, part), (score, _) in results.items():
            figures = {"rows": score.rows, "precision": round(score.precision, 4), "recall": round(score.recall, 4)}
            shown.setdefault(name, {})[part] = figures
        print(json.dumps(shown, indent=2))
        return
    print(f"{'detects':26} {'set':12} {'rows':>5} {'precision':>10} {'recall':>7}   right / wrong / missed")
    for (name, part), (score, cases) in results.items():
        counts = f"{score.true_positive} / {score.false_positive} / {score.false_negative}"
        print(f"{name:26} {part:12} {score.rows:5} {score.precision:10.3f} {score.recall:7.3f}   {counts}")
        if given.wrong:
            for case in cases:
                if case.wanted != case.found:
                    print(f"    {'missed' if case.wanted else 'wrong '} {case.what!r}")


if __name__ == "__main__":
    main()
