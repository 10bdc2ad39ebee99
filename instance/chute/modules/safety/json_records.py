"""What a JSON text says, as sentences: one for each record, so that it can be compared with what is said of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import orjson

RECORDS_MAX = 400
DEPTH_MAX = 6
_BEGINS = ("{", "[")
_JOINT = re.compile(r"[_\-.]+|(?<=[a-z])(?=[A-Z])")


def records(text: str) -> list[str]:
    """`{"name": "Ruiz", "open_tickets": 7}` -> `["name: Ruiz | open tickets: 7"]`; empty where the text is not JSON."""
    plain = text.strip()
    if not plain.startswith(_BEGINS):
        return []
    try:
        value = orjson.loads(plain)
    except orjson.JSONDecodeError:
        return []
    return [said for said, _ in zip(_said(value, "", 0), range(RECORDS_MAX), strict=False)]


def _said(value: Any, name: str, depth: int) -> Iterator[str]:
    if depth > DEPTH_MAX:
        return
    if isinstance(value, dict):
        own = [
            f"{_JOINT.sub(' ', key)}: {_shown(each)}"
            for key, each in value.items()
            if not isinstance(each, (dict, list))
        ]
        listed = [
            f"{_JOINT.sub(' ', key)}: {', '.join(map(_shown, each))}"
            for key, each in value.items()
            if isinstance(each, list) and each and not any(isinstance(item, (dict, list)) for item in each)
        ]
        if own or listed:
            yield (f"{name}: " if name else "") + " | ".join((*own, *listed))
        for key, each in value.items():
            if isinstance(each, dict) or (
                isinstance(each, list) and any(isinstance(item, (dict, list)) for item in each)
            ):
                yield from _said(each, _JOINT.sub(" ", key), depth + 1)
    elif isinstance(value, list):
        for each in value:
            yield from _said(each, name, depth + 1)
    elif value is not None:
        yield _shown(value)


def _shown(value: Any) -> str:
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
