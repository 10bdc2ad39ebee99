"""How one call wants the mock model to behave: the body's `mock` object, checked."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

DELAY_MAX_MS = 600_000
TOKENS_MAX = 100_000
RATE_MAX = 1_000_000
CHOICES_MAX = 16


class BadOption(Exception):
    """A field of the body that the mock model cannot honour; `param` is its path."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param = param
        self.message = message


@dataclass(frozen=True, slots=True)
class MockOptions:
    """`delay_ms` before the first byte; `tokens` in the answer (None: as the text has); `tokens_per_s` (0: at once);
    `status` of the answer; `drop_after` tokens the connection breaks (None: never); `choices` asked for by `n`.
    """

    delay_ms: float = 0.0
    tokens: int | None = None
    tokens_per_s: float = 0.0
    status: int = 200
    drop_after: int | None = None
    choices: int = 1
    max_tokens: int | None = None


_FIELDS = ("delay_ms", "tokens", "tokens_per_s", "status", "drop_after")
_PLAIN = MockOptions()


def read_options(body: dict[str, Any]) -> MockOptions:
    """The options of a request; raises BadOption."""
    mock = body.get("mock")
    if mock is None:
        mock = {}
    elif not isinstance(mock, dict):
        raise BadOption("mock", "mock is an object")
    limit = body.get("max_completion_tokens")
    limit_name = "max_completion_tokens"
    if limit is None:
        limit, limit_name = body.get("max_tokens"), "max_tokens"
    choices = body.get("n")
    if not mock and limit is None and choices is None:
        return _PLAIN
    for name in mock:
        if name not in _FIELDS:
            near = get_close_matches(str(name), _FIELDS, 1)
            hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(_FIELDS)}"
            raise BadOption(f"mock.{name}", f"mock has no field {name!r}{hint}")
    return MockOptions(
        delay_ms=_number(mock, "delay_ms", 0.0, DELAY_MAX_MS),
        tokens=_whole(mock.get("tokens"), "mock.tokens", 0, TOKENS_MAX),
        tokens_per_s=_number(mock, "tokens_per_s", 0.0, RATE_MAX),
        status=_whole(mock.get("status"), "mock.status", 200, 599) or 200,
        drop_after=_whole(mock.get("drop_after"), "mock.drop_after", 0, TOKENS_MAX),
        choices=_whole(choices, "n", 1, CHOICES_MAX) or 1,
        max_tokens=_whole(limit, limit_name, 1, 1 << 31),
    )


def _whole(value: Any, param: str, least: int, most: int) -> int | None:
    if value is None:
        return None
    if type(value) is not int or not least <= value <= most:
        raise BadOption(param, f"{param} is a whole number from {least} to {most}")
    return value


def _number(mock: dict[str, Any], name: str, least: float, most: float) -> float:
    value = mock.get(name)
    if value is None:
        return least
    if type(value) not in (int, float) or not least <= value <= most:
        raise BadOption(f"mock.{name}", f"mock.{name} is a number from {least:g} to {most:g}")
    return float(value)
