from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instance.core.money import line_cost_nano, nano_to_usd, usd_to_micro, usd_to_nano


@pytest.mark.parametrize(
    ("usd", "nano"),
    [
        (0.1, 100_000_000),
        ("0.000000001", 1),
        (Decimal("0.0000000005"), 1),
        (Decimal("0.0000000004"), 0),
        (3, 3_000_000_000),
        ("12345.678901234", 12_345_678_901_234),
    ],
)
def test_dollars_become_nano_dollars_rounded_half_up(usd: Decimal | float | str, nano: int) -> None:
    assert usd_to_nano(usd) == nano


def test_prices_become_micro_dollars() -> None:
    assert usd_to_micro("2.50") == 2_500_000


def test_a_line_costs_tokens_times_price_rounded_half_up_once() -> None:
    assert line_cost_nano(1, 20_000) == 20
    assert line_cost_nano(3, 150) == 0
    assert line_cost_nano(1, 500) == 1
    assert line_cost_nano(1, 499) == 0
    assert line_cost_nano(1_000_000, 2_500_000) == 2_500_000_000


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_line_is_never_off_by_more_than_half_a_nano_dollar(tokens: int, price: int) -> None:
    assert abs(line_cost_nano(tokens, price) * 1000 - tokens * price) <= 500


@given(st.integers(0, 10**15))
def test_nano_dollars_survive_the_way_to_dollars_and_back(nano: int) -> None:
    assert usd_to_nano(nano_to_usd(nano)) == nano
