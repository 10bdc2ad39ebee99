"""What is found in code: rules, their severities, and strings that mean the same in any language."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Literal, NamedTuple

from instance.chute.modules.safety.secret_scanner import Scanner
from instance.chute.modules.validate.code_credentials import is_credential

Severity = Literal["low", "medium", "high"]
SEVERITIES: tuple[Severity, ...] = ("low", "medium", "high")

RULES: dict[str, str] = {
    "syntax": "code that its language's parser does not take",
    "shell_built": "a shell command put together from parts",
    "eval_exec": "text that is run as code",
    "deserialise": "a reader of data that can run code",
    "recursive_delete": "a folder, a disk or everything deleted",
    "curl_pipe_shell": "a download that is run at once",
    "tls_disabled": "certificates that are not checked",
    "sql_concat": "SQL put together from parts",
    "hardcoded_credential": "a password or key in the code",
    "miner": "a miner of crypto currency",
    "key_file": "a file of keys or passwords that is read",
    "forbidden_import": "an import that is not allowed",
    "complexity": "a function with too many branches",
}


class CodeFinding(NamedTuple):
    """A rule that a line of a block breaks; lines count from 1."""

    rule: str
    severity: Severity
    line: int


class Skipped(Exception):
    """The language has no parser here; the message names it. `found` is what was found without one."""

    def __init__(self, language: str, found: Sequence[CodeFinding] = ()) -> None:
        super().__init__(language)
        self.found = found


_MINER = re.compile(
    r"(?i)\b(?:stratum\+(?:tcp|ssl|tls)://|xmrig|minerd|cpuminer|cgminer|bfgminer|lolminer|coin-?hive|coinimp|cryptoloot|cryptonight|ethminer|nbminer|t-rex miner|"
    r"phoenixminer|minexmr|supportxmr|moneroocean|hashvault|donate-level)"
)
_KEY_FILE = re.compile(
    r"(?:^|[/~\\\s\"'@=<])(?:\.ssh[/\\](?:id_\w+|\*)|id_(?:rsa|ed25519|ecdsa|dsa)\b(?!\.pub)|etc/g?shadow\b|\.aws[/\\]credentials|\.kube/config\b|\.netrc|\.pgpass|"
    r"\.git-credentials|\.docker/config\.json|\.gnupg/|\.config/gcloud/|\.config/gh/hosts|\.azure/(?:accessTokens|msal_token)|\.vault-token|\.password-store/|"
    r"wallet\.dat\b|etc/ssl/private/|kubernetes\.io/serviceaccount/token|(?i:hklm\\+sam\b))(?!\S*\.pub)"
)
_IN_ADDRESS = re.compile(r"(?i)\b(?:password|passwd|pwd)=([^\s;'\"&{}]{6,})")
_SQL = re.compile(
    r"(?is)\A\s*(?:select\b.+\bfrom\b|insert\s+into\b|update\b.+\bset\b|delete\s+from\b|drop\s+(?:table|database)\b|alter\s+table\b|create\s+table\b|with\b.+\bselect\b)"
)


def is_sql(text: str) -> bool:
    return _SQL.match(text) is not None


def in_string(text: str, line: int) -> Iterator[CodeFinding]:
    """What a string gives away by itself, in whatever language it stands."""
    if _MINER.search(text):
        yield CodeFinding("miner", "high", line)
    if names_key_file(text):
        yield CodeFinding("key_file", "high", line)
    given = _IN_ADDRESS.search(text)
    if given is not None and is_credential("password", given.group(1), among_texts=True):
        yield CodeFinding("hardcoded_credential", "medium", line)


def names_key_file(text: str) -> bool:
    """Whether the text is, or holds, the place of a file of keys or passwords."""
    return _KEY_FILE.search(text) is not None


def names_miner(text: str) -> bool:
    return _MINER.search(text) is not None


@cache
def _scanner() -> Scanner:
    return Scanner()


def in_text(code: str) -> Iterator[CodeFinding]:
    """Credentials of known forms anywhere in the code, comments too."""
    if _scanner().suspects(code):
        for found in _scanner().find(code):
            yield CodeFinding("hardcoded_credential", "high", code.count("\n", 0, found.start) + 1)
