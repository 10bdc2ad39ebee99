"""Which shell commands delete a disk, everything, or a folder that is not their own."""

from __future__ import annotations

import re
from collections.abc import Mapping

from instance.chute.modules.validate.shell_words import base_name, unquoted

_DISK = re.compile(r"(?:of=)?/dev/(?:sd|hd|nvme|vd|xvd|mmcblk|disk|mapper|md)\w*")
_SYSTEM = re.compile(
    r"/(?:home|etc|usr|var|bin|lib|lib64|boot|root|opt|srv|sbin|sys|proc|dev|Users|data|mnt|media|Library|System)(?:/.*)?\Z"
)
_ROOT = re.compile(r"(?:/|~/?|\$\{?HOME\}?/?|/(?:home|root|etc|usr|var|boot|opt|srv|Users)/?)[*.]*\Z")
_EVERYTHING = re.compile(r"(?:\*|\.|\./?\*|\.\.|~/?|\.\./?\*)\Z")
_REMADE = re.compile(
    r"(?i)(?:^|/)\.?(?:node_modules|build|dist|target|caches?|te?mp|__pycache__|venv|lists|logs?|releases|staging|work|out)(?:/|\*|\Z)|/(?:local|share|opt)/[\w.-]+/?\Z|\A/opt/[\w.-]+/?\Z"
)
"""Folders that are made again: what is built or kept for a time, and a program that is about to be installed again."""
_OWN_NAME = re.compile(r"(?i)te?mp|build|dist|cache|out(?:put)?|work|stag(?:e|ing)|scratch|target|pkg|src")
_VARIABLE = re.compile(r"\$\{?(\w+|@|\*)\}?/?(?:\*|\.\*)?\Z")
_FILTERS = frozenset("-name -iname -path -mtime -mmin -newer -size -user -empty -regex -maxdepth -atime -ctime".split())


def deletes(words: list[str], given: Mapping[str, str]) -> str:
    """The severity of what a command deletes, empty when nothing. `given` are the variables that were set before."""
    name = words[0]
    if name == "rm":
        return _removes(words, given)
    if name == "find":
        return _finds(words)
    if name == "dd":
        return "high" if any(word.startswith("of=") and _DISK.match(word) for word in words) else ""
    if name.startswith("mkfs") or name in ("wipefs", "shred", "blkdiscard", "sgdisk"):
        if name in ("wipefs", "sgdisk") and not any(re.match(r"-\w*[aZ]|--all|--zap", word) for word in words):
            return ""
        return "high" if any(_DISK.match(unquoted(word)) for word in words[1:]) else ""
    if name == "rsync" and "--delete" in words:
        return "high" if _ROOT.match(unquoted(words[-1])) else ""
    return ""


def _removes(words: list[str], given: Mapping[str, str]) -> str:
    options = [word for word in words[1:] if word.startswith("-")]
    short = "".join(word[1:] for word in options if not word.startswith("--"))
    if not ("r" in short or "R" in short or "--recursive" in options):
        return ""
    targets = [word for word in words[1:] if not word.startswith("-")]
    wide = "--no-preserve-root" in options or any(is_wide(target, given) for target in targets)
    return "high" if wide else "low"


def _finds(words: list[str]) -> str:
    roots = []
    for word in words[1:]:
        if word.startswith(("-", "(", "!", "\\(")):
            break
        roots.append(unquoted(word))
    runs = next((place for place, word in enumerate(words) if word in ("-exec", "-execdir", "-ok")), len(words))
    if "-delete" not in words and (base_name(words[runs + 1]) if runs + 1 < len(words) else "") not in ("rm", "shred"):
        return ""
    if any(root in ("/", "~", "/*") for root in roots):
        return "high"
    return "high" if any(map(_ROOT.match, roots)) and not _FILTERS & set(words) else ""


def is_wide(word: str, given: Mapping[str, str]) -> bool:
    """Whether a target is everything, a folder of the system, somebody's home, or whatever a variable says."""
    target = re.sub(r"[\"']", "", word)
    variable = _VARIABLE.match(target)
    if variable is not None and variable.group(1) != "HOME":
        value = given.get(variable.group(1))
        if value is not None and "$" not in value and "`" not in value:
            return is_wide(value + target[variable.end(1) :].lstrip("}"), {})
        if value is not None and ("mktemp" in value or _OWN_NAME.search(value)):
            return False
        return not _OWN_NAME.search(variable.group(1))
    if _EVERYTHING.match(target) or target in ("/", "/*") or re.match(r"\$\{?HOME\}?(?:/?[*.]*)\Z", target):
        return True
    if target.startswith(("~", "$HOME", "${HOME}")):
        return re.fullmatch(r"[^/]+/(?:Documents|Desktop|Downloads|Pictures|\.ssh|\*|\.\*)/?\*?", target) is not None
    return _SYSTEM.match(target) is not None and not _REMADE.search(target)
