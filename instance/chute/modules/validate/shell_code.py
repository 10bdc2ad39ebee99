"""What is dangerous in shell scripts, by their syntax tree."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from instance.chute.modules.validate.code_credentials import is_credential
from instance.chute.modules.validate.code_finding import CodeFinding, Skipped, in_string
from instance.chute.modules.validate.shell_deletes import deletes, is_wide
from instance.chute.modules.validate.shell_downloads import FETCHED, FETCHES, Downloads, runs_input
from instance.chute.modules.validate.shell_options import SAYS, gives_password, is_unchecked
from instance.chute.modules.validate.shell_words import (
    INTERPRETERS,
    SHELLS,
    inner_script,
    is_fixed,
    unquoted,
    value_of,
    words_of,
)
from instance.chute.modules.validate.transport_checks import unchecked_by_variable
from instance.chute.modules.validate.tree_sitter_code import first_error, line_of, nodes, text_of, tree_of

DEPTH_MAX = 4
"""Command lines inside of command lines that are looked into."""
_OWN_OUTPUT = re.compile(r"\A[\"']?(?:\$\(|`)[\w./-]+(?: [\w./=-]+)*(?:\)|`)[\"']?\Z")
"""What a named program says, given no variable: `eval "$(ssh-agent -s)"`."""
_PROMPT = re.compile(r"(?m)^[ \t]*(?:\$|#|>|%|PS>|\w+@[\w.-]+[:~][^$#\n]*[$#])[ \t]+(?=\S)")
_DECODES = frozenset("base64 base32 xxd openssl uudecode rev tr".split())
_TENDS_KEYS = frozenset(
    "chmod chown ls stat test [ [[ mkdir touch ssh-keygen ssh-add ssh-copy-id ssh sftp mosh sshfs kubectl helm k9s restorecon file git ansible ansible-playbook".split()
)
"""They make, guard or use the keys of the one who calls them; what they are given is not read out."""
_OWN_KEYS = frozenset(
    "KUBECONFIG AWS_SHARED_CREDENTIALS_FILE GIT_SSH_COMMAND SSH_KEY SSH_KEY_PATH KEY_PATH KEY_FILE NETRC PGPASSFILE DOCKER_CONFIG".split()
)
_STRINGS = frozenset("string raw_string word concatenation".split())


def check_shell(code: str, depth: int = 0) -> Iterator[CodeFinding]:
    """Findings in order. Raises `Skipped` where the grammar is not installed."""
    root = tree_of(code, "bash")
    error = first_error(root)
    if error:
        yield CodeFinding("syntax", "medium", error)
    yield from _Script(depth).findings(root)


def commands_in(command: str, line: int, depth: int = 0) -> list[CodeFinding]:
    """Findings of a command that stands as a string on a line of other code; none where the grammar is not installed."""
    if depth > DEPTH_MAX:
        return []
    try:
        found = list(check_shell(command, depth))
    except Skipped:
        return []
    return [CodeFinding(each.rule, each.severity, line) for each in found if each.rule != "syntax"]


def without_prompts(session: str) -> str:
    """The commands of a terminal's transcript: the lines behind a prompt, where there are any."""
    if not re.search(r"(?m)^[ \t]*(?:\$|\w+@[\w.-]+[:~][^$#\n]*[$#])[ \t]+\S", session):
        return session
    return "\n".join(_PROMPT.sub("", line) if _PROMPT.match(line) else "" for line in session.split("\n"))


class _Script:
    """A script's commands in order, with what is known of its variables and downloads."""

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._given: dict[str, str] = {}
        self._downloads = Downloads()

    def findings(self, root: Any) -> Iterator[CodeFinding]:
        for node in nodes(root):
            kind = node.type
            if kind == "command":
                yield from self._command(node)
            elif kind == "file_redirect" and re.search(r">\|?\s*/dev/(?:sd|hd|nvme|vd|mmcblk|disk)", text_of(node)):
                yield CodeFinding("recursive_delete", "high", line_of(node))
            elif kind == "pipeline":
                yield from self._pipeline(node)
            elif kind == "variable_assignment":
                yield from self._assignment(node)
            elif kind == "redirected_statement":
                yield from self._fed(node)
            elif kind in _STRINGS and node.parent is not None and node.parent.type != "concatenation":
                yield from _in_word(node)

    def _command(self, node: Any) -> Iterator[CodeFinding]:
        words = words_of(node)
        if not words:
            return
        line = line_of(node)
        severity = deletes(words, self._given)
        if severity:
            yield CodeFinding("recursive_delete", severity, line)  # type: ignore[arg-type]
        if self._runs_download(words, node):
            yield CodeFinding("curl_pipe_shell", "high", line)
        else:
            yield from self._evaluates(words, node, line)
        if is_unchecked(words):
            yield CodeFinding("tls_disabled", "medium", line)
        if gives_password(words):
            yield CodeFinding("hardcoded_credential", "medium", line)
        script = inner_script(words)
        if script and (is_fixed(script) or words[0] in ("ssh", "docker", "kubectl")):
            yield from commands_in(unquoted(script), line, self._depth + 1)
        self._downloads.note(words, _redirected_to(node))

    def _runs_download(self, words: list[str], node: Any) -> bool:
        if words[0] in (*INTERPRETERS, "eval", "source", "."):
            rest = [*words[1:], *(text_of(child) for child in node.children if child.type == "herestring_redirect")]
            if any(map(FETCHED.search, rest)):
                return True
        written = text_of(node.child_by_field_name("name"))
        return self._downloads.runs(
            words, next((word for word in text_of(node).split() if word.endswith(words[0])), written)
        )

    def _evaluates(self, words: list[str], node: Any, line: int) -> Iterator[CodeFinding]:
        name, arguments = words[0], words[1:]
        if name == "eval" and not all(map(is_fixed, arguments)):
            yield CodeFinding("eval_exec", "low" if _OWN_OUTPUT.match(" ".join(arguments)) else "high", line)
        elif name in INTERPRETERS:
            inner = value_of(words, "-c", "-e")
            if (re.match(r"[\"']?\$", inner) and not inner.startswith(("$(", '"$('))) or (
                name in SHELLS
                and any(
                    child.type == "herestring_redirect" and not is_fixed(text_of(child).removeprefix("<<<").strip())
                    for child in node.children
                )
            ):
                yield CodeFinding("eval_exec", "high", line)

    def _pipeline(self, node: Any) -> Iterator[CodeFinding]:
        commands = [words for child in node.named_children if (words := words_of(_command_of(child)))]
        for place, words in enumerate(commands[1:], 1):
            before = commands[:place]
            if runs_input(words):
                if any(each[0] in FETCHES or self._downloads.said(each) for each in before):
                    yield CodeFinding("curl_pipe_shell", "high", line_of(node))
                elif any(each[0] in _DECODES for each in before) or (
                    words[0] in SHELLS
                    and before[-1][0] in ("echo", "printf")
                    and not all(map(is_fixed, before[-1][1:]))
                ):
                    yield CodeFinding("eval_exec", "high", line_of(node))
            elif (
                words[0] == "rm"
                and deletes([*words, "/"], {})
                and "xargs" in text_of(node)
                and any(is_wide(word, {}) for word in before[0][1:] if before[0][0] in ("ls", "find", "echo"))
                and not any(word.startswith("-name") for word in before[0])
            ):
                yield CodeFinding("recursive_delete", "high", line_of(node))

    def _fed(self, node: Any) -> Iterator[CodeFinding]:
        """A text that stands in the script and is given to a shell: `bash <<EOF`, `ssh host <<EOF`."""
        command = _command_of(node)
        words = words_of(command) if command is not None else []
        if not words:
            return
        if words[0] in SHELLS or words[0] == "ssh":
            for redirect in node.named_children:
                for body in redirect.named_children if redirect.type == "heredoc_redirect" else ():
                    if body.type == "heredoc_body":
                        yield from commands_in(text_of(body), line_of(body), self._depth + 1)

    def _assignment(self, node: Any) -> Iterator[CodeFinding]:
        name, value = text_of(node.child_by_field_name("name")), text_of(node.child_by_field_name("value"))
        plain = unquoted(value)
        self._given[name] = plain
        (self._downloads.variables.add if FETCHED.match(plain) else self._downloads.variables.discard)(name)
        if is_credential(name, plain):
            yield CodeFinding("hardcoded_credential", "medium", line_of(node))
        if unchecked_by_variable(name, value):
            yield CodeFinding("tls_disabled", "medium", line_of(node))


def _command_of(node: Any) -> Any:
    """The command of a part of a pipeline, which a redirection may surround."""
    if node.type == "redirected_statement":
        body = node.child_by_field_name("body")
        return body if body is not None and body.type == "command" else node
    return node


def _redirected_to(command: Any) -> str:
    """The file that a command's output goes to."""
    parent = command.parent
    while parent is not None and parent.type == "pipeline":
        parent = parent.parent
    if parent is None or parent.type != "redirected_statement":
        return ""
    for child in parent.named_children:
        if child.type == "file_redirect" and text_of(child).startswith(">"):
            return text_of(child.child_by_field_name("destination"))
    return ""


def _in_word(node: Any) -> Iterator[CodeFinding]:
    """What a word gives away, unless it is only said, or belongs to what tends the caller's own keys."""
    found = list(in_string(text_of(node), line_of(node)))
    if not found:
        return
    text, parent = text_of(node), node.parent
    words = words_of(parent) if parent.type == "command" else []
    if parent.type == "variable_assignment" and text_of(parent.child_by_field_name("name")) in _OWN_KEYS:
        return
    if words and words[0] in SAYS:
        return
    for each in found:
        own = words and (words[0] in _TENDS_KEYS or (words[0] in ("scp", "rsync", "curl") and text in _own_keys(words)))
        if not (each.rule == "key_file" and own):
            yield each


def _own_keys(words: list[str]) -> tuple[str, ...]:
    """What a command signs in with."""
    return tuple(filter(None, (value_of(words, "-i", "--netrc-file", "--key", "-e"),)))
