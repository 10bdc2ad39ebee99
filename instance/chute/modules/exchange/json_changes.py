"""What changed from one JSON value to another, by path."""

from __future__ import annotations

from typing import Any

CHANGES_MAX = 200

Change = dict[str, Any]
"""`path` (JSON Pointer), and `before` and `after` where there is one."""


def json_changes(before: Any, after: Any) -> list[Change]:
    """The changes, outermost where a whole part is new or gone; at most `CHANGES_MAX`."""
    changes: list[Change] = []
    _compare(before, after, "", changes)
    return changes[:CHANGES_MAX]


def _compare(before: Any, after: Any, path: str, changes: list[Change]) -> None:
    if before == after or len(changes) >= CHANGES_MAX:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for name in [*before, *(name for name in after if name not in before)]:
            place = f"{path}/{str(name).replace('~', '~0').replace('/', '~1')}"
            if name not in after:
                changes.append({"path": place, "before": before[name]})
            elif name not in before:
                changes.append({"path": place, "after": after[name]})
            else:
                _compare(before[name], after[name], place, changes)
    elif isinstance(before, list) and isinstance(after, list):
        for index, (one, other) in enumerate(zip(before, after, strict=False)):
            _compare(one, other, f"{path}/{index}", changes)
        changes += [{"path": f"{path}/{n}", "before": before[n]} for n in range(len(after), len(before))]
        changes += [{"path": f"{path}/{n}", "after": after[n]} for n in range(len(before), len(after))]
    else:
        changes.append({"path": path, "before": before, "after": after})
