"""What models cost."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instance.chute.cost_lines import cost_lines, is_complete
from instance.chute.price import FREE, Price, price_in_usd
from instance.chute.prices import PriceTable
from instance.chute.usage import Usage
from instance.core.settings import PriceSettings


def tokens(given_input: int = 0, output: int = 0, *, cached: int = 0, reasoning: int = 0, **apart: int) -> Usage:
    usage = Usage()
    usage.input, usage.output, usage.cached, usage.reasoning = given_input, output, cached, reasoning
    for name, count in apart.items():
        setattr(usage.counted(), name, count)
    return usage


def test_a_bundled_price_is_in_micro_dollars_for_a_million_tokens() -> None:
    price = PriceTable().lookup("openai", "gpt-4o-mini")
    assert price is not None
    assert (price.input, price.cached_input, price.output) == (150_000, 75_000, 600_000)


def test_an_unknown_model_has_no_price() -> None:
    assert PriceTable().lookup("openai", "gpt-99") is None
    assert PriceTable().lookup("nobody", "gpt-4o") is None


def test_a_dated_snapshot_costs_what_its_undated_name_costs() -> None:
    table = PriceTable()
    assert table.lookup("openai", "gpt-4o-2024-08-06") == table.lookup("openai", "gpt-4o")
    assert table.lookup("anthropic", "claude-haiku-4-5-20251001") == table.lookup("anthropic", "claude-haiku-4-5")


def test_a_snapshot_with_a_price_of_its_own_keeps_it() -> None:
    table = PriceTable()
    assert table.lookup("openai", "gpt-4o-2024-05-13") != table.lookup("openai", "gpt-4o")


def test_a_provider_with_a_name_of_its_own_has_the_prices_of_its_dialect_but_not_of_openais() -> None:
    table = PriceTable()
    assert table.lookup("claude-eu", "claude-haiku-4-5", "anthropic") == table.lookup("anthropic", "claude-haiku-4-5")
    assert table.lookup("local", "gpt-4o", "openai") is None


def test_the_mock_model_is_free_unless_a_price_is_set() -> None:
    assert PriceTable().lookup("mock", "gpt") == FREE
    assert FREE.free
    own = PriceTable({"mock/gpt": PriceSettings(in_usd_per_mtok=Decimal("0.1"), out_usd_per_mtok=Decimal("0.2"))})
    price = own.lookup("mock", "gpt")
    assert price is not None
    assert (price.input, price.output, price.source, price.free) == (100_000, 200_000, "custom", False)
    assert own.lookup("mock", "large") == FREE


def test_the_instances_own_price_wins_over_the_bundled_one() -> None:
    table = PriceTable({"openai/gpt-4o": PriceSettings(in_usd_per_mtok=Decimal(7))})
    price = table.lookup("openai", "gpt-4o")
    assert price is not None
    assert price.input == 7_000_000
    assert ("openai", "gpt-4o", price) in list(table.rows())


def test_every_unit_can_be_set() -> None:
    row = PriceSettings(
        in_usd_per_mtok=Decimal(1),
        cache_write_usd_per_mtok=Decimal("1.25"),
        reasoning_usd_per_mtok=Decimal(3),
        per_image_usd=Decimal("0.04"),
        per_audio_minute_usd=Decimal("0.006"),
        per_million_characters_usd=Decimal(15),
        per_request_usd=Decimal("0.002"),
        per_search_usd=Decimal("0.01"),
    )
    price = PriceTable({"up/x": row}).lookup("up", "x")
    assert price is not None
    assert (price.cache_write, price.reasoning, price.characters) == (1_250_000, 3_000_000, 15_000_000)
    assert (price.image, price.request, price.search) == (40_000_000, 2_000_000, 10_000_000)
    assert price.audio_minute_usd == 0.006


def test_a_label_without_a_provider_is_refused() -> None:
    with pytest.raises(ValueError, match="provider/model"):
        PriceTable({"gpt-4o": PriceSettings()})


def test_a_price_in_an_unknown_unit_is_refused() -> None:
    with pytest.raises(ValueError, match="per_mile"):
        price_in_usd({"per_mile": 1}, "custom")


def test_cost_lines_name_what_was_paid_for() -> None:
    price = Price(2_500_000, 10_000_000, 1_250_000)
    assert cost_lines(price, tokens(1000, 100, cached=400)) == [
        ("input", 1_500_000),
        ("cached", 500_000),
        ("output", 1_000_000),
    ]


def test_cached_tokens_without_a_price_of_their_own_cost_what_others_do() -> None:
    assert cost_lines(Price(1_000_000, 0), tokens(1000, cached=400)) == [("input", 1_000_000)]


def test_what_is_written_into_a_cache_read_from_it_reasoned_heard_and_shown_is_priced_apart() -> None:
    price = Price(
        1_000_000,
        2_000_000,
        100_000,
        cache_write=1_250_000,
        cache_write_1h=2_000_000,
        reasoning=3_000_000,
        audio_input=10_000_000,
        audio_output=20_000_000,
        image_input=5_000_000,
    )
    usage = tokens(
        1000, 100, cached=100, reasoning=30, cache_write=200, cache_write_1h=50, audio_in=20, audio_out=10, image_in=5
    )
    assert dict(cost_lines(price, usage)) == {
        "input": (1000 - 100 - 200 - 20 - 5) * 1000,
        "cached": 100 * 100,
        "cache_write": 150 * 1250,
        "cache_write_1h": 50 * 2000,
        "audio_input": 20 * 10_000,
        "image_input": 5 * 5000,
        "output": (100 - 30 - 10) * 2000,
        "reasoning": 30 * 3000,
        "audio_output": 10 * 20_000,
    }


def test_images_minutes_characters_requests_and_searches_are_charged_by_the_piece() -> None:
    assert cost_lines(Price(image=40_000_000), tokens(images=3)) == [("image", 120_000_000)]
    assert cost_lines(Price(audio_hour=360_000_000), tokens(audio_ms=30_000)) == [("audio", 3_000_000)]
    assert cost_lines(Price(characters=15_000_000), tokens(characters=100)) == [("characters", 1_500_000)]
    assert cost_lines(Price(request=2_000_000), tokens()) == [("request", 2_000_000)]
    assert cost_lines(Price(request=2_000_000), tokens(requests=3)) == [("request", 6_000_000)]
    assert cost_lines(Price(search=10_000_000), tokens(searches=2)) == [("search", 20_000_000)]


def test_a_long_prompt_is_charged_at_the_price_of_long_prompts_altogether() -> None:
    price = price_in_usd({"input": 1, "output": 2, "above": {"tokens": 1000, "input": 2}}, "custom")
    assert dict(cost_lines(price, tokens(1000, 10))) == {"input": 1_000_000, "output": 20_000}
    assert dict(cost_lines(price, tokens(1001, 10))) == {"input": 2_002_000, "output": 20_000}


def test_a_cost_is_unknown_when_nobody_counted_what_it_is_charged_by() -> None:
    assert not is_complete(Price(audio_hour=1), tokens(10), "audio")
    assert is_complete(Price(audio_hour=1), tokens(audio_ms=1), "audio")
    assert not is_complete(Price(characters=1), tokens(), "audio")
    assert not is_complete(Price(image=1), tokens(), "images")
    assert not is_complete(Price(600_000, audio_output=12_000_000), tokens(characters=5), "audio")
    assert not is_complete(Price(1, 1), tokens(), "chat")
    assert is_complete(Price(request=1), tokens(), "other")
    assert is_complete(FREE, tokens(), "moderations")


COUNT = st.integers(0, 10**9)
PRICE = st.none() | st.integers(0, 10**9)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    usage = Usage()
    usage.input, usage.output, usage.cached, usage.reasoning = (draw(COUNT) for _ in range(4))
    if draw(st.booleans()):
        apart = usage.counted()
        for name in ("cache_write", "cache_write_1h", "audio_in", "audio_out", "image_in", "image_out", "searches"):
            setattr(apart, name, draw(COUNT))
        for name in ("audio_ms", "characters", "images", "requests"):
            setattr(apart, name, draw(st.none() | COUNT))
    return usage


PRICES = st.builds(
    Price,
    input=st.integers(0, 10**9),
    output=st.integers(0, 10**9),
    **dict.fromkeys(
        [
            "cached_input",
            "cache_write",
            "cache_write_1h",
            "reasoning",
            "audio_input",
            "audio_output",
            "image_input",
            "image_output",
            "characters",
            "image",
            "audio_hour",
            "request",
            "search",
        ],
        PRICE,
    ),
)


@given(PRICES, usages())
def test_no_line_is_negative_or_named_twice_and_each_is_an_integer(price: Price, usage: Usage) -> None:
    lines = cost_lines(price, usage)
    assert len({what for what, _ in lines}) == len(lines)
    assert all(type(nano) is int and nano >= 0 for _, nano in lines)


@given(st.integers(0, 10**9), usages())
def test_at_one_price_for_every_token_the_parts_cost_what_the_whole_does(rate: int, usage: Usage) -> None:
    apart = Price(
        rate,
        rate,
        rate,
        cache_write=rate,
        cache_write_1h=rate,
        reasoning=rate,
        audio_input=rate,
        audio_output=rate,
        image_input=rate,
        image_output=rate,
    )
    whole = sum(nano for _, nano in cost_lines(Price(rate, rate), usage))
    lines = cost_lines(apart, usage)
    assert abs(sum(nano for _, nano in lines) - whole) <= len(lines)  # each line is rounded once


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_line_is_tokens_times_price_rounded_half_up_once(count: int, rate: int) -> None:
    exact = Decimal(count) * Decimal(rate) / 1000
    (nano,) = [nano for _, nano in cost_lines(Price(rate), tokens(count))] or [0]
    assert -Decimal("0.5") <= Decimal(nano) - exact <= Decimal("0.5")
    assert Decimal(nano) - exact != -Decimal("0.5")


def test_usage_is_read_from_every_shape_that_answers_have() -> None:
    chat = Usage()
    chat.take(
        {
            "prompt_tokens": 100,
            "completion_tokens": 20,
            "total_tokens": 120,
            "prompt_tokens_details": {
                "cached_tokens": 40,
                "audio_tokens": 3,
                "cache_creation_tokens": 10,
                "cache_creation_1h_tokens": 4,
            },
            "completion_tokens_details": {"reasoning_tokens": 5, "audio_tokens": 2},
            "server_tool_use": {"web_search_requests": 3},
        }
    )
    apart = chat.counted()
    assert (chat.input, chat.cached, chat.output, chat.reasoning, chat.source) == (100, 40, 20, 5, "reported")
    assert (apart.audio_in, apart.audio_out, apart.cache_write, apart.cache_write_1h, apart.searches) == (
        3,
        2,
        10,
        4,
        3,
    )
    image = Usage()
    image.take(
        {"input_tokens": 50, "output_tokens": 1000, "input_tokens_details": {"text_tokens": 10, "image_tokens": 40}}
    )
    assert (image.input, image.output, image.counted().image_in) == (50, 1000, 40)
    timed = Usage()
    timed.take({"type": "duration", "seconds": 12})
    assert (timed.counted().audio_ms, timed.input, timed.source) == (12_000, 0, "reported")
    ranked = Usage()
    ranked.take({"search_units": 2})
    assert (ranked.counted().requests, ranked.source) == (2, "reported")


@pytest.mark.parametrize(
    "wrong", [None, [], {}, {"prompt_tokens": "9"}, {"prompt_tokens": -1, "completion_tokens": 2**40}]
)
def test_usage_that_cannot_be_is_not_believed(wrong: Any) -> None:
    usage = Usage()
    usage.take(wrong)
    assert (usage.input, usage.output) == (0, 0)


def test_reasoning_that_is_counted_beside_the_answer_is_part_of_the_output() -> None:
    usage = Usage()
    details = {"completion_tokens_details": {"reasoning_tokens": 300}}
    usage.take({"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 330, **details})
    assert (usage.output, usage.reasoning) == (320, 300)
    usage.take({"prompt_tokens": 10, "completion_tokens": 320, "total_tokens": 330, **details})
    assert (usage.output, usage.reasoning) == (320, 300)


@pytest.mark.parametrize("name", ["cached_tokens", "prompt_cache_hit_tokens"])
def test_cached_tokens_may_be_told_beside_the_other_counts(name: str) -> None:
    usage = Usage()
    usage.take({"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11, name: 8})
    assert usage.cached == 8


@pytest.mark.parametrize(
    ("cost", "nano"), [(0.0012, 1_200_000), ({"total_cost": 0.006}, 6_000_000), ("x", None), (-1, None)]
)
def test_what_the_provider_says_that_it_cost_is_kept(cost: Any, nano: int | None) -> None:
    usage = Usage()
    usage.take({"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2, "a": 1, "b": 2, "cost": cost})
    assert (usage.apart.reported_nano if usage.apart is not None else None) == nano


def test_what_is_cached_is_never_more_than_the_prompt_and_reasoning_without_a_price_is_output() -> None:
    price = Price(1_000_000, 2_000_000, 500_000)
    assert cost_lines(price, tokens(10, 5, cached=30, reasoning=4)) == [("cached", 5_000), ("output", 10_000)]
    assert cost_lines(price, tokens(10, 0, cached=4)) == [("input", 6_000), ("cached", 2_000)]
    dearer = Price(1_000_000, 2_000_000, reasoning=3_000_000)
    assert cost_lines(dearer, tokens(0, 5, reasoning=4)) == [("output", 2_000), ("reasoning", 12_000)]
    assert cost_lines(dearer, tokens(0, 5)) == [("output", 10_000)]
