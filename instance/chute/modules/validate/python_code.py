"""What is dangerous in Python code, by its syntax tree: comments and docstrings are no code."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator, Sequence

from instance.chute.modules.validate.code_finding import CodeFinding, in_string, is_credential, is_sql
from instance.chute.modules.validate.shell_code import commands_in

_SHELLS = frozenset(
    "os.system os.popen subprocess.getoutput subprocess.getstatusoutput commands.getoutput asyncio.create_subprocess_shell".split()
)
_RUNS = frozenset(
    "subprocess.run subprocess.call subprocess.Popen subprocess.check_call subprocess.check_output".split()
)
_LOADS = frozenset(
    "pickle.load pickle.loads pickle.Unpickler cPickle.load cPickle.loads _pickle.loads dill.load dill.loads cloudpickle.load cloudpickle.loads marshal.load marshal.loads "
    "shelve.open jsonpickle.decode joblib.load pandas.read_pickle yaml.unsafe_load yaml.full_load yaml.unsafe_load_all".split()
)
_REQUESTS = frozenset("get post put patch delete head request ws_connect TCPConnector fetch".split())
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
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        yield CodeFinding("syntax", "medium", getattr(error, "lineno", None) or 1)
        return
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
        self._names: dict[str, str] = {}
        self._constants: set[str] = set()
        """Variables that are given a constant string and nothing else."""
        self._temporary: set[str] = set()
        """Variables that hold a temporary folder."""
        self._built: dict[str, ast.expr] = {}
        """Variable -> the expression that a string was put together by."""

    def _add(self, rule: str, severity: str, node: ast.AST) -> None:
        self.found.append(CodeFinding(rule, severity, getattr(node, "lineno", 1)))  # type: ignore[arg-type]

    # --- imports ----------------------------------------------------------------------------------------------------

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._names[alias.asname or alias.name.partition(".")[0]] = (
                alias.name if alias.asname else alias.name.partition(".")[0]
            )
            self._imported(alias.name, node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self._imported(node.module or "", node)
        for alias in node.names:
            self._names[alias.asname or alias.name] = f"{node.module}.{alias.name}"

    def _imported(self, name: str, node: ast.AST) -> None:
        if any(name == each or name.startswith(each + ".") for each in self._forbidden):
            self._add("forbidden_import", "high", node)

    def _dotted(self, node: ast.expr) -> str:
        """The full name of what is called, through the imports; of a method of an unknown thing `?.name`."""
        if isinstance(node, ast.Name):
            return self._names.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            return f"{self._dotted(node.value)}.{node.attr}"
        if isinstance(node, ast.Call) and self._dotted(node.func) in ("__import__", "importlib.import_module"):
            return _text(node.args[0]) if node.args else "?"
        return "?"

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
        if (
            isinstance(node.target, ast.Name)
            and isinstance(node.op, ast.Add)
            and not isinstance(node.value, ast.Constant)
        ):
            before = self._built.get(node.target.id)
            if before is not None:
                self._built[node.target.id] = ast.BinOp(before, ast.Add(), node.value)
        self.generic_visit(node)

    def _assigned(self, target: ast.expr, value: ast.expr) -> None:
        name = target.id if isinstance(target, ast.Name) else target.attr if isinstance(target, ast.Attribute) else ""
        if isinstance(target, ast.Subscript):
            name = _text(target.slice)
        text = _text(value)
        if text and is_credential(name, text):
            self._add("hardcoded_credential", "medium", target)
        if isinstance(target, ast.Name):
            self._note_kind(target.id, value)
            self._built[target.id] = value
        if _is_false(value) and (name == "check_hostname" or (name == "verify" and isinstance(target, ast.Attribute))):
            self._add("tls_disabled", "medium", target)
        if isinstance(value, ast.Attribute) and value.attr == "_create_unverified_context":
            self._add("tls_disabled", "medium", target)
        if isinstance(value, ast.Attribute) and value.attr == "CERT_NONE":
            self._add("tls_disabled", "medium", target)

    def _note_kind(self, name: str, value: ast.expr) -> None:
        constant = isinstance(value, ast.Constant) and (name in self._constants or name not in self._built)
        (self._constants.add if constant else self._constants.discard)(name)
        folder = isinstance(value, ast.Call) and self._dotted(value.func).startswith("tempfile.")
        (self._temporary.add if folder else self._temporary.discard)(name)

    def visit_Dict(self, node: ast.Dict) -> None:
        for key, value in zip(node.keys, node.values, strict=True):
            if key is not None and is_credential(_text(key), _text(value)):
                self._add("hardcoded_credential", "medium", value)
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
        self.generic_visit(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    # --- calls ------------------------------------------------------------------------------------------------------

    def visit_Call(self, node: ast.Call) -> None:
        name = self._dotted(node.func)
        last = name.rpartition(".")[2]
        first = self._resolved(node.args[0]) if node.args else None
        given = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
        if name in _SHELLS or (name in _RUNS and _is_true(given.get("shell"))):
            self._shell(first if first is not None else given.get("args"), node)
        elif name in _RUNS and isinstance(first, ast.List) and len(first.elts) == 3 and _text(first.elts[1]) == "-c":
            self._shell(self._resolved(first.elts[2]), node)
        elif name in ("eval", "exec", "builtins.eval", "builtins.exec") and not isinstance(first, ast.Constant):
            self._add("eval_exec", "high", node)
        elif name in _LOADS or (
            name in ("yaml.load", "yaml.load_all")
            and not self._is_safe_loader(given.get("Loader") or (node.args[1] if len(node.args) > 1 else None))
        ):
            self._add("deserialise", "high", node)
        elif (name == "numpy.load" and _is_true(given.get("allow_pickle"))) or (
            name == "torch.load" and not _is_true(given.get("weights_only"))
        ):
            self._add("deserialise", "medium", node)
        elif name == "shutil.rmtree":
            literal = _text(first) if first is not None else ""
            own = isinstance(node.args[0] if node.args else None, ast.Name) and node.args[0].id in self._temporary  # type: ignore[attr-defined]
            harmless = own or (literal and not literal.startswith(("/", "~")))
            self._add("recursive_delete", "low" if harmless else "medium", node)
        elif (
            name in ("ssl._create_unverified_context", "urllib3.disable_warnings")
            or _is_false(given.get("verify"))
            or _is_false(given.get("verify_ssl"))
            or (_is_false(given.get("ssl")) and last in _REQUESTS)
            or "CERT_NONE" in (_text(given.get("cert_reqs")), self._last_of(given.get("cert_reqs")))
        ):
            self._add("tls_disabled", "medium", node)
        elif (
            (
                last
                in ("execute", "executemany", "executescript", "raw", "text", "read_sql", "read_sql_query", "mogrify")
                and first is not None
            )
            and self._is_built(first)
            and is_sql(_beginning(first))
        ):
            self._add("sql_concat", "high", node)
        for word, value in given.items():
            if is_credential(word, _text(value)):
                self._add("hardcoded_credential", "medium", node)
        self.generic_visit(node)

    def _last_of(self, node: ast.expr | None) -> str:
        return self._dotted(node).rpartition(".")[2] if node is not None else ""

    def _is_built(self, node: ast.expr) -> bool:
        """Whether a string is put together from what is neither constant nor quoted for a shell."""
        return _is_built(node) and not all(self._is_harmless(part) for part in _parts(node))

    def _is_harmless(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Name):
            return node.id in self._constants
        return isinstance(node, ast.Constant) or (
            isinstance(node, ast.Call)
            and self._dotted(node.func) in ("shlex.quote", "shlex.join", "pipes.quote", "int")
        )

    def _resolved(self, node: ast.expr) -> ast.expr:
        """What a variable was last given, where that is known."""
        return self._built.get(node.id, node) if isinstance(node, ast.Name) else node

    def _shell(self, command: ast.expr | None, node: ast.Call) -> None:
        if command is None:
            return
        text = _text(command)
        if text:
            self.found += commands_in(text, node.lineno)
        elif isinstance(command, ast.Name) and command.id in self._constants:
            return
        elif self._is_built(command) or isinstance(command, ast.Name | ast.Call | ast.Attribute | ast.Subscript):
            self._add("shell_built", "high", node)

    def _is_safe_loader(self, node: ast.expr | None) -> bool:
        return node is not None and "Safe" in self._dotted(node).rpartition(".")[2]


def _text(node: ast.expr | None) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _is_true(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def _is_false(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def _is_built(node: ast.expr) -> bool:
    """Whether a string is put together from what is not constant."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
        return not (isinstance(node.left, ast.Constant) and isinstance(node.right, ast.Constant)) or _is_built(
            node.left
        )
    if isinstance(node, ast.JoinedStr):
        return any(isinstance(part, ast.FormattedValue) for part in node.values)
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("format", "join", "replace")
    )


def _parts(node: ast.expr) -> Iterator[ast.expr]:
    """What a string is put together from."""
    if isinstance(node, ast.BinOp):
        yield from _parts(node.left)
        yield from node.right.elts if isinstance(node.right, ast.Tuple) else _parts(node.right)
    elif isinstance(node, ast.JoinedStr):
        yield from (part.value for part in node.values if isinstance(part, ast.FormattedValue))
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        yield from node.args
        yield from (keyword.value for keyword in node.keywords)
    else:
        yield node


def _beginning(node: ast.expr) -> str:
    """The constant parts of a string that is put together, in order, with a word for each other part."""
    if isinstance(node, ast.BinOp):
        return _beginning(node.left) + (_beginning(node.right) if isinstance(node.op, ast.Add) else "")
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or " x " for part in node.values)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return _beginning(node.func.value)
    return _text(node) or " x "
