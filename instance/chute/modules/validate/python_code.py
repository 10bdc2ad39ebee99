"""What is dangerous in Python code, by its syntax tree: comments and docstrings are no code."""

from __future__ import annotations

import ast
import re
import shlex
import warnings
from collections.abc import Iterator, Sequence

from instance.chute.modules.validate import python_calls as calls
from instance.chute.modules.validate.code_credentials import in_header, is_credential, is_password
from instance.chute.modules.validate.code_finding import CodeFinding, in_string, names_key_file
from instance.chute.modules.validate.python_dangers import (
    as_written,
    deserialises,
    is_false,
    is_true,
    last_of,
    sends_built_sql,
    switches_checks_off,
)
from instance.chute.modules.validate.python_source import parsed
from instance.chute.modules.validate.python_values import Values, is_put_together, parts_of, text_of
from instance.chute.modules.validate.shell_code import commands_in
from instance.chute.modules.validate.transport_checks import unchecked, unchecked_by_variable

_SHELL = re.compile(r"(?:/\S*/)?(?:ba|z|da|k|)sh|cmd(?:\.exe)?|powershell|pwsh")
_CLIENT = re.compile(r"(?i)sess|client|http|req|conn|\As\Z|api|self")
_BRANCHES = (
    ast.If,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.IfExp,
    ast.comprehension,
    ast.match_case,
    ast.Assert,
)


def check_python(code: str, forbidden: Sequence[str], max_complexity: int) -> Iterator[CodeFinding]:
    """Findings in the order of the tree. Code that does not parse has one, of its syntax."""
    commands: list[tuple[str, int]] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = parsed(code, commands)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        yield CodeFinding("syntax", "medium", getattr(error, "lineno", None) or 1)
        return
    for command, line in commands:
        yield from commands_in(command, line)
    checker = _Checker(tuple(forbidden), max_complexity)
    try:
        checker.visit(tree)
    except RecursionError:
        yield CodeFinding("syntax", "medium", 1)
    yield from checker.found


class _Checker(ast.NodeVisitor):
    def __init__(self, forbidden: tuple[str, ...], max_complexity: int) -> None:
        self.found: list[CodeFinding] = []
        self._forbidden = forbidden
        self._max_complexity = max_complexity
        self._values = Values()

    def _add(self, rule: str, severity: str, node: ast.AST) -> None:
        self.found.append(CodeFinding(rule, severity, getattr(node, "lineno", 1)))  # type: ignore[arg-type]

    # --- imports ----------------------------------------------------------------------------------------------------

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            first = alias.name.partition(".")[0]
            self._values.imports(alias.asname or first, alias.name if alias.asname else first)
            self._imported(alias.name, node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self._imported(node.module or "", node)
        for alias in node.names:
            self._values.imports(alias.asname or alias.name, f"{node.module}.{alias.name}")

    def _imported(self, name: str, node: ast.AST) -> None:
        if any(name == each or name.startswith(each + ".") for each in self._forbidden):
            self._add("forbidden_import", "high", node)

    # --- statements -------------------------------------------------------------------------------------------------

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # a string alone is a docstring
            self.visit(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._assigned(target, node.value)
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self._assigned(node.target, node.value)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name) and isinstance(node.op, ast.Add):
            self._values.add(node.target.id, node.value)
        self.generic_visit(node)

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        self._values.loop(node.target, node.iter)
        self.generic_visit(node)

    visit_AsyncFor = visit_For

    def _assigned(self, target: ast.expr, value: ast.expr) -> None:
        name = target.id if isinstance(target, ast.Name) else target.attr if isinstance(target, ast.Attribute) else ""
        if isinstance(target, ast.Subscript):
            name = text_of(target.slice)
            if unchecked_by_variable(name, as_written(value)):
                self._add("tls_disabled", "medium", target)
        self._named(name, value, target)
        if isinstance(target, ast.Name):
            self._values.assign(target.id, value)
        elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
            for one, its in zip(target.elts, value.elts, strict=True):
                self._assigned(one, its)
        if (
            unchecked(name, as_written(value))
            or (name == "verify" and isinstance(target, ast.Attribute) and is_false(value) and self._is_client(target))
            or (isinstance(value, ast.Attribute) and value.attr in ("_create_unverified_context", "CERT_NONE"))
        ):
            self._add("tls_disabled", "medium", target)

    def _is_client(self, target: ast.Attribute) -> bool:
        """Whether the owner of `verify` sends requests."""
        return _CLIENT.search(self._values.dotted(target.value).removesuffix("()").rpartition(".")[2]) is not None

    def _named(self, name: str, value: ast.expr | None, node: ast.AST, *, among_texts: bool = False) -> None:
        """A value under a name that may be a credential's, also behind `or` and in `getenv(.., default)`."""
        text = text_of(value)
        if text and (is_credential(name, text, among_texts=among_texts) or (among_texts and in_header(name, text))):
            self._add("hardcoded_credential", "medium", node)
        elif isinstance(value, ast.BoolOp):
            for each in value.values:
                self._named(name, each, node)

    def visit_Dict(self, node: ast.Dict) -> None:
        for key, value in zip(node.keys, node.values, strict=True):
            if key is not None:
                self._named(text_of(key), value, value, among_texts=True)
                if text_of(key).count("_") and unchecked(text_of(key), as_written(value)):
                    self._add("tls_disabled", "medium", value)
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        if isinstance(node.ops[0], ast.Eq | ast.NotEq):
            for one, other in ((node.left, node.comparators[0]), (node.comparators[0], node.left)):
                name = text_of(one.slice) if isinstance(one, ast.Subscript) else last_of(self._values, one)
                if is_password(text_of(other)):
                    self._named(name, other, node)
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self.found += in_string(node.value, node.lineno)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        if self._max_complexity:
            branches = 1 + sum(
                len(each.values) - 1 if isinstance(each, ast.BoolOp) else isinstance(each, _BRANCHES)
                for each in ast.walk(node)
            )
            if branches > self._max_complexity:
                self._add("complexity", "medium", node)
        given = node.args
        named = [*given.posonlyargs, *given.args]
        first = len(named) - len(given.defaults)
        for argument, value in (
            *zip(named[first:], given.defaults, strict=True),
            *zip(given.kwonlyargs, given.kw_defaults, strict=True),
        ):
            self._named(argument.arg, value, node)
        for argument in (*named, *given.kwonlyargs):
            self._values.forget(argument.arg)
        self.generic_visit(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    # --- calls ------------------------------------------------------------------------------------------------------

    def visit_Call(self, node: ast.Call) -> None:
        values = self._values
        name = values.called(node.func)
        last = name.rpartition(".")[2]
        given = self._keywords(node)
        first = values.resolved(node.args[0]) if node.args else None
        command = first if first is not None else given.get("args") or given.get("command") or given.get("cmd")
        if name in calls.SHELLS or last in calls.REMOTE_SHELLS or (name in calls.RUNS and is_true(given.get("shell"))):
            self._shell(command, node)
        elif name in calls.RUNS or name.startswith(calls.STARTS):
            self._started(command, node)
        elif name in calls.EVALUATES or name in calls.EVALUATES_SOURCE:
            if not isinstance(first, ast.Constant):
                self._add("eval_exec", "high", node)
        elif deserialises(values, name, node, given):
            weak = name in ("numpy.load", "torch.load")
            self._add("deserialise", "medium" if weak else "high", node)
        elif last == "rmtree":
            self._add(
                "recursive_delete", "low" if first is None or values.is_own_place(node.args[0]) else "medium", node
            )
        elif switches_checks_off(values, name, last, given, node):
            self._add("tls_disabled", "medium", node)
        elif sends_built_sql(values, name, last, first, given):
            self._add("sql_concat", "high", node)
        if last in ("append", "insert", "extend") and isinstance(node.func, ast.Attribute) and node.args:
            values.append(node.func.value, node.args[-1])
        self._functions_passed(node, name)
        self._credentials_passed(node, name, last, given)
        if last in calls.JOINS_PATHS and names_key_file(values.place(node)):
            self._add("key_file", "high", node)
        self.visit(node.func)
        for each in node.args:
            if not (last in calls.SAYS and isinstance(each, ast.Constant | ast.JoinedStr)):
                self.visit(each)
        for keyword in node.keywords:
            if keyword.arg not in calls.NAMES_KEY_OF_ITS_OWN and keyword.arg not in ("help", "description"):
                self.visit(keyword.value)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if isinstance(node.op, ast.Div) and names_key_file(self._values.place(node)):
            self._add("key_file", "high", node)
        self.generic_visit(node)

    def _keywords(self, node: ast.Call) -> dict[str, ast.expr]:
        """The arguments with names, also of a dictionary that is unpacked."""
        given: dict[str, ast.expr] = {}
        for keyword in node.keywords:
            value = self._values.resolved(keyword.value)
            if keyword.arg:
                given[keyword.arg] = value
            elif isinstance(value, ast.Dict):
                given |= {text_of(key): its for key, its in zip(value.keys, value.values, strict=True) if text_of(key)}
            elif isinstance(value, ast.Call) and self._values.dotted(value.func) == "dict":
                given |= {each.arg: each.value for each in value.keywords if each.arg}
        return given

    def _shell(self, command: ast.expr | None, node: ast.Call) -> None:
        """A command line that is given to a shell."""
        if command is None:
            return
        text = text_of(command)
        if text:
            self.found += commands_in(text, node.lineno)
        elif isinstance(command, ast.List | ast.Tuple):
            if command.elts and is_put_together(
                command.elts[0]
            ):  # a shell runs the first, the others are its arguments
                self._shell(command.elts[0], node)
            else:
                self._started(command, node)
        elif is_put_together(command):
            if not self._values.is_harmless(command):
                self._add("shell_built", "high", node)
        elif isinstance(command, ast.Name | ast.Call | ast.Attribute | ast.Subscript | ast.BoolOp) and not (
            self._values.is_harmless(command)
        ):
            self._add("shell_built", "high", node)

    def _started(self, program: ast.expr | None, node: ast.Call) -> None:
        """A program with its words; a shell's `-c` is a command line."""
        words = list(program.elts) if isinstance(program, ast.List | ast.Tuple) else list(node.args)
        texts = [text_of(word) for word in words]
        shell = next((place for place, text in enumerate(texts) if text and _SHELL.fullmatch(text)), -1)
        if shell >= 0:
            for place in range(shell + 1, len(words) - 1):
                if texts[place] in ("-c", "-lc", "-ic", "/c", "-Command"):
                    self._shell(self._values.resolved(words[place + 1]), node)
                    return
        if isinstance(program, ast.List | ast.Tuple) and texts and texts[0]:
            line = " ".join(shlex.quote(text) if text else "word" for text in texts)
            self.found += commands_in(line, node.lineno)

    def _functions_passed(self, node: ast.Call, name: str) -> None:
        """`map(eval, lines)`: a function that is dangerous, given to another that calls it."""
        for value in parts_of(node):
            if not isinstance(value, ast.Name | ast.Attribute):
                continue
            passed = self._values.called(value)
            if passed in calls.EVALUATES:
                self._add("eval_exec", "high", node)
            elif passed in calls.LOADS:
                self._add("deserialise", "high", node)
            elif passed in ("os.system", "os.popen") and name.rpartition(".")[2] in (
                "map",
                "submit",
                "apply_async",
                "starmap",
            ):
                self._add("shell_built", "high", node)

    def _credentials_passed(self, node: ast.Call, name: str, last: str, given: dict[str, ast.expr]) -> None:
        for word, value in given.items():
            self._named(word, value, node)
        pair = given.get("auth") or given.get("basic_auth") or given.get("http_auth")
        if isinstance(pair, ast.Tuple | ast.List) and len(pair.elts) == 2 and is_password(text_of(pair.elts[1])):
            self._add("hardcoded_credential", "medium", node)
        if len(node.args) < 2:
            return
        one, other = node.args[0], node.args[1]
        if last in calls.TAKES_PASSWORD and is_password(text_of(other)):
            self._add("hardcoded_credential", "medium", node)
        elif name in calls.READS_VARIABLE or last in ("setdefault", "setenv", "putenv"):
            self._named(text_of(one), other, node)
        elif name in ("jwt.encode", "jwt.decode", "hmac.new") and is_password(
            text_of(other if name.startswith("jwt") else one)
        ):
            self._add("hardcoded_credential", "medium", node)
