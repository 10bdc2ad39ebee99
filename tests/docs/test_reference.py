"""The generated pages say what the code does now, and no code of an error is left out."""

import ast
import json
from functools import cache
from pathlib import Path

from docs.generate import pages, stale
from docs.modules_pages import modules_pages
from instance.chute.discovery import builtin_modules, builtin_names
from instance.core.errors import REGISTRY
from tests.docs.pages import ROOT, anchors

MANAGEMENT = {"invalid_value", "bad_pattern", "not_found", "conflict", "not_supported"}
"""With these a module's settings are refused and its endpoints answer; calls too may be, and then it is declared."""


def test_the_generated_pages_are_fresh() -> None:
    made = pages()
    old = [path.name for path, text in made.items() if not path.exists() or path.read_text() != text]
    assert [*old, *(path.name for path in stale(made))] == [], (
        "run `python -m docs.generate` and commit what it wrote and removed"
    )


def test_each_module_stands_on_the_page_of_its_category_with_its_settings_and_refusals() -> None:
    made = modules_pages()
    for module in builtin_modules():
        page = made[f"modules/{module.category}.md"]
        own = page.partition(f"\n## {module.name}\n")[2].partition("\n## ")[0]
        assert own, module.name
        assert f"](modules/{module.category}.md#{module.name})" in made["modules.md"]
        for setting in module.Settings.model_json_schema()["properties"].keys() - {"models", "teams", "on_error"}:
            assert f"| `{setting}` |" in own
        for code in module.rejects:
            assert f"| {REGISTRY[code].status} | [`{code}`](../errors.md#{code}) |" in own


def test_the_cost_of_a_module_is_what_the_benchmark_measured_and_a_dash_where_it_did_not(tmp_path: Path) -> None:
    machine = {
        "cpu": "A CPU",
        "cores": 2,
        "python": "3.11.7",
        "at": "2026-02-28T12:00:00",
        "commit": "0123456789abcdef",
    }
    results = tmp_path / "results.json"
    results.write_text(json.dumps({"machine": machine, "all_on": {"by_module": {"costcap": {"whole": 3.14}}}}))
    made = modules_pages(results)
    (costcap,) = [line for line in made["modules.md"].splitlines() if line.startswith("| [costcap]")]
    (rateshield,) = [line for line in made["modules.md"].splitlines() if line.startswith("| [rateshield]")]
    assert "| closed | 3.1 |" in costcap
    assert "| closed | – |" in rateshield
    assert "| 3.1 µs |" in made["modules/cost.md"]
    assert "A CPU, 2 cores" in made["modules.md"]
    assert "| closed | – |" in modules_pages(tmp_path / "none.json")["modules.md"]


def test_modules_declare_the_codes_with_which_they_refuse_calls() -> None:
    declared = {module.name: set(module.rejects) for module in builtin_modules()}
    assert {code for codes in declared.values() for code in codes} <= REGISTRY.keys()
    users: dict[Path, set[str]] = {}
    for name, path in builtin_names().items():
        for part in _parts(path):
            users.setdefault(part, set()).add(name)
    missing = {}
    for part, names in users.items():
        codes = {code for name in names for code in declared[name]}
        undeclared = _raised(part) - codes - MANAGEMENT
        if undeclared and part.name not in OF_NO_CALLER:
            missing[part.name] = undeclared
    assert missing == {}


def test_modules_declare_no_code_that_nothing_of_theirs_raises() -> None:
    apps = "".join(path.read_text() for app in APPS for path in (ROOT / "instance" / app).rglob("*.py"))
    apps += (ROOT / "instance" / "chute" / "failures.py").read_text()
    for module in builtin_modules():
        parts = _parts(builtin_names()[module.name])
        if module.name in ASKS:
            parts |= _parts(builtin_names()[ASKS[module.name]])
        own = "".join(path.read_text() for path in parts)
        for code in module.rejects:
            said = own.count(f'"{code}"') - 1  # once it is declared
            assert said or f'"{code}"' in apps, f"{module.name}: {code}"


APPS = ("billing", "brand", "forge", "tack_room")
"""A module that acts on the table of one of them refuses with what it says."""
ASKS = {"trustenforce": "approvalgate"}
"""Modules that leave a decision to another one."""
OF_NO_CALLER = {"drift_canaries.py"}
"""Files whose errors end calls of the module's own."""
MODULES = "instance.chute.modules."


def _parts(path: Path, found: set[Path] | None = None) -> set[Path]:
    """The module's file, and those of the folders of modules that it imports."""
    found = set() if found is None else found
    if path not in found:
        found.add(path)
        for part in _imported(path):
            _parts(part, found)
    return found


@cache
def _nodes(path: Path) -> list[ast.AST]:
    """The imports and calls of a file, which is read once for all that is asked of it."""
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom | ast.Call)]


@cache
def _imported(path: Path) -> list[Path]:
    """The files of the folders of modules that a file imports from."""
    names = [node.module or "" for node in _nodes(path) if isinstance(node, ast.ImportFrom)]
    parts = [ROOT.joinpath(*name.split(".")).with_suffix(".py") for name in names if name.startswith(MODULES)]
    return [part for part in parts if part.exists()]


@cache
def _raised(path: Path) -> set[str]:
    """The codes of the errors that are made in a file, as far as they are written out there."""
    return {
        node.args[0].value
        for node in _nodes(path)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "StockyardError"
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }


def test_every_error_code_has_an_anchor_to_which_errors_can_lead() -> None:
    assert REGISTRY.keys() <= anchors(ROOT / "docs" / "reference" / "errors.md")


def test_every_code_that_an_instance_raises_is_in_the_registry() -> None:
    raised = {}
    for path in (ROOT / "instance").rglob("*.py"):
        raised.update(dict.fromkeys(_raised(path), path.name))
    assert {code: name for code, name in raised.items() if code not in REGISTRY} == {}
