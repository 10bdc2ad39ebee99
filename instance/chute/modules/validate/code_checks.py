"""Checks of one block of code: by its language's parser where there is one here."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from instance.chute.modules.validate.code_finding import CodeFinding, Skipped, in_text
from instance.chute.modules.validate.javascript_code import check_javascript
from instance.chute.modules.validate.python_code import check_python
from instance.chute.modules.validate.shell_code import check_shell, without_prompts

CODE_MAX_CHARS = 100_000
"""What of one block is parsed."""

ALIASES = {
    "py": "python", "python3": "python", "pycon": "python", "ipython": "python", "sh": "bash", "shell": "bash", "zsh": "bash", "console": "bash",
    "shell-session": "bash", "shellscript": "bash", "terminal": "bash", "js": "javascript", "node": "javascript", "jsx": "javascript", "mjs": "javascript",
    "yml": "yaml", "jsonc": "json5", "html": "html", "svg": "xml", "postgresql": "sql", "mysql": "sql", "sqlite": "sql", "ts": "typescript",
}  # fmt: skip
NO_CODE = frozenset(
    ("text", "txt", "plain", "plaintext", "output", "log", "markdown", "md", "diff", "none", "csv", "mermaid")
)


def language_of(tag: str, code: str) -> str:
    """The language that a block says it is in, else the one that it looks like; empty when it looks like none."""
    named = re.match(r"\{?\.?([\w+#-]+)", tag)
    if named is not None:
        name = named.group(1).lower()
        return "" if name in NO_CODE else ALIASES.get(name, name)
    return _guess(code)


def check_code(
    code: str, language: str, *, forbidden: Sequence[str] = (), max_complexity: int = 0
) -> list[CodeFinding]:
    """Findings in a block, each once, by line. Raises `Skipped` for a language that has no parser here."""
    code = code[:CODE_MAX_CHARS]
    found = dict.fromkeys(in_text(code))
    found.update(dict.fromkeys(_by_language(code, language, forbidden, max_complexity)))
    # A credential of a known form is one finding, by whichever way it was found.
    kept: dict[tuple[str, int], CodeFinding] = {}
    for each in found:
        kept.setdefault((each.rule, each.line), each)
    return sorted(kept.values(), key=lambda each: each.line)


def _by_language(code: str, language: str, forbidden: Sequence[str], max_complexity: int) -> Iterator[CodeFinding]:
    if language == "python":
        yield from check_python(_without_python_prompts(code), forbidden, max_complexity)
    elif language == "bash":
        yield from check_shell(without_prompts(code))
    elif language == "javascript":
        yield from check_javascript(code, forbidden, max_complexity)
    elif language == "typescript":
        # Types are foreign to the grammar, which reads on behind them: what it does not take is no finding.
        yield from (each for each in check_javascript(code, forbidden, max_complexity) if each.rule != "syntax")
    elif language in _DATA:
        line = _DATA[language](code)
        if line:
            yield CodeFinding("syntax", "medium", line)
    elif language:
        raise Skipped(language)


def _without_python_prompts(code: str) -> str:
    if not re.search(r"(?m)^>>> ", code):
        return code
    return "\n".join(line[4:] if line.startswith((">>> ", "... ")) else "" for line in code.split("\n"))


def _guess(code: str) -> str:
    head = code.lstrip()
    if head.startswith("#!"):
        first = head.split("\n", 1)[0]
        return "python" if "python" in first else "javascript" if "node" in first else "bash"
    if head.startswith(("{", "[")) and not _json(code):
        return "json"
    if (
        re.match(r"(?i)(?:select|insert into|update|delete from|create table|alter table|with)\b[^\n]*", head)
        and ";" in code
    ):
        return "sql"
    if re.search(r"(?m)^(?:const|let|var) \w+ = |=> *[{(]|\bfunction\b.*\{|console\.log\(|require\(['\"]", code):
        return "javascript"
    if re.search(
        r"(?m)^(?:from \w[\w.]* import |import \w[\w.]*(?: as \w+)?$|def \w+\(|class \w+.*:$|print\(|\w+(?:\.\w+)+\(|\w+ = )|^(?:for|if|while|with) .*:$",
        code,
    ):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ast.parse(code)
            return "python"
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            pass
    if re.search(
        r"(?m)^[ \t]*(?:\$ |sudo |apt(?:-get)? |curl |wget |rm |cd |ls |echo |export |git |docker |pip |npm |chmod |mkdir |cat |bash |sh |ssh )",
        code,
    ):
        return "bash"
    return ""


def _json(code: str) -> int:
    import json

    try:
        json.loads(code)
    except json.JSONDecodeError as error:
        return error.lineno
    except (ValueError, RecursionError):
        return 1
    return 0


def _toml(code: str) -> int:
    import tomllib

    try:
        tomllib.loads(code)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        return int(line.group(1)) if line else 1
    return 0


def _yaml(code: str) -> int:
    try:
        import yaml
    except ImportError:
        raise Skipped("yaml") from None
    try:
        for _ in yaml.parse(code, Loader=yaml.SafeLoader):  # events only: nothing is built, no alias is followed
            pass
    except yaml.YAMLError as error:
        mark: Any = getattr(error, "problem_mark", None)
        return mark.line + 1 if mark is not None else 1
    return 0


def _xml(code: str) -> int:
    from xml.parsers import expat

    parser = expat.ParserCreate()

    def refuse(*_: object) -> None:
        raise Skipped("xml with entities of its own")

    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(code.strip(), True)
    except expat.ExpatError as error:
        return error.lineno
    return 0


def _sql(code: str) -> int:
    try:
        from sqlglot import parse
        from sqlglot.errors import ErrorLevel, SqlglotError
    except ImportError:
        raise Skipped("sql") from None
    for dialect in (None, "postgres", "mysql", "sqlite", "tsql"):
        try:
            parse(code, dialect=dialect, error_level=ErrorLevel.RAISE)
        except (SqlglotError, RecursionError) as error:
            problem = getattr(error, "errors", None) or [{}]
            line = int(problem[0].get("line") or 1)
        else:
            return 0
    return line


_DATA = {"json": _json, "toml": _toml, "yaml": _yaml, "xml": _xml, "sql": _sql}
