"""How each labelled set is judged: from its rows to what was wanted and what was found, with the modules' default settings."""

from __future__ import annotations

from dataclasses import dataclass

Rows = list[list[str]]


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to find or to leave alone: whether it is one to find, whether it was found, and what it is."""

    wanted: bool
    found: bool
    what: str


def spans(text: str, wanted: set[str], found: set[str]) -> list[Case]:
    """The cases of a text that holds several values: each wanted one, and each found that is not wanted."""
    return [Case(True, each in found, f"{each}  <  {text}") for each in sorted(wanted)] + [
        Case(False, True, f"{each}  <  {text}") for each in sorted(found - wanted)
    ]


async def semanticcache(rows: Rows) -> list[Case]:
    """Whether one answer serves two questions."""
    from instance.chute.embedding.embedder import Embedder
    from instance.chute.modules.caching.meaning_guards import difference
    from instance.chute.modules.caching.semanticcache import SemanticCache

    embedder = Embedder()
    one, other = await embedder.embed([row[1] for row in rows]), await embedder.embed([row[2] for row in rows])
    embedder.close()
    near = (one * other).sum(axis=1) >= SemanticCache.Settings().threshold
    return [
        Case(row[0] == "1", bool(hit) and not difference(row[1], row[2]), f"{row[1]} | {row[2]}")
        for row, hit in zip(rows, near, strict=True)
    ]


async def personal_data(rows: Rows) -> list[Case]:
    """Whether promptguard finds each value, and no other; a value is found when its kind is named where it stands."""
    from instance.chute.modules.safety.personal_data import KINDS, find_personal

    cases = []
    for labels, text in rows:
        wanted = {label for label in labels.split(" | ") if label}
        found = {f"{each.kind}={text[each.start : each.end]}" for each in find_personal(text, KINDS)}
        cases += spans(text, wanted, found)
    return cases


async def secrets(rows: Rows) -> list[Case]:
    """Whether secretscan finds each credential from its first to its last character, and nothing else."""
    from instance.chute.modules.safety.secret_scanner import Scanner

    scanner = Scanner()
    cases = []
    for labels, marked in rows:
        text = marked.replace("¦", "")
        wanted = [label.replace("¦", "") for label in labels.split(" | ") if label]
        found = scanner.find(text)
        places = [(text.index(value), text.index(value) + len(value)) for value in wanted]
        cases += [
            Case(True, any(each.start <= start and end <= each.end for each in found), f"{text[start:end]}  <  {text}")
            for start, end in places
        ]
        cases += [
            Case(False, True, f"{each.detector} {text[each.start : each.end]}  <  {text}")
            for each in found
            if not any(each.start < end and start < each.end for start, end in places)
        ]
    return cases


async def injection(rows: Rows, *, learned: bool = True) -> list[Case]:
    """Whether promptguard takes a text for an injection, at medium sensitivity."""
    from instance.chute.embedding.embedder import Embedder
    from instance.chute.matcher import Matcher
    from instance.chute.modules.safety.injection import TRIGGERS, Rules
    from instance.chute.modules.safety.injection_guard import with_rules
    from instance.chute.modules.safety.learned_injection import LearnedInjection
    from instance.chute.modules.safety.promptguard import SCORES

    rules, triggers, embedder = Rules(), Matcher([("", TRIGGERS)]), Embedder()
    points = await LearnedInjection(embedder).points([text for _, _, text in rows]) if learned else [0.0] * len(rows)
    embedder.close()
    cases = []
    for (label, role, text), point in zip(rows, points, strict=True):
        by_rules = rules.score(text, from_tool=role == "tool")[0] if triggers.scan(text) else 0.0
        score = with_rules(text, role, point, by_rules) if learned else by_rules
        cases.append(Case(label == "1", score >= SCORES["medium"], f"{role} {by_rules} {point:.1f} {text}"))
    return cases


async def toxic(rows: Rows, *, judge_all: bool = True) -> list[Case]:
    """Whether toxicfilter names the category of a text, and none for harmless ones, at the default threshold, with all its languages."""
    from instance.chute.embedding.embedder import Embedder
    from instance.chute.modules.safety.toxicity import Learned, Toxicity, combined

    rules, embedder = Toxicity(("en", "de", "es", "fr")), Embedder()
    near = await Learned(embedder).scores([text for _, text in rows])
    embedder.close()
    cases = []
    for (label, text), learned in zip(rows, near, strict=True):
        by_rules = rules.scores(text) if rules.suspects(text) else {}
        scores = combined(by_rules, learned) if judge_all or rules.on_topic(text) else by_rules
        found = {category for category, score in scores.items() if score >= 0.7}
        shown = f"{label} { ({name: round(score, 2) for name, score in scores.items()}) } {text}"
        cases.append(Case(label != "none", label in found if label != "none" else bool(found), shown))
    return cases


async def mask(rows: Rows) -> list[Case]:
    """Whether maskmode replaces each identity of a text, and nothing else, with its default kinds."""
    from instance.chute.modules.core.maskmode import MaskMode

    module = MaskMode(MaskMode.Settings())
    cases = []
    for labels, text in rows:
        wanted = {label for label in labels.split(" | ") if label}
        cases += spans(text, wanted, {text[each.start : each.end] for each in module.find(text)})
    return cases


async def topics(rows: Rows) -> list[Case]:
    """Whether guardrail takes a message to be on a topic that is described by five examples, at the default threshold."""
    from instance.chute.embedding.embedder import Embedder
    from instance.chute.modules.safety.topics import Topic, Topics

    examples: dict[str, list[str]] = {}
    for label, topic, text in rows:
        if label == "example":
            examples.setdefault(topic, []).append(text)
    embedder = Embedder()
    cases = []
    for name, sentences in examples.items():
        judged = Topics([Topic(name=name, examples=sentences)], embedder)
        await judged.open()
        for label, topic, text in rows:
            if topic == name and label != "example":
                cases.append(Case(label == "1", (await judged.matches([text]))[0].margin >= 0, f"{topic}: {text}"))
    embedder.close()
    return cases


async def grounding(rows: Rows) -> list[Case]:
    """Whether hallucicheck takes a statement for made up, with its default settings."""
    from instance.chute.embedding.embedder import Embedder
    from instance.chute.modules.safety.checked_answer import CheckedAnswer
    from instance.chute.modules.safety.grounding import Given
    from instance.chute.modules.safety.hallucicheck import HalluciCheck

    settings = HalluciCheck.Settings()
    checks = frozenset(settings.checks)
    embedder = Embedder()
    cases = []
    for label, reference, statement in rows:
        given = [Given(reference, tool=True)] if reference else []
        check = CheckedAnswer(statement, given, [reference], checks, settings.min_support)
        await embedder.run(check.read, check.judge)
        _, findings, _ = check.result()
        shown = " ".join(f"{each.support:.2f} {'/'.join(each.why)}" for each in findings)
        cases.append(Case(label == "1", bool(findings), f"{shown} {statement}"))
    embedder.close()
    return cases


async def age(rows: Rows, *, learned: bool = True) -> list[Case]:
    """Whether agegate keeps an answer away from a tier, with its built-in categories."""
    from instance.chute.embedding.embedder import Embedder
    from instance.chute.modules.safety.agegate import AgeGate
    from instance.chute.modules.safety.learned_files import AGE
    from instance.chute.modules.safety.toxicity import Learned

    module, embedder = AgeGate(AgeGate.Settings()), Embedder()
    module.learned = Learned(embedder, learned=AGE) if learned else None
    cases = [
        Case(label == "1", bool(category := await module.kept_from(tier, text)), f"{tier} {category or '-'} {text}")
        for label, tier, text in rows
    ]
    embedder.close()
    return cases


async def code(rows: Rows) -> list[Case]:
    """Whether codefence finds each rule that a block breaks, and no other."""
    from instance.chute.modules.validate.codefence import CodeFence

    module = CodeFence(CodeFence.Settings())
    cases = []
    for rules, tag, block in rows:
        found = {each.rule for each in module.findings(block, tag)[1]}
        cases += spans(f"[{tag}] {block}", set(rules.split()), found)
    return cases


async def toolshield(rows: Rows, *, learned: bool = True) -> list[Case]:
    """Whether a text about a tool holds instructions to the model."""
    from instance.chute.embedding.embedder import Embedder
    from instance.chute.modules.core.injection_marks import ENOUGH, InjectionMarks
    from instance.chute.modules.core.learned_tool_texts import LearnedToolTexts
    from instance.chute.modules.safety.injection_guard import with_rules

    marks, embedder = InjectionMarks(), Embedder()
    points = await LearnedToolTexts(embedder).points([text for _, text in rows]) if learned else [0.0] * len(rows)
    embedder.close()
    cases = []
    for (label, text), point in zip(rows, points, strict=True):
        by_marks, _ = marks.points(text)
        found = bool(marks.found(text)) or (learned and with_rules(text, "tool", point, by_marks) >= ENOUGH)
        cases.append(Case(label == "1", found, f"{by_marks} {point:.1f} {text}"))
    return cases
