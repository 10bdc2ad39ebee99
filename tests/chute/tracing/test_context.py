import pytest
from hypothesis import given
from hypothesis import strategies as st

from instance.chute.tracing.context import new_span_id, read_traceparent, sampled, trace_id_of
from instance.core.ids import new_id

TRACE, SPAN = b"4bf92f3577b34da6a3ce929d0e0e4736", b"00f067aa0ba902b7"


def test_the_callers_context_is_read() -> None:
    context = read_traceparent(b"00-" + TRACE + b"-" + SPAN + b"-01")
    assert context == (TRACE.decode(), SPAN.decode(), 1)


def test_a_later_version_may_say_more() -> None:
    assert read_traceparent(b"01-" + TRACE + b"-" + SPAN + b"-00-more") is not None


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"00-" + TRACE + b"-" + SPAN,
        b"00-" + TRACE.upper() + b"-" + SPAN + b"-01",
        b"00-" + b"0" * 32 + b"-" + SPAN + b"-01",
        b"00-" + TRACE + b"-" + b"0" * 16 + b"-01",
        b"ff-" + TRACE + b"-" + SPAN + b"-01",
        b"00-" + TRACE + b"-" + SPAN + b"-01-more",
        b"00-" + TRACE[:31] + b"g-" + SPAN + b"-01",
    ],
)
def test_what_is_malformed_is_no_context(value: bytes) -> None:
    assert read_traceparent(value) is None


@given(st.binary(max_size=70))
def test_no_bytes_raise(value: bytes) -> None:
    read_traceparent(value)


def test_a_calls_id_and_its_trace_id_are_the_same_number() -> None:
    assert trace_id_of("tr_01ARZ3NDEKTSV4RRFFQ69G5FAV") == "01563e3ab5d3d6764c61efb99302bd5b"
    made = new_id("tr_")
    assert trace_id_of(made) == trace_id_of(made)


@pytest.mark.parametrize("odd", ["", "tr_x", "tr_" + "U" * 26, "é" * 26])
def test_an_id_without_a_ulid_gets_some_trace_id(odd: str) -> None:
    assert len(trace_id_of(odd)) == 32


def test_span_ids_are_sixteen_digits_and_never_zero() -> None:
    assert all(len(new_span_id()) == 16 and int(new_span_id(), 16) for _ in range(100))


def test_about_the_asked_share_of_traces_is_sampled() -> None:
    ids = [trace_id_of(f"x{number}") for number in range(4000)]
    assert 0.2 < sum(sampled(trace_id, 0.25) for trace_id in ids) / len(ids) < 0.3
    assert all(sampled(trace_id, 1.0) for trace_id in ids)
    assert not any(sampled(trace_id, 0.0) for trace_id in ids)
