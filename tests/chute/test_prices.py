"""What models cost."""

import re
from dataclasses import dataclass
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instance.chute.prices import FREE, Price, PriceTable, bundled_prices, cost_lines
from instance.core.settings import PriceSettings


@dataclass
class Tokens:
    input: int
    output: int
    cached: int = 0


def test_a_bundled_price_is_in_micro_dollars_for_a_million_tokens():
    price = PriceTable().lookup("openai", "gpt-4o-mini")
    assert price is not None
    assert (price.input, price.cached_input, price.output) == (150_000, 75_000, 600_000)


def test_every_bundled_price_says_its_date_and_is_not_negative():
    assert len(bundled_prices()) > 30
    for price in bundled_prices().values():
        assert re.fullmatch(r"\d{4}-\d{2}", price.as_of)
        assert min(price.input, price.output, price.cached_input or 0) >= 0
        assert price.input > 0


def test_an_unknown_model_has_no_price():
    assert PriceTable().lookup("openai", "gpt-99") is None
    assert PriceTable().lookup("nobody", "gpt-4o") is None


def test_a_dated_snapshot_costs_what_its_undated_name_costs():
    table = PriceTable()
    assert table.lookup("openai", "gpt-4o-2024-08-06") == table.lookup("openai", "gpt-4o")


def test_a_snapshot_with_a_price_of_its_own_keeps_it():
    table = PriceTable()
    assert table.lookup("openai", "gpt-4o-2024-05-13") != table.lookup("openai", "gpt-4o")


def test_the_mock_model_is_free_unless_a_price_is_set():
    assert PriceTable().lookup("mock", "gpt") == FREE
    own = PriceTable({"mock/gpt": PriceSettings(in_usd_per_mtok=Decimal("0.1"), out_usd_per_mtok=Decimal("0.2"))})
    price = own.lookup("mock", "gpt")
    assert price is not None
    assert (price.input, price.output, price.source) == (100_000, 200_000, "custom")
    assert own.lookup("mock", "large") == FREE


def test_the_instances_own_price_wins_over_the_bundled_one():
    table = PriceTable({"openai/gpt-4o": PriceSettings(in_usd_per_mtok=Decimal(7))})
    price = table.lookup("openai", "gpt-4o")
    assert price is not None
    assert price.input == 7_000_000
    assert ("openai", "gpt-4o", price) in list(table.rows())


def test_a_label_without_a_provider_is_refused():
    with pytest.raises(ValueError, match="provider/model"):
        PriceTable({"gpt-4o": PriceSettings()})


def test_cost_lines_name_what_was_paid_for():
    price = Price(2_500_000, 10_000_000, 1_250_000)
    assert cost_lines(price, Tokens(1000, 100, cached=400)) == [
        ("input", 1_500_000),
        ("cached", 500_000),
        ("output", 1_000_000),
    ]


def test_cached_tokens_without_a_price_of_their_own_cost_what_others_do():
    assert cost_lines(Price(2_000_000, 0), Tokens(1000, 0, cached=400)) == [("input", 2_000_000)]


def test_a_call_without_tokens_has_no_lines():
    assert cost_lines(Price(1, 1, 1), Tokens(0, 0)) == []


@given(tokens=st.integers(1, 10**7), price=st.integers(0, 10**9))
def test_a_line_is_rounded_half_up_once(tokens, price):
    ((_, nano),) = cost_lines(Price(price, 0), Tokens(tokens, 0))
    assert nano == int((Decimal(tokens) * price / 1000).quantize(Decimal(1), rounding="ROUND_HALF_UP"))


@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 2000))
def test_no_token_is_charged_twice(given_in, given_out, cached):
    price = Price(1_000, 1_000, 1_000)
    assert sum(nano for _, nano in cost_lines(price, Tokens(given_in, given_out, cached))) == given_in + given_out
