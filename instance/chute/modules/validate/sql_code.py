"""What is wrong or dangerous in SQL: whether a parser takes it, what a lenient parser overlooks, and what its strings say."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from instance.chute.modules.validate.code_credentials import is_password
from instance.chute.modules.validate.code_finding import CodeFinding, Skipped, in_string, is_sql
from instance.chute.modules.validate.shell_code import commands_in

DIALECTS = (None, "postgres", "mysql", "sqlite", "tsql")
_BEGINS = frozenset(
    "SELECT INSERT UPDATE DELETE CREATE ALTER DROP WITH MERGE TRUNCATE GRANT REVOKE BEGIN COMMIT ROLLBACK SAVEPOINT RELEASE START SET SHOW DESCRIBE DESC EXPLAIN USE "
    "CALL EXEC EXECUTE DECLARE IF END WHILE RETURN OPEN FETCH CLOSE PRINT GO ANALYZE VACUUM PRAGMA ATTACH DETACH COPY LOAD VALUES REPLACE TABLE COMMENT REINDEX "
    "CLUSTER REFRESH LISTEN NOTIFY UNLISTEN LOCK UNLOCK PREPARE DEALLOCATE DO RESET CHECKPOINT OPTIMIZE REPAIR FLUSH KILL RENAME UNLOAD PIVOT UNPIVOT DELIMITER "
    "SIGNAL RAISE CASE BACKUP RESTORE DBCC DENY EXPORT IMPORT INSTALL SUMMARIZE FROM ABORT DISCARD MOVE REASSIGN SECURITY CACHE UNCACHE MSCK CONNECT SPOOL UPSERT HELP "
    "CHECK PURGE STOP CHANGE UNDROP PUT GET LIST REMOVE ASSERT ENABLE DISABLE ARCHIVE SHUTDOWN".split()
)
_THINGS = (
    "TABLE",
    "VIEW",
    "INDEX",
    "DATABASE",
    "SCHEMA",
    "FUNCTION",
    "PROCEDURE",
    "TRIGGER",
    "SEQUENCE",
    "TYPE",
    "COLUMN",
)
_PROCEDURE = re.compile(
    r"(?i)\$\$|\bdelimiter\b|\bcreate\s+(?:or\s+\w+\s+)?(?:function|procedure|trigger|package|operator|aggregate|type|cast|extension|event)\b|\bdrop\s+(?:function|procedure)\b|\bbegin\b[^;\n]{0,100}\n"
)
_CLIENT_COMMAND = re.compile(r"(?m)^[ \t]*(?:\\\w.*|GO[ \t]*|\.\w+.*)$")
_SECOND_WRONG = {
    (",", ","), (",", "FROM"), (",", ")"), ("(", ","), (",", "WHERE"), (",", ";"), ("SET", "WHERE"), ("SELECT", "FROM"), ("TABLE", "ADD"), ("ON", "WHERE"), ("ON", ";"),
    ("WHERE", ";"), ("FROM", ";"), ("BY", ";"), ("AND", "AND"), ("FROM", "WHERE"),
}  # fmt: skip
"""Words of which the second cannot follow the first."""
_QUOTED_BY = frozenset("QUOTENAME QUOTE_IDENT QUOTE_LITERAL QUOTE_NULLABLE".split())


def check_sql(code: str) -> Iterator[CodeFinding]:
    """Findings in order. Raises `Skipped` where the parser is not installed."""
    line = _refused(code)
    tokens = _tokens(code)
    if _PROCEDURE.search(code):
        line = 0  # the parser knows little of what stands in them
    elif not line:
        line = _overlooked(tokens)
    if line:
        yield CodeFinding("syntax", "medium", line)
    yield from _dangers(tokens)


def _refused(code: str) -> int:
    """The line that no dialect's parser takes; 0 when one takes all."""
    try:
        import logging

        from sqlglot import parse
        from sqlglot.errors import ErrorLevel, SqlglotError
    except ImportError:
        raise Skipped("sql") from None
    logging.getLogger("sqlglot").setLevel(logging.ERROR)  # its warnings quote the text
    plain = _CLIENT_COMMAND.sub("", code)
    line = 0
    for dialect in DIALECTS:
        try:
            parse(plain, dialect=dialect, error_level=ErrorLevel.RAISE)
        except (SqlglotError, RecursionError) as error:
            problem = getattr(error, "errors", None) or [{}]
            line = int(problem[0].get("line") or 1)
        else:
            return 0
    return line


def _tokens(code: str) -> list[Any]:
    from sqlglot import tokenize
    from sqlglot.errors import SqlglotError

    plain = _CLIENT_COMMAND.sub("", code)
    for dialect in DIALECTS:
        try:
            tokens = list(tokenize(plain, dialect=dialect))
            for place in range(len(tokens) - 1, 0, -1):  # what stands behind EXECUTE comes as one
                if _is_string(tokens[place]) and _word(tokens[place - 1]) in ("EXECUTE", "EXEC", "CALL"):
                    tokens[place : place + 1] = tokenize(tokens[place].text, dialect=dialect)
        except SqlglotError:
            continue
        return tokens
    return []


def _is_string(token: Any) -> bool:
    return token.token_type.name in ("STRING", "NATIONAL_STRING", "RAW_STRING", "HEREDOC_STRING")


def _word(token: Any) -> str:
    """A token as a word of the language; a string or quoted name is `x`."""
    return "x" if _is_string(token) or token.token_type.name == "IDENTIFIER" else str(token.text).upper()


def _overlooked(tokens: list[Any]) -> int:
    """The line of what a lenient parser lets pass: a statement that begins with no known word, words that cannot follow each other."""
    statement: list[Any] = []
    for token in [*tokens, None]:
        if token is not None and token.text != ";":
            statement.append(token)
            continue
        line = _wrong_statement(statement)
        if line:
            return line
        statement = []
    return 0


def _wrong_statement(tokens: list[Any]) -> int:
    words = [*map(_word, tokens), ";"]
    if not tokens or words[0] in ("(", "x", "@", ":", "{", "`"):
        return 0
    if words[0] not in _BEGINS and (words[0].isalpha() and len(tokens) > 1):
        return int(tokens[0].line)
    if (
        words[0] in ("CREATE", "DROP", "ALTER")
        and words[1] not in _THINGS
        and get_close_matches(words[1], _THINGS, 1, 0.75)
    ):
        return int(tokens[1].line)
    if words[0] == "DELETE" and words[1] != "FROM" and get_close_matches(words[1], ("FROM",), 1, 0.7):
        return int(tokens[1].line)
    for place, pair in enumerate(itertools.pairwise(words)):
        if pair in _SECOND_WRONG or (
            words[0] == "INSERT" and pair[0] == "VALUES" and pair[1] not in ("(", "ROW", "?", "%", "$", ":", "@", "{")
        ):
            return int(tokens[place].line)
    return 0


def _dangers(tokens: list[Any]) -> Iterator[CodeFinding]:
    for place, token in enumerate(tokens):
        before = _word(tokens[place - 1]) if place else ""
        earlier = _word(tokens[place - 2]) if place > 1 else ""
        following = _word(tokens[place + 1]) if place + 1 < len(tokens) else ""
        if not _is_string(token):
            if before == "XP_CMDSHELL" and token.text == "@":
                yield CodeFinding("shell_built", "high", int(token.line))
            continue
        text, line = str(token.text), int(token.line)
        yield from in_string(text, line)
        if before in ("PROGRAM", "XP_CMDSHELL"):
            yield from commands_in(text, line)
        named = before if before not in ("BY", "=") else earlier
        if named in ("IDENTIFIED", "PASSWORD") and is_password(text):
            yield CodeFinding("hardcoded_credential", "medium", line)
        if is_sql(text) and _is_joined(tokens, place, following, before, earlier):
            yield CodeFinding("sql_concat", "high", line)


def _is_joined(tokens: list[Any], place: int, following: str, before: str, earlier: str) -> bool:
    """Whether something that is not quoted is put behind a string of SQL."""
    joined = following in ("+", "||") or (before == "(" and earlier == "CONCAT" and following == ",")
    if not joined:
        return False
    part = tokens[place + 2] if place + 2 < len(tokens) else None
    return part is not None and not _is_string(part) and _word(part) not in _QUOTED_BY
