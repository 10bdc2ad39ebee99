"""Money as integer nano-dollars."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

NANO_PER_USD = 1_000_000_000
MICRO_PER_USD = 1_000_000


def usd_to_nano(usd: Decimal | float | str | int) -> int:
    """Nano-dollars, rounded half up; a float is taken as its shortest decimal form, so 0.1 is exactly 0.1."""
    return _scaled(usd, NANO_PER_USD)


def usd_to_micro(usd: Decimal | float | str | int) -> int:
    """Micro-dollars, rounded half up: what prices per million tokens are kept in."""
    return _scaled(usd, MICRO_PER_USD)


def nano_to_usd(nano: int) -> float:
    """US dollars, for answers."""
    return nano / NANO_PER_USD


def line_cost_nano(tokens: int, price_micro_usd_per_mtok: int) -> int:
    """Cost of one line in nano-dollars: tokens * price / 1000, rounded half up once."""
    return (tokens * price_micro_usd_per_mtok + 500) // 1000


def _scaled(usd: Decimal | float | str | int, scale: int) -> int:
    amount = usd if isinstance(usd, Decimal) else Decimal(str(usd))
    return int((amount * scale).to_integral_value(ROUND_HALF_UP))
