"""The rate of one key at `/api/*`, driven by hand."""

from __future__ import annotations

import pytest

from instance.core.errors import StockyardError
from instance.system.management_rate import KEYS_MAX, NS_PER_S, PER_MINUTE, ManagementRate


def test_six_hundred_may_come_at_once_and_the_next_is_told_when_to_come() -> None:
    rate = ManagementRate()
    for _ in range(PER_MINUTE):
        rate.admit("a", 0)
    with pytest.raises(StockyardError) as refused:
        rate.admit("a", 0)
    assert refused.value.code == "rate_limited"
    assert refused.value.headers["Retry-After"] == "1"


def test_ten_more_may_come_each_second() -> None:
    rate = ManagementRate()
    for _ in range(PER_MINUTE):
        rate.admit("a", 0)
    for _ in range(10):
        rate.admit("a", NS_PER_S)
    with pytest.raises(StockyardError):
        rate.admit("a", NS_PER_S)


def test_one_key_does_not_use_up_what_is_anothers() -> None:
    rate = ManagementRate()
    for _ in range(PER_MINUTE):
        rate.admit("a", 0)
    assert dict(rate.admit("b", 0))[b"x-ratelimit-remaining"] == b"599"


def test_memory_is_bounded_however_many_keys_come() -> None:
    rate = ManagementRate()
    for number in range(KEYS_MAX + 50):
        rate.admit(number, 0)
    assert len(rate._empty_until) == KEYS_MAX
