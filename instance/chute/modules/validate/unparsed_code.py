"""What is dangerous in languages that have no parser here: calls beside strings, with comments left out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from instance.chute.modules.validate.code_credentials import is_credential
from instance.chute.modules.validate.code_finding import CodeFinding, Severity, in_string, is_sql
from instance.chute.modules.validate.shell_code import commands_in
from instance.chute.modules.validate.shell_deletes import is_wide
from instance.chute.modules.validate.transport_checks import unchecked

LANGUAGES = {
    "php": "php", "ruby": "ruby", "rb": "ruby", "perl": "perl", "pl": "perl", "go": "go", "golang": "go", "java": "java", "kotlin": "kotlin", "kt": "kotlin",
    "scala": "scala", "groovy": "groovy", "csharp": "csharp", "cs": "csharp", "c#": "csharp", "rust": "rust", "rs": "rust", "c": "c", "cpp": "c", "c++": "c",
    "swift": "swift", "dart": "dart", "lua": "lua", "powershell": "powershell", "ps1": "powershell", "pwsh": "powershell", "ps": "powershell", "r": "r", "julia": "julia",
    "elixir": "elixir",
}  # fmt: skip
_HASH_COMMENTS = frozenset("php ruby perl powershell r julia elixir".split())
_SLASH_COMMENTS = frozenset("php go java kotlin scala groovy csharp rust c swift dart".split())
_EVALUATING = frozenset("php ruby perl lua r groovy java kotlin csharp powershell".split())
"""Languages that have such calls; elsewhere `eval` is a name like others."""
_DASH_COMMENTS = frozenset(("lua",))
_SUBSTITUTES = {
    "php": r"\$\w|\{\$", "ruby": r"#\{", "perl": r"[$@]\w", "kotlin": r"\$\w|\$\{", "scala": r"\$\w|\$\{", "groovy": r"\$\w|\$\{", "csharp": r"\{\w", "swift": r"\\\(",
    "dart": r"\$\w|\$\{", "powershell": r"\$\w|\$\(", "julia": r"\$\w|\$\(", "elixir": r"#\{",
}  # fmt: skip
"""How a variable stands in a string of a language."""
_STRING = r'[$@rRbLu]{0,2}"(?:[^"\\]|\\.)*"|`[^`]*`|\'(?:[^\'\\\n]|\\.)*\''
_BUILT_BY = re.compile(
    r"\s*(?:\+|\.(?!\w+\()|\.\.|~|<>)\s*(?!\s*[\"'`])(?!escape|quote|Shellwords|\d)[\w$@(]|\s*%\s*[\w(\[]|\s*\.format\s*\("
)
"""What follows a string to which something is added."""
_FORMATS = re.compile(
    r"(?:Sprintf|String\.format|format!|sprintf|snprintf|string\.Format|f\"|\bformat)\s*\(?[^\"'`]*\Z"
)
_FORMAT_SIGNS = re.compile(r"%[svqd]|\{\w*(?::[^}]*)?\}|%@")

_RUNS_SHELL = re.compile(
    r"(?:\b(?:shell_exec|passthru|popen|proc_open|system|_popen|_wsystem|os\.execute|io\.popen|Process\.Start|os\.system|run\(Cmd)|(?<![\w.>])exec|"
    r"getRuntime\(\)\s*\.exec|Open3\.\w+|IO\.popen|%x|Kernel\.system)\s*[({]?\s*\Z|(?:\"(?:/\S*/)?(?:(?:ba|z|da|k)?sh|cmd(?:\.exe)?|powershell)\"[^\"]{0,30}\"(?:-c|/c)\"\s*(?:,|\)\s*\.arg\()\s*(?:&?format!\(|fmt\.Sprintf\(|String\.format\()?)\s*\Z"
)
_SHELL_WORD = re.compile(r"(?:/\S*/)?(?:(?:ba|z|da|k)?sh|cmd(?:\.exe)?|powershell)|-c|/c")
"""What stays of strings, for it says what the next one is."""
_BEGINS = re.compile(r"(?:\A|[=(,;{]|\breturn|\bputs|\bprint|\becho)\s*\Z")
_EVALUATES = re.compile(
    r"(?:(?<![\w.$>])eval\s*\(?\s*(?=[$\w])|\b(?:instance_eval|class_eval|create_function)\s*\(\s*\$|\bInvoke-Expression\s+(?:-Command\s+)?\$|(?<![\w-])iex\s+\$|"
    r"\bloadstring\s*\(\s*\w|(?<![\w.:])load\s*\(\s*\w|\bScriptEngine\b[^;]{0,200}\.eval\s*\(\s*\w|\bengine\.eval\s*\(\s*\w|CSharpScript\.\w+\(\s*\w|\beval\s*\(\s*parse\s*\()"
)
_DESERIALISES = re.compile(
    r"(?<![\w.>])unserialize\s*\(|\bMarshal\.load\b|\bYAML\.(?:unsafe_load|load)\s*\(|\bnew\s+ObjectInputStream\b|\bObjectInputStream\(|\b(?:BinaryFormatter|NetDataContractSerializer|"
    r"SoapFormatter|LosFormatter|ObjectStateFormatter)\b\s*\(|\bXMLDecoder\s*\(|TypeNameHandling\s*[.=]\s*\w*\.?(?:All|Auto|Objects)\b|enableDefaultTyping\s*\(|\breadRDS\s*\(\s*url|"
    r"\bnew\s+XStream\s*\(|\bStorable::(?:thaw|retrieve)\b|:erlang\.binary_to_term\s*\(\s*\w+\s*\)"
)
_UNCHECKED = re.compile(
    r"CURLOPT_SSL_VERIFY(?:PEER|HOST)\s*(?:,|=>)\s*(?:false|0|FALSE)\b|\bVERIFY_NONE\b|\bSSL_VERIFY_NONE\b|InsecureSkipVerify\s*[:=]\s*true|danger_accept_invalid_(?:certs|hostnames)\s*\(\s*true|"
    r"DangerousAcceptAnyServerCertificateValidator|ServerCertificate\w*ValidationCallback\s*\+?=[^;]{0,200}(?:=>|return)\s*(?:\{\s*return\s*)?\$?true|-SkipCertificateCheck\b|"
    r"NoopHostnameVerifier|ALLOW_ALL_HOSTNAME_VERIFIER|TrustAllStrategy|InsecureIgnoreHostKey\s*\(|setHostnameVerifier\s*\(\s*\([^)]{0,200}\)\s*->\s*true|badCertificateCallback\s*=[^;]{0,200}=>\s*true|"
    r"checkServerTrusted\s*\([^)]{0,200}\)\s*(?:throws\s+\w+\s*)?\{\s*\}|verify_peer[\"']?\s*=>\s*false|SSL_VERIFYPEER\s*=\s*0|ssl_verifypeer\s*=\s*(?:0|FALSE)|:verify_none\b"
)
_DOWNLOADS_AND_RUNS = re.compile(
    r"(?i)(?:\biex\b|Invoke-Expression)[^\n|;]{0,300}(?:DownloadString|\biwr\b|\birm\b|\bcurl\b|\bwget\b|Invoke-WebRequest|Invoke-RestMethod)|"
    r"(?:DownloadString\s*\([^)]*\)|\b(?:iwr|irm|curl|wget|Invoke-WebRequest|Invoke-RestMethod)\b[^\n|;]{0,300})\)?\s*\|\s*(?:iex\b|Invoke-Expression)"
)
_DELETES = re.compile(
    r"(?:RemoveAll|remove_dir_all|FileUtils\.rm_rf|rm_rf|rm_r|deleteDirectory|deleteRecursively|rmtree|remove_all|removeItem|Directory\.Delete)\s*\(?[^\"'\n]{0,30}\Z"
)
_DELETES_BY_COMMAND = re.compile(
    r"(?i)\b(?:Remove-Item|rm|ri|del|rd|rmdir)\b(?=[^\n|;]{0,200}-(?:recurse|r)\b)[^\n|;]{0,200}?[\s\"'](?:[a-z]:\\?(?:\*|windows\S*|users\S*)?|\$env:(?:SystemRoot|USERPROFILE|windir)\S*|~|/)[\"']?(?=\s|\Z)"
)
_SENDS_SQL = re.compile(
    r"(?i)(?:query\w*|exec\w*|prepare\w*|raw\w*|where|find_by_sql|select_all|sqlcommand|from_sql\w*|fromsqlraw|executesqlraw|createquery|createnativequery|createstatement|"
    r"batch|sql|statement|stmt|q|cmd|query_as)\s*(?:<[^>]*>)?\s*(?:\(|:?=)\s*(?:[&@$\w.!>-]*[,(]\s*)*[&@$]*(?:\w+!?\()?\s*\Z"
)
_RUNS_VARIABLE = re.compile(r"\bsystem\s*\(\s*[a-z_]\w*\s*\)")
_SETTING = re.compile(r"(\w+)\s*[:=(]\s*(true|false|True|False)\b")
_LONG_STATEMENTS = frozenset("rust java kotlin csharp scala".split())
"""Languages whose statements go over several lines."""
_CONDITION = re.compile(r"(?is)\A\s*[\w.]+\s*(?:=|like\b|in\b)\s*['(]")


class _String(NamedTuple):
    start: int
    end: int
    text: str
    expands: bool


def check_unparsed(code: str, language: str) -> Iterator[CodeFinding]:
    """Findings in a language of `LANGUAGES`; its syntax is not judged."""
    kind = LANGUAGES[language]
    bare, strings = _parted(code, kind)

    def line(at: int) -> int:
        return code.count("\n", 0, at) + 1

    for rule, severity, expression in _CALLS:
        if rule == "eval_exec" and kind not in _EVALUATING:
            continue
        for found in expression.finditer(bare):
            yield CodeFinding(rule, severity, line(found.start()))
    if kind == "powershell":
        for found in _DELETES_BY_COMMAND.finditer(code):
            yield CodeFinding("recursive_delete", "high", line(found.start()))
    for each in strings:
        yield from _of_string(each, code, bare, kind, line(each.start))
    if kind == "c" and any(
        map(_FORMAT_SIGNS.search, (each.text for each in strings))
    ):  # put together by snprintf before
        for found in _RUNS_VARIABLE.finditer(bare):
            yield CodeFinding("shell_built", "high", line(found.start()))
    for found in _SETTING.finditer(bare):
        if unchecked(found.group(1), found.group(2)):
            yield CodeFinding("tls_disabled", "medium", line(found.start()))


def _of_string(string: _String, code: str, bare: str, kind: str, line: int) -> Iterator[CodeFinding]:
    """What a string says by itself and by what stands before and behind it."""
    before, after = bare[max(0, string.start - 160) : string.start], bare[string.end : string.end + 60]
    if kind not in _LONG_STATEMENTS:
        before = before.rpartition("\n")[2]
    text, built = string.text, _is_built(string, before, after, kind)
    yield from in_string(text, line)
    if _RUNS_SHELL.search(before) or _in_backticks(code, string, before, kind):
        yield from [CodeFinding("shell_built", "high", line)] if built else commands_in(text, line)
    elif built and _SENDS_SQL.search(before):
        if is_sql(text + " x") or (kind in ("ruby", "elixir") and _CONDITION.match(text)):
            yield CodeFinding("sql_concat", "high", line)
    elif _DELETES.search(before) and is_wide(text, {}):
        yield CodeFinding("recursive_delete", "high", line)
    if not built and is_credential(_name(before), text, among_texts=True):
        yield CodeFinding("hardcoded_credential", "medium", line)


_CALLS: tuple[tuple[str, Severity, re.Pattern[str]], ...] = (
    ("eval_exec", "high", _EVALUATES),
    ("deserialise", "high", _DESERIALISES),
    ("tls_disabled", "medium", _UNCHECKED),
    ("curl_pipe_shell", "high", _DOWNLOADS_AND_RUNS),
)


def _parted(code: str, kind: str) -> tuple[str, list[_String]]:
    """The code with comments and the insides of strings blanked, so that places stay, and its strings."""
    comments = [
        *([r"#(?!\{)[^\n]*"] if kind in _HASH_COMMENTS else []),
        *([r"//[^\n]*", r"/\*.*?(?:\*/|\Z)"] if kind in _SLASH_COMMENTS else []),
        *([r"--[^\n]*"] if kind in _DASH_COMMENTS else []),
        *([r"(?m:^=[a-z].*?(?:^=cut\b[^\n]*|\Z))"] if kind == "perl" else []),
        *([r"<#.*?(?:#>|\Z)"] if kind == "powershell" else []),
    ]
    token = re.compile("(?s)(" + "|".join(comments or ["(?!)"]) + ")|(" + _STRING + ")")
    strings: list[_String] = []
    pieces: list[str] = []
    position = 0
    substitutes = re.compile(_SUBSTITUTES.get(kind, r"(?!)"))
    for found in token.finditer(code):
        pieces.append(code[position : found.start()])
        whole = found.group()
        if found.group(1) is not None:
            pieces.append("".join("\n" if each == "\n" else " " for each in whole))
        else:
            text = whole.lstrip("$@rRbLu")[1:-1]
            expands = (
                bool(substitutes.search(text))
                and not (whole[:1] == "'" and kind != "dart")
                and (kind != "csharp" or "$" in whole[:2])
            )
            strings.append(_String(found.start(), found.end(), text, expands))
            keep = text if _SHELL_WORD.fullmatch(text) else "".join("\n" if each == "\n" else " " for each in text)
            quote = whole[-1]
            head = whole[: len(whole) - len(text) - 2]
            pieces.append(f"{head}{quote}{keep}{quote}")
        position = found.end()
    pieces.append(code[position:])
    return "".join(pieces), strings


def _is_built(string: _String, before: str, after: str, kind: str) -> bool:
    if string.expands:
        return True
    if _BUILT_BY.match(after):
        return not (
            kind in ("rust", "go", "c", "java", "csharp", "swift", "dart", "kotlin") and after.lstrip()[:1] == "."
        )
    return bool(_FORMATS.search(before)) and bool(_FORMAT_SIGNS.search(string.text))


def _in_backticks(code: str, string: _String, before: str, kind: str) -> bool:
    """Whether it is a command between backticks, where an expression begins."""
    return code[string.start] == "`" and kind in ("ruby", "perl", "php") and _BEGINS.search(before) is not None


def _name(before: str) -> str:
    """The name that is given a value at the end of the text."""
    found = re.search(r"([\w-]+)[\"']?\]?\s*(?::\s*[&'\w?<>]+\s*)?(?::=|=>|=|:)\s*\Z", before)
    return found.group(1) if found is not None else ""
