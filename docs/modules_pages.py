"""The pages of the modules: one of all in the chain's order, and one a category with everything that a module declares."""

from __future__ import annotations

import inspect
import json
from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from docs.figures import CHAIN, SCAN, machine_line
from docs.schema_table import cell, markdown, objects, table
from instance.chute.discovery import builtin_modules
from instance.chute.module import ALL_KINDS, Module, ModuleSettings, hooks_of
from instance.chute.order import GROUPS, PLACE
from instance.core.errors import REGISTRY

NOT_MEASURED = "–"
CALL = "whole"
"""The kind of call whose costs are shown."""


def modules_pages(results: Path = CHAIN) -> dict[str, str]:
    """`modules.md` and `modules/CATEGORY.md`, by name. Costs are the medians that `results` has for single modules."""
    measured = json.loads(results.read_text()) if results.exists() else {}
    costs = module_costs(measured)
    modules = sorted(builtin_modules(), key=lambda module: PLACE[module.name])
    by_category: dict[str, list[type[Module]]] = defaultdict(list)
    for module in modules:
        by_category[module.category].append(module)
    pages = {"modules.md": _all(modules, by_category, costs, measured)}
    for category, members in by_category.items():
        pages[f"modules/{category}.md"] = _category(category, members, costs)
    return pages


def module_costs(measured: Mapping[str, Any]) -> dict[str, float]:
    """Median microseconds of each module's own time in one call, all modules on, of what `bench/chain.py` measured. Empty where
    that was not measured."""
    return {
        name: float(row[CALL]) for name, row in measured.get("all_on", {}).get("by_module", {}).items() if CALL in row
    }


def _all(
    modules: list[type[Module]],
    categories: Collection[str],
    costs: Mapping[str, float],
    measured: Mapping[str, Any],
) -> str:
    text = (
        f"# Modules\n\nThe {len(modules)} modules of this version, in the order of the chain: the first is outermost, nearest to the caller. "
        "How one is\nswitched and configured is said in [Configuration](../configuration.md#modules), how to write one in "
        "[Writing a module](../writing-a-module.md).\n\n"
        f"Settings, refusals and costs by category: {', '.join(f'[{name}](modules/{name}.md)' for name in sorted(categories))}.\n\n"
    )
    rows = [
        [
            f"[{module.name}](modules/{module.category}.md#{module.name})",
            module.category,
            _state(module),
            module.on_error,
            _cost(costs, module),
            cell(module.summary),
        ]
        for module in modules
    ]
    text += markdown(["module", "category", "at first", "on error", "µs", "what it does"], rows)
    text += (
        f"\nThe chain has {len(GROUPS)} groups; a module that is off is in no plan and costs nothing. `µs` is the median of a module's own "
        "time in\none chat, with all modules on; waiting is not in it."
    )
    if SCAN in costs:
        text += f" The scan for the patterns of all\nmodules that look for any takes {costs[SCAN]:.0f} µs more, once for the request and once for the answer."
    if costs:
        text += f" Measured on {machine_line(measured['machine'])}"
    else:
        text += f" Where it says {NOT_MEASURED}, it was not measured.\n"
    return text + f"\n## Settings that every module has\n\n{table(ModuleSettings.model_json_schema())}"


def _category(category: str, modules: list[type[Module]], costs: Mapping[str, float]) -> str:
    text = (
        f"# Modules: {category}\n\nIn the order of the chain. [All modules](../modules.md), with the settings that each of them has "
        "beside its own.\n"
    )
    common = ModuleSettings.model_json_schema()["properties"].keys()
    return text + "".join(_module(module, common, costs) for module in modules)


def _module(module: type[Module], common: Collection[str], costs: Mapping[str, float]) -> str:
    schema = module.Settings.model_json_schema()
    kinds = "every kind of call" if module.kinds == ALL_KINDS else ", ".join(sorted(module.kinds))
    text = f"\n## {module.name}\n\n{cell(module.summary).rstrip('.')}.\n"
    if vars(module).get("__doc__"):
        text += f"\n{inspect.getdoc(module)}\n"
    text += "\n" + markdown(
        ["at first", "hooks", "group", "applies to", "when it fails itself", "median"],
        [
            [
                _state(module),
                ", ".join(f"`{hook}`" for hook in hooks_of(module)) or "none",
                str(module.group),
                kinds,
                "the call goes on" if module.on_error == "open" else "503 `module_failed`",
                _cost(costs, module, " µs"),
            ]
        ],
    )
    if module.per_client:
        text += "\nA client may have settings of its own for it ([tenantwall](other.md#tenantwall)).\n"
    text += f"\n{table(schema, leave_out=common, within=f'{module.name}-')}\n{_refusals(module)}"
    for name, row in objects(schema):
        text += f"\n### {module.name}: {name}\n\n"
        if row.get("description"):
            text += f"{cell(row['description'])}\n\n"
        text += table(row, within=f"{module.name}-")
    return text


def _refusals(module: type[Module]) -> str:
    if not module.rejects:
        return "Refuses no call.\n"
    rows = [
        [str(REGISTRY[code].status), f"[`{code}`](../errors.md#{code})", cell(REGISTRY[code].summary)]
        for code in module.rejects
    ]
    return markdown(["refuses with", "code", "meaning"], rows)


def _state(module: type[Module]) -> str:
    return "on" if module.default_enabled else "off"


def _cost(costs: Mapping[str, float], module: type[Module], unit: str = "") -> str:
    return f"{costs[module.name]:.1f}{unit}" if module.name in costs else NOT_MEASURED
