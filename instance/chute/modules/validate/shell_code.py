"""What is dangerous in shell scripts, by their syntax tree."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from instance.chute.modules.validate.code_finding import CodeFinding, Skipped, in_string, is_credential
from instance.chute.modules.validate.tree_sitter_code import first_error, line_of, nodes, text_of, tree_of

_FETCHES = frozenset(("curl", "wget", "fetch"))
_SHELLS = frozenset("sh bash zsh dash ksh fish python python3 perl ruby node".split())
_BEFORE = frozenset("sudo doas env nohup time command exec nice xargs".split())
_WIDE = re.compile(
    r"\A[\"']?(?:/(?:\*|\w+/?\*?)?|~/?\*?|\$\{?\w+\}?[\"']?/?(?:\*|\.\*)?|\$\{?HOME\}?\b.*|\*|\.|\./?\*|\.\.|/(?:home|etc|usr|var|bin|lib|boot)\S*)[\"']?\Z"
)
_OWN_OUTPUT = re.compile(r"\A[\"']?(?:\$\(|`)[\w./-]+(?: [\w./=-]+)*(?:\)|`)[\"']?\Z")
"""What a named program says, given no variable: `eval "$(ssh-agent -s)"`."""
_PROMPT = re.compile(r"(?m)^[ \t]*(?:\$|#|>|%|PS>|\w+@[\w.-]+[:~][^$#\n]*[$#])[ \t]+(?=\S)")


def check_shell(code: str) -> Iterator[CodeFinding]:
    """Findings in order. Raises `Skipped` where the grammar is not installed."""
    root = tree_of(code, "bash")
    fetched: set[str] = set()
    error = first_error(root)
    if error:
        yield CodeFinding("syntax", "medium", error)
    for node in nodes(root):
        kind = node.type
        if kind == "command":
            yield from _command(node)
            yield from _fetched_then_run(node, fetched)
        elif kind == "file_redirect" and re.search(r">\|?\s*/dev/(?:sd|hd|nvme|vd|mmcblk|disk)", text_of(node)):
            yield CodeFinding("recursive_delete", "high", line_of(node))
        elif kind == "pipeline":
            yield from _pipeline(node)
        elif kind == "variable_assignment":
            yield from _assignment(node)
        elif (
            kind in ("string", "raw_string", "word", "concatenation")
            and node.parent is not None
            and node.parent.type != "concatenation"
        ):
            yield from in_string(text_of(node), line_of(node))


def commands_in(command: str, line: int) -> list[CodeFinding]:
    """Findings of a command that stands as a string on a line of other code; none where the grammar is not installed."""
    try:
        return [CodeFinding(each.rule, each.severity, line) for each in check_shell(command) if each.rule != "syntax"]
    except Skipped:
        return []


def without_prompts(session: str) -> str:
    """The commands of a terminal's transcript: the lines behind a prompt, where there are any."""
    if not re.search(r"(?m)^[ \t]*(?:\$|\w+@[\w.-]+[:~][^$#\n]*[$#])[ \t]+\S", session):
        return session
    return "\n".join(_PROMPT.sub("", line) if _PROMPT.match(line) else "" for line in session.split("\n"))


def _words(command: Any) -> list[str]:
    """The command's words, without what only runs it (`sudo`) and its options."""
    words = [
        text_of(child)
        for child in command.named_children
        if child.type not in ("variable_assignment", "file_redirect", "herestring_redirect")
    ]
    while len(words) > 1 and words[0].rpartition("/")[2] in _BEFORE:
        words = words[1:]
        while len(words) > 1 and words[0].startswith("-"):
            words = words[1:]
    if words:
        words[0] = words[0].rpartition("/")[2]
    return words


def _command(node: Any) -> Iterator[CodeFinding]:
    words = _words(node)
    if not words:
        return
    name, arguments, line = words[0], words[1:], line_of(node)
    options = [word for word in arguments if word.startswith("-")]
    short = "".join(word[1:] for word in options if not word.startswith("--"))
    if name == "rm" and ("r" in short or "R" in short or "--recursive" in options):
        targets = [word for word in arguments if not word.startswith("-")]
        yield CodeFinding("recursive_delete", "high" if any(map(_WIDE.match, targets)) else "low", line)
    elif (
        (name == "dd" and any(re.match(r"of=/dev/(?!null|zero)", word) for word in arguments))
        or name.startswith("mkfs")
        or (name == "find" and "-delete" in arguments and arguments[0] in ("/", "~"))
    ):
        yield CodeFinding("recursive_delete", "high", line)
    elif name in (*_SHELLS, "eval", "source", ".") and any(
        re.search(r"(?:\$\(|`|<\()\s*(?:sudo )?(?:curl|wget)\b", word) for word in arguments
    ):
        yield CodeFinding("curl_pipe_shell", "high", line)
    elif name == "eval" and any("$" in word or "`" in word for word in arguments):
        yield CodeFinding("eval_exec", "low" if _OWN_OUTPUT.match(" ".join(arguments)) else "high", line)
    elif (
        name in ("ssh", "scp", "sftp", "rsync")
        and any("stricthostkeychecking=no" in word.lower() for word in arguments)
    ) or (
        (name == "curl" and ("k" in short or "--insecure" in options))
        or (name == "wget" and "--no-check-certificate" in options)
        or any("sslverify=false" in word.lower() for word in arguments)
    ):
        yield CodeFinding("tls_disabled", "medium", line)
    elif name in _SHELLS and "-c" in arguments:
        place = arguments.index("-c") + 1
        inner = arguments[place] if place < len(arguments) else ""
        if re.match(r"[\"']?\$", inner) and not inner.startswith(("$(", '"$(')):
            yield CodeFinding("eval_exec", "high", line)
        elif inner[:1] == "'" and name in ("sh", "bash", "zsh", "dash"):
            yield from commands_in(inner.strip("'"), line)


def _pipeline(node: Any) -> Iterator[CodeFinding]:
    commands = [_words(child) for child in node.named_children if child.type == "command"]
    names = [words[0] for words in commands if words]
    fetched = next((place for place, name in enumerate(names) if name in _FETCHES), -1)
    if fetched >= 0 and any(map(_runs_input, (words for words in commands[fetched + 1 :] if words))):
        yield CodeFinding("curl_pipe_shell", "high", line_of(node))
    decoded = next((place for place, name in enumerate(names) if name in ("base64", "xxd")), -1)
    if decoded >= 0 and any(name in _SHELLS for name in names[decoded + 1 :]):
        yield CodeFinding("eval_exec", "high", line_of(node))


def _runs_input(words: list[str]) -> bool:
    """Whether a command runs what it reads: an interpreter that is given no program of its own."""
    if words[0] not in _SHELLS:
        return False
    rest = words[1:]
    if rest and rest[0] in ("-m", "-c", "-e", "-n", "-ne", "-pe", "-p"):
        return False
    return all(word.startswith("-") for word in rest[:1]) or (
        words[0] in ("python", "python3", "perl", "node") and rest[:1] == ["-"]
    )


def _fetched_then_run(command: Any, fetched: set[str]) -> Iterator[CodeFinding]:
    """A file that is downloaded and, by a later command, run; `fetched` holds the names so far."""
    words = _words(command)
    if not words:
        return
    if words[0] in _FETCHES:
        for place, word in enumerate(words):
            if word in ("-o", "-O", "--output", "--output-document") and place + 1 < len(words):
                target = words[place + 1].strip("\"'")
                fetched.add(target if "://" not in target else target.rpartition("/")[2])
    elif fetched:
        program = (
            words[0] if words[0] not in _SHELLS else next((word for word in words[1:] if not word.startswith("-")), "")
        )
        whole = text_of(command).split()[0] if words[0] not in _SHELLS else program
        if {program.strip("\"'"), whole.strip("\"'").removeprefix("./")} & fetched:
            yield CodeFinding("curl_pipe_shell", "high", line_of(command))


def _assignment(node: Any) -> Iterator[CodeFinding]:
    name, value = text_of(node.child_by_field_name("name")), text_of(node.child_by_field_name("value"))
    if is_credential(name, value.strip("\"'")):
        yield CodeFinding("hardcoded_credential", "medium", line_of(node))
    if name == "NODE_TLS_REJECT_UNAUTHORIZED" and value.strip("\"'") == "0":
        yield CodeFinding("tls_disabled", "medium", line_of(node))
