"""Bad fields of a request, in the one error shape: each with its path, its code and, if it is unknown, the nearest name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from instance.core.errors import StockyardError

_CODES = {"extra_forbidden": "unknown_field", "missing": "missing_field"}
_PLACES = frozenset(("body", "query", "path", "header", "cookie"))


def invalid(problems: Sequence[Mapping[str, Any]], known: Sequence[str] = ()) -> StockyardError:
    """The 422 for pydantic's errors; `known` are the names among which the nearest to an unknown one is sought."""
    rows = [_row(problem, known) for problem in problems]
    first = rows[0]
    more = f" (and {len(rows) - 1} more)" if len(rows) > 1 else ""
    message = f"{first['param']}: {first['message']}{more}" if first["param"] else f"{first['message']}{more}"
    return StockyardError(first["code"], message, param=first["param"] or None, details=rows)


def _row(problem: Mapping[str, Any], known: Sequence[str]) -> dict[str, str]:
    location = [part for part in problem["loc"] if part not in _PLACES]
    code = _CODES.get(problem["type"], "invalid_value")
    message = str(problem["msg"]).removeprefix("Value error, ")
    if code == "unknown_field":
        near = get_close_matches(str(location[-1]), known, 1) if location else []
        message = "there is no such field" + (f"; did you mean {near[0]!r}?" if near else "")
    return {"param": _path(location), "code": code, "message": message}


def _path(location: Sequence[Any]) -> str:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path
