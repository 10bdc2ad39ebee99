"""What an answer's reader is told of the statements in doubt: notes at the end of it."""

from __future__ import annotations

from collections.abc import Sequence

from instance.chute.answer import Delta
from instance.chute.modules.safety.checked_answer import Finding
from instance.chute.modules.safety.made_answer import text_event

_WHY = {
    "meaning": "not in the sources",
    "number": "a number that the sources do not have",
    "name": "a name that the sources do not have",
    "negation": "the sources may say the opposite",
    "url": "an address that cannot be",
    "email": "an e-mail address that cannot be",
    "address": "an address that the sources do not have",
    "gone": "an address that does not answer",
    "doi": "no DOI",
    "isbn": "an ISBN whose check digit is wrong",
    "arxiv": "no arXiv number",
    "citation": "a source that is not listed",
    "quote": "a quotation that the sources do not have",
    "arithmetic": "a sum that is not right",
    "samples": "other answers to the question do not say so",
}


def notes(findings: Sequence[Finding]) -> str:
    """The text that names each finding and why it is in doubt."""
    lines = [
        f"- “{each.sentence.strip()[:160]}”: {', '.join(_WHY[why] for why in dict.fromkeys(each.why))}"
        for each in findings
    ]
    return "\n\n---\nNot confirmed:\n" + "\n".join(lines)


def with_note(batch: list[Delta], note: str) -> list[Delta]:
    """The events with a note before the one that ends the first choice; what that one says itself comes before the note."""
    out: list[Delta] = []
    for delta in batch:
        ends = [choice for choice in delta.choices() if choice.index == 0 and choice.finished]
        if ends and ends[0].text:
            ends[0].text += note
        elif ends:
            out.append(text_event(delta, note))
        out.append(delta)
    return out
