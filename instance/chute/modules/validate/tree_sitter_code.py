"""Syntax trees of languages that tree-sitter has a grammar for here (extra `code`)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any

from instance.chute.modules.validate.code_finding import Skipped

GRAMMARS = {"bash": "tree_sitter_bash", "javascript": "tree_sitter_javascript"}


@cache
def _parser(language: str) -> Any:
    try:
        from tree_sitter import Language, Parser

        return Parser(Language(import_module(GRAMMARS[language]).language()))
    except ImportError:
        raise Skipped(language) from None


def tree_of(code: str, language: str) -> Any:
    """The root node. Raises `Skipped` where the grammar is not installed."""
    return _parser(language).parse(code.encode("utf-8", "replace")).root_node


def nodes(root: Any) -> Iterator[Any]:
    """Every node, each before its children."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(reversed(node.children))


def text_of(node: Any) -> str:
    return str(node.text.decode("utf-8", "replace")) if node is not None else ""


def line_of(node: Any) -> int:
    return int(node.start_point[0]) + 1


def first_error(root: Any) -> int:
    """The line of the first syntax error; 0 when there is none."""
    if not root.has_error:
        return 0
    return next((line_of(node) for node in nodes(root) if node.is_error or node.is_missing), 1)
