"""Checks of one block of code: by its language's parser where there is one here."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator, Sequence

from instance.chute.modules.validate.code_finding import CodeFinding, Skipped, in_text
from instance.chute.modules.validate.data_code import check_data
from instance.chute.modules.validate.data_readers import DATA, read_json
from instance.chute.modules.validate.embedded_code import check_dockerfile, check_html, check_makefile
from instance.chute.modules.validate.javascript_code import check_javascript, check_typescript
from instance.chute.modules.validate.python_code import check_python
from instance.chute.modules.validate.shell_code import check_shell, without_prompts
from instance.chute.modules.validate.sql_code import check_sql
from instance.chute.modules.validate.unparsed_code import LANGUAGES, check_unparsed

CODE_MAX_CHARS = 100_000
"""What of one block is parsed."""

ALIASES = {
    "py": "python", "python3": "python", "pycon": "python", "ipython": "python", "sh": "bash", "shell": "bash", "zsh": "bash", "console": "bash",
    "shell-session": "bash", "shellscript": "bash", "terminal": "bash", "js": "javascript", "node": "javascript", "jsx": "javascript", "mjs": "javascript",
    "yml": "yaml", "jsonc": "json5", "svg": "xml", "postgresql": "sql", "postgres": "sql", "plpgsql": "sql", "mysql": "sql", "sqlite": "sql", "tsql": "sql", "ts": "typescript",
    "tsx": "typescript", "cjs": "javascript", "ksh": "bash", "docker": "dockerfile", "containerfile": "dockerfile", "make": "makefile", "htm": "html", "vue": "html",
    "svelte": "html", "jupyter": "python", "py3": "python",
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
    """Findings in a block, each once, by line. Raises `Skipped` for a language that has no parser here, with what was found without."""
    code = code[:CODE_MAX_CHARS]
    found = dict.fromkeys(in_text(code))
    skipped: Skipped | None = None
    try:
        for each in _by_language(code, language, forbidden, max_complexity):
            found[each] = None
    except Skipped as error:
        skipped = error
    # A credential of a known form is one finding, by whichever way it was found.
    kept: dict[tuple[str, int], CodeFinding] = {}
    for each in found:
        kept.setdefault((each.rule, each.line), each)
    in_order = sorted(kept.values(), key=lambda each: each.line)
    if skipped is not None:
        raise Skipped(str(skipped), in_order)
    return in_order


def _by_language(code: str, language: str, forbidden: Sequence[str], max_complexity: int) -> Iterator[CodeFinding]:
    if language == "python":
        yield from check_python(_without_python_prompts(code), forbidden, max_complexity)
    elif language == "bash":
        yield from check_shell(without_prompts(code))
    elif language == "javascript":
        yield from check_javascript(code, forbidden, max_complexity)
    elif language == "typescript":
        yield from check_typescript(code, forbidden, max_complexity)
    elif language == "sql":
        yield from check_sql(code)
    elif language == "dockerfile":
        yield from check_dockerfile(code)
    elif language == "makefile":
        yield from check_makefile(code)
    elif language == "html":
        yield from check_html(code, forbidden, max_complexity)
    elif language in DATA:
        line, entries = DATA[language](code)
        if line:
            yield CodeFinding("syntax", "medium", line)
        yield from check_data(entries)
    elif language in LANGUAGES:
        yield from check_unparsed(code, language)
        raise Skipped(language)  # its syntax is not checked
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
    if head.startswith(("{", "[")) and not read_json(code)[0]:
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
