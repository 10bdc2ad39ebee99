"""Marks of instructions where only data should stand: in descriptions of tools and in their results."""

from __future__ import annotations

from typing import NamedTuple

from instance.chute.matcher import Matcher
from instance.chute.modules.safety.injection import TRIGGERS, Rules
from instance.chute.modules.safety.mentioned_words import without_mentions
from instance.chute.text_memory import TextMemory

SUSPICIOUS = 2.5
"""Sum of weights from which a text is taken for an injection; one weak mark alone is not."""
ENOUGH = 5.0
"""Points of promptguard's rules from which a text is: its medium sensitivity. `SUSPICIOUS` stands for as many."""


class Mark(NamedTuple):
    """One kind of mark, what it weighs, and the RE2 expression that finds it."""

    name: str
    weight: float
    expression: str


_FEW = r"\W+(?:\w+\W+){0,4}"
_DROP = r"(?:ignore|disregard|forget|override|overrule|bypass|skip|drop|(?:do not|don.?t|stop) follow(?:ing)?)"
_ORDERS = r"(?:instructions?|prompts?|rules?|guidelines?|directives?|directions|guardrails?|restrictions?|polic(?:y|ies)|constraints?)"
MARKS = (
    Mark(
        "override",
        3.0,
        rf"(?i)\b{_DROP}\W+(?:\w+\W+){{0,6}}(?:previous|prior|above|earlier|preceding|all|any|your|usual|original|system|safety|developer|content|these|those|other)\W+(?:\w+\W+){{0,6}}{_ORDERS}\b",
    ),
    Mark(
        "override_above",
        2.0,
        r"(?i)\b(?:ignore|disregard|forget)\W+(?:\w+\W+){0,3}(?:above|before|previous|prior|earlier|preceding|so far)\b",
    ),
    Mark("override_any", 1.5, rf"(?i)\b{_DROP}\W+(?:\w+\W+){{0,3}}{_ORDERS}\b"),
    Mark(
        "secrecy",
        3.0,
        rf"(?i)\b(?:do not|don.?t|never|must not|without|avoid){_FEW}(?:tell|mention|inform|reveal|disclose|notify|alert|show|ask|telling|mentioning|informing|revealing|asking|notifying|disclosing){_FEW}(?:users?|humans?|operator)\b",
    ),
    Mark(
        "chat_markup",
        2.5,
        r"(?i)<\|(?:im_start|im_end|system|assistant|user|endoftext|start_header_id)[^|]{0,20}\|>|\[/?INST\]|<</?SYS>>|(?m:^\s*#{2,}\s*(?:system|new instructions?)\b)",
    ),
    Mark(
        "tag",
        1.5,
        r"(?i)</?(?:important|system|instructions?|secret|admin|hidden|critical|assistant)(?:\s[^>]{0,60})?>",
    ),
    Mark(
        "bound_to_call",
        1.5,
        r"(?i)\b(?:before|prior to|whenever|each time|every time|after|when)\b[^.\n]{0,40}\b(?:us(?:e|ing)|call(?:ing)?|invok(?:e|ing)|run(?:ning)?)\b[^.\n]{0,40}\b(?:tools?|functions?|commands?)\b[^.\n]{0,80}\b(?:read|send|call|fetch|include|pass|copy|append|forward|upload|check)\b",
    ),
    Mark(
        "secret_file",
        2.0,
        r"(?i)\b(?:read|open|cat|load|fetch|get|send|upload|include|copy|contents?|forward|transmit)\b[^\n]{0,80}(?:~/\.\w+|\.ssh\b|\bid_(?:rsa|ed25519)\b|/etc/(?:passwd|shadow)|\.env\b|\.aws\b|mcp\.json|\bprivate keys?\b)",
    ),
    Mark(
        "credentials",
        1.5,
        r"(?i)\b(?:send|upload|include|copy|attach|append|forward|post|share|output|print|reveal|exfiltrate|transmit|leak)\b[^.\n]{0,60}\b(?:credentials?|api[ _-]?keys?|passwords?|access tokens?|secrets?|environment variables|conversation history|chat history|system prompt|cookies)\b",
    ),
    Mark(
        "new_role",
        1.5,
        r"(?i)\b(?:you are now|from now on,? you|you must now|your (?:new|real|actual|true) (?:task|goal|instructions?|role|job)|new instructions?\s*:|system (?:message|notice|override|prompt)\s*:|attention,? (?:ai|assistant|model|agent)|(?:dear|hey|note to|message to|message for|note for) (?:the )?(?:ai|assistant|model|llm|agent)s?\b|instructions? (?:for|to) (?:the )?(?:ai|assistant|model|llm|agent))",
    ),
    Mark(
        "send_out",
        1.5,
        r"(?i)\b(?:send|post|forward|upload|exfiltrate|transmit|e-?mail|bcc|leak)\b[^\n]{0,100}\b(?:to|at|via|with)\b[^\n]{0,20}(?:https?://|[\w.+-]+@[\w-]+\.\w{2,})",
    ),
    Mark(
        "other_tool",
        1.0,
        r"(?i)\b(?:must|always|instead|first|immediately|also)\b[^.\n]{0,30}\b(?:call|invoke|execute|run|use)\b[^.\n]{0,40}\b(?:tool|function|command)\b",
    ),
    Mark(
        "side_channel",
        1.5,
        r"(?i)\bside ?note\b|\bpass(?:ed)?\b[^.\n]{0,40}\b(?:as|in|into|through)\b[^.\n]{0,30}\b(?:parameter|argument|field)\b",
    ),
    Mark("invisible", 2.5, r"[\x{200B}\x{200C}\x{2060}-\x{2064}\x{202A}-\x{202E}\x{E0000}-\x{E007F}]{3,}"),
)


class InjectionMarks:
    """Finds marks in a text, and what promptguard's rules take for an injection in data."""

    def __init__(self) -> None:
        self._matcher = Matcher([("", [mark.expression for mark in MARKS])])
        self._triggers = Matcher([("", TRIGGERS)])
        self._rules = Rules()
        self._known: TextMemory[tuple[float, list[str], list[str]]] = TextMemory()

    def found(self, text: str) -> list[str]:
        """The names of the marks, the heaviest first, of a text that is suspicious; empty for any other. A result that comes again
        with each turn of a conversation is looked at once."""
        return self._read(text)[2]

    def points(self, text: str) -> tuple[float, list[str]]:
        """What speaks for an injection on the scale of promptguard's rules, and the names of all of it."""
        points, names, _ = self._read(text)
        return points, names

    def _read(self, text: str) -> tuple[float, list[str], list[str]]:
        return self._known.get(text) or self._known.keep(text, self._judged(text))

    def _marked(self, text: str) -> tuple[float, list[str]]:
        """The weight of the marks of a text, and their names, the heaviest first."""
        marks = sorted((MARKS[hit] for hit in self._matcher.scan(text)), key=lambda mark: -mark.weight)
        return sum(mark.weight for mark in marks), [mark.name for mark in marks]

    def _judged(self, text: str) -> tuple[float, list[str], list[str]]:
        """Points, the names of all that adds to them, and of these what makes the text suspicious."""
        weight, all_names = self._marked(text)
        if weight >= SUSPICIOUS and (said := without_mentions(text)) is not None:
            weight, all_names = self._marked(said)
        suspicious = list(all_names) if weight >= SUSPICIOUS else []
        points = weight * ENOUGH / SUSPICIOUS
        if self._triggers.scan(text):
            score, by_rules = self._rules.score(text, from_tool=True)
            points = max(points, score)
            new = [name for name in by_rules if name not in all_names]
            all_names += new
            if score >= ENOUGH:
                suspicious += [name for name in by_rules if name not in suspicious]
        return points, all_names, suspicious
