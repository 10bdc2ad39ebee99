"""What is dangerous in JavaScript, by its syntax tree."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from instance.chute.modules.validate.code_credentials import is_credential
from instance.chute.modules.validate.code_finding import CodeFinding, in_string, is_sql
from instance.chute.modules.validate.shell_code import commands_in
from instance.chute.modules.validate.tree_sitter_code import first_error, line_of, nodes, text_of, tree_of

_EXEC = frozenset(("exec", "execSync"))
_QUERY = frozenset(("query", "execute", "raw", "$queryRawUnsafe", "$executeRawUnsafe", "all", "get", "run"))
_BRANCHES = frozenset(
    "if_statement for_statement for_in_statement while_statement do_statement switch_case catch_clause ternary_expression".split()
)
_FUNCTIONS = frozenset(
    "function_declaration function_expression arrow_function method_definition generator_function_declaration".split()
)


def check_javascript(code: str, forbidden: Sequence[str], max_complexity: int) -> Iterator[CodeFinding]:
    """Findings in order. Raises `Skipped` where the grammar is not installed."""
    root = tree_of(code, "javascript")
    error = first_error(root)
    if error:
        yield CodeFinding("syntax", "medium", error)
    built: dict[str, Any] = {}
    for node in nodes(root):
        kind, line = node.type, line_of(node)
        if kind == "variable_declarator":
            name, value = text_of(node.child_by_field_name("name")), node.child_by_field_name("value")
            if value is not None:
                built[name] = value
                if value.type == "string" and is_credential(name, _string(value)):
                    yield CodeFinding("hardcoded_credential", "medium", line)
        elif kind in ("pair", "assignment_expression"):
            key = text_of(node.child_by_field_name("key" if kind == "pair" else "left")).strip("\"'").rpartition(".")[2]
            value = node.child_by_field_name("value" if kind == "pair" else "right")
            if value is not None and value.type == "string" and is_credential(key, _string(value)):
                yield CodeFinding("hardcoded_credential", "medium", line)
            if key == "rejectUnauthorized" and text_of(value) == "false":
                yield CodeFinding("tls_disabled", "medium", line)
            if key == "NODE_TLS_REJECT_UNAUTHORIZED" and text_of(value).strip("\"'`") == "0":
                yield CodeFinding("tls_disabled", "medium", line)
        elif kind == "call_expression":
            yield from _call(node, line, built, forbidden)
        elif kind == "new_expression" and text_of(node.child_by_field_name("constructor")) == "Function":
            yield CodeFinding("eval_exec", "high", line)
        elif kind == "import_statement" and _string(node.child_by_field_name("source")) in forbidden:
            yield CodeFinding("forbidden_import", "high", line)
        elif kind in ("string", "template_string"):
            yield from in_string(text_of(node), line)
        elif kind in _FUNCTIONS and max_complexity:
            branches = 1 + sum(each.type in _BRANCHES or text_of(each) in ("&&", "||") for each in nodes(node))
            if branches > max_complexity:
                yield CodeFinding("complexity", "medium", line)


def _call(node: Any, line: int, built: dict[str, Any], forbidden: Sequence[str]) -> Iterator[CodeFinding]:
    called = text_of(node.child_by_field_name("function"))
    last = called.rpartition(".")[2]
    arguments = node.child_by_field_name("arguments")
    given = [child for child in arguments.named_children if child.type != "comment"] if arguments is not None else []
    first = given[0] if given else None
    if first is not None and first.type == "identifier":
        first = built.get(text_of(first), first)
    if (
        (called in ("eval", "window.eval", "globalThis.eval") and first is not None and first.type != "string")
        or called.startswith("vm.run")
        or called in ("vm.compileFunction", "vm.Script")
    ):
        yield CodeFinding("eval_exec", "high", line)
    elif (
        called in ("setTimeout", "setInterval")
        and first is not None
        and first.type in ("string", "template_string", "binary_expression")
    ):
        yield CodeFinding("eval_exec", "medium", line)
    elif (
        last in _EXEC
        and first is not None
        and ("." not in called or "child" in called or "cp" in called or "require" in called)
    ):
        if first.type == "string":
            yield from commands_in(_string(first), line)
        elif _is_built(first) or first.type in ("identifier", "member_expression", "subscript_expression"):
            yield CodeFinding("shell_built", "high", line)
    elif (
        last in ("spawn", "spawnSync", "execFile", "execFileSync")
        and first is not None
        and any(re.search(r"\bshell\s*:\s*(?:true|[\"'])", text_of(each)) for each in given[1:])
        and _is_built(first)
    ):
        yield CodeFinding("shell_built", "high", line)
    elif called in ("yaml.load", "jsyaml.load", "yaml.loadAll") and any(
        "UNSAFE" in text_of(each).upper() for each in given[1:]
    ):
        yield CodeFinding("deserialise", "high", line)
    elif last in ("rm", "rmSync", "rmdir", "rmdirSync") and len(given) > 1 and "recursive: true" in text_of(given[1]):
        literal = _string(first) if first is not None and first.type == "string" else ""
        yield CodeFinding(
            "recursive_delete", "low" if literal and not literal.startswith(("/", "~")) else "medium", line
        )
    elif last in _QUERY and first is not None and _is_built(first) and is_sql(_beginning(first)):
        yield CodeFinding("sql_concat", "high", line)
    elif last == "unserialize":
        yield CodeFinding("deserialise", "high", line)
    elif called == "require" and first is not None and _string(first) in forbidden:
        yield CodeFinding("forbidden_import", "high", line)


def _string(node: Any) -> str:
    return text_of(node)[1:-1] if node is not None and node.type in ("string", "template_string") else ""


def _is_built(node: Any) -> bool:
    if node.type == "binary_expression":
        return any(
            (child.type not in ("string", "number", "+") and _is_built(child))
            or child.type in ("identifier", "member_expression", "call_expression", "subscript_expression")
            for child in node.children
        )
    return bool(
        node.type == "template_string" and any(child.type == "template_substitution" for child in node.children)
    )


def _beginning(node: Any) -> str:
    while node.type == "binary_expression":
        return _beginning(node.child_by_field_name("left")) + _beginning(node.child_by_field_name("right"))
    return _string(node) or " x "
