from hypothesis import given
from hypothesis import strategies as st

from instance.chute.statistics.histogram import RELATIVE_ERROR, LogHistogram

VALUES = st.lists(st.integers(1, 10**12), min_size=1, max_size=200)


def counted(values: list[int]) -> LogHistogram:
    histogram = LogHistogram()
    for value in values:
        histogram.add(value)
    return histogram


@given(VALUES, st.floats(0, 1))
def test_a_quantile_is_at_most_two_per_cent_off(values: list[int], share: float) -> None:
    estimate = counted(values).quantile(share)
    exact = sorted(values)[int(share * (len(values) - 1))]
    assert estimate is not None
    assert abs(estimate - exact) <= exact * RELATIVE_ERROR * 1.001 + 1e-9


@given(VALUES, VALUES)
def test_merging_is_the_same_as_counting_together(first: list[int], second: list[int]) -> None:
    merged = counted(first)
    merged.merge(counted(second))
    together = counted(first + second)
    assert (merged.counts, merged.sum) == (together.counts, together.sum)


@given(VALUES)
def test_what_is_written_is_read_back(values: list[int]) -> None:
    histogram = counted(values)
    again = LogHistogram.decode(histogram.encode())
    assert (again.counts, again.sum) == (histogram.counts, histogram.sum)


def test_an_empty_histogram_has_no_quantile() -> None:
    assert LogHistogram().quantile(0.5) is None
    assert LogHistogram.decode(LogHistogram().encode()).count == 0


def test_values_below_one_are_counted() -> None:
    assert counted([0, -5, 1]).count == 3


def test_how_many_are_at_most_a_value() -> None:
    histogram = counted([10, 100, 1000, 10_000])
    assert [histogram.at_most(limit) for limit in (5, 50, 500, 5000, 50_000)] == [0, 1, 2, 3, 4]
