"""Whose turn it is, seen from those who wait."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.reconcile.fair_queue import FairQueue


def served(queue: FairQueue, turns: int) -> list[str]:
    """Who gets a place when one is given back at a time."""
    order: list[str] = []
    for _ in range(turns):
        for name in queue.take():
            order.append(name)
            queue.leave(name)
    return order


def one_by_one(queue: FairQueue, turns: int) -> list[str]:
    """The same for a queue of one place."""
    assert queue.places == 1
    return served(queue, turns)


def crowd(queue: FairQueue, account: int, count: int, *, urgent: bool) -> list[str]:
    names = [f"{account}-{n}" for n in range(count)]
    for name in names:
        queue.join(name, account, urgent=urgent)
    return names


def test_an_account_with_three_hundred_tenants_does_not_keep_one_with_a_single_one_waiting() -> None:
    queue = FairQueue(1)
    crowd(queue, 1, 300, urgent=True)
    assert queue.take() == ["1-0"]
    queue.join("single", 2, urgent=True)
    queue.leave("1-0")
    assert "single" in one_by_one(queue, 2)


def test_a_single_account_leaves_places_for_others_that_come_later() -> None:
    queue = FairQueue(8)
    crowd(queue, 1, 100, urgent=True)
    assert len(queue.take()) == 6
    queue.join("late", 2, urgent=True)
    assert queue.take() == ["late"]


def test_what_a_caller_waits_for_goes_ahead() -> None:
    queue = FairQueue(1)
    crowd(queue, 1, 5, urgent=False)
    queue.join("waited-for", 2, urgent=True)
    assert one_by_one(queue, 1) == ["waited-for"]


def test_what_nobody_waits_for_has_its_turns_under_any_load() -> None:
    queue = FairQueue(1)
    crowd(queue, 1, 100, urgent=True)
    crowd(queue, 2, 10, urgent=False)
    first = one_by_one(queue, 40)
    assert sum(name.startswith("2-") for name in first) == 10


def test_long_work_that_nobody_waits_for_cannot_take_every_place() -> None:
    queue = FairQueue(8, others_most=4)
    for account in range(20):
        queue.join(f"stop{account}", account, urgent=False)
    assert len(queue.take()) == 4
    queue.join("wake", 99, urgent=True)
    assert queue.take() == ["wake"]


def test_one_that_a_caller_asks_for_meanwhile_is_moved_ahead() -> None:
    queue = FairQueue(1)
    crowd(queue, 1, 5, urgent=False)
    queue.join("1-4", 1, urgent=True)
    assert queue.position("1-4") == 1
    assert one_by_one(queue, 1) == ["1-4"]


def test_asking_again_does_not_lose_a_turn() -> None:
    queue = FairQueue(1)
    crowd(queue, 1, 3, urgent=True)
    queue.join("1-0", 1, urgent=True)
    queue.join("1-0", 1, urgent=False)
    assert one_by_one(queue, 3) == ["1-0", "1-1", "1-2"]


def test_who_leaves_gets_no_place() -> None:
    queue = FairQueue(1)
    crowd(queue, 1, 3, urgent=True)
    queue.leave("1-1")
    assert one_by_one(queue, 3) == ["1-0", "1-2"]
    assert (queue.waiting, queue.held) == (0, 0)


NAMES = st.integers(0, 11)
STEPS = st.lists(st.tuples(st.sampled_from(["join", "leave", "take"]), NAMES, st.booleans()), max_size=60)


@settings(max_examples=200, deadline=None)
@given(STEPS, st.integers(1, 5))
def test_places_are_never_more_than_there_are_and_everybody_is_served_in_the_end(
    steps: list[tuple[str, int, bool]], places: int
) -> None:
    queue, expected, holding = FairQueue(places), set[str](), set[str]()
    for what, number, urgent in steps:
        name = f"t{number}"
        if what == "join" and name not in holding:
            queue.join(name, number % 4, urgent=urgent)
            expected.add(name)
        elif what == "leave":
            queue.leave(name)
            expected.discard(name)
            holding.discard(name)
        elif what == "take":
            holding |= set(queue.take())
            expected -= holding
        assert queue.held == len(holding) <= places
        assert queue.waiting == len(expected)
    for name in holding:
        queue.leave(name)
    assert set(served(queue, 20)) == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=12))
def test_a_position_is_the_number_of_turns_until_it_is_served(accounts: list[int]) -> None:
    queue = FairQueue(1)
    for n, account in enumerate(accounts):
        queue.join(f"t{n}", account, urgent=True)
    told = {f"t{n}": queue.position(f"t{n}") for n in range(len(accounts))}
    order = one_by_one(queue, len(accounts))
    assert told == {name: place for place, name in enumerate(order, start=1)}
