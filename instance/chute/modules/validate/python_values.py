"""What is known of the names in Python code while its tree is walked: what they stand for, and how strings were put together."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

_QUOTING = frozenset(
    "shlex.quote shlex.join pipes.quote int float len bool abs round hash ord id time.time os.getpid os.getuid os.cpu_count uuid.uuid4 "
    "re.escape psycopg2.sql.Identifier psycopg.sql.Identifier sql.Identifier sql.Literal".split()
)
"""Calls whose result cannot carry a command or a part of a query."""
_OWN_PLACE = re.compile(
    r"(?i)(?:^|[_\W]|(?<=[a-z]))(?:te?mp|temporary|scratch|build|dist|cache|out(?:put)?|work|staging|test)(?:$|[_\W\d]|dir|path|folder)"
)
_JOINS = frozenset(("join", "joinpath", "resolve", "absolute", "expanduser"))
_PUT_TOGETHER = frozenset("format format_map join replace substitute safe_substitute".split())


class Values:
    """Names of a file as one scope: the last that was given to a name counts."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        """Local name -> full name: by imports, by `run = os.system`, and `Class()` for what was made by a call."""
        self._given: dict[str, ast.expr] = {}
        """Variable -> the expression it was last given, with what was added to it."""
        self._constants: set[str] = set()
        """Variables that are given a constant and nothing else."""

    # --- what the tree says -----------------------------------------------------------------------------------------

    def imports(self, local: str, name: str) -> None:
        self._names[local] = name

    def assign(self, name: str, value: ast.expr) -> None:
        adds = isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add)
        if adds and isinstance(value.left, ast.Name) and value.left.id == name and name in self._given:  # type: ignore[attr-defined]
            self.add(name, value.right)  # type: ignore[attr-defined]
            return
        constant = isinstance(value, ast.Constant) and (name in self._constants or name not in self._given)
        (self._constants.add if constant else self._constants.discard)(name)
        full = self.dotted(value) if isinstance(value, ast.Name | ast.Attribute | ast.Call) else ""
        self._given[name] = value
        if full and not full.startswith("?"):
            self._names[name] = full
        else:
            self._names.pop(name, None)

    def add(self, name: str, value: ast.expr) -> None:
        """`name += value`."""
        before = self._given.get(name)
        if before is not None and not isinstance(value, ast.Constant):
            self._given[name] = ast.BinOp(before, ast.Add(), value)
            self._constants.discard(name)

    def append(self, owner: ast.expr, value: ast.expr) -> None:
        """`owner.append(value)`."""
        before = self.resolved(owner)
        if isinstance(owner, ast.Name) and isinstance(before, ast.List):
            self._given[owner.id] = ast.List([*before.elts, value], ast.Load())

    def loop(self, target: ast.expr, values: ast.expr) -> None:
        """`for target in values`: over constants alone its name is one."""
        if isinstance(target, ast.Name):
            self.forget(target.id)
            source = self.resolved(values)
            if (
                isinstance(source, ast.Tuple | ast.List | ast.Set)
                and source.elts
                and all(map(_is_constant, source.elts))
            ):
                self._given[target.id] = source.elts[0]
                self._constants.add(target.id)

    def forget(self, name: str) -> None:
        """It is an argument, or what a `with` gives: nothing is known of it."""
        self._given.pop(name, None)
        self._names.pop(name, None)
        self._constants.discard(name)

    # --- what is known ----------------------------------------------------------------------------------------------

    def dotted(self, node: ast.expr | None) -> str:
        """The full name of what is called, through imports and variables; of a method of an unknown thing `?.name`."""
        if isinstance(node, ast.Name):
            return self._names.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            return f"{self.dotted(node.value)}.{node.attr}"
        if isinstance(node, ast.Call):
            called = self.dotted(node.func)
            if called in ("__import__", "importlib.import_module"):
                return (text_of(node.args[0]) if node.args else "") or "?"
            if called == "getattr" and len(node.args) > 1 and text_of(node.args[1]):
                return f"{self.dotted(node.args[0])}.{text_of(node.args[1])}"
            return f"{called}()" if called.count("()") < 3 else "?"
        if isinstance(node, ast.Subscript) and text_of(node.slice):
            base = self.dotted(node.value)
            if base in ("__builtins__", "globals()", "vars()"):
                return f"builtins.{text_of(node.slice)}" if base == "__builtins__" else text_of(node.slice)
        return "?"

    def called(self, node: ast.expr) -> str:
        """The full name without the different ways to say where the built-in functions are."""
        return re.sub(r"\A(?:__builtins__|builtins)\.", "", self.dotted(node))

    def resolved(self, node: ast.expr) -> ast.expr:
        """What a variable was last given, where that is known."""
        return self._given.get(node.id, node) if isinstance(node, ast.Name) else node

    def is_constant(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Constant) or (isinstance(node, ast.Name) and node.id in self._constants)

    def is_built(self, node: ast.expr) -> bool:
        """Whether a string is put together from what is neither constant nor quoted."""
        return is_put_together(node) and not self.is_harmless(node)

    def is_harmless(self, node: ast.expr, names: dict[str, bool] | None = None) -> bool:
        """Whether nothing from outside can be in it: constants, numbers, quoted words, placeholders, choices among constants.
        `names` are the variables that were looked at already."""
        names = {} if names is None else names
        if self.is_constant(node):
            return True
        if isinstance(node, ast.Name):
            value = self._given.get(node.id)
            if node.id not in names:
                names[node.id] = False  # while it is looked at
                names[node.id] = value is not None and self.is_harmless(value, names)
            return names[node.id]
        if isinstance(node, ast.Call):
            if self.called(node.func) in _QUOTING:
                return True
            if isinstance(node.func, ast.Attribute) and node.func.attr in (*_PUT_TOGETHER, "get", "strip", "lower"):
                if node.func.attr == "get":  # a table of constants
                    return self.is_harmless(node.func.value, names)
                parts = [node.func.value, *node.args, *(keyword.value for keyword in node.keywords)]
                return all(self.is_harmless(part, names) for part in parts)
            return False
        if isinstance(node, ast.BinOp):
            if isinstance(node.op, ast.Mult):
                return any(self.is_harmless(part, names) for part in (node.left, node.right))
            return self.is_harmless(node.left, names) and self.is_harmless(node.right, names)
        if isinstance(node, ast.IfExp):
            return self.is_harmless(node.body, names) and self.is_harmless(node.orelse, names)
        if isinstance(node, ast.JoinedStr):
            return all(self.is_harmless(part, names) for part in node.values)
        if isinstance(node, ast.FormattedValue):
            return self.is_harmless(node.value, names)
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            return all(self.is_harmless(part, names) for part in node.elts)
        if isinstance(node, ast.Dict):
            return all(self.is_harmless(part, names) for part in node.values)
        if isinstance(node, ast.ListComp | ast.GeneratorExp):
            for each in node.generators:
                if isinstance(each.target, ast.Name):
                    names[each.target.id] = self.is_harmless(each.iter, names)
            return self.is_harmless(node.elt, names)
        if isinstance(node, ast.Subscript):
            return isinstance(self.resolved(node.value), ast.Dict) and self.is_harmless(node.value, names)
        return False

    def _given_once(self, name: str, names: set[str]) -> ast.expr | None:
        """What a name stands for, the first time that it is asked for: `names` holds those that were."""
        if name in names:
            return None
        names.add(name)
        return self._given.get(name)

    def beginning(self, node: ast.expr, names: set[str] | None = None) -> str:
        """The constant parts of a string that is put together, in order, with a word for each other part."""
        names = set() if names is None else names
        if isinstance(node, ast.Name):
            known = self._given_once(node.id, names)
            return " x " if known is None else self.beginning(known, names)
        if isinstance(node, ast.BinOp):
            right = self.beginning(node.right, names) if isinstance(node.op, ast.Add) else ""
            return self.beginning(node.left, names) + right
        if isinstance(node, ast.JoinedStr):
            return "".join(text_of(part) or " x " for part in node.values)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr == "join" and node.args and isinstance(node.args[0], ast.List | ast.Tuple):
                return text_of(node.func.value).join(self.beginning(part, names) for part in node.args[0].elts)
            return self.beginning(node.func.value, names)
        if isinstance(node, ast.Call) and node.args and self.dotted(node.func).endswith("Template"):
            return self.beginning(node.args[0], names)
        return text_of(node) or " x "

    def place(self, node: ast.expr, names: set[str] | None = None) -> str:
        """A path's constant parts, joined: of `os.path.join`, `Path(..) / ".."`, a constant; `?` for each part that is not known."""
        names = set() if names is None else names
        if isinstance(node, ast.Name):
            known = self._given_once(node.id, names)
            return "?" if known is None else self.place(known, names)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div | ast.Add):
            sign = "/" if isinstance(node.op, ast.Div) else ""
            return self.place(node.left, names) + sign + self.place(node.right, names)
        if isinstance(node, ast.Call):
            called = self.dotted(node.func)
            if called.endswith("Path.home"):
                return "~"
            if called.endswith((".join", "Path", ".joinpath", "expanduser")):
                base = (
                    [node.func.value] if called.endswith(".joinpath") and isinstance(node.func, ast.Attribute) else []
                )
                return "/".join(self.place(part, names) for part in (*base, *node.args))
            if isinstance(node.func, ast.Attribute) and node.func.attr in _JOINS:
                return self.place(node.func.value, names)
        if isinstance(node, ast.JoinedStr):
            return "".join(text_of(part) or "?" for part in node.values)
        return text_of(node) or "?"

    def is_own_place(self, node: ast.expr) -> bool:
        """Whether a folder is one that the code made, or that lies below its own."""
        given = self.resolved(node)
        if isinstance(given, ast.Call) and self.dotted(given.func).startswith("tempfile."):
            return True
        if isinstance(node, ast.Name | ast.Attribute) and _OWN_PLACE.search(
            node.id if isinstance(node, ast.Name) else node.attr
        ):
            return text_of(given)[:1] not in ("/", "~")
        place = self.place(given)
        if place.startswith(("/tmp/", "/var/tmp/")):
            return True
        if place.startswith(("/", "~")) or ".." in place:
            return False
        return not place.startswith("?") or _OWN_PLACE.search(place) is not None


def text_of(node: ast.AST | None) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _is_constant(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant)


def is_put_together(node: ast.expr) -> bool:
    """Whether a string is put together from what is not constant."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
        return not (_is_constant(node.left) and _is_constant(node.right)) or is_put_together(node.left)
    if isinstance(node, ast.JoinedStr):
        return any(isinstance(part, ast.FormattedValue) for part in node.values)
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _PUT_TOGETHER


def parts_of(call: ast.Call) -> Iterator[ast.expr]:
    """Every value that a call is given."""
    yield from call.args
    yield from (keyword.value for keyword in call.keywords)
