"""Python as answers write it, brought to what the parser here takes: notebooks' commands, and the syntax of newer versions."""

from __future__ import annotations

import ast
import re

_COMMAND = re.compile(r"(?m)^([ \t]*)([!%]{1,2}|\$(?= ))([^\n]*)$")
_GENERIC = re.compile(r"(?m)^([ \t]*(?:async[ \t]+def|def|class)[ \t]+\w+)\[[^\]\n]*(?:\[[^\]\n]*\][^\]\n]*)*\]")
_ALIAS = re.compile(r"(?m)^([ \t]*)type[ \t]+(\w+)(?:\[[^\]\n]*\])?[ \t]*=")
_FORMATTED = re.compile(r"(?<![\w])([rR]?[fF][rR]?)(\"|')(?!\2)")


def parsed(code: str, commands: list[tuple[str, int]]) -> ast.Module:
    """The code's tree; where it does not parse as it stands, that of the code brought up to what does. Lines keep their numbers;
    `commands` receives a notebook's shell commands (`!pip install x`) with their lines. Raises what `ast.parse` does of the code as it is."""
    try:
        return ast.parse(code)
    except SyntaxError:
        changed = _COMMAND.sub(lambda match: _command(match, code, commands), code)
        changed = _ALIAS.sub(r"\1\2 =", _GENERIC.sub(r"\1", changed))
        for other in (changed, "\n".join(map(_other_quotes, changed.split("\n")))):
            try:
                return ast.parse(other)
            except SyntaxError:
                continue
        commands.clear()
        raise


def _command(match: re.Match[str], code: str, commands: list[tuple[str, int]]) -> str:
    if match.group(2)[0] != "%":
        commands.append((match.group(3), code.count("\n", 0, match.start()) + 1))
    return f"{match.group(1)}pass"


def _other_quotes(line: str) -> str:
    """A line whose f-strings use their own quote inside of braces (Python 3.12), with the other quote there."""
    position = 0
    while (opening := _FORMATTED.search(line, position)) is not None:
        quote, other = opening.group(2), "'" if opening.group(2) == '"' else '"'
        depth, at = 0, opening.end()
        letters = list(line)
        while at < len(letters) and (depth or letters[at] != quote):
            if letters[at] == "\\":
                at += 1
            elif letters[at] == "{":
                depth += 1
            elif letters[at] == "}":
                depth = max(0, depth - 1)
            elif letters[at] == quote:
                letters[at] = other
            at += 1
        line, position = "".join(letters), at + 1
    return line
