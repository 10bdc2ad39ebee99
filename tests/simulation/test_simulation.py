"""Histories by seed, fresh ones at every run, and mistakes planted on purpose."""

from __future__ import annotations

import os

import pytest

from tests.simulation.history import History
from tests.simulation.planted import FOUND_SOON, LONG, MUTATIONS

SEEDS_TO_FIND = 200


@pytest.mark.parametrize(
    ("histories", "steps"), [pytest.param(30, 100, id="few"), pytest.param(200, 500, id="many", marks=pytest.mark.slow)]
)
def test_no_fresh_history_breaks_an_invariant(histories: int, steps: int) -> None:
    first = int.from_bytes(os.urandom(4)) * histories
    for seed in range(first, first + histories):
        outcome = History(seed, steps).run()
        replay = f"python -m tests.simulation --seeds 1 --from {seed} --steps {steps}"
        assert not outcome.violation, f"{outcome.violation}; again by: {replay}"


def test_a_seed_is_one_history() -> None:
    assert History(7).run() == History(7).run()


@pytest.mark.parametrize("step", range(1, 61, 2))
def test_a_control_plane_killed_at_any_step_of_a_first_start_is_healed(step: int) -> None:
    outcome = History(3, 70, kill_at=step).run()
    assert not outcome.violation
    assert outcome.lives >= 2


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=() if each in FOUND_SOON else pytest.mark.slow) for each in MUTATIONS]
)
def test_a_planted_mistake_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTATIONS[name](monkeypatch)
    seeds, steps = LONG.get(name, (range(SEEDS_TO_FIND), 500))
    histories = (History(seed, steps) for seed in seeds)
    assert any(history.run().violation for history in histories), f"not found: {name}"
