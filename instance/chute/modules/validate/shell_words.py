"""The words of a shell command: without what only runs it, without quotes, and the command lines that stand among them."""

from __future__ import annotations

import re
from typing import Any

from instance.chute.modules.validate.tree_sitter_code import text_of

SHELLS = frozenset("sh bash zsh dash ksh ash fish".split())
INTERPRETERS = SHELLS | frozenset("python python2 python3 perl ruby node php".split())
_RUNNERS: dict[str, tuple[str, ...]] = {
    "sudo": ("-u", "-g", "-h", "-C", "-p"), "doas": ("-u",), "env": ("-u", "-C"), "nohup": (), "time": (), "command": (), "exec": ("-a",),
    "nice": ("-n",), "ionice": ("-c", "-n"), "xargs": ("-I", "-n", "-P", "-d", "-L", "-a"), "timeout": ("-k", "-s"), "stdbuf": ("-o", "-e", "-i"),
    "setsid": (), "chroot": (), "busybox": (), "builtin": (),
}  # fmt: skip
"""What runs the command behind it -> its options that take a word."""
_TAKES_PLACE = frozenset(("timeout", "chroot"))
_ASSIGNMENT = re.compile(r"\w+=")
_NOT_WORDS = frozenset("variable_assignment file_redirect herestring_redirect heredoc_redirect".split())


def words_of(command: Any) -> list[str]:
    """The command's words, without what only runs it (`sudo`, `env X=1`, `timeout 5`) and its options."""
    return without_runners([text_of(child) for child in command.named_children if child.type not in _NOT_WORDS])


def without_runners(words: list[str]) -> list[str]:
    while len(words) > 1 and (runner := base_name(words[0])) in _RUNNERS:
        words = words[1:]
        while len(words) > 1 and (
            words[0].startswith("-") or (runner in ("env", "sudo") and _ASSIGNMENT.match(words[0]))
        ):
            words = words[2 if words[0] in _RUNNERS[runner] and len(words) > 2 else 1 :]
        if runner in _TAKES_PLACE and len(words) > 1:
            words = words[1:]
    return [base_name(words[0]), *words[1:]] if words else words


def base_name(word: str) -> str:
    return unquoted(word).rpartition("/")[2].removeprefix("\\")


def unquoted(word: str) -> str:
    return word.strip("\"'")


def is_fixed(word: str) -> bool:
    """Whether it is the same whatever happens: no variable and no output of another command stands in it."""
    return word[:1] == "'" or not re.search(r"\$[\w{(@*#?!]|`", word)


def inner_script(words: list[str]) -> str:
    """The word that a shell among the words runs (`bash -c ..`, `docker exec app sh -c ..`), or that is run elsewhere (`ssh host ..`)."""
    for place, word in enumerate(words[:-1]):
        if base_name(word) in SHELLS or (place == 0 and word == "su"):
            for at in range(place + 1, len(words) - 1):
                if re.fullmatch(r"-[a-z]*c", words[at]):
                    return words[at + 1]
                if not words[at].startswith("-") and word != "su":
                    break
    if words and words[0] in ("ssh", "watch", "eval") and len(words) > 1 and words[-1][:1] in "\"'":
        return words[-1]
    return ""


def options_of(words: list[str]) -> list[str]:
    return [word for word in words[1:] if word.startswith("-")]


def has_letter(words: list[str], letter: str, valued: str = "") -> bool:
    """Whether an option's letter is among them, alone or in a cluster; letters of `valued` take the rest of theirs as a value."""
    for option in options_of(words):
        if option.startswith("--"):
            continue
        for each in option[1:]:
            if each == letter:
                return True
            if each in valued:
                break
    return False


def value_of(words: list[str], *names: str) -> str:
    """The value of an option: `--name value`, `--name=value`; empty without it."""
    for place, word in enumerate(words):
        if word in names and place + 1 < len(words):
            return words[place + 1]
        name, sign, value = word.partition("=")
        if sign and name in names:
            return value
    return ""
