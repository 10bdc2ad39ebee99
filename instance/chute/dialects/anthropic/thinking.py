"""How hard a model shall think: OpenAI's effort as a budget of tokens or as the API's own effort."""

from __future__ import annotations

from typing import Any

from instance.chute.answer import JSON

BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 24576, "max": 32768}
"""Tokens to think with; at least 1024 are asked for by the API."""
BUDGET_MIN = 1024
EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}


def budget(effort: Any, max_tokens: int | None, default_max_tokens: int) -> tuple[int, int] | None:
    """(budget, max_tokens) for an effort; `None` when there is no room to think in. A limit that the caller did not set is
    raised by the budget, one that was set is kept and the budget stays below it."""
    wanted = BUDGETS.get(effort) if isinstance(effort, str) else None
    if wanted is None:
        return None
    if max_tokens is None:
        return wanted, wanted + default_max_tokens
    if wanted >= max_tokens:
        wanted = max(BUDGET_MIN, max_tokens // 2)
    return (wanted, max_tokens) if wanted < max_tokens else None


def effort_of(thinking: Any, output_config: Any = None) -> str | None:
    """OpenAI's effort for a caller's `thinking` (and `output_config.effort`); `None` when nothing is asked for."""
    said = output_config.get("effort") if isinstance(output_config, dict) else None
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    if kind == "disabled":
        return None
    if kind == "enabled":
        tokens = thinking.get("budget_tokens")
        if not isinstance(tokens, int):
            return "medium"
        return "low" if tokens <= 4096 else "medium" if tokens <= 12288 else "high"
    if isinstance(said, str):
        return {"max": "xhigh"}.get(said, said)
    return "medium" if kind == "adaptive" else None


def is_on(thinking: JSON | None) -> bool:
    """Whether `thinking` lets the model think, so that a tool cannot be forced on it."""
    return thinking is not None and thinking.get("type") in ("enabled", "adaptive")
