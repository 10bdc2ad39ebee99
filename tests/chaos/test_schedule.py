"""A seed tells one story."""

from __future__ import annotations

from tests.chaos.schedule import REST_S, schedule

FAULTS = ["one", "two", "three"]
TENANTS = ["a", "b"]


def test_a_seed_plans_the_same_again_and_another_one_something_else() -> None:
    assert schedule(1, 600, FAULTS, TENANTS) == schedule(1, 600, FAULTS, TENANTS)
    assert schedule(1, 600, FAULTS, TENANTS) != schedule(2, 600, FAULTS, TENANTS)


def test_every_fault_has_its_turn_before_one_is_repeated() -> None:
    names = [each.fault for each in schedule(3, 600, FAULTS, TENANTS)]
    for start in range(0, len(names) - 3, 3):
        assert sorted(names[start : start + 3]) == sorted(FAULTS)


def test_the_end_is_left_to_recover_in() -> None:
    assert max(each.at_s for each in schedule(4, 60, FAULTS, TENANTS)) < 60 - REST_S
