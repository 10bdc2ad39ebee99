"""What is dangerous in files of data and settings: credentials, checks that are switched off, and the commands that they hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from instance.chute.modules.validate.code_credentials import in_header, is_credential
from instance.chute.modules.validate.code_finding import CodeFinding, in_string
from instance.chute.modules.validate.shell_code import commands_in
from instance.chute.modules.validate.transport_checks import unchecked, unchecked_by_variable

VALUES_MAX = 20_000
"""Of more values of one block the first are looked at."""
_COMMANDS = re.compile(
    r"(?i)(?:\A|[._-])(?:run|script|scripts|shell|command|commands|cmd|entrypoint|exec|before_script|after_script|(?:pre|post)\w*|bash|install|start|build|healthcheck|test)\Z"
)
_SHELL = re.compile(r"(?:/\S*/)?(?:ba|z|da|k|a)?sh")


Entry = tuple[str, str, str, int]
"""The name that stands over it, its own name, the value as it is written, its line."""


def check_data(entries: Iterator[Entry]) -> Iterator[CodeFinding]:
    """Findings of a file's names and values."""
    lists: dict[str, list[str]] = {}
    for count, (over, name, value, line) in enumerate(entries):
        if count >= VALUES_MAX:
            return
        if is_credential(name, value, among_texts=True) or in_header(name, value):
            yield CodeFinding("hardcoded_credential", "medium", line)
        if unchecked(name, value) or unchecked_by_variable(name, value):
            yield CodeFinding("tls_disabled", "medium", line)
        variable, sign, its = value.partition("=")
        if sign and variable.isidentifier():  # `environment: [NAME=value]`
            if is_credential(variable, its, among_texts=True):
                yield CodeFinding("hardcoded_credential", "medium", line)
            if unchecked_by_variable(variable, its):
                yield CodeFinding("tls_disabled", "medium", line)
        if _COMMANDS.search(name) or _COMMANDS.search(over):
            yield from _commands(lists, over, name, value, line)
        else:
            yield from (each for each in in_string(value, line) if each.rule != "key_file" and " " not in value)


def _commands(lists: dict[str, list[str]], over: str, name: str, value: str, line: int) -> Iterator[CodeFinding]:
    """A command line, or a word of one that stands as a list: `["sh", "-c", ".."]`."""
    words = lists.setdefault(f"{over}\0{name}", [])
    words.append(value)
    if (len(words) > 2 and _SHELL.fullmatch(words[-3]) and re.fullmatch(r"-\w*c", words[-2])) or " " in value.strip():
        yield from commands_in(value, line)


def entries_of(data: Any, code: str) -> Iterator[Entry]:
    """The entries of parsed JSON or TOML; a line is the first on which the value stands."""
    waiting: list[tuple[str, str, Any]] = [("", "", data)]
    while waiting:
        over, name, value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend((name, str(key), each) for key, each in reversed(value.items()))
        elif isinstance(value, list):
            waiting.extend((over, name, each) for each in reversed(value))
        else:
            written = str(value).lower() if isinstance(value, bool) else str(value)
            at = code.find(written)
            yield over, name, written, code.count("\n", 0, max(at, 0)) + 1


def entries_of_yaml(documents: Iterator[Any]) -> Iterator[Entry]:
    """The entries of composed YAML; what several aliases stand for is looked at once."""
    seen: set[int] = set()
    for document in documents:
        waiting: list[tuple[str, str, Any]] = [("", "", document)]
        while waiting:
            over, name, node = waiting.pop()
            if node is None or (node.id != "scalar" and id(node) in seen):
                continue
            seen.add(id(node))
            if node.id == "mapping":
                pairs = {str(key.value): value for key, value in node.value if key.id == "scalar"}
                waiting.extend((name, key, value) for key, value in reversed(pairs.items()))
                named, its = pairs.get("name"), pairs.get("value")
                if (
                    named is not None and its is not None and named.id == its.id == "scalar"
                ):  # `- name: TOKEN` / `value: ..`
                    waiting.append((name, str(named.value), its))
            elif node.id == "sequence":
                waiting.extend((over, name, each) for each in reversed(node.value))
            else:
                yield over, name, str(node.value), node.start_mark.line + 1
