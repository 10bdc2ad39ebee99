"""What changed between two versions of a template, line by line. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import SequenceMatcher
from typing import Any

from instance.tack_room.template_format import flattened

CONTEXT_LINES = 3


def line_diff(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """`{hunks: [{from_line, to_line, lines: [{op, text}]}], variables: {added, removed}, changed: [other fields]}`; lines count
    from 1, `op` is ` `, `-` or `+`."""
    old, new = flattened(before["messages"]).splitlines(), flattened(after["messages"]).splitlines()
    hunks = []
    for group in SequenceMatcher(None, old, new, autojunk=False).get_grouped_opcodes(CONTEXT_LINES):
        lines: list[dict[str, str]] = []
        for op, i1, i2, j1, j2 in group:
            if op == "equal":
                lines += [{"op": " ", "text": text} for text in old[i1:i2]]
                continue
            lines += [{"op": "-", "text": text} for text in old[i1:i2]]
            lines += [{"op": "+", "text": text} for text in new[j1:j2]]
        if any(line["op"] != " " for line in lines):
            hunks.append({"from_line": group[0][1] + 1, "to_line": group[0][3] + 1, "lines": lines})
    had = {each["name"] for each in before["variables"]}
    has = {each["name"] for each in after["variables"]}
    others = ("model", "params", "locked", "response_schema")
    return {
        "hunks": hunks,
        "variables": {"added": sorted(has - had), "removed": sorted(had - has)},
        "changed": [name for name in others if before.get(name) != after.get(name)],
    }
