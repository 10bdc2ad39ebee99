"""What a call in Python does that is dangerous, by its full name and what it is given."""

from __future__ import annotations

import ast
import re

from instance.chute.modules.validate import python_calls as calls
from instance.chute.modules.validate.code_finding import is_sql
from instance.chute.modules.validate.python_values import Values, text_of
from instance.chute.modules.validate.transport_checks import unchecked, unchecked_by_variable

_CONDITION = re.compile(r"(?is)\A\s*[\w.\"]+\s*(?:=|<>|!=|<|>|like\b|in\b)\s*['(x ]")


def deserialises(values: Values, name: str, node: ast.Call, given: dict[str, ast.expr]) -> bool:
    """Whether it reads data that can run code."""
    if name in calls.YAML_LOADS:
        return not is_safe_loader(values, given.get("Loader") or (node.args[1] if len(node.args) > 1 else None))
    if name == "numpy.load":
        return is_true(given.get("allow_pickle"))
    if name == "torch.load":
        return not is_true(given.get("weights_only"))
    if name.endswith(".YAML"):
        return text_of(given.get("typ")) == "unsafe"
    return name in calls.LOADS or (name.endswith("load_model") and is_false(given.get("safe_mode")))


def switches_checks_off(values: Values, name: str, last: str, given: dict[str, ast.expr], node: ast.Call) -> bool:
    """Whether certificates or keys of hosts are not checked after it."""
    if last == "set_missing_host_key_policy" and node.args:
        return values.dotted(node.args[0]).removesuffix("()").endswith(("AutoAddPolicy", "WarningPolicy"))
    if name in calls.READS_VARIABLE or last in ("setdefault", "setenv", "putenv"):
        return len(node.args) > 1 and unchecked_by_variable(text_of(node.args[0]), as_written(node.args[1]))
    return (
        name in ("ssl._create_unverified_context", "urllib3.disable_warnings")
        or (is_false(given.get("verify")) and "decode" not in last and "add_argument" not in last)
        or (is_false(given.get("ssl")) and last in calls.REQUESTS)
        or ("known_hosts" in given and is_none(given["known_hosts"]))
        or any(unchecked(word, as_written(value)) for word, value in given.items())
        or any(
            "CERT_NONE" in (text_of(given.get(word)), last_of(values, given.get(word)))
            for word in ("cert_reqs", "ssl_cert_reqs")
        )
    )


def sends_built_sql(values: Values, name: str, last: str, first: ast.expr | None, given: dict[str, ast.expr]) -> bool:
    """Whether SQL is sent that is put together from parts."""
    query = first
    if query is None:
        query = next((given[word] for word in ("query", "sql", "statement", "stmt") if word in given), None)
    if query is None or not values.is_built(query):
        return False
    beginning = values.beginning(query)
    if name in calls.TEXT_OF_SQL:
        return is_sql(beginning) or _CONDITION.match(beginning) is not None
    return last in calls.SENDS_SQL and is_sql(beginning)


def last_of(values: Values, node: ast.expr | None) -> str:
    """The last part of a full name; empty without a node."""
    return values.dotted(node).rpartition(".")[2] if node is not None else ""


def is_safe_loader(values: Values, node: ast.expr | None) -> bool:
    """Whether a loader of YAML builds plain data only."""
    return node is not None and ("Safe" in last_of(values, node) or "BaseLoader" in last_of(values, node))


def as_written(node: ast.expr) -> str:
    """A constant as it is written in code; `?` for anything else."""
    return str(node.value) if isinstance(node, ast.Constant) else "?"


def is_true(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value not in (None, "") and bool(node.value)


def is_false(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int) and not node.value


def is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None
