"""RE2 expressions in settings: whether they can be used is said when they are set, not when a call comes."""

from __future__ import annotations

import re2


def require_re2(expression: str) -> str:
    """The expression, unchanged. Raises ValueError, naming what is wrong, for one that RE2 does not take."""
    try:
        re2.compile(expression)
    except re2.error as error:
        raise ValueError(f"{expression!r} is no RE2 expression: {error}") from None
    return expression
