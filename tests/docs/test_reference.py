"""The generated pages say what the code does now, and no code of an error is left out."""

import ast

from docs.generate import pages
from instance.core.errors import REGISTRY
from tests.docs.pages import ROOT, anchors


def test_the_generated_pages_are_fresh() -> None:
    stale = [path.name for path, text in pages().items() if not path.exists() or path.read_text() != text]
    assert stale == [], "run `python -m docs.generate` and commit what it wrote"


def test_every_error_code_has_an_anchor_to_which_errors_can_lead() -> None:
    assert REGISTRY.keys() <= anchors(ROOT / "docs" / "reference" / "errors.md")


def test_every_code_that_an_instance_raises_is_in_the_registry() -> None:
    raised = {}
    for path in (ROOT / "instance").rglob("*.py"):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)) if "StockyardError(" in text else ():
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "StockyardError"
                and node.args
                and isinstance(node.args[0], ast.Constant)
            ):
                raised[node.args[0].value] = path.name
    assert {code: name for code, name in raised.items() if code not in REGISTRY} == {}
