"""Whether SQL only reads: told from its tokens, and only where every dialect reads it alike."""

from __future__ import annotations

import re
from itertools import product

READS = frozenset(("SELECT", "WITH", "VALUES", "TABLE", "SHOW", "EXPLAIN", "DESCRIBE", "DESC"))
WRITES = frozenset(
    [
        "INSERT",
        "UPDATE",
        "DELETE",
        "MERGE",
        "UPSERT",
        "REPLACE",
        "DROP",
        "ALTER",
        "CREATE",
        "TRUNCATE",
        "RENAME",
        "GRANT",
        "REVOKE",
        "CALL",
        "EXEC",
        "EXECUTE",
        "DO",
        "COPY",
        "LOAD",
        "UNLOAD",
        "IMPORT",
        "EXPORT",
        "ATTACH",
        "DETACH",
        "VACUUM",
        "REINDEX",
        "ANALYZE",
        "CLUSTER",
        "REFRESH",
        "SET",
        "RESET",
        "LOCK",
        "UNLOCK",
        "INTO",
        "PRAGMA",
        "INSTALL",
        "HANDLER",
        "PREPARE",
        "DEALLOCATE",
        "DECLARE",
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT",
        "RELEASE",
        "START",
        "NOTIFY",
        "LISTEN",
        "DISCARD",
        "SECURITY",
        "SHUTDOWN",
        "KILL",
        "FLUSH",
        "PURGE",
        "BACKUP",
        "RESTORE",
        "USE",
        "COMMENT",
        "OPTIMIZE",
        "REPAIR",
        "BULK",
        "OUTFILE",
        "DUMPFILE",
    ]
)
ALSO_FUNCTIONS = frozenset(("REPLACE", "INSERT", "TRUNCATE", "LOAD", "SET", "ANALYZE"))
"""Words that write as statements and are harmless as functions: `replace(name, 'a', 'b')`."""
SIDE_EFFECTS = re.compile(
    r"(?i)^(?:pg_(?:read|write|ls|stat|terminate|cancel|reload|rotate|switch|create|drop|logical|promote|sleep|advisory|notify)\w*"
    r"|lo_\w+|dblink\w*|xp_\w+|sp_\w+|load_(?:extension|file)|sys_(?:exec|eval)|set_config|setval|nextval|sleep|benchmark"
    r"|waitfor|get_lock|release_lock|query_to_xml\w*|database_to_xml\w*|copy_\w+|utl_\w+|dbms_\w+|openrowset|opendatasource"
    r"|openquery|read_(?:csv|json|parquet|text|blob)\w*|writefile|readfile|edit|fts3_tokenizer|current_setting)$"
)
_WORD = re.compile(r"[^\W\d]\w*")
_DOLLAR = re.compile(r"\$(?:[A-Za-z_]\w*)?\$")
SQL_MAX_CHARS = 100_000


def why_not_reading(sql: str) -> str:
    """Why the SQL may do more than read; empty when it only reads.

    Strings and comments end in different places in different dialects; the text is read in each of their ways, and must
    only read in all of them.
    """
    if len(sql) > SQL_MAX_CHARS:
        return f"it has more than {SQL_MAX_CHARS} characters"
    if "\0" in sql or _DOLLAR.search(sql) or "/*!" in sql or "/*+" in sql:
        return "it holds a form of quoting or comment that is not the same everywhere"
    for escapes, hashes, bare_dashes in product((False, True), repeat=3):
        if escapes > ("\\" in sql) or hashes > ("#" in sql) or bare_dashes > ("--" in sql):
            continue
        tokens = _tokens(sql, escapes=escapes, hashes=hashes, bare_dashes=bare_dashes)
        why = "a string or a comment is not closed" if tokens is None else _judged(tokens)
        if why:
            return why
    return ""


def _judged(tokens: list[str]) -> str:
    while tokens and tokens[-1] == ";":
        tokens.pop()
    if not tokens:
        return "it is empty"
    if ";" in tokens:
        return "it holds more than one statement"
    first = next((token for token in tokens if token != "("), "")
    if first.upper() not in READS:
        return "it does not begin as a statement that reads"
    for place, token in enumerate(tokens):
        called = place + 1 < len(tokens) and tokens[place + 1] == "("
        qualified = place > 0 and tokens[place - 1] == "."
        if called and SIDE_EFFECTS.match(token):
            return "it calls a function that does more than read"
        if token.upper() in WRITES and not qualified and not (called and token.upper() in ALSO_FUNCTIONS):
            return f"it holds {token.upper()}"
    return ""


def _tokens(sql: str, *, escapes: bool, hashes: bool, bare_dashes: bool) -> list[str] | None:
    """Words and single signs outside strings and comments; `None` when one of these is not closed.

    `escapes`: a backslash hides a quote; `hashes`: # begins a comment; `bare_dashes`: -- does so without a space behind it.
    """
    tokens: list[str] = []
    at, end = 0, len(sql)
    while at < end:
        sign = sql[at]
        if sign.isspace():
            at += 1
        elif sign in "'\"`[":
            closed = _closed(sql, at, "]" if sign == "[" else sign, escapes and sign in "'\"")
            if closed < 0:
                return None
            name = sql[at + 1 : closed - 1]
            tokens.append(name if sign != "'" and sql[closed : closed + 1] == "(" else "''")
            at = closed
        elif sql.startswith("/*", at):
            close = sql.find("*/", at + 2)
            if close < 0:
                return None
            if "/*" in sql[at + 2 : close]:
                return None  # nested or not, as the dialect will have it
            at = close + 2
        elif (sql.startswith("--", at) and (bare_dashes or at + 2 >= end or sql[at + 2].isspace())) or (
            sign == "#" and hashes
        ):
            at = _line_end(sql, at)
        else:
            word = _WORD.match(sql, at)
            tokens.append(word.group() if word else sign)
            at = word.end() if word else at + 1
    return tokens


def _closed(sql: str, start: int, quote: str, escapes: bool) -> int:
    """Index behind the quoted text that begins at `start`; -1 when it is not closed. A doubled quote stands for one."""
    at = start + 1
    while at < len(sql):
        if escapes and sql[at] == "\\":
            at += 2
        elif sql[at] == quote:
            if sql[at + 1 : at + 2] != quote:
                return at + 1
            at += 2
        else:
            at += 1
    return -1


def _line_end(sql: str, at: int) -> int:
    end = re.compile(r"[\r\n]").search(sql, at)
    return end.end() if end else len(sql)
