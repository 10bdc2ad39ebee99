"""Streams of events that pass as they come."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instance.chute.dialects.openai_events import PassedEvents
from instance.chute.stream import StreamBroken

LAST = frozenset(("x.done",))
STREAM = b'event: x.delta\ndata: {"type":"x.delta","n":1}\n\n: a comment\n\ndata: {"type":"x.done","usage":{"input_tokens":3}}\n\n'


def test_events_keep_their_names_and_say_what_they_hold() -> None:
    reader = PassedEvents(LAST)
    first, last = reader.feed(STREAM)
    assert first.raw == b'event: x.delta\ndata: {"type":"x.delta","n":1}\n\n'
    assert first.obj == {"type": "x.delta", "n": 1}
    assert last.obj is not None
    assert last.obj["usage"] == {"input_tokens": 3}
    assert not reader.done
    assert reader.close() == []
    assert reader.done


def test_a_stream_without_its_last_event_is_not_done() -> None:
    reader = PassedEvents(LAST)
    reader.feed(STREAM[:50])
    reader.close()
    assert not reader.done


def test_what_is_no_json_breaks_the_stream() -> None:
    for wrong in (b"data: {oops\n\n", b"data: [1]\n\n"):
        with pytest.raises(StreamBroken):
            PassedEvents(LAST).feed(wrong)


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_it_does_not_matter_where_the_blocks_are_cut(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    reader = PassedEvents(LAST)
    events = [event for a, b in itertools.pairwise(places) for event in reader.feed(STREAM[a:b])]
    events += reader.close()
    assert [event.raw for event in events] == [event.raw for event in PassedEvents(LAST).feed(STREAM)]
    assert reader.done
