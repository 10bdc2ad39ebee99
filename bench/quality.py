"""`make bench-quality`: how well what detects or matches does so, on labelled sets made for this project (tests/quality).

Each set prints precision (of what it found, how much is right) and recall (of what there is, how much it found), with the
numbers behind them. `--set NAME` runs one; `--json` prints JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
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


async def personal_data() -> Score:
    """Whether promptguard finds each value, and no other; a value is found when its kind is named where it stands."""
    from instance.chute.modules.safety.personal_data import KINDS, find_personal

    rows = list(labelled(FOLDER / "personal_data.tsv"))
    pairs: list[tuple[bool, bool]] = []
    for labels, text in rows:
        wanted = {tuple(label.split("=", 1)) for label in labels.split(" | ") if label}
        found = {(each.kind, text[each.start : each.end]) for each in find_personal(text, KINDS)}
        pairs += [(True, each in found) for each in wanted] + [(False, True) for _ in found - wanted]
    return replace(scored(pairs), rows=len(rows))


async def injection() -> Score:
    """Whether promptguard takes a text for an injection, at medium sensitivity."""
    from instance.chute.modules.safety.injection import Rules
    from instance.chute.modules.safety.promptguard import SCORES

    rules = Rules()
    return scored(
        [
            (label == "1", rules.score(text, from_tool=role == "tool")[0] >= SCORES["medium"])
            for label, role, text in labelled(FOLDER / "injection.tsv")
        ]
    )


async def toxic() -> Score:
    """Whether toxicfilter names the category of a text, and none for harmless ones, at the default threshold."""
    from instance.chute.embedding.embedder import Embedder
    from instance.chute.modules.safety.toxicity import Nearest, Toxicity, combined

    rows = list(labelled(FOLDER / "toxic.tsv"))
    rules, embedder = Toxicity(), Embedder()
    near = await Nearest(embedder).scores([text for _, text in rows])
    embedder.close()
    pairs = []
    for (label, text), nearest in zip(rows, near, strict=True):
        by_rules = rules.scores(text)
        scores = combined(by_rules, nearest) if rules.on_topic(text) else by_rules
        found = {category for category, score in scores.items() if score >= 0.7}
        pairs.append((label != "none", label in found if label != "none" else bool(found)))
    return scored(pairs)


async def mask() -> Score:
    """Whether maskmode replaces each identity of a text, and nothing else, with its default kinds."""
    from instance.chute.modules.core.maskmode import MaskMode

    module = MaskMode(MaskMode.Settings())
    rows = list(labelled(FOLDER / "mask.tsv"))
    pairs: list[tuple[bool, bool]] = []
    for labels, text in rows:
        wanted = {label for label in labels.split(" | ") if label}
        found = {text[each.start : each.end] for each in module.find(text)}
        pairs += [(True, each in found) for each in wanted] + [(False, True) for _ in found - wanted]
    return replace(scored(pairs), rows=len(rows))


async def topics() -> Score:
    """Whether guardrail takes a message to be on a topic that is described by five examples, at the default threshold."""
    from instance.chute.embedding.embedder import Embedder
    from instance.chute.modules.safety.topics import Topic, Topics

    rows = list(labelled(FOLDER / "topics.tsv"))
    examples: dict[str, list[str]] = {}
    for label, topic, text in rows:
        if label == "example":
            examples.setdefault(topic, []).append(text)
    embedder = Embedder()
    pairs = []
    for name, sentences in examples.items():
        judged = Topics([Topic(name=name, examples=sentences)], embedder)
        await judged.open()
        for label, topic, text in rows:
            if topic == name and label != "example":
                pairs.append((label == "1", (await judged.matches([text]))[0].margin >= 0))
    embedder.close()
    return scored(pairs)


async def grounding() -> Score:
    """Whether hallucicheck takes a statement for made up, with its default settings."""
    from instance.chute.embedding.embedder import Embedder
    from instance.chute.modules.safety.checkable_facts import doubts
    from instance.chute.modules.safety.grounding import Reference
    from instance.chute.modules.safety.hallucicheck import HalluciCheck
    from instance.chute.sentences import split_sentences

    least = HalluciCheck.Settings().min_support
    checks = frozenset(HalluciCheck.Settings().checks)
    embedder = Embedder()
    pairs = []
    for label, reference, statement in labelled(FOLDER / "grounding.tsv"):
        doubted = bool(list(doubts(statement, reference, checks, grounded=bool(reference))))
        if reference:
            sentences = [sentence.strip() for sentence in split_sentences(reference)]
            ((support, _),) = await Reference(sentences).support(embedder, [statement], by_number=True)
            doubted = doubted or support < least
        pairs.append((label == "1", doubted))
    embedder.close()
    return scored(pairs)


async def age() -> Score:
    """Whether agegate keeps an answer away from a tier, with its built-in categories."""
    from instance.chute.modules.safety.agegate import AgeGate

    module = AgeGate(AgeGate.Settings())
    return scored(
        [(label == "1", bool(module.kept_from(tier, text))) for label, tier, text in labelled(FOLDER / "age.tsv")]
    )


async def code() -> Score:
    """Whether codefence finds each rule that a block breaks, and no other."""
    from instance.chute.modules.validate.codefence import CodeFence

    module = CodeFence(CodeFence.Settings())
    rows = list(labelled(FOLDER / "code.tsv"))
    pairs: list[tuple[bool, bool]] = []
    for rules, tag, block in rows:
        wanted = set(rules.split())
        found = {each.rule for each in module.findings(block.replace("\\n", "\n"), tag)[1]}
        pairs += [(True, rule in found) for rule in wanted] + [(False, True) for _ in found - wanted]
    return replace(scored(pairs), rows=len(rows))


async def toolshield() -> Score:
    """Whether a text about a tool holds instructions to the model."""
    from instance.chute.modules.core.injection_marks import InjectionMarks

    marks = InjectionMarks()
    return scored([(row[0] == "1", bool(marks.found(row[1]))) for row in labelled(FOLDER / "tool_injection.tsv")])


SETS: dict[str, Callable[[], Awaitable[Score]]] = {
    "semanticcache": semanticcache,
    "personal_data": personal_data,
    "injection": injection,
    "toxic": toxic,
    "mask": mask,
    "topics": topics,
    "code": code,
    "age": age,
    "grounding": grounding,
    "toolshield": toolshield,
}


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
