"""Faults of prompts, each a rule: how grave it is, and what finds it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

from instance.chute.modules.studio import parameter_rules, system_message_rules, user_message_rules
from instance.chute.modules.studio.prompt_fault import Fault, Prompt

Severity = Literal["off", "info", "warn", "error"]
Rule = Callable[[Prompt], Iterator[Fault]]


class Found(NamedTuple):
    """A rule: how grave its faults are unless the settings say otherwise, what finds them, and whether it reads the user's
    messages too (the rest repeats from call to call)."""

    severity: Severity
    find: Rule
    reads_user: bool = False


RULES = {
    "empty_system": Found("warn", system_message_rules.empty_system),
    "duplicate_system": Found("warn", system_message_rules.duplicate_system),
    "contradiction": Found("warn", system_message_rules.contradiction),
    "unfilled_placeholder": Found("error", user_message_rules.unfilled_placeholder, reads_user=True),
    "repeated_paragraph": Found("info", user_message_rules.repeated_paragraph, reads_user=True),
    "json_without_format": Found("warn", parameter_rules.json_without_format),
    "format_without_json": Found("warn", parameter_rules.format_without_json, reads_user=True),
    "example_does_not_parse": Found("warn", system_message_rules.example_does_not_parse),
    "user_text_in_system": Found("warn", user_message_rules.user_text_in_system, reads_user=True),
    "injection_phrase": Found("warn", user_message_rules.injection_phrase, reads_user=True),
    "long_system": Found("info", system_message_rules.long_system),
    "tool_without_description": Found("info", parameter_rules.tool_without_description),
    "cut_off": Found("warn", system_message_rules.cut_off),
    "mixed_scripts": Found("info", system_message_rules.mixed_scripts),
    "invisible_characters": Found("warn", user_message_rules.invisible_characters, reads_user=True),
    "temperature_and_top_p": Found("info", parameter_rules.temperature_and_top_p),
    "too_few_tokens_for_schema": Found("warn", parameter_rules.too_few_tokens_for_schema),
}


def faults(prompt: Prompt, names: Iterable[str]) -> Iterator[Fault]:
    """Every fault that these rules find."""
    for name in names:
        yield from RULES[name].find(prompt)
