"""What is dangerous in JavaScript, by its syntax tree."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from instance.chute.modules.validate.code_credentials import in_header, is_credential, is_password
from instance.chute.modules.validate.code_finding import CodeFinding, in_string, is_sql, names_key_file, names_miner
from instance.chute.modules.validate.javascript_values import ScriptValues, arguments_of, string_of
from instance.chute.modules.validate.shell_code import commands_in
from instance.chute.modules.validate.transport_checks import unchecked, unchecked_by_variable
from instance.chute.modules.validate.tree_sitter_code import first_error, line_of, nodes, text_of, tree_of

_SHELLS = frozenset(
    "child_process.exec child_process.execSync shelljs.exec execa.command execa.commandSync execa.execaCommand execa.execaCommandSync exec execSync execaCommand".split()
)
_STARTS = frozenset("spawn spawnSync execFile execFileSync".split())
_EVALUATES = frozenset("eval window.eval globalThis.eval global.eval self.eval execScript".split())
_COMPILES = frozenset(
    "Function AsyncFunction vm.Script vm.SourceTextModule window.Function globalThis.Function".split()
)
_SENDS_SQL = frozenset(
    "query execute raw $queryRawUnsafe $executeRawUnsafe all get run each exec prepare unsafe none one many any oneOrNone manyOrNone queryRaw".split()
)
_DELETES = frozenset("rm rmSync rmdir rmdirSync".split())
_DELETES_ALL = frozenset(
    "rimraf rimraf.sync rimraf.rimraf rimraf.rimrafSync del fs-extra.remove fs-extra.removeSync fs-extra.emptyDir fs-extra.emptyDirSync".split()
)
_SIGNS = frozenset("jwt.sign jwt.verify jsonwebtoken.sign jsonwebtoken.verify".split())
_SETS_HEADER = frozenset(("setHeader", "set", "append", "header", "setRequestHeader"))
_SAYS = frozenset("console.log console.error console.warn console.info alert".split())
_FIELD = re.compile(
    r"\b(?:private|public|protected|readonly|static)\s+(\w+)\s*(?::\s*string\s*)?=\s*[\"'`]([^\"'`\n]+)[\"'`]"
)
"""A field of a class with its value."""
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
    yield from _Script(forbidden, max_complexity).findings(root)


def check_typescript(code: str, forbidden: Sequence[str], max_complexity: int) -> Iterator[CodeFinding]:
    """Findings of what the grammar of JavaScript reads behind the types, which are foreign to it: what it does not take is no finding."""
    yield from (each for each in check_javascript(code, forbidden, max_complexity) if each.rule != "syntax")
    for found in _FIELD.finditer(code):
        if is_credential(found.group(1), found.group(2)):
            yield CodeFinding("hardcoded_credential", "medium", code.count("\n", 0, found.start()) + 1)


class _Script:
    """The statements of a file in order, with what is known of its names."""

    def __init__(self, forbidden: Sequence[str], max_complexity: int) -> None:
        self._forbidden = forbidden
        self._max_complexity = max_complexity
        self._values = ScriptValues()

    def findings(self, root: Any) -> Iterator[CodeFinding]:
        for node in nodes(root):
            kind, line = node.type, line_of(node)
            if kind == "variable_declarator":
                self._values.declares(node)
                yield from self._named(
                    text_of(node.child_by_field_name("name")), node.child_by_field_name("value"), line
                )
            elif kind in ("assignment_pattern", "object_assignment_pattern", "field_definition"):
                name = "property" if kind == "field_definition" else "left"
                value = "value" if kind == "field_definition" else "right"
                yield from self._named(text_of(node.child_by_field_name(name)), node.child_by_field_name(value), line)
            elif kind == "augmented_assignment_expression":
                self._values.adds(node)
            elif kind == "assignment_expression":
                yield from self._assigned(node, line)
            elif kind == "pair":
                key = text_of(node.child_by_field_name("key")).strip("\"'")
                yield from self._named(key, node.child_by_field_name("value"), line, among_texts=True)
            elif kind == "binary_expression":
                yield from self._compared(node, line)
            elif kind == "call_expression":
                self._values.pushes(node)
                yield from self._call(node, line)
            elif kind == "new_expression":
                yield from self._made(node, line)
            elif kind == "import_statement":
                self._values.imports(node)
                if string_of(node.child_by_field_name("source")) in self._forbidden:
                    yield CodeFinding("forbidden_import", "high", line)
            elif kind in ("string", "template_string"):
                if not self._is_said(node):
                    yield from in_string(text_of(node), line)
            elif kind in _FUNCTIONS and self._max_complexity:
                branches = 1 + sum(each.type in _BRANCHES or text_of(each) in ("&&", "||") for each in nodes(node))
                if branches > self._max_complexity:
                    yield CodeFinding("complexity", "medium", line)

    # --- names and values -------------------------------------------------------------------------------------------

    def _named(self, name: str, value: Any, line: int, *, among_texts: bool = False) -> Iterator[CodeFinding]:
        """A value under a name: a credential's, or a setting's that switches a check off."""
        if value is None:
            return
        name = name.strip("#\"'")
        if value.type == "binary_expression" and text_of(value.child_by_field_name("operator")) in ("||", "??"):
            instead = self._values.called(value.child_by_field_name("left")).rpartition(".")[2]
            value = value.child_by_field_name("right")
            name = instead if is_credential(instead, string_of(value)) else name
        text = string_of(value)
        if text and (is_credential(name, text, among_texts=among_texts) or (among_texts and in_header(name, text))):
            yield CodeFinding("hardcoded_credential", "medium", line)
        if unchecked(name, text_of(value)) or (name == "checkServerIdentity" and _says_nothing(value)):
            yield CodeFinding("tls_disabled", "medium", line)

    def _assigned(self, node: Any, line: int) -> Iterator[CodeFinding]:
        left, value = node.child_by_field_name("left"), node.child_by_field_name("right")
        if left.type == "identifier":
            self._values.assigns(text_of(left), value)
        name = self._values.called(left).rpartition(".")[2]
        yield from self._named(name, value, line)
        if unchecked_by_variable(name, text_of(value)):
            yield CodeFinding("tls_disabled", "medium", line)

    def _compared(self, node: Any, line: int) -> Iterator[CodeFinding]:
        if text_of(node.child_by_field_name("operator")) not in ("===", "==", "!==", "!="):
            return
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        if is_password(string_of(right)) and is_credential(
            self._values.called(left).rpartition(".")[2], string_of(right)
        ):
            yield CodeFinding("hardcoded_credential", "medium", line)

    def _is_said(self, node: Any) -> bool:
        """Whether a string is only printed."""
        call = node.parent.parent if node.parent is not None and node.parent.type == "arguments" else None
        return call is not None and text_of(call.child_by_field_name("function")) in _SAYS

    # --- calls ------------------------------------------------------------------------------------------------------

    def _made(self, node: Any, line: int) -> Iterator[CodeFinding]:
        made = self._values.called(node.child_by_field_name("constructor"))
        if made in _COMPILES and (made != "Function" or not self._all_constant(node)):
            yield CodeFinding("eval_exec", "high", line)
        if names_miner(made):
            yield CodeFinding("miner", "high", line)

    def _all_constant(self, node: Any) -> bool:
        given = arguments_of(node)
        return bool(given) and all(each.type == "string" for each in given)

    def _call(self, node: Any, line: int) -> Iterator[CodeFinding]:
        values = self._values
        called = values.called(node.child_by_field_name("function"))
        last = called.rpartition(".")[2]
        given = arguments_of(node)
        first = values.resolved(given[0]) if given else None
        if (called in _EVALUATES and first is not None and not values.is_harmless(given[0])) or (
            called.startswith("vm.run") or called in ("vm.compileFunction", *_COMPILES)
        ):
            if not (called == "Function" and self._all_constant(node)):
                yield CodeFinding("eval_exec", "high", line)
        elif last in ("setTimeout", "setInterval", "setImmediate") and first is not None:
            if first.type in ("string", "template_string", "binary_expression"):
                yield CodeFinding("eval_exec", "medium", line)
        elif self._is_shell(called) and given:
            yield from self._shell(given[0], line)
        elif last in _STARTS and given:
            yield from self._started(given, line)
        elif called in ("yaml.load", "jsyaml.load", "js-yaml.load", "yaml.loadAll", "js-yaml.loadAll"):
            if any("UNSAFE" in text_of(each).upper() for each in given[1:]):
                yield CodeFinding("deserialise", "high", line)
        elif (
            last in _DELETES and len(given) > 1 and re.search(r"recursive:\s*true", text_of(given[1]))
        ) or called in _DELETES_ALL:
            own = values.is_own_place(given[0] if given else None)
            yield CodeFinding("recursive_delete", "low" if own else "medium", line)
        elif last in _SENDS_SQL and given and values.is_built(given[0]) and is_sql(values.beginning(given[0])):
            yield CodeFinding("sql_concat", "high", line)
        elif last == "unserialize":
            yield CodeFinding("deserialise", "high", line)
        elif called in self._forbidden and text_of(node).startswith("require"):
            yield CodeFinding("forbidden_import", "high", line)
        elif (called in _SIGNS and len(given) > 1 and is_password(string_of(given[1]))) or (
            last in _SETS_HEADER and len(given) > 1 and in_header(string_of(given[0]), string_of(given[1]))
        ):
            yield CodeFinding("hardcoded_credential", "medium", line)
        if text_of(node).startswith("require(") and string_of(first) in self._forbidden:
            yield CodeFinding("forbidden_import", "high", line)
        if last in ("join", "resolve") and names_key_file(values.place(node)):
            yield CodeFinding("key_file", "high", line)

    def _is_shell(self, called: str) -> bool:
        if called in _SHELLS:
            return True
        owner, _, last = called.rpartition(".")
        return last in ("exec", "execSync") and re.search(r"child|\bcp\b|shell|\bsh\b", owner) is not None

    def _shell(self, command: Any, line: int) -> Iterator[CodeFinding]:
        """A command line that is given to a shell."""
        values = self._values
        value = values.resolved(command)
        if values.is_harmless(command) and string_of(value) and not values.is_added_to(command):
            yield from commands_in(string_of(value), line)
        elif values.is_built(command) or (
            value.type in ("identifier", "member_expression", "subscript_expression")
            and not values.is_harmless(command)
        ):
            yield CodeFinding("shell_built", "high", line)

    def _started(self, given: list[Any], line: int) -> Iterator[CodeFinding]:
        """A program with its words; a shell's `-c` is a command line."""
        values = self._values
        program = string_of(values.resolved(given[0]))
        words = values.resolved(given[1]) if len(given) > 1 else None
        parts = words.named_children if words is not None and words.type == "array" else []
        if re.fullmatch(r"(?:/\S*/)?(?:ba|z|da|k)?sh|cmd(?:\.exe)?|powershell|pwsh", program):
            for option, command in itertools.pairwise(parts):
                if string_of(option) in ("-c", "-lc", "/c", "-Command"):
                    yield from self._shell(command, line)
                    return
        by_shell = any(re.search(r"\bshell\s*:\s*(?:true|[\"'])", text_of(each)) for each in given[1:])
        if by_shell and (values.is_built(given[0]) or not all(values.is_harmless(part) for part in parts)):
            yield CodeFinding("shell_built", "high", line)
            return
        if program and " " not in program:
            line_of_words = " ".join(
                [program, *(shlex.quote(string_of(part)) if string_of(part) else "word" for part in parts)]
            )
            yield from commands_in(line_of_words, line)


def _says_nothing(value: Any) -> bool:
    """Whether a function lets everything pass: `() => undefined`, `() => {}`."""
    if value.type not in ("arrow_function", "function_expression"):
        return False
    body = text_of(value.child_by_field_name("body")).replace(" ", "").replace("\n", "")
    return body in ("{}", "undefined", "null", "{returnundefined;}", "{return;}", "{returnnull;}", "void0")
