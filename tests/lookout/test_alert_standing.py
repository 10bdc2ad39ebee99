"""How a rule stands as values come in: pure, by hand-made times."""

from __future__ import annotations

from typing import Any

import pytest

from instance.lookout.alerts.rule import Rule
from instance.lookout.alerts.standing import Change, Standing, step

S = 10**9


def rule(**more: Any) -> Rule:
    return Rule(**{"id": 1, "name": "errors", "metric": "error_rate", "threshold": 20.0, "for_s": 30, **more})


def told(
    rule: Rule, values: list[tuple[int, float | None]], threshold: float | None = None
) -> list[tuple[int, Change]]:
    """What is told at which second as values come in."""
    standing, changes = Standing(), []
    for second, value in values:
        standing, change = step(rule, standing, value, rule.threshold if threshold is None else threshold, second * S)
        if change is not None:
            changes.append((second, change))
    return changes


def every_ten(*values: float | None) -> list[tuple[int, float | None]]:
    return [(10 * number, value) for number, value in enumerate(values, 1)]


def test_it_fires_when_it_held_for_its_time_and_is_told_once() -> None:
    assert told(rule(), every_ten(50, 50, 50, 50, 50, 50)) == [(40, "fired")]


def test_a_short_peak_is_not_told() -> None:
    assert told(rule(), every_ten(50, 50, 10, 50, 50, 10)) == []


def test_without_a_time_it_fires_and_ends_at_once() -> None:
    assert told(rule(for_s=0), every_ten(50, 10)) == [(10, "fired"), (20, "resolved")]


def test_it_is_over_only_a_tenth_below_the_threshold_and_for_its_time() -> None:
    changes = told(rule(), every_ten(50, 50, 50, 50, 19, 19, 19, 19, 18, 18, 50, 18, 18, 18, 18))
    assert changes == [(40, "fired"), (150, "resolved")]


def test_a_lower_bound_is_over_a_tenth_above_it() -> None:
    below = rule(metric="count", condition="lt", threshold=10.0, for_s=0)
    assert told(below, every_ten(9, 10.5, 11)) == [(10, "fired"), (30, "resolved")]


def test_a_threshold_of_zero_is_over_at_zero() -> None:
    down = rule(metric="provider_down", threshold=0.0, for_s=0)
    assert told(down, every_ten(1, 1, 0)) == [(10, "fired"), (30, "resolved")]


def test_it_is_told_again_each_cooldown_while_it_lasts() -> None:
    assert told(rule(for_s=0, cooldown_seconds=20), every_ten(50, 50, 50, 50, 50)) == [
        (10, "fired"),
        (30, "again"),
        (50, "again"),
    ]


def test_without_enough_data_nothing_begins_and_what_fires_ends() -> None:
    assert told(rule(for_s=0), every_ten(None, None)) == []
    assert told(rule(for_s=10), every_ten(50, 50, None, None)) == [(20, "fired"), (40, "resolved")]


def test_in_a_silence_nobody_is_told_until_it_ends() -> None:
    silence = {"from_ns": 0, "to_ns": 25 * S, "filter": {}}
    silent = rule(for_s=0, silences=(silence,))
    standing, change = step(silent, Standing(), 50, 20.0, 10 * S)
    assert (change, standing.told) == ("fired", False)
    standing, change = step(silent, standing, 50, 20.0, 20 * S)
    assert change is None
    standing, change = step(silent, standing, 50, 20.0, 30 * S)
    assert (change, standing.told) == ("again", True)


def test_a_silence_with_a_filter_holds_where_the_rule_has_it() -> None:
    silence = {"from_ns": 0, "to_ns": 25 * S, "filter": {"provider": "up"}}
    assert not rule(silences=(silence,)).is_silent(S)
    assert rule(silences=(silence,), filter={"provider": "up"}).is_silent(S)


@pytest.mark.parametrize(("condition", "peak"), [("gt", 90.0), ("lt", 1.0)])
def test_the_worst_value_is_kept(condition: Any, peak: float) -> None:
    watched = rule(condition=condition, for_s=20, threshold=20.0 if condition == "gt" else 95.0)
    standing = Standing()
    for second, value in ((10, 50.0), (20, 90.0 if condition == "gt" else 1.0), (30, 60.0), (40, 40.0)):
        standing, _ = step(watched, standing, value, watched.threshold, second * S)
    assert (standing.state, standing.peak) == ("firing", peak)
