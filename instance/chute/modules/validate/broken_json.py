"""Mending JSON that a model wrote badly, and knowing when to leave it alone. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import orjson

REPAIR_MAX_CHARS = 200_000
_FENCE = re.compile(r"```[A-Za-z0-9_-]*[ \t]*\n(.*?)(?:\n[ \t]*```|\Z)", re.DOTALL)
_KEY = re.compile(r"[\w'\"]\s*:")
_COMMENT = re.compile(r"(?<![:\"'\w])//[^\n]*|/\*.*?\*/|^\s*#[^\n]*", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Mended:
    """`text` is JSON now; `fixes` says what was done. `text` empty: it was left, and `position` is where it does not parse."""

    text: str = ""
    fixes: tuple[str, ...] = ()
    position: int = 0
    why: str = ""


def parses(text: str) -> bool:
    """Whether the text is JSON as it stands."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def mended(text: str, min_keep_pct: int) -> Mended:
    """The JSON that the text means, if it can be told with little lost; to be asked only where `parses` says no.

    The result is an object where an object was begun and a list where a list was, not empty where there were keys, and keeps
    at least `min_keep_pct` percent of the letters and digits (comments left out).
    """
    position = _position(text)
    if len(text) > REPAIR_MAX_CHARS:
        return Mended(position=position, why="too long")
    core, fixes = _core(text)
    opening = core[:1]
    if opening not in ("{", "["):
        return Mended(position=position, why="no object or list")
    if parses(core):
        return Mended(core, fixes, position)
    value = _repaired(core)
    if not isinstance(value, dict if opening == "{" else list):
        return Mended(position=position, why="another kind of value")
    if not value and _KEY.search(core):
        return Mended(position=position, why="nothing left of it")
    made = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if _letters(made) * 100 < min_keep_pct * _letters(_COMMENT.sub("", core)):
        return Mended(position=position, why="too much lost")
    return Mended(made, (*fixes, "syntax"), position)


def _position(text: str) -> int:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return error.pos
    return 0


def _core(text: str) -> tuple[str, tuple[str, ...]]:
    """The part that means to be JSON: a fence's content, else from the first bracket to the last of its kind."""
    stripped = text.strip()
    if stripped[:1] in ("{", "["):
        closing = stripped.rfind("}" if stripped[0] == "{" else "]")
        behind = stripped[closing + 1 :]
        if closing < 0 or not behind or not ("\n" in behind or parses(stripped[: closing + 1])):
            return stripped, ()
        return stripped[: closing + 1], ("text behind it",)
    fence = _FENCE.search(stripped)
    if fence is not None and fence.group(1).strip()[:1] in ("{", "["):
        return fence.group(1).strip(), ("fence",)
    starts = [place for place in (stripped.find("{"), stripped.find("[")) if place >= 0]
    if not starts:
        return stripped, ()
    start = min(starts)
    end = stripped.rfind("}" if stripped[start] == "{" else "]")
    return stripped[start : end + 1] if end > start else stripped[start:], ("text around it",)


def _repaired(text: str) -> Any:
    from json_repair import loads  # slow to import, and seldom needed

    try:
        return loads(text, skip_json_loads=True)
    except (ValueError, RecursionError):
        return None


def _letters(text: str) -> int:
    return sum(map(str.isalnum, text))
