"""Who gets a place while calls are held."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from control_plane.routing.held import Full, HeldCalls, HoldLimits


def held(calls: int, calls_per_tenant: int = 100) -> HeldCalls:
    return HeldCalls(HoldLimits(calls, calls_per_tenant))


def test_a_tenant_gets_so_many_places_and_no_more() -> None:
    holds = held(100, 2)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(holds.place("acme"))
        with pytest.raises(Full, match="tenant"), holds.place("acme"):
            pass
        stack.enter_context(holds.place("bob"))
    assert (len(holds), holds.tenants) == (0, 0)


def test_when_all_are_taken_who_has_most_gives_the_newest_to_who_has_fewer() -> None:
    holds = held(4)
    with ExitStack() as stack:
        mine = [stack.enter_context(holds.place("acme")) for _ in range(4)]
        theirs = [stack.enter_context(holds.place(f"t{number}")) for number in range(3)]
        assert [place.lost.is_set() for place in mine] == [False, True, True, True]
        assert not any(place.lost.is_set() for place in theirs)
        with pytest.raises(Full, match="all"), holds.place("one-more"):
            pass
        with pytest.raises(Full, match="all"), holds.place("acme"):
            pass
        assert (len(holds), holds.tenants) == (4, 4)
    assert (len(holds), holds.tenants) == (0, 0)


def test_two_tenants_end_with_as_many_places_each() -> None:
    holds = held(10)
    with ExitStack() as stack:
        mine = [stack.enter_context(holds.place("acme")) for _ in range(10)]
        theirs = []
        with pytest.raises(Full, match="all"):
            while True:
                theirs.append(stack.enter_context(holds.place("bob")))
        assert len(theirs) == 5
        assert sum(place.lost.is_set() for place in mine) == 5
        assert not any(place.lost.is_set() for place in theirs)
