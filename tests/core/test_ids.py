from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from instance.core import ids
from instance.core.ids import ALPHABET, ULID_LENGTH, IdMaker, new_id


def test_an_id_is_its_prefix_and_26_characters_of_the_alphabet() -> None:
    made = new_id("tr_")
    assert made.startswith("tr_")
    assert len(made) == 3 + ULID_LENGTH
    assert set(made[3:]) <= set(ALPHABET)


def test_ids_grow_in_the_order_in_which_they_are_made() -> None:
    made = [new_id("tr_") for _ in range(20_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_ids_grow_when_the_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_800_000_000_000_000_000]
    monkeypatch.setattr(ids, "time_ns", lambda: now[0])
    maker = IdMaker()
    before = maker.make("")
    now[0] -= 3600 * 1_000_000_000
    assert maker.make("") > before


def test_the_first_ten_characters_are_the_time_in_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "time_ns", lambda: 1_469_918_176_385 * 1_000_000)
    assert IdMaker().make("").startswith("01ARYZ6S41")


def test_threads_never_make_the_same_id() -> None:
    with ThreadPoolExecutor(4) as pool:
        made = [one for part in pool.map(lambda _: [new_id("") for _ in range(2000)], range(8)) for one in part]
    assert len(set(made)) == len(made)


def test_ids_go_on_when_a_millisecond_is_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "time_ns", lambda: 1_000_000)
    maker = IdMaker()
    first = maker.make("")
    maker._low = ids._LOW_END - 1
    second = maker.make("")
    assert second > first
    assert len(second) == ULID_LENGTH
