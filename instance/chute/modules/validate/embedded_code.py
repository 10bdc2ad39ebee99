"""Commands and scripts inside of files of other kinds: Dockerfiles, Makefiles, HTML."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from instance.chute.modules.validate.code_credentials import is_credential
from instance.chute.modules.validate.code_finding import CodeFinding
from instance.chute.modules.validate.javascript_code import check_javascript
from instance.chute.modules.validate.shell_code import commands_in
from instance.chute.modules.validate.transport_checks import unchecked_by_variable

_INSTRUCTION = re.compile(r"(?im)^[ \t]*(RUN|CMD|ENTRYPOINT|ENV|ARG)[ \t]+((?:[^\\\n]|\\.|\\\n)*)")
_OPTION = re.compile(r"\A(?:--\w+(?:=\S+)?\s+)+")
_PAIR = re.compile(r"(\w+)[= ](\"[^\"]*\"|'[^']*'|\S+)")
_RECIPE = re.compile(r"(?m)^\t[@+-]*((?:[^\\\n]|\\.|\\\n)*)")
_VARIABLE = re.compile(r"(?m)^(\w+)[ \t]*[:?]?=([^\n#]*)$")
_OPENS = re.compile(r"(?i)<script\b([^>]*)>")
_CLOSES = re.compile(r"(?i)</script\s*>")
_NO_SCRIPT = re.compile(r"(?i)type\s*=\s*[\"']?(?!module|text/javascript|application/javascript|text/babel)\w")


def check_dockerfile(code: str) -> Iterator[CodeFinding]:
    """Findings of its commands and variables."""
    for found in _INSTRUCTION.finditer(code):
        line, said = code.count("\n", 0, found.start()) + 1, found.group(2)
        if found.group(1).upper() in ("ENV", "ARG"):
            for name, value in _PAIR.findall(said):
                plain = value.strip("\"'")
                if is_credential(name, plain):
                    yield CodeFinding("hardcoded_credential", "medium", line)
                if unchecked_by_variable(name, plain):
                    yield CodeFinding("tls_disabled", "medium", line)
            continue
        said = _OPTION.sub("", said)
        words = re.findall(r'"((?:[^"\\]|\\.)*)"', said) if said.startswith("[") else []
        yield from commands_in(words[-1] if len(words) > 2 and words[-2] == "-c" else " ".join(words) or said, line)


def check_makefile(code: str) -> Iterator[CodeFinding]:
    """Findings of its recipes; `$(NAME)` is a variable there, `$$` a dollar sign."""
    given = {name: value.strip() for name, value in _VARIABLE.findall(code)}
    for found in _RECIPE.finditer(code):
        command = re.sub(r"\$[({](\w+)[)}]", lambda name: given.get(name.group(1), "word"), found.group(1))
        command = command.replace("$$", "$")
        yield from commands_in(command, code.count("\n", 0, found.start()) + 1)


def check_html(code: str, forbidden: Sequence[str], max_complexity: int) -> Iterator[CodeFinding]:
    """Findings of its scripts. Raises `Skipped` where the grammar is not installed."""
    position = 0
    while (opening := _OPENS.search(code, position)) is not None:
        closing = _CLOSES.search(code, opening.end())
        end = closing.start() if closing is not None else len(code)
        script, before = code[opening.end() : end], code.count("\n", 0, opening.end())
        position = end
        if _NO_SCRIPT.search(opening.group(1)) or not script.strip():
            continue
        for each in check_javascript(script, forbidden, max_complexity):
            if each.rule != "syntax":
                yield CodeFinding(each.rule, each.severity, each.line + before)
