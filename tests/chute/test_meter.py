"""Counters of a module: calls are counted once for all modules of a plan."""

from __future__ import annotations

import gc

from instance.chute.meter import Finished, Meter


class APlan:
    def __init__(self) -> None:
        self.finished = Finished()

    def came_as_far_as(self, place: int, calls: int = 1) -> None:
        self.finished.at[place] = self.finished.at.get(place, 0) + calls


def test_a_call_counts_for_the_modules_that_it_reached() -> None:
    plan, meters = APlan(), [Meter() for _ in range(3)]
    for place, meter in enumerate(meters):
        meter.count_in(plan, plan.finished, place)
    plan.came_as_far_as(2, 5)
    plan.came_as_far_as(0)
    plan.came_as_far_as(-1)
    assert [meter.calls for meter in meters] == [6, 5, 5]


def test_what_was_counted_stays_when_plans_are_gone_and_gone_plans_are_not_kept() -> None:
    meter = Meter()
    for _ in range(50):
        plan = APlan()
        meter.count_in(plan, plan.finished, 1)
        plan.came_as_far_as(1, 2)
        plan.came_as_far_as(0)
    gc.collect()
    meter.own_calls += 1
    assert meter.calls == 101
    assert len(meter._plans) <= 2


def test_calls_that_go_on_in_an_earlier_plan_are_counted_too() -> None:
    before, after, meter = APlan(), APlan(), Meter()
    meter.count_in(before, before.finished, 3)
    meter.count_in(after, after.finished, 1)
    before.came_as_far_as(4)
    after.came_as_far_as(1)
    before.came_as_far_as(2)
    assert meter.calls == 2
