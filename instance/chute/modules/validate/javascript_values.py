"""What is known of the names in JavaScript code while its tree is walked: what they stand for, and how strings were put together."""

from __future__ import annotations

import re
from typing import Any

from instance.chute.modules.validate.tree_sitter_code import text_of

DEPTH_MAX = 20
_NUMBERS = frozenset(
    "Number parseInt parseFloat Math.floor Math.round Math.abs BigInt Date.now String.fromCharCode".split()
)
_QUOTING = frozenset("escape escapeId escapeIdentifier escapeLiteral quote shellEscape shellescape format".split())
_MODULE = re.compile(r"\A(?:node:)?")
_PUT_TOGETHER = frozenset("join concat replace replaceAll".split())
_OWN_PLACE = re.compile(
    r"(?i)(?:^|[_\W]|(?<=[a-z]))(?:te?mp|dist|build|cache|out(?:put)?|scratch|work|coverage|node_modules)(?:$|[_\W\d]|dir|path|folder)"
)


class ScriptValues:
    """Names of a file as one scope: the last that was given to a name counts."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        """Local name -> full name: `run` -> `child_process.exec`."""
        self._given: dict[str, list[Any]] = {}
        """Variable -> what it was given, then what was added to it."""

    # --- what the tree says -----------------------------------------------------------------------------------------

    def declares(self, node: Any) -> None:
        """A `variable_declarator`."""
        target, value = node.child_by_field_name("name"), node.child_by_field_name("value")
        if target is None or value is None:
            return
        if target.type == "object_pattern":
            source = self.called(value)
            for each in target.named_children:
                key = text_of(each.child_by_field_name("key")) if each.type == "pair_pattern" else text_of(each)
                local = text_of(each.child_by_field_name("value")) if each.type == "pair_pattern" else key
                self._names[local] = f"{source}.{key}"
            return
        self.assigns(text_of(target), value)

    def assigns(self, name: str, value: Any) -> None:
        self._given[name] = [value]
        full = (
            self.called(value)
            if value.type in ("identifier", "member_expression", "call_expression", "new_expression")
            else ""
        )
        if full:
            self._names[name] = full
        else:
            self._names.pop(name, None)

    def adds(self, node: Any) -> None:
        """An `augmented_assignment_expression`."""
        name = text_of(node.child_by_field_name("left"))
        if name in self._given:
            self._given[name].append(node.child_by_field_name("right"))

    def pushes(self, call: Any) -> None:
        """A `call_expression` that may be `name.push(value)`."""
        function = call.child_by_field_name("function")
        if function.type == "member_expression" and text_of(function.child_by_field_name("property")) == "push":
            name = text_of(function.child_by_field_name("object"))
            if name in self._given:
                self._given[name].extend(arguments_of(call))

    def imports(self, node: Any) -> None:
        """An `import_statement`."""
        module = _MODULE.sub("", string_of(node.child_by_field_name("source")))
        for clause in node.named_children:
            for each in clause.named_children if clause.type == "import_clause" else ():
                if each.type == "identifier":
                    self._names[text_of(each)] = module
                elif each.type == "namespace_import":
                    self._names[text_of(each.named_children[0])] = module
                elif each.type == "named_imports":
                    for one in each.named_children:
                        name, alias = one.child_by_field_name("name"), one.child_by_field_name("alias")
                        self._names[text_of(alias or name)] = f"{module}.{text_of(name)}"

    # --- what is known ----------------------------------------------------------------------------------------------

    def called(self, node: Any, depth: int = 0) -> str:
        """The full name of what is called, through imports and variables."""
        if node is None or depth > DEPTH_MAX:
            return ""
        kind = node.type
        if kind == "identifier":
            return self._names.get(text_of(node), text_of(node))
        if kind == "member_expression":
            return f"{self.called(node.child_by_field_name('object'), depth + 1)}.{text_of(node.child_by_field_name('property'))}"
        if kind == "subscript_expression":
            index = string_of(node.child_by_field_name("index"))
            return f"{self.called(node.child_by_field_name('object'), depth + 1)}.{index}" if index else ""
        if kind == "parenthesized_expression":
            inner = node.named_children[-1] if node.named_children else None
            if inner is not None and inner.type == "sequence_expression":  # (0, eval)
                inner = inner.named_children[-1]
            return self.called(inner, depth + 1)
        if kind == "await_expression":
            return self.called(node.named_children[0], depth + 1) if node.named_children else ""
        if kind in ("call_expression", "new_expression"):
            function = self.called(
                node.child_by_field_name("function" if kind == "call_expression" else "constructor"), depth + 1
            )
            first = first_argument(node)
            if function == "require" or function == "import":
                return _MODULE.sub("", string_of(first))
            if function.rpartition(".")[2] == "promisify" or function.endswith(".bind"):
                return (
                    self.called(first, depth + 1) if not function.endswith(".bind") else function.removesuffix(".bind")
                )
            return f"{function}()" if function and function.count("()") < 3 else ""
        return ""

    def resolved(self, node: Any) -> Any:
        """What a variable was first given, where that is known."""
        if node is not None and node.type == "identifier":
            given = self._given.get(text_of(node))
            return given[0] if given else node
        return node

    def is_added_to(self, node: Any) -> bool:
        return node.type == "identifier" and len(self._given.get(text_of(node), ())) > 1

    def is_built(self, node: Any) -> bool:
        """Whether a string is put together from what is neither constant nor quoted."""
        value = self.resolved(node)
        put = (
            self.is_added_to(node)
            or value.type == "binary_expression"
            or (
                value.type == "template_string" and any(each.type == "template_substitution" for each in value.children)
            )
            or (value.type == "call_expression" and _method(value) in _PUT_TOGETHER)
        )
        return put and not self.is_harmless(node)

    def is_harmless(self, node: Any, names: dict[str, bool] | None = None) -> bool:
        """Whether nothing from outside can be in it: constants, numbers, quoted words, placeholders, choices among constants."""
        names = {} if names is None else names
        if node is None:
            return False
        kind = node.type
        if kind in ("string", "number", "regex", "true", "false", "null", "undefined"):
            return True
        if kind == "identifier":
            given, name = self._given.get(text_of(node), []), text_of(node)
            if name not in names:
                names[name] = False  # while it is looked at
                names[name] = bool(given) and all(self.is_harmless(each, names) for each in given)
            return names[name]
        if kind == "template_string":
            return all(
                self.is_harmless(each.named_children[0], names)
                for each in node.children
                if each.type == "template_substitution" and each.named_children
            )
        if kind in ("binary_expression", "array", "parenthesized_expression", "object"):
            return all(self.is_harmless(each, names) for each in node.named_children)
        if kind == "pair":
            return self.is_harmless(node.child_by_field_name("value"), names)
        if kind == "ternary_expression":
            return all(
                self.is_harmless(node.child_by_field_name(each), names) for each in ("consequence", "alternative")
            )
        if kind == "arrow_function":
            return self.is_harmless(node.child_by_field_name("body"), names)
        if kind == "subscript_expression":
            owner = node.child_by_field_name("object")
            return self.resolved(owner).type == "object" and self.is_harmless(owner, names)
        if kind == "member_expression" and text_of(node.child_by_field_name("property")) == "length":
            return True
        if kind == "call_expression":
            called, method = self.called(node.child_by_field_name("function")), _method(node)
            if called in _NUMBERS or called.rpartition(".")[2] in _QUOTING:
                return True
            owner = node.child_by_field_name("function").child_by_field_name("object")
            if method == "map":
                return self.is_harmless(first_argument(node), names)
            if method in ("fill", "repeat"):
                return (method == "repeat" and self.is_harmless(owner, names)) or self.is_harmless(
                    first_argument(node), names
                )
            if method in (*_PUT_TOGETHER, "trim", "toString"):
                return self.is_harmless(owner, names) and all(
                    self.is_harmless(each, names) for each in arguments_of(node)
                )
        return False

    def beginning(self, node: Any, names: set[str] | None = None) -> str:
        """The constant parts of a string that is put together, in order, with a word for each other part."""
        names = set() if names is None else names
        if node is None:
            return " x "
        if node.type == "identifier":
            given, name = self._given.get(text_of(node), []), text_of(node)
            if not given or name in names:
                return " x "
            names.add(name)
            return "".join(self.beginning(each, names) for each in given)
        if node.type == "binary_expression":
            return "".join(self.beginning(node.child_by_field_name(side), names) for side in ("left", "right"))
        if node.type == "call_expression" and _method(node) in _PUT_TOGETHER:
            owner = self.resolved(node.child_by_field_name("function").child_by_field_name("object"))
            if owner.type == "array":
                return " ".join(self.beginning(each, names) for each in owner.named_children)
            return self.beginning(owner, names)
        return string_of(node) or " x "

    def place(self, node: Any, names: set[str] | None = None) -> str:
        """A path's constant parts, joined; `?` for each part that is not known."""
        names = set() if names is None else names
        if node is None:
            return "?"
        if node.type == "identifier":
            given, name = self._given.get(text_of(node), []), text_of(node)
            if not given or name in names:
                return "?"
            names.add(name)
            return self.place(given[0], names)
        if node.type == "call_expression":
            called = self.called(node.child_by_field_name("function"))
            if called.endswith(("homedir", "os.homedir")):
                return "~"
            if called.endswith((".join", ".resolve")) or called in ("join", "resolve"):
                return "/".join(self.place(each, names) for each in arguments_of(node))
        if node.type == "binary_expression":
            return "".join(self.place(node.child_by_field_name(side), names) for side in ("left", "right"))
        return string_of(node) or "?"

    def is_own_place(self, node: Any) -> bool:
        """Whether a folder is one that the code made, or that lies below its own."""
        if node is None:
            return True
        place = self.place(node)
        if place.startswith(("/tmp/", "/var/tmp/")):
            return True
        if place.startswith(("/", "~", "C:")) or ".." in place:
            return False
        if not place.startswith("?"):
            return True
        return _OWN_PLACE.search(place) is not None or _OWN_PLACE.search(text_of(node)) is not None


def _method(call: Any) -> str:
    function = call.child_by_field_name("function")
    return (
        text_of(function.child_by_field_name("property"))
        if function is not None and function.type == "member_expression"
        else ""
    )


def arguments_of(call: Any) -> list[Any]:
    arguments = call.child_by_field_name("arguments")
    if arguments is None or arguments.type != "arguments":  # sql`..` has a template there
        return []
    return [child for child in arguments.named_children if child.type != "comment"]


def first_argument(call: Any) -> Any:
    given = arguments_of(call)
    return given[0] if given else None


def string_of(node: Any) -> str:
    """What stands between the quotes of a string or template; empty for anything else."""
    return text_of(node)[1:-1] if node is not None and node.type in ("string", "template_string") else ""
